//! What the runtime shows of a pod.

use crate::container;
use ironclad_cri::{ContainerStatus, Runtime, SandboxState, SandboxStatus};
use std::collections::HashMap;

pub(super) struct Observed {
    /// The newest sandbox, when it is ready.
    pub(super) sandbox: Option<SandboxStatus>,
    /// Newest first.
    pub(super) sandboxes: Vec<SandboxStatus>,
    /// Newest first.
    pub(super) containers: Vec<ContainerStatus>,
}

pub(super) fn name_of(status: &ContainerStatus) -> &str {
    status.config.labels.get(container::CONTAINER).map_or(status.config.name.as_str(), String::as_str)
}

pub(super) async fn observe(runtime: &dyn Runtime, uid: &str) -> ironclad_cri::Result<Observed> {
    let mut sandboxes = runtime.list_pod_sandboxes(Some(uid)).await?;
    sandboxes.sort_by_key(|s| std::cmp::Reverse(s.created_at));
    let mut containers = Vec::new();
    for sandbox in &sandboxes {
        containers.extend(runtime.list_containers(Some(&sandbox.id)).await?);
    }
    containers.sort_by_key(|c| std::cmp::Reverse(c.created_at));
    let sandbox = sandboxes.first().filter(|s| s.state == SandboxState::Ready).cloned();
    Ok(Observed { sandbox, sandboxes, containers })
}

impl Observed {
    pub(super) fn newest(&self) -> HashMap<&str, &ContainerStatus> {
        let mut newest: HashMap<&str, &ContainerStatus> = HashMap::new();
        for status in &self.containers {
            newest.entry(name_of(status)).or_insert(status);
        }
        newest
    }

    /// Containers of each name, newest first.
    pub(super) fn by_name(&self) -> HashMap<&str, Vec<&ContainerStatus>> {
        let mut all: HashMap<&str, Vec<&ContainerStatus>> = HashMap::new();
        self.containers.iter().for_each(|c| all.entry(name_of(c)).or_default().push(c));
        all
    }
}
