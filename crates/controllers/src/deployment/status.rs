//! The status of a deployment, written where it differs.

use super::Round;
use super::rollout::{available, bounds, wanted};
use crate::is_missing;
use ironclad_json::json;
use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentStatus, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use std::sync::Arc;
use std::time::Duration;

impl Round<'_> {
    pub(super) async fn report(
        &self,
        new: Option<&ReplicaSet>,
        old: &[Arc<ReplicaSet>],
    ) -> Result<Option<Duration>, kube::Error> {
        let before = self.deployment.status.clone().unwrap_or_default();
        let all = || old.iter().map(|s| &**s).chain(new);
        let count = |of: fn(&ReplicaSet) -> i32| all().map(of).sum::<i32>();
        let have = |s: &ReplicaSet| s.status.as_ref().map_or(0, |t| t.replicas);
        let ready = |s: &ReplicaSet| s.status.as_ref().and_then(|t| t.ready_replicas).unwrap_or(0);
        let terminating = |s: &ReplicaSet| s.status.as_ref().and_then(|t| t.terminating_replicas).unwrap_or(0);
        let (total, good) = (count(have), count(available));
        let updated = new.map_or(0, have);
        let positive = |n: i32| (n > 0).then_some(n);
        let mut status = DeploymentStatus {
            observed_generation: self.deployment.metadata.generation,
            replicas: positive(total),
            updated_replicas: positive(updated),
            ready_replicas: positive(count(ready)),
            available_replicas: positive(good),
            terminating_replicas: Some(count(terminating)),
            unavailable_replicas: positive(all().map(wanted).sum::<i32>().max(total) - good),
            ..before.clone()
        };
        let next = self.conditions(&mut status, &before, new, good, updated, total);
        replica_failure(&mut status, new, old);
        if status != before {
            let patch = json!({"status": full(&status)});
            match self.deployments().patch_status(&self.name(), &PatchParams::default(), &Patch::Merge(patch)).await {
                Err(error) if !is_missing(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(next)
    }

    fn conditions(
        &self,
        status: &mut DeploymentStatus,
        before: &DeploymentStatus,
        new: Option<&ReplicaSet>,
        good: i32,
        updated: i32,
        total: i32,
    ) -> Option<Duration> {
        let spec = self.deployment.spec.clone();
        let (_, unavailable) = bounds(self.deployment);
        let enough = good >= self.replicas() - unavailable;
        let (state, reason, message) = match enough {
            true => ("True", "MinimumReplicasAvailable", "Deployment has minimum availability."),
            false => ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability."),
        };
        set(status, "Available", state, reason, message.to_owned(), false);
        let set_name = new.and_then(|n| n.metadata.name.clone())?;
        if spec.paused.unwrap_or(false) {
            set(status, "Progressing", "Unknown", "DeploymentPaused", "Deployment is paused".to_owned(), false);
            return None;
        }
        let complete = updated == self.replicas() && total == self.replicas() && good == self.replicas();
        let moved = |a: Option<i32>, b: Option<i32>| a.unwrap_or(0) > b.unwrap_or(0);
        let progress = moved(status.updated_replicas, before.updated_replicas)
            || moved(status.ready_replicas, before.ready_replicas)
            || moved(status.available_replicas, before.available_replicas)
            || total - updated < before.replicas.unwrap_or(0) - before.updated_replicas.unwrap_or(0);
        let current = before.conditions.iter().flatten().find(|c| c.type_.as_deref() == Some("Progressing")).cloned();
        if complete {
            let message = format!("ReplicaSet \"{set_name}\" has successfully progressed.");
            set(status, "Progressing", "True", "NewReplicaSetAvailable", message, false);
            return None;
        }
        let known = current.as_ref().and_then(|c| c.reason.as_deref());
        if current.is_none() || progress || matches!(known, Some("NewReplicaSetAvailable" | "DeploymentPaused")) {
            let fresh = current.is_none() && self.sets.len() <= 1 && updated == 0;
            let (reason, message) = match fresh {
                true => ("NewReplicaSetCreated", format!("Created new replica set \"{set_name}\"")),
                false => ("ReplicaSetUpdated", format!("ReplicaSet \"{set_name}\" is progressing.")),
            };
            set(status, "Progressing", "True", reason, message, true);
            return Some(Duration::from_secs(spec.progress_deadline_seconds.unwrap_or(600) as u64 + 1));
        }
        let deadline = i64::from(spec.progress_deadline_seconds.unwrap_or(600));
        let since = current.as_ref().and_then(|c| c.last_update_time.as_ref()).map_or(0, |t| t.0.as_second());
        let left = since + deadline - Timestamp::now().as_second();
        if left > 0 {
            return Some(Duration::from_secs(left as u64 + 1));
        }
        let message = format!("ReplicaSet \"{set_name}\" has timed out progressing.");
        set(status, "Progressing", "False", "ProgressDeadlineExceeded", message, false);
        None
    }
}

/// Shows the failure of a ReplicaSet to make its pods, the newest set first, as the deployment's own.
fn replica_failure(status: &mut DeploymentStatus, new: Option<&ReplicaSet>, old: &[Arc<ReplicaSet>]) {
    const KIND: &str = "ReplicaFailure";
    let failed = |s: &ReplicaSet| {
        let list = s.status.as_ref().and_then(|t| t.conditions.as_ref()).into_iter().flatten();
        list.into_iter().find(|c| c.type_.as_deref() == Some(KIND)).cloned()
    };
    match new.and_then(failed).or_else(|| old.iter().find_map(|s| failed(s))) {
        Some(c) => {
            let (reason, message) = (c.reason.unwrap_or_default(), c.message.unwrap_or_default());
            set(status, KIND, &c.status.unwrap_or_default(), &reason, message, false);
        }
        None => status.conditions.get_or_insert_default().retain(|c| c.type_.as_deref() != Some(KIND)),
    }
}

/// The status with zeros where a merge must overwrite what was there.
fn full(status: &DeploymentStatus) -> ironclad_json::Value {
    let mut value = json!(status);
    for field in ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas"] {
        if value.get(field).is_none() {
            value[field] = ironclad_json::Value::Null;
        }
    }
    value
}

/// Sets a condition; its times change only when it does, or when `touch` says that there was progress.
fn set(status: &mut DeploymentStatus, kind: &str, state: &str, reason: &str, message: String, touch: bool) {
    let now = Time(Timestamp::now());
    let list = status.conditions.get_or_insert_default();
    let fresh = DeploymentCondition {
        type_: Some(kind.to_owned()),
        status: Some(state.to_owned()),
        reason: Some(reason.to_owned()),
        message: Some(message.clone()),
        last_transition_time: Some(now.clone()),
        last_update_time: Some(now.clone()),
    };
    match list.iter_mut().find(|c| c.type_.as_deref() == Some(kind)) {
        None => list.push(fresh),
        Some(c)
            if c.status.as_deref() == Some(state)
                && c.reason.as_deref() == Some(reason)
                && c.message.as_ref() == Some(&message) =>
        {
            if touch {
                c.last_update_time = Some(now);
            }
        }
        Some(c) => {
            let same_state = c.status.as_deref() == Some(state);
            let since = c.last_transition_time.clone();
            *c = fresh;
            if same_state {
                c.last_transition_time = since;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_that_cannot_make_pods_shows_on_its_deployment_until_it_can() {
        let failing: ReplicaSet = ironclad_json::from_value(json!({"metadata": {}, "spec": {"selector": {}},
            "status": {"replicas": 0, "conditions": [{"type": "ReplicaFailure", "status": "True",
                "reason": "FailedCreate", "message": "exceeded quota"}]}}))
        .unwrap();
        let mut status = DeploymentStatus::default();
        replica_failure(&mut status, Some(&failing), &[]);
        let shown = status.conditions.as_ref().unwrap();
        assert_eq!(shown[0].reason.as_deref(), Some("FailedCreate"));
        assert_eq!(shown[0].message.as_deref(), Some("exceeded quota"));
        replica_failure(&mut status, Some(&ReplicaSet::default()), &[]);
        assert!(status.conditions.unwrap().is_empty());
    }
}
