//! The server: what it is made of, its service for calls in process, and its TLS listener.

use crate::aggregate::{self, Aggregator};
use crate::audited::Auditor;
use crate::cache::Caches;
use crate::catalog::Catalog;
use crate::custom::{self, Webhooks};
use crate::enablement::RuntimeConfig;
use crate::flow::{self, Fairness};
use crate::health::{Checks, Reach};
use crate::limits::{Limits, Load};
use crate::metrics::{Metrics, TimedChain, TimedStore};
use crate::pages::About;
use crate::reader::Reader;
use crate::registry::{Registry, store_error};
use crate::special::allocate::{Addresses, follow};
use crate::special::late::Late;
use crate::world::StoreLedger;
use crate::{Body, door, listener};
use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use ipnet::Ipv4Net;
use ironclad_admission::Chain;
use ironclad_api::features::FeatureGates;
use ironclad_api::source::Source;
use ironclad_api::{ApiError, GroupResource, UserInfo};
use ironclad_auth::pki::Pair;
use ironclad_auth::{Authenticator, Authorizer, LastModes};
use ironclad_json::Value;
use ironclad_kinds::Kind;
use ironclad_remote::{Egress, Way};
use ironclad_store::Store;
use rustls_pki_types::CertificateDer;
use std::convert::Infallible;
use std::future::Future;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use tokio::net::TcpListener;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

/// Makes tokens for service accounts.
#[async_trait]
pub trait TokenIssuer: Send + Sync {
    /// Answers a `TokenRequest` for a service account; `request` is the whole object.
    async fn issue(&self, namespace: &str, name: &str, request: &Value) -> Result<Value, ApiError>;
    /// The OpenID configuration and the public keys, as JSON.
    fn documents(&self) -> (Value, Value);
}

#[async_trait]
impl TokenIssuer for ironclad_auth::tokens::Tokens {
    async fn issue(&self, namespace: &str, name: &str, request: &Value) -> Result<Value, ApiError> {
        self.issue(namespace, name, request)
    }

    fn documents(&self) -> (Value, Value) {
        self.documents()
    }
}

/// How the server reaches kubelets.
#[derive(Clone, Default)]
pub struct KubeletAccess {
    /// TLS with the server's client certificate; without it nothing that a kubelet answers can be asked.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// The same for a client that takes a log from whoever answers in a kubelet's place.
    pub unverified: Option<Arc<rustls::ClientConfig>>,
}

impl KubeletAccess {
    pub(crate) fn unverified(&self) -> Option<TlsConnector> {
        self.unverified.clone().map(TlsConnector::from)
    }

    pub(crate) fn connector(&self) -> Option<TlsConnector> {
        self.tls.clone().map(TlsConnector::from)
    }
}

/// What a server is made from.
pub struct Config {
    /// Where objects are kept.
    pub store: Arc<dyn Store>,
    /// Addresses of Services.
    pub service_cidr: Ipv4Net,
    /// Ports of Services on nodes.
    pub node_ports: (u16, u16),
    /// The address and port under which the cluster's pods reach the server.
    pub advertise: (Ipv4Addr, u16),
    /// How kubelets are reached.
    pub kubelets: KubeletAccess,
    /// The certificate by which the servers behind APIServices know this one.
    pub front_proxy: Option<Pair>,
    /// Version of this program, for `/version`.
    pub version: String,
    /// What is let in, and how long it may take.
    pub load: Load,
    /// Which built-in versions are served besides or instead of those that are by themselves.
    pub runtime: RuntimeConfig,
    /// Which features are on.
    pub gates: FeatureGates,
    /// What else this process measures, as pages of `/metrics`.
    pub others: Vec<fn() -> String>,
    /// What the server tells of itself and of its neighbours.
    pub about: About,
}

/// Who decides: set once the server can be read from, since deciding needs reading.
pub(crate) struct Deciders {
    pub(crate) authenticator: Arc<dyn Authenticator>,
    pub(crate) authorizer: Arc<dyn Authorizer>,
    pub(crate) tokens: Arc<dyn TokenIssuer>,
}

/// How far the server is on its way to its end.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(crate) enum Stage {
    Serving,
    /// It is not ready any more, but serves still: load balancers need time to see it.
    Ending,
    /// What comes now is told to go elsewhere.
    Draining,
}

