//! Users whom a proxy in front of the server has authenticated: the `X-Remote-*` headers.
//!
//! Invariant: the headers count only from a client whose certificate an authority of their own has signed, under an
//! allowed name; from anybody else they are not looked at, and nothing behind this server ever sees them.

use crate::certificates::trusted;
use crate::{Authenticated, Authenticator, Credentials, escape};
use async_trait::async_trait;
use http::HeaderMap;
use ironclad_api::{ApiError, UserInfo, user};
use rustls::server::danger::ClientCertVerifier;
use std::sync::Arc;

/// Which headers name the user. Names are compared in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteHeaders {
    /// The first that has a value names the user.
    pub user: Vec<String>,
    /// The first that has a value holds the uid.
    pub uid: Vec<String>,
    /// Every value of each is a group.
    pub group: Vec<String>,
    /// Headers that begin so hold the rest.
    pub extra: Vec<String>,
}

impl Default for RemoteHeaders {
    fn default() -> Self {
        let one = |name: &str| vec![name.to_owned()];
        Self {
            user: one("x-remote-user"),
            uid: one("x-remote-uid"),
            group: one("x-remote-group"),
            extra: one("x-remote-extra-"),
        }
    }
}

impl RemoteHeaders {
    /// Whether a header (in lower case) is one of these.
    fn has(&self, name: &str) -> bool {
        [&self.user, &self.uid, &self.group].iter().any(|l| l.iter().any(|n| n == name))
            || self.extra.iter().any(|prefix| name.starts_with(prefix.as_str()))
    }
}

/// The authenticator.
pub struct FrontProxy {
    authority: Arc<dyn ClientCertVerifier>,
    allowed: Vec<String>,
    headers: RemoteHeaders,
}

impl FrontProxy {
    /// Trusts clients whose certificate `authority` has signed for one of the names; without names, for any.
    pub fn new(authority: Arc<dyn ClientCertVerifier>, allowed: Vec<String>, headers: RemoteHeaders) -> Self {
        Self { authority, allowed, headers }
    }

    fn user(&self, headers: &HeaderMap) -> Option<UserInfo> {
        let text = |v: &http::HeaderValue| v.to_str().ok().map(str::to_owned);
        let all = |names: &[String]| -> Vec<String> {
            names.iter().flat_map(|n| headers.get_all(n)).filter_map(text).filter(|v| !v.is_empty()).collect()
        };
        let first = |names: &[String]| all(names).into_iter().next();
        let mut found =
            UserInfo { name: first(&self.headers.user)?, groups: all(&self.headers.group), ..UserInfo::default() };
        found.uid = first(&self.headers.uid).unwrap_or_default();
        for (key, value) in headers {
            let name = self.headers.extra.iter().find_map(|prefix| key.as_str().strip_prefix(prefix.as_str()));
            if let Some((name, value)) = name.zip(text(value)) {
                found.extra.entry(escape::decoded(name)).or_default().push(value);
            }
        }
        if found.name != user::ANONYMOUS && !found.is_in(user::ALL_AUTHENTICATED) {
            found.groups.push(user::ALL_AUTHENTICATED.to_owned());
        }
        Some(found)
    }
}

#[async_trait]
impl Authenticator for FrontProxy {
    async fn authenticate(&self, credentials: Credentials<'_>) -> Result<Option<Authenticated>, ApiError> {
        let Some(leaf) = credentials.certificates.first() else { return Ok(None) };
        if trusted(&*self.authority, credentials.certificates).is_err() {
            return Ok(None);
        }
        if !self.allowed.is_empty() {
            let name = crate::certificates::user(leaf).map(|u| u.name).unwrap_or_default();
            if !self.allowed.contains(&name) {
                tracing::debug!(name, "a front proxy is not in the allowed list");
                return Err(ApiError::unauthorized());
            }
        }
        Ok(self.user(credentials.headers).map(|user| Authenticated { user, audiences: Vec::new() }))
    }

    fn strip(&self, headers: &mut HeaderMap) {
        // Some servers take an underscore in a header's name for a hyphen.
        let ours =
            |k: &&http::HeaderName| self.headers.has(k.as_str()) || self.headers.has(&k.as_str().replace('_', "-"));
        let names: Vec<_> = headers.keys().filter(ours).cloned().collect();
        for name in names {
            headers.remove(name);
        }
    }
}
