//! `AuthenticationConfiguration` of `apiserver.config.k8s.io`, as files hold it, and its checks.

use crate::expression::{Expression, Over};
use ironclad_api::config::{self, Scheme};
use ironclad_api::shape::Shapes;
use ironclad_api::{ErrorList, FieldError, Path, names, url};
use ironclad_json::{Value, json};
use serde::Deserialize;
use std::collections::HashSet;
use std::sync::LazyLock;

/// The whole configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "the names are those of the configuration")]
pub struct AuthenticationConfiguration {
    pub api_version: String,
    pub kind: String,
    pub jwt: Vec<Jwt>,
    pub anonymous: Option<AnonymousConfiguration>,
}

/// Who may come in without credentials.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the configuration")]
pub struct AnonymousConfiguration {
    pub enabled: bool,
    pub conditions: Vec<Condition>,
}

/// A path that is open.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the configuration")]
pub struct Condition {
    pub path: String,
}

/// One issuer and what its tokens mean.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "the names are those of the configuration")]
pub struct Jwt {
    pub issuer: Issuer,
    pub claim_validation_rules: Vec<ClaimValidationRule>,
    pub claim_mappings: ClaimMappings,
    pub user_validation_rules: Vec<UserValidationRule>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "the names are those of the configuration")]
pub struct Issuer {
    pub url: String,
    #[serde(rename = "discoveryURL")]
    pub discovery_url: Option<String>,
    /// PEM.
    pub certificate_authority: Option<String>,
    pub audiences: Vec<String>,
    pub audience_match_policy: String,
    pub egress_selector_type: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "the names are those of the configuration")]
pub struct ClaimValidationRule {
    pub claim: String,
    pub required_value: String,
    pub expression: String,
    pub message: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the configuration")]
pub struct UserValidationRule {
    pub expression: String,
    pub message: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the configuration")]
pub struct ClaimMappings {
    pub username: PrefixedClaim,
    pub groups: PrefixedClaim,
    pub uid: ClaimOrExpression,
    pub extra: Vec<Extra>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the configuration")]
pub struct PrefixedClaim {
    pub claim: String,
    pub prefix: Option<String>,
    pub expression: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the names are those of the configuration")]
pub struct ClaimOrExpression {
    pub claim: String,
    pub expression: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs, reason = "the names are those of the configuration")]
pub struct Extra {
    pub key: String,
    pub value_expression: String,
}

const MOST_ISSUERS: usize = 64;

static SHAPES: LazyLock<Shapes> = LazyLock::new(|| Shapes::read(include_str!("../shapes.txt")));

const SCHEME: Scheme = Scheme {
    name: "pkg/kubeapiserver/options/authentication.go:879",
    versions: crate::CONFIGURATIONS,
    others: crate::OTHER_CONFIGURATIONS,
};

impl AuthenticationConfiguration {
    /// From YAML or JSON; its mistakes are still to be looked for.
    pub fn decode(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("empty config data".to_owned());
        }
        let value = config::decode(text, "AuthenticationConfiguration", &SCHEME, &SHAPES)?;
        ironclad_json::from_value(value).map_err(|e| e.to_string())
    }

    /// From YAML or JSON, without mistakes.
    pub fn parse(text: &str) -> Result<Self, String> {
        let read = Self::decode(text)?;
        match read.errors() {
            errors if errors.is_empty() => Ok(read),
            errors => Err(ironclad_api::field::aggregate(&errors)),
        }
    }

    /// Every mistake, in stock's order.
    pub fn errors(&self) -> ErrorList {
        let root = Path::new("jwt");
        if self.jwt.len() > MOST_ISSUERS {
            return vec![FieldError::too_many(&root, self.jwt.len(), MOST_ISSUERS)];
        }
        let (mut urls, mut discovery) = (HashSet::new(), HashSet::new());
        let mut out = ErrorList::new();
        for (at, jwt) in self.jwt.iter().enumerate() {
            let path = root.index(at);
            let issuer = path.child("issuer");
            out.extend(jwt.errors(&path));
            if !urls.insert(&jwt.issuer.url) {
                out.push(FieldError::duplicate(&issuer.child("url"), &json!(jwt.issuer.url)));
            }
            let url = jwt.issuer.discovery_url.as_ref().filter(|url| !url.is_empty());
            if let Some(url) = url.filter(|url| !discovery.insert(*url)) {
                out.push(FieldError::duplicate(&issuer.child("discoveryURL"), &json!(url)));
            }
        }
        if let Some(a) = self.anonymous.as_ref().filter(|a| !a.enabled && !a.conditions.is_empty()) {
            let path = Path::new("anonymous").child("conditions");
            let conditions: Vec<Value> = a.conditions.iter().map(|c| json!({"Path": c.path})).collect();
            let why = "enabled should be set to true when conditions are defined";
            out.push(FieldError::invalid(&path, &json!(conditions), why));
        }
        out
    }
}

/// An expression that does not compile, or has another type than it must.
fn expression(source: &str, over: Over, path: &Path) -> Option<FieldError> {
    Expression::compile(source, over).err().map(|why| FieldError::invalid_str(path, source, why))
}

impl Jwt {
    /// Every mistake, in stock's order.
    pub fn errors(&self, path: &Path) -> ErrorList {
        let mut out = self.issuer.errors(&path.child("issuer"));
        out.extend(self.claim_rules(&path.child("claimValidationRules")));
        out.extend(self.claim_mappings.errors(&path.child("claimMappings"), &self.claim_validation_rules));
        out.extend(self.user_rules(&path.child("userValidationRules")));
        out
    }

