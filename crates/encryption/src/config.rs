//! `EncryptionConfiguration` of `apiserver.config.k8s.io/v1`, as files hold it.

use crate::{Error, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::path::Path;

/// More than this is no configuration.
const LARGEST: u64 = 1 << 20;

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Configuration {
    /// `apiserver.config.k8s.io/v1`.
    pub api_version: String,
    /// `EncryptionConfiguration`.
    pub kind: String,
    /// The rules; the first that names a resource counts.
    #[serde(default)]
    pub(crate) resources: Vec<ResourceConfiguration>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResourceConfiguration {
    #[serde(default)]
    pub(crate) resources: Vec<String>,
    #[serde(default)]
    pub(crate) providers: Vec<ProviderConfiguration>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProviderConfiguration {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) aesgcm: Option<Keys>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) aescbc: Option<Keys>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) secretbox: Option<Keys>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) identity: Option<Identity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) kms: Option<Kms>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Keys {
    #[serde(default)]
    pub(crate) keys: Vec<Key>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Key {
    pub(crate) name: String,
    /// The bytes in base64.
    pub(crate) secret: String,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Key {
    pub(crate) fn bytes(&self) -> Result<Vec<u8>> {
        STANDARD
            .decode(self.secret.trim())
            .map_err(|_| Error::Invalid(format!("secret of the key {:?}: must be base64 encoded", self.name)))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Kms {
    #[serde(default)]
    pub(crate) api_version: Option<String>,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) cachesize: Option<i32>,
    pub(crate) endpoint: String,
    #[serde(default)]
    pub(crate) timeout: Option<String>,
}

impl Configuration {
    /// From YAML or JSON.
    pub fn parse(text: &str) -> Result<Self> {
        let parsed: Self = ironclad_api::yaml::read(text).map_err(Error::Invalid)?;
        parsed.check()?;
        Ok(parsed)
    }

    /// From a file.
    pub fn read(path: &Path) -> Result<Self> {
        let file = |source| Error::File { path: path.to_owned(), source };
        let size = std::fs::metadata(path).map_err(file)?.len();
        if size > LARGEST {
            return Err(Error::Invalid(format!("{} is larger than {LARGEST} bytes", path.display())));
        }
        Self::parse(&std::fs::read_to_string(path).map_err(file)?)
    }

    pub(crate) fn check(&self) -> Result<()> {
        let invalid = |why: String| Err(Error::Invalid(why));
        if self.kind != "EncryptionConfiguration" {
            return invalid(format!("no kind \"{}\" is registered for version \"{}\"", self.kind, self.api_version));
        }
        if !matches!(self.api_version.as_str(), "apiserver.config.k8s.io/v1" | "v1") {
            return invalid(format!("the version {:?} is not known", self.api_version));
        }
        if self.resources.is_empty() {
            return invalid(
                "resources: Required value: the encryption configuration must have at least one resource".into(),
            );
        }
        let mut names = HashSet::new();
        for (at, rule) in self.resources.iter().enumerate() {
            if rule.resources.is_empty() {
                return invalid(format!("resources[{at}].resources: Required value: must have at least one resource"));
            }
            if rule.providers.is_empty() {
                return invalid(format!("resources[{at}].providers: Required value: must have at least one provider"));
            }
            for pattern in &rule.resources {
                check_pattern(pattern).or_else(|why| invalid(format!("resources[{at}].resources: {why}")))?;
            }
            for (n, provider) in rule.providers.iter().enumerate() {
                let place = format!("resources[{at}].providers[{n}]");
                provider.check(&mut names).or_else(|why| invalid(format!("{place}: {why}")))?;
            }
        }
        Ok(())
    }
}

fn check_pattern(pattern: &str) -> std::result::Result<(), String> {
    let bad = |why: &str| Err(format!("Invalid value: {pattern:?}: {why}"));
    match pattern {
        "" => bad("must not be empty"),
        "*" => bad("use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources"),
        p if p.bytes().any(|b| b.is_ascii_uppercase()) => bad("resource name should be lowercase"),
        p if p.matches('*').count() > 1 && p != "*.*" => bad("wildcards are only allowed as *.<group> or *.*"),
        p if p.contains('*') && !p.starts_with("*.") => bad("wildcards are only allowed as *.<group> or *.*"),
        "apiserveripinfo" | "serviceipallocations" | "servicenodeportallocations" => {
            bad("encryption is not allowed for these resources")
        }
        _ => Ok(()),
    }
}

impl ProviderConfiguration {
    fn check(&self, names: &mut HashSet<String>) -> std::result::Result<(), String> {
        let given = [
            self.aesgcm.is_some(),
            self.aescbc.is_some(),
            self.secretbox.is_some(),
            self.identity.is_some(),
            self.kms.is_some(),
        ];
        match given.iter().filter(|g| **g).count() {
            0 => return Err("Required value: provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity".into()),
            1 => {}
            _ => return Err("Invalid value: more than one provider specified in a single element, should split into different list elements".into()),
        }
        let sized: [(&Option<Keys>, &[usize]); 3] =
            [(&self.aesgcm, &[16, 24, 32]), (&self.aescbc, &[32, 16, 24]), (&self.secretbox, &[32])];
        for (keys, sizes) in sized.into_iter().filter_map(|(k, s)| Some((k.as_ref()?, s))) {
            keys.check(sizes)?;
        }
        self.kms.as_ref().map_or(Ok(()), |kms| kms.check(names))
    }
}

impl Keys {
    fn check(&self, sizes: &[usize]) -> std::result::Result<(), String> {
        if self.keys.is_empty() {
            return Err("keys: Required value: must have at least one key".into());
        }
        let mut names = HashSet::new();
        for key in &self.keys {
            if key.name.is_empty() || key.name.contains(':') {
                return Err("keys: Required value: a name without colons must be provided".into());
            }
            if !names.insert(&key.name) {
                return Err(format!("keys: Invalid value: duplicate key name {:?}", key.name));
            }
            let length = key.bytes().map_err(|e| e.to_string())?.len();
            if !sizes.contains(&length) {
                return Err(format!(
                    "Invalid value: secret is not of the expected length, got {length}, expected one of {sizes:?}"
                ));
            }
        }
        Ok(())
    }
}

impl Kms {
    fn check(&self, names: &mut HashSet<String>) -> std::result::Result<(), String> {
        match self.api_version.as_deref() {
            Some("v2") => {}
            None | Some("v1") => {
                return Err("Invalid value: \"v1\": KMSv1 is deprecated and will only receive security updates going forward. Use KMSv2 instead.".into());
            }
            Some(other) => return Err(format!("Invalid value: {other:?}: unsupported apiVersion, only v2 is served")),
        }
        if self.cachesize.is_some() {
            return Err("Invalid value: cachesize is not supported in v2".into());
        }
        if self.name.is_empty() || self.name.contains(':') {
            return Err("Invalid value: invalid provider name: it must not be empty nor contain ':'".into());
        }
        if !names.insert(self.name.clone()) {
            return Err(format!("Invalid value: {:?}: duplicate provider name", self.name));
        }
        if !self.endpoint.starts_with("unix://") {
            return Err(format!(
                "Invalid value: {:?}: unsupported scheme for KMS provider, should be unix",
                self.endpoint
            ));
        }
        self.patience().map(drop)
    }

    /// How long the plugin may take for an answer.
    pub(crate) fn patience(&self) -> std::result::Result<std::time::Duration, String> {
        let text = self.timeout.as_deref().unwrap_or("3s");
        let positive = |d: std::time::Duration| (!d.is_zero()).then_some(d);
        ironclad_api::time::go_duration(text)
            .and_then(positive)
            .ok_or_else(|| format!("timeout: Invalid value: {text:?}: should be a positive value"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(providers: &str) -> Result<Configuration> {
        Configuration::parse(&format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers: {providers}\n"
        ))
    }

    #[test]
    fn mistakes_are_named() {
        let key = STANDARD.encode([7; 32]);
        assert!(with(&format!("[{{aescbc: {{keys: [{{name: k, secret: {key}}}]}}}}, {{identity: {{}}}}]")).is_ok());
        let table = [
            ("[]", "at least one provider"),
            ("[{}]", "does not contain any of the expected providers"),
            ("[{aesgcm: {keys: []}}]", "at least one key"),
            ("[{secretbox: {keys: [{name: a, secret: YWJj}]}}]", "expected length, got 3"),
            ("[{secretbox: {keys: [{name: a, secret: '%'}]}}]", "must be base64"),
            ("[{rot13: {}}]", "unknown field"),
            ("[{kms: {apiVersion: v2, name: a, endpoint: 'http://x'}}]", "should be unix"),
            ("[{kms: {apiVersion: v1, name: a, endpoint: 'unix:///x'}}]", "KMSv1 is deprecated"),
            ("[{kms: {apiVersion: v2, name: a, endpoint: 'unix:///x', timeout: 0s}}]", "positive"),
        ];
        for (providers, why) in table {
            let error = with(providers).expect_err(providers).to_string();
            assert!(error.contains(why), "{providers}: {error}");
        }
        assert!(check_pattern("*").is_err() && check_pattern("pods.*").is_err() && check_pattern("*.apps").is_ok());
    }
}
