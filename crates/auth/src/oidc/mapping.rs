//! From the claims of a token that was checked to a user: pure functions of claims and configuration.

use super::config::{Jwt, PrefixedClaim};
use crate::expression::{Expression, Over};
use ironclad_api::UserInfo;
use ironclad_json::{Value, json};

type Result<T> = std::result::Result<T, String>;

/// Where a part of a user comes from.
enum From {
    Nothing,
    Claim { claim: String, prefix: String },
    Expression(Expression),
}

pub(super) struct Mapping {
    username: From,
    groups: From,
    uid: From,
    extra: Vec<(String, Expression)>,
    required: Vec<(String, String)>,
    claim_rules: Vec<(Expression, String)>,
    user_rules: Vec<(Expression, String)>,
    /// An expression looks at the address and whether it was verified by itself.
    trusts_email: bool,
}

fn from(claim: &str, prefix: Option<&str>, expression: &str) -> Result<From> {
    Ok(match (claim, expression) {
        ("", "") => From::Nothing,
        ("", expression) => From::Expression(Expression::compile(expression, Over::Claims)?),
        (claim, _) => From::Claim { claim: claim.to_owned(), prefix: prefix.unwrap_or_default().to_owned() },
    })
}

fn prefixed(mapping: &PrefixedClaim) -> Result<From> {
    from(&mapping.claim, mapping.prefix.as_deref(), &mapping.expression)
}

impl Mapping {
    pub(super) fn new(jwt: &Jwt) -> Result<Self> {
        let maps = &jwt.claim_mappings;
        let extra =
            maps.extra.iter().map(|e| Ok((e.key.clone(), Expression::compile(&e.value_expression, Over::Claims)?)));
        let extra: Vec<_> = extra.collect::<Result<_>>()?;
        let rules = jwt.claim_validation_rules.iter();
        let required = rules
            .clone()
            .filter(|r| !r.claim.is_empty())
            .map(|r| (r.claim.clone(), r.required_value.clone()))
            .collect();
        let claim_rules: Vec<_> = rules
            .filter(|r| !r.expression.is_empty())
            .map(|r| Ok((Expression::compile(&r.expression, Over::ClaimRule)?, r.message.clone())))
            .collect::<Result<_>>()?;
        let user_rules = jwt
            .user_validation_rules
            .iter()
            .map(|r| Ok((Expression::compile(&r.expression, Over::UserRule)?, r.message.clone())))
            .collect::<Result<_>>()?;
        let username = prefixed(&maps.username)?;
        Ok(Self {
            trusts_email: matches!(&username, From::Claim { claim, .. } if claim == "email"),
            username,
            groups: prefixed(&maps.groups)?,
            uid: from(&maps.uid.claim, None, &maps.uid.expression)?,
            extra,
            required,
            claim_rules,
            user_rules,
        })
    }