    fn claim_rules(&self, path: &Path) -> ErrorList {
        let rules = &self.claim_validation_rules;
        rules.iter().enumerate().flat_map(|(at, rule)| rule.errors(&path.index(at), &rules[..at])).collect()
    }

    fn user_rules(&self, path: &Path) -> ErrorList {
        let rules = &self.user_validation_rules;
        let one = |(at, rule): (usize, &UserValidationRule)| {
            let path = path.index(at).child("expression");
            match &rule.expression {
                none if none.is_empty() => Some(FieldError::required(&path, "")),
                same if rules[..at].iter().any(|r| r.expression == *same) => {
                    Some(FieldError::duplicate(&path, &json!(same)))
                }
                source => expression(source, Over::UserRule, &path),
            }
        };
        rules.iter().enumerate().filter_map(one).collect()
    }
}

impl Issuer {
    fn errors(&self, path: &Path) -> ErrorList {
        let url = path.child("url");
        let mut out = match self.url.is_empty() {
            true => vec![FieldError::required(&url, "")],
            false => url_errors(&url, &self.url),
        };
        if let Some(found) = self.discovery_url.as_ref().filter(|url| !url.is_empty()) {
            let at = path.child("discoveryURL");
            if !self.url.is_empty() && self.url.trim_end_matches('/') == found.trim_end_matches('/') {
                out.push(FieldError::invalid_str(&at, found, "discoveryURL must be different from URL"));
            }
            out.extend(url_errors(&at, found));
        }
        out.extend(self.audience_errors(path));
        if let Some(pem) = self.certificate_authority.as_ref().filter(|pem| !pem.is_empty())
            && let Err(why) = crate::pki::certificates_in(pem)
        {
            out.push(FieldError::invalid_str(&path.child("certificateAuthority"), "<omitted>", why));
        }
        let selector = self.egress_selector_type.as_deref().unwrap_or_default();
        if !matches!(selector, "" | "controlplane" | "cluster") {
            let why = "egress selector must be either controlplane or cluster";
            out.push(FieldError::invalid_str(&path.child("egressSelectorType"), selector, why));
        }
        out
    }

    fn audience_errors(&self, path: &Path) -> ErrorList {
        let at = path.child("audiences");
        if self.audiences.is_empty() {
            return vec![FieldError::required(&at, format!("at least one {at} is required"))];
        }
        let mut out = ErrorList::new();
        for (n, audience) in self.audiences.iter().enumerate() {
            if audience.is_empty() {
                out.push(FieldError::required(&at.index(n), ""));
            }
            if self.audiences[..n].contains(audience) {
                out.push(FieldError::duplicate(&at.index(n), &json!(audience)));
            }
        }
        let (policy, one) = (self.audience_match_policy.as_str(), self.audiences.len() == 1);
        if policy != "MatchAny" && !(one && policy.is_empty()) {
            let why = match one {
                true => "audienceMatchPolicy must be empty or MatchAny for single audience",
                false => "audienceMatchPolicy must be MatchAny for multiple audiences",
            };
            out.push(FieldError::invalid_str(&path.child("audienceMatchPolicy"), policy, why));
        }
        out
    }
}

impl ClaimValidationRule {
    /// What is wrong with a rule behind these others.
    fn errors(&self, path: &Path, before: &[Self]) -> ErrorList {
        let (claim, source) = (&self.claim, &self.expression);
        let mut out = ErrorList::new();
        match (claim.is_empty(), source.is_empty()) {
            (false, false) => {
                out.push(FieldError::invalid_str(path, claim, "claim and expression can't both be set"));
            }
            (true, true) => out.push(FieldError::required(path, "claim or expression is required")),
            (false, true) => {
                if !self.message.is_empty() {
                    let why = "may not be specified when claim is set";
                    out.push(FieldError::invalid_str(&path.child("message"), &self.message, why));
                }
                if before.iter().any(|r| r.claim == *claim && r.expression.is_empty()) {
                    out.push(FieldError::duplicate(&path.child("claim"), &json!(claim)));
                }
            }
            (true, false) => {
                if !self.required_value.is_empty() {
                    let why = "may not be specified when expression is set";
                    out.push(FieldError::invalid_str(&path.child("requiredValue"), &self.required_value, why));
                }
                let at = path.child("expression");
                match before.iter().any(|r| r.expression == *source && r.claim.is_empty()) {
                    true => out.push(FieldError::duplicate(&at, &json!(source))),
                    false => out.extend(expression(source, Over::ClaimRule, &at)),
                }
            }
        }
        out
    }
}

const EMAIL: &str = "claims.email_verified must be used in claimMappings.username.expression or claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression";

impl ClaimMappings {
    fn errors(&self, path: &Path, rules: &[ClaimValidationRule]) -> ErrorList {
        let username = self.username.errors(&path.child("username"), true);
        let unclear = username.is_empty() && self.trusts_email(rules);
        let mut out = username;
        out.extend(self.groups.errors(&path.child("groups"), false));
        let uid = path.child("uid");
        match (self.uid.claim.is_empty(), self.uid.expression.is_empty()) {
            (false, false) => out.push(FieldError::invalid_str(&uid, "", "claim and expression can't both be set")),
            (_, false) => out.extend(expression(&self.uid.expression, Over::Claims, &uid.child("expression"))),
            _ => {}
        }
        for (at, extra) in self.extra.iter().enumerate() {
            out.extend(extra.errors(&path.child("extra").index(at), &self.extra[..at]));
        }
        if unclear {
            let at = path.child("username").child("expression");
            out.push(FieldError::invalid_str(&at, &self.username.expression, EMAIL));
        }
        out
    }

