//! Checking a token: its signature, its times, and whether everything that it names is still there.

use super::{LEGACY_ISSUER, Tokens, account_user};
use crate::Authenticated;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ironclad_api::{ApiError, GroupResource, UserInfo, object};
use jsonwebtoken::Validation;
use serde_json::Value;

/// Clocks may differ by this many seconds.
const LEEWAY: u64 = 10;
/// How long an object's last words are heard after its deletion has begun.
const FAREWELL: i64 = 60;
pub(super) const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";

fn refused() -> ApiError {
    ApiError::unauthorized()
}

impl Tokens {
    /// The claims of a token that one of the keys has signed and whose time it is.
    fn claims(&self, token: &str) -> Option<Value> {
        let header = jsonwebtoken::decode_header(token).ok()?;
        let named = |k: &&super::keys::Known| header.kid.as_ref().is_none_or(|id| *id == k.id);
        self.known.iter().filter(named).filter(|k| k.algorithm == header.alg).find_map(|key| {
            let mut validation = Validation::new(key.algorithm);
            validation.validate_aud = false;
            validation.validate_nbf = true;
            validation.leeway = LEEWAY;
            validation.required_spec_claims.clear();
            jsonwebtoken::decode::<Value>(token, &key.decoding, &validation).ok().map(|d| d.claims)
        })
    }

    /// Whose a token is and for whom; `None` when no key here has signed it.
    pub(super) fn check(&self, token: &str) -> Result<Option<Authenticated>, ApiError> {
        let Some(claims) = self.claims(token) else { return Ok(None) };
        if claims["iss"] == LEGACY_ISSUER {
            return self.legacy(token, &claims).map(Some);
        }
        let issuer = claims["iss"].as_str().unwrap_or_default();
        if !self.options.issuers.iter().any(|i| i == issuer) || claims["exp"].is_null() {
            return Err(refused());
        }
        let bound = &claims["kubernetes.io"];
        let text = |path: &[&str]| object::text(bound, path).to_owned();
        let (namespace, account) = (text(&["namespace"]), text(&["serviceaccount", "name"]));
        let mut user = self.account(&namespace, &account, &text(&["serviceaccount", "uid"]))?;
        if claims["sub"] != user.name || !self.still_there(&namespace, bound) {
            return Err(refused());
        }
        for claim in ["pod", "node"] {
            for part in ["name", "uid"] {
                if let Some(value) = bound[claim][part].as_str() {
                    user.extra.insert(format!("authentication.kubernetes.io/{claim}-{part}"), vec![value.to_owned()]);
                }
            }
        }
        if let Some(id) = claims["jti"].as_str() {
            user.extra.insert(crate::certificates::CREDENTIAL_ID.to_owned(), vec![format!("JTI={id}")]);
        }
        let audiences = match &claims["aud"] {
            Value::Array(list) => list.iter().filter_map(|a| a.as_str().map(str::to_owned)).collect(),
            Value::String(one) => vec![one.clone()],
            _ => self.options.audiences.clone(),
        };
        Ok(Some(Authenticated { user, audiences }))
    }

    /// A token without end, from a Secret: good while the Secret holds it.
    fn legacy(&self, token: &str, claims: &Value) -> Result<Authenticated, ApiError> {
        let text = |key: &str| claims[&format!("kubernetes.io/serviceaccount/{key}")].as_str().unwrap_or_default();
        let (namespace, name) = (text("namespace"), text("secret.name"));
        let secret = self.source.get(&GroupResource::new("", "secrets"), namespace, name).ok_or_else(refused)?;
        let held = STANDARD.decode(object::text(&secret, &["data", "token"])).unwrap_or_default();
        let labels = &secret["metadata"]["labels"];
        if long_gone(&secret) || held != token.as_bytes() || labels[INVALID_SINCE].is_string() {
            return Err(refused());
        }
        let user = self.account(namespace, text("service-account.name"), text("service-account.uid"))?;
        if let Some(used) = &self.options.used {
            used(namespace, name, &secret);
        }
        Ok(Authenticated { user, audiences: self.options.audiences.clone() })
    }

    fn account(&self, namespace: &str, name: &str, uid: &str) -> Result<UserInfo, ApiError> {
        let accounts = GroupResource::new("", "serviceaccounts");
        let found = self.source.get(&accounts, namespace, name).ok_or_else(refused)?;
        if object::uid(&found) != uid || long_gone(&found) {
            return Err(refused());
        }
        Ok(account_user(namespace, name, uid))
    }

    /// Whether what a token is bound to exists, and is what it was. The node of a pod is told, not checked.
    fn still_there(&self, namespace: &str, bound: &Value) -> bool {
        let to = [("pod", "pods", namespace), ("secret", "secrets", namespace), ("node", "nodes", "")];
        let Some((claim, plural, place)) = to.into_iter().find(|(claim, ..)| bound[*claim]["name"].is_string()) else {
            return true;
        };
        let found = self.source.get(&GroupResource::new("", plural), place, object::text(bound, &[claim, "name"]));
        found.is_some_and(|found| {
            !long_gone(&found) && bound[claim]["uid"].as_str().is_none_or(|uid| uid == object::uid(&found))
        })
    }
}

/// Whether an object's deletion began some time before: until then its last words are still heard.
fn long_gone(object: &Value) -> bool {
    let at = object::text(object, &["metadata", "deletionTimestamp"]).parse::<jiff::Timestamp>();
    at.is_ok_and(|at| at.as_second() + FAREWELL < jiff::Timestamp::now().as_second())
}
