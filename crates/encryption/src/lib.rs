//! Encryption at rest: what stock's `EncryptionConfiguration` says, done at the store's disk boundary.
//!
//! Invariants: the first provider of a resource's rule writes, every one reads; sealed values have the stock prefix
//! (`k8s:enc:<provider>:v1:<key>:`) and bytes, so that either server opens what the other has sealed; a configuration
//! that cannot be used changes nothing.

mod aes;
mod check;
mod config;
mod keyring;
mod kms;
pub mod metrics;
mod provider;
mod resources;

pub use config::Configuration;
pub use keyring::Keyring;
pub use kms::Pace;
pub use resources::Resources;

use arc_swap::ArcSwap;
use ironclad_store::{Opened, Transform};
use metrics::Way;
use provider::Provider;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// What goes wrong before anything can be sealed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or written.
    #[error("cannot use the encryption configuration {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file says something that cannot be done.
    #[error("{0}")]
    Invalid(String),
    /// The plugin that keeps the keys does not answer as it should.
    #[error("the KMS plugin {name:?} cannot be used: {why}")]
    Kms {
        /// The provider's name.
        name: String,
        /// Why.
        why: String,
    },
}

/// A result whose error is an [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that begins so is sealed by some provider.
const SEALED: &[u8] = b"k8s:enc:";

/// The resources of one rule and who seals them.
struct Rule {
    patterns: Vec<String>,
    providers: Vec<Provider>,
}

/// Seals values as a configuration says; the configuration can be replaced while it is used.
pub struct Encryption {
    resources: Resources,
    rules: ArcSwap<Vec<Rule>>,
    pace: Pace,
}

impl Encryption {
    /// From a configuration; talks to the KMS plugins that it names.
    pub fn new(configuration: &Configuration, resources: Resources) -> Result<Arc<Self>> {
        Self::paced(configuration, resources, Pace::default())
    }

    /// The same, where plugins are asked at another pace.
    pub fn paced(configuration: &Configuration, resources: Resources, pace: Pace) -> Result<Arc<Self>> {
        let rules = ArcSwap::from_pointee(rules(configuration, pace)?);
        Ok(Arc::new(Self { resources, rules, pace }))
    }

    /// What is wrong with each KMS plugin, in the order in which they are named.
    pub fn plugins(&self) -> Vec<Option<String>> {
        let rules = self.rules.load();
        let of = |provider: &Provider| match provider {
            Provider::Kms(envelope) => Some(envelope.trouble()),
            _ => None,
        };
        rules.iter().flat_map(|r| &r.providers).filter_map(of).collect()
    }

    /// Goes on with another configuration. What was sealed before stays so until it is written again.
    pub fn replace(&self, configuration: &Configuration) -> Result<()> {
        self.rules.store(Arc::new(rules(configuration, self.pace)?));
        Ok(())
    }

    /// Counts a value that was sealed or opened.
    fn tell(&self, key: &str, way: Way, provider: &Provider, good: bool, began: Instant) {
        let (resource, took) = (self.resources.of(key).unwrap_or_default(), began.elapsed());
        provider.prefixes().iter().for_each(|prefix| metrics::transformed(&resource, way, prefix, good, took));
    }

    /// The first rule that names the resource of a key decides.
    fn with<T>(&self, key: &str, act: impl FnOnce(Option<&Rule>) -> T) -> T {
        let rules = self.rules.load();
        let resource = self.resources.of(key);
        let rule =
            resource.and_then(|r| rules.iter().find(|rule| rule.patterns.iter().any(|p| resources::fits(p, &r))));
        act(rule)
    }
}

fn rules(configuration: &Configuration, pace: Pace) -> Result<Vec<Rule>> {
    configuration.check()?;
    let rule = |r: &config::ResourceConfiguration| -> Result<Rule> {
        let providers = r.providers.iter().map(|p| Provider::new(p, pace)).collect::<Result<_>>()?;
        Ok(Rule { patterns: r.resources.clone(), providers })
    };
    configuration.resources.iter().map(rule).collect()
}

impl Transform for Encryption {
    fn seals(&self, key: &str) -> bool {
        self.with(key, |rule| rule.is_some_and(|r| !matches!(r.providers.first(), None | Some(Provider::Identity))))
    }

    fn ready(&self, key: &str) -> std::result::Result<(), String> {
        self.with(key, |rule| rule.and_then(|r| r.providers.first()).map_or(Ok(()), Provider::ready))
    }

    fn seal(&self, key: &str, plain: &[u8]) -> std::result::Result<Vec<u8>, String> {
        self.with(key, |rule| match rule.and_then(|r| r.providers.first()) {
            Some(provider) => {
                let began = Instant::now();
                let sealed = provider.seal(key, plain);
                self.tell(key, Way::To, provider, sealed.is_ok(), began);
                sealed
            }
            None => Ok(plain.to_vec()),
        })
    }

    fn open(&self, key: &str, stored: &[u8]) -> std::result::Result<Opened, String> {
        self.with(key, |rule| {
            let Some(rule) = rule else {
                return Provider::Identity.open(key, stored).unwrap_or_else(|| Err(no_prefix()));
            };
            let began = Instant::now();
            for (at, provider) in rule.providers.iter().enumerate() {
                if let Some(opened) = provider.open(key, stored) {
                    self.tell(key, Way::From, provider, opened.is_ok(), began);
                    return opened.map(|o| Opened { stale: o.stale || at > 0, ..o });
                }
            }
            Err(no_prefix())
        })
    }
}

fn no_prefix() -> String {
    "no matching prefix found: the value was sealed by a provider that is not configured".to_owned()
}
