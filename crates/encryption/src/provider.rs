//! One provider of a rule: how it marks what it has sealed, and which of its keys opens it.

use crate::config::{Keys, ProviderConfiguration};
use crate::kms::{Envelope, Pace};
use crate::{Result, SEALED, aes};
use ironclad_store::Opened;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cipher {
    Gcm,
    Cbc,
    Secretbox,
}

impl Cipher {
    fn prefix(self) -> &'static str {
        match self {
            Self::Gcm => "k8s:enc:aesgcm:v1:",
            Self::Cbc => "k8s:enc:aescbc:v1:",
            Self::Secretbox => "k8s:enc:secretbox:v1:",
        }
    }

    fn seal(self, secret: &[u8], key: &str, plain: &[u8]) -> std::result::Result<Vec<u8>, String> {
        match self {
            Self::Gcm => aes::gcm_seal(secret, key.as_bytes(), plain),
            Self::Cbc => aes::cbc_seal(secret, plain),
            Self::Secretbox => aes::box_seal(secret, plain),
        }
    }

    fn open(self, secret: &[u8], key: &str, sealed: &[u8]) -> std::result::Result<Vec<u8>, String> {
        match self {
            Self::Gcm => aes::gcm_open(secret, key.as_bytes(), sealed),
            Self::Cbc => aes::cbc_open(secret, sealed),
            Self::Secretbox => aes::box_open(secret, sealed),
        }
    }
}

/// A key with its name; it never shows itself.
pub(crate) struct Named {
    name: String,
    secret: Vec<u8>,
}

pub(crate) enum Provider {
    /// Plain.
    Identity,
    /// Keys that the configuration holds; the first seals.
    Keys(Cipher, Vec<Named>),
    /// Keys that a plugin keeps.
    Kms(Arc<Envelope>),
}

impl Provider {
    pub(crate) fn new(configuration: &ProviderConfiguration, pace: Pace) -> Result<Self> {
        let keyed = [
            (Cipher::Gcm, &configuration.aesgcm),
            (Cipher::Cbc, &configuration.aescbc),
            (Cipher::Secretbox, &configuration.secretbox),
        ];
        if let Some((cipher, keys)) = keyed.into_iter().find_map(|(c, k)| Some((c, k.as_ref()?))) {
            return Ok(Self::Keys(cipher, named(keys)?));
        }
        match &configuration.kms {
            Some(kms) => Ok(Self::Kms(Envelope::start(kms, pace)?)),
            None => Ok(Self::Identity),
        }
    }

    /// With what its values begin; for keys of a configuration, what stands before the sealed bytes besides.
    pub(crate) fn prefixes(&self) -> Vec<String> {
        match self {
            Self::Identity => vec!["identity".to_owned()],
            Self::Keys(cipher, keys) => {
                let first = keys.first().map(|k| format!("{}:", k.name));
                first.into_iter().chain([cipher.prefix().to_owned()]).collect()
            }
            Self::Kms(envelope) => vec![envelope.prefix()],
        }
    }

    /// Whether new values may be sealed.
    pub(crate) fn ready(&self) -> std::result::Result<(), String> {
        match self {
            Self::Kms(envelope) => envelope.ready(),
            Self::Identity | Self::Keys(..) => Ok(()),
        }
    }

    pub(crate) fn seal(&self, key: &str, plain: &[u8]) -> std::result::Result<Vec<u8>, String> {
        match self {
            Self::Identity => Ok(plain.to_vec()),
            Self::Keys(cipher, keys) => {
                let first = keys.first().ok_or("no key")?;
                let body = cipher.seal(&first.secret, key, plain)?;
                Ok([cipher.prefix().as_bytes(), first.name.as_bytes(), b":", &body].concat())
            }
            Self::Kms(envelope) => envelope.seal(key, plain),
        }
    }

    /// Opens what this provider has sealed; `None` for what another one has.
    pub(crate) fn open(&self, key: &str, stored: &[u8]) -> Option<std::result::Result<Opened, String>> {
        match self {
            Self::Identity => {
                (!stored.starts_with(SEALED)).then(|| Ok(Opened { plain: stored.to_vec(), stale: false }))
            }
            Self::Keys(cipher, keys) => {
                let rest = stored.strip_prefix(cipher.prefix().as_bytes())?;
                let of = |k: &Named| rest.strip_prefix(k.name.as_bytes()).and_then(|r| r.strip_prefix(b":"));
                let found = keys.iter().enumerate().find_map(|(at, k)| Some((at, k, of(k)?)));
                let Some((at, named, body)) = found else {
                    return Some(Err("no matching key was found for the provided transformer".to_owned()));
                };
                let plain = cipher.open(&named.secret, key, body);
                Some(plain.map(|plain| Opened { plain, stale: at > 0 }))
            }
            Self::Kms(envelope) => envelope.open(key, stored),
        }
    }
}

fn named(keys: &Keys) -> Result<Vec<Named>> {
    keys.keys.iter().map(|k| Ok(Named { name: k.name.clone(), secret: k.bytes()? })).collect()
}
