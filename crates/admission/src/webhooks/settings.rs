//! What a WebhookAdmissionConfiguration says: what webhooks are shown of who calls.

use crate::config;
use ironclad_json::Value;
use ironclad_remote::CredentialsByServer;
use serde::Deserialize;
use std::path::PathBuf;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct File {
    #[serde(default)]
    kube_config_file: PathBuf,
    #[serde(default)]
    static_manifests_dir: String,
}

/// The plug-in's configuration.
#[derive(Default)]
pub(super) struct Settings {
    pub(super) credentials: CredentialsByServer,
    /// A directory of manifests, or empty.
    pub(super) dir: String,
}

impl Settings {
    pub(super) fn read(config: Option<&Value>) -> Result<Self, String> {
        let Some(config) = config else { return Ok(Self::default()) };
        let file: File = config::typed(config, &["apiserver.config.k8s.io/v1"], "WebhookAdmissionConfiguration")?;
        let path = &file.kube_config_file;
        let credentials = match path.as_os_str().is_empty() {
            true => CredentialsByServer::default(),
            false if !path.is_absolute() => {
                let shown = path.display().to_string();
                return Err(format!("kubeConfigFile: Invalid value: {shown:?}: must be an absolute file path"));
            }
            false => CredentialsByServer::read(path).map_err(|e| e.to_string())?,
        };
        Ok(Self { credentials, dir: file.static_manifests_dir })
    }
}
