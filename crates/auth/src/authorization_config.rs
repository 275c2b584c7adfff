//! `AuthorizationConfiguration` of `apiserver.config.k8s.io`, as files hold it, and its checks.

use crate::expression::{Expression, Over};
use crate::webhook::{AccessOptions, FailurePolicy};
use ironclad_api::config::{self, Scheme};
use ironclad_api::shape::Shapes;
use ironclad_api::time::{duration, show_duration};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::json;
use serde::Deserialize;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

/// The whole configuration: authorizers in the order in which they are asked.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the configuration")]
pub struct AuthorizationConfiguration {
    pub authorizers: Vec<AuthorizerConfiguration>,
}

/// One authorizer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the configuration")]
pub struct AuthorizerConfiguration {
    #[serde(rename = "type")]
    pub sort: String,
    pub name: String,
    pub webhook: Option<WebhookConfiguration>,
}

/// How a webhook is asked.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "the names are those of the configuration")]
pub struct WebhookConfiguration {
    #[serde(rename = "authorizedTTL")]
    pub authorized_ttl: String,
    pub cache_authorized_requests: Option<bool>,
    #[serde(rename = "unauthorizedTTL")]
    pub unauthorized_ttl: String,
    pub cache_unauthorized_requests: Option<bool>,
    pub timeout: String,
    pub subject_access_review_version: String,
    pub match_condition_subject_access_review_version: String,
    pub failure_policy: String,
    pub connection_info: ConnectionInfo,
    pub match_conditions: Vec<MatchCondition>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "the names are those of the configuration")]
pub struct ConnectionInfo {
    #[serde(rename = "type")]
    pub sort: String,
    pub kube_config_file: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the configuration")]
pub struct MatchCondition {
    pub expression: String,
}

const MOST_CONDITIONS: usize = 64;

/// In the order in which they are told.
const KNOWN: [&str; 6] = ["ABAC", "AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook"];

static SHAPES: LazyLock<Shapes> = LazyLock::new(|| Shapes::read(include_str!("shapes.txt")));

const SCHEME: Scheme = Scheme {
    name: "k8s.io/apiserver/pkg/apis/apiserver/load/load.go:32",
    versions: crate::CONFIGURATIONS,
    others: crate::OTHER_CONFIGURATIONS,
};

impl AuthorizationConfiguration {
    /// From YAML or JSON, without mistakes; an error is all that stock would say.
    pub fn parse(text: &str) -> Result<Self, String> {
        let read = match text.is_empty() {
            true => Self::default(),
            false => {
                let value = config::decode(text, "AuthorizationConfiguration", &SCHEME, &SHAPES);
                let value =
                    value.map_err(|why| format!("failed to load AuthorizationConfiguration from file: {why}"))?;
                ironclad_json::from_value(value).map_err(|e| e.to_string())?
            }
        };
        let errors = read.errors();
        if !errors.is_empty() {
            return Err(ironclad_api::field::aggregate(&errors));
        }
        read.check_names()?;
        Ok(read)
    }

    /// Every mistake, in stock's order.
    fn errors(&self) -> ErrorList {
        let root = Path::new("authorizers");
        let mut out = ErrorList::new();
        if self.authorizers.is_empty() {
            out.push(FieldError::required(&root, "at least one authorization mode must be defined"));
        }
        let (mut sorts, mut names) = (HashSet::new(), HashSet::new());
        for (at, one) in self.authorizers.iter().enumerate() {
            let path = root.index(at);
            if let Some(wrong) = one.sort_error(&path.child("type"), &sorts) {
                out.push(wrong);
                continue;
            }
            sorts.insert(one.sort.as_str());
            out.extend(one.errors(&path, &names));
            names.insert(one.name.as_str());
        }
        out
    }

    /// Authorizers that are no webhooks have fixed names.
    fn check_names(&self) -> Result<(), String> {
        let wrong = |one: &&AuthorizerConfiguration| one.sort != "Webhook" && one.name != one.sort.to_lowercase();
        let tell = |one: &AuthorizerConfiguration| {
            format!("expected name {} for authorizer {} instead of {}", one.sort.to_lowercase(), one.sort, one.name)
        };
        let errors: Vec<String> = self.authorizers.iter().filter(wrong).map(tell).collect();
        match errors.as_slice() {
            [] => Ok(()),
            [one] => Err(one.clone()),
            many => Err(format!("[{}]", many.join(", "))),
        }
    }
}

impl AuthorizerConfiguration {
    fn sort_error(&self, path: &Path, seen: &HashSet<&str>) -> Option<FieldError> {
        match self.sort.as_str() {
            "" => Some(FieldError::required(path, "")),
            sort if !KNOWN.contains(&sort) => Some(FieldError::not_supported(path, &json!(sort), &KNOWN)),
            sort if sort != "Webhook" && seen.contains(sort) => Some(FieldError::duplicate(path, &json!(sort))),
            _ => None,
        }
    }

