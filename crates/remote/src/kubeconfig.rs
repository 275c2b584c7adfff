//! The part of a kubeconfig that says where a webhook is and how to come in: its current context, cluster and user.

use crate::{Error, Result, Target, mistakes};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ironclad_api::config::{self, Scheme};
use ironclad_api::shape::Shapes;
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
    cluster: Option<Cluster>,
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
pub(crate) struct Cluster {
    pub(crate) server: String,
    pub(crate) certificate_authority: Option<String>,
    pub(crate) certificate_authority_data: Option<String>,
    pub(crate) insecure_skip_tls_verify: bool,
    pub(crate) proxy_url: Option<String>,
    tls_server_name: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(crate) struct User {
    #[serde(rename = "client-certificate")]
    pub(crate) certificate: Option<String>,
    #[serde(rename = "client-certificate-data")]
    pub(crate) certificate_data: Option<String>,
    #[serde(rename = "client-key")]
    pub(crate) key: Option<String>,
    #[serde(rename = "client-key-data")]
    pub(crate) key_data: Option<String>,
    pub(crate) token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<String>,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) exec: Option<Exec>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Exec {
    pub(crate) command: String,
    pub(crate) api_version: String,
    pub(crate) interactive_mode: String,
}

/// How a server knows who calls: what a user of a kubeconfig has.
#[derive(Clone, Default)]
pub struct Credentials {
    /// Certificate and key (PEM).
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
    /// Sent as `Authorization: Bearer`.
    pub token: Option<String>,
    /// Sent as `Authorization: Basic`.
    pub basic: Option<(String, String)>,
}

/// Credentials for servers by their names, as webhooks of admission are given them: a kubeconfig whose users are
/// called after servers.
#[derive(Clone, Default)]
pub struct CredentialsByServer {
    users: Vec<(String, Credentials)>,
}

impl CredentialsByServer {
    /// From a kubeconfig.
    pub fn read(path: &Path) -> Result<Self> {
        let (file, base) = (file(path)?, path.parent().unwrap_or(Path::new(".")));
        let own = file.contexts.iter().find(|c| c.name == file.current_context).map(|c| c.context.user.clone());
        let mut users = Vec::new();
        for named in file.users {
            let credentials = named.user.credentials(base, path)?;
            if own.as_deref() == Some(&*named.name) {
                users.push((String::new(), credentials.clone()));
            }
            users.push((named.name, credentials));
        }
        Ok(Self { users })
    }

    /// What a server at a host and a port is shown: by its name, by `*.` and the end of its name, both also without
    /// the port where that is 443, by `*`, or as the current context says.
    pub fn of(&self, host: &str, port: u16) -> Credentials {
        let whole = format!("{host}:{port}");
        let mut names = vec![whole.clone()];
        names.extend(ends(&whole));
        if port == 443 {
            names.push(host.to_owned());
            names.extend(ends(host));
        }
        names.extend(["*".to_owned(), String::new()]);
        let find = |name: &String| self.users.iter().find(|(n, _)| n == name).map(|(_, c)| c.clone());
        names.iter().find_map(find).unwrap_or_default()
    }
}

/// `*.` and each end of a name.
fn ends(name: &str) -> impl Iterator<Item = String> {
    name.match_indices('.').map(|(i, _)| format!("*{}", &name[i..]))
}

impl User {
    fn credentials(self, base: &Path, path: &Path) -> Result<Credentials> {
        let certificate = data(&self.certificate_data, &self.certificate, base, path)?;
        let token = match (self.token, &self.token_file) {
            (Some(token), _) => Some(token),
            (None, Some(file)) => Some(String::from_utf8_lossy(&read(&base.join(file))?).trim().to_owned()),
            (None, None) => None,
        };
        Ok(Credentials {
            identity: certificate.zip(data(&self.key_data, &self.key, base, path)?),
            token,
            basic: self.username.zip(self.password),
        })
    }
}

fn bad(path: &Path, why: impl std::fmt::Display) -> Error {
    Error::Configuration(format!("cannot use the kubeconfig {}: {why}", path.display()))
}

/// What stands in a field, or in the file that another field names.
fn data(data: &Option<String>, file: &Option<String>, base: &Path, path: &Path) -> Result<Option<Vec<u8>>> {
    match (data, file) {
        (Some(data), _) if !data.is_empty() => STANDARD.decode(data.trim()).map(Some).map_err(|e| bad(path, e)),
        (_, Some(file)) if !file.is_empty() => read(&base.join(file)).map(Some),
        _ => Ok(None),
    }
}

const SCHEME: Scheme =
    Scheme { name: "k8s.io/client-go/tools/clientcmd/api/latest/latest.go:50", versions: &["v1"], others: &[] };

fn file(path: &Path) -> Result<File> {
    let text = read(path)?;
    let text = String::from_utf8_lossy(&text);
    let read = || {
        // Fields that nobody knows are nobody's mistake here.
        let (value, _, _) = config::decode_loosely(&text, "Config", &SCHEME, &Shapes::read("Config"))?;
        match value.is_null() {
            true => Ok(File::default()),
            false => ironclad_json::from_value(value).map_err(|e| e.to_string()),
        }
    };
    let shown = path.display();
    read().map_err(|why| Error::Configuration(format!("error loading config file \"{shown}\": {why}")))
}

/// What the current context of a kubeconfig means.
pub(crate) fn target(path: &Path) -> Result<Target> {
    let file = file(path)?;
    let wrong = |why: String| Err(Error::Configuration(why));
    if file.current_context.is_empty() {
        return wrong(mistakes::NOTHING.to_owned());
    }
    let Some(context) = file.contexts.iter().find(|c| c.name == file.current_context) else {
        return wrong(mistakes::no_context(&file.current_context));
    };
    let names = &context.context;
    let Some(cluster) = file.clusters.into_iter().find(|c| c.name == names.cluster).and_then(|c| c.cluster) else {
        return wrong(mistakes::NOTHING.to_owned());
    };
    let user = file.users.into_iter().find(|u| u.name == names.user).map(|u| u.user).unwrap_or_default();
    let base = path.parent().unwrap_or(Path::new("."));
    mistakes::check((&names.cluster, &cluster), (&names.user, &user), base).map_err(Error::Configuration)?;
    let Credentials { identity, token, basic } = user.credentials(base, path)?;
    Ok(Target {
        url: cluster.server,
        authorities: data(&cluster.certificate_authority_data, &cluster.certificate_authority, base, path)?
            .unwrap_or_default(),
        identity,
        token,
        basic,
        server_name: cluster.tls_server_name,
        insecure: cluster.insecure_skip_tls_verify,
        ..Target::default()
    })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source })
}

