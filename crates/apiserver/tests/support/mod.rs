//! A server in process for tests: everybody may do everything.
#![allow(dead_code, reason = "no test uses all of it")]

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use ironclad_admission::{Chain, Choice, Parts, chain};
use ironclad_api::features::FeatureGates;
use ironclad_api::{ApiError, UserInfo};
use ironclad_apiserver::{ApiServer, Auditor, Body, Config, KubeletAccess, Load, Reader, RuntimeConfig, TokenIssuer};
use ironclad_auth::pki::Pair;
use ironclad_auth::{Attributes, Authenticated, Authenticator, Authorizer, Credentials, Decision, Rules};
use ironclad_json::Value;
use ironclad_store::{LogStore, Options, Store};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tower::Service;

pub(crate) mod hook;
pub(crate) mod secure;

pub(crate) struct Anybody;

#[async_trait]
impl Authenticator for Anybody {
    async fn authenticate(&self, _: Credentials<'_>) -> Result<Option<Authenticated>, ApiError> {
        Ok(Some(Authenticated { user: UserInfo::new("somebody", &[]), audiences: Vec::new() }))
    }
}

#[async_trait]
impl Authorizer for Anybody {
    async fn authorize(&self, _: &Attributes) -> Decision {
        Decision::Allow(String::new())
    }

    async fn rules(&self, _: &UserInfo, _: &str) -> Rules {
        Rules::default()
    }
}

/// Everything but one resource.
struct But(&'static str);

#[async_trait]
impl Authorizer for But {
    async fn authorize(&self, asked: &Attributes) -> Decision {
        if asked.is_resource && asked.resource == self.0 {
            return Decision::NoOpinion("not yours".to_owned());
        }
        Decision::Allow(String::new())
    }

    async fn rules(&self, _: &UserInfo, _: &str) -> Rules {
        Rules::default()
    }
}

#[async_trait]
impl TokenIssuer for Anybody {
    async fn issue(&self, _: &str, _: &str, _: &Value) -> Result<Value, ApiError> {
        Err(ApiError::internal("no tokens here"))
    }

    fn documents(&self) -> (Value, Value) {
        (Value::Null, Value::Null)
    }
}

/// A server over a new directory.
pub(crate) async fn server() -> (ApiServer, Reader, TempDir) {
    let dir = TempDir::new().unwrap();
    let (server, reader) = open(dir.path(), CancellationToken::new()).await;
    (server, reader, dir)
}

/// A server over a new directory, with all plugins of admission and its own `default` namespace.
pub(crate) async fn admitting() -> (ApiServer, Reader, TempDir) {
    admitting_but("").await
}

/// The same, whose authorizer lets admission do nothing with one resource.
pub(crate) async fn admitting_but(resource: &'static str) -> (ApiServer, Reader, TempDir) {
    chosen(resource, &Choice::default()).await
}

/// The same with plugins of one's own choice.
pub(crate) async fn choosing(choice: &Choice) -> (ApiServer, Reader, TempDir) {
    chosen("", choice).await
}

async fn chosen(resource: &'static str, choice: &Choice) -> (ApiServer, Reader, TempDir) {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(LogStore::open(dir.path(), Options::default()).unwrap());
    let prepared = ApiServer::prepare(config(store, Load::default()), CancellationToken::new()).await.unwrap();
    let (reader, any) = (prepared.reader(), Arc::new(Anybody));
    let world = Arc::new(reader.clone());
    let ledger = Arc::new(prepared.ledger());
    let parts = Parts { source: world.clone(), authorizer: Arc::new(But(resource)), world, ledger };
    let chain = chain(&parts, choice).unwrap();
    let server = prepared.finish(any.clone(), any.clone(), any, chain).await.unwrap();
    (server, reader, dir)
}

/// A server over a store, with all plugins of admission.
pub(crate) async fn admitting_over(store: Arc<dyn Store>) -> ApiServer {
    let prepared = ApiServer::prepare(config(store, Load::default()), CancellationToken::new()).await.unwrap();
    let (reader, any) = (prepared.reader(), Arc::new(Anybody));
    let world = Arc::new(reader);
    let ledger = Arc::new(prepared.ledger());
    let parts = Parts { source: world.clone(), authorizer: any.clone(), world, ledger };
    prepared.finish(any.clone(), any.clone(), any, chain(&parts, &Choice::default()).unwrap()).await.unwrap()
}

/// A server over what a directory holds.
pub(crate) async fn open(dir: &Path, token: CancellationToken) -> (ApiServer, Reader) {
    limited(dir, token, Load::default()).await
}

/// A server with these limits over what a directory holds.
pub(crate) async fn limited(dir: &Path, token: CancellationToken, load: Load) -> (ApiServer, Reader) {
    made(config(Arc::new(LogStore::open(dir, Options::default()).unwrap()), load), token).await
}

/// A server over a store.
pub(crate) async fn over(store: Arc<dyn Store>, token: CancellationToken) -> (ApiServer, Reader) {
    behind_proxy(store, None, token).await
}

/// A server over a store that other servers know by a certificate.
pub(crate) async fn behind_proxy(
    store: Arc<dyn Store>,
    front_proxy: Option<Pair>,
    token: CancellationToken,
) -> (ApiServer, Reader) {
    made(Config { front_proxy, ..config(store, Load::default()) }, token).await
}

/// A server over a new directory that writes nothing by itself.
pub(crate) async fn quiet() -> (ApiServer, Reader, TempDir) {
    let dir = TempDir::new().unwrap();
    let (server, reader) = quiet_over(Arc::new(LogStore::open(dir.path(), Options::default()).unwrap())).await;
    (server, reader, dir)
}

/// A server over a store that writes nothing by itself.
pub(crate) async fn quiet_over(store: Arc<dyn Store>) -> (ApiServer, Reader) {
    let load = Load { priority_and_fairness: false, ..Load::default() };
    made(config(store, load), CancellationToken::new()).await
}

/// A server over a store with an address of its own.
pub(crate) async fn at(address: &str, store: Arc<dyn Store>, token: CancellationToken) -> ApiServer {
    let config = Config { advertise: (address.parse().unwrap(), 6443), ..config(store, Load::default()) };
    made(config, token).await.0
}

/// A server over a new directory with these versions and features.
pub(crate) async fn switched(runtime: &str, gates: &str) -> (ApiServer, TempDir) {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(LogStore::open(dir.path(), Options::default()).unwrap());
    let config = Config {
        runtime: RuntimeConfig::parse(runtime),
        gates: FeatureGates::parse(gates).unwrap(),
        ..config(store, Load::default())
    };
    (made(config, CancellationToken::new()).await.0, dir)
}

/// What a server for tests is made from.
pub(crate) fn config(store: Arc<dyn Store>, load: Load) -> Config {
    Config {
        store,
        service_cidr: "10.96.0.0/24".parse().unwrap(),
        node_ports: (30000, 30010),
        advertise: ("192.0.2.1".parse().unwrap(), 6443),
        kubelets: KubeletAccess::default(),
        front_proxy: None,
        version: "v1.37.0".to_owned(),
        load,
        runtime: Default::default(),
        gates: Default::default(),
        others: Vec::new(),
        about: ironclad_apiserver::About::default(),
    }
}

/// A server over a store with few addresses and ports of Services.
pub(crate) async fn narrow(
    store: Arc<dyn Store>,
    service_cidr: ipnet::Ipv4Net,
    node_ports: (u16, u16),
    token: CancellationToken,
) -> ApiServer {
    made(Config { service_cidr, node_ports, ..config(store, Load::default()) }, token).await.0
}

/// What something comes to; it is tried until it does.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(mut attempt: impl FnMut() -> F) -> T {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        if let Some(done) = attempt().await {
            return done;
        }
        assert!(std::time::Instant::now() < end, "it did not come to pass in time");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// A server over a new directory that keeps what an auditor says.