pub(crate) struct Inner {
    /// What other servers answer.
    pub(crate) aggregator: Aggregator,
    /// Who keeps what of requests.
    pub(crate) auditor: Option<Auditor>,
    /// What else is asked whether it is well.
    pub(crate) checks: Option<Checks>,
    /// Whether the store answers, for `/livez` and for `/readyz`.
    pub(crate) healthy: Reach,
    pub(crate) ready: Reach,
    pub(crate) registry: Arc<Registry>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) authenticator: Arc<dyn Authenticator>,
    pub(crate) authorizer: Arc<dyn Authorizer>,
    /// How users acted as others last.
    pub(crate) modes: LastModes,
    pub(crate) tokens: Arc<dyn TokenIssuer>,
    pub(crate) kubelets: KubeletAccess,
    /// How nodes, pods and Services are reached.
    pub(crate) cluster: Way,
    pub(crate) gates: FeatureGates,
    pub(crate) others: Vec<fn() -> String>,
    /// What is to be stored when the store takes writes again.
    pub(crate) late: Late,
    pub(crate) about: About,
    /// Where clients are told that the server is.
    pub(crate) advertise: (Ipv4Addr, u16),
    /// When the server began.
    pub(crate) began: std::time::SystemTime,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) limits: Limits,
    pub(crate) load: Load,
    pub(crate) fairness: Arc<Fairness>,
    /// How far the server is on its way to its end.
    pub(crate) stage: AtomicU8,
    pub(crate) version: String,
    /// Whose turn it is to have an OpenAPI document made.
    pub(crate) documents: Arc<tokio::sync::Semaphore>,
    /// What OpenAPI of version 2 has of built-in kinds.
    pub(crate) openapi: Arc<crate::openapi::Kept>,
}

impl Inner {
    /// The row of a resource in the version in which it is stored.
    pub(crate) fn kind_of(&self, group: &str, plural: &str) -> Option<Arc<Kind>> {
        self.catalog.now().stored(group, plural).cloned()
    }

    /// Whether the server has said that it ends.
    pub(crate) fn is_ending(&self) -> bool {
        self.stage.load(Ordering::Acquire) >= Stage::Ending as u8
    }

    /// Whether the server only finishes what it has begun.
    pub(crate) fn is_draining(&self) -> bool {
        self.stage.load(Ordering::Acquire) >= Stage::Draining as u8
    }

    pub(crate) fn set_stage(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Release);
    }

    /// Lets the store forget what is older than the interval.
    async fn forget_history(self: Arc<Self>, token: CancellationToken) {
        let store = &self.registry.store;
        let mut before = None;
        loop {
            match (before, store.revision().await) {
                (Some(old), Ok(now)) if old < now => {
                    if let Err(error) = store.compact(old).await {
                        tracing::warn!(%error, "the store's history was not compacted");
                    }
                    before = Some(now);
                }
                (_, Ok(now)) => before = Some(now),
                (_, Err(error)) => tracing::warn!(%error, "the store does not tell its revision"),
            }
            tokio::select! {
                () = token.cancelled() => return,
                () = tokio::time::sleep(self.load.compaction_interval) => {}
            }
        }
    }

    /// The row in which the instances of a definition are stored, if it is served.
    pub(crate) fn kind_of_custom(&self, definition: &Value) -> Option<Arc<Kind>> {
        let resource = ironclad_kinds::custom::resource(definition);
        self.kind_of(&resource.group, &resource.resource).filter(|k| k.custom.is_some())
    }

    /// See [`ApiServer::publish`]. Objects can be read before the resource is found, and are read until it is not.
    pub(crate) async fn publish(&self, resource: GroupResource, rows: Vec<Arc<Kind>>) -> Result<(), ApiError> {
        let before = self.kind_of(&resource.group, &resource.resource);
        let after = rows.iter().find(|k| k.version == k.storage_version).cloned();
        let caches = &self.registry.caches;
        match after {
            Some(kind) => caches.add(kind).await.map_err(|e| store_error(&e))?,
            None => drop(before.as_ref().inspect(|k| caches.remove(&k.prefix))),
        }
        self.catalog.replace(vec![(resource, rows)]);
        Ok(())
    }
}