    fn errors(&self, path: &Path, seen: &HashSet<&str>) -> ErrorList {
        let (mut out, at, name) = (ErrorList::new(), path.child("name"), self.name.as_str());
        let wrong = names::dns1123_subdomain(name);
        if name.is_empty() {
            out.push(FieldError::required(&at, ""));
        } else if seen.contains(name) {
            out.push(FieldError::duplicate(&at, &json!(name)));
        } else if !wrong.is_empty() {
            let why = format!("authorizer name is invalid: {}", wrong.join(", "));
            out.push(FieldError::invalid_str(&at, name, why));
        }
        let at = path.child("webhook");
        match (&self.webhook, self.sort == "Webhook") {
            (None, true) => out.push(FieldError::required(&at, "required when type=Webhook")),
            (Some(_), false) => {
                out.push(FieldError::invalid_str(&at, "non-null", "may only be specified when type=Webhook"));
            }
            (Some(webhook), true) => out.extend(webhook.errors(path)),
            (None, false) => {}
        }
        out
    }
}

/// What a file says, or what it means when it says nothing or none; checked by the shape already.
fn nanoseconds(text: &str, default: Duration) -> i64 {
    match duration(text) {
        Ok(0) | Err(_) => default.as_nanos() as i64,
        Ok(n) => n,
    }
}

fn life(text: &str, default: Duration) -> Duration {
    Duration::from_nanos(u64::try_from(nanoseconds(text, default)).unwrap_or(0))
}

impl WebhookConfiguration {
    fn errors(&self, path: &Path) -> ErrorList {
        let mut out = self.durations(path);
        let at = path.child("subjectAccessReviewVersion");
        match self.subject_access_review_version.as_str() {
            "v1" | "v1beta1" => {}
            "" => out.push(FieldError::required(&at, "")),
            other => out.push(FieldError::not_supported(&at, &json!(other), &["v1", "v1beta1"])),
        }
        let at = path.child("matchConditionSubjectAccessReviewVersion");
        match self.match_condition_subject_access_review_version.as_str() {
            "" if self.match_conditions.is_empty() => {}
            "" => out.push(FieldError::required(&at, "required if match conditions are specified")),
            "v1" => {}
            other => out.push(FieldError::not_supported(&at, &json!(other), &["v1"])),
        }
        let at = path.child("failurePolicy");
        match self.failure_policy.as_str() {
            "NoOpinion" | "Deny" => {}
            "" => out.push(FieldError::required(&at, "")),
            other => out.push(FieldError::not_supported(&at, &json!(other), &["NoOpinion", "Deny"])),
        }
        out.extend(self.connection_info.error(&path.child("connectionInfo")));
        out.extend(self.conditions(&path.child("matchConditions")));
        out
    }

    fn durations(&self, path: &Path) -> ErrorList {
        let mut out = ErrorList::new();
        let at = path.child("timeout");
        match nanoseconds(&self.timeout, Duration::ZERO) {
            0 => out.push(FieldError::required(&at, "")),
            n if !(0..=30_000_000_000).contains(&n) => {
                out.push(FieldError::invalid_str(&at, &show_duration(n), "must be > 0s and <= 30s"));
            }
            _ => {}
        }
        for (name, text) in [("authorizedTTL", &self.authorized_ttl), ("unauthorizedTTL", &self.unauthorized_ttl)] {
            let n = nanoseconds(text, Duration::from_secs(1));
            if n < 0 {
                out.push(FieldError::invalid_str(&path.child(name), &show_duration(n), "must be > 0s"));
            }
        }
        out
    }

    fn conditions(&self, path: &Path) -> ErrorList {
        if self.match_conditions.len() > MOST_CONDITIONS {
            return vec![FieldError::too_many(path, self.match_conditions.len(), MOST_CONDITIONS)];
        }
        let one = |(at, condition): (usize, &MatchCondition)| {
            let (path, source) = (path.index(at).child("expression"), &condition.expression);
            if source.trim().is_empty() {
                return Some(FieldError::required(&path, ""));
            }
            if self.match_conditions[..at].iter().any(|c| c.expression == *source) {
                return Some(FieldError::duplicate(&path, &json!(source)));
            }
            Expression::compile(source, Over::Request).err().map(|why| FieldError::invalid_str(&path, source, why))
        };
        self.match_conditions.iter().enumerate().filter_map(one).collect()
    }

