//! Claims and volumes that are in use stay: the finalizer that admission gave them goes when nobody uses them any more.

use crate::{Context, is_conflict, is_missing};
use ironclad_client::{Change, ObjectKey, WorkQueue};
use ironclad_json::json;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, Patch, PatchParams};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const CLAIM: &str = "kubernetes.io/pvc-protection";
const VOLUME: &str = "kubernetes.io/pv-protection";
const BY_CLAIM: &str = "claim";

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Claim(ObjectKey),
    Volume(String),
}

pub(crate) async fn run(context: Context, token: CancellationToken) {
    let queue: Arc<WorkQueue<Key>> = WorkQueue::new();
    let informers = &context.informers;
    let (pods, claims) = (informers.get::<Pod>(), informers.get::<PersistentVolumeClaim>());
    let volumes = informers.get::<PersistentVolume>();
    pods.add_index(BY_CLAIM, |pod| used(pod).iter().map(ToString::to_string).collect());
    pods.synced().await;
    let add = queue.clone();
    claims.on_change(move |change| {
        if let Change::Added(claim) | Change::Modified { new: claim, .. } = change
            && step(&claim.metadata, CLAIM) != Step::Nothing
        {
            add.add(Key::Claim(ObjectKey::of(&**claim)));
        }
    });
    let add = queue.clone();
    volumes.on_change(move |change| {
        if let Change::Added(volume) | Change::Modified { new: volume, .. } = change
            && step(&volume.metadata, VOLUME) != Step::Nothing
        {
            add.add(Key::Volume(volume.metadata.name.clone().unwrap_or_default()));
        }
    });
    let (add, known) = (queue.clone(), claims.clone());
    pods.on_change(move |change| {
        let (before, now) = match change {
            Change::Added(_) => return,
            Change::Modified { old, new } => (used(old), used(new)),
            Change::Deleted(pod) => (used(pod), Vec::new()),
        };
        let freed = before.into_iter().filter(|c| !now.contains(c));
        let deleting = |c: &ObjectKey| known.get_key(c).is_some_and(|c| c.metadata.deletion_timestamp.is_some());
        freed.filter(deleting).for_each(|c| add.add(Key::Claim(c)));
    });
    let of_claims = context.of("pvc-protection-controller").client;
    let of_volumes = context.of("pv-protection-controller").client;
    let work = move |key: Key| {
        let (of_claims, of_volumes) = (of_claims.clone(), of_volumes.clone());
        let (pods, claims, volumes) = (pods.clone(), claims.clone(), volumes.clone());
        async move {
            match key {
                Key::Claim(key) => {
                    let Some(claim) = claims.get_key(&key) else { return Ok(None) };
                    let free = pods.by_index(BY_CLAIM, &key.to_string()).is_empty();
                    let api: Api<PersistentVolumeClaim> = Api::namespaced(of_claims, &key.namespace);
                    change(&api, &claim.metadata, CLAIM, free).await
                }
                Key::Volume(name) => {
                    let Some(volume) = volumes.get("", &name) else { return Ok(None) };
                    let phase = volume.status.as_ref().and_then(|s| s.phase.as_deref());
                    let api: Api<PersistentVolume> = Api::all(of_volumes);
                    change(&api, &volume.metadata, VOLUME, phase != Some("Bound")).await
                }
            }
        }
    };
    queue.run("storage-protection", 2, token, work).await;
}

/// The claims that a pod uses: one that has no node yet, or has ended, uses none.
fn used(pod: &Pod) -> Vec<ObjectKey> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    if spec.node_name.as_deref().unwrap_or_default().is_empty() || matches!(phase, Some("Succeeded" | "Failed")) {
        return Vec::new();
    }
    let (namespace, name) = (pod.metadata.namespace.as_deref(), pod.metadata.name.as_deref());
    let claim = |v: &k8s_openapi::api::core::v1::Volume| {
        let named = v.persistent_volume_claim.as_ref().map(|c| c.claim_name.clone());
        named.or_else(|| v.ephemeral.as_ref().map(|_| format!("{}-{}", name.unwrap_or_default(), v.name)))
    };
    let names = spec.volumes.iter().flatten().filter_map(claim);
    names.map(|c| ObjectKey::new(namespace.unwrap_or_default(), &c)).collect()
}

/// What an object's own metadata asks for.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    /// It lacks the finalizer.
    Add,
    /// It goes, and the finalizer with it if nobody uses it.
    Remove,
}

fn step(meta: &ObjectMeta, finalizer: &str) -> Step {
    let has = meta.finalizers.iter().flatten().any(|f| f == finalizer);
    match (meta.deletion_timestamp.is_some(), has) {
        (true, true) => Step::Remove,
        (false, false) => Step::Add,
        _ => Step::Nothing,
    }
}

async fn change<K>(
    api: &Api<K>,
    meta: &ObjectMeta,
    finalizer: &str,
    free: bool,
) -> Result<Option<Duration>, kube::Error>
where
    K: Clone + Debug + DeserializeOwned,
{
    let mut finalizers = meta.finalizers.clone().unwrap_or_default();
    match step(meta, finalizer) {
        Step::Add => finalizers.push(finalizer.to_owned()),
        Step::Remove if free => finalizers.retain(|f| f != finalizer),
        _ => return Ok(None),
    }
    let patch = json!({"metadata": {
        "uid": meta.uid, "resourceVersion": meta.resource_version, "finalizers": finalizers,
    }});
    let name = meta.name.as_deref().unwrap_or_default();
    match api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
        // Who changed it brings it back here.
        Err(error) if is_missing(&error) || is_conflict(&error) => Ok(None),
        other => other.map(|_| None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(node: &str, phase: &str) -> Pod {
        let object = json!({"metadata": {"name": "p", "namespace": "a"}, "status": {"phase": phase}, "spec": {
            "nodeName": node, "containers": [], "volumes": [
                {"name": "one", "persistentVolumeClaim": {"claimName": "c"}},
                {"name": "two", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}, {"name": "e", "emptyDir": {}}]}});
        ironclad_json::from_value(object).unwrap()
    }

    #[test]
    fn only_pods_that_can_run_use_claims() {
        assert_eq!(used(&pod("n", "Running")), [ObjectKey::new("a", "c"), ObjectKey::new("a", "p-two")]);
        assert!(used(&pod("", "Pending")).is_empty());
        assert!(used(&pod("n", "Succeeded")).is_empty());
    }

    #[test]
    fn the_finalizer_comes_and_goes_with_the_object() {
        let meta = |deleting: bool, has: bool| -> ObjectMeta {
            let mut meta = json!({"finalizers": if has { vec![CLAIM] } else { vec![] }});
            if deleting {
                meta["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }
            ironclad_json::from_value(meta).unwrap()
        };
        assert_eq!(step(&meta(false, false), CLAIM), Step::Add);
        assert_eq!(step(&meta(false, true), CLAIM), Step::Nothing);
        assert_eq!(step(&meta(true, true), CLAIM), Step::Remove);
        assert_eq!(step(&meta(true, false), CLAIM), Step::Nothing);
    }
}
