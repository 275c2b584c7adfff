//! Health, readiness and metrics over HTTP, by CoreDNS's paths and names.

use crate::Error;
use crate::feed::Ready;
use crate::server::Metrics;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

pub(crate) async fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |source| Error::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

fn text(metrics: &Metrics) -> String {
    let of = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    format!(
        "# TYPE coredns_dns_requests_total counter\ncoredns_dns_requests_total {}\n\
         # TYPE coredns_dns_responses_total counter\ncoredns_dns_responses_total{{rcode=\"NOERROR\"}} {}\n\
         coredns_dns_responses_total{{rcode=\"NXDOMAIN\"}} {}\ncoredns_dns_responses_total{{rcode=\"OTHER\"}} {}\n",
        of(&metrics.requests),
        of(&metrics.answered),
        of(&metrics.no_such_name),
        of(&metrics.failed)
    )
}

async fn one(mut stream: TcpStream, metrics: &Metrics, ready: &Ready) -> std::io::Result<()> {
    let mut buffer = [0; 2048];
    let length = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut buffer)).await??;
    let line = String::from_utf8_lossy(&buffer[..length]);
    let (status, body) = match line.split_whitespace().nth(1) {
        Some("/metrics") => ("200 OK", text(metrics)),
        Some("/health") => ("200 OK", "OK".to_owned()),
        Some("/ready") if ready() => ("200 OK", "OK".to_owned()),
        Some("/ready") => ("503 Service Unavailable", "kubernetes".to_owned()),
        _ => ("404 Not Found", "404 page not found\n".to_owned()),
    };
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close");
    stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).await
}

/// Answers until the token is cancelled, one client after the other.
pub(crate) async fn serve(listener: TcpListener, metrics: Arc<Metrics>, ready: Ready, token: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = token.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                if let Err(error) = one(stream, &metrics, &ready).await {
                    tracing::trace!(%error, "a client went away");
                }
            }
            Err(error) => tracing::warn!(%error, "cannot accept a connection"),
        }
    }
}
