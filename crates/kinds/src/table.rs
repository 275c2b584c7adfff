//! Every built-in kind, one row each, in the order of discovery.

use crate::extension::{admission, api_service, crd, flow};
use crate::row::{Kind, Served, Subresource, Text, Verb};
use crate::strategy::{Plain, Strategy};
use crate::{
    address, apps, autoscaler, batch, cluster, core, csr, device, network, quota, rbac, revision, storage, template,
    volume,
};
use std::sync::{Arc, LazyLock};

/// A subresource in the table: name, kind where it is another one (group, version, kind), verbs.
type Sub = (&'static str, Option<(&'static str, &'static str, &'static str)>, &'static [Verb]);

#[derive(Clone, Copy)]
struct Row {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    namespaced: bool,
    short: &'static [&'static str],
    categories: &'static [&'static str],
    verbs: &'static [Verb],
    subresources: &'static [Sub],
    fields: &'static [&'static str],
    prefix: &'static str,
    storage: &'static str,
    served: Served,
    create_on_update: bool,
    generation: bool,
    strategy: fn() -> Arc<dyn Strategy>,
}

const STATUS: Sub = ("status", None, Verb::GET_PATCH_UPDATE);
const SCALE: Sub = ("scale", Some(("autoscaling", "v1", "Scale")), Verb::GET_PATCH_UPDATE);
const ALL: &[&str] = &["all"];
const EXTENSIONS: &[&str] = &["api-extensions"];
const GET: &[Verb] = &[Verb::Get];
const CONNECT: &[Verb] = &[Verb::Create, Verb::Get];
const PROXY: &[Verb] = &[Verb::Create, Verb::Delete, Verb::Get, Verb::Patch, Verb::Update];
const UPDATE: &[Verb] = &[Verb::Update];
const READ: &[Verb] = &[Verb::Get, Verb::List];

const fn ns(group: &'static str, version: &'static str, kind: &'static str, plural: &'static str) -> Row {
    Row {
        group,
        version,
        kind,
        plural,
        namespaced: true,
        short: &[],
        categories: &[],
        verbs: Verb::ALL,
        subresources: &[],
        fields: &[],
        prefix: "",
        storage: version,
        served: Served::Default,
        create_on_update: false,
        generation: false,
        strategy: || Arc::new(Plain),
    }
}

const fn cl(group: &'static str, version: &'static str, kind: &'static str, plural: &'static str) -> Row {
    let mut row = ns(group, version, kind, plural);
    row.namespaced = false;
    row
}

impl Row {
    const fn short(mut self, short: &'static [&'static str]) -> Self {
        self.short = short;
        self
    }
    const fn categories(mut self, categories: &'static [&'static str]) -> Self {
        self.categories = categories;
        self
    }
    const fn subs(mut self, subresources: &'static [Sub]) -> Self {
        self.subresources = subresources;
        self
    }
    const fn status(self) -> Self {
        self.subs(&[STATUS])
    }
    const fn fields(mut self, fields: &'static [&'static str]) -> Self {
        self.fields = fields;
        self
    }
    const fn verbs(mut self, verbs: &'static [Verb]) -> Self {
        self.verbs = verbs;
        self
    }
    const fn at(mut self, prefix: &'static str) -> Self {
        self.prefix = prefix;
        self
    }
    const fn stored_as(mut self, version: &'static str) -> Self {
        self.storage = version;
        self
    }
    const fn opt_in(mut self) -> Self {
        self.served = Served::OptIn;
        self
    }
    const fn upsert(mut self) -> Self {
        self.create_on_update = true;
        self
    }
    const fn counted(mut self) -> Self {
        self.generation = true;
        self
    }
    const fn with(mut self, strategy: fn() -> Arc<dyn Strategy>) -> Self {
        self.strategy = strategy;
        self
    }
}

