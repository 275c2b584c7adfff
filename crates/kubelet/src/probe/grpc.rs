//! gRPC probes: one call of `grpc.health.v1.Health/Check` over HTTP/2 without TLS.

use super::dial;
use bytes::{BufMut, Bytes, BytesMut};
use http::Request;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::time::Duration;

/// Longest answer in bytes.
const MAX: usize = 64 * 1024;
const STATES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];

/// Asks a server whether a service is well.
pub(super) async fn check(host: &str, port: u16, service: &str, timeout: Duration) -> Result<(), String> {
    let limit = crate::backoff::go(timeout);
    let address = format!("{host}:{port}");
    let stream = match tokio::time::timeout(timeout, dial(host, port, timeout)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(_)) | Err(_) => {
            return Err(format!(
                "timeout: failed to connect service {address:?} within {limit}: context deadline exceeded"
            ));
        }
    };
    let call = tokio::time::timeout(timeout, call(stream, &address, service)).await;
    let (status, message, state) =
        call.unwrap_or_else(|_| Err(format!("timeout: health rpc did not complete within {limit}")))?;
    match (status, state) {
        (0, Some(1)) => Ok(()),
        (0, state) => {
            let name = STATES.get(state.unwrap_or(0)).copied().unwrap_or("UNKNOWN");
            Err(format!("service unhealthy (responded with {name:?})"))
        }
        (12, _) => Err(format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {message}"
        )),
        (4, _) => Err(format!("timeout: health rpc did not complete within {limit}")),
        (code, _) => Err(format!("error: health rpc probe failed: rpc error: code = {code} desc = {message}")),
    }
}

/// The request message in its frame: one string, field 1.
fn frame(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.put_u8((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        message.put_u8(length as u8);
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put_slice(&message);
    framed.freeze()
}

/// The state in an answer: a small number, field 1, which is left out when it is 0.
fn state(body: &[u8]) -> Option<usize> {
    match body.get(5..)? {
        [] => Some(0),
        [0x08, value, ..] => Some(usize::from(*value)),
        _ => None,
    }
}

type Outcome = (u32, String, Option<usize>);

async fn call(stream: tokio::net::TcpStream, address: &str, service: &str) -> Result<Outcome, String> {
    let failed = |e: hyper::Error| format!("error: health rpc probe failed: {e}");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(failed)?;
    let driver = tokio::spawn(connection);
    let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/1.37")
        .body(Full::new(frame(service)))
        .map_err(|e| e.to_string())?;
    let answer = sender.send_request(request).await.map_err(failed)?;
    let head = answer.headers().clone();
    let http = answer.status();
    let body = Limited::new(answer.into_body(), MAX).collect().await.map_err(|e| e.to_string())?;
    driver.abort();
    let trailers = body.trailers().cloned().unwrap_or_default();
    let field = |name: &str| trailers.get(name).or(head.get(name)).and_then(|v| v.to_str().ok()).map(str::to_owned);
    let Some(status) = field("grpc-status").and_then(|s| s.parse().ok()) else {
        return Err(format!("error: health rpc probe failed: unexpected HTTP status code {http}"));
    };
    Ok((status, field("grpc-message").unwrap_or_default(), state(&body.to_bytes())))
}
