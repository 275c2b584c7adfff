//! Who asks the kubelet, and whether they may: client certificates and TokenReviews, then SubjectAccessReviews.
//!
//! Invariants: nothing is answered to somebody whom the API server does not let do the same on `nodes/<subresource>`;
//! answers are kept for as long as stock keeps them, in bounded maps that never hold a token itself.

use crate::Config;
use http::request::Parts;
use http::{Method, StatusCode};
use ironclad_api::UserInfo;
use ironclad_client::delegated::{Kept, Reviews, Wanted, bearer, of_certificate};
use k8s_openapi::api::authorization::v1::ResourceAttributes;
use rustls_pki_types::CertificateDer;
use std::time::Duration;

/// As long as stock keeps answers.
const KEPT: Kept =
    Kept { tokens: Duration::from_mins(2), allowed: Duration::from_mins(5), refused: Duration::from_secs(30) };

/// A refusal: status code and text.
pub(crate) type Refusal = (StatusCode, String);

/// Decides about requests.
pub(crate) struct Access {
    node: String,
    reviews: Reviews,
}

impl Access {
    pub(crate) fn new(config: &Config) -> Self {
        Self { node: config.node_name.clone(), reviews: Reviews::new(config.client.clone(), KEPT) }
    }

    /// Lets a request pass or says why not. `certificate` was verified by the TLS layer.
    pub(crate) async fn check(&self, request: &Parts, certificate: Option<&CertificateDer<'_>>) -> Result<(), Refusal> {
        let user = self.user(request, certificate).await?;
        let (verb, subresources) = (verb(&request.method), subresources(request.uri.path()));
        let told = || {
            format!("(user={}, verb={verb}, resource=nodes, subresource(s)=[{}])", user.name, subresources.join(" "))
        };
        for subresource in &subresources {
            match self.reviews.allowed(&user, &self.wanted(verb, subresource)).await {
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
        if let Some(user) = certificate.and_then(|c| of_certificate(c)) {
            return Ok(user);
        }
        let unauthorized = || (StatusCode::UNAUTHORIZED, "Unauthorized".to_owned());
        let token = bearer(&request.headers).ok_or_else(unauthorized)?;
        match self.reviews.user(token).await {
            Ok(user) => user.ok_or_else(unauthorized),
            Err(error) => {
                tracing::warn!(%error, "cannot ask whose token was shown to the kubelet");
                Err(unauthorized())
            }
        }
    }

    fn wanted(&self, verb: &str, subresource: &str) -> Wanted {
        Wanted::Resource(ResourceAttributes {
            verb: Some(verb.to_owned()),
            version: Some("v1".to_owned()),
            resource: Some("nodes".to_owned()),
            subresource: Some(subresource.to_owned()),
            name: Some(self.node.clone()),
            ..ResourceAttributes::default()
        })
    }
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
}
