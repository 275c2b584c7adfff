//! An extension API server for tests: HTTPS, knows its callers by the front proxy's certificate and headers, and keeps
//! flunders (`wardle.example.com/v1alpha1`) in memory. It can also misbehave, as its paths say.

mod documents;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_rustls::TlsAcceptor;

/// The group of flunders.
pub const GROUP: &str = "wardle.example.com";
/// Where flunders are.
pub const PLACE: &str = "/apis/wardle.example.com/v1alpha1";

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>;
type Answer = Pin<Box<dyn Future<Output = bool> + Send>>;
/// Asks whether a request may be made.
pub type Authorize = Arc<dyn Fn(Asked) -> Answer + Send + Sync>;

/// A request as the server got it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// HTTP method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// All headers.
    pub headers: HeaderMap,
    /// Common name of the client's certificate; empty without one.
    pub client: String,
}

impl Asked {
    /// The values of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).collect()
    }
}

/// What a server is made from: PEM texts.
pub struct Files<'a> {
    /// Its certificate.
    pub certificate: &'a str,
    /// Its key.
    pub key: &'a str,
    /// The authority of front proxies.
    pub front_proxies: &'a str,
}

struct Inner {
    address: SocketAddr,
    healthy: AtomicBool,
    /// Whether it knows only the old form of discovery.
    old: AtomicBool,
    asked: Mutex<Vec<Asked>>,
    flunders: Mutex<BTreeMap<(String, String), Value>>,
    revision: AtomicU64,
    changes: broadcast::Sender<Value>,
    authorize: Mutex<Option<Authorize>>,
}

/// A running server; dropping it ends it.
pub struct Extension {
    inner: Arc<Inner>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Extension {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Extension {
    /// Serves on a free port of `address`.
    pub async fn start(files: Files<'_>, address: std::net::IpAddr) -> std::io::Result<Self> {
        let tls = tls(files).map_err(std::io::Error::other)?;
        let listener = TcpListener::bind((address, 0)).await?;
        let inner = Arc::new(Inner {
            address: listener.local_addr()?,
            healthy: AtomicBool::new(true),
            old: AtomicBool::new(false),
            asked: Mutex::default(),
            flunders: Mutex::default(),
            revision: AtomicU64::new(1),
            changes: broadcast::channel(64).0,
            authorize: Mutex::default(),
        });
        let task = tokio::spawn(accept(inner.clone(), listener, TlsAcceptor::from(Arc::new(tls))));
        Ok(Self { inner, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.inner.address
    }

    /// Whether its discovery answers.
    pub fn set_healthy(&self, healthy: bool) {
        self.inner.healthy.store(healthy, Ordering::SeqCst);
    }

    /// Whether it knows only the old form of discovery.
    pub fn set_old(&self, old: bool) {
        self.inner.old.store(old, Ordering::SeqCst);
    }

    /// Asks this before each request for flunders.
    pub fn set_authorize(&self, authorize: Authorize) {
        *locked(&self.inner.authorize) = Some(authorize);
    }

    /// What it was asked, the oldest first.
    pub fn asked(&self) -> Vec<Asked> {
        locked(&self.inner.asked).clone()
    }
}

/// A test that panicked while it held a lock has failed already.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn tls(files: Files<'_>) -> Result<ServerConfig, Box<dyn std::error::Error + Send + Sync>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(files.front_proxies.as_bytes()) {
        roots.add(certificate?)?;
    }
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).allow_unauthenticated().build()?;
    let chain = CertificateDer::pem_slice_iter(files.certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(files.key.as_bytes())?;
    let mut config = ServerConfig::builder().with_client_cert_verifier(verifier).with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

async fn accept(inner: Arc<Inner>, listener: TcpListener, acceptor: TlsAcceptor) {
    while let Ok((stream, _)) = listener.accept().await {
        let (inner, acceptor) = (inner.clone(), acceptor.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let leaf = stream.get_ref().1.peer_certificates().and_then(|c| c.first()).map(|c| c.to_vec());
            let client = leaf.as_deref().map(common_name).unwrap_or_default();
            let service = hyper::service::service_fn(move |request| {
                let (inner, client) = (inner.clone(), client.clone());
                async move { Ok::<_, Infallible>(serve(&inner, client, request).await) }
            });
            // A client that goes away is no failure of the test.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection_with_upgrades(TokioIo::new(stream), service)
                .await;
        });
    }
}

fn common_name(certificate: &[u8]) -> String {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else { return String::new() };
    let name = parsed.subject().iter_common_name().next().and_then(|n| n.as_str().ok().map(str::to_owned));
    name.unwrap_or_default()
}

fn json(code: u16, value: &Value) -> Response<Body> {
    typed(code, "application/json", value)
}

fn typed(code: u16, kind: &str, value: &Value) -> Response<Body> {
    let response = Response::builder().status(code).header("content-type", kind);
    response.body(Full::new(Bytes::from(value.to_string())).boxed_unsync()).unwrap_or_default()
}

fn status(code: u16, reason: &str, message: &str) -> Response<Body> {
    json(
        code,
        &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
        "reason": reason, "message": message}),
    )
}

