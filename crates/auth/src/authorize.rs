//! The question "may they?" and its answer.

use async_trait::async_trait;
use ironclad_api::UserInfo;

/// What somebody wants to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Who.
    pub user: UserInfo,
    /// `get`, `list`, `create`, ...; the lower-case HTTP method for paths that are no resources.
    pub verb: String,
    /// Namespace; empty for cluster-scoped resources and for all namespaces.
    pub namespace: String,
    /// API group.
    pub group: String,
    /// API version.
    pub version: String,
    /// Resource; empty for paths that are no resources.
    pub resource: String,
    /// Subresource.
    pub subresource: String,
    /// Object name; empty where there is none.
    pub name: String,
    /// The path, for paths that are no resources.
    pub path: String,
    /// Whether this is about a resource.
    pub is_resource: bool,
    /// The field selector of a list, watch or deletecollection, as text.
    pub field_selector: String,
    /// The label selector of a list, watch or deletecollection, as text.
    pub label_selector: String,
}

/// What an authorizer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes; nobody else is asked.
    Allow(String),
    /// No; nobody else is asked.
    Deny(String),
    /// Ask the next one; if nobody allows, the answer is no.
    NoOpinion(String),
}

/// A rule as `SelfSubjectRulesReview` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of authorization.k8s.io/v1")]
pub struct ResourceRule {
    pub verbs: Vec<String>,
    pub api_groups: Vec<String>,
    pub resources: Vec<String>,
    pub resource_names: Vec<String>,
    pub non_resource_urls: Vec<String>,
}

/// Everything a user may do in a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The rules.
    pub rules: Vec<ResourceRule>,
    /// Whether some authorizer could not list its rules.
    pub incomplete: bool,
    /// What went wrong on the way.
    pub errors: Vec<String>,
}

/// Decides what users may do.
#[async_trait]
pub trait Authorizer: Send + Sync {
    /// The answer, with the reason that is shown to the client.
    async fn authorize(&self, attributes: &Attributes) -> Decision;

    /// What `user` may do in `namespace`.
    async fn rules(&self, user: &UserInfo, namespace: &str) -> Rules;
}
