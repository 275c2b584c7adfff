//! Streams of containers on their way to a kubelet: what it is asked, in the words that kubelets read, and the translation
//! for kubelets that speak SPDY only.

use super::upgrade;
use crate::Body;
use crate::request::{Info, decode};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use ironclad_api::ApiError;
use ironclad_streaming::{Relay, Wanted};
use tokio::io::{AsyncRead, AsyncWrite};

/// The query of a kubelet for that of a client, with the question mark.
pub(super) fn query(info: &Info, asked: Option<&str>) -> Result<String, ApiError> {
    let asked = asked.unwrap_or_default();
    let values = |names: &'static [&'static str]| {
        let pairs = asked.split('&').filter_map(|p| p.split_once('='));
        pairs.filter(|(key, _)| names.contains(key)).map(|(_, value)| decode(value))
    };
    let pairs: Vec<(&str, String)> = match &*info.subresource {
        "exec" | "attach" => {
            let wanted = Wanted::from_query(asked).map_err(|e| ApiError::bad_request(e.to_string()))?;
            let flags =
                [("error", wanted.stderr), ("input", wanted.stdin), ("output", wanted.stdout), ("tty", wanted.tty)];
            let flags = flags.into_iter().filter(|(_, on)| *on).map(|(name, _)| (name, "1".to_owned()));
            values(&["command"]).map(|word| ("command", word)).chain(flags).collect()
        }
        "portforward" => {
            let ports: Vec<String> = values(&["ports", "port"]).collect();
            if ports.is_empty() { Vec::new() } else { vec![("port", ports.join(","))] }
        }
        _ => return Ok(if asked.is_empty() { String::new() } else { format!("?{asked}") }),
    };
    let pairs: Vec<String> = pairs.into_iter().map(|(key, value)| format!("{key}={}", encode(&value))).collect();
    Ok(if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) })
}

/// Percent encoding of everything that could mean something in a query.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b',' => out.push(byte as char),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// Answers a client over WebSocket, whose streams go on over `stream` as SPDY.
pub(super) async fn translate<S>(
    relay: Relay,
    mut client: Request<Body>,
    uri: Uri,
    stream: S,
    host: &str,
) -> Result<Response<Body>, ApiError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let refused = |e: &ironclad_streaming::Error| ApiError::bad_request(e.to_string());
    let asked = ask(relay, &client, uri, host);
    match relay {
        Relay::Command => {
            let wanted = Wanted::from_query(client.uri().query().unwrap_or_default()).map_err(|e| refused(&e))?;
            let (response, opening) =
                ironclad_streaming::remote_command(&mut client, wanted).map_err(|e| refused(&e))?;
            tokio::spawn(async move {
                let (command, server) = tokio::join!(opening, upgrade::upgraded(stream, asked));
                let ended = match (command, server) {
                    (Ok(command), Ok(server)) => ironclad_streaming::relay(command, TokioIo::new(server), wanted).await,
                    (Ok(command), Err(error)) => ironclad_streaming::refuse(command, &error.message).await,
                    (Err(error), _) => Err(error),
                };
                if let Err(error) = ended {
                    tracing::debug!(%error, "the translated streams of a container ended early");
                }
            });
            Ok(switching(response))
        }
        Relay::Tunnel => {
            let server: Upgraded = upgrade::upgraded(stream, asked).await?;
            let (response, opening) = ironclad_streaming::tunnelled(&mut client).map_err(|e| refused(&e))?;
            tokio::spawn(async move {
                let Ok(mut inner) = opening.await else { return };
                let mut server = TokioIo::new(server);
                if let Err(error) = tokio::io::copy_bidirectional(&mut inner, &mut server).await {
                    tracing::debug!(%error, "a tunnel to a kubelet ended");
                }
            });
            Ok(switching(response))
        }
    }
}

fn ask(relay: Relay, client: &Request<Body>, uri: Uri, host: &str) -> Request<Body> {
    let mut asked = Request::new(crate::body::full(Bytes::new()));
    *asked.method_mut() = Method::POST;
    *asked.uri_mut() = uri;
    let headers = asked.headers_mut();
    for (name, value) in client.headers() {
        let own = name == UPGRADE || name == http::header::CONNECTION || name == CONTENT_LENGTH;
        if !own && !name.as_str().starts_with("sec-websocket") && name != http::header::AUTHORIZATION {
            headers.append(name, value.clone());
        }
    }
    headers.extend(relay.headers().map(|(name, value)| (Some(name), value)));
    if let Ok(host) = HeaderValue::from_str(host) {
        headers.insert(HOST, host);
    }
    asked
}

fn switching(response: Response<()>) -> Response<Body> {
    let (parts, ()) = response.into_parts();
    let mut response = Response::new(crate::body::full(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = parts.headers;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(subresource: &str, asked: &str) -> Result<String, String> {
        let info = Info { subresource: subresource.to_owned(), ..Info::default() };
        query(&info, Some(asked)).map_err(|e| e.message)
    }

    #[test]
    fn kubelets_are_asked_in_their_own_words() {
        let asked = "command=sh&command=-c&command=echo+a%26b&container=x&stdin=true&stdout=true&stderr=false";
        assert_eq!(of("exec", asked).unwrap(), "?command=sh&command=-c&command=echo%20a%26b&input=1&output=1");
        assert_eq!(of("attach", "container=x&stdout=1&stderr=1&tty=true").unwrap(), "?output=1&tty=1");
        assert_eq!(of("portforward", "ports=80&ports=81").unwrap(), "?port=80,81");
        assert_eq!(of("portforward", "").unwrap(), "");
        assert_eq!(of("log", "follow=true&tailLines=3").unwrap(), "?follow=true&tailLines=3");
        assert_eq!(of("exec", "command=a").unwrap_err(), "you must specify at least 1 of stdin, stdout, stderr");
    }
}
