//! Plugins that are off unless they are turned on, and the file that sets plugins up.

mod support;

use ironclad_admission::Choice;
use ironclad_json::{Value, json};
use std::io::Write;
use support::hook::{Hook, allow};
use support::{JSON, ask, choosing};
use tempfile::{NamedTempFile, TempDir};

type Server = ironclad_apiserver::ApiServer;

const PODS: &str = "/api/v1/namespaces/default/pods";

/// A server with these plugins besides, and their configurations.
async fn with(enable: &[&str], plugins: Value) -> (Server, TempDir, NamedTempFile) {
    let mut file = NamedTempFile::new().unwrap();
    let config =
        json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": plugins});
    file.write_all(config.to_string().as_bytes()).unwrap();
    let enable = enable.iter().map(|t| (*t).to_owned()).collect();
    let choice = Choice { enable, configuration: Some(file.path().to_owned()), not_ready: 60, ..Choice::default() };
    let (server, _, dir) = choosing(&choice).await;
    ask(&server, "POST", "/api/v1/namespaces/default/serviceaccounts", JSON, json!({"metadata": {"name": "default"}}))
        .await;
    settled().await;
    (server, dir, file)
}

/// What was just made is seen through a watch.
async fn settled() {
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
}

fn pod(name: &str, more: Value) -> Value {
    let mut spec = json!({"containers": [{"name": "web", "image": "nginx:1"}], "automountServiceAccountToken": false});
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    json!({"metadata": {"name": name}, "spec": spec})
}

async fn annotate(server: &Server, annotations: Value) {
    let change = json!({"metadata": {"annotations": annotations}});
    let (code, answer) =
        ask(server, "PATCH", "/api/v1/namespaces/default", "application/merge-patch+json", change).await;
    assert_eq!(code, 200, "{answer}");
    settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_always_pulled_and_tolerations_last_as_configured() {
    let (server, ..) = with(&["AlwaysPullImages", "ExtendedResourceToleration"], json!([])).await;
    let resources = json!({"requests": {"example.com/gpu": "1"}, "limits": {"example.com/gpu": "1"}});
    let containers = json!([{"name": "a", "image": "i:1", "imagePullPolicy": "Never", "resources": resources}]);
    let (code, made) = ask(&server, "POST", PODS, JSON, pod("a", json!({"containers": containers}))).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(made["spec"]["containers"][0]["imagePullPolicy"], "Always");
    let tolerations = made["spec"]["tolerations"].as_array().unwrap();
    let of = |key: &str| tolerations.iter().find(|t| t["key"] == key).unwrap();
    assert_eq!(of("node.kubernetes.io/not-ready")["tolerationSeconds"], 60);
    assert_eq!(of("node.kubernetes.io/unreachable")["tolerationSeconds"], 300);
    assert_eq!(*of("example.com/gpu"), json!({"key": "example.com/gpu", "operator": "Exists", "effect": "NoSchedule"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_can_be_denied() {
    let (server, ..) = with(&["AlwaysDeny"], json!([])).await;
    let map = json!({"metadata": {"name": "a"}});
    let (code, error) = ask(&server, "POST", "/api/v1/namespaces/default/configmaps", JSON, map).await;
    let want = "configmaps \"a\" is forbidden: admission control is denying all modifications";
    assert_eq!((code, &error["message"]), (403, &json!(want)));
    assert_eq!(ask(&server, "GET", PODS, JSON, Value::Null).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_of_others_and_far_reaching_affinity_are_refused() {
    let (server, ..) = with(&["DenyServiceExternalIPs", "LimitPodHardAntiAffinityTopology"], json!([])).await;
    let service =
        |ips: Value| json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}], "externalIPs": ips}});
    const SERVICES: &str = "/api/v1/namespaces/default/services";
    let (code, error) = ask(&server, "POST", SERVICES, JSON, service(json!(["192.0.2.9"]))).await;
    let want = "services \"s\" is forbidden: Use of external IPs is denied by admission control";
    assert_eq!((code, &error["message"]), (403, &json!(want)));
    assert_eq!(ask(&server, "POST", SERVICES, JSON, service(json!([]))).await.0, 201);
    let term = json!([{"topologyKey": "zone", "labelSelector": {}}]);
    let affinity = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term}});
    let (code, error) = ask(&server, "POST", PODS, JSON, pod("a", json!({"affinity": affinity}))).await;
    let want = "pods \"a\" is forbidden: affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey zone but only key kubernetes.io/hostname is allowed";
    assert_eq!((code, &error["message"]), (403, &json!(want)));
}

