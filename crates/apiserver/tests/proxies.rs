//! What a server that answers for ours can do to its clients, and what clients can do to it: each class of known attacks
//! on proxied requests has its test, against a kubelet that misbehaves.

mod support;

use async_trait::async_trait;
use ironclad_admission::Chain;
use ironclad_api::{ApiError, UserInfo};
use ironclad_apiserver::{ApiServer, Config, KubeletAccess, Load};
use ironclad_auth::pki::{Pki, Subject};
use ironclad_auth::{
    Anonymous, Attributes, Authenticated, Authenticator, Authorizer, Bearer, Certificates, Credentials, Decision,
    OrElse, Rules, Union,
};
use ironclad_json::json;
use ironclad_store::{LogStore, Options};
use rustls::pki_types::ServerName;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;

struct Everything;

#[async_trait]
impl Authenticator for Everything {
    async fn authenticate(&self, _: Credentials<'_>) -> Result<Option<Authenticated>, ApiError> {
        Ok(None)
    }

    async fn review(&self, token: &str, _: &[String]) -> Result<Option<Authenticated>, ApiError> {
        Ok((token == "good").then(|| Authenticated { user: UserInfo::new("bob", &[]), audiences: Vec::new() }))
    }
}

#[async_trait]
impl Authorizer for Everything {
    async fn authorize(&self, a: &Attributes) -> Decision {
        if a.user.name == "bob" || a.user.is_in("system:masters") {
            return Decision::Allow(String::new());
        }
        Decision::NoOpinion(String::new())
    }

    async fn rules(&self, _: &UserInfo, _: &str) -> Rules {
        Rules::default()
    }
}

struct World {
    dir: TempDir,
    pki: Pki,
    address: SocketAddr,
    /// What the kubelet got, whole.
    seen: UnboundedReceiver<String>,
    token: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

/// A kubelet that says the same to everybody and tells what it got.
async fn kubelet(pki: &Pki, answer: &'static str) -> (u16, UnboundedReceiver<String>) {
    let pair = pki.issue("k", &Subject::server("k", "", vec!["127.0.0.1".into()])).unwrap();
    let acceptor = TlsAcceptor::from(pki.server_tls(&pair).unwrap());
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, seen) = unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, tell) = (acceptor.clone(), tell.clone());
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await.unwrap();
                let mut buffer = vec![0; 16 << 10];
                while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                    tell.send(String::from_utf8_lossy(&buffer[..n]).into_owned()).unwrap();
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            });
        }
    });
    (port, seen)
}

async fn world(answer: &'static str) -> World {
    ironclad_auth::install_crypto();
    let dir = TempDir::new().unwrap();
    let pki = Pki::open_or_create(&dir.path().join("pki"), "test").unwrap();
    let client = pki.issue("c", &Subject::client("kubelet-client", "")).unwrap();
    let (port, seen) = kubelet(&pki, answer).await;
    let store = Arc::new(LogStore::open(&dir.path().join("store"), Options::default()).unwrap());
    let kubelets = KubeletAccess { tls: Some(pki.client_tls(&client).unwrap()), ..KubeletAccess::default() };
    let config = Config { kubelets, ..support::config(store, Load::default()) };
    let token = CancellationToken::new();
    let prepared = ApiServer::prepare(config, token.clone()).await.unwrap();
    let any = Arc::new(Everything);
    let known: Vec<Arc<dyn Authenticator>> = vec![
        Arc::new(Certificates::new(ironclad_auth::pki::verifier(pki.ca()).unwrap())),
        Arc::new(Bearer(vec![any.clone()])),
    ];
    let authenticator = OrElse { known: Arc::new(Union(known)), otherwise: Arc::new(Anonymous::default()) };
    let server = prepared
        .finish(Arc::new(authenticator), any, Arc::new(support::Anybody), Chain::new(Vec::new()))
        .await
        .unwrap();
    let endpoint = json!({"Port": port});
    server
        .ensure("", "nodes", json!({"metadata": {"name": "n"}, "status": {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}], "daemonEndpoints": {"kubeletEndpoint": endpoint}}}))
        .await
        .unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = pki.issue("s", &Subject::server("s", "", vec!["127.0.0.1".into()])).unwrap();
    let tls = ironclad_auth::pki::api_tls(&serving, pki.ca()).unwrap();
    let (serve, stop) = (server, token.clone());
    tokio::spawn(async move { serve.serve(listener, tls, stop).await });
    World { dir, pki, address, seen, token }
}

const UPGRADE: &str = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

impl World {
    /// Sends bytes as a client with HTTP/1.1 and brings back what comes within a moment.
    async fn say(&self, requests: &[String]) -> String {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(pem(self.pki.ca())).unwrap();
        let mut tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await.unwrap();
        let mut got = Vec::new();
        for request in requests {
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut buffer = [0; 4096];
            let patience = std::time::Duration::from_millis(500);
            while let Ok(Ok(n @ 1..)) = tokio::time::timeout(patience, stream.read(&mut buffer)).await {
                got.extend_from_slice(&buffer[..n]);
            }
        }
        String::from_utf8_lossy(&got).into_owned()
    }
}

