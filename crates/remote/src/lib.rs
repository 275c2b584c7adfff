//! Calls of servers outside of the API server: webhooks that a kubeconfig names, issuers of tokens.
//!
//! Invariants: a redirect is an answer and is never followed, so that a server cannot send us elsewhere; every call has
//! an end in time and its answer a largest size; certificates are checked unless the configuration says otherwise.

mod connect;
mod egress;
mod konnectivity;
mod kubeconfig;
mod mistakes;
mod roots;
mod stream;
mod unverified;
mod verify;
mod way;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use connect::Connector;
pub use egress::Egress;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
pub use kubeconfig::{Credentials, CredentialsByServer};
use std::path::{Path, PathBuf};
use std::time::Duration;
pub use stream::Stream;
pub use unverified::{unverified, unverified_as};
pub use verify::{certificate_flaws, dial, reason, verifier};
pub use way::{Connection, Way, Wire, metrics};

/// The largest answer that is read.
pub const LARGEST: usize = 4 << 20;

/// What goes wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("{}", opened(path, source))]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What is configured cannot be used.
    #[error("{0}")]
    Configuration(String),
    /// The call did not come through, or its answer did not.
    #[error("{method} {url:?}: {why}")]
    Call {
        /// HTTP method.
        method: String,
        /// Without its query, which may hold secrets.
        url: String,
        /// Why.
        why: String,
    },
}

/// A file that cannot be read, as Go words it.
fn opened(path: &Path, why: &std::io::Error) -> String {
    match why.kind() {
        std::io::ErrorKind::NotFound => format!("open {}: no such file or directory", path.display()),
        _ => format!("open {}: {why}", path.display()),
    }
}

/// A result whose error is an [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Where to call and how.
#[derive(Clone, Default)]
pub struct Target {
    /// For example `https://hook.example:8443/authorize`.
    pub url: String,
    /// Authorities (PEM) that sign the server's certificate; those of the system when empty.
    pub authorities: Vec<u8>,
    /// The client's certificate and key (PEM).
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// Sent as `Authorization: Bearer`.
    pub token: Option<String>,
    /// Sent as `Authorization: Basic`.
    pub basic: Option<(String, String)>,
    /// The name that the server's certificate must have, where it is not the URL's host.
    pub server_name: Option<String>,
    /// Take any certificate. Only ever because the configuration says so.
    pub insecure: bool,
    /// How connections come about.
    pub way: Way,
}

impl Target {
    /// TLS towards the target, for who makes connections on their own.
    pub fn tls(&self) -> Result<rustls::ClientConfig> {
        connect::tls(self).map_err(Error::Configuration)
    }
}

/// An answer: status code and body.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status code.
    pub status: u16,
    /// The body, whole.
    pub body: Bytes,
}

/// A server that is called; connections are kept. Cheap to clone.
#[derive(Clone)]
pub struct Remote {
    client: Client<Connector, Full<Bytes>>,
    url: Uri,
    authorization: Option<HeaderValue>,
}

impl Remote {
    /// From a target.
    pub fn new(target: &Target) -> Result<Self> {
        let bad = |why: String| Error::Configuration(format!("cannot use {:?}: {why}", target.url));
        let url: Uri = target.url.parse().map_err(|e: http::uri::InvalidUri| bad(e.to_string()))?;
        if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none() {
            return Err(bad("it must be an http or https URL".to_owned()));
        }
        let connector = Connector::new(target).map_err(bad)?;
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(90))
            .pool_timer(TokioTimer::new())
            .build(connector);
        let text = match (&target.token, &target.basic) {
            (Some(token), _) => Some(format!("Bearer {token}")),
            (None, Some((user, password))) => Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))),
            (None, None) => None,
        };
        let authorization = text.map(|t| HeaderValue::from_str(&t)).transpose().map_err(|e| bad(e.to_string()))?;
        let authorization = authorization.map(|mut value| {
            value.set_sensitive(true);
            value
        });
        Ok(Self { client, url, authorization })
    }

    /// From a kubeconfig, whose server is the whole URL of a webhook.
    pub fn from_kubeconfig(path: &Path) -> Result<Self> {
        Self::from_kubeconfig_by(path, &Way::default())
    }

    /// From a kubeconfig, reached in a way of its own.
    pub fn from_kubeconfig_by(path: &Path, way: &Way) -> Result<Self> {
        Self::new(&Target { way: way.clone(), ..kubeconfig::target(path)? })
    }

    /// From where a pod finds the API server of its cluster and who it is there.
    pub fn in_cluster() -> Result<Self> {
        Self::new(&kubeconfig::in_cluster(|name| std::env::var(name).ok(), Path::new(kubeconfig::ACCOUNT))?)
    }

    /// Posts JSON to the target's own URL.
    pub async fn post(&self, body: impl Into<Bytes>, patience: Duration) -> Result<Answer> {
        self.call(Method::POST, self.url.clone(), body.into(), self.authorization.clone(), patience).await
    }

    /// Gets another URL of the same server's making.
    pub async fn get(&self, url: &str, patience: Duration) -> Result<Answer> {
        let uri = url.parse().map_err(|e| Error::Configuration(format!("cannot use {url:?}: {e}")))?;
        self.call(Method::GET, uri, Bytes::new(), self.authorization.clone(), patience).await
    }

    /// Gets an URL with a bearer token of its own in place of the target's credential.
    pub async fn get_as(&self, url: &str, token: Option<&str>, patience: Duration) -> Result<Answer> {
        let bad = |e: &dyn std::fmt::Display| Error::Configuration(format!("cannot use {url:?}: {e}"));
        let uri = url.parse().map_err(|e| bad(&e))?;
        let header = token.map(|t| HeaderValue::from_str(&format!("Bearer {t}"))).transpose().map_err(|e| bad(&e))?;
        let header = header.map(|mut value| {
            value.set_sensitive(true);
            value
        });
        self.call(Method::GET, uri, Bytes::new(), header, patience).await
    }

    async fn call(
        &self,
        method: Method,
        uri: Uri,
        body: Bytes,
        authorization: Option<HeaderValue>,
        patience: Duration,
    ) -> Result<Answer> {
        let told = uri.to_string().split('?').next().unwrap_or_default().to_owned();
        let failed = |why: String| Error::Call { method: method.to_string(), url: told.clone(), why };
        let mut request = Request::builder().method(method.clone()).uri(uri).header(ACCEPT, "application/json");
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        let request = request.body(Full::new(body)).map_err(|e| failed(e.to_string()))?;
        let whole = async {
            let answer = self.client.request(request).await.map_err(|e| failed(cause(&e)))?;
            let status = answer.status().as_u16();
            let body = Limited::new(answer.into_body(), LARGEST).collect().await.map_err(|e| failed(e.to_string()))?;
            Ok(Answer { status, body: body.to_bytes() })
        };
        let late = || Err(failed("context deadline exceeded".to_owned()));
        tokio::time::timeout(patience, whole).await.unwrap_or_else(|_| late())
    }
}

/// Why a call did not come through: what led to the error, without the client's own word for it.
fn cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), chain)
}

/// An error with everything that led to it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}