/// A server that has its caches but nobody who decides yet.
pub struct Prepared {
    config: Config,
    caches: Arc<Caches>,
    catalog: Arc<Catalog>,
    token: CancellationToken,
    auditor: Option<Auditor>,
    checks: Option<Checks>,
    egress: Egress,
    metrics: Arc<Metrics>,
}

impl Prepared {
    /// What deciders read from.
    pub fn reader(&self) -> Reader {
        Reader::new(self.caches.clone(), self.catalog.clone(), self.metrics.clone(), self.egress.clone())
    }

    /// Has requests kept as a policy says.
    #[must_use]
    pub fn audited(self, auditor: Option<Auditor>) -> Self {
        Self { auditor, ..self }
    }

    /// Reaches other servers in these ways; to be said before anything reads.
    #[must_use]
    pub fn reaching(self, egress: Egress) -> Self {
        Self { egress, ..self }
    }

    /// Has more asked whether the server is well.
    #[must_use]
    pub fn checked(self, checks: Option<Checks>) -> Self {
        Self { checks, ..self }
    }

    /// The store as admission sees it.
    pub fn ledger(&self) -> StoreLedger {
        StoreLedger::new(self.config.store.clone(), self.reader())
    }

    /// The server, with who decides.
    pub async fn finish(
        self,
        authenticator: Arc<dyn Authenticator>,
        authorizer: Arc<dyn Authorizer>,
        tokens: Arc<dyn TokenIssuer>,
        admission: Chain,
    ) -> Result<ApiServer, ApiError> {
        let (cidr, ports) = (self.config.service_cidr, self.config.node_ports);
        let addresses = Addresses::new(cidr, ports, self.config.store.clone(), self.caches.clone());
        let services = self.reader().list(&GroupResource::new("", "services"), "");
        addresses.load(&services).await?;
        let (load, metrics) = (self.config.load.clone(), self.metrics.clone());
        let reader = self.reader();
        let store: Arc<dyn Store> = Arc::new(TimedStore::new(self.config.store, metrics.clone()));
        let admission = TimedChain::new(admission, metrics.clone());
        let webhooks = Webhooks::new(reader.clone());
        let watch_lists = self.config.gates.enabled(ironclad_api::features::WATCH_LIST);
        let registry =
            Registry { store, caches: self.caches, admission, addresses, load: load.clone(), webhooks, watch_lists };
        let deciders = Deciders { authenticator, authorizer, tokens };
        let (caches, cluster) = (registry.caches.clone(), self.egress.cluster);
        let aggregator = Aggregator::new(self.config.front_proxy, caches, self.catalog.clone(), cluster.clone());
        let inner = Inner {
            aggregator,
            registry: Arc::new(registry),
            catalog: self.catalog,
            authenticator: deciders.authenticator,
            authorizer: deciders.authorizer,
            modes: LastModes::default(),
            tokens: deciders.tokens,
            kubelets: self.config.kubelets,
            cluster,
            gates: self.config.gates,
            others: self.config.others,
            about: self.config.about,
            advertise: self.config.advertise,
            began: std::time::SystemTime::now(),
            limits: Limits::new(&load, metrics.clone()),
            fairness: fairness(&load, &metrics),
            metrics,
            stage: AtomicU8::new(Stage::Serving as u8),
            auditor: self.auditor,
            checks: self.checks,
            healthy: Reach::within(load.healthcheck_timeout),
            ready: Reach::within(load.readycheck_timeout),
            load,
            version: self.config.version,
            documents: Arc::new(tokio::sync::Semaphore::new(1)),
            openapi: Arc::default(),
            late: Late::default(),
        };
        let (advertise, port) = self.config.advertise;
        let first = Ipv4Addr::from(u32::from(self.config.service_cidr.network()) + 1);
        inner.bootstrap(advertise, port, first).await?;
        inner.bootstrap_addresses(self.config.service_cidr, &services).await?;
        custom::load(&inner, &reader).await?;
        let server = ApiServer { inner: Arc::new(inner) };
        keep(&server.inner, &self.token);
        if server.inner.registry.addresses.are_shared() {
            drop(tokio::spawn(follow::run(server.inner.clone(), reader.clone(), self.token.clone())));
        }
        aggregate::start(&server.inner, &reader, &self.token).await;
        let definitions =
            custom::Controller::run(server.clone(), server.inner.clone(), reader.clone(), self.token.clone());
        drop(tokio::spawn(definitions));
        if !server.inner.load.compaction_interval.is_zero() {
            drop(tokio::spawn(server.inner.clone().forget_history(self.token.clone())));
        }
        if server.inner.load.priority_and_fairness {
            flow::settle(&server, &reader).await;
            drop(tokio::spawn(flow::run(server.clone(), Arc::new(reader), self.token)));
        }
        Ok(server)
    }
}