pub(crate) async fn audited(auditor: Auditor) -> (ApiServer, TempDir) {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(LogStore::open(dir.path(), Options::default()).unwrap());
    let prepared = ApiServer::prepare(config(store, Load::default()), CancellationToken::new()).await.unwrap();
    let any = Arc::new(Anybody);
    let server = prepared.audited(Some(auditor)).finish(any.clone(), any.clone(), any, Chain::new(Vec::new())).await;
    (server.unwrap(), dir)
}

async fn made(config: Config, token: CancellationToken) -> (ApiServer, Reader) {
    let prepared = ApiServer::prepare(config, token).await.unwrap();
    let reader = prepared.reader();
    let any = Arc::new(Anybody);
    (prepared.finish(any.clone(), any.clone(), any, Chain::new(Vec::new())).await.unwrap(), reader)
}

/// The answer to a request.
pub(crate) async fn send(
    server: &ApiServer,
    method: &str,
    path: &str,
    kind: &str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let request = Request::builder().method(method).uri(path).header("content-type", kind);
    let mut request = request.body(Full::new(body.into())).unwrap();
    request.extensions_mut().insert(UserInfo::new("tester", &["system:masters"]));
    server.clone().call(request).await.unwrap()
}

/// Code and object of the answer to a request.
pub(crate) async fn ask(server: &ApiServer, method: &str, path: &str, kind: &str, body: Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let response = send(server, method, path, kind, body).await;
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (code, serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).as_ref().into()))
}

/// The content type of most requests.
pub(crate) const JSON: &str = "application/json";

/// The answer to a request with these headers.
pub(crate) async fn with(
    server: &ApiServer,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Response<Body> {
    let request = Request::builder().method(method).uri(path);
    let request = headers.iter().fold(request, |r, (name, value)| r.header(*name, *value));
    let mut request = request.body(Full::new(body.into())).unwrap();
    request.extensions_mut().insert(UserInfo::new("tester", &["system:masters"]));
    server.clone().call(request).await.unwrap()
}

/// The whole body of an answer.
pub(crate) async fn bytes(response: Response<Body>) -> Bytes {
    response.into_body().collect().await.unwrap().to_bytes()
}
