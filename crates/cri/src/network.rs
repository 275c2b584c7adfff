//! What a sandbox gets from the pod network, as CNI's ADD and DEL have it.

use crate::{PortMapping, Result};
use async_trait::async_trait;
use std::path::Path;

/// Who is attached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attachment {
    /// The sandbox.
    pub sandbox_id: String,
    /// Pod namespace.
    pub namespace: String,
    /// Pod name.
    pub name: String,
    /// Pod uid.
    pub uid: String,
    /// Ports on the host.
    pub port_mappings: Vec<PortMapping>,
}

/// Gives sandboxes their addresses. Every call may be repeated.
#[async_trait]
pub trait PodNetwork: Send + Sync + 'static {
    /// Whether pods can be attached, and why not.
    async fn ready(&self) -> Result<()>;
    /// The node's pod CIDRs.
    async fn set_pod_cidrs(&self, cidrs: &[String]) -> Result<()>;
    /// Connects the network namespace at `netns` and returns the pod's addresses, primary first. Repeated for a
    /// sandbox that is attached already, it returns the same addresses.
    async fn attach(&self, attachment: &Attachment, netns: &Path) -> Result<Vec<String>>;
    /// Takes the addresses and devices away. Fine for one that is not attached.
    async fn detach(&self, sandbox_id: &str) -> Result<()>;
    /// Frees what belongs to none of these sandboxes; called once at start.
    async fn retain(&self, sandbox_ids: &[String]) -> Result<()>;
}