async fn serve(inner: &Arc<Inner>, client: String, mut request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let asked = Asked {
        method: request.method().to_string(),
        path: request.uri().path_and_query().map_or_else(String::new, ToString::to_string),
        headers: request.headers().clone(),
        client: client.clone(),
    };
    locked(&inner.asked).push(asked.clone());
    if client != "front-proxy-client" || asked.all("x-remote-user").len() != 1 {
        return status(401, "Unauthorized", "Unauthorized");
    }
    if !inner.healthy.load(Ordering::SeqCst) {
        return status(500, "InternalError", "not today");
    }
    let aggregated = asked.all("accept").iter().any(|a| a.contains("as=APIGroupDiscoveryList"));
    let old = inner.old.load(Ordering::SeqCst);
    if let Some((kind, document)) = documents::answer(&path, aggregated && !old) {
        return typed(200, kind, &document);
    }
    let authorize = locked(&inner.authorize).clone();
    if let Some(authorize) = authorize
        && !authorize(asked.clone()).await
    {
        return status(403, "Forbidden", "flunders.wardle.example.com is forbidden");
    }
    let parts: Vec<&str> = path.strip_prefix(PLACE).unwrap_or_default().split('/').filter(|p| !p.is_empty()).collect();
    match parts.as_slice() {
        ["namespaces", _, "flunders", _, "exec"] => echo(&mut request),
        ["namespaces", _, "flunders", _, "refuse"] => status(403, "Forbidden", "no upgrade for you"),
        ["namespaces", _, "flunders", _, "redirect"] => {
            let answer = Response::builder().status(302).header("location", "https://169.254.169.254/latest");
            answer.body(Full::new(Bytes::new()).boxed_unsync()).unwrap_or_default()
        }
        ["namespaces", _, "flunders", _, "switch"] => {
            let answer = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "evil");
            answer.body(Full::new(Bytes::new()).boxed_unsync()).unwrap_or_default()
        }
        ["namespaces", namespace, "flunders", rest @ ..] => flunders(inner, namespace, rest, request).await,
        ["flunders"] => flunders(inner, "", &[], request).await,
        _ => status(404, "NotFound", "the server could not find the requested resource"),
    }
}

/// Switches protocols and says everything back.
fn echo(request: &mut Request<Incoming>) -> Response<Body> {
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let mut stream = TokioIo::new(upgraded);
        let mut buffer = [0; 1024];
        while let Ok(n @ 1..) = stream.read(&mut buffer).await {
            if stream.write_all(&buffer[..n]).await.is_err() {
                return;
            }
        }
    });
    let answer = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
    let answer = answer.header("connection", "Upgrade").header("upgrade", "echo");
    answer.body(Full::new(Bytes::new()).boxed_unsync()).unwrap_or_default()
}

