//! Envelope encryption with a plugin that keeps the key (KMS v2): values are sealed with keys derived from a seed that
//! lives in memory only, and that lies beside each value as the plugin has sealed it.
//!
//! Invariants: the plugin is asked on a thread of its own, never while a lock is held; it is asked when its key changes
//! and when a seed is met for the first time, not for every value.

mod plugin;
mod wire;

use crate::config::Kms;
use crate::metrics::{self, Way};
use crate::{Error, Result, aes};
use arc_swap::ArcSwap;
use aws_lc_rs::hkdf;
use ironclad_api::expiring::Expiring;
use ironclad_store::Opened;
use plugin::Plugin;
use prost::Message;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wire::EncryptedObject;

const INFO: usize = 32;
const SEED: usize = 32;
/// Sealed seeds that are remembered opened.
const SEEDS: usize = 1000;
const SEED_LIFE: Duration = Duration::from_hours(1);
/// Longest sealed seed, key id and annotations that a plugin may answer with.
const LARGEST: usize = 1024;

/// A seed and how the plugin has sealed it.
struct Source {
    seed: [u8; SEED],
    key_id: String,
    sealed: Vec<u8>,
    annotations: std::collections::HashMap<String, Vec<u8>>,
}

/// How often a plugin is asked how it is and which key it uses, and for how long its last good answer counts.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between two questions while all is well.
    pub good: Duration,
    /// Between two questions while something is wrong.
    pub bad: Duration,
    /// How long values are sealed after the last good answer.
    pub trust: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { good: Duration::from_secs(20), bad: Duration::from_secs(3), trust: Duration::from_mins(3) }
    }
}

/// What is known of the plugin.
#[derive(Clone, Default)]
struct State {
    source: Option<Arc<Source>>,
    /// When it last said that all is well.
    good: Option<Instant>,
    /// What is wrong since.
    error: Option<String>,
}

/// One KMS provider.
pub(crate) struct Envelope {
    name: String,
    prefix: Vec<u8>,
    plugin: Plugin,
    state: Arc<ArcSwap<State>>,
    trust: Duration,
    seeds: Expiring<[u8; 32], Vec<u8>>,
}

impl Envelope {
    /// Connects to the plugin and gets a first seed; a plugin that does not answer is an error.
    pub(crate) fn start(kms: &Kms, pace: Pace) -> Result<Arc<Self>> {
        let failed = |why: String| Error::Kms { name: kms.name.clone(), why };
        let path = kms.endpoint.trim_start_matches("unix://").to_owned();
        let state = Arc::new(ArcSwap::default());
        let patience = kms.patience();
        let plugin = Plugin::start(kms.name.clone(), path, patience, pace, state.clone()).map_err(failed)?;
        // The seed of its own is the first that is known.
        metrics::SEEDS.set(&[("provider_name", &kms.name)], 1.0);
        Ok(Arc::new(Self {
            name: kms.name.clone(),
            prefix: format!("k8s:enc:kms:v2:{}:", kms.name).into_bytes(),
            plugin,
            state,
            trust: pace.trust,
            seeds: Expiring::new(SEEDS),
        }))
    }

    /// With what its values begin.
    pub(crate) fn prefix(&self) -> String {
        format!("k8s:enc:kms:v2:{}:", self.name)
    }

    pub(crate) fn seal(&self, key: &str, plain: &[u8]) -> std::result::Result<Vec<u8>, String> {
        let state = self.state.load();
        let source = state.source.as_ref().ok_or("the KMS plugin has given no key yet")?;
        metrics::used(&self.name, &source.key_id, Way::To);
        let object = EncryptedObject {
            encrypted_data: seal_with_seed(&source.seed, key.as_bytes(), plain)?,
            key_id: source.key_id.clone(),
            encrypted_dek_source: source.sealed.clone(),
            annotations: source.annotations.clone(),
            encrypted_dek_source_type: wire::SEED_TYPE,
        };
        let mut out = self.prefix.clone();
        object.encode(&mut out).map_err(|e| e.to_string())?;
        Ok(out)
    }

    /// Whether new values may be sealed: not when the plugin has been out of reach for long, and its key may be gone.
    pub(crate) fn ready(&self) -> std::result::Result<(), String> {
        let state = self.state.load();
        if state.good.is_some_and(|at| at.elapsed() <= self.trust) {
            return Ok(());
        }
        let why = state.error.as_deref().unwrap_or("it does not answer");
        Err(format!("the key of the KMS plugin was not confirmed for too long: {why}"))
    }

