//! What the node knows of its pods without the API server: each pod's object in the pod's directory.

use crate::Config;
use k8s_openapi::api::core::v1::Pod;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const NAME: &str = "pod.json";

/// Keeps a pod. What cannot be kept is only missing after a start without the server.
pub(crate) fn save(config: &Config, pod: &Pod) {
    let dir = config.pod_dir(pod.metadata.uid.as_deref().unwrap_or_default());
    if let Err(error) = write(&dir, pod) {
        tracing::warn!(%error, dir = %dir.display(), "cannot keep a pod on disk");
    }
}

fn write(dir: &Path, pod: &Pod) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let fresh = dir.join("pod.json.new");
    let options = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh);
    options?.write_all(&serde_json::to_vec(pod)?)?;
    std::fs::rename(fresh, dir.join(NAME))
}

/// All pods that were kept.
pub(crate) fn load(config: &Config) -> Vec<Pod> {
    let read = |uid: &String| -> std::io::Result<Pod> {
        let text = std::fs::read_to_string(config.pod_dir(uid).join(NAME))?;
        Ok(serde_json::from_str(&text)?)
    };
    let read =
        |uid: String| read(&uid).inspect_err(|error| tracing::warn!(%error, uid, "a pod on disk cannot be read")).ok();
    uids(config).into_iter().filter_map(read).collect()
}

/// Pods that have a directory.
pub(crate) fn uids(config: &Config) -> Vec<String> {
    let entries = std::fs::read_dir(config.root_dir.join("pods")).into_iter().flatten().flatten();
    entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect()
}
