//! Who this server is among those that share a store: a Lease in kube-system that is labelled and renewed as stock servers
//! do it (KEP-1965), and taken away by whoever is left when nobody renews it any more.

use crate::encode;
use crate::registry;
use crate::server::Inner;
use ironclad_api::labels::Labels;
use ironclad_api::{ApiError, object};
use ironclad_json::{Value, json};
use ironclad_store::{Change, Expect, Op};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const LABEL: &str = "apiserver.kubernetes.io/identity";
const COMPONENT: &str = "kube-apiserver";
const SECONDS: i64 = 3600;
/// The stock servers' times: how often a Lease is renewed, and how often those of others are looked at.
const RENEWAL: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_hours(1);
const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The name of a server on this host: a hash of the host's name and of what it is.
fn name(host: &str) -> String {
    let mut hashed = Sha256::new();
    for part in [host, COMPONENT] {
        hashed.update((part.len() as u16).to_be_bytes());
        hashed.update(part.as_bytes());
    }
    let hash = hashed.finalize();
    let (mut out, mut bits, mut held) = ("apiserver-".to_owned(), 0u32, 0u32);
    for byte in &hash[..16] {
        (bits, held) = (bits << 8 | u32::from(*byte), held + 8);
        while held >= 5 {
            held -= 5;
            out.push(DIGITS[(bits >> held & 31) as usize] as char);
        }
    }
    if held > 0 {
        out.push(DIGITS[(bits << (5 - held) & 31) as usize] as char);
    }
    out
}

/// Whether a Lease of a server ended some time ago.
fn is_over(lease: &Value, now: Timestamp) -> bool {
    let seconds = object::at(lease, &["spec", "leaseDurationSeconds"]).and_then(Value::as_i64);
    let renewed: Option<Timestamp> = object::text(lease, &["spec", "renewTime"]).parse().ok();
    let end = renewed.zip(seconds).and_then(|(at, seconds)| at.checked_add(SignedDuration::from_secs(seconds)).ok());
    end.is_none_or(|end| end < now)
}

fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

/// The name of the API server of this host, as its Lease has it.
pub fn identity() -> String {
    name(&host())
}

fn micro(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

impl Inner {
    /// Holds the Lease until `token` is cancelled; it is left to end by itself then, as stock servers leave theirs.
    pub(crate) async fn keep_identity(self: Arc<Self>, token: CancellationToken) {
        let (host, name) = (host(), identity());
        let holder = format!("{name}_{}", uuid::Uuid::new_v4());
        let mut looked = tokio::time::Instant::now();
        loop {
            if let Err(error) = self.hold_identity(&name, &holder, &host).await {
                tracing::warn!(%error, lease = name, "the Lease of this API server is not current");
            }
            if looked.elapsed() >= LOOK {
                looked = tokio::time::Instant::now();
                if let Err(error) = self.forget_identities().await {
                    tracing::warn!(%error, "Leases of API servers that are gone stay");
                }
            }
            tokio::select! {
                () = token.cancelled() => return,
                () = tokio::time::sleep(RENEWAL) => {}
            }
        }
    }

    async fn hold_identity(&self, name: &str, holder: &str, host: &str) -> Result<(), ApiError> {
        let labels = json!({LABEL: COMPONENT, "kubernetes.io/hostname": host});
        let spec =
            json!({"holderIdentity": holder, "leaseDurationSeconds": SECONDS, "renewTime": micro(Timestamp::now())});
        let metadata = json!({"name": name, "namespace": "kube-system", "labels": labels});
        let lease = json!({"metadata": metadata, "spec": spec});
        let kind = self.kind_of("coordination.k8s.io", "leases").ok_or_else(|| ApiError::internal("no Leases"))?;
        let key = format!("{}kube-system/{name}", kind.prefix);
        let Some(entry) = self.registry.entry(&key).await? else {
            return self.ensure("coordination.k8s.io", "leases", lease).await;
        };
        let mut wanted = encode::decode(entry.value.bytes());
        wanted["spec"] = spec;
        for (label, value) in labels.as_object().into_iter().flatten() {
            wanted["metadata"]["labels"][label.as_ref() as &str] = value.clone();
        }
        let change = Change::Put { value: encode::template(&wanted), ttl: None };
        let op = Op { key: key.into(), expect: Expect::Modified(entry.modified), change };
        match self.registry.store.commit(vec![op]).await {
            // Another server of this host was faster.
            Ok(_) | Err(ironclad_store::Error::Conflict { .. }) => Ok(()),
            Err(error) => Err(registry::store_error(&error)),
        }
    }

    /// Takes away the Leases of servers that are gone.
    async fn forget_identities(&self) -> Result<(), ApiError> {
        let kind = self.kind_of("coordination.k8s.io", "leases").ok_or_else(|| ApiError::internal("no Leases"))?;
        let cache = self.registry.caches.of(&kind).ok_or_else(|| ApiError::internal("no Leases"))?;
        let prefix = format!("{}kube-system/", kind.prefix);
        for cached in cache.list(&prefix, None) {
            if cached.get_label(LABEL) != Some(COMPONENT) || !is_over(&cached.value(), Timestamp::now()) {
                continue;
            }
            let key = format!("{prefix}{}", object::name(&cached.value()));
            let Some(entry) = self.registry.entry(&key).await? else { continue };
            if !is_over(&encode::decode(entry.value.bytes()), Timestamp::now()) {
                continue;
            }
            let last = encode::decode(entry.value.bytes());
            let change = Change::Delete { last: Some(encode::template(&last)) };
            let op = Op { key: key.into(), expect: Expect::Modified(entry.modified), change };
            match self.registry.store.commit(vec![op]).await {
                Ok(_) | Err(ironclad_store::Error::Conflict { .. }) => {}
                Err(error) => return Err(registry::store_error(&error)),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_called_as_stock_calls_one_on_the_same_host() {
        assert_eq!(name("vm"), "apiserver-wlv32tlttr4jl3gtroqexyxapa");
    }

    #[test]
    fn a_lease_is_over_when_nobody_renewed_it_in_its_time() {
        let now = Timestamp::now();
        let lease = |at: Timestamp| json!({"spec": {"leaseDurationSeconds": 3600, "renewTime": micro(at)}});
        assert!(!is_over(&lease(now - SignedDuration::from_mins(59)), now));
        assert!(is_over(&lease(now - SignedDuration::from_mins(61)), now));
        assert!(is_over(&json!({"spec": {}}), now));
    }
}
