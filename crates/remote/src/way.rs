//! Ways to other servers: straight there, or through a proxy that an EgressSelectorConfiguration names (KEP-1281).
//!
//! Invariant: what goes through a proxy goes nowhere else, also when the proxy does not answer.

use crate::konnectivity;
use crate::verify::dial;
use ironclad_api::metrics::{Kind, Metric};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;

/// What bytes go to and fro over.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// A connection, whatever it goes through.
pub type Connection = Box<dyn Wire>;

/// The largest head of a proxy's answer.
const HEAD: usize = 64 << 10;
/// How long a proxy may take, as long as a connection of Go's may.
const PATIENCE: Duration = Duration::from_secs(30);

static STARTED: Metric = Metric {
    name: "apiserver_egress_dialer_dial_start_total",
    stability: "ALPHA",
    help: "Dial starts, labeled by the protocol (http-connect or grpc) and transport (tcp or uds).",
    kind: Kind::Counter,
};
static TOOK: Metric = Metric {
    name: "apiserver_egress_dialer_dial_duration_seconds",
    stability: "ALPHA",
    help: "Dial latency histogram in seconds, labeled by the protocol (http-connect or grpc), transport (tcp or uds)",
    kind: Kind::Histogram(&[0.005, 0.025, 0.1, 0.5, 2.5, 12.5]),
};
static FAILED: Metric = Metric {
    name: "apiserver_egress_dialer_dial_failure_count",
    stability: "ALPHA",
    help: "Dial failure count, labeled by the protocol (http-connect or grpc), transport (tcp or uds), and stage (connect or proxy). The stage indicates at which stage the dial failed",
    kind: Kind::Counter,
};

/// What was counted of proxies, as text.
pub fn metrics() -> String {
    ironclad_api::metrics::page(&[], &[&STARTED, &TOOK, &FAILED])
}

/// How connections come about; by default straight.
#[derive(Clone, Default)]
pub struct Way(Option<Arc<Proxy>>);

/// A proxy on the way.
pub(crate) enum Proxy {
    /// HTTP CONNECT to a host and port, in TLS that expects a name where there is some.
    Tcp { host: String, port: u16, tls: Option<(Arc<ClientConfig>, ServerName<'static>)> },
    /// HTTP CONNECT over a unix socket.
    Unix(PathBuf),
    /// gRPC over a unix socket.
    Grpc(PathBuf),
}

impl std::fmt::Debug for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            None => f.write_str("Direct"),
            Some(proxy) => write!(f, "{:?}", proxy.labels()),
        }
    }
}

impl From<Proxy> for Way {
    fn from(proxy: Proxy) -> Self {
        Self(Some(Arc::new(proxy)))
    }
}

impl Way {
    /// Whether connections go straight.
    pub fn is_direct(&self) -> bool {
        self.0.is_none()
    }

    /// A connection to a host and port.
    pub async fn dial(&self, host: &str, port: u16) -> io::Result<Connection> {
        let Some(proxy) = &self.0 else {
            let stream = dial(host, port).await?;
            stream.set_nodelay(true)?;
            return Ok(Box::new(stream));
        };
        let labels = proxy.labels();
        let (began, address) = (Instant::now(), address(host, port));
        STARTED.add(&labels, 1);
        let done = tokio::time::timeout(PATIENCE, proxy.connect(&address)).await;
        match done.unwrap_or_else(|_| Err(("proxy", io::Error::other("context deadline exceeded")))) {
            Ok(connection) => {
                TOOK.took(&labels, began.elapsed());
                Ok(connection)
            }
            Err((stage, error)) => {
                let [protocol, transport] = labels;
                FAILED.add(&[protocol, ("stage", stage), transport], 1);
                Err(error)
            }
        }
    }
}

fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

type Staged<T> = Result<T, (&'static str, io::Error)>;

impl Proxy {
    fn labels(&self) -> [(&'static str, &'static str); 2] {
        let (protocol, transport) = match self {
            Self::Tcp { .. } => ("http-connect", "tcp"),
            Self::Unix(_) => ("http-connect", "uds"),
            Self::Grpc(_) => ("grpc", "uds"),
        };
        [("protocol", protocol), ("transport", transport)]
    }

    async fn connect(&self, address: &str) -> Staged<Connection> {
        let failed = |error| ("connect", error);
        let (stream, shown): (Connection, String) = match self {
            Self::Tcp { host, port, tls } => {
                let stream = dial(host, *port).await.map_err(failed)?;
                stream.set_nodelay(true).map_err(failed)?;
                let shown = self::address(host, *port);
                match tls {
                    None => (Box::new(stream), shown),
                    Some((config, name)) => {
                        let secure = TlsConnector::from(config.clone()).connect(name.clone(), stream).await;
                        (Box::new(secure.map_err(failed)?), shown)
                    }
                }
            }
            Self::Unix(path) => (Box::new(unix(path).await.map_err(failed)?), path.display().to_string()),
            Self::Grpc(path) => {
                let stream = unix(path).await.map_err(failed)?;
                return konnectivity::connect(stream, address).await;
            }
        };
        tunnel(stream, &shown, address).await.map_err(|why| ("proxy", io::Error::other(why)))
    }
}

async fn unix(path: &std::path::Path) -> io::Result<UnixStream> {
    UnixStream::connect(path).await.map_err(|error| {
        let why = crate::verify::reason(&error);
        io::Error::new(error.kind(), format!("dial unix {}: connect: {why}", path.display()))
    })
}

/// Has an HTTP proxy connect to an address.
async fn tunnel(mut stream: Connection, proxy: &str, address: &str) -> Result<Connection, String> {
    let unread =
        |why: String| format!("reading HTTP response from CONNECT to {address} via proxy {proxy} failed: {why}");
    let request = format!("CONNECT {address} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|e| unread(e.to_string()))?;
    stream.flush().await.map_err(|e| unread(e.to_string()))?;
    let mut head = Vec::new();
    // Byte by byte, so that nothing is taken of what comes behind the head.
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > HEAD {
            return Err(unread("the head of the answer is too long".to_owned()));
        }
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(unread("unexpected EOF".to_owned()));
            }
            Err(error) => return Err(unread(error.to_string())),
        }
    }
    let text = String::from_utf8_lossy(&head);
    let line = text.lines().next().unwrap_or_default();
    match line.split_once(' ').map(|(version, status)| (version.starts_with("HTTP/"), status.trim())) {
        Some((true, status)) if status.starts_with("200") => Ok(stream),
        Some((true, status)) => {
            let code = status.split(' ').next().unwrap_or_default();
            Err(format!("proxy error from {proxy} while dialing {address}, code {code}: {status}"))
        }
        _ => Err(unread(format!("malformed HTTP response {line:?}"))),
    }
}
