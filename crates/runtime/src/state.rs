//! What is kept on disk of sandboxes and containers, so that a restarted runtime and a running shim agree.
//!
//! Invariant: files are replaced atomically; a container's state file is written by its shim while that lives, and by
//! the runtime before and after.

use ironclad_cri::{ContainerConfig, SandboxConfig};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// `state.json` of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct State {
    pub(crate) pid: i32,
    pub(crate) started_at: i64,
    pub(crate) finished_at: i64,
    pub(crate) exit_code: i32,
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// `container.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    pub(crate) id: String,
    pub(crate) sandbox_id: String,
    pub(crate) config: ContainerConfig,
    pub(crate) created_at: i64,
    pub(crate) image_ref: String,
    /// The image's configuration digest, so that the image is known to be in use.
    pub(crate) image_id: String,
    pub(crate) log_path: String,
    pub(crate) cgroup: String,
    pub(crate) stop_signal: i32,
    pub(crate) user: (i64, i64, Vec<i64>),
}

/// `sandbox.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SandboxRecord {
    pub(crate) id: String,
    pub(crate) config: SandboxConfig,
    pub(crate) created_at: i64,
    pub(crate) ips: Vec<String>,
    /// The pod's cgroup.
    pub(crate) cgroup: String,
    /// Stopped on purpose.
    pub(crate) stopped: bool,
    pub(crate) shim_pid: i32,
    pub(crate) pause_pid: i32,
}

/// What a shim is started with: `shim.json` in its directory.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ShimConfig {
    /// A network namespace of its own, pinned at `netns` in the directory.
    pub(crate) network: bool,
    pub(crate) ipc: bool,
    /// With a name: a UTS namespace of its own.
    pub(crate) hostname: String,
    /// A process namespace for the whole pod.
    pub(crate) shared_pid: bool,
    pub(crate) sysctls: Vec<(String, String)>,
    /// A user namespace of its own, pinned at `userns` in the directory, that the others belong to: what user and
    /// group 0 in it are, and how many there are.
    #[serde(default)]
    pub(crate) users: Option<(u32, u32)>,
    /// Where the shim itself lives.
    pub(crate) cgroups: Vec<String>,
    /// Where the first process of a shared process namespace lives.
    pub(crate) pause_cgroups: Vec<String>,
}

/// Replaces a file.
pub(crate) fn save(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(value)?;
    let temporary = path.with_extension("tmp");
    std::fs::write(&temporary, text)?;
    std::fs::rename(&temporary, path)
}

/// Reads a file.
pub(crate) fn load<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    let text = std::fs::read(path)?;
    serde_json::from_slice(&text)
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {e}", path.display())))
}
