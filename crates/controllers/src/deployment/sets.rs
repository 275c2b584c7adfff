//! The sets of a deployment: found or made for a template, sized, removed with the history.

use super::Round;
use super::rollout::{DESIRED, MAX, bounds, noted, wanted};
use crate::{controller_of, is_conflict, is_missing, own};
use ironclad_client::events::EventType;
use ironclad_json::json;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

const HASH: &str = "pod-template-hash";
const REVISION: &str = "deployment.kubernetes.io/revision";
/// Annotations that stay with their object.
const OWN: [&str; 5] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    "deployment.kubernetes.io/revision-history",
    DESIRED,
    MAX,
];

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
    pub(super) fn newest(&self) -> Option<Arc<ReplicaSet>> {
        let template = bare(&self.deployment.spec.template);
        let same = |s: &&Arc<ReplicaSet>| s.spec.template.as_ref().is_some_and(|t| bare(t) == template);
        self.sets.iter().find(same).cloned()
    }

    /// The set of the present template, made if it is missing, with the next revision.
    pub(super) async fn ensure_new(
        &self,
        found: Option<Arc<ReplicaSet>>,
        size: i32,
    ) -> Result<Arc<ReplicaSet>, kube::Error> {
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
    pub(super) async fn scale(&self, set: &ReplicaSet, size: i32) -> Result<bool, kube::Error> {
        let before = wanted(set);
        // A set of the right size may still tell of another size of the deployment.
        let told = size == 0 || noted(set, DESIRED).is_none_or(|desired| desired == self.replicas());
        if before == size && told {
            return Ok(false);
        }
        let name = set.metadata.name.clone().unwrap_or_default();
        let (surge, _) = bounds(self.deployment);
        let annotations = json!({DESIRED: self.replicas().to_string(), MAX: (self.replicas() + surge).to_string()});
        let patch = json!({"metadata": {"annotations": annotations, "resourceVersion": set.metadata.resource_version}, "spec": {"replicas": size}});
        self.api().patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        if before == size {
            return Ok(false);
        }
        let direction = if size > before { "up" } else { "down" };
        let message = format!("Scaled {direction} replica set {name} from {before} to {size}");
        self.recorder.event(self.deployment, EventType::Normal, "ScalingReplicaSet", message);
        Ok(true)
    }

    /// Removes sets beyond the history that is kept.
    pub(super) async fn clean(&self, old: &mut Vec<Arc<ReplicaSet>>) -> Result<(), kube::Error> {
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
}
