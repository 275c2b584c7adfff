//! Static pods: pods from files of the node, and the mirror pods by which the API server shows them.
//!
//! Invariant: a static pod runs because of its file alone; its mirror only shows it.

mod mirrors;

use crate::Config;
use crate::manager::put_static;
use crate::pod::mark_static;
use crate::worker::Shared;
use k8s_openapi::api::core::v1::{Pod, Toleration};
pub(crate) use mirrors::Mirrors;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::unix::AsyncFd;
use tokio_util::sync::CancellationToken;

/// Longest file in bytes.
const MAX: u64 = 1 << 20;

/// Runs the pods of the manifest directory as long as their files are there.
pub(crate) async fn run(shared: Shared, handle: tokio::runtime::Handle, token: CancellationToken) {
    let Some(path) = shared.config.manifests.clone() else { return };
    let mirrors = tokio::spawn(mirrors::keep(shared.clone(), token.clone()));
    if let Err(error) = follow(&shared, &handle, &path, &token).await {
        tracing::error!(%error, path = %path.display(), "static pods are not followed any more");
    }
    mirrors.abort();
}

async fn follow(
    shared: &Shared,
    handle: &tokio::runtime::Handle,
    path: &Path,
    token: &CancellationToken,
) -> std::io::Result<()> {
    std::fs::create_dir_all(path)?;
    let notify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    let flags = AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_DELETE;
    notify.add_watch(path, flags)?;
    #[expect(deprecated, reason = "its successor is unsafe; the descriptor is owned and outlives the registration")]
    let changes = AsyncFd::new(notify.as_fd().try_clone_to_owned()?)?;
    let mut running: BTreeMap<String, Arc<Pod>> = BTreeMap::new();
    loop {
        let wanted = read_all(&shared.config, path);
        let gone: Vec<String> = running.keys().filter(|uid| !wanted.contains_key(*uid)).cloned().collect();
        for uid in gone {
            running.remove(&uid);
            put_static(shared, handle, &uid, None);
        }
        for (uid, pod) in &wanted {
            if !running.contains_key(uid) {
                running.insert(uid.clone(), pod.clone());
                put_static(shared, handle, uid, Some(pod.clone()));
            }
        }
        shared.mirrors.want(running.values().cloned().collect());
        tokio::select! {
            () = token.cancelled() => return Ok(()),
            guard = changes.readable() => {
                guard?.clear_ready();
                while notify.read_events().is_ok_and(|e| !e.is_empty()) {}
            }
        }
    }
}

/// The pods of all files, by their uid.
fn read_all(config: &Config, path: &Path) -> BTreeMap<String, Arc<Pod>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(path).into_iter().flatten().flatten().map(|e| e.path()).collect();
    files.retain(|f| f.is_file() && !f.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.')));
    files.sort();
    let mut out = BTreeMap::new();
    for file in files {
        match read(config, &file) {
            Ok(pod) => drop(out.insert(pod.metadata.uid.clone().unwrap_or_default(), Arc::new(pod))),
            Err(why) => tracing::error!(file = %file.display(), why, "a static pod cannot be read"),
        }
    }
    out
}

fn read(config: &Config, file: &Path) -> Result<Pod, String> {
    if std::fs::metadata(file).map_err(|e| e.to_string())?.len() > MAX {
        return Err(format!("it is longer than {MAX} bytes"));
    }
    let text = std::fs::read_to_string(file).map_err(|e| e.to_string())?;
    let pod: Pod = ironclad_api::yaml::read(&text)?;
    complete(config, file, &text, pod)
}

/// What a pod from a file has besides what stands in it.
fn complete(config: &Config, file: &Path, text: &str, mut pod: Pod) -> Result<Pod, String> {
    let name = pod.metadata.name.clone().filter(|n| !n.is_empty()).ok_or("the pod has no name")?;
    let spec = pod.spec.as_mut().filter(|s| !s.containers.is_empty()).ok_or("the pod has no containers")?;
    spec.node_name = Some(config.node_name.clone());
    spec.automount_service_account_token = Some(false);
    let everything =
        Toleration { operator: Some("Exists".into()), effect: Some("NoExecute".into()), ..Toleration::default() };
    spec.tolerations.get_or_insert_default().push(everything);
    let mut hash = Sha256::new();
    for part in [config.node_name.as_bytes(), file.as_os_str().as_encoded_bytes(), text.as_bytes()] {
        hash.update(part);
        hash.update([0]);
    }
    let hash = hex::encode(&hash.finalize()[..16]);
    let meta = &mut pod.metadata;
    meta.name = Some(format!("{name}-{}", config.node_name.to_lowercase()));
    meta.namespace = Some(meta.namespace.clone().filter(|n| !n.is_empty()).unwrap_or_else(|| "default".to_owned()));
    meta.uid = Some(hash.clone());
    mark_static(meta.annotations.get_or_insert_default(), &hash);
    Ok(pod)
}