#[tokio::test(flavor = "multi_thread")]
async fn namespaces_are_made_when_they_are_needed() {
    let (server, ..) = with(&["NamespaceAutoProvision", "NamespaceExists"], json!([])).await;
    let map = json!({"metadata": {"name": "m"}});
    let (code, answer) = ask(&server, "POST", "/api/v1/namespaces/fresh/configmaps", JSON, map).await;
    assert_eq!(code, 201, "{answer}");
    let (_, made) = ask(&server, "GET", "/api/v1/namespaces/fresh", JSON, Value::Null).await;
    assert_eq!(made["metadata"]["labels"]["kubernetes.io/metadata.name"], "fresh");
    assert_eq!((&made["spec"]["finalizers"], &made["status"]["phase"]), (&json!(["kubernetes"]), &json!("Active")));
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_go_to_the_nodes_of_their_namespace() {
    let config = json!({"podNodeSelectorPluginConfig": {"clusterDefaultNodeSelector": "env=any", "default": "env=test,env=any,size=big"}});
    let plugins = json!([{"name": "PodNodeSelector", "configuration": config}]);
    let (server, ..) = with(&["PodNodeSelector"], plugins).await;
    let (_, made) = ask(&server, "POST", PODS, JSON, pod("a", json!({}))).await;
    assert_eq!(made["spec"]["nodeSelector"], json!({"env": "any"}));
    annotate(&server, json!({"scheduler.alpha.kubernetes.io/node-selector": "size=big"})).await;
    let (_, made) = ask(&server, "POST", PODS, JSON, pod("b", json!({"nodeSelector": {"env": "any"}}))).await;
    assert_eq!(made["spec"]["nodeSelector"], json!({"env": "any", "size": "big"}));
    let table = [
        (json!({"size": "small"}), "pod node label selector conflicts with its namespace node label selector"),
        (json!({"other": "x"}), "pod node label selector labels conflict with its namespace whitelist"),
    ];
    for (selector, why) in table {
        let (code, error) = ask(&server, "POST", PODS, JSON, pod("c", json!({"nodeSelector": selector}))).await;
        assert_eq!((code, &error["message"]), (403, &json!(format!("pods \"c\" is forbidden: {why}"))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tolerations_are_given_and_restricted_by_the_namespace() {
    let given = json!({"apiVersion": "podtolerationrestriction.admission.k8s.io/v1alpha1", "kind": "Configuration",
        "default": [{"key": "a", "operator": "Exists"}]});
    let plugins = json!([{"name": "PodTolerationRestriction", "configuration": given}]);
    let (server, ..) = with(&["PodTolerationRestriction"], plugins).await;
    let (_, made) = ask(&server, "POST", PODS, JSON, pod("a", json!({}))).await;
    assert!(
        made["spec"]["tolerations"].as_array().unwrap().contains(&json!({"key": "a", "operator": "Exists"})),
        "{made}"
    );
    let allowed = json!([{"key": "a", "operator": "Exists"}, {"operator": "Exists", "effect": "NoExecute"}]);
    annotate(&server, json!({"scheduler.alpha.kubernetes.io/tolerationsWhitelist": allowed.to_string()})).await;
    assert_eq!(ask(&server, "POST", PODS, JSON, pod("b", json!({}))).await.0, 201);
    let (code, error) =
        ask(&server, "POST", PODS, JSON, pod("c", json!({"tolerations": [{"key": "b", "operator": "Exists"}]}))).await;
    let want =
        "pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace whitelist";
    assert_eq!((code, &error["message"]), (500, &json!(want)));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_limited_by_their_namespace() {
    let limits = json!({"apiVersion": "eventratelimit.admission.k8s.io/v1alpha1", "kind": "Configuration",
        "limits": [{"type": "Namespace", "qps": 1, "burst": 2}]});
    let (server, ..) = with(&["EventRateLimit"], json!([{"name": "EventRateLimit", "configuration": limits}])).await;
    let event = |name: &str| json!({"metadata": {"name": name}, "involvedObject": {"kind": "Pod", "name": "a", "namespace": "default"}});
    let mut codes = Vec::new();
    for name in ["a", "b", "c", "d"] {
        let (code, answer) = ask(&server, "POST", "/api/v1/namespaces/default/events", JSON, event(name)).await;
        if code == 429 {
            assert_eq!(answer["message"], "Too many requests: limit reached on type Namespace for key default");
        }
        codes.push(code);
    }
    assert_eq!((&codes[..2], codes.contains(&429)), (&[201, 201][..], true), "{codes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn images_are_judged_by_a_webhook_that_a_kubeconfig_names() {
    let hook = Hook::start(|review| {
        let bad = review["spec"]["containers"].as_array().unwrap().iter().any(|c| c["image"] == "bad");
        let mut answer = review.clone();
        answer["status"] = json!({"allowed": !bad, "reason": if bad { "no good" } else { "" }});
        answer
    })
    .await;
    let kubeconfig = json!({"current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "h", "user": "u"}}],
        "clusters": [{"name": "h", "cluster": {"server": hook.url(), "certificate-authority-data": hook.bundle}}], "users": []});
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(kubeconfig.to_string().as_bytes()).unwrap();
    let config = json!({"imagePolicy": {"kubeConfigFile": file.path(), "allowTTL": 50, "denyTTL": 50, "retryBackoff": 500, "defaultAllow": false}});
    let (server, ..) =
        with(&["ImagePolicyWebhook"], json!([{"name": "ImagePolicyWebhook", "configuration": config}])).await;
    let image = |image: &str| json!({"containers": [{"name": "a", "image": image}]});
    assert_eq!(ask(&server, "POST", PODS, JSON, pod("a", image("good"))).await.0, 201);
    for name in ["b", "c"] {
        let (code, error) = ask(&server, "POST", PODS, JSON, pod(name, image("bad"))).await;
        let want =
            format!("pods \"{name}\" is forbidden: image policy webhook backend denied one or more images: no good");
        assert_eq!((code, &error["message"]), (403, &json!(want)));
    }
    let seen = hook.seen.lock().clone();
    assert_eq!(seen.len(), 2, "the second question has a known answer");
    assert_eq!(
        (&seen[0]["kind"], &seen[0]["apiVersion"]),
        (&json!("ImageReview"), &json!("imagepolicy.k8s.io/v1alpha1"))
    );
    assert_eq!(seen[0]["spec"], json!({"containers": [{"image": "good"}], "namespace": "default"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn pod_security_has_defaults_and_exemptions() {
    let config = json!({"apiVersion": "pod-security.admission.config.k8s.io/v1", "kind": "PodSecurityConfiguration",
        "defaults": {"enforce": "baseline"}, "exemptions": {"namespaces": ["free"], "runtimeClasses": ["safe"]}});
    let (server, ..) = with(&[], json!([{"name": "PodSecurity", "configuration": config}])).await;
    let (code, error) = ask(&server, "POST", PODS, JSON, pod("a", json!({"hostPID": true}))).await;
    let want = "pods \"a\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostPID=true)";
    assert_eq!((code, &error["message"]), (403, &json!(want)));
    let class = json!({"metadata": {"name": "safe"}, "handler": "safe"});
    assert_eq!(ask(&server, "POST", "/apis/node.k8s.io/v1/runtimeclasses", JSON, class).await.0, 201);
    let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    let namespace = json!({"metadata": {"name": "free", "labels": labels}});
    let response = support::send(&server, "POST", "/api/v1/namespaces", JSON, namespace.to_string()).await;
    let warning = response.headers()["warning"].to_str().unwrap().to_owned();
    assert!(warning.contains("namespace \\\"free\\\" is exempt from Pod Security, and the policy (enforce=restricted:latest) will be ignored"), "{warning}");
    settled().await;
    let account = json!({"metadata": {"name": "default"}});
    assert_eq!(ask(&server, "POST", "/api/v1/namespaces/free/serviceaccounts", JSON, account).await.0, 201);
    settled().await;
    let (code, made) =
        ask(&server, "POST", "/api/v1/namespaces/free/pods", JSON, pod("a", json!({"hostPID": true}))).await;
    assert_eq!(code, 201, "{made}");
    let (code, made) =
        ask(&server, "POST", PODS, JSON, pod("b", json!({"hostPID": true, "runtimeClassName": "safe"}))).await;
    assert_eq!(code, 201, "{made}");
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_are_shown_the_credentials_of_their_host() {
    let hook = Hook::start(|r| allow(r, json!({}))).await;
    let kubeconfig = json!({"users": [{"name": format!("127.0.0.1:{}", hook.port), "user": {"token": "secret"}}]});
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(kubeconfig.to_string().as_bytes()).unwrap();
    let config = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "WebhookAdmissionConfiguration", "kubeConfigFile": file.path()});
    let (server, ..) = with(&[], json!([{"name": "ValidatingAdmissionWebhook", "configuration": config}])).await;
    let body = json!({"metadata": {"name": "w"}, "webhooks": [hook.webhook("a.example.com", json!({}))]});
    let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    assert_eq!(ask(&server, "POST", path, JSON, body).await.0, 201);
    settled().await;
    let map = json!({"metadata": {"name": "m"}});
    assert_eq!(ask(&server, "POST", "/api/v1/namespaces/default/configmaps", JSON, map).await.0, 201);
    assert_eq!(hook.shown.lock().last().map(String::as_str), Some("Bearer secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_of_others_are_for_marked_namespaces() {
    let (server, ..) = with(&[], json!([])).await;
    let claims = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
    let claim = |name: &str| {
        let exactly = json!({"deviceClassName": "c", "adminAccess": true});
        json!({"metadata": {"name": name}, "spec": {"devices": {"requests": [{"name": "r", "exactly": exactly}]}}})
    };
    let (code, error) = ask(&server, "POST", claims, JSON, claim("x")).await;
    let want = "ResourceClaim.resource.k8s.io \"x\" is invalid: spec.devices.requests[0].adminAccess: Forbidden: \
                admin access to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace";
    assert_eq!((code, error["message"].as_str().unwrap()), (422, want));
    let label = json!({"metadata": {"labels": {"resource.kubernetes.io/admin-access": "true"}}});
    let namespace = "/api/v1/namespaces/default";
    assert_eq!(ask(&server, "PATCH", namespace, "application/merge-patch+json", label).await.0, 200);
    settled().await;
    let (code, made) = ask(&server, "POST", claims, JSON, claim("x")).await;
    assert_eq!(code, 201, "{made}");
}
