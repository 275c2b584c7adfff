//! Who asks the kubelet, and whether they may: client certificates and TokenReviews, then SubjectAccessReviews.
//!
//! Invariants: nothing is answered to somebody whom the API server does not let do the same on `nodes/<subresource>`;
//! answers are kept for as long as stock keeps them, in bounded maps that never hold a token itself.

use crate::Config;
use http::request::Parts;
use http::{Method, StatusCode};
use ironclad_api::UserInfo;
use ironclad_api::expiring::Expiring;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo as Reviewed};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::Client;
use kube::api::{Api, PostParams};
use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use std::time::Duration;

const TOKENS: Duration = Duration::from_mins(2);
const ALLOWED: Duration = Duration::from_mins(5);
const REFUSED: Duration = Duration::from_secs(30);
/// Answers that are kept at once, of each sort.
const MOST: usize = 4096;

/// A refusal: status code and text.
pub(crate) type Refusal = (StatusCode, String);

/// Decides about requests.
pub(crate) struct Access {
    client: Client,
    node: String,
    tokens: Expiring<[u8; 32], UserInfo>,
    decisions: Expiring<String, bool>,
}

impl Access {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            client: config.client.clone(),
            node: config.node_name.clone(),
            tokens: Expiring::new(MOST),
            decisions: Expiring::new(MOST),
        }
    }

    /// Lets a request pass or says why not. `certificate` was verified by the TLS layer.
    pub(crate) async fn check(&self, request: &Parts, certificate: Option<&CertificateDer<'_>>) -> Result<(), Refusal> {
        let user = self.user(request, certificate).await?;
        let (verb, subresources) = (verb(&request.method), subresources(request.uri.path()));
        let told = || {
            format!("(user={}, verb={verb}, resource=nodes, subresource(s)=[{}])", user.name, subresources.join(" "))
        };
        for subresource in &subresources {
            match self.allowed(&user, verb, subresource).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot ask whether a request to the kubelet is allowed");
                    return Err((StatusCode::INTERNAL_SERVER_ERROR, format!("Authorization error {}\n", told())));
                }
            }
        }
        Err((StatusCode::FORBIDDEN, format!("Forbidden {}\n", told())))
    }

    async fn user(&self, request: &Parts, certificate: Option<&CertificateDer<'_>>) -> Result<UserInfo, Refusal> {
        if let Some(user) = certificate.and_then(user_of_certificate) {
            return Ok(user);
        }
        let unauthorized = || (StatusCode::UNAUTHORIZED, "Unauthorized".to_owned());
        let token = bearer(request).ok_or_else(unauthorized)?;
        let key: [u8; 32] = Sha256::digest(token).into();
        if let Some(user) = self.tokens.get(&key) {
            return Ok(user);
        }
        match self.review(token).await {
            Ok(Some(user)) => {
                self.tokens.put(key, user.clone(), TOKENS);
                Ok(user)
            }
            Ok(None) => Err(unauthorized()),
            Err(error) => {
                tracing::warn!(%error, "cannot ask whose token was shown to the kubelet");
                Err(unauthorized())
            }
        }
    }

    async fn review(&self, token: &str) -> Result<Option<UserInfo>, kube::Error> {
        let spec = TokenReviewSpec { token: token.to_owned(), audiences: None };
        let review = TokenReview { spec, ..TokenReview::default() };
        let answer = Api::<TokenReview>::all(self.client.clone()).create(&PostParams::default(), &review).await?;
        let status = answer.status.unwrap_or_default();
        Ok(status.user.filter(|_| status.authenticated == Some(true)).map(user_of_review))
    }

    async fn allowed(&self, user: &UserInfo, verb: &str, subresource: &str) -> Result<bool, kube::Error> {
        let key = format!("{verb} {subresource} {user:?}");
        if let Some(allowed) = self.decisions.get(&key) {
            return Ok(allowed);
        }
        let attributes = ResourceAttributes {
            verb: Some(verb.to_owned()),
            version: Some("v1".to_owned()),
            resource: Some("nodes".to_owned()),
            subresource: Some(subresource.to_owned()),
            name: Some(self.node.clone()),
            ..ResourceAttributes::default()
        };
        let spec = SubjectAccessReviewSpec {
            user: Some(user.name.clone()),
            uid: Some(user.uid.clone()).filter(|u| !u.is_empty()),
            groups: Some(user.groups.clone()),
            extra: Some(user.extra.clone()),
            resource_attributes: Some(attributes),
            ..SubjectAccessReviewSpec::default()
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let answer =
            Api::<SubjectAccessReview>::all(self.client.clone()).create(&PostParams::default(), &review).await?;
        let allowed = answer.status.is_some_and(|s| s.allowed);
        self.decisions.put(key, allowed, if allowed { ALLOWED } else { REFUSED });
        Ok(allowed)
    }
}