async fn flunders(inner: &Inner, namespace: &str, rest: &[&str], request: Request<Incoming>) -> Response<Body> {
    let (method, query) = (request.method().clone(), request.uri().query().unwrap_or_default().to_owned());
    let body = request.into_body().collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    let missing = |name: &str| status(404, "NotFound", &format!("flunders.wardle.example.com {name:?} not found"));
    let key = |name: &str| (namespace.to_owned(), name.to_owned());
    match (method.as_str(), rest) {
        ("GET", []) if query.contains("watch=") => watch(inner),
        ("GET", []) => {
            let all = locked(&inner.flunders);
            let items: Vec<Value> = all
                .iter()
                .filter(|((ns, _), _)| namespace.is_empty() || ns == namespace)
                .map(|(_, f)| f.clone())
                .collect();
            let revision = inner.revision.load(Ordering::SeqCst).to_string();
            json(
                200,
                &json!({"kind": "FlunderList", "apiVersion": "wardle.example.com/v1alpha1",
                "metadata": {"resourceVersion": revision}, "items": items}),
            )
        }
        ("POST", []) => {
            let Ok(mut flunder) = serde_json::from_slice::<Value>(&body) else {
                return status(400, "BadRequest", "no JSON");
            };
            flunder["metadata"]["namespace"] = json!(namespace);
            flunder["metadata"]["uid"] = json!(format!("uid-{}", inner.revision.load(Ordering::SeqCst)));
            flunder["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
            let name = flunder["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            json(201, &store(inner, key(&name), flunder, "ADDED"))
        }
        ("DELETE", []) => {
            locked(&inner.flunders).retain(|(ns, _), _| ns != namespace);
            json(200, &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}))
        }
        ("GET", [name]) => locked(&inner.flunders).get(&key(name)).map_or_else(|| missing(name), |f| json(200, f)),
        ("PUT" | "PATCH", [name]) => {
            let Some(old) = locked(&inner.flunders).get(&key(name)).cloned() else { return missing(name) };
            let Ok(given) = serde_json::from_slice::<Value>(&body) else { return status(400, "BadRequest", "no JSON") };
            let new = if method == "PUT" { given } else { merged(old, given) };
            json(200, &store(inner, key(name), new, "MODIFIED"))
        }
        ("DELETE", [name]) => {
            let Some(old) = locked(&inner.flunders).remove(&key(name)) else { return missing(name) };
            // Nobody may be watching.
            let _ = inner.changes.send(json!({"type": "DELETED", "object": old}));
            json(200, &json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}))
        }
        _ => status(405, "MethodNotAllowed", "the server does not allow this method on the requested resource"),
    }
}

fn store(inner: &Inner, key: (String, String), mut flunder: Value, event: &str) -> Value {
    let revision = inner.revision.fetch_add(1, Ordering::SeqCst) + 1;
    flunder["metadata"]["resourceVersion"] = json!(revision.to_string());
    locked(&inner.flunders).insert(key, flunder.clone());
    // Nobody may be watching.
    let _ = inner.changes.send(json!({"type": event, "object": flunder}));
    flunder
}

fn merged(mut old: Value, patch: Value) -> Value {
    match (&mut old, patch) {
        (Value::Object(old), Value::Object(patch)) => {
            for (key, value) in patch {
                match value {
                    Value::Null => drop(old.remove(&key)),
                    value => {
                        let before = old.remove(&key).unwrap_or_default();
                        old.insert(key, merged(before, value));
                    }
                }
            }
        }
        (slot, patch) => *slot = patch,
    }
    old
}

fn watch(inner: &Inner) -> Response<Body> {
    let changes = inner.changes.subscribe();
    let events = futures::stream::unfold(changes, |mut changes| async move {
        let event = changes.recv().await.ok()?;
        Some((Ok(Frame::data(Bytes::from(format!("{event}\n")))), changes))
    });
    Response::builder()
        .header("content-type", "application/json")
        .body(StreamBody::new(events).boxed_unsync())
        .unwrap_or_default()
}
