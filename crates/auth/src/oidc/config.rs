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
        let parsed: Self = ironclad_api::yaml::read(text)?;
        parsed.check()?;
        Ok(parsed)
    }

    fn check(&self) -> Result<(), String> {
        crate::registered("AuthenticationConfiguration", &self.kind, &self.api_version)?;
        if self.jwt.len() > MOST_ISSUERS {
            return Err(format!("jwt: Too many: {}: must have at most {MOST_ISSUERS} items", self.jwt.len()));
        }
        let (mut urls, mut discovery) = (HashSet::new(), HashSet::new());
        for (at, jwt) in self.jwt.iter().enumerate() {
            jwt.check().map_err(|why| format!("jwt[{at}].{why}"))?;
            if !urls.insert(&jwt.issuer.url) {
                return Err(format!("jwt[{at}].issuer.url: Duplicate value: {:?}", jwt.issuer.url));
            }
            if let Some(url) = jwt.issuer.discovery_url.as_ref().filter(|url| !discovery.insert(*url)) {
                return Err(format!("jwt[{at}].issuer.discoveryURL: Duplicate value: {url:?}"));
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
        self.issuer.check().map_err(|why| format!("issuer.{why}"))?;
        for (at, rule) in self.claim_validation_rules.iter().enumerate() {
            rule.check(&self.claim_validation_rules[..at]).map_err(|why| format!("claimValidationRules[{at}]{why}"))?;
        }
        self.claim_mappings.check()?;
        for (at, rule) in self.user_validation_rules.iter().enumerate() {
            let wrong = |why: String| Err(format!("userValidationRules[{at}].expression: {why}"));
            if rule.expression.is_empty() {
                return wrong("Required value".to_owned());
            }
            if self.user_validation_rules[..at].iter().any(|r| r.expression == rule.expression) {
                return wrong(format!("Duplicate value: {:?}", rule.expression));
            }
        }
        Ok(())
    }
}

impl Issuer {
    fn check(&self) -> Result<(), String> {
        if self.url.is_empty() {
            return Err("url: Required value".to_owned());
        }
        check_url("url", &self.url)?;
        if let Some(url) = self.discovery_url.as_ref().filter(|url| !url.is_empty()) {
            if self.url.trim_end_matches('/') == url.trim_end_matches('/') {
                return Err(format!("discoveryURL: Invalid value: {url:?}: discoveryURL must be different from URL"));
            }
            check_url("discoveryURL", url)?;
        }
        if self.audiences.is_empty() {
            return Err("audiences: Required value: at least one issuer.audiences is required".to_owned());
        }
        for (at, audience) in self.audiences.iter().enumerate() {
            if audience.is_empty() {
                return Err(format!("audiences[{at}]: Required value"));
            }
            if self.audiences[..at].contains(audience) {
                return Err(format!("audiences[{at}]: Duplicate value: {audience:?}"));
            }
        }
        let (policy, one) = (self.audience_match_policy.as_str(), self.audiences.len() == 1);
        if policy != "MatchAny" && !(one && policy.is_empty()) {
            let why = match one {
                true => "audienceMatchPolicy must be empty or MatchAny for single audience",
                false => "audienceMatchPolicy must be MatchAny for multiple audiences",
            };
            return Err(format!("audienceMatchPolicy: Invalid value: {policy:?}: {why}"));
        }
        if let Some(pem) = self.certificate_authority.as_ref().filter(|pem| !pem.is_empty())
            && !crate::pki::holds_certificate(pem)
        {
            let why = "data does not contain any valid RSA or ECDSA certificates";
            return Err(format!("certificateAuthority: Invalid value: \"<omitted>\": {why}"));
        }
        match self.egress_selector_type.as_deref().unwrap_or_default() {
            "" | "controlplane" | "cluster" => Ok(()),
            other => Err(format!(
                "egressSelectorType: Invalid value: {other:?}: egress selector must be either controlplane or cluster"
            )),
        }
    }
}

impl ClaimValidationRule {
    /// What is wrong with a rule behind these others.
    fn check(&self, before: &[Self]) -> Result<(), String> {
        let (claim, expression) = (&self.claim, &self.expression);
        match (claim.is_empty(), expression.is_empty()) {
            (true, true) => Err(": Required value: claim or expression is required".to_owned()),
            (false, false) => Err(format!(": Invalid value: {claim:?}: claim and expression can't both be set")),
            (false, true) if !self.message.is_empty() => {
                Err(format!(".message: Invalid value: {:?}: may not be specified when claim is set", self.message))
            }
            (false, true) if before.iter().any(|r| r.claim == *claim) => {
                Err(format!(".claim: Duplicate value: {claim:?}"))
            }
            (true, false) if !self.required_value.is_empty() => Err(format!(
                ".requiredValue: Invalid value: {:?}: may not be specified when expression is set",
                self.required_value
            )),
            (true, false) if before.iter().any(|r| r.expression == *expression) => {
                Err(format!(".expression: Duplicate value: {expression:?}"))
            }
            _ => Ok(()),
        }
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
                return Err(
                    "claimMappings.username.prefix: Invalid value: may not be specified when expression is set"
                        .to_owned(),
                );
            }
            _ => {}
        }
        let groups = &self.groups;
        if !groups.claim.is_empty() && !groups.expression.is_empty() {
            return both("groups");
        }
        if !groups.expression.is_empty() && groups.prefix.is_some() {
            let why = "may not be specified when expression is set";
            return Err(format!("claimMappings.groups.prefix: Invalid value: {why}"));
        }
        if !groups.claim.is_empty() && groups.prefix.is_none() {
            return Err("claimMappings.groups.prefix: Required value: prefix is required when claim is set. It can be set to an empty string to disable prefixing".to_owned());
        }
        if !self.uid.claim.is_empty() && !self.uid.expression.is_empty() {
            return both("uid");
        }
        for (at, extra) in self.extra.iter().enumerate() {
            extra.check(&self.extra[..at]).map_err(|why| format!("claimMappings.extra[{at}].{why}"))?;
        }
        Ok(())
    }
}