fn pem(text: &str) -> rustls::pki_types::CertificateDer<'static> {
    use rustls::pki_types::pem::PemObject;
    rustls::pki_types::CertificateDer::from_pem_slice(text.as_bytes()).unwrap()
}

fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer good\r\n{headers}\r\n")
}

const PROXY: &str = "/api/v1/nodes/n/proxy/logs";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_never_sees_credentials_or_impersonation() {
    let mut world = world(OK).await;
    let smuggled = "impersonate-user: admin\r\nimpersonate-uid: 7\r\nimpersonate-extra-a: b\r\n";
    let refused = world.say(&[get(PROXY, smuggled)]).await;
    assert!(refused.starts_with("HTTP/1.1 403"), "admin may do nothing: {refused}");
    let got = world.say(&[get(PROXY, "impersonate-user: bob\r\nimpersonate-uid: 7\r\nx-mine: 1\r\n")]).await;
    assert!(got.starts_with("HTTP/1.1 200") && got.ends_with("hi"), "{got}");
    let seen = world.seen.recv().await.unwrap().to_lowercase();
    assert!(seen.contains("x-mine: 1"), "{seen}");
    assert!(!seen.contains("impersonate") && !seen.contains("authorization"), "{seen}");
    assert!(world.seen.try_recv().is_err(), "what was refused never came");
    assert!(world.dir.path().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn cve_2020_8559_a_redirect_of_a_backend_is_not_followed() {
    let away = "HTTP/1.1 302 Found\r\nlocation: https://192.0.2.9/secret\r\ncontent-length: 0\r\n\r\n";
    let mut world = world(away).await;
    let got = world.say(&[get(PROXY, "")]).await;
    assert!(got.starts_with("HTTP/1.1 302"), "a plain one is the client's to follow: {got}");
    let got = world.say(&[get(PROXY, UPGRADE)]).await;
    assert!(got.starts_with("HTTP/1.1 500") && got.contains("invalid upgrade response: status code 302"), "{got}");
    assert!(!got.contains("192.0.2.9"));
    assert!(world.seen.recv().await.is_some() && world.seen.recv().await.is_some());
    assert!(world.seen.try_recv().is_err(), "each request came once");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_root_of_a_backend_has_a_slash() {
    let mut world = world(OK).await;
    let got = world.say(&[get("/api/v1/nodes/n/proxy?a=b", "")]).await;
    assert!(got.starts_with("HTTP/1.1 301") && got.contains("Location: /api/v1/nodes/n/proxy/?a=b\r\n"), "{got}");
    assert!(world.seen.try_recv().is_err(), "the kubelet was not asked");
    let got = world.say(&[get("/api/v1/nodes/n/proxy/?a=b", "")]).await;
    assert!(got.starts_with("HTTP/1.1 200"), "{got}");
    assert!(world.seen.recv().await.unwrap().starts_with("GET /?a=b"));
    let post = get("/api/v1/nodes/n/proxy", "content-length: 0\r\n").replacen("GET", "POST", 1);
    let got = world.say(&[post]).await;
    assert!(got.starts_with("HTTP/1.1 200"), "{got}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_upgrade_leaves_no_tunnel_open() {
    let no = "HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno";
    let mut world = world(no).await;
    // Behind the refused upgrade comes a request that only the kubelet would serve, without credentials.
    let tunnelled = "GET /exec/kube-system/pod/c HTTP/1.1\r\nhost: kubelet\r\n\r\n".to_owned();
    let got = world.say(&[get(PROXY, UPGRADE), tunnelled]).await;
    assert!(got.starts_with("HTTP/1.1 403"), "{got}");
    assert!(world.seen.recv().await.unwrap().starts_with("GET /logs"));
    assert!(world.seen.try_recv().is_err(), "nothing went through behind it: {got}");
}

#[tokio::test(flavor = "multi_thread")]
async fn path_tricks_in_names_are_refused() {
    let mut world = world(OK).await;
    let table = [
        ("/api/v1/namespaces/default/pods/..%2f..%2fsecrets", 400),
        ("/api/v1/namespaces/..%2fkube-system/secrets/a", 400),
        ("/api/v1/namespaces/default/secrets/%2e%2e", 400),
        ("/api/v1/namespaces/default/pods/a%252fb/log", 400),
        ("/api/v1/nodes/n%2fproxy%2fexec/proxy/x", 400),
        ("/api/v1/nodes/..%2f..%2fmetrics/proxy/x", 400),
        ("/api/v1/nodes/n/pro%78y/logs", 200),
    ];
    for (path, code) in table {
        let got = world.say(&[get(path, "")]).await;
        assert!(got.starts_with(&format!("HTTP/1.1 {code}")), "{path}: {got}");
    }
    assert!(world.seen.recv().await.unwrap().starts_with("GET /logs"));
    assert!(world.seen.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_does_not_lead_back_to_the_servers_own_machine() {
    let mut world = world(OK).await;
    for path in ["/api/v1/nodes/n:22/proxy/", "/api/v1/nodes/https:n:2379/proxy/"] {
        let got = world.say(&[get(path, "")]).await;
        assert!(got.starts_with("HTTP/1.1 400") && got.contains("address not allowed"), "{path}: {got}");
    }
    assert!(world.seen.try_recv().is_err());
}
