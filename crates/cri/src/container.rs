//! Containers.

use crate::StringMap;

/// What a container is made from.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ContainerConfig {
    /// Container name.
    pub name: String,
    /// Number of earlier instances.
    pub attempt: u32,
    /// The image's id, as [`crate::Runtime::pull_image`] or `image_status` gave it.
    pub image: String,
    /// The image as the pod names it.
    pub user_specified_image: String,
    /// Replaces the image's entry point where not empty.
    pub command: Vec<String>,
    /// Replaces the image's arguments where not empty.
    pub args: Vec<String>,
    /// Replaces the image's working directory where not empty.
    pub working_dir: String,
    /// Added to the image's environment, in order.
    pub envs: Vec<(String, String)>,
    /// Mounts, in order.
    pub mounts: Vec<Mount>,
    /// Devices of the host.
    pub devices: Vec<Device>,
    /// Labels, kept for lists.
    pub labels: StringMap,
    /// Annotations, kept for lists.
    pub annotations: StringMap,
    /// The log file, below the sandbox's log directory.
    pub log_path: String,
    /// Keep standard input open.
    pub stdin: bool,
    /// Close standard input when the first attached client goes.
    pub stdin_once: bool,
    /// Give it a terminal.
    pub tty: bool,
    /// Limits.
    pub resources: LinuxResources,
    /// Who it runs as and what it may do.
    pub security: SecurityContext,
    /// Replaces the image's stop signal where set, for example `SIGUSR1`.
    pub stop_signal: Option<String>,
}

/// A directory or file of the host inside the container.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Mount {
    /// Where it is seen.
    pub container_path: String,
    /// What is seen; a missing one is made as a directory.
    pub host_path: String,
    /// Not to be written.
    pub readonly: bool,
    /// Mounts below it are not to be written either.
    pub recursive_read_only: bool,
    /// Whether mounts made later are seen on the other side.
    pub propagation: Propagation,
    /// Mount an image instead of a path: its id, and the path inside of it.
    pub image: Option<(String, String)>,
}

/// Whether mounts made later are seen on the other side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs, reason = "the names are those of runtime.v1.MountPropagation")]
pub enum Propagation {
    #[default]
    Private,
    HostToContainer,
    Bidirectional,
}

/// A device of the host inside the container.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Device {
    /// Where it is seen.
    pub container_path: String,
    /// What is seen.
    pub host_path: String,
    /// Any of `r`, `w`, `m`.
    pub permissions: String,
}

/// Limits in the units of the kernel; `None` leaves the kernel's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LinuxResources {
    /// Microseconds of CPU time in each period.
    pub cpu_quota: Option<i64>,
    /// The period in microseconds.
    pub cpu_period: Option<u64>,
    /// Relative weight, 2 to 262,144.
    pub cpu_shares: Option<u64>,
    /// Bytes.
    pub memory_limit: Option<i64>,
    /// Bytes that are kept (cgroup v2 `memory.min`).
    pub memory_min: Option<i64>,
    /// Who is killed first, -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// CPUs, for example `0-1`.
    pub cpuset_cpus: String,
    /// Memory nodes.
    pub cpuset_mems: String,
    /// Processes and threads.
    pub pids_limit: Option<i64>,
    /// Huge pages: page size such as `2MB`, and bytes.
    pub hugepages: Vec<(String, u64)>,
}

/// Who a container runs as and what it may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SecurityContext {
    /// Capabilities added to the default set, without `CAP_`; `ALL` is all.
    pub add_capabilities: Vec<String>,
    /// Capabilities taken from the default set.
    pub drop_capabilities: Vec<String>,
    /// Everything is allowed.
    pub privileged: bool,
    /// Process ids that are seen.
    pub pid: crate::PidMode,
    /// User id; `None` takes the image's user.
    pub run_as_user: Option<i64>,
    /// Group id; needs a user.
    pub run_as_group: Option<i64>,
    /// User name, where no id is given.
    pub run_as_username: String,
    /// The root file system is not to be written.
    pub readonly_rootfs: bool,
    /// Groups besides the primary one.
    pub supplemental_groups: Vec<i64>,
    /// Only those groups count, not the ones that the image's `/etc/group` adds.
    pub supplemental_groups_strict: bool,
    /// No process gets more privileges than its parent.
    pub no_new_privs: bool,
    /// Paths that cannot be seen.
    pub masked_paths: Vec<String>,
    /// Paths that cannot be written.
    pub readonly_paths: Vec<String>,
    /// The system calls that are allowed.
    pub seccomp: Seccomp,
}

/// Which system calls are allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Seccomp {
    /// All.
    #[default]
    Unconfined,
    /// The runtime's own profile.
    RuntimeDefault,
    /// A profile in a file of the node.
    Localhost(String),
}

/// Where a container is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs, reason = "the names are those of runtime.v1.ContainerState")]
pub enum ContainerState {
    Created,
    Running,
    Exited,
    Unknown,
}

/// What is known of a container.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ContainerStatus {
    /// Its id: 64 hexadecimal digits.
    pub id: String,
    /// The sandbox it belongs to.
    pub sandbox_id: String,
    /// What it was made from.
    pub config: ContainerConfig,
    /// Where it is in its life.
    pub state: ContainerState,
    /// Nanoseconds since the epoch.
    pub created_at: i64,
    /// Nanoseconds since the epoch; 0 before.
    pub started_at: i64,
    /// Nanoseconds since the epoch; 0 before.
    pub finished_at: i64,
    /// How it ended; 128 + n for a signal n.
    pub exit_code: i32,
    /// `Completed`, `Error`, `OOMKilled`, `ContainerCannotRun`, `StartError`; empty while it runs.
    pub reason: String,
    /// More about the end.
    pub message: String,
    /// The image by digest, for example `docker.io/library/nginx@sha256:...`.
    pub image_ref: String,
    /// Absolute path of the log file.
    pub log_path: String,
    /// The user it was started as: uid, gid, supplemental groups.
    pub user: Option<(i64, i64, Vec<i64>)>,
}

/// What a container uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerStats {
    /// The container.
    pub id: String,
    /// When it was measured, in nanoseconds since the epoch.
    pub timestamp: i64,
    /// CPU time used since the start, in nanoseconds.
    pub cpu_usage_nanos: u64,
    /// Memory that cannot be given back at once, in bytes.
    pub memory_working_set: u64,
    /// All memory, page cache included.
    pub memory_usage: u64,
    /// Anonymous memory.
    pub memory_rss: u64,
    /// What the container wrote into its root file system: bytes and inodes.
    pub writable_layer: Option<(u64, u64)>,
}