/// Where a pod has what belongs to its service account.
pub(crate) const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The API server of the cluster in which this process runs as a pod.
pub(crate) fn in_cluster(env: impl Fn(&str) -> Option<String>, account: &Path) -> Result<Target> {
    let variable = |name: &str| env(name).filter(|value| !value.is_empty());
    let (Some(host), Some(port)) = (variable("KUBERNETES_SERVICE_HOST"), variable("KUBERNETES_SERVICE_PORT")) else {
        let why = "unable to load in-cluster configuration, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be defined";
        return Err(Error::Configuration(why.to_owned()));
    };
    let read = |name: &str| {
        let path = account.join(name);
        std::fs::read(&path).map_err(|source| Error::File { path, source })
    };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    Ok(Target {
        url: format!("https://{host}:{port}/"),
        token: Some(String::from_utf8_lossy(&read("token")?).trim().to_owned()),
        authorities: read("ca.crt")?,
        ..Target::default()
    })
}

#[cfg(test)]
mod in_cluster_tests {
    use super::*;

    #[test]
    fn a_pod_finds_its_api_server() {
        let dir = tempfile::tempdir().unwrap();
        let env = |name: &str| {
            let known = [("KUBERNETES_SERVICE_HOST", "fd00::1"), ("KUBERNETES_SERVICE_PORT", "443")];
            known.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned())
        };
        let why = |result: Result<Target>| result.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(why(in_cluster(|_| None, dir.path())).contains("KUBERNETES_SERVICE_PORT must be defined"));
        assert!(why(in_cluster(env, dir.path())).contains("token"));
        std::fs::write(dir.path().join("token"), "secret\n").unwrap();
        std::fs::write(dir.path().join("ca.crt"), "CA").unwrap();
        let found = in_cluster(env, dir.path()).unwrap();
        assert_eq!((found.url.as_str(), found.token.as_deref()), ("https://[fd00::1]:443/", Some("secret")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_found_by_the_name_of_the_server() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kubeconfig");
        let user = |name: &str| format!("- name: {name:?}\n  user: {{token: {name:?}}}\n");
        let names = ["hook.default.svc", "*.example.com", "other.svc:8443", "*"];
        let text = format!("users:\n{}", names.map(user).concat());
        std::fs::write(&path, &text).unwrap();
        let all = CredentialsByServer::read(&path).unwrap();
        let table = [
            ("hook.default.svc", 443, "hook.default.svc"),
            ("hook.default.svc", 8443, "*"),
            ("a.b.example.com", 443, "*.example.com"),
            ("other.svc", 8443, "other.svc:8443"),
            ("x", 1, "*"),
        ];
        for (host, port, want) in table {
            assert_eq!(all.of(host, port).token.as_deref(), Some(want), "{host}:{port}");
        }
        std::fs::write(&path, "current-context: c\ncontexts: [{name: c, context: {user: u}}]\nusers: [{name: u, user: {username: a, password: b}}]\n").unwrap();
        let own = CredentialsByServer::read(&path).unwrap().of("anything", 443);
        assert_eq!(own.basic, Some(("a".to_owned(), "b".to_owned())));
        assert!(CredentialsByServer::default().of("anything", 443).token.is_none());
    }
}