    /// How the webhook is asked, of a configuration without mistakes.
    pub fn options(&self) -> AccessOptions {
        let default = AccessOptions::default();
        let kept = |wanted: Option<bool>, life| if wanted.unwrap_or(true) { life } else { Duration::ZERO };
        AccessOptions {
            version: self.subject_access_review_version.clone(),
            allowed: kept(self.cache_authorized_requests, life(&self.authorized_ttl, default.allowed)),
            refused: kept(self.cache_unauthorized_requests, life(&self.unauthorized_ttl, default.refused)),
            patience: life(&self.timeout, default.patience),
            failure: match self.failure_policy.as_str() {
                "NoOpinion" => FailurePolicy::NoOpinion,
                _ => FailurePolicy::Deny,
            },
            conditions: self.match_conditions.iter().map(|c| c.expression.clone()).collect(),
            ..default
        }
    }

    /// The file that says where the webhook is; none where the cluster's own API server is asked.
    pub fn kubeconfig(&self) -> Option<PathBuf> {
        self.connection_info.kube_config_file.as_ref().map(PathBuf::from)
    }
}

const BY_FILE: &str = "KubeConfigFile";
const IN_CLUSTER: &str = "InClusterConfig";

impl ConnectionInfo {
    fn error(&self, path: &Path) -> Option<FieldError> {
        let (file, at) = (self.kube_config_file.as_deref(), path.child("kubeConfigFile"));
        let wrong = |why: &str| Some(FieldError::invalid_str(&at, file.unwrap_or_default(), why));
        match (self.sort.as_str(), file) {
            ("", _) => Some(FieldError::required(&path.child("type"), "")),
            (IN_CLUSTER, None) => None,
            (IN_CLUSTER, Some(_)) => wrong("can only be set when type=KubeConfigFile"),
            (BY_FILE, None | Some("")) => Some(FieldError::required(&at, "")),
            (BY_FILE, Some(file)) if !file.starts_with('/') => wrong("must be an absolute path"),
            (BY_FILE, Some(file)) => match std::fs::metadata(file) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                    wrong(&format!("error loading file: stat {file}: no such file or directory"))
                }
                Err(e) => wrong(&format!("error loading file: stat {file}: {e}")),
                Ok(found) if !found.is_file() => wrong("must be a regular file"),
                Ok(_) => None,
            },
            (other, file) => {
                // In the order in which Go has the fields.
                let shown = format!("{{\"Type\":{},\"KubeConfigFile\":{}}}", json!(other), json!(file));
                let mut error = FieldError::not_supported(&path.child("type"), &json!(""), &[IN_CLUSTER, BY_FILE]);
                error.value = shown;
                Some(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_named() {
        let with = |authorizers: &str| {
            AuthorizationConfiguration::parse(&format!(
                "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers: {authorizers}"
            ))
        };
        let hook = "subjectAccessReviewVersion: v1, failurePolicy: Deny, connectionInfo: {type: KubeConfigFile, kubeConfigFile: /etc/hostname}";
        let good = with(&format!(
            "[{{type: Node, name: node}}, {{type: Webhook, name: hook, webhook: {{timeout: 3s, {hook}}}}}, {{type: RBAC, name: rbac}}]"
        ));
        let options = good.unwrap().authorizers[1].webhook.clone().unwrap().options();
        assert_eq!((options.failure, options.allowed), (FailurePolicy::Deny, Duration::from_mins(5)));
        let table = [
            ("[]".to_owned(), "at least one"),
            (
                "[{type: Webhook, name: a, webhook: {timeout: 3s, subjectAccessReviewVersion: v1, failurePolicy: Deny, connectionInfo: {type: InClusterConfig, kubeConfigFile: /a}}}]".to_owned(),
                "can only be set when type=KubeConfigFile",
            ),
            (
                "[{type: Webhook, name: a, webhook: {timeout: 3s, subjectAccessReviewVersion: v1, failurePolicy: Deny, connectionInfo: {type: Magic}}}]".to_owned(),
                "supported values: \"InClusterConfig\", \"KubeConfigFile\"",
            ),
            ("[{type: Magic, name: a}]".to_owned(), "Unsupported value: \"Magic\""),
            ("[{type: RBAC, name: a}, {type: RBAC, name: b}]".to_owned(), "Duplicate value: \"RBAC\""),
            ("[{type: RBAC, name: a}, {type: Node, name: a}]".to_owned(), "Duplicate value: \"a\""),
            ("[{type: Webhook, name: a}]".to_owned(), "required when type=Webhook"),
            (format!("[{{type: Webhook, name: a, webhook: {{{hook}}}}}]"), "authorizers[0].timeout: Required value"),
            (format!("[{{type: Webhook, name: a, webhook: {{timeout: 60s, {hook}}}}}]"), "must be > 0s and <= 30s"),
            (
                format!(
                    "[{{type: Webhook, name: a, webhook: {{timeout: 3s, matchConditions: [{{expression: 'true'}}], {hook}}}}}]"
                ),
                "required if match conditions",
            ),
        ];
        for (authorizers, why) in table {
            let error = with(&authorizers).expect_err(&authorizers);
            assert!(error.contains(why), "{authorizers}: {error}");
        }
    }
}
