//! In-place resize of a running pod (KEP-1287): what the node gives a pod follows what the pod asks for, as far as
//! there is room; what containers have follows what they are given.
//!
//! Invariant: what was given is on disk before it takes effect, so that a restart neither forgets nor repeats it.

mod tell;
mod whole;

use super::job::{Job, Outcome};
use super::observe::{Observed, name_of};
use super::{Ctx, Worker};
use crate::admit::Room;
use crate::container::resources;
use crate::pod::{Plan, Role, Unit, WHOLE};
use ironclad_client::events::EventType;
use ironclad_cri::{ContainerState, ContainerStatus, LinuxResources};
use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const FILE: &str = "allocated.json";

/// What each container is given, and the pod as a whole.
pub(super) type Allocated = BTreeMap<String, ResourceRequirements>;

fn load(dir: &Path) -> Option<Allocated> {
    serde_json::from_slice(&std::fs::read(dir.join(FILE)).ok()?).ok()
}

fn save(dir: &Path, allocated: &Allocated) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let fresh = dir.join("allocated.json.new");
    std::fs::write(&fresh, serde_json::to_vec(allocated)?)?;
    std::fs::rename(fresh, dir.join(FILE))
}

/// What the pod asks for.
fn wanted(plan: &Plan) -> Allocated {
    let units = plan.units.iter().filter(|u| u.role != Role::Ephemeral);
    let own = units.map(|u| (u.name().to_owned(), u.spec.resources.clone().unwrap_or_default()));
    own.chain(plan.spec.resources.clone().map(|r| (WHOLE.to_owned(), r))).collect()
}

/// Which of the amounts of a container the kernel must be told anew.
fn changed(now: &LinuxResources, then: &LinuxResources) -> (bool, bool) {
    let cpu = now.cpu_quota != then.cpu_quota || now.cpu_shares != then.cpu_shares;
    let memory = now.memory_limit.unwrap_or(-1) != then.memory_limit.unwrap_or(-1);
    (cpu, memory)
}

/// Whether new amounts of a container take effect only at a new start.
fn needs_restart(unit: &Unit, cpu: bool, memory: bool) -> bool {
    let policy = |name: &str| {
        let found = unit.spec.resize_policy.iter().flatten().find(|p| p.resource_name == name);
        found.is_some_and(|p| p.restart_policy == "RestartContainer")
    };
    (cpu && policy("cpu")) || (memory && policy("memory"))
}

/// What a container has, in the words of the API.
fn shown(has: &LinuxResources, given: &ResourceRequirements, should: &LinuxResources) -> ResourceRequirements {
    let mut out = given.clone();
    let mut set = |limit: bool, name: &str, value: Option<String>| {
        let list = if limit { &mut out.limits } else { &mut out.requests };
        match (value, list.as_mut()) {
            (Some(value), _) => drop(list.get_or_insert_default().insert(name.to_owned(), Text(value))),
            (None, Some(list)) => drop(list.remove(name)),
            (None, None) => {}
        }
    };
    let millis = |n: i64| ironclad_api::quantity::Quantity::millis(n).to_string();
    if has.cpu_quota != should.cpu_quota {
        set(true, "cpu", has.cpu_quota.filter(|q| *q > 0).map(|q| millis(q / 100)));
    }
    if has.cpu_shares != should.cpu_shares {
        set(false, "cpu", has.cpu_shares.filter(|s| *s > 2).map(|s| millis((s as i64 * 1000 + 1023) / 1024)));
    }
    if has.memory_limit != should.memory_limit {
        let bytes = |n: i64| ironclad_api::quantity::Quantity::bytes(n).to_string();
        set(true, "memory", has.memory_limit.filter(|l| *l > 0).map(bytes));
    }
    out
}

