//! Limits that change while containers run.
//!
//! Invariant: what is on disk is what the kernel was told last, so that a restarted runtime shows the same.

use super::Inner;
use crate::images::internal;
use crate::state;
use ironclad_cri::*;

/// What is set, with what is not mentioned as it was.
fn merged(old: &LinuxResources, new: &LinuxResources) -> LinuxResources {
    let text = |new: &String, old: &String| if new.is_empty() { old.clone() } else { new.clone() };
    LinuxResources {
        cpu_quota: new.cpu_quota.or(old.cpu_quota),
        cpu_period: new.cpu_period.or(old.cpu_period),
        cpu_shares: new.cpu_shares.or(old.cpu_shares),
        memory_limit: new.memory_limit.or(old.memory_limit),
        memory_min: new.memory_min.or(old.memory_min),
        oom_score_adj: old.oom_score_adj,
        cpuset_cpus: text(&new.cpuset_cpus, &old.cpuset_cpus),
        cpuset_mems: text(&new.cpuset_mems, &old.cpuset_mems),
        pids_limit: new.pids_limit.or(old.pids_limit),
        hugepages: if new.hugepages.is_empty() { old.hugepages.clone() } else { new.hugepages.clone() },
    }
}

impl Inner {
    pub(super) async fn update_container(&self, id: &str, resources: &LinuxResources) -> Result<()> {
        let container = self.container(id)?;
        let _one = container.change.lock().await;
        self.layout.limit(&container.record.cgroup, resources).map_err(internal("update limits"))?;
        let mut record = container.record.clone();
        record.config.resources = merged(&container.limits.lock(), resources);
        let path = self.container_data(id).join("container.json");
        state::save(&path, &record).map_err(internal("write the container's record"))?;
        *container.limits.lock() = record.config.resources;
        Ok(())
    }

    pub(super) async fn update_sandbox(&self, id: &str, resources: &LinuxResources) -> Result<()> {
        let sandbox = self.sandbox(id)?;
        let _one = sandbox.change.lock().await;
        let mut record = sandbox.record.lock().clone();
        self.layout.limit(&record.cgroup, resources).map_err(internal("update the pod's limits"))?;
        record.config.resources = merged(&record.config.resources, resources);
        self.save_sandbox(&record)?;
        sandbox.record.lock().config.resources = record.config.resources;
        Ok(())
    }
}