const ADMISSION: &str = "admissionregistration.k8s.io";
const AUTHN: &str = "authentication.k8s.io";
const AUTHZ: &str = "authorization.k8s.io";
const CERTS: &str = "certificates.k8s.io";
const COORD: &str = "coordination.k8s.io";
const FLOW: &str = "flowcontrol.apiserver.k8s.io";
const NET: &str = "networking.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";
const DRA: &str = "resource.k8s.io";
const SCHED: &str = "scheduling.k8s.io";
const STORAGE: &str = "storage.k8s.io";

const EVENT_FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

const POD_FIELDS: &[&str] = &[
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.podIPs",
    "status.nominatedNodeName",
];

const POD_SUBS: &[Sub] = &[
    ("attach", Some(("", "v1", "PodAttachOptions")), CONNECT),
    ("binding", Some(("", "v1", "Binding")), Verb::CREATE),
    ("ephemeralcontainers", None, Verb::GET_PATCH_UPDATE),
    ("eviction", Some(("policy", "v1", "Eviction")), Verb::CREATE),
    ("exec", Some(("", "v1", "PodExecOptions")), CONNECT),
    ("log", None, GET),
    ("portforward", Some(("", "v1", "PodPortForwardOptions")), CONNECT),
    ("proxy", Some(("", "v1", "PodProxyOptions")), PROXY),
    ("resize", None, Verb::GET_PATCH_UPDATE),
    STATUS,
];

const CSR_SUBS: &[Sub] = &[("approval", None, Verb::GET_PATCH_UPDATE), STATUS];

