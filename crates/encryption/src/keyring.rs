//! The key that a cluster has without being told of one: an `EncryptionConfiguration` in a private file, made at the
//! first start, to which a new key is added in front when it is rotated.

use crate::config::{Configuration, Identity, Key, Keys, ProviderConfiguration, ResourceConfiguration};
use crate::{Error, Result, aes};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The file that holds the keys.
pub struct Keyring {
    path: PathBuf,
}

impl Keyring {
    /// The keys in this file.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// What the file says; a first key is made where there is none.
    pub fn open_or_create(&self) -> Result<Configuration> {
        if self.path.exists() {
            return Configuration::read(&self.path);
        }
        let providers = vec![
            ProviderConfiguration {
                secretbox: Some(Keys { keys: vec![fresh("key1")?] }),
                ..ProviderConfiguration::default()
            },
            // What was written before there was a key.
            ProviderConfiguration { identity: Some(Identity {}), ..ProviderConfiguration::default() },
        ];
        let configuration = Configuration {
            api_version: "apiserver.config.k8s.io/v1".to_owned(),
            kind: "EncryptionConfiguration".to_owned(),
            resources: vec![ResourceConfiguration { resources: vec!["secrets".to_owned()], providers }],
        };
        self.save(&configuration)?;
        Ok(configuration)
    }

    /// Puts a new key in front of the others; they go on opening what they have sealed. Returns its name.
    pub fn rotate(&self) -> Result<String> {
        let mut configuration = self.open_or_create()?;
        let keys = configuration
            .resources
            .iter_mut()
            .flat_map(|r| &mut r.providers)
            .find_map(|p| p.secretbox.as_mut())
            .ok_or_else(|| Error::Invalid(format!("{} has no secretbox provider to rotate", self.path.display())))?;
        let number = |k: &Key| k.name.strip_prefix("key").and_then(|n| n.parse::<u64>().ok());
        let name = format!("key{}", keys.keys.iter().filter_map(number).max().unwrap_or(0) + 1);
        keys.keys.insert(0, fresh(&name)?);
        self.save(&configuration)?;
        Ok(name)
    }

    /// Notes beside the file that nothing is sealed with an older key any more.
    pub fn note_sealed(&self, configuration: &Configuration) -> Result<()> {
        let path = self.note();
        std::fs::write(&path, first(configuration)).map_err(|source| Error::File { path, source })
    }

    fn note(&self) -> PathBuf {
        self.path.with_extension("sealed")
    }

    /// Forgets every key but the first; refused before everything was sealed with it.
    pub fn prune(&self) -> Result<()> {
        let mut configuration = self.open_or_create()?;
        if std::fs::read_to_string(self.note()).ok().as_deref() != Some(first(&configuration)) {
            let why =
                "not everything is sealed with the newest key yet: start the server, or wait until it has done so";
            return Err(Error::Invalid(why.to_owned()));
        }
        for keys in
            configuration.resources.iter_mut().flat_map(|r| &mut r.providers).filter_map(|p| p.secretbox.as_mut())
        {
            keys.keys.truncate(1);
        }
        self.save(&configuration)
    }

    /// Writes the file whole or not at all.
    fn save(&self, configuration: &Configuration) -> Result<()> {
        configuration.check()?;
        let text = ironclad_api::yaml::write(configuration).map_err(Error::Invalid)?;
        let fresh = self.path.with_extension("new");
        let put = || -> std::io::Result<()> {
            if let Some(dir) = self.path.parent() {
                std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            }
            let mut file = std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&fresh, &self.path)?;
            self.path.parent().map_or(Ok(()), |dir| std::fs::File::open(dir)?.sync_all())
        };
        put().map_err(|source| Error::File { path: self.path.clone(), source })
    }
}

/// The name of the key that seals.
fn first(configuration: &Configuration) -> &str {
    let mut keys = configuration.resources.iter().flat_map(|r| &r.providers).filter_map(|p| p.secretbox.as_ref());
    keys.find_map(|k| k.keys.first()).map_or("", |k| &k.name)
}

fn fresh(name: &str) -> Result<Key> {
    let bytes: [u8; 32] = aes::random().map_err(Error::Invalid)?;
    Ok(Key { name: name.to_owned(), secret: STANDARD.encode(bytes) })
}
