//! What containers and sandboxes use.

use super::{Container, Inner};
use crate::images::disk_usage;
use crate::sys::now_nanos;
use ironclad_cri::*;
use std::sync::Arc;

impl Inner {
    pub(super) async fn container_stats(self: &Arc<Self>, sandbox: Option<&str>) -> Result<Vec<ContainerStats>> {
        let all: Vec<Arc<Container>> = self.containers.lock().values().cloned().collect();
        let mut wanted = all;
        wanted.retain(|c| {
            sandbox.is_none_or(|s| c.record.sandbox_id == s) && *c.phase.borrow() == ContainerState::Running
        });
        let inner = self.clone();
        let measured =
            tokio::task::spawn_blocking(move || wanted.iter().map(|c| inner.measure(c)).collect::<Vec<_>>()).await;
        measured.map_err(|e| Error::Internal(format!("measure containers: {e}")))
    }

    fn measure(&self, container: &Container) -> ContainerStats {
        let usage = self.layout.usage(&container.record.cgroup);
        ContainerStats {
            id: container.record.id.clone(),
            timestamp: now_nanos(),
            cpu_usage_nanos: usage.cpu_nanos,
            memory_working_set: usage.working_set,
            memory_usage: usage.memory,
            memory_rss: usage.rss,
            writable_layer: Some(disk_usage(&self.container_data(&container.record.id).join("upper"))),
        }
    }

    pub(super) fn sandbox_stats(&self, id: Option<&str>) -> Vec<SandboxStats> {
        let all: Vec<_> = self.sandboxes.lock().values().cloned().collect();
        let wanted = all.iter().filter(|s| id.is_none_or(|id| s.id == id) && s.is_ready());
        wanted
            .map(|sandbox| {
                let record = sandbox.record.lock().clone();
                let usage = self.layout.usage(&record.cgroup);
                let own = !record.config.namespaces.host_network;
                SandboxStats {
                    id: record.id,
                    timestamp: now_nanos(),
                    cpu_usage_nanos: usage.cpu_nanos,
                    memory_working_set: usage.working_set,
                    memory_rss: usage.rss,
                    network: own.then(|| network(record.shim_pid)).flatten(),
                    process_count: self.layout.processes(&record.cgroup).len() as u64,
                }
            })
            .collect()
    }
}

/// Counters of `eth0` in the network namespace of a process.
fn network(pid: i32) -> Option<NetworkUsage> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).ok()?;
    let line = text.lines().find_map(|l| l.trim_start().strip_prefix("eth0:"))?;
    let numbers: Vec<u64> = line.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    let at = |i: usize| numbers.get(i).copied().unwrap_or(0);
    Some(NetworkUsage { name: "eth0".into(), rx_bytes: at(0), rx_errors: at(2), tx_bytes: at(8), tx_errors: at(10) })
}
