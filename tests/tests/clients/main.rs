//! Streams into pods by clients that nobody here wrote: exec, attach, logs, copies and forwarded ports with the Python
//! client, with Node's and with kube. What the first two do without containers is in the API server's own tests.

mod rust;

use ironclad_testkit::Cluster;
use ironclad_testkit::cluster::run;
use std::path::{Path, PathBuf};
use std::process::Command;

const POD: &str = "apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: web, image: 'nginx:1.27'}
  - {name: talker, image: busybox, stdin: true, command: [sh, -c, 'echo hello; while read x; do echo got $x; done; sleep 1000']}
";

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// A program that ends in any case.
fn within(program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", "120", program]);
    command
}

fn python() -> Option<Command> {
    let has = |python: &&&str| {
        let tried = Command::new(python).args(["-c", "import kubernetes, websocket"]).output();
        tried.is_ok_and(|o| o.status.success())
    };
    let python = ["/usr/bin/python3", "python3"].iter().find(has).map(|python| within(python));
    if python.is_none() {
        eprintln!("skipped: no Python here has the package kubernetes (Debian: python3-kubernetes)");
    }
    python
}

fn node() -> Option<Command> {
    let otherwise = || format!("{}/../target/node", env!("CARGO_MANIFEST_DIR"));
    let modules = std::env::var("NODE_CLIENT").unwrap_or_else(|_| otherwise());
    if !Path::new(&modules).join("node_modules/@kubernetes/client-node").exists() {
        eprintln!("skipped: {modules} has no @kubernetes/client-node");
        return None;
    }
    let mut node = within("node");
    node.env("NODE_CLIENT", modules);
    Some(node)
}

#[test]
fn clients_of_others_stream_into_pods() {
    if !ironclad_tests::has_kubectl() {
        return;
    }
    let cluster = Cluster::start().unwrap_or_else(|e| panic!("{e}"));
    let stage = |namespace: &str| {
        let ns = cluster.namespace(namespace);
        ns.apply(POD);
        ns.wait("pod/web", "condition=Ready");
    };
    for (client, name) in [(python(), "streams.py"), (node(), "streams.mjs")] {
        let Some(mut client) = client else { continue };
        let namespace = format!("{}-streams", name.rsplit('.').next().unwrap_or_default());
        stage(&namespace);
        client.arg(script(name)).env("KUBECONFIG", cluster.kubeconfig()).env("NAMESPACE", &namespace);
        let output = run(client);
        print!("{}{}", output.stdout, output.stderr);
        assert_eq!(output.code, 0, "{name}");
    }
    stage("rs-streams");
    ironclad_auth::install_crypto();
    let tokio = tokio::runtime::Runtime::new().expect("a runtime");
    tokio.block_on(rust::play(&cluster.kubeconfig(), "rs-streams"));
}
