//! Limits of local storage: of volumes, containers and pods.

use crate::gc::disk_usage;
use crate::pod::{Plan, Role};
use crate::stats;
use crate::worker::Shared;
use ironclad_api::pod_resources;
use ironclad_api::quantity::Quantity;
use std::path::Path;

const STORAGE: &str = "ephemeral-storage";

fn bytes(q: Quantity) -> u64 {
    q.value().max(0) as u64
}

/// Evicts pods that hold more than they may.
pub(super) async fn enforce(shared: &Shared) {
    let plans: Vec<_> = shared.table.pods().into_iter().map(Plan::new).filter(|p| is_limited(p)).collect();
    if plans.is_empty() {
        return;
    }
    let stats = stats::collect(shared, true).await;
    for plan in plans.iter().filter(|p| p.ended_phase().is_none() && !p.deleted()) {
        let dir = shared.config.pod_dir(&plan.uid).join("volumes");
        let logs = shared.config.log_dir(&plan.namespace, &plan.name, &plan.uid);
        let used = stats.pods.iter().find(|s| s.uid == plan.uid);
        let written = |name: &str| {
            let container = used.and_then(|u| u.containers.iter().find(|c| c.name == name));
            container.and_then(|c| c.writable).map_or(0, |w| w.0)
        };
        let layers: Vec<(String, u64)> =
            plan.with(Role::Main).map(|u| (u.name().to_owned(), written(u.name()))).collect();
        let checked = plan.clone();
        let found = tokio::task::spawn_blocking(move || over(&checked, &layers, &dir, &logs)).await;
        if let Ok(Some(message)) = found {
            super::order(shared, &plan.uid, message);
        }
    }
}

fn is_limited(plan: &Plan) -> bool {
    let empty = plan.spec.volumes.iter().flatten().filter_map(|v| v.empty_dir.as_ref());
    let sized = empty.clone().any(|e| e.size_limit.is_some() && e.medium.as_deref() != Some("Memory"));
    sized || pod_resources::limits(&plan.spec).contains_key(STORAGE)
}

/// What is over its limit, as the message says it.
fn over(plan: &Plan, layers: &[(String, u64)], volumes: &Path, logs: &Path) -> Option<String> {
    let mut total = 0;
    for volume in plan.spec.volumes.iter().flatten() {
        let Some(empty) = volume.empty_dir.as_ref().filter(|e| e.medium.as_deref() != Some("Memory")) else { continue };
        let used = disk_usage(&volumes.join(&volume.name)).0;
        total += used;
        let Some(limit) = empty.size_limit.as_ref().and_then(|q| Quantity::try_from(q).ok()) else { continue };
        if !limit.is_zero() && used > bytes(limit) {
            return Some(format!("Usage of EmptyDir volume {:?} exceeds the limit \"{limit}\". ", volume.name));
        }
    }
    for (name, written) in layers {
        let used = written + disk_usage(&logs.join(name)).0;
        total += used;
        let unit = plan.unit(name)?;
        let limits = pod_resources::parse(unit.spec.resources.as_ref().and_then(|r| r.limits.as_ref()));
        if let Some(limit) = limits.get(STORAGE).filter(|l| used > bytes(**l)) {
            return Some(format!("Container {name} exceeded its local ephemeral storage limit \"{limit}\". "));
        }
    }
    let all = |c: &k8s_openapi::api::core::v1::Container| {
        c.resources.as_ref().and_then(|r| r.limits.as_ref()).is_some_and(|l| l.contains_key(STORAGE))
    };
    let limit = pod_resources::limits(&plan.spec).get(STORAGE).copied()?;
    (plan.spec.containers.iter().all(all) && total > bytes(limit))
        .then(|| format!("Pod ephemeral local storage usage exceeds the total limit of containers {limit}. "))
}