    /// What is wrong with the plugin.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.state.load().error.clone()
    }

    /// Opens what this provider has sealed; `None` for what another one has.
    pub(crate) fn open(&self, key: &str, stored: &[u8]) -> Option<std::result::Result<Opened, String>> {
        let body = stored.strip_prefix(self.prefix.as_slice())?;
        Some(self.open_body(key, body))
    }

    fn open_body(&self, key: &str, body: &[u8]) -> std::result::Result<Opened, String> {
        let object = EncryptedObject::decode(body).map_err(|e| format!("no sealed object: {e}"))?;
        let seed = self.seed_of(&object)?;
        metrics::used(&self.name, &object.key_id, Way::From);
        let plain = match object.encrypted_dek_source_type {
            wire::KEY_TYPE => aes::gcm_open(&seed, key.as_bytes(), &object.encrypted_data)?,
            wire::SEED_TYPE => open_with_seed(&seed, key.as_bytes(), &object.encrypted_data)?,
            other => return Err(format!("the sort {other} of sealed keys is not known")),
        };
        let stale = self.state.load().source.as_ref().is_none_or(|c| c.key_id != object.key_id)
            || object.encrypted_dek_source_type != wire::SEED_TYPE;
        Ok(Opened { plain, stale })
    }

    fn seed_of(&self, object: &EncryptedObject) -> std::result::Result<Vec<u8>, String> {
        if let Some(current) = self.state.load().source.as_ref().filter(|c| c.sealed == object.encrypted_dek_source) {
            return Ok(current.seed.to_vec());
        }
        let id: [u8; 32] = Sha256::digest(&object.encrypted_dek_source).into();
        if let Some(seed) = self.seeds.get(&id) {
            return Ok(seed);
        }
        metrics::MISSED.add(1);
        let seed = self.plugin.decrypt(wire::DecryptRequest {
            ciphertext: object.encrypted_dek_source.clone(),
            uid: uuid::Uuid::new_v4().to_string(),
            key_id: object.key_id.clone(),
            annotations: object.annotations.clone(),
        })?;
        self.seeds.put(id, seed.clone(), SEED_LIFE);
        metrics::SEEDS.of(&[("provider_name", &self.name)]).add(1);
        Ok(seed)
    }
}

struct Length;

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        SEED
    }
}

/// The key for one value: HKDF-Expand of the seed with this value's own info.
fn derive(seed: &[u8], info: &[u8]) -> std::result::Result<[u8; SEED], String> {
    let failed = |_| "no key can be derived".to_owned();
    let mut out = [0; SEED];
    let prk = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, seed);
    prk.expand(&[info], Length).map_err(failed)?.fill(&mut out).map_err(failed)?;
    Ok(out)
}

fn seal_with_seed(seed: &[u8], context: &[u8], plain: &[u8]) -> std::result::Result<Vec<u8>, String> {
    let info: [u8; INFO] = aes::random()?;
    let body = aes::gcm_seal(&derive(seed, &info)?, context, plain)?;
    Ok([&info[..], &body].concat())
}

fn open_with_seed(seed: &[u8], context: &[u8], sealed: &[u8]) -> std::result::Result<Vec<u8>, String> {
    let (info, body) = sealed.split_at_checked(INFO).ok_or("the stored data was shorter than the required size")?;
    aes::gcm_open(&derive(seed, info)?, context, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_has_a_key_of_its_own() {
        let one = seal_with_seed(&[3; 32], b"/a", b"secret").unwrap();
        let two = seal_with_seed(&[3; 32], b"/a", b"secret").unwrap();
        assert_ne!(one[..INFO], two[..INFO]);
        assert_eq!(open_with_seed(&[3; 32], b"/a", &one).unwrap(), b"secret");
        assert!(open_with_seed(&[3; 32], b"/b", &one).is_err());
        assert!(open_with_seed(&[3; 32], b"/a", &one[..20]).is_err());
    }

    #[test]
    fn derivation_is_that_of_the_standard() {
        // RFC 5869, test case 1: expanding the pseudorandom key, first 32 bytes.
        let prk = hex::decode("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5").unwrap();
        let info = hex::decode("f0f1f2f3f4f5f6f7f8f9").unwrap();
        let wanted = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf";
        assert_eq!(hex::encode(derive(&prk, &info).unwrap()), wanted);
    }
}
