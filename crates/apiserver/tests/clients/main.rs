//! Clients that nobody here wrote, driven against the server over TLS: the Python client, kube, and Node's.

#[path = "../support/mod.rs"]
mod support;

mod browser;
mod rust;

use ironclad_auth::kubeconfig;
use ironclad_auth::pki::{Pki, Subject};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A server that listens, and who may ask it.
struct Cluster {
    url: String,
    tls: rustls::ClientConfig,
    dir: TempDir,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Cluster {
    async fn start() -> Self {
        ironclad_auth::install_crypto();
        let (server, _, dir) = support::admitting().await;
        let pki = Pki::open_or_create(&dir.path().join("pki"), "test").unwrap();
        let serving = pki.issue("server", &Subject::server("server", "", vec!["127.0.0.1".into()])).unwrap();
        let client = pki.issue("client", &Subject::client("ann", "system:masters")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://127.0.0.1:{}", listener.local_addr().unwrap().port());
        kubeconfig::save(&dir.path().join("kubeconfig"), &kubeconfig::build("test", &url, pki.ca(), &client)).unwrap();
        let stop = CancellationToken::new();
        let (token, of_server) = (stop.clone(), pki.server_tls(&serving).unwrap());
        let serving = tokio::spawn(async move { server.serve(listener, of_server, token).await });
        let tls = (*pki.client_tls(&client).unwrap()).clone();
        Self { url, tls, dir, stop, serving }
    }

    fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("kubeconfig")
    }

    async fn end(self) {
        self.stop.cancel();
        self.serving.await.unwrap();
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// Runs a program that must succeed; what it printed is shown.
async fn run(mut command: Command, cluster: &Cluster) {
    command.env("KUBECONFIG", cluster.kubeconfig());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    print!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}", output.status);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_client_finds_what_it_expects() {
    let has = |python: &&&str| {
        let tried = Command::new(python).args(["-c", "import kubernetes"]).output();
        tried.is_ok_and(|o| o.status.success())
    };
    let Some(python) = ["/usr/bin/python3", "python3"].iter().find(has) else {
        return eprintln!("skipped: no Python here has the package kubernetes (Debian: python3-kubernetes)");
    };
    let cluster = Cluster::start().await;
    let mut command = Command::new(python);
    command.arg(script("client.py"));
    run(command, &cluster).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_client_finds_what_it_expects() {
    let modules =
        std::env::var("NODE_CLIENT").unwrap_or_else(|_| format!("{}/../../target/node", env!("CARGO_MANIFEST_DIR")));
    if !Path::new(&modules).join("node_modules/@kubernetes/client-node").exists() {
        return eprintln!(
            "skipped: {modules} has no @kubernetes/client-node (npm install --prefix {modules} @kubernetes/client-node)"
        );
    }
    let cluster = Cluster::start().await;
    let mut command = Command::new("node");
    command.arg(script("client.mjs")).env("NODE_CLIENT", modules);
    run(command, &cluster).await;
    cluster.end().await;
}
