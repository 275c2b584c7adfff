//! Encryption at rest: the configuration that was given, or the key that the cluster makes for itself.

use super::reloads;
use crate::cli::api::EncryptionFlags;
use crate::cluster::Cluster;
use crate::failure::{Failure, Id, Result};
use crate::files::Files;
use ironclad_apiserver::Checks;
use ironclad_encryption::{Configuration, Encryption, Keyring, Resources};
use ironclad_store::Store;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::runtime::Handle;

/// What seals, and the file that says how.
pub(crate) struct AtRest {
    pub(crate) encryption: Arc<Encryption>,
    path: PathBuf,
    reloads: bool,
    /// The cluster's own keys, where no other configuration is given.
    own: Option<Arc<Keyring>>,
}

/// Where every kind's objects lie.
fn resources() -> Resources {
    let stored = ironclad_kinds::all().iter().map(|k| {
        let resource = ironclad_api::GroupResource::new(&k.storage_group, &k.plural);
        (k.prefix.to_string(), resource.to_string())
    });
    Resources::new(stored)
}

pub(crate) fn open(cluster: &Cluster, flags: &EncryptionFlags) -> Result<AtRest> {
    let own = cluster.encryption_file();
    let ring = Arc::new(Keyring::new(&own));
    let (path, configuration, reloads) = match &flags.encryption_provider_config {
        Some(path) => {
            let reloads = flags.encryption_provider_config_automatic_reload.unwrap_or(false);
            (path.clone(), Configuration::read(path), reloads)
        }
        None => (own.clone(), ring.open_or_create(), true),
    };
    let configuration = configuration.map_err(unusable)?;
    let encryption = Encryption::new(&configuration, resources()).map_err(unusable)?;
    let own = (path == own).then_some(ring);
    Ok(AtRest { encryption, path, reloads, own })
}

impl AtRest {
    /// Whether the plugins that keep keys are well, by stock's names.
    pub(crate) fn checks(&self) -> Checks {
        let (encryption, reloads) = (self.encryption.clone(), self.reloads);
        Arc::new(move || {
            let plugins = encryption.plugins();
            let each =
                plugins.iter().enumerate().map(|(at, trouble)| (format!("kms-provider-{at}"), trouble.is_none()));
            match reloads {
                true => vec![
                    ("kms-providers".to_owned(), plugins.iter().all(Option::is_none)),
                    ("poststarthook/start-encryption-provider-config-automatic-reload".to_owned(), true),
                ],
                false => each.collect(),
            }
        })
    }

    /// Follows the file; when it changes, everything that it concerns is sealed anew.
    pub(crate) fn follow(&self, store: &Arc<dyn Store>, files: &mut Files) {
        // Opening the store has sealed anew what was stale.
        if let Ok(configuration) = Configuration::read(&self.path) {
            note(self.own.as_deref(), &configuration);
        }
        if !self.reloads {
            return;
        }
        reloads::ENCRYPTION.used("", &reloads::hash_of(&self.path));
        let (encryption, path, store, own, runtime) =
            (self.encryption.clone(), self.path.clone(), store.clone(), self.own.clone(), Handle::current());
        let mut seen = reloads::Seen::of(&self.path);
        files.on_change(&self.path, move || {
            if !seen.anew(&path) {
                return;
            }
            let read = Configuration::read(&path).and_then(|c| encryption.replace(&c).map(|()| c));
            let configuration = match read {
                Ok(configuration) => configuration,
                Err(error) => {
                    reloads::ENCRYPTION.done("", None);
                    return tracing::error!(%error, "the new encryption configuration is not used");
                }
            };
            reloads::ENCRYPTION.done("", Some(&reloads::hash_of(&path)));
            let (store, own) = (store.clone(), own.clone());
            runtime.spawn(async move {
                match store.reseal().await {
                    Ok(()) => {
                        note(own.as_deref(), &configuration);
                        tracing::info!("everything is sealed as the new encryption configuration says");
                    }
                    Err(error) => tracing::error!(%error, "cannot seal anew what was sealed before"),
                }
            });
        });
    }
}

fn note(own: Option<&Keyring>, configuration: &Configuration) {
    if let Some(Err(error)) = own.map(|o| o.note_sealed(configuration)) {
        tracing::warn!(%error, "cannot note that everything is sealed with the newest key");
    }
}

fn unusable(error: ironclad_encryption::Error) -> Failure {
    let help = "Mend the file, or leave --encryption-provider-config out; nothing was changed.";
    Failure::new(Id::Encryption, error.to_string(), help)
}
