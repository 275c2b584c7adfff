//! `AuthenticationConfiguration` of `apiserver.config.k8s.io`, as files hold it, and its checks.

use serde::Deserialize;
use std::collections::HashSet;

/// The whole configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs, reason = "the names are those of the configuration")]
pub struct AuthenticationConfiguration {
    pub api_version: String,
    pub kind: String,
    #[serde(default)]
    pub jwt: Vec<Jwt>,
    #[serde(default)]
    pub anonymous: Option<AnonymousConfiguration>,
}

/// Who may come in without credentials.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the names are those of the configuration")]
pub struct AnonymousConfiguration {
    pub enabled: bool,
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// A path that is open.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the names are those of the configuration")]
pub struct Condition {
    pub path: String,
}

/// One issuer and what its tokens mean.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs, reason = "the names are those of the configuration")]
pub struct Jwt {
    pub issuer: Issuer,
    #[serde(default)]
    pub claim_validation_rules: Vec<ClaimValidationRule>,
    pub claim_mappings: ClaimMappings,
    #[serde(default)]
    pub user_validation_rules: Vec<UserValidationRule>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs, reason = "the names are those of the configuration")]
pub struct Issuer {
    pub url: String,
    #[serde(rename = "discoveryURL")]
    pub discovery_url: Option<String>,
    /// PEM.
    pub certificate_authority: Option<String>,
    #[serde(default)]
    pub audiences: Vec<String>,
    #[serde(default)]
    pub audience_match_policy: String,
    pub egress_selector_type: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs, reason = "the names are those of the configuration")]
pub struct ClaimValidationRule {
    #[serde(default)]
    pub claim: String,
    #[serde(default)]
    pub required_value: String,
    #[serde(default)]
    pub expression: String,
    #[serde(default)]
    pub message: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the names are those of the configuration")]
pub struct UserValidationRule {
    pub expression: String,
    #[serde(default)]
    pub message: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the names are those of the configuration")]
pub struct ClaimMappings {
    pub username: PrefixedClaim,
    #[serde(default)]
    pub groups: PrefixedClaim,
    #[serde(default)]
    pub uid: ClaimOrExpression,
    #[serde(default)]
    pub extra: Vec<Extra>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the names are those of the configuration")]
pub struct PrefixedClaim {
    #[serde(default)]
    pub claim: String,
    pub prefix: Option<String>,
    #[serde(default)]
    pub expression: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the names are those of the configuration")]
pub struct ClaimOrExpression {
    #[serde(default)]
    pub claim: String,
    #[serde(default)]
    pub expression: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(missing_docs, reason = "the names are those of the configuration")]
pub struct Extra {
    pub key: String,
    pub value_expression: String,
}

const MOST_ISSUERS: usize = 64;

impl AuthenticationConfiguration {
    /// From YAML or JSON.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parsed: Self = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
        parsed.check()?;
        Ok(parsed)
    }

