//! Requests without credentials, where they may come in.
//!
//! Invariant: a credential that is not good is never taken for none.

use crate::{Authenticated, Authenticator, Credentials};
use async_trait::async_trait;
use http::HeaderMap;
use ironclad_api::{ApiError, UserInfo};
use std::sync::Arc;

/// Asks `known`, and `otherwise` only about requests that have no credential at all.
pub struct OrElse {
    /// Asked first.
    pub known: Arc<dyn Authenticator>,
    /// Asked when there is no credential.
    pub otherwise: Arc<dyn Authenticator>,
}

#[async_trait]
impl Authenticator for OrElse {
    async fn authenticate(&self, credentials: Credentials<'_>) -> Result<Option<Authenticated>, ApiError> {
        match self.known.authenticate(credentials).await {
            Ok(None) => self.otherwise.authenticate(credentials).await,
            decided => decided,
        }
    }

    async fn review(&self, token: &str, audiences: &[String]) -> Result<Option<Authenticated>, ApiError> {
        self.known.review(token, audiences).await
    }

    fn strip(&self, headers: &mut HeaderMap) {
        self.known.strip(headers);
    }
}

/// Lets requests without credentials in as `system:anonymous`; asked last.
#[derive(Clone, Debug, Default)]
pub struct Anonymous {
    /// Only these paths; all of them when there are none.
    pub paths: Vec<String>,
}

#[async_trait]
impl Authenticator for Anonymous {
    async fn authenticate(&self, credentials: Credentials<'_>) -> Result<Option<Authenticated>, ApiError> {
        let open = self.paths.is_empty() || self.paths.iter().any(|p| p == credentials.uri.path());
        Ok(open.then(|| Authenticated { user: UserInfo::anonymous(), audiences: Vec::new() }))
    }
}

/// Speaks for the API's own audiences on behalf of an authenticator that knows nothing of audiences.
pub struct ForApi {
    /// Who knows the tokens.
    pub inner: Arc<dyn Authenticator>,
    /// The audiences of the API.
    pub audiences: Vec<String>,
}

#[async_trait]
impl Authenticator for ForApi {
    async fn authenticate(&self, _: Credentials<'_>) -> Result<Option<Authenticated>, ApiError> {
        Ok(None)
    }

    async fn review(&self, token: &str, audiences: &[String]) -> Result<Option<Authenticated>, ApiError> {
        let wanted = if audiences.is_empty() { &self.audiences } else { audiences };
        let both: Vec<String> = wanted.iter().filter(|a| self.audiences.contains(a)).cloned().collect();
        if both.is_empty() {
            return Ok(None);
        }
        let found = self.inner.review(token, &both).await?;
        Ok(found.map(|found| Authenticated { audiences: both, ..found }))
    }
}

/// An authenticator that can be replaced while it is used.
pub struct Replaceable(pub arc_swap::ArcSwap<Arc<dyn Authenticator>>);

#[async_trait]
impl Authenticator for Replaceable {
    async fn authenticate(&self, credentials: Credentials<'_>) -> Result<Option<Authenticated>, ApiError> {
        let now = self.0.load_full();
        now.authenticate(credentials).await
    }

    async fn review(&self, token: &str, audiences: &[String]) -> Result<Option<Authenticated>, ApiError> {
        let now = self.0.load_full();
        now.review(token, audiences).await
    }

    fn strip(&self, headers: &mut HeaderMap) {
        self.0.load().strip(headers);
    }
}
