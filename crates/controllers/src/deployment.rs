//! Deployments: one ReplicaSet for each template, the newest grown while the others shrink.

use crate::rollout::{available, bounds, new_size, old_sizes, wanted};
use crate::{Context, controller_of, is_conflict, is_missing, own};
use ironclad_client::events::{EventType, Recorder};
use ironclad_client::{ObjectKey, WorkQueue};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const HASH: &str = "pod-template-hash";
const REVISION: &str = "deployment.kubernetes.io/revision";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";
/// Annotations that stay with their object.
const OWN: [&str; 5] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    "deployment.kubernetes.io/revision-history",
    DESIRED,
    MAX,
];

pub(crate) async fn run(context: Context, token: CancellationToken) {
    let queue: Arc<WorkQueue<ObjectKey>> = WorkQueue::new();
    let deployments = context.informers.get::<Deployment>();
    let (sets, pods) = (context.informers.get::<ReplicaSet>(), context.informers.get::<Pod>());
    sets.add_index("deployment", |s: &ReplicaSet| {
        controller_of(&s.metadata).map(|o| o.uid.clone()).into_iter().collect()
    });
    pods.add_index("controller", |p: &Pod| controller_of(&p.metadata).map(|o| o.uid.clone()).into_iter().collect());
    let add = queue.clone();
    deployments.on_change(move |c| add.add(ObjectKey::of(&**c.object())));
    let add = queue.clone();
    sets.on_change(move |c| {
        let meta = &c.object().metadata;
        if let Some(owner) = controller_of(meta).filter(|o| o.kind == "Deployment") {
            add.add(ObjectKey::new(meta.namespace.as_deref().unwrap_or_default(), &owner.name));
        }
    });
    deployments.synced().await;
    sets.synced().await;
    pods.synced().await;
    let recorder = context.recorder("deployment-controller");
    let work = move |key: ObjectKey| {
        let (context, deployments, sets, pods, recorder) =
            (context.clone(), deployments.clone(), sets.clone(), pods.clone(), recorder.clone());
        async move {
            let Some(deployment) = deployments.get_key(&key) else { return Ok(None) };
            if deployment.metadata.deletion_timestamp.is_some() {
                return Ok(None);
            }
            let uid = deployment.metadata.uid.clone().unwrap_or_default();
            let mut owned = sets.by_index("deployment", &uid);
            owned.sort_by_key(|s| s.metadata.creation_timestamp.as_ref().map(|t| t.0));
            let busy =
                |s: &ReplicaSet| !pods.by_index("controller", s.metadata.uid.as_deref().unwrap_or_default()).is_empty();
            let sync = Round { context: &context, recorder: &recorder, deployment: &deployment, sets: &owned };
            sync.run(&busy).await
        }
    };
    queue.run("deployment", 5, token, work).await;
}

struct Round<'a> {
    context: &'a Context,
    recorder: &'a Recorder,
    deployment: &'a Deployment,
    sets: &'a [Arc<ReplicaSet>],
}

fn revision(meta: &ObjectMeta) -> i64 {
    meta.annotations.as_ref().and_then(|a| a.get(REVISION)?.parse().ok()).unwrap_or(0)
}

/// The template without the label that tells the sets apart.
fn bare(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    if let Some(labels) = template.metadata.as_mut().and_then(|m| m.labels.as_mut()) {
        labels.remove(HASH);
    }
    template
}

fn hash(template: &PodTemplateSpec, collisions: i32) -> String {
    let mut digest = Sha256::new();
    digest.update(serde_json::to_vec(template).unwrap_or_default());
    digest.update(collisions.to_be_bytes());
    let bytes = digest.finalize();
    // The alphabet of safe names, without vowels.
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    bytes.iter().take(10).map(|b| ALPHABET[*b as usize % ALPHABET.len()] as char).collect()
}