/// Keeps in the store what tells of this server.
fn keep(inner: &Arc<Inner>, token: &CancellationToken) {
    drop(tokio::spawn(inner.clone().catch_up_late(token.clone())));
    if inner.registry.store.is_shared() {
        let (advertise, port) = inner.advertise;
        drop(tokio::spawn(inner.clone().keep_address(advertise, port, token.clone())));
        drop(tokio::spawn(inner.clone().keep_identity(token.clone())));
    }
}

/// Priority and fairness over the seats that there are.
fn fairness(load: &Load, metrics: &Arc<Metrics>) -> Arc<Fairness> {
    let seats = load.max_requests_inflight + load.max_mutating_requests_inflight;
    Fairness::new(seats, load.request_timeout / 4, metrics.clone())
}

/// The API server. Cheap to clone; as a service it serves calls in process.
#[derive(Clone)]
pub struct ApiServer {
    inner: Arc<Inner>,
}

impl ApiServer {
    /// Loads the caches and begins to follow the store.
    pub async fn prepare(config: Config, token: CancellationToken) -> Result<Prepared, ApiError> {
        let kinds = config.runtime.select(ironclad_kinds::all(), &config.gates).map_err(ApiError::internal)?;
        let caches = Caches::start(config.store.clone(), &kinds, token.clone()).await.map_err(ApiError::internal)?;
        Ok(Prepared {
            config,
            caches,
            catalog: Arc::new(Catalog::new(&kinds)),
            token,
            auditor: None,
            checks: None,
            egress: Egress::default(),
            metrics: Arc::default(),
        })
    }

    /// Waits until reads show everything that was written.
    pub(crate) async fn catch_up(&self) {
        if let Err(error) = self.inner.registry.caches.current().await {
            tracing::warn!(%error, "the store does not tell its revision");
        }
    }

    pub(crate) fn fairness(&self) -> &Arc<Fairness> {
        &self.inner.fairness
    }

    /// Stores an object of the program's own, such as a bootstrap role, if there is none.
    pub async fn ensure(&self, group: &str, plural: &str, object: Value) -> Result<(), ApiError> {
        self.inner.ensure(group, plural, object).await
    }

    /// Serves a resource with these rows from now on, in the place of what was served of it; without rows no longer.
    pub async fn publish(&self, resource: GroupResource, rows: Vec<Arc<Kind>>) -> Result<(), ApiError> {
        self.inner.publish(resource, rows).await
    }

    /// Serves TLS connections until `token` is cancelled, and then until those that are served have ended: readiness
    /// fails at once, new connections are taken for as long as the shutdown delay, requests and watches are drained.
    pub async fn serve(&self, listener: TcpListener, tls: Arc<rustls::ServerConfig>, token: CancellationToken) {
        listener::serve(self.inner.clone(), listener, tls, token).await;
    }
}

/// What is known of a client's connection.
#[derive(Clone, Default)]
pub(crate) struct Connection {
    pub(crate) peer: Option<std::net::SocketAddr>,
    pub(crate) certificates: Arc<Vec<CertificateDer<'static>>>,
    /// Until when the client's own certificate is good.
    pub(crate) until: Option<std::time::SystemTime>,
}

impl<B> tower::Service<Request<B>> for ApiServer
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<tower::BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let inner = self.inner.clone();
        Box::pin(async move { Ok(door::serve(&inner, request).await) })
    }
}

/// The user of a call in process. A request from the network never has one: its extensions are made here.
pub(crate) fn user_in_process(request: &http::request::Parts) -> Option<&UserInfo> {
    if request.extensions.get::<Connection>().is_some() {
        return None;
    }
    request.extensions.get::<UserInfo>()
}