impl Extra {
    /// What is wrong with a key behind these others.
    fn check(&self, before: &[Self]) -> Result<(), String> {
        let key = &self.key;
        let wrong = |why: &str| Err(format!("key: Invalid value: {key:?}: {why}"));
        let (domain, path) = key.split_once('/').unwrap_or_default();
        if path.is_empty() || !ironclad_api::names::dns1123_subdomain(&domain.to_lowercase()).is_empty() {
            return wrong("must be a domain-prefixed path (such as \"acme.io/foo\")");
        }
        if *key != key.to_lowercase() {
            return wrong("must be lowercase");
        }
        let below = |other: &str| domain == other || domain.ends_with(&format!(".{other}"));
        if below("kubernetes.io") || below("k8s.io") {
            return wrong("k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use");
        }
        if before.iter().any(|e| e.key == *key) {
            return Err(format!("key: Duplicate value: {key:?}"));
        }
        if self.value_expression.is_empty() {
            return Err("valueExpression: Required value".to_owned());
        }
        Ok(())
    }
}

fn check_url(field: &str, url: &str) -> Result<(), String> {
    let bad = |why: &str| Err(format!("{field}: Invalid value: {url:?}: {why}"));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_named() {
        let with = |issuer: &str, rest: &str| {
            AuthenticationConfiguration::parse(&format!(
                "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- issuer: {issuer}\n  claimMappings: {{username: {{claim: sub, prefix: ''}}}}\n  {rest}"
            ))
        };
        let good = "{url: 'https://a', audiences: [me]}";
        assert!(with(good, "").is_ok());
        let table = [
            (
                "{url: 'http://a', audiences: [me]}",
                "",
                "jwt[0].issuer.url: Invalid value: \"http://a\": URL scheme must be https",
            ),
            ("{url: 'https://u:p@a', audiences: [me]}", "", "username or password"),
            ("{url: 'https://a', audiences: []}", "", "issuer.audiences: Required value"),
            (
                "{url: 'https://a', audiences: [me, me], audienceMatchPolicy: MatchAny}",
                "",
                "audiences[1]: Duplicate value",
            ),
            (
                "{url: 'https://a', audiences: [me, you]}",
                "",
                "audienceMatchPolicy must be MatchAny for multiple audiences",
            ),
            ("{url: 'https://a', audiences: [me], audienceMatchPolicy: All}", "", "must be empty or MatchAny"),
            (
                "{url: 'https://a', discoveryURL: 'https://a/', audiences: [me]}",
                "",
                "discoveryURL must be different from URL",
            ),
            (
                "{url: 'https://a', audiences: [me], certificateAuthority: nothing}",
                "",
                "certificateAuthority: Invalid value: \"<omitted>\"",
            ),
            (
                "{url: 'https://a', audiences: [me], egressSelectorType: etcd}",
                "",
                "must be either controlplane or cluster",
            ),
            (good, "claimValidationRules: [{claim: a, message: b}]", "may not be specified when claim is set"),
            (
                good,
                "claimValidationRules: [{expression: 'true', requiredValue: b}]",
                "claimValidationRules[0].requiredValue",
            ),
            (
                good,
                "claimValidationRules: [{expression: 'true'}, {expression: 'true'}]",
                "claimValidationRules[1].expression: Duplicate value",
            ),
            (good, "userValidationRules: [{expression: ''}]", "userValidationRules[0].expression: Required value"),
        ];
        for (issuer, rest, why) in table {
            let error = with(issuer, rest).expect_err(why);
            assert!(error.contains(why), "{issuer} {rest}: {error}");
        }
        let extra = |key: &str| {
            let extra = Extra { key: key.to_owned(), value_expression: "claims.a".to_owned() };
            extra.check(&[]).err().unwrap_or_default()
        };
        assert_eq!(extra("acme.io/foo"), "");
        assert!(extra("foo").contains("domain-prefixed"));
        assert!(extra("acme.io/Foo").contains("lowercase"));
        assert!(extra("x.kubernetes.io/foo").contains("reserved"));
    }
}
