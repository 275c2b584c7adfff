//! Who asks a part, and whether they may, as the API server sees it: client certificates and TokenReviews, then
//! SubjectAccessReviews.
//!
//! Invariant: answers are kept for a while in bounded maps that never hold a token itself.

use crate::Client;
use ironclad_api::UserInfo;
use ironclad_api::expiring::Expiring;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo as Reviewed};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::{Api, PostParams};
use sha2::{Digest, Sha256};
use std::time::Duration;

/// Answers that are kept at once, of each sort.
const MOST: usize = 4096;

/// How long answers are kept.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// Whose a token is.
    pub tokens: Duration,
    /// That something is allowed.
    pub allowed: Duration,
    /// That something is not.
    pub refused: Duration,
}

/// What somebody wants to do.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// With a resource.
    Resource(ResourceAttributes),
    /// With a path: the verb and the path.
    Path(String, String),
}

/// Asks the API server, and remembers what it said.
pub struct Reviews {
    client: Client,
    kept: Kept,
    tokens: Expiring<[u8; 32], UserInfo>,
    decisions: Expiring<String, bool>,
}

impl Reviews {
    /// Nothing is known yet.
    pub fn new(client: Client, kept: Kept) -> Self {
        Self { client, kept, tokens: Expiring::new(MOST), decisions: Expiring::new(MOST) }
    }

    /// Whose a token is; nobody's, where the API server does not know it.
    pub async fn user(&self, token: &str) -> Result<Option<UserInfo>, kube::Error> {
        let key: [u8; 32] = Sha256::digest(token).into();
        if let Some(user) = self.tokens.get(&key) {
            return Ok(Some(user));
        }
        let spec = TokenReviewSpec { token: token.to_owned(), audiences: None };
        let review = TokenReview { spec, ..TokenReview::default() };
        let answer = Api::<TokenReview>::all(self.client.clone()).create(&PostParams::default(), &review).await?;
        let status = answer.status.unwrap_or_default();
        let user = status.user.filter(|_| status.authenticated == Some(true)).map(reviewed);
        if let Some(user) = &user {
            self.tokens.put(key, user.clone(), self.kept.tokens);
        }
        Ok(user)
    }

    /// Whether a user may do something.
    pub async fn allowed(&self, user: &UserInfo, wanted: &Wanted) -> Result<bool, kube::Error> {
        let key = format!("{wanted:?} {user:?}");
        if let Some(allowed) = self.decisions.get(&key) {
            return Ok(allowed);
        }
        let mut spec = SubjectAccessReviewSpec {
            user: Some(user.name.clone()),
            uid: Some(user.uid.clone()).filter(|u| !u.is_empty()),
            groups: Some(user.groups.clone()),
            extra: Some(user.extra.clone()),
            ..SubjectAccessReviewSpec::default()
        };
        match wanted {
            Wanted::Resource(attributes) => spec.resource_attributes = Some(attributes.clone()),
            Wanted::Path(verb, path) => {
                spec.non_resource_attributes =
                    Some(NonResourceAttributes { verb: Some(verb.clone()), path: Some(path.clone()) });
            }
        }
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let answer =
            Api::<SubjectAccessReview>::all(self.client.clone()).create(&PostParams::default(), &review).await?;
        let allowed = answer.status.is_some_and(|s| s.allowed);
        self.decisions.put(key, allowed, if allowed { self.kept.allowed } else { self.kept.refused });
        Ok(allowed)
    }
}

/// The user that a verified certificate (DER) names.
pub fn of_certificate(certificate: &[u8]) -> Option<UserInfo> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let name = parsed.subject().iter_common_name().next()?.as_str().ok().filter(|n| !n.is_empty())?;
    let groups: Vec<&str> = parsed.subject().iter_organization().filter_map(|o| o.as_str().ok()).collect();
    Some(UserInfo::new(name, &groups))
}

fn reviewed(user: Reviewed) -> UserInfo {
    UserInfo {
        name: user.username.unwrap_or_default(),
        uid: user.uid.unwrap_or_default(),
        groups: user.groups.unwrap_or_default(),
        extra: user.extra.unwrap_or_default(),
    }
}

/// The token that a request shows.
pub fn bearer(headers: &http::HeaderMap) -> Option<&str> {
    let header = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bearer_token_is_taken() {
        let token = |value: &str| {
            let headers = [(http::header::AUTHORIZATION, value.parse().unwrap())].into_iter().collect();
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(token("Bearer abc"), Some("abc".to_owned()));
        assert_eq!(token("bearer  abc "), Some("abc".to_owned()));
        assert_eq!(token("Basic abc"), None);
        assert_eq!(token("Bearer "), None);
    }
}
