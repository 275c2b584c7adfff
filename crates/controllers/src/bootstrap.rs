//! Bootstrap tokens: they go when they end, and they sign what a machine that wants to join is told of the cluster
//! (`kube-public/cluster-info`), so that it can trust it.

use crate::{Context, is_conflict, is_missing};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ironclad_client::{Change, WorkQueue};
use ironclad_json::{Value, json};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const TYPE: &str = "bootstrap.kubernetes.io/token";
const SIGNATURE: &str = "jws-kubeconfig-";

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Token(String),
    Info,
}

pub(crate) async fn run(context: Context, token: CancellationToken) {
    let queue: Arc<WorkQueue<Key>> = WorkQueue::new();
    let (secrets, maps) = (context.informers.get::<Secret>(), context.informers.get::<ConfigMap>());
    secrets.add_index("bootstrap", |s: &Secret| is_token(s).then(|| "yes".to_owned()).into_iter().collect());
    let add = queue.clone();
    secrets.on_change(move |change| {
        let secret = change.object();
        if is_token(secret) {
            add.add(Key::Info);
            if !matches!(change, Change::Deleted(_)) {
                add.add(Key::Token(secret.metadata.name.clone().unwrap_or_default()));
            }
        }
    });
    let add = queue.clone();
    maps.on_change(move |change| {
        let meta = &change.object().metadata;
        if meta.namespace.as_deref() == Some("kube-public") && meta.name.as_deref() == Some("cluster-info") {
            add.add(Key::Info);
        }
    });
    secrets.synced().await;
    maps.synced().await;
    let (cleaner, signer) = (context.of("token-cleaner"), context.of("bootstrap-signer"));
    let work = move |key: Key| {
        let (cleaner, signer, secrets, maps) = (cleaner.clone(), signer.clone(), secrets.clone(), maps.clone());
        async move {
            match key {
                Key::Token(name) => match secrets.get("kube-system", &name) {
                    Some(secret) => clean(&cleaner, &secret).await,
                    None => Ok(None),
                },
                Key::Info => match maps.get("kube-public", "cluster-info") {
                    Some(map) => sign(&signer, &map, &secrets.by_index("bootstrap", "yes")).await,
                    None => Ok(None),
                },
            }
        }
    };
    queue.run("bootstraptokens", 1, token, work).await;
}

fn is_token(secret: &Secret) -> bool {
    secret.type_.as_deref() == Some(TYPE) && secret.metadata.namespace.as_deref() == Some("kube-system")
}

fn datum(secret: &Secret, key: &str) -> String {
    let bytes = secret.data.as_ref().and_then(|d| d.get(key)).map(|b| b.0.clone()).unwrap_or_default();
    String::from_utf8(bytes).unwrap_or_default()
}

/// How long a token lives yet; `None` for ever. One that nobody can read has ended.
fn left(secret: &Secret, now: Timestamp) -> Option<Duration> {
    let text = datum(secret, "expiration");
    if text.is_empty() {
        return None;
    }
    let seconds = text.parse::<Timestamp>().map_or(0, |end| end.as_second() - now.as_second());
    Some(Duration::from_secs(seconds.max(0) as u64))
}

async fn clean(context: &Context, secret: &Secret) -> Result<Option<Duration>, kube::Error> {
    let Some(left) = left(secret, Timestamp::now()) else { return Ok(None) };
    if !left.is_zero() {
        return Ok(Some(left));
    }
    let api: Api<Secret> = Api::namespaced(context.client.clone(), "kube-system");
    // Not the one that somebody has made anew meanwhile.
    let preconditions = Some(Preconditions { uid: secret.metadata.uid.clone(), resource_version: None });
    let options = DeleteParams { preconditions, ..DeleteParams::default() };
    match api.delete(secret.metadata.name.as_deref().unwrap_or_default(), &options).await {
        Err(error) if !is_missing(&error) && !is_conflict(&error) => Err(error),
        _ => Ok(None),
    }
}

async fn sign(context: &Context, map: &ConfigMap, tokens: &[Arc<Secret>]) -> Result<Option<Duration>, kube::Error> {
    let now = Timestamp::now();
    let data = map.data.clone().unwrap_or_default();
    let Some(content) = data.get("kubeconfig") else { return Ok(None) };
    let wanted: BTreeMap<String, String> = tokens
        .iter()
        .filter(|t| datum(t, "usage-bootstrap-signing") == "true" && left(t, now).is_none_or(|l| !l.is_zero()))
        .map(|t| (datum(t, "token-id"), datum(t, "token-secret")))
        .filter(|(id, secret)| !id.is_empty() && !secret.is_empty())
        .map(|(id, secret)| (format!("{SIGNATURE}{id}"), signature(content, &id, &secret)))
        .collect();
    let has: BTreeMap<String, String> =
        data.iter().filter(|(k, _)| k.starts_with(SIGNATURE)).map(|(k, v)| (k.clone(), v.clone())).collect();
    if has != wanted {
        let mut change: ironclad_json::Map = has.keys().map(|k| (k.clone(), Value::Null)).collect();
        change.extend(wanted.into_iter().map(|(k, v)| (k, json!(v))));
        let api: Api<ConfigMap> = Api::namespaced(context.client.clone(), "kube-public");
        let patch = Patch::Merge(json!({"data": change}));
        api.patch("cluster-info", &PatchParams::default(), &patch).await?;
    }
    Ok(None)
}

/// A detached JWS (RFC 7515, appendix F) with the token's secret as its key.
fn signature(content: &str, id: &str, secret: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(format!("{{\"alg\":\"HS256\",\"kid\":\"{id}\"}}"));
    let payload = URL_SAFE_NO_PAD.encode(content);
    let mac = hmac(secret.as_bytes(), format!("{header}.{payload}").as_bytes());
    format!("{header}..{}", URL_SAFE_NO_PAD.encode(mac))
}

/// HMAC-SHA-256 (RFC 2104).
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    match key.len() {
        0..=64 => block[..key.len()].copy_from_slice(key),
        _ => block[..32].copy_from_slice(&Sha256::digest(key)),
    }
    let inner = Sha256::new().chain_update(block.map(|b| b ^ 0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(block.map(|b| b ^ 0x5c)).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_the_standard() {
        // RFC 4231, test case 2.
        let wanted = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hex::encode(hmac(b"Jefe", b"what do ya want for nothing?")), wanted);
        let signed = signature("content", "abcdef", "0123456789abcdef");
        let parts: Vec<&str> = signed.split('.').collect();
        assert_eq!((parts.len(), parts[1]), (3, ""));
        assert_eq!(URL_SAFE_NO_PAD.decode(parts[0]).unwrap(), b"{\"alg\":\"HS256\",\"kid\":\"abcdef\"}");
    }

    #[test]
    fn a_token_ends_when_it_says_or_when_nobody_can_read_it() {
        let secret = |expiration: &str| -> Secret {
            ironclad_json::from_value(
                json!({"data": {"expiration": base64::engine::general_purpose::STANDARD.encode(expiration)}}),
            )
            .unwrap()
        };
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(left(&secret(""), now), None);
        assert_eq!(left(&secret("1970-01-01T01:00:00Z"), now), Some(Duration::from_hours(1)));
        assert_eq!(left(&secret("1969-01-01T01:00:00Z"), now), Some(Duration::ZERO));
        assert_eq!(left(&secret("soon"), now), Some(Duration::ZERO));
    }
}
