//! `AuthorizationConfiguration` of `apiserver.config.k8s.io`, as files hold it, and its checks.

use crate::webhook::{AccessOptions, FailurePolicy};
use serde::Deserialize;
use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

/// The whole configuration: authorizers in the order in which they are asked.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs, reason = "the names are those of the configuration")]
pub struct AuthorizationConfiguration {
    pub api_version: String,
    pub kind: String,
    #[serde(default)]
    pub authorizers: Vec<AuthorizerConfiguration>,
}

/// One authorizer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the names are those of the configuration")]
pub struct AuthorizerConfiguration {
    #[serde(rename = "type")]
    pub sort: String,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub webhook: Option<WebhookConfiguration>,
}

/// How a webhook is asked.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs, reason = "the names are those of the configuration")]
pub struct WebhookConfiguration {
    #[serde(default, rename = "authorizedTTL")]
    pub authorized_ttl: Option<String>,
    #[serde(default)]
    pub cache_authorized_requests: Option<bool>,
    #[serde(default, rename = "unauthorizedTTL")]
    pub unauthorized_ttl: Option<String>,
    #[serde(default)]
    pub cache_unauthorized_requests: Option<bool>,
    #[serde(default)]
    pub timeout: Option<String>,
    #[serde(default)]
    pub subject_access_review_version: String,
    #[serde(default)]
    pub match_condition_subject_access_review_version: String,
    #[serde(default)]
    pub failure_policy: String,
    #[serde(default)]
    pub connection_info: ConnectionInfo,
    #[serde(default)]
    pub match_conditions: Vec<MatchCondition>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs, reason = "the names are those of the configuration")]
pub struct ConnectionInfo {
    #[serde(rename = "type")]
    pub sort: String,
    #[serde(default)]
    pub kube_config_file: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the names are those of the configuration")]
pub struct MatchCondition {
    pub expression: String,
}

const MOST_CONDITIONS: usize = 64;

/// Authorizers of which there may be one only.
const SINGLE: [&str; 5] = ["Node", "RBAC", "ABAC", "AlwaysAllow", "AlwaysDeny"];

impl AuthorizationConfiguration {
    /// From YAML or JSON.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parsed: Self = ironclad_api::yaml::read(text)?;
        parsed.check()?;
        Ok(parsed)
    }

    fn check(&self) -> Result<(), String> {
        crate::registered("AuthorizationConfiguration", &self.kind, &self.api_version)?;
        if self.authorizers.is_empty() {
            return Err("authorizers: Required value: at least one authorization mode must be defined".to_owned());
        }
        let (mut sorts, mut names) = (HashSet::new(), HashSet::new());
        for (at, one) in self.authorizers.iter().enumerate() {
            let wrong = |why: &str| Err(format!("authorizers[{at}].{why}"));
            if one.sort.is_empty() {
                return wrong("type: Required value");
            }
            if one.sort != "Webhook" && !SINGLE.contains(&one.sort.as_str()) {
                return wrong(&format!("type: Unsupported value: {:?}", one.sort));
            }
            if one.sort != "Webhook" && !sorts.insert(one.sort.clone()) {
                return wrong(&format!("type: Duplicate value: {:?}", one.sort));
            }
            if one.name.is_empty() || !ironclad_api::names::dns1123_subdomain(&one.name).is_empty() {
                return wrong("name: Invalid value: must be a DNS subdomain");
            }
            if !names.insert(one.name.clone()) {
                return wrong(&format!("name: Duplicate value: {:?}", one.name));
            }
            match (&one.webhook, one.sort == "Webhook") {
                (None, true) => return wrong("webhook: Required value: required when type=Webhook"),
                (Some(_), false) => return wrong("webhook: Invalid value: may only be specified when type=Webhook"),
                (Some(webhook), true) => {
                    drop(webhook.options().map_err(|why| format!("authorizers[{at}].webhook.{why}"))?)
                }
                (None, false) => {}
            }
        }
        Ok(())
    }
}

fn duration(text: Option<&String>, default: Duration, what: &str) -> Result<Duration, String> {
    let Some(text) = text else { return Ok(default) };
    let parsed = ironclad_api::time::go_duration(text).filter(|d| !d.is_zero());
    parsed.ok_or_else(|| format!("{what}: Invalid value: {text:?}: must be > 0s"))
}

