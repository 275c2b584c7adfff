//! One way to talk to the API: clients in process or over TLS, shared informers, work queues, events.
//!
//! Invariants: every component, ours too, goes through the API server with an identity of its own; one watch per kind
//! and process, however many look at it.

pub mod accounts;
pub mod delegated;
pub mod events;
pub mod informer;
pub mod leader;
pub mod metrics;
pub mod queue;

use http::header::USER_AGENT;
use http::{HeaderValue, Request, Response};
use ironclad_api::UserInfo;
use kube::client::Body;
use std::path::Path;
use tower::{Service, ServiceExt};

pub use events::Recorder;
pub use informer::{Change, Informer, Informers, ObjectKey};
pub use kube::Client;
pub use queue::WorkQueue;

/// What goes wrong before there is a client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kubeconfig cannot be read or says nothing useful.
    #[error("cannot use the kubeconfig {path}: {source}")]
    Kubeconfig {
        /// The file.
        path: String,
        /// Why.
        source: kube::config::KubeconfigError,
    },
    /// The client cannot be made from its configuration.
    #[error("cannot make a client: {0}")]
    Client(#[from] kube::Error),
}

/// A client whose transport is a function call into the API server's service, as `user`.
///
/// The service finds the user in the request's extensions; it must honour that for calls in process only.
pub fn in_process<S, B>(service: S, user: UserInfo) -> Client
where
    S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<tower::BoxError>,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<tower::BoxError>,
{
    let agent = HeaderValue::from_str(agent(&user)).ok();
    let identified = service.map_request(move |mut request: Request<Body>| {
        request.extensions_mut().insert(user.clone());
        if let Some(agent) = &agent {
            request.headers_mut().entry(USER_AGENT).or_insert_with(|| agent.clone());
        }
        request
    });
    Client::new(identified, "default")
}

/// The name that a component goes by in managed fields and logs: `kube-scheduler`, `kubelet`.
fn agent(user: &UserInfo) -> &str {
    let name = user.name.rsplit(':').next().unwrap_or_default();
    if user.name.starts_with("system:node:") { "kubelet" } else { name }
}

/// A client over TLS as a kubeconfig's current context describes it.
pub async fn from_kubeconfig(path: &Path) -> Result<Client, Error> {
    connect(path, false).await
}

/// The same; without the user's credentials, where others are shown with each request.
pub(crate) async fn connect(path: &Path, without_user: bool) -> Result<Client, Error> {
    let failed = |source| Error::Kubeconfig { path: path.display().to_string(), source };
    let file = kube::config::Kubeconfig::read_from(path).map_err(failed)?;
    let options = kube::config::KubeConfigOptions::default();
    let mut config = kube::Config::from_custom_kubeconfig(file, &options).await.map_err(failed)?;
    if without_user {
        config.auth_info = kube::config::AuthInfo::default();
    }
    // A watch has its own end, which the server sets.
    config.read_timeout = None;
    let host = config.cluster_url.authority().map(ToString::to_string).unwrap_or_default();
    Ok(counted(Client::try_from(config)?, host))
}

/// The same client, whose requests are counted.
fn counted(client: Client, host: String) -> Client {
    let host: std::sync::Arc<str> = host.into();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, host, method) = (client.clone(), host.clone(), request.method().clone());
        async move {
            let begun = std::time::Instant::now();
            let answer = client.send(request).await;
            let code = answer.as_ref().map_or_else(|_| "<error>".to_owned(), |a| a.status().as_u16().to_string());
            let labels = [("code", code.as_str()), ("host", &host), ("method", method.as_str())];
            metrics::REQUESTS.add(&labels, 1);
            metrics::REQUEST_TIMES.took(&[("host", &host), ("verb", method.as_str())], begun.elapsed());
            answer
        }
    });
    Client::new(service, "default")
}

/// A client that goes on with whatever client stands in `current`, for credentials that are renewed.
pub fn exchangeable(current: std::sync::Arc<parking_lot::Mutex<Client>>) -> Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        let client = current.lock().clone();
        async move { client.send(request).await }
    });
    Client::new(service, "default")
}

/// The authorities (PEM) by which a kubeconfig's current context knows the API server; empty where it names none.
pub fn authorities(path: &Path) -> Result<String, Error> {
    let failed = |source| Error::Kubeconfig { path: path.display().to_string(), source };
    let file = kube::config::Kubeconfig::read_from(path).map_err(failed)?;
    let cluster = file.current_context.as_ref().and_then(|name| {
        let context = file.contexts.iter().find(|c| &c.name == name)?.context.as_ref()?;
        file.clusters.iter().find(|c| c.name == context.cluster)?.cluster.as_ref()
    });
    let Some(cluster) = cluster else { return Ok(String::new()) };
    if let Some(data) = &cluster.certificate_authority_data {
        use base64::Engine;
        let bytes = base64::engine::general_purpose::STANDARD.decode(data);
        return Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned());
    }
    let Some(named) = &cluster.certificate_authority else { return Ok(String::new()) };
    let whole = path.parent().unwrap_or(Path::new(".")).join(named);
    std::fs::read_to_string(&whole).map_err(|source| {
        let source = kube::config::KubeconfigError::ReadConfig(source, whole.clone());
        Error::Kubeconfig { path: whole.display().to_string(), source }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_called_as_stock_calls_them() {
        let names = [
            ("system:kube-controller-manager", "kube-controller-manager"),
            ("system:node:vm", "kubelet"),
            ("system:serviceaccount:kube-system:coredns", "coredns"),
        ];
        for (user, want) in names {
            assert_eq!(agent(&UserInfo::new(user, &[])), want);
        }
    }
}
