//! Bearer tokens: from the `Authorization` header, or from the protocols of a WebSocket, where browsers can put them.

use crate::{Authenticated, Authenticator, Credentials, metrics};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderValue};
use ironclad_api::ApiError;
use std::sync::Arc;
use std::time::Instant;

const PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";
/// A longer token is none.
const LONGEST: usize = 64 << 10;

/// Asks each of the sources whose token it is.
pub struct Bearer(pub Vec<Arc<dyn Authenticator>>);

/// The token that a request brings along.
pub(crate) fn token(headers: &HeaderMap) -> Option<String> {
    let header = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if header.trim().contains(' ') {
        return of_header(header).filter(|token| token.len() <= LONGEST).map(str::to_owned);
    }
    let encoded = protocols(headers).find_map(|p| p.strip_prefix(PROTOCOL))?;
    let token = String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()?;
    (!token.is_empty() && token.len() <= LONGEST).then_some(token)
}

/// The token of an `Authorization` header: what stands between its first two spaces. Two spaces before the token make it
/// none, which the client is told.
pub fn of_header(header: &str) -> Option<&str> {
    let mut parts = header.trim().splitn(3, ' ');
    let (scheme, token, more) = (parts.next()?, parts.next()?, parts.next());
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    if token.is_empty() && more.is_some() {
        crate::remarks::warn(
            "the provided Authorization header contains extra space before the bearer token, and is ignored",
        );
    }
    Some(token).filter(|token| !token.is_empty())
}

fn protocols(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter();
    values.filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).map(str::trim).filter(|p| !p.is_empty())
}

#[async_trait]
impl Authenticator for Bearer {
    async fn authenticate(&self, credentials: Credentials<'_>) -> Result<Option<Authenticated>, ApiError> {
        let Some(token) = token(credentials.headers) else { return Ok(None) };
        let (counted, began) = (&metrics::TOKEN, Instant::now());
        counted.running.add(1);
        let found = self.review(&token, &[]).await;
        counted.running.less();
        counted.misses.add(1);
        counted.took.took(began.elapsed());
        if found.is_err() { &counted.failed } else { &counted.good }.add(1);
        match found {
            // There was a token, and nobody knows it.
            Ok(None) => Err(ApiError::unauthorized()),
            other => other,
        }
    }

    async fn review(&self, token: &str, audiences: &[String]) -> Result<Option<Authenticated>, ApiError> {
        crate::first(&self.0, |one| one.review(token, audiences)).await
    }

    fn strip(&self, headers: &mut HeaderMap) {
        headers.remove(AUTHORIZATION);
        if !headers.contains_key(SEC_WEBSOCKET_PROTOCOL) {
            return;
        }
        let kept: Vec<&str> = protocols(headers).filter(|p| !p.starts_with(PROTOCOL)).collect();
        match HeaderValue::from_str(&kept.join(", ")) {
            Ok(value) if !kept.is_empty() => drop(headers.insert(SEC_WEBSOCKET_PROTOCOL, value)),
            _ => drop(headers.remove(SEC_WEBSOCKET_PROTOCOL)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_found_and_taken_out() {
        let with =
            |name: &'static str, value: &str| HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
        assert_eq!(token(&with("authorization", "Bearer abc")).as_deref(), Some("abc"));
        assert_eq!(token(&with("authorization", "Basic abc")), None);
        assert_eq!(token(&with("authorization", "bearer abc def")).as_deref(), Some("abc"));
        assert_eq!(token(&with("authorization", "Bearer  abc")), None);
        assert_eq!(token(&with("authorization", "Bearer ")), None);
        let encoded = URL_SAFE_NO_PAD.encode("abc");
        let mut socket = with("sec-websocket-protocol", &format!("v5.channel.k8s.io, {PROTOCOL}{encoded}"));
        assert_eq!(token(&socket).as_deref(), Some("abc"));
        Bearer(Vec::new()).strip(&mut socket);
        assert_eq!(socket["sec-websocket-protocol"], "v5.channel.k8s.io");
    }
}
