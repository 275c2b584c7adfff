//! Each part of the control plane in a process of its own, as stock's parts run: two API servers on one etcd with
//! certificates that they are given, two controller managers of which one leads, a scheduler.

use ironclad_testkit::Etcd;
use ironclad_testkit::cluster::{eventually, run};
use ironclad_tests::parts::Place;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A node of which nobody but this test knows anything.
const NODE: &str = r#"{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "paper"},
    "status": {"capacity": {"cpu": "4", "memory": "8Gi", "pods": "110"}, "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"},
    "conditions": [{"type": "Ready", "status": "True"}]}}"#;

fn until(place: &Place, server: usize, args: &[&str], want: &str) {
    eventually(Duration::from_secs(30), || {
        let answer = place.kubectl(server, args);
        if answer.stdout == want { Ok(()) } else { Err(format!("{} {}", answer.stdout, answer.stderr)) }
    });
}

#[test]
fn parts_of_the_control_plane_run_alone_and_replace_each_other() {
    if !ironclad_tests::has_kubectl() {
        return;
    }
    ironclad_auth::install_crypto();
    let etcd = Etcd::start().unwrap_or_else(|e| panic!("{e}"));
    let place = Place::new();
    let servers = [place.apiserver(&etcd.url(), 0), place.apiserver(&etcd.url(), 1)];
    place.ready(0);
    place.ready(1);
    let endpoints = ["get", "endpointslice", "kubernetes", "-o", "jsonpath={.endpoints[*].addresses[0]}"];
    until(&place, 0, &endpoints, "192.0.2.1 192.0.2.2");

    let first = place.controllers(0);
    until(&place, 1, &["get", "sa", "default", "-o", "name"], "serviceaccount/default\n");
    let holder =
        ["get", "lease", "-n", "kube-system", "kube-controller-manager", "-o", "jsonpath={.spec.holderIdentity}"];
    let leader = place.kubectl(0, &holder).ok();
    let second = place.controllers(1);
    let scheduler = place.kubeconfig("system:kube-scheduler", "", 0);
    let scheduler = scheduler.display().to_string();
    let _scheduler = place.part("scheduler.log", &["scheduler", "--kubeconfig", &scheduler, "--secure-port=0"]);

    let mut node = Command::new("kubectl");
    node.arg("--kubeconfig").arg(place.kubeconfig("admin", "system:masters", 0)).args(["create", "-f", "-"]);
    let mut node = node.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("kubectl runs");
    node.stdin.take().expect("its input").write_all(NODE.as_bytes()).expect("it reads");
    assert!(node.wait().expect("it ends").success());
    place.kubectl(1, &["create", "deployment", "web", "--image=nginx", "--replicas=2"]).ok();
    let nodes = ["get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].spec.nodeName}"];
    until(&place, 0, &nodes, "paper paper");
    let token = place.kubectl(0, &["create", "token", "default"]).ok();
    let who = ["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}", "--token", token.trim()];
    // What one server signs the other one takes, for they share the key.
    let mut whoami = Command::new("kubectl");
    let (ca, url) = (place.path("pki").join("ca.crt"), format!("https://127.0.0.1:{}", place.ports[1]));
    whoami.args(["--kubeconfig=/dev/null", "--server", &url, "--certificate-authority"]).arg(ca).args(who);
    assert_eq!(run(whoami).ok(), "system:serviceaccount:default:default");

    // The leader goes: the other one has its lease at once, and goes on where it stopped.
    first.end();
    eventually(Duration::from_secs(10), || {
        let now = place.kubectl(1, &holder).stdout;
        if !now.is_empty() && now != leader { Ok(()) } else { Err(now) }
    });
    place.kubectl(1, &["scale", "deployment", "web", "--replicas=3"]).ok();
    until(&place, 1, &nodes, "paper paper paper");

    // A server goes: its address does as well.
    let [one, other] = servers;
    other.end();
    until(&place, 0, &endpoints, "192.0.2.1");
    drop((one, second));
}
