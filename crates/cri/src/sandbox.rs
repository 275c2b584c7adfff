//! Pod sandboxes: what the containers of a pod share.

use crate::{LinuxResources, StringMap};

/// What a sandbox is made from.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SandboxConfig {
    /// Pod name.
    pub name: String,
    /// Pod namespace.
    pub namespace: String,
    /// Pod uid.
    pub uid: String,
    /// Number of earlier sandboxes of the pod.
    pub attempt: u32,
    /// Host name inside; empty with the host's network.
    pub hostname: String,
    /// Directory of the pod's container logs.
    pub log_directory: String,
    /// What `/etc/resolv.conf` says; `None` takes the host's.
    pub dns: Option<DnsConfig>,
    /// Lines of `/etc/hosts` below the standard ones are written by the kubelet; ports published on the host.
    pub port_mappings: Vec<PortMapping>,
    /// Labels, kept for lists.
    pub labels: StringMap,
    /// Annotations, kept for lists.
    pub annotations: StringMap,
    /// Path of the pod's cgroup below the cgroup root, for example `/kubepods/burstable/pod<uid>`.
    pub cgroup_parent: String,
    /// Kernel parameters.
    pub sysctls: StringMap,
    /// Which namespaces are shared with whom.
    pub namespaces: NamespaceOptions,
    /// Limits of the whole pod.
    pub resources: LinuxResources,
    /// Whether any container in it may be privileged.
    pub privileged: bool,
    /// Bandwidth and other facts for the network, by annotation.
    pub runtime_handler: String,
}

/// What `/etc/resolv.conf` says.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DnsConfig {
    /// `nameserver` lines.
    pub servers: Vec<String>,
    /// The `search` line.
    pub searches: Vec<String>,
    /// The `options` line.
    pub options: Vec<String>,
}

/// A port of the pod on the host's addresses.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PortMapping {
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// In the pod.
    pub container_port: u16,
    /// On the host.
    pub host_port: u16,
    /// One address of the host; empty for all.
    pub host_ip: String,
}

/// Whose namespaces a pod's containers live in.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NamespaceOptions {
    /// Use the node's network.
    pub host_network: bool,
    /// Whose process ids are seen.
    pub pid: PidMode,
    /// Use the node's IPC.
    pub host_ipc: bool,
    /// Users of the pod's own; `None` shares the node's.
    #[serde(default)]
    pub users: Option<UserMapping>,
}

/// Which users and groups of the node those of a pod are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct UserMapping {
    /// What user and group 0 of the pod are.
    pub host_id: u32,
    /// How many there are.
    pub length: u32,
}

/// Whose process ids a container sees.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum PidMode {
    /// Its own.
    #[default]
    Container,
    /// Those of the whole pod.
    Pod,
    /// Those of the node.
    Node,
    /// Those of another container of the pod, by id.
    Target(String),
}

/// Whether a sandbox runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum SandboxState {
    /// Its namespaces and network are there.
    Ready,
    /// It was stopped or died.
    NotReady,
}

/// What is known of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SandboxStatus {
    /// Its id: 64 hexadecimal digits.
    pub id: String,
    /// What it was made from.
    pub config: SandboxConfig,
    /// Whether it runs.
    pub state: SandboxState,
    /// Nanoseconds since the epoch.
    pub created_at: i64,
    /// Addresses, primary first; empty with the host's network.
    pub ips: Vec<String>,
}

/// What a sandbox uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SandboxStats {
    /// The sandbox.
    pub id: String,
    /// When it was measured, in nanoseconds since the epoch.
    pub timestamp: i64,
    /// CPU time used since the start, in nanoseconds.
    pub cpu_usage_nanos: u64,
    /// Memory that cannot be given back at once, in bytes.
    pub memory_working_set: u64,
    /// Anonymous memory.
    pub memory_rss: u64,
    /// Received and sent bytes and errors of `eth0`.
    pub network: Option<NetworkUsage>,
    /// Processes and threads.
    pub process_count: u64,
}

/// Counters of a network device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the kernel's counters")]
pub struct NetworkUsage {
    pub name: String,
    pub rx_bytes: u64,
    pub rx_errors: u64,
    pub tx_bytes: u64,
    pub tx_errors: u64,
}
