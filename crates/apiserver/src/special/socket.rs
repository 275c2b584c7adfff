//! Watches and logs over WebSocket: each event is one message, a log comes as it is read.

use crate::Body;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

/// Clients have nothing to say but that they close.
const LONGEST_MESSAGE: usize = 4096;
/// How browsers send a token.
const BEARER: &str = "base64url.bearer.authorization.k8s.io.";

fn words<'h>(headers: &'h HeaderMap, name: &http::header::HeaderName) -> impl Iterator<Item = &'h str> {
    let lines = headers.get_all(name).iter().filter_map(|v| v.to_str().ok());
    lines.flat_map(|l| l.split(',')).map(str::trim).filter(|w| !w.is_empty()).collect::<Vec<_>>().into_iter()
}

/// How an answer becomes messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Each line is a text.
    Lines,
    /// Each piece follows its length.
    Lengths,
    /// As it comes, after a first empty message that says that the connection works.
    Bytes,
    /// The same, as texts in base64.
    Base64,
}

/// How the protocol that the client names wants bytes.
pub(crate) fn bytes(headers: &HeaderMap) -> Framing {
    match words(headers, &SEC_WEBSOCKET_PROTOCOL).find(|p| !p.starts_with(BEARER)) {
        Some("base64.binary.k8s.io") => Framing::Base64,
        _ => Framing::Bytes,
    }
}

/// Whether a client asks for a WebSocket, and with what key.
pub(crate) fn key(headers: &HeaderMap) -> Option<HeaderValue> {
    let upgrade = words(headers, &UPGRADE).any(|w| w.eq_ignore_ascii_case("websocket"));
    let connection = words(headers, &CONNECTION).any(|w| w.eq_ignore_ascii_case("upgrade"));
    headers.get(SEC_WEBSOCKET_KEY).filter(|_| upgrade && connection).cloned()
}

/// Sends what an answer holds over the connection once it is upgraded.
pub(crate) fn upgrade(
    key: &HeaderValue,
    headers: &HeaderMap,
    connection: OnUpgrade,
    answer: Response<Body>,
    framing: Framing,
) -> Response<Body> {
    if answer.status() != StatusCode::OK {
        return answer;
    }
    let mut response = Response::new(crate::body::full(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let out = response.headers_mut();
    out.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    out.insert(UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        out.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    let protocol = words(headers, &SEC_WEBSOCKET_PROTOCOL).find(|p| !p.starts_with(BEARER));
    if let Some(protocol) = protocol.and_then(|p| HeaderValue::from_str(p).ok()) {
        out.insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    let body = answer.into_body();
    tokio::spawn(async move {
        match connection.await {
            Ok(io) => {
                if let Err(error) = pump(TokioIo::new(io), body, framing).await {
                    tracing::debug!(%error, "an answer over WebSocket ended");
                }
            }
            Err(error) => tracing::debug!(%error, "an upgrade failed"),
        }
    });
    response
}

async fn pump<S>(io: S, mut body: Body, framing: Framing) -> Result<(), Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let limits =
        WebSocketConfig::default().max_message_size(Some(LONGEST_MESSAGE)).max_frame_size(Some(LONGEST_MESSAGE));
    let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(limits)).await;
    let mut left = BytesMut::new();
    if matches!(framing, Framing::Bytes | Framing::Base64) {
        socket.send(message(Bytes::new(), framing)).await?;
    }
    loop {
        tokio::select! {
            frame = body.frame() => match frame {
                Some(Ok(frame)) => {
                    left.extend_from_slice(&frame.into_data().unwrap_or_default());
                    while let Some(piece) = next(&mut left, framing) {
                        socket.feed(message(piece, framing)).await?;
                    }
                    socket.flush().await?;
                }
                Some(Err(_)) | None => break,
            },
            message = socket.next() => match message {
                Some(Ok(Message::Close(_))) | None => return Ok(()),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
            },
        }
    }
    socket.close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() })).await
}

/// Takes one message off the stream.
fn next(left: &mut BytesMut, framing: Framing) -> Option<Bytes> {
    match framing {
        Framing::Lengths => {
            let length = u32::from_be_bytes(left.get(..4)?.try_into().ok()?) as usize;
            left.get(4..4 + length)?;
            left.advance(4);
            Some(left.split_to(length).freeze())
        }
        Framing::Lines => {
            let end = left.iter().position(|b| *b == b'\n')?;
            Some(left.split_to(end + 1).freeze())
        }
        Framing::Bytes | Framing::Base64 => (!left.is_empty()).then(|| left.split().freeze()),
    }
}

fn message(piece: Bytes, framing: Framing) -> Message {
    match framing {
        Framing::Lengths | Framing::Bytes => Message::binary(piece),
        Framing::Base64 => Message::text(STANDARD.encode(piece)),
        Framing::Lines => match String::from_utf8(piece.to_vec()) {
            Ok(text) => Message::text(text),
            Err(_) => Message::binary(piece),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_taken_off_one_by_one() {
        let mut lines = BytesMut::from(&b"{\"a\":1}\n{\"b\""[..]);
        assert_eq!(next(&mut lines, Framing::Lines).unwrap(), "{\"a\":1}\n");
        assert_eq!(next(&mut lines, Framing::Lines), None);
        let mut framed = BytesMut::from(&b"\0\0\0\x02ab\0\0\0\x03c"[..]);
        assert_eq!(next(&mut framed, Framing::Lengths).unwrap(), "ab");
        assert_eq!(next(&mut framed, Framing::Lengths), None);
        assert_eq!(framed.len(), 5);
        let mut log = BytesMut::from(&b"a\nb"[..]);
        assert_eq!(next(&mut log, Framing::Bytes).unwrap(), "a\nb");
        assert_eq!(next(&mut log, Framing::Bytes), None);
    }
}
