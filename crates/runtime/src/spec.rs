//! The parts of the OCI runtime specification's `config.json` that the runtime writes and its shim reads.
//!
//! Invariant: what is written here is a bundle that any OCI runtime can run; what the shim needs beyond that stands
//! in annotations.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Annotation with the overlay that becomes the root file system, as JSON of [`Overlay`].
pub(crate) const OVERLAY: &str = "io.ironclad.overlay";
/// Annotation with the cgroup directories to join, separated by newlines.
pub(crate) const CGROUPS: &str = "io.ironclad.cgroups";
/// Annotation: standard input is kept open.
pub(crate) const STDIN: &str = "io.ironclad.stdin";
/// Annotation: standard input is closed when the first attached client goes.
pub(crate) const STDIN_ONCE: &str = "io.ironclad.stdin-once";
/// Annotation with the absolute path of the log file.
pub(crate) const LOG: &str = "io.ironclad.log";

/// `config.json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Spec {
    pub(crate) oci_version: String,
    pub(crate) process: Process,
    pub(crate) root: Root,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) hostname: String,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) linux: Linux,
}

/// A process to start.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Process {
    pub(crate) terminal: bool,
    pub(crate) user: User,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) cwd: String,
    pub(crate) capabilities: Capabilities,
    pub(crate) rlimits: Vec<Rlimit>,
    pub(crate) no_new_privileges: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) oom_score_adj: Option<i32>,
}

/// Ids of a process.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) additional_gids: Vec<u32>,
}

/// Capability sets by name, with `CAP_`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Capabilities {
    pub(crate) bounding: Vec<String>,
    pub(crate) effective: Vec<String>,
    pub(crate) permitted: Vec<String>,
    pub(crate) inheritable: Vec<String>,
    pub(crate) ambient: Vec<String>,
}

/// A resource limit.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Rlimit {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

/// The root file system.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Root {
    pub(crate) path: String,
    pub(crate) readonly: bool,
}

/// One mount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Mount {
    pub(crate) destination: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) source: String,
    pub(crate) options: Vec<String>,
}

/// What is particular to Linux.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Linux {
    pub(crate) namespaces: Vec<Namespace>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) uid_mappings: Vec<IdMapping>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) gid_mappings: Vec<IdMapping>,
    pub(crate) devices: Vec<Device>,
    pub(crate) cgroups_path: String,
    pub(crate) resources: Resources,
    pub(crate) rootfs_propagation: String,
    pub(crate) masked_paths: Vec<String>,
    pub(crate) readonly_paths: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seccomp: Option<crate::seccomp::Profile>,
}

/// Ids of a container and what they are on the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdMapping {
    #[serde(rename = "containerID")]
    pub(crate) container: u32,
    #[serde(rename = "hostID")]
    pub(crate) host: u32,
    pub(crate) size: u32,
}

impl Spec {
    /// What user and group 0 of the container are on the node.
    pub(crate) fn root_id(&self) -> u32 {
        self.linux.uid_mappings.first().map_or(0, |m| m.host)
    }
}

/// A namespace: a new one, or with a path an existing one.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Namespace {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) path: String,
}

/// A device node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Device {
    pub(crate) path: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) major: i64,
    pub(crate) minor: i64,
    pub(crate) file_mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Limits.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Resources {
    pub(crate) devices: Vec<DeviceRule>,
}

/// Which devices may be used.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct DeviceRule {
    pub(crate) allow: bool,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none", default)]
    pub(crate) kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) major: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) minor: Option<i64>,
    pub(crate) access: String,
}

/// Layers that make up a root file system.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Overlay {
    /// Directory that the layers' names are relative to.
    pub(crate) base: String,
    /// Names of layers, uppermost first.
    pub(crate) lower: Vec<String>,
    /// Takes what is written; empty for a read-only view.
    pub(crate) upper: String,
    /// For the kernel's own use.
    pub(crate) work: String,
}
