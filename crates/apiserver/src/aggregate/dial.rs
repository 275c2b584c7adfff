//! Connections to the servers behind a Service, with the front proxy's certificate.

use super::backend::{self, Backend};
use ironclad_remote::{Connection, Stream, Way};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);

/// Finds out where to connect to, anew for each connection.
pub(super) type Resolve = Arc<dyn Fn() -> Result<Backend, String> + Send + Sync>;

/// Opens connections to one Service.
#[derive(Clone)]
pub(super) struct Dialer {
    tls: TlsConnector,
    name: ServerName<'static>,
    resolve: Resolve,
    way: Way,
}

impl Dialer {
    pub(super) fn new(config: ClientConfig, name: ServerName<'static>, resolve: Resolve, way: Way) -> Self {
        Self { tls: TlsConnector::from(Arc::new(config)), name, resolve, way }
    }

    /// A connection to one of the backends.
    pub(super) async fn dial(&self) -> io::Result<TlsStream<Connection>> {
        let backend = (self.resolve)().map_err(io::Error::other)?;
        let open = async {
            let address = choose(&backend).await?;
            let stream = self.way.dial(&address.ip().to_string(), address.port()).await?;
            self.tls.connect(self.name.clone(), stream).await
        };
        let late = || io::Error::new(io::ErrorKind::TimedOut, "the connection took too long");
        tokio::time::timeout(CONNECT, open).await.unwrap_or_else(|_| Err(late()))
    }
}

async fn choose(backend: &Backend) -> io::Result<SocketAddr> {
    let addresses: Vec<SocketAddr> = match backend {
        Backend::Endpoints(addresses) => addresses.clone(),
        Backend::External(host, port) => tokio::net::lookup_host((host.as_str(), *port)).await?.collect(),
    };
    let allowed: Vec<SocketAddr> = addresses.into_iter().filter(|a| backend::may_dial(a.ip())).collect();
    match allowed.as_slice() {
        [] => Err(io::Error::other("no address of the service may be dialled")),
        some => Ok(some[fastrand::usize(..some.len())]),
    }
}

impl tower::Service<http::Uri> for Dialer {
    type Response = Stream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let dialer = self.clone();
        Box::pin(async move { dialer.dial().await.map(Stream::from) })
    }
}
