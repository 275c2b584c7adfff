//! Health and readiness of a part over HTTPS, where stock's parts have them and probes ask: `/healthz`, `/livez`,
//! `/readyz`. Nothing else is told here.

use crate::cli::parts::HealthFlags;
use crate::failure::{Context, Result};
use ironclad_auth::pki::{self, Pki, Subject};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long a client may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Clients at once.
const CLIENTS: usize = 32;

/// Answers until the guard is dropped or `token` is cancelled.
pub(super) async fn start(
    flags: &HealthFlags,
    default: u16,
    name: &str,
    token: &CancellationToken,
) -> Result<Option<DropGuard>> {
    let port = flags.secure_port.unwrap_or(default);
    if port == 0 {
        return Ok(None);
    }
    let pair = match (&flags.tls_cert_file, &flags.tls_private_key_file) {
        (Some(certificate), Some(key)) => pki::read_pair(certificate, key).context("cannot use --tls-cert-file")?,
        _ => Pki::alone(&Subject::server(name, "", vec!["localhost".to_owned(), "127.0.0.1".to_owned()]))
            .context("cannot make a certificate")?,
    };
    let mut tls = (*pki::server_tls(&pair, "").context("cannot set up TLS")?).clone();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let address = SocketAddr::new(flags.bind_address, port);
    let listener = TcpListener::bind(address).await.context(&format!("cannot listen on {address}"))?;
    let token = token.child_token();
    tokio::spawn(accept(listener, TlsAcceptor::from(std::sync::Arc::new(tls)), token.clone()));
    Ok(Some(token.drop_guard()))
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, token: CancellationToken) {
    let places = std::sync::Arc::new(tokio::sync::Semaphore::new(CLIENTS));
    loop {
        let accepted = tokio::select! {
            () = token.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (Ok((stream, _)), Ok(place)) = (accepted, places.clone().acquire_owned().await) else { continue };
        let tls = tls.clone();
        tokio::spawn(async move {
            if !matches!(tokio::time::timeout(PATIENCE, answer(stream, tls)).await, Ok(Ok(()))) {
                tracing::trace!("a client went away");
            }
            drop(place);
        });
    }
}

async fn answer(stream: TcpStream, tls: TlsAcceptor) -> std::io::Result<()> {
    let mut stream = tls.accept(stream).await?;
    let mut head = Vec::new();
    while !head.windows(4).any(|w| w == b"\r\n\r\n") && head.len() < 8192 {
        if stream.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    stream.write_all(response(&String::from_utf8_lossy(&head)).as_bytes()).await?;
    stream.shutdown().await
}

fn response(head: &str) -> String {
    let path = head.split_whitespace().nth(1).unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default().trim_end_matches('/');
    let (status, body) = match path {
        "/healthz" | "/livez" | "/readyz" => ("200 OK", "ok"),
        _ => ("403 Forbidden", "Forbidden"),
    };
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_health_is_told() {
        for (line, status) in [
            ("GET /healthz HTTP/1.1\r\n", "200 OK"),
            ("GET /readyz?verbose HTTP/1.1", "200 OK"),
            ("GET /configz HTTP/1.1", "403"),
            ("", "403"),
        ] {
            assert!(response(line).starts_with(&format!("HTTP/1.1 {status}")), "{line}");
        }
    }
}
