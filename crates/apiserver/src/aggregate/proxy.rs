//! Requests passed on to the server that answers for them, with the user's name in headers that it trusts.
//!
//! Invariants: a redirect is neither followed nor passed on; nothing becomes a tunnel that both sides did not agree on;
//! a path cannot leave the group version that the user was authorized for.

use super::dial::Dialer;
use super::headers;
use super::remote::Remote;
use crate::metrics::rare;
use crate::special::upgrade;
use crate::{Body, request, respond};
use http::header::{HeaderName, HeaderValue, LOCATION};
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use ironclad_api::UserInfo;

const REDIRECTED: &str = "the backend attempted to redirect this request, which is not permitted";
const NO_SNIFF: HeaderName = HeaderName::from_static("x-content-type-options");

/// An answer of our own in plain text, as stock gives it.
fn told(code: StatusCode, why: &str) -> Response<Body> {
    let mut response = respond::text(code, format!("{why}\n"));
    response.headers_mut().insert(NO_SNIFF, HeaderValue::from_static("nosniff"));
    response
}

fn unreachable(why: &str) -> Response<Body> {
    told(StatusCode::SERVICE_UNAVAILABLE, &format!("error trying to reach service: {why}"))
}

impl Remote {
    /// The other server's answer to a request that its user may ask.
    pub(crate) async fn pass(&self, user: &UserInfo, raw: Request<Body>) -> Response<Body> {
        if !self.is_available() {
            return told(StatusCode::SERVICE_UNAVAILABLE, "service unavailable");
        }
        let ways = match &self.ways {
            Ok(ways) => ways,
            Err(why) => return told(StatusCode::INTERNAL_SERVER_ERROR, why),
        };
        if climbs(raw.uri().path()) {
            return told(StatusCode::BAD_REQUEST, "the path must not hold \".\" or \"..\"");
        }
        if let Err(missing) = self.backend() {
            tracing::debug!(name = self.name, why = missing.message, "no backend of an APIService");
            return told(StatusCode::SERVICE_UNAVAILABLE, "service unavailable");
        }
        let upgrading = headers::upgrades(raw.headers());
        let (mut parts, content) = raw.into_parts();
        parts.headers = headers::outward(&parts.headers, user, upgrading);
        let place = parts.uri.path_and_query().map_or("/", |p| p.as_str());
        if upgrading {
            let Ok(uri) = place.parse::<Uri>() else { return told(StatusCode::BAD_REQUEST, "the path is not valid") };
            parts.uri = uri;
            return self.tunnel(&ways.upgrades, Request::from_parts(parts, content)).await;
        }
        let Ok(uri) = format!("https://{}{place}", self.authority()).parse::<Uri>() else {
            return told(StatusCode::BAD_REQUEST, "the path is not valid");
        };
        let mut request = Request::new(content);
        *request.method_mut() = parts.method;
        *request.uri_mut() = uri;
        *request.headers_mut() = parts.headers;
        match ways.client.request(request).await {
            Ok(answer) => inward(answer.map(|body| body.map_err(Into::into).boxed_unsync())),
            Err(error) => {
                rare::unconnected(&ironclad_remote::reason(&error));
                unreachable(&chain(&error))
            }
        }
    }

    /// A request that takes over its connection if the other server agrees.
    async fn tunnel(&self, dialer: &Dialer, request: Request<Body>) -> Response<Body> {
        let stream = match dialer.dial().await {
            Ok(stream) => stream,
            Err(error) => return unreachable(&error.to_string()),
        };
        match upgrade::pass(stream, request, &self.authority()).await {
            Ok(answer) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => answer,
            Ok(answer) => inward(answer),
            Err(error) => {
                let why = error.message.trim_start_matches("Internal error occurred: ");
                told(StatusCode::SERVICE_UNAVAILABLE, why)
            }
        }
    }
}

/// An answer as it goes on to the client.
fn inward(answer: Response<Body>) -> Response<Body> {
    let status = answer.status();
    if status.is_redirection() && answer.headers().contains_key(LOCATION) {
        return told(StatusCode::BAD_GATEWAY, REDIRECTED);
    }
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return told(StatusCode::BAD_GATEWAY, "the backend switched protocols, which nobody asked for");
    }
    let (mut parts, content) = answer.into_parts();
    headers::strip_hops(&mut parts.headers);
    strip_origins(&mut parts.headers);
    parts.version = http::Version::HTTP_11;
    parts.extensions = http::Extensions::new();
    Response::from_parts(parts, content)
}

/// Which sites may use the API in a browser is not for the other server to say.
fn strip_origins(headers: &mut HeaderMap) {
    let names: Vec<HeaderName> =
        headers.keys().filter(|k| k.as_str().starts_with("access-control-")).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Whether a path has parts that lead elsewhere, encoded or not.
fn climbs(path: &str) -> bool {
    path.split('/').any(|part| matches!(request::decode(part).as_str(), "." | ".."))
}

/// An error with its causes, without what only says that a client failed.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let (mut texts, mut next) = (Vec::new(), Some(error));
    while let Some(error) = next {
        texts.push(error.to_string());
        next = error.source();
    }
    if texts.len() > 1 && texts[0].starts_with("client error") {
        texts.remove(0);
    }
    texts.dedup();
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_tricks_cannot_leave_the_group_version() {
        for path in ["/apis/a/v1/../../b", "/apis/a/v1/%2e%2e/x", "/apis/a/v1/.", "/apis/a/v1/%2E./x"] {
            assert!(climbs(path), "{path}");
        }
        for path in ["/apis/a/v1/x", "/apis/a/v1/..x", "/apis/a/v1/namespaces/default/flunders/a.b"] {
            assert!(!climbs(path), "{path}");
        }
    }
}
