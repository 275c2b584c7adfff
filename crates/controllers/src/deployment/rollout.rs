//! The arithmetic of a rolling update. Pure.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// On a set: how many pods its deployment wanted, and how many it allowed, when the set got its size.
pub(crate) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(crate) const MAX: &str = "deployment.kubernetes.io/max-replicas";

/// A number or a share of `total`.
fn resolve(value: Option<&IntOrString>, total: i32, round_up: bool) -> i32 {
    match value {
        None => 0,
        Some(IntOrString::Int(n)) => *n,
        Some(IntOrString::String(text)) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            let product = percent * i64::from(total);
            (if round_up { (product + 99) / 100 } else { product / 100 }) as i32
        }
    }
}

/// How many pods there may be besides the wanted ones, and how many of those may be away.
pub(crate) fn bounds(deployment: &Deployment) -> (i32, i32) {
    let spec = &deployment.spec;
    let replicas = spec.replicas.unwrap_or(1);
    let strategy = spec.strategy.clone().unwrap_or_default();
    if strategy.type_.as_deref() == Some("Recreate") {
        return (0, replicas);
    }
    let rolling = strategy.rolling_update.unwrap_or_default();
    let surge = resolve(rolling.max_surge.as_ref(), replicas, true);
    let unavailable = resolve(rolling.max_unavailable.as_ref(), replicas, false);
    // Rounding must not leave a rollout that cannot move.
    let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable.min(replicas) };
    (surge, unavailable)
}

/// A number in an annotation.
pub(crate) fn noted(set: &ReplicaSet, annotation: &str) -> Option<i32> {
    set.metadata.annotations.as_ref()?.get(annotation)?.parse().ok()
}

pub(crate) fn wanted(set: &ReplicaSet) -> i32 {
    set.spec.replicas.unwrap_or(0)
}

pub(crate) fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|s| s.available_replicas).unwrap_or(0)
}

/// How large the new set may be now.
pub(crate) fn new_size(deployment: &Deployment, new: &ReplicaSet, total: i32) -> i32 {
    let replicas = deployment.spec.replicas.unwrap_or(1);
    if wanted(new) >= replicas {
        return replicas;
    }
    let (surge, _) = bounds(deployment);
    let room = (replicas + surge - total).max(0);
    wanted(new) + room.min(replicas - wanted(new))
}

/// The sizes of the old sets now, in their order: first what is not available goes, then as much as may be away.
pub(crate) fn old_sizes(deployment: &Deployment, new: &ReplicaSet, old: &[&ReplicaSet]) -> Vec<i32> {
    let replicas = deployment.spec.replicas.unwrap_or(1);
    let (_, unavailable) = bounds(deployment);
    let least = replicas - unavailable;
    let total: i32 = old.iter().map(|s| wanted(s)).sum::<i32>() + wanted(new);
    let new_missing = (wanted(new) - available(new)).max(0);
    let mut budget = (total - least - new_missing).max(0);
    let mut sizes: Vec<i32> = old.iter().map(|s| wanted(s)).collect();
    // Broken pods do not help anybody: they go without counting as unavailable.
    for (size, set) in sizes.iter_mut().zip(old) {
        let broken = (*size - available(set)).max(0).min(budget);
        *size -= broken;
        budget -= broken;
    }
    let still: i32 = old.iter().map(|s| available(s)).sum::<i32>() + available(new);
    let mut may_go = (still - least).max(0).min(budget);
    for size in &mut sizes {
        let gone = (*size).min(may_go);
        *size -= gone;
        may_go -= gone;
    }
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    fn deployment(replicas: i32, surge: &str, unavailable: &str) -> Deployment {
        let rolling = json!({"maxSurge": surge, "maxUnavailable": unavailable});
        let spec = json!({"replicas": replicas, "selector": {}, "template": {}, "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling}});
        ironclad_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap()
    }

    fn set(wanted: i32, available: i32) -> ReplicaSet {
        ironclad_json::from_value(json!({"metadata": {}, "spec": {"replicas": wanted, "selector": {}},
            "status": {"replicas": wanted, "availableReplicas": available}}))
        .unwrap()
    }

    #[test]
    fn shares_round_up_for_surge_and_down_for_absence() {
        assert_eq!(bounds(&deployment(3, "25%", "25%")), (1, 0));
        assert_eq!(bounds(&deployment(10, "25%", "25%")), (3, 2));
        assert_eq!(bounds(&deployment(1, "0%", "0%")), (0, 1));
    }

    #[test]
    fn a_rollout_moves_within_its_bounds_until_it_is_done() {
        let d = deployment(4, "25%", "25%");
        let (mut new, mut old) = (set(0, 0), set(4, 4));
        for _ in 0..20 {
            let total = wanted(&new) + wanted(&old);
            let size = new_size(&d, &new, total);
            assert!(size + wanted(&old) <= 5);
            new = set(size, size);
            let size = old_sizes(&d, &new, &[&old])[0];
            assert!(size + available(&new) >= 3);
            old = set(size, size);
        }
        assert_eq!((wanted(&new), wanted(&old)), (4, 0));
    }

    #[test]
    fn pods_that_never_became_available_go_first() {
        let d = deployment(4, "1", "0");
        let (new, broken, good) = (set(1, 1), set(1, 0), set(4, 4));
        assert_eq!(old_sizes(&d, &new, &[&broken, &good]), [0, 3]);
    }
}