    pub(super) fn user(&self, claims: &Value) -> Result<UserInfo> {
        let name =
            one(&self.username, claims, "username")?.filter(|n| !n.is_empty()).ok_or("username claim is empty")?;
        if self.trusts_email && claims.get("email_verified").is_some_and(|v| *v != true) {
            return Err("email not verified".to_owned());
        }
        let groups = many(&self.groups, claims)?;
        let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
        let mut user = UserInfo::new(&name, &groups);
        user.uid = one(&self.uid, claims, "uid")?.unwrap_or_default();
        for (key, expression) in &self.extra {
            let values = texts(&expression.eval(claims)?)
                .ok_or_else(|| format!("extra {key:?} is neither a string nor a list of strings"))?;
            if !values.is_empty() {
                user.extra.insert(key.clone(), values);
            }
        }
        for (claim, value) in &self.required {
            match claims.get(claim) {
                None => return Err(format!("required claim {claim} not present in ID token")),
                Some(Value::String(found)) if found == value => {}
                Some(Value::String(found)) => {
                    return Err(format!("required claim {claim} value does not match. Got = {found}, want = {value}"));
                }
                Some(_) => return Err(format!("parse claim {claim}: it is no string")),
            }
        }
        rules(&self.claim_rules, claims)?;
        let shown = json!({"username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra});
        rules(&self.user_rules, &shown)?;
        Ok(user)
    }
}

fn rules(rules: &[(Expression, String)], value: &Value) -> Result<()> {
    for (rule, message) in rules {
        if !rule.holds(value).map_err(|e| format!("error evaluating {:?}: {e}", rule.source()))? {
            return Err(match message.is_empty() {
                true => format!("validation expression {:?} failed", rule.source()),
                false => format!("validation expression {:?} failed: {message}", rule.source()),
            });
        }
    }
    Ok(())
}

fn one(from: &From, claims: &Value, what: &str) -> Result<Option<String>> {
    match from {
        From::Nothing => Ok(None),
        From::Claim { claim, prefix } => match claims.get(claim) {
            Some(Value::String(text)) => Ok(Some(format!("{prefix}{text}"))),
            Some(_) => Err(format!("parse {what} claims {claim:?}: it is no string")),
            None => Err(format!("parse {what} claims {claim:?}: claim not present")),
        },
        From::Expression(expression) => match expression.eval(claims)? {
            Value::String(text) => Ok(Some(text.to_string())),
            _ => Err(format!("{what} claim expression must return a string")),
        },
    }
}

/// A text or a list of texts; nothing for null.
fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::String(one) if one.is_empty() => Some(Vec::new()),
        Value::String(one) => Some(vec![one.to_string()]),
        Value::Array(items) => items.iter().map(|i| i.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

fn many(from: &From, claims: &Value) -> Result<Vec<String>> {
    match from {
        From::Nothing => Ok(Vec::new()),
        From::Claim { claim, prefix } => {
            let Some(value) = claims.get(claim) else { return Ok(Vec::new()) };
            let found = texts(value)
                .ok_or_else(|| format!("parse groups claim {claim:?}: it is neither a string nor a list of strings"))?;
            Ok(found.into_iter().map(|g| format!("{prefix}{g}")).collect())
        }
        From::Expression(expression) => {
            texts(&expression.eval(claims)?).ok_or_else(|| "groups claim expression must return strings".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::AuthenticationConfiguration;
    use super::*;

    fn mapping(jwt: &str) -> Result<Mapping> {
        let text = format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- issuer: {{url: https://a, audiences: [me]}}\n{jwt}"
        );
        Mapping::new(&AuthenticationConfiguration::parse(&text)?.jwt[0])
    }

    #[test]
    fn claims_become_users() {
        let plain = mapping("  claimMappings: {username: {claim: sub, prefix: 'a#'}, groups: {claim: roles, prefix: 'r:'}, uid: {claim: id}}\n  claimValidationRules: [{claim: hd, requiredValue: x.org}]").unwrap();
        let claims = json!({"sub": "jane", "roles": ["dev", "ops"], "id": "7", "hd": "x.org"});
        let user = plain.user(&claims).unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("a#jane", "7"));
        assert_eq!(user.groups, ["r:dev", "r:ops", "system:authenticated"]);
        let mut other = claims.clone();
        other["hd"] = json!("y.org");
        assert!(plain.user(&other).unwrap_err().contains("does not match"));
        assert!(plain.user(&json!({"hd": "x.org", "id": "7"})).is_err());
        let single = json!({"sub": "jane", "roles": "dev", "id": "7", "hd": "x.org"});
        assert_eq!(plain.user(&single).unwrap().groups[0], "r:dev");
    }

    #[test]
    fn expressions_map_and_check() {
        let mapping = mapping("  claimMappings:\n    username: {expression: 'claims.sub + \"@\" + claims.realm'}\n    groups: {expression: 'claims.roles.filter(r, r != \"admin\")'}\n    extra: [{key: 'x.org/team', valueExpression: 'claims.team'}]\n  claimValidationRules: [{expression: 'claims.exp - claims.iat < 86400', message: too long}]\n  userValidationRules: [{expression: '!user.username.startsWith(\"system:\")', message: reserved}]").unwrap();
        let claims =
            json!({"sub": "jane", "realm": "x", "roles": ["dev", "admin"], "team": "red", "exp": 100, "iat": 1});
        let user = mapping.user(&claims).unwrap();
        assert_eq!((user.name.as_str(), user.extra["x.org/team"][0].as_str()), ("jane@x", "red"));
        assert_eq!(user.groups, ["dev", "system:authenticated"]);
        let with = |field: &str, value: Value| {
            let mut claims = claims.clone();
            claims[field] = value;
            mapping.user(&claims).unwrap_err()
        };
        assert!(with("exp", json!(1_000_000)).ends_with("too long"));
        assert!(with("sub", json!("system:node:a")).ends_with("reserved"));
    }

    #[test]
    fn an_address_counts_only_when_it_is_verified() {
        let email = mapping("  claimMappings: {username: {claim: email, prefix: ''}}").unwrap();
        assert!(email.user(&json!({"email": "a@b", "email_verified": false})).is_err());
        assert_eq!(email.user(&json!({"email": "a@b", "email_verified": true})).unwrap().name, "a@b");
        assert!(
            mapping("  claimMappings: {username: {expression: claims.email}}")
                .err()
                .unwrap()
                .contains("email_verified")
        );
        assert!(mapping("  claimMappings: {username: {expression: 'claims.?email.orValue(\"x\")'}}").is_err());
        assert!(mapping("  claimMappings: {username: {claim: sub}}").err().unwrap().contains("prefix is required"));
    }
}