const TABLE: &[Row] = &[
    ns("", "v1", "Binding", "bindings").verbs(Verb::CREATE),
    cl("", "v1", "ComponentStatus", "componentstatuses")
        .with(|| Arc::new(template::COMPONENT_STATUS))
        .short(&["cs"])
        .verbs(READ),
    ns("", "v1", "ConfigMap", "configmaps").short(&["cm"]).with(|| Arc::new(core::ConfigMap)),
    ns("", "v1", "Endpoints", "endpoints")
        .short(&["ep"])
        .at("services/endpoints")
        .upsert()
        .with(|| Arc::new(core::Endpoints)),
    ns("", "v1", "Event", "events").short(&["ev"]).fields(EVENT_FIELDS).upsert().with(|| Arc::new(core::Event)),
    ns("", "v1", "LimitRange", "limitranges").with(|| Arc::new(quota::LIMIT_RANGE)).short(&["limits"]).upsert(),
    cl("", "v1", "Namespace", "namespaces")
        .short(&["ns"])
        .subs(&[("finalize", None, UPDATE), STATUS])
        .fields(&["status.phase"])
        .with(|| Arc::new(core::Namespace)),
    cl("", "v1", "Node", "nodes")
        .short(&["no"])
        .subs(&[("proxy", Some(("", "v1", "NodeProxyOptions")), PROXY), STATUS])
        .fields(&["spec.unschedulable"])
        .at("minions")
        .with(|| Arc::new(core::Node)),
    ns("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims")
        .short(&["pvc"])
        .status()
        .with(|| Arc::new(volume::CLAIM)),
    cl("", "v1", "PersistentVolume", "persistentvolumes").short(&["pv"]).status().with(|| Arc::new(volume::VOLUME)),
    ns("", "v1", "Pod", "pods")
        .short(&["po"])
        .categories(ALL)
        .subs(POD_SUBS)
        .fields(POD_FIELDS)
        .counted()
        .with(|| Arc::new(core::Pod)),
    ns("", "v1", "PodTemplate", "podtemplates").with(|| Arc::new(template::POD_TEMPLATE)),
    ns("", "v1", "ReplicationController", "replicationcontrollers")
        .short(&["rc"])
        .categories(ALL)
        .subs(&[SCALE, STATUS])
        .fields(&["status.replicas"])
        .at("controllers")
        .counted()
        .with(|| Arc::new(apps::ReplicationController)),
    ns("", "v1", "ResourceQuota", "resourcequotas").with(|| Arc::new(quota::QUOTA)).short(&["quota"]).status(),
    ns("", "v1", "Secret", "secrets").fields(&["type"]).with(|| Arc::new(core::Secret)),
    ns("", "v1", "ServiceAccount", "serviceaccounts")
        .short(&["sa"])
        .subs(&[("token", Some((AUTHN, "v1", "TokenRequest")), Verb::CREATE)])
        .with(|| Arc::new(core::ServiceAccount)),
    ns("", "v1", "Service", "services")
        .short(&["svc"])
        .categories(ALL)
        .subs(&[("proxy", Some(("", "v1", "ServiceProxyOptions")), PROXY), STATUS])
        .fields(&["spec.clusterIP", "spec.type"])
        .at("services/specs")
        .upsert()
        .with(|| Arc::new(core::Service)),
    cl("apiregistration.k8s.io", "v1", "APIService", "apiservices")
        .with(|| Arc::new(api_service::STRATEGY))
        .categories(EXTENSIONS)
        .status()
        .at("apiregistration.k8s.io/apiservices"),
    ns("apps", "v1", "ControllerRevision", "controllerrevisions").with(|| Arc::new(revision::STRATEGY)),
    ns("apps", "v1", "DaemonSet", "daemonsets")
        .short(&["ds"])
        .categories(ALL)
        .status()
        .counted()
        .with(|| Arc::new(apps::DaemonSet)),
    ns("apps", "v1", "Deployment", "deployments")
        .short(&["deploy"])
        .categories(ALL)
        .subs(&[SCALE, STATUS])
        .counted()
        .with(|| Arc::new(apps::Deployment)),
    ns("apps", "v1", "ReplicaSet", "replicasets")
        .short(&["rs"])
        .categories(ALL)
        .subs(&[SCALE, STATUS])
        .fields(&["status.replicas"])
        .counted()
        .with(|| Arc::new(apps::ReplicaSet)),
    ns("apps", "v1", "StatefulSet", "statefulsets")
        .short(&["sts"])
        .categories(ALL)
        .subs(&[SCALE, STATUS])
        .counted()
        .with(|| Arc::new(apps::StatefulSet)),
    ns("events.k8s.io", "v1", "Event", "events")
        .short(&["ev"])
        .upsert()
        .stored_as("v1")
        .with(|| Arc::new(core::EventsEvent)),
    cl(AUTHN, "v1", "TokenReview", "tokenreviews").verbs(Verb::CREATE),
    cl(AUTHN, "v1", "SelfSubjectReview", "selfsubjectreviews").verbs(Verb::CREATE),
    ns(AUTHZ, "v1", "LocalSubjectAccessReview", "localsubjectaccessreviews").verbs(Verb::CREATE),
    cl(AUTHZ, "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews").verbs(Verb::CREATE),
    cl(AUTHZ, "v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews").verbs(Verb::CREATE),
    cl(AUTHZ, "v1", "SubjectAccessReview", "subjectaccessreviews").verbs(Verb::CREATE),
    ns("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
        .with(|| Arc::new(autoscaler::V2))
        .short(&["hpa"])
        .categories(ALL)
        .status(),
    ns("autoscaling", "v1", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
        .short(&["hpa"])
        .categories(ALL)
        .status()
        .stored_as("v2")
        .with(|| Arc::new(autoscaler::V1)),
    ns("batch", "v1", "CronJob", "cronjobs")
        .short(&["cj"])
        .categories(ALL)
        .status()
        .counted()
        .with(|| Arc::new(batch::cron_job::STRATEGY)),
    ns("batch", "v1", "Job", "jobs")
        .categories(ALL)
        .status()
        .fields(&["status.successful"])
        .counted()
        .with(|| Arc::new(batch::job::STRATEGY)),
    cl(CERTS, "v1", "CertificateSigningRequest", "certificatesigningrequests")
        .with(|| Arc::new(csr::STRATEGY))
        .short(&["csr"])
        .subs(CSR_SUBS)
        .fields(&["spec.signerName"]),
    cl(CERTS, "v1", "ClusterTrustBundle", "clustertrustbundles").fields(&["spec.signerName"]).opt_in(),
    ns(CERTS, "v1", "PodCertificateRequest", "podcertificaterequests").status().opt_in(),
    ns(NET, "v1", "Ingress", "ingresses")
        .short(&["ing"])
        .status()
        .at("ingress")
        .counted()
        .with(|| Arc::new(network::ingress::INGRESS)),
    cl(NET, "v1", "IngressClass", "ingressclasses").counted().with(|| Arc::new(network::ingress::CLASS)),
    cl(NET, "v1", "IPAddress", "ipaddresses").with(|| Arc::new(address::IP)).short(&["ip"]),
    ns(NET, "v1", "NetworkPolicy", "networkpolicies")
        .short(&["netpol"])
        .counted()
        .with(|| Arc::new(network::policy::STRATEGY)),
    cl(NET, "v1", "ServiceCIDR", "servicecidrs").with(|| Arc::new(address::CIDR)).status(),
    ns("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")
        .short(&["pdb"])
        .status()
        .counted()
        .with(|| Arc::new(batch::budget::STRATEGY)),
    cl(RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings").upsert().with(|| Arc::new(rbac::CLUSTER_BINDING)),
    cl(RBAC, "v1", "ClusterRole", "clusterroles").upsert().with(|| Arc::new(rbac::CLUSTER_ROLE)),
    ns(RBAC, "v1", "RoleBinding", "rolebindings").upsert().with(|| Arc::new(rbac::BINDING)),
    ns(RBAC, "v1", "Role", "roles").upsert().with(|| Arc::new(rbac::ROLE)),
    cl(STORAGE, "v1", "CSIDriver", "csidrivers").with(|| Arc::new(storage::DRIVER)),
    cl(STORAGE, "v1", "CSINode", "csinodes").with(|| Arc::new(storage::NODE)),
    ns(STORAGE, "v1", "CSIStorageCapacity", "csistoragecapacities").with(|| Arc::new(storage::CAPACITY)),
    cl(STORAGE, "v1", "StorageClass", "storageclasses").short(&["sc"]).with(|| Arc::new(storage::CLASS)),
    cl(STORAGE, "v1", "VolumeAttachment", "volumeattachments").with(|| Arc::new(storage::ATTACHMENT)).status(),
    cl(STORAGE, "v1", "VolumeAttributesClass", "volumeattributesclasses")
        .with(|| Arc::new(storage::ATTRIBUTES))
        .short(&["vac"]),
    cl(ADMISSION, "v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations")
        .with(|| Arc::new(admission::MUTATING))
        .categories(EXTENSIONS)
        .counted(),
    cl(ADMISSION, "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies")
        .with(|| Arc::new(admission::POLICY))
        .categories(EXTENSIONS)
        .status()
        .counted(),
    cl(ADMISSION, "v1", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings")
        .with(|| Arc::new(admission::BINDING))
        .categories(EXTENSIONS),
    cl(ADMISSION, "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations")
        .with(|| Arc::new(admission::VALIDATING))
        .categories(EXTENSIONS)
        .counted(),
    cl(ADMISSION, "v1", "MutatingAdmissionPolicy", "mutatingadmissionpolicies")
        .with(|| Arc::new(admission::MUTATING_POLICY))
        .categories(EXTENSIONS)
        .counted(),
    cl(ADMISSION, "v1", "MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings")
        .with(|| Arc::new(admission::BINDING))
        .categories(EXTENSIONS),
    cl("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions")
        .with(|| Arc::new(crd::STRATEGY))
        .short(&["crd", "crds"])
        .categories(EXTENSIONS)
        .status()
        .at("apiextensions.k8s.io/customresourcedefinitions")
        .counted(),
    cl(SCHED, "v1", "PriorityClass", "priorityclasses").short(&["pc"]).with(|| Arc::new(cluster::priority::STRATEGY)),
    ns(COORD, "v1", "Lease", "leases").upsert().with(|| Arc::new(cluster::lease::STRATEGY)),
    ns(COORD, "v1beta1", "LeaseCandidate", "leasecandidates").opt_in(),
    cl("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses")
        .upsert()
        .with(|| Arc::new(cluster::runtime_class::STRATEGY)),
    ns("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices").counted().with(|| Arc::new(core::EndpointSlice)),
    cl(FLOW, "v1", "FlowSchema", "flowschemas").with(|| Arc::new(flow::SCHEMA)).status().counted(),
    cl(FLOW, "v1", "PriorityLevelConfiguration", "prioritylevelconfigurations")
        .with(|| Arc::new(flow::LEVEL))
        .status()
        .counted(),
    cl(DRA, "v1", "DeviceClass", "deviceclasses"),
    ns(DRA, "v1", "ResourceClaim", "resourceclaims").with(|| Arc::new(device::CLAIM)).status(),
    ns(DRA, "v1", "ResourceClaimTemplate", "resourceclaimtemplates").with(|| Arc::new(device::TEMPLATE)),
    cl(DRA, "v1", "ResourceSlice", "resourceslices")
        .with(|| Arc::new(device::SLICE))
        .fields(&["spec.nodeName", "spec.driver"]),
    cl(DRA, "v1", "DeviceTaintRule", "devicetaintrules").status().opt_in(),
    cl("internal.apiserver.k8s.io", "v1alpha1", "StorageVersion", "storageversions").status().opt_in(),
    cl("storagemigration.k8s.io", "v1", "StorageVersionMigration", "storageversionmigrations").status().opt_in(),
    ns(SCHED, "v1beta1", "PodGroup", "podgroups").status().opt_in(),
    ns(SCHED, "v1beta1", "Workload", "workloads").opt_in(),
];

/// Every built-in kind.
pub fn all() -> &'static [Arc<Kind>] {
    static KINDS: LazyLock<Vec<Arc<Kind>>> = LazyLock::new(|| TABLE.iter().map(|r| Arc::new(build(r))).collect());
    &KINDS
}

fn build(row: &Row) -> Kind {
    let texts = |list: &[&'static str]| list.iter().map(|t| Text::Borrowed(t)).collect();
    let sub = |(name, kind, verbs): &Sub| Subresource {
        name: Text::Borrowed(name),
        kind: kind.map(|(g, v, k)| (Text::Borrowed(g), Text::Borrowed(v), Text::Borrowed(k))),
        verbs,
    };
    let prefix = if row.prefix.is_empty() { row.plural } else { row.prefix };
    Kind {
        group: row.group.into(),
        version: row.version.into(),
        kind: row.kind.into(),
        plural: row.plural.into(),
        singular: row.kind.to_lowercase().into(),
        short_names: texts(row.short),
        categories: texts(row.categories),
        namespaced: row.namespaced,
        verbs: row.verbs,
        subresources: row.subresources.iter().map(sub).collect(),
        served: row.served,
        // Events of the other group are those of the core group in another shape.
        storage_group: if row.kind == "Event" { "" } else { row.group }.into(),
        storage_version: row.storage.into(),
        prefix: format!("/registry/{prefix}/").into(),
        selectable: texts(row.fields),
        create_on_update: row.create_on_update,
        generation: row.generation,
        list_kind: format!("{}List", row.kind).into(),
        strategy: (row.strategy)(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeSet;

    #[test]
    fn rows_have_a_cell_for_every_column_and_defaults_that_hold() {
        let objects = [json!({}), json!({"metadata": {"name": "x"}, "spec": {}, "status": {}})];
        for kind in all() {
            for object in &objects {
                let cells = kind.strategy.cells(object).len();
                assert_eq!(cells, kind.strategy.columns().len(), "{kind:?}");
            }
            let mut once = objects[1].clone();
            kind.strategy.default(&mut once);
            let mut twice = once.clone();
            kind.strategy.default(&mut twice);
            assert_eq!(once, twice, "{kind:?}");
            kind.strategy.validate(&once);
            kind.strategy.validate_update(&once, &twice);
        }
    }

    #[test]
    fn each_row_is_a_type_of_the_api_and_stands_once() {
        let mut seen = BTreeSet::new();
        for kind in all() {
            assert!(seen.insert(kind.gvr()), "{kind:?}");
            assert!(ironclad_schema::bundle().kind(&kind.gvk()).is_some(), "{kind:?}");
            assert!(
                kind.storage_version == kind.version
                    || all().iter().any(|k| k.kind == kind.kind && k.version == kind.storage_version)
            );
        }
    }

    #[test]
    fn every_generally_available_type_has_a_row() {
        let not_resources = [
            "APIGroup",
            "APIGroupList",
            "APIResourceList",
            "APIVersions",
            "Status",
            "TokenRequest",
            "Scale",
            "Eviction",
        ];
        for (_, ty) in ironclad_schema::bundle().types() {
            let Some(gvk) = &ty.gvk else { continue };
            if gvk.version.contains("alpha")
                || gvk.version.contains("beta")
                || not_resources.contains(&gvk.kind.as_str())
            {
                continue;
            }
            assert!(all().iter().any(|k| k.gvk() == *gvk), "{gvk}");
        }
    }

    fn first_error(group: &str, kind: &str, object: &serde_json::Value) -> String {
        let row = all().iter().find(|k| k.group == group && k.kind == kind).unwrap();
        let mut object = object.clone();
        row.strategy.default(&mut object);
        row.strategy.prepare_create(&mut object);
        row.strategy.validate(&object).first().map_or_else(String::new, ToString::to_string)
    }

    #[test]
    fn mistakes_have_the_stock_wording() {
        let template = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "b"}]}});
        let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
        let table = [
            (NET, "Ingress", json!({"spec": {"defaultBackend": backend}}), ""),
            (
                NET,
                "Ingress",
                json!({"spec": {"rules": [{"http": {"paths": [{"path": "a", "pathType": "Prefix", "backend": backend}]}}]}}),
                "spec.rules[0].http.paths[0].path: Invalid value: \"a\": must be an absolute path",
            ),
            (NET, "IngressClass", json!({"spec": {}}), "spec.controller: Required value"),
            (NET, "NetworkPolicy", json!({"spec": {"podSelector": {}}}), ""),
            (
                NET,
                "NetworkPolicy",
                json!({"spec": {"podSelector": {}, "ingress": [{"from": [{}]}]}}),
                "spec.ingress[0].from[0]: Required value: must specify a peer",
            ),
            (
                "policy",
                "PodDisruptionBudget",
                json!({"spec": {"minAvailable": "101%"}}),
                "spec.minAvailable: Invalid value: \"101%\": must not be greater than 100%",
            ),
            (
                SCHED,
                "PriorityClass",
                json!({"metadata": {"name": "p"}, "value": 1_000_000_001}),
                "value: Forbidden: maximum allowed value of a user defined priority is 1000000000",
            ),
            (
                COORD,
                "Lease",
                json!({"spec": {"leaseDurationSeconds": 0}}),
                "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
            ),
            (STORAGE, "StorageClass", json!({}), "provisioner: Required value"),
            ("node.k8s.io", "RuntimeClass", json!({"handler": "runc"}), ""),
            ("batch", "Job", json!({"metadata": {"name": "j", "uid": "u"}, "spec": {"template": template}}), ""),
            (
                "batch",
                "Job",
                json!({"metadata": {"name": "j", "uid": "u"}, "spec": {"parallelism": -1, "template": template}}),
                "spec.parallelism: Invalid value: -1: must be greater than or equal to 0",
            ),
            (
                "batch",
                "CronJob",
                json!({"spec": {"schedule": "* *", "jobTemplate": {"spec": {"template": template}}}}),
                "spec.schedule: Invalid value: \"* *\": expected exactly 5 fields, found 2: [* *]",
            ),
        ];
        for (group, kind, object, expected) in table {
            assert_eq!(first_error(group, kind, &object), expected, "{kind} {object}");
        }
    }

    #[test]
    fn a_put_creates_only_what_stock_lets_it() {
        let plurals: BTreeSet<&str> = all().iter().filter(|k| k.create_on_update).map(|k| &*k.plural).collect();
        let mut stock = ["endpoints", "events", "leases", "limitranges", "runtimeclasses", "services"].to_vec();
        stock.extend(["clusterrolebindings", "clusterroles", "rolebindings", "roles"]);
        assert_eq!(plurals, stock.into_iter().collect());
    }
}
