//! A killed server does not take its containers with it, and finds them again.

use ironclad_testkit::Cluster;
use std::process::Command;

#[test]
fn containers_outlive_the_server() {
    if !ironclad_tests::has_kubectl() {
        return;
    }
    let cluster = Cluster::start().unwrap_or_else(|e| panic!("{e}"));
    let ns = cluster.namespace("restart");
    ns.ok(&["create", "deployment", "web", "--image=nginx:1.27", "--replicas=2"]);
    ns.ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    let ids = || ns.ok(&["get", "pods", "-o", "jsonpath={.items[*].status.containerStatuses[*].containerID}"]);
    let ip = ns.ok(&["get", "pods", "-o", "jsonpath={.items[0].status.podIP}"]);
    let before = ids();
    let status = ironclad_testkit::cluster::run(cluster.ironclad(&["status", "--json"])).ok();
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    let pid = status["pid"].as_u64().unwrap_or_else(|| panic!("no pid in {status}"));
    let killed = Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill runs");
    assert!(killed.success());
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-m", "5", "--noproxy", "*", &format!("http://{ip}/")]);
    assert!(
        ironclad_testkit::cluster::run(curl).ok().contains("Welcome to nginx"),
        "the container went with the server"
    );
    cluster.up().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(ids(), before);
    ns.ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    ns.ok(&["scale", "deployment/web", "--replicas=3"]);
    ns.ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    assert_eq!(ns.field("pods", ".items[*].status.containerStatuses[*].restartCount"), "0 0 0");
}
