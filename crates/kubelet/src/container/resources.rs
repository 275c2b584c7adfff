//! Requests and limits in the units of the kernel.

use crate::pod::{Plan, Role, Unit};
use ironclad_api::pod_resources::{self, ResourceList};
use ironclad_cri::LinuxResources;
use k8s_openapi::api::core::v1::ResourceRequirements;

const PERIOD: u64 = 100_000;

/// The cgroup of a class of pods, below the root.
pub(crate) fn class_cgroup(qos: &str) -> String {
    match qos {
        "Guaranteed" => "/kubepods".to_owned(),
        other => format!("/kubepods/{}", other.to_lowercase()),
    }
}

/// The pod's cgroup below the root, by its quality of service.
pub(crate) fn cgroup(plan: &Plan) -> String {
    format!("{}/pod{}", class_cgroup(plan.qos()), plan.uid)
}

fn milli(list: &ResourceList) -> Option<i64> {
    list.get("cpu").map(|q| q.milli_value())
}

/// Shares of a CPU, at least 2.
pub(crate) fn shares(milli: i64) -> u64 {
    ((milli * 1024 / 1000).max(2) as u64).min(262_144)
}

fn quota(milli: i64) -> i64 {
    (milli * PERIOD as i64 / 1000).max(1000)
}

fn lists(r: &ResourceRequirements) -> (ResourceList, ResourceList) {
    (pod_resources::parse(r.requests.as_ref()), pod_resources::parse(r.limits.as_ref()))
}

fn hugepages(limits: &ResourceList) -> Vec<(String, u64)> {
    let page = |name: &str| name.strip_prefix("hugepages-").map(|size| size.replace("Mi", "MB").replace("Gi", "GB"));
    limits.iter().filter_map(|(name, q)| Some((page(name)?, q.value().max(0) as u64))).collect()
}

/// What a container may use.
pub(crate) fn container(plan: &Plan, unit: &Unit, r: &ResourceRequirements, memory: i64) -> LinuxResources {
    let (requests, limits) = lists(r);
    LinuxResources {
        cpu_period: Some(PERIOD),
        cpu_quota: Some(milli(&limits).filter(|m| *m > 0).map_or(-1, quota)),
        cpu_shares: Some(shares(milli(&requests).or(milli(&limits)).unwrap_or(0))),
        memory_limit: limits.get("memory").map(|q| q.value()),
        oom_score_adj: Some(oom_score(plan, unit, &requests, memory)),
        hugepages: hugepages(&limits),
        ..LinuxResources::default()
    }
}

/// What all containers of a pod may use together; `of` says what each is given.
pub(crate) fn pod(plan: &Plan, of: &dyn Fn(&Unit) -> ResourceRequirements) -> LinuxResources {
    let mut spec = plan.spec.clone();
    let give = |list: &mut Vec<k8s_openapi::api::core::v1::Container>| {
        for c in list {
            c.resources = plan.unit(&c.name).map(of);
        }
    };
    give(&mut spec.containers);
    spec.init_containers.as_mut().map(give).unwrap_or_default();
    let (requests, limits) = (pod_resources::requests(&spec), pod_resources::limits(&spec));
    // One container without a limit leaves the whole pod without.
    let whole = spec.resources.as_ref().map(lists).unwrap_or_default().1;
    let units = || plan.units.iter().filter(|u| u.role != Role::Ephemeral);
    let bound = |name: &str| whole.contains_key(name) || units().all(|u| lists(&of(u)).1.contains_key(name));
    LinuxResources {
        cpu_period: Some(PERIOD),
        cpu_quota: Some(milli(&limits).filter(|_| bound("cpu")).filter(|m| *m > 0).map_or(-1, quota)),
        cpu_shares: Some(shares(milli(&requests).unwrap_or(0))),
        memory_limit: Some(limits.get("memory").filter(|_| bound("memory")).map_or(-1, |q| q.value())),
        ..LinuxResources::default()
    }
}

/// Who is killed first when memory is short.
fn oom_score(plan: &Plan, unit: &Unit, requests: &ResourceList, memory: i64) -> i32 {
    if plan.is_critical() {
        return -997;
    }
    match plan.qos() {
        "Guaranteed" => -997,
        "Burstable" => {
            let request = requests.get("memory").map_or(0, |q| q.value());
            let score = (1000 - 1000 * request / memory.max(1)).clamp(3, 999) as i32;
            if unit.role != Role::Sidecar {
                return score;
            }
            // A sidecar is not killed before what it serves.
            let mains = plan.with(Role::Main).filter_map(|u| u.spec.resources.as_ref()).map(|r| lists(r).0);
            let least = mains.map(|r| r.get("memory").map_or(0, |q| q.value())).min().unwrap_or(0);
            score.min((1000 - 1000 * least / memory.max(1)).clamp(3, 999) as i32)
        }
        _ => 1000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn plan(containers: Value) -> Arc<Plan> {
        let pod = json!({"metadata": {"uid": "u"}, "spec": {"containers": containers}});
        Plan::new(Arc::new(serde_json::from_value(pod).unwrap()))
    }

    fn of(unit: &Unit) -> ResourceRequirements {
        unit.spec.resources.clone().unwrap_or_default()
    }

    #[test]
    fn a_pod_is_limited_only_when_all_its_containers_are() {
        let limited = json!({"name": "a", "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}}});
        let one = pod(&plan(json!([limited])), &of);
        assert_eq!((one.cpu_quota, one.memory_limit), (Some(50_000), Some(64 << 20)));
        let two = pod(&plan(json!([limited, {"name": "b"}])), &of);
        assert_eq!((two.cpu_quota, two.memory_limit), (Some(-1), Some(-1)));
    }

    #[test]
    fn best_effort_pods_get_the_least() {
        let plan = plan(json!([{"name": "a"}]));
        assert_eq!(pod(&plan, &of).cpu_shares, Some(2));
        assert_eq!(cgroup(&plan), "/kubepods/besteffort/podu");
        let unit = plan.unit("a").unwrap();
        assert_eq!(container(&plan, unit, &of(unit), 1 << 30).oom_score_adj, Some(1000));
    }
}
