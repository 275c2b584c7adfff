//! Requests and limits in the units of the kernel.

use crate::pod::{Plan, Role, Unit};
use ironclad_api::pod_resources::{self, ResourceList};
use ironclad_cri::LinuxResources;
use k8s_openapi::api::core::v1::{PodSpec, ResourceRequirements};

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

/// The limits of a container; where it has none of its own that of its pod holds for it too.
fn limits_within(own: ResourceList, whole: Option<&ResourceRequirements>) -> ResourceList {
    let pod = whole.map(lists).unwrap_or_default().1;
    let counts = |name: &str| matches!(name, "cpu" | "memory") || name.starts_with("hugepages-");
    let mut limits: ResourceList = pod.into_iter().filter(|(name, _)| counts(name)).collect();
    limits.extend(own.into_iter().filter(|(name, q)| !q.is_zero() || name.starts_with("hugepages-")));
    limits
}

/// What a container may use: `r` is what it is given, `whole` what its pod is given.
pub(crate) fn container(
    plan: &Plan,
    unit: &Unit,
    r: &ResourceRequirements,
    whole: Option<&ResourceRequirements>,
    memory: i64,
) -> LinuxResources {
    let (requests, limits) = lists(r);
    let limits = limits_within(limits, whole);
    LinuxResources {
        cpu_period: Some(PERIOD),
        cpu_quota: Some(milli(&limits).filter(|m| *m > 0).map_or(-1, quota)),
        cpu_shares: Some(shares(milli(&requests).or(milli(&limits)).unwrap_or(0))),
        memory_limit: limits.get("memory").map(|q| q.value()),
        oom_score_adj: Some(oom_score(plan, unit, &requests, whole, memory)),
        hugepages: hugepages(&limits),
        ..LinuxResources::default()
    }
}

/// The specification with what each container, and the pod as a whole, is given.
pub(crate) fn given_spec(
    plan: &Plan,
    of: &dyn Fn(&Unit) -> ResourceRequirements,
    whole: Option<&ResourceRequirements>,
) -> PodSpec {
    let mut spec = plan.spec.clone();
    let give = |list: &mut Vec<k8s_openapi::api::core::v1::Container>| {
        for c in list {
            c.resources = plan.unit(&c.name).map(of);
        }
    };
    give(&mut spec.containers);
    spec.init_containers.as_mut().map(give).unwrap_or_default();
    spec.resources = whole.cloned();
    spec
}

/// What all containers of a pod may use together; `of` says what each is given, `whole` what the pod is given.
pub(crate) fn pod(
    plan: &Plan,
    of: &dyn Fn(&Unit) -> ResourceRequirements,
    whole: Option<&ResourceRequirements>,
) -> LinuxResources {
    let spec = given_spec(plan, of, whole);
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

/// What a pod requests beyond its containers, shared evenly between them (KEP-2837).
fn share(plan: &Plan, whole: Option<&ResourceRequirements>) -> i64 {
    let Some(all) = whole.and_then(|w| lists(w).0.get("memory").map(|q| q.value())) else { return 0 };
    let spec = PodSpec { resources: None, overhead: None, ..plan.spec.clone() };
    let own = pod_resources::requests(&spec).get("memory").map_or(0, |q| q.value());
    let count = plan.units.iter().filter(|u| u.role != Role::Ephemeral).count().max(1);
    (all - own) / count as i64
}

/// Who is killed first when memory is short.
fn oom_score(
    plan: &Plan,
    unit: &Unit,
    requests: &ResourceList,
    whole: Option<&ResourceRequirements>,
    memory: i64,
) -> i32 {
    if plan.is_critical() {
        return -997;
    }
    match plan.qos() {
        "Guaranteed" => -997,
        "Burstable" => {
            let share = share(plan, whole);
            let request = requests.get("memory").map_or(0, |q| q.value()) + share;
            let score = (1000 - 1000 * request / memory.max(1)).clamp(3, 999) as i32;
            if unit.role != Role::Sidecar {
                return score;
            }
            // A sidecar is not killed before what it serves.
            let mains = plan.with(Role::Main).filter_map(|u| u.spec.resources.as_ref()).map(|r| lists(r).0);
            let least = mains.map(|r| r.get("memory").map_or(0, |q| q.value())).min().unwrap_or(0) + share;
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
        let one = pod(&plan(json!([limited])), &of, None);
        assert_eq!((one.cpu_quota, one.memory_limit), (Some(50_000), Some(64 << 20)));
        let two = pod(&plan(json!([limited, {"name": "b"}])), &of, None);
        assert_eq!((two.cpu_quota, two.memory_limit), (Some(-1), Some(-1)));
    }

    #[test]
    fn best_effort_pods_get_the_least() {
        let plan = plan(json!([{"name": "a"}]));
        assert_eq!(pod(&plan, &of, None).cpu_shares, Some(2));
        assert_eq!(cgroup(&plan), "/kubepods/besteffort/podu");
        let unit = plan.unit("a").unwrap();
        assert_eq!(container(&plan, unit, &of(unit), None, 1 << 30).oom_score_adj, Some(1000));
    }

    #[test]
    fn the_limits_of_a_pod_hold_for_containers_without_their_own() {
        let whole = json!({"requests": {"memory": "512Mi"}, "limits": {"cpu": "500m", "memory": "1Gi"}});
        let whole: ResourceRequirements = serde_json::from_value(whole).unwrap();
        let own = json!({"requests": {"memory": "256Mi"}, "limits": {"memory": "256Mi"}});
        let pod = json!({"metadata": {"uid": "u"}, "spec": {"resources": whole,
            "containers": [{"name": "a", "resources": own}, {"name": "b"}]}});
        let plan = Plan::new(Arc::new(serde_json::from_value(pod).unwrap()));
        let limits = |name: &str| {
            let unit = plan.unit(name).unwrap();
            let r = container(&plan, unit, &of(unit), Some(&whole), 1 << 30);
            (r.cpu_quota, r.memory_limit, r.oom_score_adj)
        };
        // What the pod requests beyond its containers, 256 MiB, is shared by two.
        assert_eq!(limits("a"), (Some(50_000), Some(256 << 20), Some(625)));
        assert_eq!(limits("b"), (Some(50_000), Some(1 << 30), Some(875)));
    }
}
