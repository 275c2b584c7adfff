//! A deployment that changes its size while it rolls: the difference is shared out among its sets. Pure.

use super::rollout::{DESIRED, MAX, available, bounds, noted, wanted};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use std::cmp::Reverse;
use std::sync::Arc;

/// Whether a set with pods got its size for another size of the deployment than the present one.
pub(super) fn is_scaling(deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> bool {
    let replicas = deployment.spec.replicas.unwrap_or(1);
    sets.iter().any(|s| wanted(s) > 0 && noted(s, DESIRED).is_some_and(|desired| desired != replicas))
}

/// The sets and their new sizes.
pub(super) fn shared_out(
    deployment: &Deployment,
    new: Option<&Arc<ReplicaSet>>,
    old: &[Arc<ReplicaSet>],
) -> Vec<(Arc<ReplicaSet>, i32)> {
    let replicas = deployment.spec.replicas.unwrap_or(1);
    let active: Vec<Arc<ReplicaSet>> = old.iter().chain(new).filter(|s| wanted(s) > 0).cloned().collect();
    let youngest = || old.iter().chain(new).max_by_key(|s| s.metadata.creation_timestamp.as_ref().map(|t| t.0));
    match active.as_slice() {
        [] => return new.or_else(youngest).map(|s| (s.clone(), replicas)).into_iter().collect(),
        [one] => return vec![(one.clone(), replicas)],
        _ => {}
    }
    let saturated =
        |s: &ReplicaSet| noted(s, DESIRED) == Some(replicas) && wanted(s) == replicas && available(s) == replicas;
    if new.is_some_and(|s| saturated(s)) {
        return old.iter().filter(|s| wanted(s) > 0).map(|s| (s.clone(), 0)).collect();
    }
    if deployment.spec.strategy.as_ref().and_then(|s| s.type_.as_deref()) == Some("Recreate") {
        return Vec::new();
    }
    proportional(deployment, active)
}

/// Each set grows or shrinks by its share; what rounding leaves goes to the largest.
fn proportional(deployment: &Deployment, mut active: Vec<Arc<ReplicaSet>>) -> Vec<(Arc<ReplicaSet>, i32)> {
    let replicas = deployment.spec.replicas.unwrap_or(1);
    let allowed = if replicas > 0 { replicas + bounds(deployment).0 } else { 0 };
    let add = allowed - active.iter().map(|s| wanted(s)).sum::<i32>();
    let born = |s: &ReplicaSet| s.metadata.creation_timestamp.as_ref().map(|t| t.0);
    match add > 0 {
        true => active.sort_by_key(|s| (Reverse(wanted(s)), Reverse(born(s)))),
        false => active.sort_by_key(|s| (Reverse(wanted(s)), born(s))),
    }
    let mut added = 0;
    let mut sizes = Vec::with_capacity(active.len());
    for set in active {
        let left = add - added;
        let share = fraction(deployment, &set);
        let part = if add > 0 { share.min(left) } else { share.max(left) };
        let part = if add == 0 { 0 } else { part };
        added += part;
        let size = wanted(&set) + part;
        sizes.push((set, size));
    }
    if let Some((_, size)) = sizes.first_mut() {
        *size += add - added;
    }
    sizes.iter_mut().for_each(|(_, size)| *size = (*size).max(0));
    sizes
}

/// By how much a set changes when it keeps its share of what the deployment allows.
fn fraction(deployment: &Deployment, set: &ReplicaSet) -> i32 {
    let replicas = deployment.spec.replicas.unwrap_or(1);
    if replicas == 0 {
        return -wanted(set);
    }
    let now = f64::from(replicas + bounds(deployment).0);
    let status = deployment.status.as_ref().and_then(|s| s.replicas).unwrap_or(0);
    let before = noted(set, MAX).filter(|max| *max > 0).unwrap_or(status).max(1);
    (f64::from(wanted(set)) * now / f64::from(before)).round() as i32 - wanted(set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    fn set(name: &str, wanted: i32, desired: i32, max: i32) -> Arc<ReplicaSet> {
        let annotations = json!({DESIRED: desired.to_string(), MAX: max.to_string()});
        let value = json!({"metadata": {"name": name, "annotations": annotations},
            "spec": {"replicas": wanted, "selector": {}}, "status": {"replicas": wanted}});
        Arc::new(ironclad_json::from_value(value).unwrap())
    }

    fn deployment(replicas: i32) -> Deployment {
        let rolling = json!({"maxSurge": 3, "maxUnavailable": 2});
        let spec = json!({"replicas": replicas, "selector": {}, "template": {},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling}});
        ironclad_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap()
    }

    fn sizes(deployment: &Deployment, new: &Arc<ReplicaSet>, old: &[Arc<ReplicaSet>]) -> Vec<(String, i32)> {
        let out = shared_out(deployment, Some(new), old);
        out.into_iter().map(|(s, n)| (s.metadata.name.clone().unwrap(), n)).collect()
    }

    #[test]
    fn each_set_keeps_its_share() {
        let (new, old) = (set("new", 5, 10, 13), set("old", 8, 10, 13));
        assert!(is_scaling(&deployment(30), &[new.clone(), old.clone()]));
        assert_eq!(sizes(&deployment(30), &new, std::slice::from_ref(&old)), [("old".into(), 20), ("new".into(), 13)]);
        assert!(!is_scaling(&deployment(10), &[new.clone(), old.clone()]));
        assert_eq!(sizes(&deployment(0), &new, &[old]), [("old".into(), 0), ("new".into(), 0)]);
    }

    #[test]
    fn one_set_with_pods_takes_it_all() {
        let (new, old) = (set("new", 0, 10, 13), set("old", 8, 10, 13));
        assert_eq!(sizes(&deployment(4), &new, &[old]), [("old".into(), 4)]);
        assert_eq!(sizes(&deployment(4), &new, &[]), [("new".into(), 4)]);
    }
}