impl WebhookConfiguration {
    /// How the webhook is asked.
    pub fn options(&self) -> Result<AccessOptions, String> {
        let default = AccessOptions::default();
        if self.timeout.is_none() {
            return Err("timeout: Required value".to_owned());
        }
        let patience = duration(self.timeout.as_ref(), Duration::from_secs(3), "timeout")?;
        if patience > Duration::from_secs(30) {
            return Err("timeout: Invalid value: must be > 0s and <= 30s".to_owned());
        }
        let version = match self.subject_access_review_version.as_str() {
            version @ ("v1" | "v1beta1") => version.to_owned(),
            "" => return Err("subjectAccessReviewVersion: Required value".to_owned()),
            other => {
                return Err(format!(
                    "subjectAccessReviewVersion: Unsupported value: {other:?}: supported values: \"v1\", \"v1beta1\""
                ));
            }
        };
        let failure = match self.failure_policy.as_str() {
            "NoOpinion" => FailurePolicy::NoOpinion,
            "Deny" => FailurePolicy::Deny,
            "" => return Err("failurePolicy: Required value".to_owned()),
            other => {
                return Err(format!(
                    "failurePolicy: Unsupported value: {other:?}: supported values: \"NoOpinion\", \"Deny\""
                ));
            }
        };
        if !self.match_conditions.is_empty() && self.match_condition_subject_access_review_version != "v1" {
            return Err(
                "matchConditionSubjectAccessReviewVersion: Required value: required if match conditions are specified"
                    .to_owned(),
            );
        }
        let kept = |wanted: Option<bool>, life| if wanted.unwrap_or(true) { life } else { Duration::ZERO };
        self.kubeconfig()?;
        Ok(AccessOptions {
            version,
            allowed: kept(
                self.cache_authorized_requests,
                duration(self.authorized_ttl.as_ref(), default.allowed, "authorizedTTL")?,
            ),
            refused: kept(
                self.cache_unauthorized_requests,
                duration(self.unauthorized_ttl.as_ref(), default.refused, "unauthorizedTTL")?,
            ),
            patience,
            failure,
            conditions: self.conditions()?,
        })
    }

    fn conditions(&self) -> Result<Vec<String>, String> {
        if self.match_conditions.len() > MOST_CONDITIONS {
            let count = self.match_conditions.len();
            return Err(format!("matchConditions: Too many: {count}: must have at most {MOST_CONDITIONS} items"));
        }
        let mut out: Vec<String> = Vec::new();
        for (at, condition) in self.match_conditions.iter().enumerate() {
            let expression = &condition.expression;
            if expression.trim().is_empty() {
                return Err(format!("matchConditions[{at}].expression: Required value"));
            }
            if out.contains(expression) {
                return Err(format!("matchConditions[{at}].expression: Duplicate value: {expression:?}"));
            }
            out.push(expression.clone());
        }
        Ok(out)
    }

    /// The file that says where the webhook is; none where the cluster's own API server is asked.
    pub fn kubeconfig(&self) -> Result<Option<PathBuf>, String> {
        match (self.connection_info.sort.as_str(), &self.connection_info.kube_config_file) {
            ("InClusterConfig", None) => Ok(None),
            ("InClusterConfig", Some(file)) => Err(format!(
                "connectionInfo.kubeConfigFile: Invalid value: {:?}: can only be set when type=KubeConfigFile",
                file.display().to_string()
            )),
            ("", _) => Err("connectionInfo.type: Required value".to_owned()),
            ("KubeConfigFile", Some(file)) if file.is_absolute() => Ok(Some(file.clone())),
            ("KubeConfigFile", Some(_)) => {
                Err("connectionInfo.kubeConfigFile: Invalid value: must be an absolute path".to_owned())
            }
            ("KubeConfigFile", None) => Err("connectionInfo.kubeConfigFile: Required value".to_owned()),
            (other, _) => Err(format!(
                "connectionInfo.type: Unsupported value: {other:?}: supported values: \"InClusterConfig\", \"KubeConfigFile\""
            )),
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
        let hook = "subjectAccessReviewVersion: v1, failurePolicy: Deny, connectionInfo: {type: KubeConfigFile, kubeConfigFile: /a}";
        let good = with(&format!(
            "[{{type: Node, name: node}}, {{type: Webhook, name: hook, webhook: {{timeout: 3s, {hook}}}}}, {{type: RBAC, name: rbac}}]"
        ));
        let options = good.unwrap().authorizers[1].webhook.clone().unwrap().options().unwrap();
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
            (format!("[{{type: Webhook, name: a, webhook: {{{hook}}}}}]"), "webhook.timeout: Required value"),
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
