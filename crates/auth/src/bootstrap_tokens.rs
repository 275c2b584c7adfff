//! Bootstrap tokens: what machines that are not of the cluster yet come in with; Secrets of kube-system hold them.

use crate::{Authenticated, Authenticator, Credentials};
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ironclad_api::source::Source;
use ironclad_api::{ApiError, GroupResource, UserInfo, object};
use ironclad_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

const GROUP: &str = "system:bootstrappers";

/// The authenticator.
pub struct BootstrapTokens(pub Arc<dyn Source>);

/// The id and the secret of a token: `abcdef.0123456789abcdef`.
fn parts(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let plain =
        |text: &str, length| text.len() == length && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    (plain(id, 6) && plain(secret, 16)).then_some((id, secret))
}

fn datum(secret: &Value, key: &str) -> String {
    let bytes = STANDARD.decode(object::text(secret, &["data", key])).unwrap_or_default();
    String::from_utf8(bytes).unwrap_or_default()
}

/// The groups of a token, its own among them, each once and in order; `None` when one is not allowed.
fn groups(text: &str) -> Option<BTreeSet<&str>> {
    let names: Vec<&str> = if text.is_empty() { Vec::new() } else { text.split(',').collect() };
    let good = |name: &&str| {
        let rest = name.strip_prefix("system:bootstrappers:").unwrap_or_default();
        let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b':' || b == b'-';
        (1..=256).contains(&rest.len())
            && rest.bytes().all(known)
            && rest.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    names.iter().all(good).then(|| names.into_iter().chain([GROUP]).collect())
}

/// Whose the token of a Secret is; `None` when it is not good now.
fn user(secret: &Value, id: &str, shown: &str, now: jiff::Timestamp) -> Option<UserInfo> {
    let kept = datum(secret, "token-secret");
    let same = aws_lc_rs::constant_time::verify_slices_are_equal(kept.as_bytes(), shown.as_bytes()).is_ok();
    let deleted = !secret["metadata"]["deletionTimestamp"].is_null();
    if secret["type"] != "bootstrap.kubernetes.io/token" || deleted || kept.is_empty() || !same {
        return None;
    }
    if datum(secret, "token-id") != id || datum(secret, "usage-bootstrap-authentication") != "true" {
        return None;
    }
    let expiration = datum(secret, "expiration");
    // RFC 3339 as Go reads it, in capital letters.
    let odd = expiration.contains(|c: char| c.is_ascii_lowercase());
    if odd || !expiration.is_empty() && !expiration.parse::<jiff::Timestamp>().is_ok_and(|end| end > now) {
        return None;
    }
    let extra = datum(secret, "auth-extra-groups");
    let all: Vec<&str> = groups(&extra)?.into_iter().collect();
    Some(UserInfo::new(&format!("system:bootstrap:{id}"), &all))
}

#[async_trait]
impl Authenticator for BootstrapTokens {
    async fn authenticate(&self, _: Credentials<'_>) -> Result<Option<Authenticated>, ApiError> {
        Ok(None)
    }

    async fn review(&self, token: &str, audiences: &[String]) -> Result<Option<Authenticated>, ApiError> {
        let Some((id, secret)) = parts(token) else { return Ok(None) };
        let name = format!("bootstrap-token-{id}");
        let Some(kept) = self.0.get(&GroupResource::new("", "secrets"), "kube-system", &name) else { return Ok(None) };
        let found = user(&kept, id, secret, jiff::Timestamp::now());
        Ok(found.map(|user| Authenticated { user, audiences: audiences.to_vec() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    #[test]
    fn only_a_whole_good_token_counts() {
        assert_eq!(parts("abcdef.0123456789abcdef"), Some(("abcdef", "0123456789abcdef")));
        for bad in ["abcdef", "abcde.0123456789abcdef", "ABCDEF.0123456789abcdef", "abcdef.0123456789abcde", "a.b.c"] {
            assert_eq!(parts(bad), None, "{bad}");
        }
        let secret = |change: &dyn Fn(&mut Value)| {
            let mut secret = json!({"type": "bootstrap.kubernetes.io/token", "data": {
                "token-id": STANDARD.encode("abcdef"), "token-secret": STANDARD.encode("0123456789abcdef"),
                "usage-bootstrap-authentication": STANDARD.encode("true"),
                "auth-extra-groups": STANDARD.encode("system:bootstrappers:workers")}});
            change(&mut secret);
            user(&secret, "abcdef", "0123456789abcdef", jiff::Timestamp::UNIX_EPOCH)
        };
        let found = secret(&|_| {}).unwrap();
        assert_eq!(found.name, "system:bootstrap:abcdef");
        assert_eq!(found.groups, ["system:bootstrappers", "system:bootstrappers:workers", "system:authenticated"]);
        assert!(secret(&|s| s["data"]["expiration"] = json!(STANDARD.encode("1970-01-02T00:00:00Z"))).is_some());
        let twice = "system:bootstrappers:b,system:bootstrappers:a,system:bootstrappers:b";
        let found = secret(&|s| s["data"]["auth-extra-groups"] = json!(STANDARD.encode(twice))).unwrap();
        assert_eq!(found.groups[..3], ["system:bootstrappers", "system:bootstrappers:a", "system:bootstrappers:b"]);
        assert_eq!(found.groups.len(), 4);
        let changes: [&dyn Fn(&mut Value); 8] = [
            &|s| s["data"]["auth-extra-groups"] = json!(STANDARD.encode("system:bootstrappers:a,")),
            &|s| s["data"]["expiration"] = json!(STANDARD.encode("2099-01-01t00:00:00z")),
            &|s| s["type"] = json!("Opaque"),
            &|s| s["data"]["token-secret"] = json!(STANDARD.encode("0123456789abcdeg")),
            &|s| s["data"]["usage-bootstrap-authentication"] = json!(STANDARD.encode("false")),
            &|s| s["data"]["expiration"] = json!(STANDARD.encode("1969-01-01T00:00:00Z")),
            &|s| s["data"]["auth-extra-groups"] = json!(STANDARD.encode("system:masters")),
            &|s| s["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"),
        ];
        for (n, change) in changes.iter().enumerate() {
            assert_eq!(secret(change), None, "{n}");
        }
    }
}
