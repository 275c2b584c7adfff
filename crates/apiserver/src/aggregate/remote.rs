//! A group version that another server answers, as its APIService describes it.

use super::backend::{self, Backend, Missing};
use super::dial::{Dialer, Resolve};
use super::documents::Documents;
use crate::Body;
use crate::cache::{Cached, Caches};
use crate::catalog::Catalog;
use arc_swap::ArcSwap;
use base64::Engine;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use ironclad_api::labels::Labels;
use ironclad_api::object::{self, text};
use ironclad_auth::pki::Pair;
use ironclad_json::Value;
use ironclad_remote::{Target, Way};
use rustls_pki_types::ServerName;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// How long a connection is kept that nobody uses.
const IDLE: Duration = Duration::from_secs(60);
/// Which Service a slice belongs to.
pub(super) const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// What a Service's backends are looked up in.
#[derive(Clone)]
pub(super) struct Lookup {
    pub(super) caches: Arc<Caches>,
    pub(super) catalog: Arc<Catalog>,
    /// How they are reached.
    pub(super) way: Way,
}

pub(crate) struct Remote {
    /// The APIService's name.
    pub(super) name: String,
    pub(super) group: String,
    pub(super) version: String,
    pub(super) namespace: String,
    pub(super) service: String,
    pub(super) port: u16,
    pub(super) group_priority: i64,
    pub(super) version_priority: i64,
    /// The APIService's specification that this was made from.
    pub(super) spec: Value,
    available: AtomicBool,
    /// Why no request can be sent, or how.
    pub(super) ways: Result<Ways, String>,
    pub(super) lookup: Lookup,
    /// Something happened to the Service or to its endpoints.
    pub(super) wake: Notify,
    /// What the other server says of itself.
    pub(super) documents: ArcSwap<Documents>,
}

/// Ways to the other server.
pub(super) struct Ways {
    /// Keeps connections; for all requests that are answered.
    pub(super) client: Client<Dialer, Body>,
    /// For requests that take over their connection.
    pub(super) upgrades: Dialer,
    /// Takes any certificate: only to see whether somebody answers.
    pub(super) check: Client<Dialer, Body>,
}

impl Remote {
    /// From an APIService; `None` for one that this server answers itself.
    pub(super) fn new(object: &Value, identity: Option<&Pair>, lookup: Lookup) -> Option<Self> {
        let spec = &object["spec"];
        let service = spec["service"].as_object()?;
        let of = |field: &str| service.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let port = service.get("port").and_then(Value::as_u64).and_then(|p| u16::try_from(p).ok()).unwrap_or(443);
        let number = |field: &str| spec[field].as_i64().unwrap_or(0);
        let mut remote = Self {
            name: object::name(object).to_owned(),
            group: text(spec, &["group"]).to_owned(),
            version: text(spec, &["version"]).to_owned(),
            namespace: of("namespace"),
            service: of("name"),
            port,
            group_priority: number("groupPriorityMinimum"),
            version_priority: number("versionPriority"),
            spec: spec.clone(),
            available: AtomicBool::new(is_available(object)),
            ways: Err(String::new()),
            lookup,
            wake: Notify::new(),
            documents: ArcSwap::default(),
        };
        remote.ways = remote.ways(identity);
        Some(remote)
    }

    fn ways(&self, identity: Option<&Pair>) -> Result<Ways, String> {
        let host = format!("{}.{}.svc", self.service, self.namespace);
        let name = ServerName::try_from(host).map_err(|e| e.to_string())?;
        let bundle = text(&self.spec, &["caBundle"]);
        let authorities = base64::engine::general_purpose::STANDARD.decode(bundle).map_err(|e| e.to_string())?;
        let identity = identity.map(|pair| (pair.certificate.clone().into_bytes(), pair.key.clone().into_bytes()));
        let skips = self.spec["insecureSkipTLSVerify"] == true;
        let resolve = self.resolver();
        let dialer = |insecure: bool, alpn: &[&[u8]]| -> Result<Dialer, String> {
            let authorities = if insecure { Vec::new() } else { authorities.clone() };
            let target = Target { authorities, identity: identity.clone(), insecure, ..Target::default() };
            let mut config = target.tls().map_err(|e| e.to_string())?;
            config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
            Ok(Dialer::new(config, name.clone(), resolve.clone(), self.lookup.way.clone()))
        };
        let pooled = |dialer| {
            Client::builder(TokioExecutor::new()).pool_idle_timeout(IDLE).pool_timer(TokioTimer::new()).build(dialer)
        };
        Ok(Ways {
            client: pooled(dialer(skips, &[b"h2", b"http/1.1"])?),
            upgrades: dialer(skips, &[b"http/1.1"])?,
            check: pooled(dialer(true, &[b"http/1.1"])?),
        })
    }

    fn resolver(&self) -> Resolve {
        let (lookup, namespace, service, port) =
            (self.lookup.clone(), self.namespace.clone(), self.service.clone(), self.port);
        Arc::new(move || lookup.backend(&namespace, &service, port).map_err(|missing| missing.message))
    }

    /// The backend of the Service, as it is now.
    pub(super) fn backend(&self) -> Result<Backend, Missing> {
        self.lookup.backend(&self.namespace, &self.service, self.port)
    }

    /// Whether requests are sent on.
    pub(super) fn is_available(&self) -> bool {
        self.available.load(Ordering::Relaxed)
    }

    pub(super) fn set_available(&self, object: &Value) {
        self.available.store(is_available(object), Ordering::Relaxed);
    }

    /// How requests name the other server.
    pub(super) fn authority(&self) -> String {
        format!("{}.{}.svc:{}", self.service, self.namespace, self.port)
    }

    /// Where the group version is.
    pub(super) fn path(&self) -> String {
        match self.group.as_str() {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        }
    }
}

/// Whether an APIService's condition says that it is available.
fn is_available(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.filter(|c| c["type"] == "Available").any(|c| c["status"] == "True")
}

impl Lookup {
    /// The backend of a Service, as the caches show it.
    fn backend(&self, namespace: &str, name: &str, port: u16) -> Result<Backend, Missing> {
        let table = self.catalog.now();
        let cached = |group: &str, plural: &str| {
            let kind = table.stored(group, plural)?;
            Some((self.caches.of(kind)?, kind.prefix.to_string()))
        };
        let service =
            cached("", "services").and_then(|(cache, prefix)| cache.get(&format!("{prefix}{namespace}/{name}")));
        let service = service.map(|s| s.value());
        let slices = cached("discovery.k8s.io", "endpointslices").map(|(cache, prefix)| {
            let of = |c: &&Arc<Cached>| c.get_label(SERVICE_NAME) == Some(name);
            let all = cache.list(&format!("{prefix}{namespace}/"), None);
            all.iter().filter(of).map(|c| c.value()).collect::<Vec<Value>>()
        });
        backend::find(service.as_ref(), &slices.unwrap_or_default(), namespace, name, port)
    }
}