/// The user that a verified certificate names.
fn user_of_certificate(certificate: &CertificateDer<'_>) -> Option<UserInfo> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let name = parsed.subject().iter_common_name().next()?.as_str().ok().filter(|n| !n.is_empty())?;
    let groups: Vec<&str> = parsed.subject().iter_organization().filter_map(|o| o.as_str().ok()).collect();
    Some(UserInfo::new(name, &groups))
}

fn user_of_review(user: Reviewed) -> UserInfo {
    UserInfo {
        name: user.username.unwrap_or_default(),
        uid: user.uid.unwrap_or_default(),
        groups: user.groups.unwrap_or_default(),
        extra: user.extra.unwrap_or_default(),
    }
}

fn bearer(request: &Parts) -> Option<&str> {
    let header = request.headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn verb(method: &Method) -> &'static str {
    match method.as_str() {
        "POST" => "create",
        "GET" => "get",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "",
    }
}

/// The subresources of the node of which one must be allowed, for a path of the kubelet's API.
fn subresources(path: &str) -> Vec<&'static str> {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    match first {
        "stats" => vec!["stats"],
        "metrics" => vec!["metrics"],
        "logs" => vec!["log"],
        "checkpoint" => vec!["checkpoint"],
        "pods" | "runningpods" => vec!["pods", "proxy"],
        "healthz" => vec!["healthz", "proxy"],
        "configz" => vec!["configz", "proxy"],
        _ => vec!["proxy"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_the_subresources_of_the_node() {
        let table: &[(&str, &[&str])] = &[
            ("/exec/ns/pod/c", &["proxy"]),
            ("/containerLogs/ns/pod/c", &["proxy"]),
            ("/portForward/ns/pod", &["proxy"]),
            ("/run/ns/pod/c", &["proxy"]),
            ("/metrics", &["metrics"]),
            ("/metrics/cadvisor", &["metrics"]),
            ("/metricsx", &["proxy"]),
            ("/stats/summary", &["stats"]),
            ("/logs/", &["log"]),
            ("/checkpoint/ns/pod/c", &["checkpoint"]),
            ("/pods", &["pods", "proxy"]),
            ("/runningpods/", &["pods", "proxy"]),
            ("/healthz/syncloop", &["healthz", "proxy"]),
            ("/configz", &["configz", "proxy"]),
            ("/", &["proxy"]),
        ];
        for (path, wanted) in table {
            assert_eq!(subresources(path), *wanted, "{path}");
        }
        assert_eq!((verb(&Method::POST), verb(&Method::GET), verb(&Method::OPTIONS)), ("create", "get", ""));
    }

    #[test]
    fn only_a_bearer_token_is_taken() {
        let token = |value: &str| {
            let (parts, ()) = http::Request::builder().header("authorization", value).body(()).unwrap().into_parts();
            bearer(&parts).map(str::to_owned)
        };
        assert_eq!(token("Bearer abc"), Some("abc".to_owned()));
        assert_eq!(token("bearer  abc "), Some("abc".to_owned()));
        assert_eq!(token("Basic abc"), None);
        assert_eq!(token("Bearer "), None);
    }
}
