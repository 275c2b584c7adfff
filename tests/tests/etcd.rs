//! A cluster whose objects lie in an etcd: pods run, and a restart of either etcd or the server loses nothing.

use ironclad_testkit::cluster::{eventually, run};
use ironclad_testkit::{Cluster, Etcd};
use std::process::Command;
use std::time::Duration;

#[test]
fn a_cluster_lives_in_etcd_and_outlives_its_restarts() {
    if !ironclad_tests::has_kubectl() {
        return;
    }
    let mut etcd = Etcd::start().unwrap_or_else(|e| panic!("{e}"));
    let cluster = Cluster::start_with(&["--etcd-servers", &etcd.url()]).unwrap_or_else(|e| panic!("{e}"));
    let ns = cluster.namespace("kept");
    ns.ok(&["create", "deployment", "web", "--image=nginx:1.27", "--replicas=2"]);
    ns.ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    let ids = || ns.ok(&["get", "pods", "-o", "jsonpath={.items[*].status.containerStatuses[*].containerID}"]);
    let before = ids();
    etcd.kill();
    assert_ne!(ns.kubectl(&["get", "--raw", "/readyz"]).code, 0, "readiness tells that etcd is away");
    etcd.run().unwrap_or_else(|e| panic!("{e}"));
    eventually(Duration::from_secs(30), || {
        let ready = ns.kubectl(&["get", "--raw", "/readyz"]);
        if ready.code == 0 { Ok(()) } else { Err(ready.stderr) }
    });
    ns.ok(&["scale", "deployment/web", "--replicas=3"]);
    ns.ok(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    assert!(before.split(' ').all(|id| ids().contains(id)), "a container was replaced");
    let status = run(cluster.ironclad(&["status", "--json"])).ok();
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    let pid = status["pid"].to_string();
    let mut kill = Command::new("kill");
    kill.args(["-9", &pid]);
    run(kill).ok();
    let process = std::path::Path::new("/proc").join(&pid);
    eventually(Duration::from_secs(10), || if process.exists() { Err(format!("{pid} lives")) } else { Ok(()) });
    cluster.up().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(ns.field("deployment/web", ".status.readyReplicas"), "3");
    assert!(before.split(' ').all(|id| ids().contains(id)), "a container was replaced");
    ns.ok(&["delete", "deployment", "web"]);
    ns.until(&["get", "pods", "--no-headers"], |pods| pods.is_empty());
}