impl Round<'_> {
    fn api(&self) -> Api<ReplicaSet> {
        Api::namespaced(self.context.client.clone(), self.deployment.metadata.namespace.as_deref().unwrap_or_default())
    }

    fn replicas(&self) -> i32 {
        self.deployment.spec.replicas.unwrap_or(1)
    }

    fn newest(&self) -> Option<Arc<ReplicaSet>> {
        let template = bare(&self.deployment.spec.template);
        let same = |s: &&Arc<ReplicaSet>| s.spec.template.as_ref().is_some_and(|t| bare(t) == template);
        self.sets.iter().find(same).cloned()
    }

    async fn run(&self, busy: &(dyn Fn(&ReplicaSet) -> bool + Sync)) -> Result<Option<Duration>, kube::Error> {
        let spec = self.deployment.spec.clone();
        let paused = spec.paused.unwrap_or(false);
        let recreate = spec.strategy.as_ref().and_then(|s| s.type_.as_deref()) == Some("Recreate");
        let mut new = self.newest();
        let mut old: Vec<Arc<ReplicaSet>> = self
            .sets
            .iter()
            .filter(|s| new.as_ref().is_none_or(|n| n.metadata.uid != s.metadata.uid))
            .cloned()
            .collect();
        if paused {
            self.scale_all(new.as_ref(), &old).await?;
        } else if recreate {
            let mut waiting = false;
            for set in &old {
                waiting |= busy(set);
                self.scale(set, 0).await?;
            }
            if !waiting {
                let set = self.ensure_new(new.take(), self.replicas()).await?;
                self.scale(&set, self.replicas()).await?;
                new = Some(set);
            }
        } else {
            let total: i32 = old.iter().map(|s| wanted(s)).sum();
            let first = new_size(self.deployment, &ReplicaSet::default(), total);
            let set = self.ensure_new(new.take(), first).await?;
            let size = new_size(self.deployment, &set, total + wanted(&set));
            let grown = self.scale(&set, size).await?;
            if !grown {
                let list: Vec<&ReplicaSet> = old.iter().map(|s| &**s).collect();
                for (old, size) in old.iter().zip(old_sizes(self.deployment, &set, &list)) {
                    self.scale(old, size).await?;
                }
            }
            new = Some(set);
        }
        self.clean(&mut old).await?;
        self.report(new.as_deref(), &old).await
    }

    /// The set of the present template, made if it is missing, with the next revision.
    async fn ensure_new(&self, found: Option<Arc<ReplicaSet>>, size: i32) -> Result<Arc<ReplicaSet>, kube::Error> {
        let newest = self.sets.iter().map(|s| revision(&s.metadata)).max().unwrap_or(0);
        if let Some(set) = found {
            let others = self
                .sets
                .iter()
                .filter(|s| s.metadata.uid != set.metadata.uid)
                .map(|s| revision(&s.metadata))
                .max()
                .unwrap_or(0);
            let number = if revision(&set.metadata) > others { revision(&set.metadata) } else { newest + 1 };
            let annotations = self.annotations(number);
            let has = |k: &String, v: &String| set.metadata.annotations.as_ref().and_then(|a| a.get(k)) == Some(v);
            if !annotations.iter().all(|(k, v)| has(k, v)) {
                let patch = json!({"metadata": {"annotations": annotations}});
                let name = set.metadata.name.clone().unwrap_or_default();
                self.api().patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;
            }
            self.note_revision(number).await?;
            return Ok(set);
        }
        let collisions = self.deployment.status.as_ref().and_then(|s| s.collision_count).unwrap_or(0);
        let set = self.new_set(size, newest + 1, collisions);
        let name = set.metadata.name.clone().unwrap_or_default();
        match self.api().create(&PostParams::default(), &set).await {
            Ok(made) => {
                self.note_revision(newest + 1).await?;
                if size > 0 {
                    let message = format!("Scaled up replica set {name} from 0 to {size}");
                    self.recorder.event(self.deployment, EventType::Normal, "ScalingReplicaSet", message);
                }
                Ok(Arc::new(made))
            }
            Err(error) if is_conflict(&error) => {
                let there = self.api().get(&name).await?;
                let mine = controller_of(&there.metadata).map(|o| Some(o.uid.clone()))
                    == Some(self.deployment.metadata.uid.clone());
                let same = there.spec.template.as_ref().map(bare) == set.spec.template.as_ref().map(bare);
                if mine && same {
                    return Ok(Arc::new(there));
                }
                // Another template has this name: choose another one.
                let patch = json!({"status": {"collisionCount": collisions + 1}});
                self.deployments().patch_status(&self.name(), &PatchParams::default(), &Patch::Merge(patch)).await?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    fn name(&self) -> String {
        self.deployment.metadata.name.clone().unwrap_or_default()
    }

    fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.context.client.clone(), self.deployment.metadata.namespace.as_deref().unwrap_or_default())
    }

    async fn note_revision(&self, number: i64) -> Result<(), kube::Error> {
        if revision(&self.deployment.metadata) == number {
            return Ok(());
        }
        let patch = json!({"metadata": {"annotations": {REVISION: number.to_string()}}});
        self.deployments().patch(&self.name(), &PatchParams::default(), &Patch::Merge(patch)).await.map(drop)
    }

    fn annotations(&self, number: i64) -> BTreeMap<String, String> {
        let given = self.deployment.metadata.annotations.clone().unwrap_or_default();
        let mut out: BTreeMap<String, String> = given.into_iter().filter(|(k, _)| !OWN.contains(&k.as_str())).collect();
        let (surge, _) = bounds(self.deployment);
        out.insert(REVISION.to_owned(), number.to_string());
        out.insert(DESIRED.to_owned(), self.replicas().to_string());
        out.insert(MAX.to_owned(), (self.replicas() + surge).to_string());
        out
    }

    fn new_set(&self, size: i32, number: i64, collisions: i32) -> ReplicaSet {
        let spec = self.deployment.spec.clone();
        let hash = hash(&spec.template, collisions);
        let mut template = spec.template.clone();
        let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
        labels.insert(HASH.to_owned(), hash.clone());
        let mut selector = spec.selector.clone();
        selector.match_labels.get_or_insert_default().insert(HASH.to_owned(), hash.clone());
        let metadata = ObjectMeta {
            name: Some(format!("{}-{hash}", self.name())),
            namespace: self.deployment.metadata.namespace.clone(),
            labels: Some(labels.clone()),
            annotations: Some(self.annotations(number)),
            owner_references: Some(vec![own(self.deployment)]),
            ..ObjectMeta::default()
        };
        let spec = ReplicaSetSpec {
            replicas: Some(size),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        };
        ReplicaSet { metadata, spec, status: None }
    }

    /// Gives a set its size; whether that changed anything.
    async fn scale(&self, set: &ReplicaSet, size: i32) -> Result<bool, kube::Error> {
        let before = wanted(set);
        if before == size {
            return Ok(false);
        }
        let name = set.metadata.name.clone().unwrap_or_default();
        let (surge, _) = bounds(self.deployment);
        let annotations = json!({DESIRED: self.replicas().to_string(), MAX: (self.replicas() + surge).to_string()});
        let patch = json!({"metadata": {"annotations": annotations, "resourceVersion": set.metadata.resource_version}, "spec": {"replicas": size}});
        self.api().patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        let direction = if size > before { "up" } else { "down" };
        let message = format!("Scaled {direction} replica set {name} from {before} to {size}");
        self.recorder.event(self.deployment, EventType::Normal, "ScalingReplicaSet", message);
        Ok(true)
    }

    /// A paused deployment does not roll, but its size still counts: it is shared out among the sets that have pods.
    async fn scale_all(&self, new: Option<&Arc<ReplicaSet>>, old: &[Arc<ReplicaSet>]) -> Result<(), kube::Error> {
        let active: Vec<&Arc<ReplicaSet>> = old.iter().chain(new).filter(|s| wanted(s) > 0).collect();
        let target = match active.as_slice() {
            [] => new,
            [one] => Some(*one),
            many => many.iter().max_by_key(|s| wanted(s)).copied(),
        };
        let total: i32 = active.iter().map(|s| wanted(s)).sum();
        if let Some(set) = target {
            let size = (wanted(set) + self.replicas() - total).max(0);
            self.scale(set, size).await?;
        }
        Ok(())
    }

    /// Removes sets beyond the history that is kept.
    async fn clean(&self, old: &mut Vec<Arc<ReplicaSet>>) -> Result<(), kube::Error> {
        let keep = self.deployment.spec.revision_history_limit.unwrap_or(10).max(0) as usize;
        let idle = |s: &&Arc<ReplicaSet>| {
            wanted(s) == 0
                && s.status.as_ref().is_none_or(|t| t.replicas == 0)
                && s.metadata.deletion_timestamp.is_none()
        };
        let mut idle: Vec<Arc<ReplicaSet>> = old.iter().filter(idle).cloned().collect();
        idle.sort_by_key(|s| revision(&s.metadata));
        let extra = idle.len().saturating_sub(keep);
        for set in idle.into_iter().take(extra) {
            let name = set.metadata.name.clone().unwrap_or_default();
            match self.api().delete(&name, &DeleteParams::background()).await {
                Err(error) if !is_missing(&error) => return Err(error),
                _ => old.retain(|s| s.metadata.uid != set.metadata.uid),
            }
        }
        Ok(())
    }

    async fn report(&self, new: Option<&ReplicaSet>, old: &[Arc<ReplicaSet>]) -> Result<Option<Duration>, kube::Error> {
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
fn full(status: &DeploymentStatus) -> serde_json::Value {
    let mut value = json!(status);
    for field in ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas"] {
        if value.get(field).is_none() {
            value[field] = serde_json::Value::Null;
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
        let failing: ReplicaSet = serde_json::from_value(json!({"metadata": {}, "spec": {"selector": {}},
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
