//! Who asks and what they may do: PKI, authenticators, authorizers, the bootstrap policy.
//!
//! Invariants: no identity without a credential that was checked; no default password, key or token in the code; a
//! decision costs no request to the store; what webhooks and issuers say is kept in bounded maps.

mod abac;
mod anonymous;
mod authenticate;
mod authorization_config;
mod authorize;
mod bearer;
pub mod bootstrap;
mod bootstrap_tokens;
mod certificates;
pub mod covers;
mod escape;
mod expression;
mod follow;
mod forbidden;
mod front_proxy;
mod impersonate;
pub mod kubeconfig;
pub mod metrics;
mod node;
pub mod oidc;
pub mod pki;
mod rbac;
pub mod remarks;
mod static_tokens;
pub mod tokens;
pub mod webhook;

pub use abac::Abac;
pub use anonymous::{Anonymous, ForApi, OrElse, Replaceable};
pub use authenticate::{Authenticated, Authenticator, Credentials};
pub use authorization_config::{AuthorizationConfiguration, AuthorizerConfiguration, WebhookConfiguration};
pub use authorize::{Attributes, Authorizer, Decision, ResourceRule, Rules};
pub use bearer::{Bearer, of_header as bearer_token};
pub use bootstrap_tokens::BootstrapTokens;
pub use certificates::Certificates;
pub use forbidden::forbidden;
pub use front_proxy::{FrontProxy, RemoteHeaders};
pub use impersonate::{Impersonated, LastModes, impersonated, impersonates, strip_impersonation};
pub use node::NodeAuthorizer;
pub use rbac::{Rbac, rules_of_role};
pub use static_tokens::StaticTokens;

use async_trait::async_trait;
use follow::follow;
use http::HeaderMap;
use ironclad_api::{ApiError, UserInfo};
use std::sync::Arc;

/// Makes aws-lc-rs the process's provider of cryptography; fine to call again.
pub fn install_crypto() {
    // An error says that a provider is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// Versions in which files of configuration are read.
const CONFIGURATIONS: &[&str] =
    &["apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1", "apiserver.config.k8s.io/v1alpha1"];

/// What else may stand in such files.
const OTHER_CONFIGURATIONS: &[(&str, &str)] = &[
    ("AuthenticationConfiguration", "apiserver.config.k8s.io/v1"),
    ("AuthorizationConfiguration", "apiserver.config.k8s.io/v1"),
    ("AdmissionConfiguration", "apiserver.config.k8s.io/v1"),
    ("EncryptionConfiguration", "apiserver.config.k8s.io/v1"),
    ("TracingConfiguration", "apiserver.config.k8s.io/v1"),
];

/// Asks one authenticator after the other.
pub struct Union(pub Vec<Arc<dyn Authenticator>>);

/// The first answer; a refusal only when nobody knows the credential.
async fn first<'a, F>(
    all: &'a [Arc<dyn Authenticator>],
    mut ask: impl FnMut(&'a dyn Authenticator) -> F,
) -> Result<Option<Authenticated>, ApiError>
where
    F: Future<Output = Result<Option<Authenticated>, ApiError>>,
{
    let mut refused = None;
    for one in all {
        match ask(&**one).await {
            Ok(None) => {}
            Ok(Some(found)) => return Ok(Some(found)),
            Err(error) => refused = Some(error),
        }
    }
    refused.map_or(Ok(None), Err)
}

#[async_trait]
impl Authenticator for Union {
    async fn authenticate(&self, credentials: Credentials<'_>) -> Result<Option<Authenticated>, ApiError> {
        first(&self.0, |one| one.authenticate(credentials)).await
    }

    async fn review(&self, token: &str, audiences: &[String]) -> Result<Option<Authenticated>, ApiError> {
        first(&self.0, |one| one.review(token, audiences)).await
    }

    fn strip(&self, headers: &mut HeaderMap) {
        self.0.iter().for_each(|one| one.strip(headers));
    }
}

/// An authorizer whose last words are counted.
pub struct Counted {
    sort: String,
    name: String,
    inner: Arc<dyn Authorizer>,
    decided: metrics::Decided,
}

impl Counted {
    /// Counts what `inner` decides under its type and its name.
    pub fn new(sort: &str, name: &str, inner: Arc<dyn Authorizer>) -> Self {
        Self { sort: sort.to_owned(), name: name.to_owned(), inner, decided: metrics::Decided::default() }
    }
}

#[async_trait]
impl Authorizer for Counted {
    async fn authorize(&self, attributes: &Attributes) -> Decision {
        let decision = self.inner.authorize(attributes).await;
        match &decision {
            Decision::Allow(_) => self.decided.count(&self.sort, &self.name, true),
            Decision::Deny(_) => self.decided.count(&self.sort, &self.name, false),
            Decision::NoOpinion(_) => {}
        }
        decision
    }

    async fn rules(&self, user: &UserInfo, namespace: &str) -> Rules {
        self.inner.rules(user, namespace).await
    }
}

/// Asks one authorizer after the other; members of `system:masters` may do everything.
pub struct Authorizers(pub Vec<Arc<dyn Authorizer>>);

#[async_trait]
impl Authorizer for Authorizers {
    async fn authorize(&self, attributes: &Attributes) -> Decision {
        if attributes.user.is_in(ironclad_api::user::MASTERS) {
            return Decision::Allow(String::new());
        }
        let mut reasons = Vec::new();
        for one in &self.0 {
            match one.authorize(attributes).await {
                Decision::NoOpinion(reason) if reason.is_empty() => {}
                Decision::NoOpinion(reason) => reasons.push(reason),
                decided => return decided,
            }
        }
        Decision::NoOpinion(reasons.join("\n"))
    }

    async fn rules(&self, user: &UserInfo, namespace: &str) -> Rules {
        let mut all = Rules::default();
        for one in &self.0 {
            let rules = one.rules(user, namespace).await;
            all.rules.extend(rules.rules);
            all.incomplete |= rules.incomplete;
            all.errors.extend(rules.errors);
        }
        all
    }
}
