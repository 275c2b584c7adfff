//! The part of a kubeconfig that says where a webhook is and how to come in: its current context, cluster and user.

use crate::{Error, Result, Target};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use std::path::Path;

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct File {
    current_context: String,
    clusters: Vec<Named>,
    users: Vec<Named>,
    contexts: Vec<Named>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Named {
    name: String,
    cluster: Cluster,
    user: User,
    context: Names,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Names {
    cluster: String,
    user: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct Cluster {
    server: String,
    certificate_authority: Option<String>,
    certificate_authority_data: Option<String>,
    insecure_skip_tls_verify: bool,
    tls_server_name: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct User {
    #[serde(rename = "client-certificate")]
    certificate: Option<String>,
    #[serde(rename = "client-certificate-data")]
    certificate_data: Option<String>,
    #[serde(rename = "client-key")]
    key: Option<String>,
    #[serde(rename = "client-key-data")]
    key_data: Option<String>,
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

/// What the current context of a kubeconfig means.
pub(crate) fn target(path: &Path) -> Result<Target> {
    let text = read(path)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let bad = |why: String| Error::Configuration(format!("cannot use the kubeconfig {}: {why}", path.display()));
    let file: File = serde_saphyr::from_str(&text).map_err(|e| bad(e.to_string()))?;
    let names = match file.contexts.iter().find(|c| c.name == file.current_context) {
        Some(context) => &context.context,
        None => return Err(bad(format!("context {:?} does not exist", file.current_context))),
    };
    let cluster = file.clusters.into_iter().find(|c| c.name == names.cluster).map(|c| c.cluster);
    let cluster = cluster.ok_or_else(|| bad(format!("cluster {:?} does not exist", names.cluster)))?;
    let user = file.users.into_iter().find(|u| u.name == names.user).map(|u| u.user).unwrap_or_default();
    let base = path.parent().unwrap_or(Path::new("."));
    let data = |data: &Option<String>, file: &Option<String>| -> Result<Option<Vec<u8>>> {
        match (data, file) {
            (Some(data), _) => STANDARD.decode(data.trim()).map(Some).map_err(|e| bad(e.to_string())),
            (None, Some(file)) => read(&base.join(file)).map(Some),
            (None, None) => Ok(None),
        }
    };
    let certificate = data(&user.certificate_data, &user.certificate)?;
    let token = match &user.token_file {
        Some(file) => Some(String::from_utf8_lossy(&read(&base.join(file))?).trim().to_owned()),
        None => user.token,
    };
    Ok(Target {
        url: cluster.server,
        authorities: data(&cluster.certificate_authority_data, &cluster.certificate_authority)?.unwrap_or_default(),
        identity: certificate.zip(data(&user.key_data, &user.key)?),
        token,
        basic: user.username.zip(user.password),
        server_name: cluster.tls_server_name,
        insecure: cluster.insecure_skip_tls_verify,
    })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source })
}
