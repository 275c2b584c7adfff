//! Kubeconfig files: written for a certificate, merged into the user's, taken out of it again.

use crate::pki::{Error, Pair, write};
use base64::Engine;
use ironclad_json::{Value, json};
use std::path::{Path, PathBuf};

type Result<T> = std::result::Result<T, Error>;

/// A kubeconfig with one cluster, user and context, all called after the cluster.
pub fn build(cluster: &str, url: &str, ca: &str, pair: &Pair) -> Value {
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let user = format!("{cluster}-admin");
    json!({
        "apiVersion": "v1", "kind": "Config", "preferences": {},
        "clusters": [{"name": cluster, "cluster": {"server": url, "certificate-authority-data": encode(ca)}}],
        "users": [{"name": user, "user": {
            "client-certificate-data": encode(&pair.certificate), "client-key-data": encode(&pair.key)}}],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": user}}],
        "current-context": cluster,
    })
}

/// What everybody may know of a cluster, as text: where it is and who signs its certificates; nobody's credentials.
pub fn public(url: &str, ca: &str) -> Result<String> {
    let authority = base64::engine::general_purpose::STANDARD.encode(ca);
    let config = json!({
        "apiVersion": "v1", "kind": "Config",
        "clusters": [{"name": "", "cluster": {"server": url, "certificate-authority-data": authority}}],
    });
    ironclad_api::yaml::write(&config).map_err(|e| Error::Parse("cluster-info".into(), e))
}

/// Writes a kubeconfig with mode 0600, whole or not at all.
pub fn save(path: &Path, config: &Value) -> Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(|source| Error::File { path: dir.to_owned(), source })?;
    }
    let text = ironclad_api::yaml::write(config).map_err(|e| Error::Parse(path.to_owned(), e))?;
    write(path, &text)
}

/// The user's kubeconfig: the first file of `KUBECONFIG`, or `~/.kube/config`.
pub fn default_path() -> PathBuf {
    let named = std::env::var("KUBECONFIG").ok().and_then(|v| v.split(':').find(|p| !p.is_empty()).map(PathBuf::from));
    named.unwrap_or_else(|| {
        let home = std::env::var_os("HOME").unwrap_or_else(|| "/root".into());
        Path::new(&home).join(".kube/config")
    })
}

fn load(path: &Path) -> Result<Value> {
    let empty = || json!({"apiVersion": "v1", "kind": "Config", "preferences": {}, "clusters": [], "users": [], "contexts": []});
    match std::fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => Ok(empty()),
        Ok(text) => ironclad_api::yaml::read(&text).map_err(|e| Error::Parse(path.to_owned(), e)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(empty()),
        Err(source) => Err(Error::File { path: path.to_owned(), source }),
    }
}

/// Adds the cluster of the kubeconfig `from` to the one at `into`, and makes it the current one. All else stays.
pub fn merge(from: &Path, into: &Path, cluster: &str) -> Result<()> {
    let (new, mut target) = (load(from)?, load(into)?);
    for list in ["clusters", "users", "contexts"] {
        let added = new[list].as_array().cloned().unwrap_or_default();
        let mut items = target[list].as_array().cloned().unwrap_or_default();
        items.retain(|item| !added.iter().any(|a| a["name"] == item["name"]));
        items.extend(added);
        target[list] = Value::Array(items.into());
    }
    target["current-context"] = json!(cluster);
    save(into, &target)
}

/// Takes a cluster out of the kubeconfig at `path`. Nothing happens where it is not in it.
pub fn remove(path: &Path, cluster: &str) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let mut config = load(path)?;
    let before = config.clone();
    let user = format!("{cluster}-admin");
    for (list, name) in [("clusters", cluster), ("users", user.as_str()), ("contexts", cluster)] {
        if let Some(items) = config[list].as_array_mut() {
            items.retain(|item| item["name"] != name);
        }
    }
    if config["current-context"] == cluster {
        config["current-context"] = json!("");
    }
    if config == before { Ok(()) } else { save(path, &config) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_joins_and_leaves_a_kubeconfig() {
        let dir = tempfile::tempdir().unwrap();
        let (own, user) = (dir.path().join("own"), dir.path().join("sub/config"));
        let pair = Pair { certificate: "C".into(), key: "K".into() };
        save(&own, &build("one", "https://a", "CA", &pair)).unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        std::fs::write(&user, "clusters:\n- name: old\n  cluster: {server: x}\ncurrent-context: old\n").unwrap();
        merge(&own, &user, "one").unwrap();
        merge(&own, &user, "one").unwrap();
        let merged = load(&user).unwrap();
        assert_eq!(merged["clusters"].as_array().unwrap().len(), 2);
        assert_eq!(merged["current-context"], "one");
        remove(&user, "one").unwrap();
        let left = load(&user).unwrap();
        assert_eq!(left["clusters"].as_array().unwrap().len(), 1);
        assert_eq!(left["users"].as_array().unwrap().len(), 0);
    }
}
