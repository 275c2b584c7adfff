//! Connections: TLS, HTTP/1.1 and HTTP/2 with bounds on everything that a client can make the server hold or do, and
//! the way to the server's end.
//!
//! Bounds: time of the handshake, of the first bytes and of a head; size and number of headers; streams at once; streams
//! that were reset before they were served (CVE-2023-44487) or by our own doing; bytes that wait to be sent. Floods of
//! CONTINUATION, SETTINGS, PING and empty frames end the connection (CVE-2024-27316, CVE-2019-9512, -9515, -9518).

use crate::Body;
use crate::door::{self, GoAway};
use crate::server::{Connection, Inner, Stage};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use ironclad_streaming::bodiless;
use rustls_pki_types::CertificateDer;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A TLS handshake that takes longer is given up.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Bytes by which HTTP/2 begins.
const PREFACE: usize = 24;
/// Bytes of all headers of a request, as Go's server allows.
const HEADERS: usize = 1 << 20;
/// Headers of a request.
const HEADER_COUNT: usize = 500;
/// Streams that a client reset before they were served.
const RESETS: usize = 50;
/// Streams that the server reset because of what the client did.
const LOCAL_RESETS: usize = 200;
/// Bytes of one stream that wait for the client.
const SEND_BUFFER: usize = 256 << 10;
/// How often a silent client is asked whether it is still there, and how long it may take to answer.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(15));

/// Serves connections until `token` is cancelled, then drains them.
pub(crate) async fn serve(
    inner: Arc<Inner>,
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    token: CancellationToken,
) {
    let acceptor = TlsAcceptor::from(tls);
    let (connections, drain) = (TaskTracker::new(), CancellationToken::new());
    let delay = inner.load.shutdown_delay;
    let end = {
        let inner = inner.clone();
        async move {
            token.cancelled().await;
            inner.set_stage(Stage::Ending);
            tokio::time::sleep(delay).await;
        }
    };
    tokio::pin!(end);
    loop {
        let accepted = tokio::select! {
            () = &mut end => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                connections.spawn(connection(inner.clone(), stream, acceptor.clone(), drain.clone()));
            }
            Err(error) => {
                // Out of file descriptors, most likely: give the others time to end.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    inner.set_stage(Stage::Draining);
    drain.cancel();
    inner.registry.caches.close();
    connections.close();
    if tokio::time::timeout(inner.load.drain, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "some connections did not end in time");
    }
}

async fn connection(inner: Arc<Inner>, stream: TcpStream, acceptor: TlsAcceptor, drain: CancellationToken) {
    let address = stream.peer_addr().ok();
    // Without it answers would wait for acknowledgements.
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            inner.metrics.doors.handshakes.add(1);
            return tracing::debug!(%error, "a TLS handshake failed");
        }
        Err(_) => return,
    };
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let certificates: Vec<CertificateDer<'static>> = certificates.iter().map(|c| c.clone().into_owned()).collect();
    let until = certificates.first().and_then(|own| ironclad_auth::pki::ends(own));
    let peer = Connection { peer: address, certificates: Arc::new(certificates), until };
    let away = Arc::new(Notify::new());
    let (builder, head) = (builder(&inner, &stream), inner.load.header_timeout);
    let service = {
        let away = away.clone();
        hyper::service::service_fn(move |mut request: Request<Incoming>| {
            let (inner, away) = (inner.clone(), away.clone());
            request.extensions_mut().insert(peer.clone());
            let method = request.method().clone();
            async move {
                // In a box of its own, which goes when the answer begins: a watch does not hold it for its whole life.
                let response: Response<_> = Box::pin(door::serve(&inner, request)).await;
                if response.extensions().get::<GoAway>().is_some() {
                    away.notify_one();
                }
                Ok::<_, Infallible>(bodiless(&method, response, Body::default))
            }
        })
    };
    let prompt = Prompt { stream, missing: PREFACE, late: Box::pin(tokio::time::sleep(head)) };
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(prompt), service);
    tokio::pin!(connection);
    let ended = loop {
        tokio::select! {
            ended = &mut connection => break ended,
            () = drain.cancelled() => {
                connection.as_mut().graceful_shutdown();
                break connection.await;
            }
            () = away.notified() => connection.as_mut().graceful_shutdown(),
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}

/// How the connection's protocol, which TLS has settled, is served.
fn builder(inner: &Inner, stream: &TlsStream<TcpStream>) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    let (every, patience) = PING;
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(inner.load.http2_max_streams)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(LOCAL_RESETS)
        .max_header_list_size(HEADERS as u32)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(Some(every))
        .keep_alive_timeout(patience);
    builder
        .http1()
        .timer(TokioTimer::new())
        .title_case_headers(true)
        .header_read_timeout(inner.load.header_timeout)
        .max_headers(HEADER_COUNT)
        .max_buf_size(HEADERS + (64 << 10));
    match stream.get_ref().1.alpn_protocol() {
        Some(b"h2") => builder.http2_only(),
        _ => builder.http1_only(),
    }
}

/// A stream whose first bytes must come soon.
struct Prompt {
    stream: TlsStream<TcpStream>,
    missing: usize,
    late: Pin<Box<Sleep>>,
}

impl AsyncRead for Prompt {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        if this.missing > 0 {
            this.missing = this.missing.saturating_sub(buffer.filled().len() - before);
            if this.missing > 0 && read.is_pending() && this.late.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        read
    }
}

impl AsyncWrite for Prompt {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
