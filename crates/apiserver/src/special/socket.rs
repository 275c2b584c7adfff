//! Watches over WebSocket: each event is one message.

use crate::Body;
use crate::accept::Media;
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

/// Whether a client asks for a WebSocket, and with what key.
pub(crate) fn key(headers: &HeaderMap) -> Option<HeaderValue> {
    let upgrade = words(headers, &UPGRADE).any(|w| w.eq_ignore_ascii_case("websocket"));
    let connection = words(headers, &CONNECTION).any(|w| w.eq_ignore_ascii_case("upgrade"));
    headers.get(SEC_WEBSOCKET_KEY).filter(|_| upgrade && connection).cloned()
}

/// Sends the events of a watch's answer over the connection once it is upgraded.
pub(crate) fn upgrade(
    key: &HeaderValue,
    headers: &HeaderMap,
    connection: OnUpgrade,
    watch: Response<Body>,
    media: Media,
) -> Response<Body> {
    if watch.status() != StatusCode::OK {
        return watch;
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
    let events = watch.into_body();
    tokio::spawn(async move {
        match connection.await {
            Ok(io) => {
                if let Err(error) = pump(TokioIo::new(io), events, media).await {
                    tracing::debug!(%error, "a watch over WebSocket ended");
                }
            }
            Err(error) => tracing::debug!(%error, "an upgrade failed"),
        }
    });
    response
}

async fn pump<S>(io: S, mut events: Body, media: Media) -> Result<(), Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let limits =
        WebSocketConfig::default().max_message_size(Some(LONGEST_MESSAGE)).max_frame_size(Some(LONGEST_MESSAGE));
    let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(limits)).await;
    let mut left = BytesMut::new();
    loop {
        tokio::select! {
            frame = events.frame() => match frame {
                Some(Ok(frame)) => {
                    left.extend_from_slice(&frame.into_data().unwrap_or_default());
                    while let Some(event) = next(&mut left, media) {
                        socket.feed(message(event, media)).await?;
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

/// Takes one event off the stream: a line of JSON, or as many bytes as its length says.
fn next(left: &mut BytesMut, media: Media) -> Option<Bytes> {
    if media == Media::Protobuf {
        let length = u32::from_be_bytes(left.get(..4)?.try_into().ok()?) as usize;
        left.get(4..4 + length)?;
        left.advance(4);
        return Some(left.split_to(length).freeze());
    }
    let end = left.iter().position(|b| *b == b'\n')?;
    Some(left.split_to(end + 1).freeze())
}

fn message(event: Bytes, media: Media) -> Message {
    match (media, String::from_utf8(event.to_vec())) {
        (Media::Json, Ok(text)) => Message::text(text),
        _ => Message::binary(event),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_taken_off_one_by_one() {
        let mut lines = BytesMut::from(&b"{\"a\":1}\n{\"b\""[..]);
        assert_eq!(next(&mut lines, Media::Json).unwrap(), "{\"a\":1}\n");
        assert_eq!(next(&mut lines, Media::Json), None);
        let mut framed = BytesMut::from(&b"\0\0\0\x02ab\0\0\0\x03c"[..]);
        assert_eq!(next(&mut framed, Media::Protobuf).unwrap(), "ab");
        assert_eq!(next(&mut framed, Media::Protobuf), None);
        assert_eq!(framed.len(), 5);
    }
}
