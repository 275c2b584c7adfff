//! Which protocol a request asks for, and the answer that upgrades it.

use crate::Error;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

const STREAM_PROTOCOL: &str = "x-stream-protocol-version";

/// What a connection is upgraded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// SPDY/3.1 directly.
    Spdy,
    /// WebSocket.
    WebSocket,
}

/// The transport and the version of the protocol on it.
pub(crate) struct Chosen {
    pub(crate) transport: Transport,
    pub(crate) protocol: String,
    pub(crate) response: Response<()>,
}

/// The words of a header that may stand several times and hold lists.
pub(crate) fn words(headers: &HeaderMap, name: impl http::header::AsHeaderName) -> Vec<String> {
    let values = headers.get_all(name);
    let lines = values.iter().filter_map(|v| v.to_str().ok());
    lines.flat_map(|l| l.split(',')).map(|w| w.trim().to_owned()).filter(|w| !w.is_empty()).collect()
}

fn transport(headers: &HeaderMap) -> Result<Transport, Error> {
    let connection = words(headers, CONNECTION);
    let upgrade = words(headers, UPGRADE).join(",").to_ascii_lowercase();
    if !connection.iter().any(|w| w.eq_ignore_ascii_case("upgrade")) {
        return Err(Error::NoUpgrade(format!("missing upgrade headers in request: {connection:?}")));
    }
    match upgrade.as_str() {
        "websocket" => Ok(Transport::WebSocket),
        "spdy/3.1" => Ok(Transport::Spdy),
        other => Err(Error::NoUpgrade(format!("unknown protocol {other:?}"))),
    }
}

fn value(text: &str) -> Result<HeaderValue, Error> {
    HeaderValue::from_str(text).map_err(|e| Error::BadRequest(e.to_string()))
}

/// Chooses the first protocol of the client that the transport has. `without` is what a client means that names none.
pub(crate) fn choose(headers: &HeaderMap, spdy: &[&str], websocket: &[&str], without: &str) -> Result<Chosen, Error> {
    let transport = transport(headers)?;
    let (offered, known) = match transport {
        Transport::Spdy => (words(headers, STREAM_PROTOCOL), spdy),
        Transport::WebSocket => (words(headers, SEC_WEBSOCKET_PROTOCOL), websocket),
    };
    let common = offered.iter().find(|p| known.contains(&p.as_str()));
    if common.is_none() && !offered.is_empty() {
        let server = known.iter().map(|&p| p.to_owned()).collect();
        return Err(Error::NoCommonProtocol { client: offered, server });
    }
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let out = response.headers_mut();
    out.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    match transport {
        Transport::Spdy => {
            out.insert(UPGRADE, HeaderValue::from_static("SPDY/3.1"));
            if let Some(protocol) = common {
                out.insert(STREAM_PROTOCOL, value(protocol)?);
            }
        }
        Transport::WebSocket => {
            let key = headers.get(SEC_WEBSOCKET_KEY);
            let key = key.ok_or_else(|| Error::NoUpgrade("missing Sec-WebSocket-Key".to_owned()))?;
            out.insert(UPGRADE, HeaderValue::from_static("websocket"));
            out.insert(SEC_WEBSOCKET_ACCEPT, value(&derive_accept_key(key.as_bytes()))?);
            if let Some(protocol) = common {
                out.insert(SEC_WEBSOCKET_PROTOCOL, value(protocol)?);
            }
        }
    }
    let protocol = common.cloned().unwrap_or_else(|| without.to_owned());
    Ok(Chosen { transport, protocol, response })
}
