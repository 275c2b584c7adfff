//! The FlowSchemas and PriorityLevelConfigurations that every cluster has: the mandatory ones, which always are as
//! they stand here, and the suggested ones, which whoever runs the cluster may change.

use ironclad_json::{Value, json};

pub(super) const CATCH_ALL: &str = "catch-all";
pub(super) const GROUP: &str = "flowcontrol.apiserver.k8s.io";
/// Says whether the server keeps an object as it suggests it.
pub(super) const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";
const MANDATORY: [&str; 2] = ["exempt", CATCH_ALL];

/// Whether an object must be as it stands here.
pub(super) fn is_mandatory(name: &str) -> bool {
    MANDATORY.contains(&name)
}

/// All of them, levels first.
pub(super) fn all() -> Vec<Value> {
    levels().into_iter().chain(schemas()).collect()
}

fn levels() -> Vec<Value> {
    let level = |name: &str, spec: Value| object("PriorityLevelConfiguration", name, spec);
    let queued = |name: &str, shares: u32, lendable: u32, queues: u32, hand: u32| {
        let queuing = json!({"queues": queues, "handSize": hand, "queueLengthLimit": 50});
        let limited = json!({"nominalConcurrencyShares": shares, "lendablePercent": lendable,
            "limitResponse": {"type": "Queue", "queuing": queuing}});
        level(name, json!({"type": "Limited", "limited": limited}))
    };
    vec![
        mandatory("PriorityLevelConfiguration", "exempt"),
        mandatory("PriorityLevelConfiguration", CATCH_ALL),
        queued("system", 30, 33, 64, 6),
        queued("node-high", 40, 25, 64, 6),
        queued("leader-election", 10, 0, 16, 4),
        queued("workload-high", 40, 50, 128, 6),
        queued("workload-low", 100, 90, 128, 6),
        queued("global-default", 20, 50, 128, 6),
    ]
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind,
        "metadata": {"name": name, "annotations": {AUTO_UPDATE: "true"}}, "spec": spec})
}

fn mandatory(kind: &str, name: &str) -> Value {
    object(kind, name, ironclad_kinds::mandatory_flow(kind, name).unwrap_or_default())
}

fn user(name: &str) -> Value {
    json!({"kind": "User", "user": {"name": name}})
}

fn group(name: &str) -> Value {
    json!({"kind": "Group", "group": {"name": name}})
}

fn account(name: &str) -> Value {
    json!({"kind": "ServiceAccount", "serviceAccount": {"name": name, "namespace": "kube-system"}})
}

fn resources(verbs: &[&str], group: &str, resources: &[&str], cluster: bool) -> Value {
    let mut rule = json!({"verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": ["*"]});
    if cluster {
        rule["clusterScope"] = json!(true);
    }
    rule
}

fn schema(name: &str, level: &str, precedence: u32, by: &str, rules: Value) -> Value {
    let mut spec = json!({"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence,
        "rules": rules});
    if !by.is_empty() {
        spec["distinguisherMethod"] = json!({"type": by});
    }
    object("FlowSchema", name, spec)
}

fn everything(subjects: Vec<Value>) -> Value {
    json!([{"subjects": subjects, "resourceRules": [resources(&["*"], "*", &["*"], true)],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}])
}

fn schemas() -> Vec<Value> {
    const BY_USER: &str = "ByUser";
    const BY_NAMESPACE: &str = "ByNamespace";
    let anybody = || vec![group("system:unauthenticated"), group("system:authenticated")];
    let write = ["get", "create", "update"];
    let leases = || json!([resources(&write, "coordination.k8s.io", &["leases"], false)]);
    let only = |subjects: Vec<Value>, rules: Value| json!([{"subjects": subjects, "resourceRules": rules}]);
    let (manager, scheduler) = ("system:kube-controller-manager", "system:kube-scheduler");
    let probes = json!([{"subjects": anybody(), "nonResourceRules": [
        {"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}]}]);
    let nodes = json!([
        resources(&["*"], "", &["nodes", "nodes/status"], true),
        resources(&["*"], "coordination.k8s.io", &["leases"], false),
    ]);
    let endpoints = json!([resources(&write, "", &["endpoints"], false)]);
    vec![
        mandatory("FlowSchema", "exempt"),
        schema("probes", "exempt", 2, "", probes),
        schema(
            "system-leader-election",
            "leader-election",
            100,
            BY_USER,
            only(vec![user(manager), user(scheduler), account("*")], leases()),
        ),
        schema(
            "endpoint-controller",
            "workload-high",
            150,
            BY_USER,
            only(
                vec![user(manager), account("endpoint-controller"), account("endpointslicemirroring-controller")],
                endpoints,
            ),
        ),
        schema("workload-leader-election", "leader-election", 200, BY_USER, only(vec![account("*")], leases())),
        schema("system-node-high", "node-high", 400, BY_USER, only(vec![group("system:nodes")], nodes)),
        schema("system-nodes", "system", 500, BY_USER, everything(vec![group("system:nodes")])),
        schema("kube-controller-manager", "workload-high", 800, BY_NAMESPACE, everything(vec![user(manager)])),
        schema("kube-scheduler", "workload-high", 800, BY_NAMESPACE, everything(vec![user(scheduler)])),
        schema("kube-system-service-accounts", "workload-high", 900, BY_NAMESPACE, everything(vec![account("*")])),
        schema("service-accounts", "workload-low", 9000, BY_USER, everything(vec![group("system:serviceaccounts")])),
        schema("global-default", "global-default", 9900, BY_USER, everything(anybody())),
        mandatory("FlowSchema", CATCH_ALL),
    ]
}
