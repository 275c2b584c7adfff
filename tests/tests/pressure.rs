//! A node that runs short: what it says, who goes first, who may not come.

use ironclad_testkit::{Cluster, Namespace, cluster::run};
use std::process::Command;

const PODS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: modest}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: a, image: "busybox:1.36", command: [sleep, "1000"], resources: {requests: {memory: 200Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: greedy}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: a
    image: busybox:1.36
    command: [sh, -c, "head -c 50000000 /dev/zero > /dev/shm/x; touch /tmp/done; sleep 1000 & sleep 1000"]
    readinessProbe: {exec: {command: [cat, /tmp/done]}, periodSeconds: 1}
"#;

/// Starts the server anew: now the node wants more left over than there is.
fn short_of(cluster: &Cluster, threshold: &str) {
    let status = run(cluster.ironclad(&["status", "--json"])).ok();
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    let pid = status["pid"].as_u64().unwrap_or_else(|| panic!("no pid in {status}"));
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill runs").success());
    let mut up = cluster.ironclad(&["up", "--eviction-hard", threshold]);
    up.arg("--kubeconfig").arg(cluster.kubeconfig());
    run(up).ok();
}

fn is_under(ns: &Namespace<'_>, condition: &str) {
    let path = format!("jsonpath={{.items[0].status.conditions[?(@.type==\"{condition}\")].status}}");
    ns.until(&["get", "nodes", "-o", &path], |t| t == "True");
}

fn goes(ns: &Namespace<'_>, pod: &str) -> String {
    ns.until(&["get", "pod", pod, "-o", "jsonpath={.status.phase}"], |t| t == "Failed");
    assert_eq!(ns.field(&format!("pod/{pod}"), ".status.reason"), "Evicted");
    ns.field(&format!("pod/{pod}"), ".status.message")
}

#[test]
fn pods_go_when_the_node_runs_short() {
    if !ironclad_tests::has_kubectl() {
        return;
    }
    let cluster = Cluster::start().unwrap_or_else(|e| panic!("{e}"));
    let ns = cluster.namespace("short");
    ns.apply(PODS);
    ns.wait("pod/modest", "condition=Ready");
    ns.wait("pod/greedy", "condition=Ready");
    short_of(&cluster, "memory.available<100%");
    let why = goes(&ns, "greedy");
    assert!(why.starts_with("The node was low on resource: memory. Threshold quantity: "), "{why}");
    assert!(why.contains("Container a was using ") && why.contains(", request is 0, has larger consumption"), "{why}");
    is_under(&ns, "MemoryPressure");
    // Who asks for nothing is not let in.
    let node = ns.ok(&["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"]);
    let late = PODS
        .replace("greedy", "late")
        .replace("  terminationGrace", &format!("  nodeName: {node}\n  terminationGrace"));
    ns.apply(late.split("---").nth(1).expect("two pods"));
    assert_eq!(goes(&ns, "late"), "Pod was rejected: The node had condition: [MemoryPressure]. ");
    ns.ok(&["delete", "pods", "--all", "--now"]);
    // The same with process ids.
    short_of(&cluster, "pid.available<0%");
    ns.apply(PODS);
    ns.wait("pod/modest", "condition=Ready");
    ns.wait("pod/greedy", "condition=Ready");
    short_of(&cluster, "pid.available<100%");
    let why = goes(&ns, "greedy");
    assert!(why.starts_with("The node was low on resource: pids. Threshold quantity: "), "{why}");
    is_under(&ns, "PIDPressure");
}