impl Worker {
    /// What each container is given; at first what the pod asks for.
    pub(super) fn allocate(&mut self, plan: &Arc<Plan>) -> Option<Duration> {
        let dir = self.shared.config.pod_dir(&self.uid);
        let wanted = wanted(plan);
        if self.memory.allocated.is_none() {
            self.memory.allocated = Some(load(&dir).unwrap_or_else(|| wanted.clone()));
        }
        if self.memory.allocated.as_ref() == Some(&wanted) {
            self.memory.pending = None;
            return None;
        }
        let room = match plan.is_static() {
            true => Room::Never("In-place resize of static-pods is not supported".to_owned()),
            false => self.shared.admitted.resize(plan),
        };
        let refused = match room {
            Room::Now => {
                if let Err(error) = save(&dir, &wanted) {
                    tracing::warn!(pod = plan.name, %error, "cannot keep what a pod is given");
                    return Some(Duration::from_secs(10));
                }
                self.memory.allocated = Some(wanted);
                self.memory.pending = None;
                self.memory.resize_error = None;
                self.memory.resizing = plan.pod.metadata.generation.or(Some(0));
                self.tell(plan, EventType::Normal, "ResizeStarted", "Pod resize started", None);
                return None;
            }
            Room::Later(message) => ("Deferred", message),
            Room::Never(message) => ("Infeasible", message),
        };
        let refused = (refused.0.to_owned(), refused.1);
        if self.memory.pending.as_ref() != Some(&refused) {
            let (reason, text) = (format!("Resize{}", refused.0), format!("Pod resize {}", refused.0));
            self.tell(plan, EventType::Warning, &reason, &text, Some(&refused.1));
        }
        self.memory.pending = Some(refused);
        None
    }

    /// What a container is given.
    pub(super) fn given(&self, unit: &Unit) -> ResourceRequirements {
        let given = self.memory.allocated.as_ref().and_then(|a| a.get(unit.name()).cloned());
        given.or_else(|| unit.spec.resources.clone()).unwrap_or_default()
    }

    /// What the kernel should know of a container.
    fn should(&self, plan: &Plan, unit: &Unit) -> LinuxResources {
        resources::container(plan, unit, &self.given(unit), self.given_whole(), self.shared.admitted.memory())
    }

    /// What running containers have.
    pub(super) fn actual(&self, plan: &Plan, observed: &Observed) -> HashMap<String, ResourceRequirements> {
        let running = observed.containers.iter().filter(|c| c.state == ContainerState::Running);
        let one = |status: &ContainerStatus| {
            let unit = plan.unit(name_of(status)).filter(|u| u.role != Role::Ephemeral)?;
            let actual = shown(&status.config.resources, &self.given(unit), &self.should(plan, unit));
            Some((unit.name().to_owned(), actual))
        };
        running.filter_map(one).collect()
    }

    /// Running containers that do not have what they are given.
    fn behind(&self, plan: &Plan, observed: &Observed) -> Vec<(String, ContainerStatus, LinuxResources, bool)> {
        let mut out = Vec::new();
        for (name, status) in observed.newest() {
            let Some(unit) = plan.unit(name).filter(|u| u.role != Role::Ephemeral) else { continue };
            if status.state != ContainerState::Running {
                continue;
            }
            let should = self.should(plan, unit);
            let (cpu, memory) = changed(&status.config.resources, &should);
            if cpu || memory {
                out.push((name.to_owned(), status.clone(), should, needs_restart(unit, cpu, memory)));
            }
        }
        out
    }

    /// Gives running containers what they should have; returns those that must start anew for it.
    pub(super) fn resize(&mut self, plan: &Arc<Plan>, observed: &Observed) -> Vec<String> {
        let behind = self.behind(plan, observed);
        let sandbox = observed.sandbox.as_ref();
        let pod = resources::pod(plan, &|u: &Unit| self.given(u), self.given_whole());
        let pod_behind = sandbox.filter(|s| changed(&s.config.resources, &pod) != (false, false));
        self.go_along(plan, !behind.is_empty() || pod_behind.is_some());
        let (restart, live): (Vec<_>, Vec<_>) = behind.into_iter().partition(|b| b.3);
        if let (false, Some(sandbox)) = (live.is_empty() && pod_behind.is_none(), sandbox) {
            let (ctx, sandbox) = (self.ctx(plan, observed), (sandbox.id.clone(), sandbox.config.resources.clone()));
            self.spawn(Job::Resize, async move { Outcome::Resized(apply(&ctx, sandbox, pod, live).await) });
        }
        restart.into_iter().map(|b| b.0).collect()
    }

