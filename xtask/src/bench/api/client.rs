//! The clients: HTTP/2 over TLS with a client certificate, one connection each.

use super::Result;
use crate::bench::process;
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use ironclad_auth::pki::{self, Pair, Pki, Subject};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio_rustls::TlsConnector;

pub(crate) const JSON: &str = "application/json";

/// The child process that serves.
pub(crate) struct Server {
    /// None for one that runs anyway.
    child: Option<Child>,
    process: u32,
    address: SocketAddr,
    tls: TlsConnector,
    /// From the start of the process to its first answer.
    pub(crate) started: Duration,
}

impl Server {
    /// A server that somebody else has started.
    pub(crate) fn running(address: SocketAddr, ca: &str, admin: &Pair, process: u32) -> Result<Self> {
        let mut tls = (*pki::client_tls(admin, Some(ca))?).clone();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let tls = TlsConnector::from(Arc::new(tls));
        Ok(Self { child: None, process, address, tls, started: Duration::ZERO })
    }

    /// One of our own, over a store in `dir` or an etcd.
    pub(crate) async fn start(dir: &Path, etcd: Option<String>) -> Result<Self> {
        // Certificates are made once in a cluster's life: not part of the start that is measured.
        let pki = Pki::open_or_create(&dir.join("pki"), "bench")?;
        pki.issue("apiserver", &Subject::server("kube-apiserver", "", vec!["127.0.0.1".into()]))?;
        let admin = pki.issue("admin", &Subject::client("bench", "system:masters"))?;
        let mut tls = (*pki.client_tls(&admin)?).clone();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let begin = Instant::now();
        let mut child = Command::new(std::env::current_exe()?)
            .args(["bench", "api-server"])
            .arg(dir)
            .args(etcd)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let out = child.stdout.take().ok_or("the server has no output")?;
        let line = BufReader::new(out).lines().next_line().await?.ok_or("the server ended at its start")?;
        let tls = TlsConnector::from(Arc::new(tls));
        let address = SocketAddr::from(([127, 0, 0, 1], line.trim().parse()?));
        let process = child.id().ok_or("the server has ended")?;
        let mut server = Self { child: Some(child), process, address, tls, started: Duration::ZERO };
        server.connect().await?.ask(Method::GET, "/readyz", JSON, Bytes::new()).await?;
        server.started = begin.elapsed();
        Ok(server)
    }

    pub(crate) async fn stop(mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            drop(child.stdin.take());
            child.wait().await?;
        }
        Ok(())
    }

    pub(crate) async fn connect(&self) -> Result<Connection> {
        let stream = tokio::net::TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let stream = self.tls.connect(self.address.ip().into(), stream).await?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(64 << 20)
            .handshake(TokioIo::new(stream))
            .await?;
        // Its end shows in the requests that use it.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Connection { sender })
    }

    /// Resident memory of the server that is its own, in bytes.
    pub(crate) fn memory(&self) -> Result<f64> {
        Ok(process::memory(self.process)?)
    }

    /// Seconds of processor time that the server has used.
    pub(crate) fn processor(&self) -> Result<f64> {
        Ok(process::processor(self.process)?)
    }
}

/// One client's connection.
#[derive(Clone)]
pub(crate) struct Connection {
    sender: http2::SendRequest<Full<Bytes>>,
}

impl Connection {
    /// Sends a request; the answer's body is still to be read.
    pub(crate) async fn open(
        &mut self,
        method: Method,
        path: &str,
        headers: (&str, &str),
        body: Bytes,
    ) -> Result<Response<Incoming>> {
        let (kind, accept) = headers;
        let request = Request::builder()
            .method(method)
            .uri(format!("https://127.0.0.1{path}"))
            .header("user-agent", "bench/1")
            .header("content-type", kind)
            .header("accept", accept)
            .body(Full::new(body))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        if response.status().as_u16() < 300 {
            return Ok(response);
        }
        let code = response.status();
        let text = response.into_body().collect().await?.to_bytes();
        Err(format!("{path}: {code}: {}", String::from_utf8_lossy(&text)).into())
    }

    /// Sends a request and reads its answer.
    pub(crate) async fn ask(&mut self, method: Method, path: &str, kind: &str, body: Bytes) -> Result<Bytes> {
        let response = self.open(method, path, (kind, JSON), body).await?;
        Ok(response.into_body().collect().await?.to_bytes())
    }

    /// Reads an answer in a media type without keeping it; how many bytes it had.
    pub(crate) async fn size(&mut self, path: &str, accept: &str) -> Result<usize> {
        let mut body = self.open(Method::GET, path, (JSON, accept), Bytes::new()).await?.into_body();
        let mut size = 0;
        while let Some(frame) = body.frame().await {
            size += frame?.data_ref().map_or(0, Bytes::len);
        }
        Ok(size)
    }
}
