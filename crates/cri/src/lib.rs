//! The line between the kubelet and what runs containers, with the shape of CRI v1.
//!
//! Invariant: the kubelet knows containers only through [`Runtime`]; a runtime knows nothing of the Kubernetes API.
//! Field names and meanings are those of `runtime.v1` in `k8s.io/cri-api`; times are nanoseconds since the epoch.

mod container;
mod image;
mod network;
mod sandbox;
mod session;

pub use container::*;
pub use image::*;
pub use network::*;
pub use sandbox::*;
pub use session::*;

use async_trait::async_trait;
use std::collections::BTreeMap;
use std::time::Duration;

/// Labels or annotations.
pub type StringMap = BTreeMap<String, String>;

/// What a runtime can answer instead of a result; the variants follow the gRPC codes that the kubelet looks at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The sandbox, container or image does not exist.
    #[error("{0}")]
    NotFound(String),
    /// It exists already.
    #[error("{0}")]
    AlreadyExists(String),
    /// The request cannot be right.
    #[error("{0}")]
    InvalidArgument(String),
    /// It is not in a state in which this can be done.
    #[error("{0}")]
    FailedPrecondition(String),
    /// It took too long.
    #[error("{0}")]
    DeadlineExceeded(String),
    /// The runtime cannot do this.
    #[error("{0}")]
    Unimplemented(String),
    /// The registry cannot be reached; the reason `RegistryUnavailable`.
    #[error("{0}")]
    RegistryUnavailable(String),
    /// The registry does not give the image without other credentials.
    #[error("{0}")]
    PermissionDenied(String),
    /// Anything else.
    #[error("{0}")]
    Internal(String),
}

/// A result whose error is a runtime [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Name and version of a runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// For example `ironclad`; the node shows `name://version`.
    pub name: String,
    /// For example `0.1.0`.
    pub version: String,
}

/// Whether the runtime can take work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeStatus {
    /// Containers can be run.
    pub runtime_ready: Result<()>,
    /// Pods get a network.
    pub network_ready: Result<()>,
}

/// A container or sandbox changed its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerEvent {
    /// The container, or the sandbox itself.
    pub id: String,
    /// The sandbox.
    pub sandbox_id: String,
    /// The pod's uid.
    pub pod_uid: String,
    /// What happened.
    pub kind: ContainerEventKind,
}

/// What happened to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of runtime.v1.ContainerEventType")]
pub enum ContainerEventKind {
    Created,
    Started,
    Stopped,
    Deleted,
}

/// Sandboxes, containers and images of one node. Every call may be repeated.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Name and version.
    async fn version(&self) -> Result<Version>;
    /// Whether it can take work.
    async fn status(&self) -> Result<RuntimeStatus>;
    /// State changes from now on. A receiver that lags must list.
    fn events(&self) -> tokio::sync::broadcast::Receiver<ContainerEvent>;
    /// The node's pod CIDRs, once the API server gave them.
    async fn update_pod_cidr(&self, cidrs: &[String]) -> Result<()>;

    /// Makes a sandbox with its network, and starts it.
    async fn run_pod_sandbox(&self, config: SandboxConfig) -> Result<String>;
    /// Stops everything in it and takes its network away. Fine for a stopped or missing one.
    async fn stop_pod_sandbox(&self, id: &str) -> Result<()>;
    /// Removes it with its containers. Fine for a missing one.
    async fn remove_pod_sandbox(&self, id: &str) -> Result<()>;
    /// Its state and addresses.
    async fn pod_sandbox_status(&self, id: &str) -> Result<SandboxStatus>;
    /// All sandboxes; with `pod_uid` those of one pod.
    async fn list_pod_sandboxes(&self, pod_uid: Option<&str>) -> Result<Vec<SandboxStatus>>;

    /// Makes a container that does not run yet.
    async fn create_container(&self, sandbox_id: &str, config: ContainerConfig) -> Result<String>;
    /// Starts it.
    async fn start_container(&self, id: &str) -> Result<()>;
    /// Sends its stop signal, and kills it after `timeout`. Returns when it has stopped; fine for a missing one.
    async fn stop_container(&self, id: &str, timeout: Duration) -> Result<()>;
    /// Removes it, killing it first where needed. Fine for a missing one.
    async fn remove_container(&self, id: &str) -> Result<()>;
    /// Its state.
    async fn container_status(&self, id: &str) -> Result<ContainerStatus>;
    /// All containers; with `sandbox_id` those of one sandbox.
    async fn list_containers(&self, sandbox_id: Option<&str>) -> Result<Vec<ContainerStatus>>;
    /// Changes limits while it runs.
    async fn update_container_resources(&self, id: &str, resources: &LinuxResources) -> Result<()>;
    /// Changes the limits of a whole pod while it runs.
    async fn update_pod_sandbox_resources(&self, id: &str, resources: &LinuxResources) -> Result<()>;
    /// Changes the limits of a group of pods: a parent of [`SandboxConfig::cgroup_parent`], made where it is missing.
    async fn update_group_resources(&self, cgroup: &str, resources: &LinuxResources) -> Result<()>;
    /// Opens its log file anew, after the old one was renamed.
    async fn reopen_container_log(&self, id: &str) -> Result<()>;
    /// CPU and memory of containers; with `sandbox_id` those of one sandbox.
    async fn container_stats(&self, sandbox_id: Option<&str>) -> Result<Vec<ContainerStats>>;
    /// CPU, memory, network and process counts of sandboxes.
    async fn pod_sandbox_stats(&self, id: Option<&str>) -> Result<Vec<SandboxStats>>;

    /// Runs a command and waits for it; on `timeout` it is killed and the answer is [`Error::DeadlineExceeded`].
    async fn exec_sync(&self, id: &str, command: &[String], timeout: Option<Duration>) -> Result<ExecOutput>;
    /// Runs a command with its streams.
    async fn exec(&self, id: &str, request: ExecRequest) -> Result<Session>;
    /// The streams of the container's own process.
    async fn attach(&self, id: &str, streams: StreamOptions) -> Result<Session>;
    /// A connection to a port on the sandbox's loopback address.
    async fn port_forward(&self, sandbox_id: &str, port: u16) -> Result<BoxStream>;

    /// Pulls an image and returns its id; steps are told to `progress`.
    async fn pull_image(&self, request: PullRequest, progress: PullProgress) -> Result<String>;
    /// One image by id, tag or digest.
    async fn image_status(&self, image: &str) -> Result<Option<Image>>;
    /// All images.
    async fn list_images(&self) -> Result<Vec<Image>>;
    /// Removes an image. Fine for a missing one.
    async fn remove_image(&self, image: &str) -> Result<()>;
    /// What the images occupy.
    async fn image_fs_info(&self) -> Result<FilesystemUsage>;
}
