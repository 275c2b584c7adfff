//! `EncryptionConfiguration` of `apiserver.config.k8s.io/v1`, as files hold it.

use crate::{Error, Result, check};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ironclad_api::config::{self, Scheme};
use ironclad_api::shape::Shapes;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::LazyLock;

/// More than this is no configuration.
const LARGEST: u64 = 1 << 20;

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
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
pub(crate) struct ResourceConfiguration {
    #[serde(default)]
    pub(crate) resources: Vec<String>,
    #[serde(default)]
    pub(crate) providers: Vec<ProviderConfiguration>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
pub(crate) struct Identity {}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Keys {
    #[serde(default)]
    pub(crate) keys: Vec<Key>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Key {
    #[serde(default)]
    pub(crate) name: String,
    /// The bytes in base64.
    #[serde(default)]
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
            .decode(self.secret.replace(['\r', '\n'], ""))
            .map_err(|_| Error::Invalid(format!("secret of the key {:?}: must be base64 encoded", self.name)))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Kms {
    #[serde(default)]
    pub(crate) api_version: Option<String>,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) cachesize: Option<i32>,
    #[serde(default)]
    pub(crate) endpoint: String,
    #[serde(default)]
    pub(crate) timeout: Option<String>,
}

static SHAPES: LazyLock<Shapes> = LazyLock::new(|| Shapes::read(include_str!("shapes.txt")));

const SCHEME: Scheme = Scheme {
    name: "k8s.io/apiserver/pkg/server/options/encryptionconfig/config.go:142",
    versions: &["apiserver.config.k8s.io/v1"],
    others: &[
        ("AuthenticationConfiguration", "apiserver.config.k8s.io/v1"),
        ("AuthorizationConfiguration", "apiserver.config.k8s.io/v1"),
        ("AdmissionConfiguration", "apiserver.config.k8s.io/v1"),
        ("TracingConfiguration", "apiserver.config.k8s.io/v1"),
    ],
};

impl Configuration {
    /// From YAML or JSON.
    pub fn parse(text: &str) -> Result<Self> {
        let parsed = Self::decode(text).map_err(Error::Invalid)?;
        parsed.check()?;
        Ok(parsed)
    }

    fn decode(text: &str) -> std::result::Result<Self, String> {
        let value = config::decode(text, "EncryptionConfiguration", &SCHEME, &SHAPES)?;
        let value = serde_json::to_value(&value).map_err(|e| e.to_string())?;
        serde_json::from_value(value).map_err(|e| e.to_string())
    }

    /// From a file; the errors are worded as stock words them.
    pub fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let bad = |why: String| Error::Invalid(format!("error while parsing file: {why}"));
        let unread = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::NotFound => format!("open {shown}: no such file or directory"),
            _ => format!("open {shown}: {e}"),
        };
        let unread = |e| {
            let file = format!("encryption provider configuration file \"{shown}\"");
            bad(format!("error while loading file: error opening {file}: {}", unread(e)))
        };
        if std::fs::metadata(path).map_err(unread)?.len() > LARGEST {
            return Err(bad(format!("{shown} is larger than {LARGEST} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(unread)?;
        if text.is_empty() {
            let why = format!("error while loading file: encryption provider configuration file \"{shown}\" is empty");
            return Err(bad(why));
        }
        let decoded = Self::decode(&text)
            .map_err(|why| bad(format!("error decoding encryption provider configuration file \"{shown}\": {why}")))?;
        match check::errors(&decoded) {
            errors if errors.is_empty() => decoded.served().map(|()| decoded),
            errors => Err(bad(ironclad_api::field::aggregate(&errors))),
        }
    }

    /// Version 1 of KMS, which stock serves behind a gate alone, is not.
    fn served(&self) -> Result<()> {
        let old = |kms: &Kms| matches!(kms.api_version.as_deref(), None | Some("" | "v1"));
        let mut plugins = self.resources.iter().flat_map(|r| &r.providers).filter_map(|p| p.kms.as_ref());
        match plugins.any(old) {
            true => Err(Error::Invalid("error while building transformers: KMSv1 is deprecated and will only receive security updates going forward. Use KMSv2 instead.  Set --feature-gates=KMSv1=true to use the deprecated KMSv1 feature.".to_owned())),
            false => Ok(()),
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        match check::errors(self) {
            errors if errors.is_empty() => self.served(),
            errors => Err(Error::Invalid(ironclad_api::field::aggregate(&errors))),
        }
    }
}

impl Kms {
    /// How long the plugin may take for an answer.
    pub(crate) fn patience(&self) -> std::time::Duration {
        let asked = self.timeout.as_deref().map(ironclad_api::time::duration);
        let asked = asked.and_then(std::result::Result::ok).and_then(|n| u64::try_from(n).ok());
        std::time::Duration::from_nanos(asked.unwrap_or(3_000_000_000))
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
            ("[]", "resources[0].providers: Required value: at least one resources[0].providers is required"),
            ("[{}]", "\"KMS\":null}: provider does not contain any of the expected providers"),
            ("[{aesgcm: {keys: []}}]", "resources[0].providers[0].aesgcm.keys: Required value: at least one keys"),
            ("[{secretbox: {keys: [{name: a, secret: YWJj}]}}]", "got 3, expected one of [32]"),
            (
                "[{aescbc: {keys: [{secret: '%'}]}}]",
                "keys[0].secret: Invalid value: \"REDACTED\": secrets must be base64",
            ),
            ("[{rot13: {}}]", "strict decoding error: unknown field \"resources[0].providers[0].rot13\""),
            (
                "[{kms: {apiVersion: v2, name: a, endpoint: 'http://x'}}]",
                "unsupported scheme \"http\" for KMS provider",
            ),
            ("[{kms: {apiVersion: v1, name: a, endpoint: 'unix:///x'}}]", "KMSv1 is deprecated"),
            (
                "[{kms: {apiVersion: v2, name: 'a:b', endpoint: 'unix:///x', timeout: 0s}}]",
                "kms.timeout: Invalid value: \"0s\"",
            ),
        ];
        for (providers, why) in table {
            let error = with(providers).expect_err(providers).to_string();
            assert!(error.contains(why), "{providers}: {error}");
        }
        let both = format!("[{{identity: {{}}, aescbc: {{keys: [{{name: k, secret: {key}}}]}}}}]");
        let error = with(&both).unwrap_err().to_string();
        assert!(error.contains("more than one provider") && !error.contains(&key), "{error}");
    }

    #[test]
    fn resources_that_hide_one_another_are_told() {
        let table = [
            ("[secrets, '*.']", "using overlapping resources"),
            ("['*.*', secrets]", "using overlapping resources"),
            ("[secrets, secrets]", "[\"secrets\",\"secrets\"]: the same resource cannot be specified multiple times"),
            ("['*']", "resources[0].resources[0]: Invalid value: \"*\": use '*.'"),
            ("[Secrets]", "should not contain capital letters"),
            ("[x.events.k8s.io]", "Use 'events' instead"),
            ("['pods.*']", "encrypting the same resource across groups"),
        ];
        for (resources, why) in table {
            let text = format!(
                "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: {resources}\n  providers: [{{identity: {{}}}}]\n"
            );
            let error = Configuration::parse(&text).expect_err(resources).to_string();
            assert!(error.contains(why), "{resources}: {error}");
        }
    }
}