    /// Whether the name is made of an address that no expression asks to be verified.
    fn trusts_email(&self, rules: &[ClaimValidationRule]) -> bool {
        let mentions = |source: &str, over: Over, path: &str| {
            !source.is_empty() && Expression::compile(source, over).is_ok_and(|e| e.mentions(path))
        };
        let verified = |source: &str, over: Over| mentions(source, over, "claims.email_verified");
        mentions(&self.username.expression, Over::Claims, "claims.email")
            && !verified(&self.username.expression, Over::Claims)
            && !self.extra.iter().any(|e| verified(&e.value_expression, Over::Claims))
            && !rules.iter().any(|r| r.claim.is_empty() && verified(&r.expression, Over::ClaimRule))
    }
}

impl PrefixedClaim {
    fn errors(&self, path: &Path, required: bool) -> ErrorList {
        let at = path.child("prefix");
        match (self.claim.is_empty(), self.expression.is_empty()) {
            (false, false) => vec![FieldError::invalid_str(path, "", "claim and expression can't both be set")],
            (true, true) if required => vec![FieldError::required(path, "claim or expression is required")],
            (true, true) => Vec::new(),
            (true, false) => {
                let prefix = self.prefix.iter();
                let why = "may not be specified when expression is set";
                let mut out: ErrorList = prefix.map(|p| FieldError::invalid_str(&at, p, why)).collect();
                out.extend(expression(&self.expression, Over::Claims, &path.child("expression")));
                out
            }
            (false, true) if self.prefix.is_none() => {
                let why = "prefix is required when claim is set. It can be set to an empty string to disable prefixing";
                vec![FieldError::required(&at, why)]
            }
            (false, true) => Vec::new(),
        }
    }
}

impl Extra {
    /// What is wrong with a key behind these others.
    fn errors(&self, path: &Path, before: &[Self]) -> ErrorList {
        let (key, at) = (&self.key, path.child("key"));
        let mut out = names::domain_prefixed_path(&at, key);
        if *key != key.to_lowercase() {
            out.push(FieldError::invalid_str(&at, key, "must be lowercase"));
        }
        let domain = key.split_once('/').map_or("", |(domain, _)| domain);
        let below = |other: &str| domain == other || domain.ends_with(&format!(".{other}"));
        if below("kubernetes.io") || below("k8s.io") {
            let why = "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use";
            out.push(FieldError::invalid_str(&at, key, why));
        }
        let at_value = path.child("valueExpression");
        if before.iter().any(|e| e.key == *key) {
            out.push(FieldError::duplicate(&at, &json!(key)));
        } else if self.value_expression.is_empty() {
            out.push(FieldError::required(&at_value, ""));
        } else {
            out.extend(expression(&self.value_expression, Over::Claims, &at_value));
        }
        out
    }
}

fn url_errors(path: &Path, text: &str) -> ErrorList {
    let bad = |why: &str| FieldError::invalid_str(path, text, why);
    let url = match url::parse(text) {
        Ok(url) => url,
        Err(why) => return vec![bad(&why)],
    };
    let table = [
        (url.scheme != "https", "URL scheme must be https"),
        (url.user.is_some(), "URL must not contain a username or password"),
        (!url.query.is_empty(), "URL must not contain a query"),
        (!url.fragment.is_empty(), "URL must not contain a fragment"),
    ];
    table.iter().filter(|(wrong, _)| *wrong).map(|(_, why)| bad(why)).collect()
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
            ironclad_api::field::aggregate(&extra.errors(&Path::new("x"), &[]))
        };
        assert_eq!(extra("acme.io/foo"), "[]");
        assert!(extra("foo").contains("domain-prefixed"));
        assert!(extra("acme.io/Foo").contains("lowercase"));
        assert!(extra("x.kubernetes.io/foo").contains("reserved"));
    }
}
