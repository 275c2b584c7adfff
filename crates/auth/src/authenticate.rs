//! The question "who is this?" and its answer.

use async_trait::async_trait;
use http::{HeaderMap, Uri};
use ironclad_api::{ApiError, UserInfo};
use rustls_pki_types::CertificateDer;

/// What a connection and a request bring along to prove who they are.
#[derive(Clone, Copy, Debug)]
pub struct Credentials<'a> {
    /// The client's certificate chain; the client has proven to own its key, and nothing else is known of it.
    pub certificates: &'a [CertificateDer<'a>],
    /// The request's headers: `Authorization`, `Sec-WebSocket-Protocol`, `Impersonate-*`, `X-Remote-*`.
    pub headers: &'a HeaderMap,
    /// The request's path and query.
    pub uri: &'a Uri,
}

/// A user whose credential was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticated {
    /// The user.
    pub user: UserInfo,
    /// The audiences that the credential is good for; empty where the method knows none.
    pub audiences: Vec<String>,
}

/// One way to find out who asks.
#[async_trait]
pub trait Authenticator: Send + Sync {
    /// `Ok(None)` when there is no credential of this sort; an error when there is one and it is not good.
    async fn authenticate(&self, credentials: Credentials<'_>) -> Result<Option<Authenticated>, ApiError>;

    /// Checks a bearer token for a `TokenReview`: good only if it is for one of `audiences`, or for the API itself when
    /// there are none. The answer's audiences are those of the two that agree.
    async fn review(&self, _token: &str, _audiences: &[String]) -> Result<Option<Authenticated>, ApiError> {
        Ok(None)
    }

    /// Takes this sort of credential out of a request that goes on to another server.
    fn strip(&self, _headers: &mut HeaderMap) {}
}