    fn check(&self) -> Result<(), String> {
        let known = ["v1", "v1beta1", "v1alpha1"].map(|v| format!("apiserver.config.k8s.io/{v}"));
        if self.kind != "AuthenticationConfiguration" || !known.contains(&self.api_version) {
            return Err(format!("no kind {:?} is registered for version {:?}", self.kind, self.api_version));
        }
        if self.jwt.len() > MOST_ISSUERS {
            return Err(format!("jwt: Too many: {}: must have at most {MOST_ISSUERS} items", self.jwt.len()));
        }
        let mut urls = HashSet::new();
        for (at, jwt) in self.jwt.iter().enumerate() {
            jwt.check().map_err(|why| format!("jwt[{at}].{why}"))?;
            if !urls.insert(&jwt.issuer.url) {
                return Err(format!("jwt[{at}].issuer.url: Duplicate value: {:?}", jwt.issuer.url));
            }
        }
        match &self.anonymous {
            Some(a) if !a.enabled && !a.conditions.is_empty() => {
                Err("anonymous.conditions: Invalid value: enabled should be set to true when conditions are defined"
                    .to_owned())
            }
            _ => Ok(()),
        }
    }
}

impl Jwt {
    /// What stock checks before it starts.
    pub fn check(&self) -> Result<(), String> {
        let issuer = &self.issuer;
        for url in std::iter::once(&issuer.url).chain(&issuer.discovery_url) {
            check_url(url)?;
        }
        if issuer.discovery_url.as_ref() == Some(&issuer.url) {
            return Err("issuer.discoveryURL: Invalid value: discoveryURL must be different from URL".to_owned());
        }
        if issuer.audiences.is_empty() || issuer.audiences.iter().any(String::is_empty) {
            return Err("issuer.audiences: Required value: at least one jwt[0].issuer.audiences is required".to_owned());
        }
        let any = issuer.audience_match_policy == "MatchAny";
        if issuer.audiences.len() > 1 && !any {
            return Err("issuer.audienceMatchPolicy: Invalid value: must be MatchAny for multiple audiences".to_owned());
        }
        if issuer.egress_selector_type.is_some() {
            return Err("issuer.egressSelectorType: Invalid value: there is no egress selector here".to_owned());
        }
        self.claim_mappings.check()?;
        let mut claims = HashSet::new();
        for rule in &self.claim_validation_rules {
            match (rule.claim.is_empty(), rule.expression.is_empty()) {
                (true, true) => {
                    return Err("claimValidationRules: Required value: claim or expression is required".to_owned());
                }
                (false, false) => {
                    return Err(
                        "claimValidationRules: Invalid value: claim and expression can't both be set".to_owned()
                    );
                }
                (false, true) if !rule.message.is_empty() => {
                    return Err("claimValidationRules.message: Invalid value: message can't be set when claim is set"
                        .to_owned());
                }
                _ => {}
            }
            if !rule.claim.is_empty() && !claims.insert(&rule.claim) {
                return Err(format!("claimValidationRules.claim: Duplicate value: {:?}", rule.claim));
            }
        }
        Ok(())
    }
}

impl ClaimMappings {
    fn check(&self) -> Result<(), String> {
        let both =
            |field: &str| Err(format!("claimMappings.{field}: Invalid value: claim and expression can't both be set"));
        let name = &self.username;
        match (name.claim.is_empty(), name.expression.is_empty()) {
            (true, true) => {
                return Err("claimMappings.username: Required value: claim or expression is required".to_owned());
            }
            (false, false) => return both("username"),
            (false, true) if name.prefix.is_none() => {
                return Err("claimMappings.username.prefix: Required value: prefix is required when claim is set. It can be set to an empty string to disable prefixing".to_owned());
            }
            (true, false) if name.prefix.is_some() => {
                return Err("claimMappings.username.prefix: Invalid value: prefix can't be set when expression is set"
                    .to_owned());
            }
            _ => {}
        }
        let groups = &self.groups;
        if !groups.claim.is_empty() && !groups.expression.is_empty() {
            return both("groups");
        }
        if !groups.claim.is_empty() && groups.prefix.is_none() {
            return Err("claimMappings.groups.prefix: Required value: prefix is required when claim is set. It can be set to an empty string to disable prefixing".to_owned());
        }
        if !self.uid.claim.is_empty() && !self.uid.expression.is_empty() {
            return both("uid");
        }
        let mut keys = HashSet::new();
        for extra in &self.extra {
            let (domain, path) = extra.key.split_once('/').unwrap_or_default();
            if domain.is_empty() || path.is_empty() || extra.key != extra.key.to_lowercase() {
                return Err(format!(
                    "claimMappings.extra.key: Invalid value: {:?}: must be a domain-prefixed path (such as \"acme.io/foo\") in lower case",
                    extra.key
                ));
            }
            if domain == "kubernetes.io"
                || domain.ends_with(".kubernetes.io")
                || domain == "k8s.io"
                || domain.ends_with(".k8s.io")
            {
                return Err(format!(
                    "claimMappings.extra.key: Invalid value: {:?}: kubernetes.io, k8s.io and their subdomains are reserved",
                    extra.key
                ));
            }
            if !keys.insert(&extra.key) {
                return Err(format!("claimMappings.extra.key: Duplicate value: {:?}", extra.key));
            }
        }
        Ok(())
    }
}

fn check_url(url: &str) -> Result<(), String> {
    let bad = |why: &str| Err(format!("issuer.url: Invalid value: {url:?}: {why}"));
    let Ok(parsed) = url.parse::<http::Uri>() else { return bad("URL cannot be parsed") };
    if parsed.scheme_str() != Some("https") {
        return bad("URL scheme must be https");
    }
    if parsed.authority().is_some_and(|a| a.as_str().contains('@')) {
        return bad("URL must not contain a username or password");
    }
    if url.contains('?') {
        return bad("URL must not contain a query");
    }
    if url.contains('#') {
        return bad("URL must not contain a fragment");
    }
    Ok(())
}
