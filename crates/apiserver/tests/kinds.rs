//! Every kind that is served goes over the wire through every operation that the API has for it.

mod support;

use ironclad_json::{Value, json};
use ironclad_kinds::{Kind, Served, Verb};
use std::sync::Arc;
use support::{JSON, ask, quiet, send, switched};

const MERGE: &str = "application/merge-patch+json";
const PATCH: &str = "application/json-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// A small request for a certificate.
const REQUEST: &str = include_str!("support/request.b64");
/// A small request for a pod's certificate: DER, not PEM.
const STUB: &str = include_str!("support/stub.b64");
/// An authority's certificate.
const TRUST: &str = include_str!("support/authority.pem");

fn pod_spec(restart: &str) -> Value {
    json!({"restartPolicy": restart, "containers": [{"name": "c", "image": "i:1"}]})
}

fn template(restart: &str) -> Value {
    json!({"metadata": {"labels": {"app": "x"}}, "spec": pod_spec(restart)})
}

fn workload() -> Value {
    json!({"spec": {"selector": {"matchLabels": {"app": "x"}}, "template": template("Always")}})
}

fn webhooks() -> Value {
    json!({"webhooks": [{"name": "a.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": "https://example.com/x"},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]}]})
}

fn matching() -> Value {
    json!({"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]})
}

/// What makes a valid object of a kind, besides its name.
#[expect(clippy::too_many_lines, reason = "a table")]
fn body(kind: &Kind) -> Option<Value> {
    let role_ref = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "r"});
    let device = match &*kind.version {
        "v1beta1" => json!({"devices": {"requests": [{"name": "r", "deviceClassName": "c.example.com"}]}}),
        _ => json!({"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c.example.com"}}]}}),
    };
    if let Some(body) = newer(kind) {
        return Some(body);
    }
    Some(match (&*kind.group, &*kind.kind) {
        ("", "ConfigMap" | "Endpoints" | "LimitRange" | "Namespace" | "Node" | "Secret" | "ServiceAccount") => {
            json!({})
        }
        ("", "Event") => {
            json!({"involvedObject": {"kind": "Pod", "name": "p", "namespace": "default"}, "type": "Normal"})
        }
        ("", "PersistentVolumeClaim") => {
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
        }
        ("", "PersistentVolume") => json!({"spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
            "hostPath": {"path": "/x"}}}),
        ("", "Pod") => json!({"spec": pod_spec("Always")}),
        ("", "PodTemplate") => json!({"template": template("Always")}),
        ("", "ReplicationController") => json!({"spec": {"template": template("Always")}}),
        ("", "ResourceQuota") => json!({"spec": {"hard": {"pods": "1"}}}),
        ("", "Service") => json!({"spec": {"ports": [{"port": 80}]}}),
        ("apiregistration.k8s.io", _) => {
            json!({"spec": {"group": "example.com", "version": "v1", "groupPriorityMinimum": 100,
            "versionPriority": 10}})
        }
        ("apps", "ControllerRevision") => json!({"revision": 1, "data": {"a": "b"}}),
        ("apps", _) => workload(),
        ("events.k8s.io", _) => json!({"eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "a.b/c",
            "reportingInstance": "i", "action": "A", "reason": "R", "type": "Normal",
            "regarding": {"kind": "Pod", "name": "p", "namespace": "default"}}),
        ("autoscaling", "HorizontalPodAutoscaler") => {
            json!({"spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}})
        }
        ("batch", "Job") => json!({"spec": {"template": {"spec": pod_spec("Never")}}}),
        ("batch", "CronJob") => json!({"spec": {"schedule": "* * * * *",
            "jobTemplate": {"spec": {"template": {"spec": pod_spec("Never")}}}}}),
        ("certificates.k8s.io", "CertificateSigningRequest") => {
            json!({"spec": {"request": REQUEST.trim(), "signerName": "example.com/s", "usages": ["client auth"]}})
        }
        ("networking.k8s.io", "Ingress") => {
            json!({"spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}})
        }
        ("networking.k8s.io", "IngressClass") => json!({"spec": {"controller": "example.com/c"}}),
        ("networking.k8s.io", "IPAddress") => {
            json!({"spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "s"}}})
        }
        ("networking.k8s.io", "NetworkPolicy") => json!({"spec": {"podSelector": {}}}),
        ("networking.k8s.io", "ServiceCIDR") => json!({"spec": {"cidrs": ["10.200.0.0/24"]}}),
        ("policy", _) => json!({"spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "x"}}}}),
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => {
            json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]})
        }
        ("rbac.authorization.k8s.io", _) => json!({"roleRef": role_ref}),
        ("storage.k8s.io", "CSIDriver" | "CSINode") => json!({"spec": {"drivers": []}}),
        ("storage.k8s.io", "CSIStorageCapacity") => json!({"storageClassName": "s"}),
        ("storage.k8s.io", "StorageClass") => json!({"provisioner": "example.com/p"}),
        ("storage.k8s.io", "VolumeAttachment") => {
            json!({"spec": {"attacher": "example.com", "nodeName": "n", "source": {"persistentVolumeName": "v"}}})
        }
        ("storage.k8s.io", "VolumeAttributesClass") => json!({"driverName": "d.example.com", "parameters": {"a": "b"}}),
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration") => {
            webhooks()
        }
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy") => {
            json!({"spec": {"matchConstraints": matching(), "validations": [{"expression": "true"}]}})
        }
        ("admissionregistration.k8s.io", "MutatingAdmissionPolicy") => json!({"spec": {"matchConstraints": matching(),
            "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{}"}}]}}),
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding") => {
            json!({"spec": {"policyName": "p", "validationActions": ["Deny"]}})
        }
        ("admissionregistration.k8s.io", _) => json!({"spec": {"policyName": "p"}}),
        ("scheduling.k8s.io", "PriorityClass") => json!({"value": 10}),
        ("coordination.k8s.io", _) => json!({"spec": {"holderIdentity": "a", "leaseDurationSeconds": 10}}),
        ("node.k8s.io", _) => json!({"handler": "h"}),
        ("discovery.k8s.io", _) => json!({"addressType": "IPv4", "endpoints": [], "ports": []}),
        ("flowcontrol.apiserver.k8s.io", "FlowSchema") => {
            json!({"spec": {"priorityLevelConfiguration": {"name": "catch-all"}}})
        }
        ("flowcontrol.apiserver.k8s.io", _) => {
            json!({"spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}})
        }
        ("resource.k8s.io", "DeviceClass") => json!({"spec": {}}),
        ("resource.k8s.io", "ResourceClaim") => json!({"spec": device}),
        ("resource.k8s.io", "ResourceClaimTemplate") => json!({"spec": {"spec": device}}),
        ("resource.k8s.io", "ResourceSlice") => json!({"spec": {"driver": "d.example.com", "nodeName": "n",
            "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}, "devices": []}}),
        _ => return None,
    })
}

const UID: &str = "11111111-1111-1111-1111-111111111111";

/// [`body`] for kinds that came last.
fn newer(kind: &Kind) -> Option<Value> {
    Some(match (&*kind.group, &*kind.kind) {
        ("scheduling.k8s.io", "Workload") => {
            json!({"spec": {"podGroupTemplates": [{"name": "g", "schedulingPolicy": {"basic": {}}}]}})
        }
        ("scheduling.k8s.io", "PodGroup") => json!({"spec": {"schedulingPolicy": {"basic": {}}}}),
        ("scheduling.k8s.io", "CompositePodGroup") => json!({"spec": {"schedulingPolicy": {"basic": {}},
            "workloadRef": {"workloadName": "w", "templateName": "t"}}}),
        ("lifecycle.k8s.io", "EvictionRequest") => {
            json!({"spec": {"target": {"pod": {"name": "p", "uid": UID}}, "requester": "a.io/b", "intent": "Eviction"}})
        }
        ("lifecycle.k8s.io", _) => json!({"spec": {"target": {"pod": {"name": "p", "uid": UID}}}}),
        ("internal.apiserver.k8s.io", _) => json!({"spec": {}}),
        ("storagemigration.k8s.io", _) => json!({"spec": {"resource": {"group": "apps", "resource": "deployments"}}}),
        ("certificates.k8s.io", "ClusterTrustBundle") => json!({"spec": {"trustBundle": TRUST}}),
        ("certificates.k8s.io", "PodCertificateRequest") => {
            json!({"spec": {"signerName": "example.com/s", "podName": "p", "podUID": "u",
            "serviceAccountName": "s", "serviceAccountUID": "u", "nodeName": "n", "nodeUID": "u",
            "stubPKCS10Request": STUB}})
        }
        ("coordination.k8s.io", "LeaseCandidate") => json!({"spec": {"leaseName": "l", "binaryVersion": "1.37.0",
            "emulationVersion": "1.37.0", "strategy": "OldestEmulationVersion"}}),
        ("resource.k8s.io", "DeviceTaintRule") => json!({"spec": {"deviceSelector": {"driver": "d.example.com"},
            "taint": {"key": "k", "effect": "NoSchedule"}}}),
        ("resource.k8s.io", "ResourcePoolStatusRequest") => json!({"spec": {"driver": "d.example.com"}}),
        _ => return None,
    })
}

fn name_of(kind: &Kind, suffix: &str) -> String {
    match &*kind.kind {
        "APIService" if suffix == "a" => "v1.example.com".to_owned(),
        "StorageVersion" => format!("apps.test-{suffix}"),
        "IPAddress" => if suffix == "a" { "10.96.0.77" } else { "10.96.0.78" }.to_owned(),
        _ => format!("test-{suffix}"),
    }
}

struct Walk<'a> {
    server: &'a ironclad_apiserver::ApiServer,
    kind: &'a Kind,
    list: String,
    one: String,
}

impl Walk<'_> {
    fn object(&self, suffix: &str) -> Value {
        let mut object = body(self.kind).unwrap();
        let labels = object["metadata"]["labels"].as_object().cloned().unwrap_or_default();
        object["metadata"] = json!({"name": name_of(self.kind, suffix), "labels": labels});
        object["metadata"]["labels"]["walk"] = json!("yes");
        object["apiVersion"] = json!(self.kind.api_version());
        object["kind"] = json!(self.kind.kind);
        object
    }

    async fn ask(&self, method: &str, path: &str, media: &str, body: Value, want: u16) -> Value {
        let (code, answer) = ask(self.server, method, path, media, body).await;
        assert_eq!(code, want, "{:?}: {method} {path} {media}: {answer}", self.kind);
        answer
    }

    async fn create(&self) -> Value {
        let dry = format!("{}?dryRun=All", self.list);
        self.ask("POST", &dry, JSON, self.object("a"), 201).await;
        self.ask("GET", &self.one, JSON, Value::Null, 404).await;
        let made = self.ask("POST", &self.list, JSON, self.object("a"), 201).await;
        assert_eq!((&made["kind"], &made["apiVersion"]), (&json!(self.kind.kind), &json!(self.kind.api_version())));
        for field in ["uid", "creationTimestamp", "resourceVersion"] {
            assert!(made["metadata"][field].is_string(), "{:?} {field}", self.kind);
        }
        self.ask("POST", &self.list, JSON, self.object("a"), 409).await;
        made
    }

    async fn read(&self, made: &Value) {
        assert_eq!(&self.ask("GET", &self.one, JSON, Value::Null, 200).await, made);
        let name = &made["metadata"]["name"];
        for selector in
            ["labelSelector=walk%3Dyes", &format!("fieldSelector=metadata.name%3D{}", name.as_str().unwrap())]
        {
            let list = self.ask("GET", &format!("{}?{selector}", self.list), JSON, Value::Null, 200).await;
            assert_eq!(list["kind"], json!(self.kind.list_kind), "{list}");
            assert_eq!(list["items"].as_array().unwrap().len(), 1, "{:?} {selector}", self.kind);
        }
        let none = format!("{}?labelSelector=walk%3Dno", self.list);
        assert!(self.ask("GET", &none, JSON, Value::Null, 200).await["items"].as_array().unwrap().is_empty());
        for field in &self.kind.selectable {
            self.ask("GET", &format!("{}?fieldSelector={field}%3Dx", self.list), JSON, Value::Null, 200).await;
        }
        let odd = format!("{}?fieldSelector=spec.nothing%3Dx", self.list);
        self.ask("GET", &odd, JSON, Value::Null, 400).await;
    }

    async fn watch(&self, version: &str) {
        use http_body_util::BodyExt;
        let path =
            format!("{}?watch=1&resourceVersion={version}&labelSelector=walk%3Dyes&timeoutSeconds=30", self.list);
        let mut body = send(self.server, "GET", &path, JSON, "").await.into_body();
        let patch = json!({"metadata": {"annotations": {"watched": "yes"}}});
        self.ask("PATCH", &self.one, MERGE, patch, 200).await;
        let wait = tokio::time::timeout(std::time::Duration::from_secs(20), body.frame());
        let frame = wait.await.expect("an event arrives").unwrap().unwrap().into_data().unwrap();
        let event: Value = serde_json::from_slice(frame.split(|b| *b == b'\n').next().unwrap()).unwrap();
        assert_eq!((&event["type"], &event["object"]["kind"]), (&json!("MODIFIED"), &json!(self.kind.kind)));
        assert_eq!(event["object"]["metadata"]["annotations"]["watched"], "yes");
    }

    async fn change(&self) {
        let mut object = self.ask("GET", &self.one, JSON, Value::Null, 200).await;
        object["metadata"]["annotations"]["put"] = json!("yes");
        self.ask("PUT", &format!("{}?dryRun=All", self.one), JSON, object.clone(), 200).await;
        let put = self.ask("PUT", &self.one, JSON, object.clone(), 200).await;
        assert_eq!(put["metadata"]["annotations"]["put"], "yes");
        self.ask("PUT", &self.one, JSON, object, 409).await;
        let add = json!([{"op": "add", "path": "/metadata/annotations/patched", "value": "json"}]);
        let set = |how: &str| json!({"metadata": {"annotations": {"patched": how}}});
        for (media, patch, how) in
            [(PATCH, add, "json"), (MERGE, set("merge"), "merge"), (STRATEGIC, set("strategic"), "strategic")]
        {
            let got = self.ask("PATCH", &self.one, media, patch, 200).await;
            assert_eq!(got["metadata"]["annotations"]["patched"], how, "{:?}", self.kind);
        }
        let applied = json!({"apiVersion": self.kind.api_version(), "kind": self.kind.kind,
            "metadata": {"name": name_of(self.kind, "a"), "annotations": {"applied": "yes"}}});
        let path = format!("{}?fieldManager=walker", self.one);
        let got = self.ask("PATCH", &path, APPLY, applied, 200).await;
        assert_eq!(got["metadata"]["annotations"]["applied"], "yes");
        let managers = got["metadata"]["managedFields"].as_array().unwrap();
        assert!(managers.iter().any(|m| m["manager"] == "walker" && m["operation"] == "Apply"), "{:?}", self.kind);
    }

    async fn status(&self) {
        let path = format!("{}/status", self.one);
        let object = self.ask("GET", &path, JSON, Value::Null, 200).await;
        self.ask("PUT", &path, JSON, object.clone(), 200).await;
        // A request of a pod's certificate can only be answered.
        let condition = if &*self.kind.kind == "PodCertificateRequest" { "Denied" } else { "Walked" };
        let conditions = json!([{"type": condition, "status": "True", "reason": "R", "message": "m",
            "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
        let old_scaler = &*self.kind.group == "autoscaling" && &*self.kind.version == "v1";
        let has_conditions = !old_scaler
            && !matches!(
                &*self.kind.kind,
                "ResourceQuota"
                    | "PersistentVolume"
                    | "Ingress"
                    | "VolumeAttachment"
                    | "CronJob"
                    | "CertificateSigningRequest"
                    | "ResourceClaim"
                    | "MutatingAdmissionPolicy"
            );
        let patch = if has_conditions {
            json!({"status": {"conditions": conditions}})
        } else {
            json!({"metadata": {"annotations": {"s": "t"}}})
        };
        let got = self.ask("PATCH", &path, MERGE, patch, 200).await;
        if has_conditions {
            assert_eq!(got["status"]["conditions"][0]["type"], condition, "{:?}", self.kind);
        }
        let spec = json!({"spec": {"unknown": true}});
        let got = self.ask("PATCH", &path, MERGE, spec, 200).await;
        assert!(got["spec"].get("unknown").is_none());
    }

    async fn print(&self) {
        let request = http::Request::builder()
            .uri(&self.list)
            .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json");
        let mut request = request.body(http_body_util::Full::new(bytes::Bytes::new())).unwrap();
        request.extensions_mut().insert(ironclad_api::UserInfo::new("tester", &["system:masters"]));
        let response = tower::Service::call(&mut self.server.clone(), request).await.unwrap();
        let bytes = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
        let table: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(table["kind"], "Table", "{:?}", self.kind);
        // Addresses tell their age without a column for it.
        let more = usize::from(self.kind.kind == "IPAddress");
        let columns = table["columnDefinitions"].as_array().unwrap().len() + more;
        assert!(table["rows"].as_array().unwrap().iter().all(|r| r["cells"].as_array().unwrap().len() == columns));
    }

    async fn delete(&self) {
        if name_of(self.kind, "b") != "test-b" || &*self.kind.kind != "APIService" {
            self.ask("POST", &self.list, JSON, self.object("b"), 201).await;
        }
        self.ask("DELETE", &format!("{}?dryRun=All", self.one), JSON, Value::Null, 200).await;
        self.ask("GET", &self.one, JSON, Value::Null, 200).await;
        if self.kind.allows(Verb::DeleteCollection) {
            let path = format!("{}?labelSelector=walk%3Dyes", self.list);
            self.ask("DELETE", &path, JSON, Value::Null, 200).await;
            let left = self.ask("GET", &path, JSON, Value::Null, 200).await;
            let left = left["items"].as_array().unwrap().iter();
            // Namespaces stay until they are empty.
            let left = left.filter(|o| o["metadata"]["deletionTimestamp"].is_null()).count();
            assert_eq!(left, 0, "{:?}", self.kind);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_goes_through_every_operation() {
    let (server, _reader, _dir) = quiet().await;
    assert!(walk(&server, Served::Default).await > 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_that_is_switched_on_goes_through_every_operation() {
    let (server, _dir) = switched("api/all=true", "AllAlpha=true,AllBeta=true").await;
    assert!(walk(&server, Served::OptIn).await > 20);
}

async fn walk(server: &ironclad_apiserver::ApiServer, served: Served) -> usize {
    let mut walked = 0;
    for kind in ironclad_kinds::all().iter().filter(|k: &&Arc<Kind>| k.served == served) {
        if !kind.allows(Verb::Create) || !kind.allows(Verb::Get) || &*kind.kind == "CustomResourceDefinition" {
            continue;
        }
        assert!(body(kind).is_some(), "{kind:?} has no example");
        let root =
            if kind.group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{}/{}", kind.group, kind.version) };
        let place = if kind.namespaced { "/namespaces/default" } else { "" };
        let list = format!("{root}{place}/{}", kind.plural);
        let walk = Walk { server, kind, one: format!("{list}/{}", name_of(kind, "a")), list };
        let made = walk.create().await;
        walk.read(&made).await;
        walk.watch(made["metadata"]["resourceVersion"].as_str().unwrap()).await;
        walk.change().await;
        if kind.subresource("status").is_some() {
            walk.status().await;
        }
        walk.print().await;
        walk.delete().await;
        walked += 1;
    }
    walked
}