    /// Conditions that tell of a resize: type, reason, message.
    pub(super) fn resize_conditions(&self) -> Vec<(&'static str, String, String)> {
        let mut out = Vec::new();
        if let Some((reason, message)) = &self.memory.pending {
            out.push(("PodResizePending", reason.clone(), message.clone()));
        }
        if self.memory.resizing.is_some() {
            let error = self.memory.resize_error.clone();
            let reason = if error.is_some() { "Error" } else { "" };
            out.push(("PodResizeInProgress", reason.to_owned(), error.unwrap_or_default()));
        }
        out
    }
}

type Behind = (String, ContainerStatus, LinuxResources, bool);

/// The larger of two limits, of which a negative one is none.
fn larger(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    match (a.unwrap_or(-1), b.unwrap_or(-1)) {
        (a, b) if a < 0 || b < 0 => Some(-1),
        (a, b) => Some(a.max(b)),
    }
}

/// First the pod grows, then containers change, then the pod shrinks: no group is ever larger than its parent.
async fn apply(
    ctx: &Ctx,
    (sandbox, had): (String, LinuxResources),
    pod: LinuxResources,
    live: Vec<Behind>,
) -> Result<(), String> {
    let runtime = &ctx.shared.config.runtime;
    let between = LinuxResources {
        cpu_quota: larger(had.cpu_quota, pod.cpu_quota),
        memory_limit: larger(had.memory_limit, pod.memory_limit),
        ..pod.clone()
    };
    runtime.update_pod_sandbox_resources(&sandbox, &between).await.map_err(|e| e.to_string())?;
    for (name, status, should, _) in live {
        let limit = should.memory_limit.unwrap_or(-1);
        if limit > 0 {
            let stats = runtime.container_stats(Some(&sandbox)).await.unwrap_or_default();
            let used = stats.iter().find(|s| s.id == status.id).map_or(0, |s| s.memory_working_set);
            if used > limit as u64 {
                return Err(format!(
                    "attempting to set container {name} memory limit ({limit}) below current usage ({used})"
                ));
            }
        }
        let wanted = LinuxResources { memory_limit: Some(limit), oom_score_adj: None, ..should };
        runtime.update_container_resources(&status.id, &wanted).await.map_err(|e| e.to_string())?;
    }
    runtime.update_pod_sandbox_resources(&sandbox, &pod).await.map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_container_restarts_only_for_what_its_policy_says() {
        let spec = json!({"name": "a", "resizePolicy": [
            {"resourceName": "memory", "restartPolicy": "RestartContainer"},
            {"resourceName": "cpu", "restartPolicy": "NotRequired"}]});
        let unit = Unit { spec: serde_json::from_value(spec).unwrap(), role: Role::Main, target: None };
        assert!(!needs_restart(&unit, true, false));
        assert!(needs_restart(&unit, true, true));
    }

    #[test]
    fn what_a_container_has_is_shown_in_the_units_of_the_api() {
        let has = LinuxResources {
            cpu_quota: Some(50_000),
            cpu_shares: Some(512),
            memory_limit: Some(64 << 20),
            ..LinuxResources::default()
        };
        let given: ResourceRequirements =
            serde_json::from_value(json!({"limits": {"cpu": "1", "memory": "64Mi"}, "requests": {"cpu": "1"}}))
                .unwrap();
        let should = LinuxResources { cpu_quota: Some(100_000), cpu_shares: Some(1024), ..has.clone() };
        let got = json!(shown(&has, &given, &should));
        assert_eq!(got, json!({"limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": "500m"}}));
    }

    #[test]
    fn no_limit_is_the_largest() {
        assert_eq!(larger(Some(-1), Some(5)), Some(-1));
        assert_eq!(larger(Some(3), Some(5)), Some(5));
        assert_eq!(larger(None, Some(5)), Some(-1));
    }
}
