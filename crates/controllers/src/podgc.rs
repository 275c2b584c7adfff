//! Pods that nobody else removes: those of nodes that are gone, those that were deleted before they got a node, and the
//! oldest of those that ended when there are too many.

use crate::{Context, is_missing};
use ironclad_client::{Change, ObjectKey, WorkQueue};
use ironclad_json::json;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long a node may be missing before its pods go: it may only be registering anew.
const QUARANTINE: Duration = Duration::from_secs(40);
/// How many ended pods are kept.
const THRESHOLD: usize = 12_500;
const ENDED: &str = "ended";

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// Look at one pod.
    Pod(ObjectKey),
    /// Count those that ended.
    Ended,
}

/// Why a pod is removed.
#[derive(Debug, PartialEq, Eq)]
enum Cause {
    NodeGone,
    NeverPlaced,
}

pub(crate) async fn run(context: Context, token: CancellationToken) {
    let queue: Arc<WorkQueue<Key>> = WorkQueue::new();
    let (nodes, pods) = (context.informers.get::<Node>(), context.informers.get::<Pod>());
    pods.add_index("node", |p: &Pod| p.spec.iter().filter_map(|s| s.node_name.clone()).collect());
    pods.add_index(ENDED, |p: &Pod| has_ended(p).then(|| ENDED.to_owned()).into_iter().collect());
    nodes.synced().await;
    let (add, known) = (queue.clone(), nodes.clone());
    pods.on_change(move |change| {
        let pod = change.object();
        if matches!(change, Change::Deleted(_)) {
            return;
        }
        match cause(pod, |node| known.get("", node).is_some()) {
            Some(Cause::NodeGone) => add.add_after(Key::Pod(ObjectKey::of(&**pod)), QUARANTINE),
            Some(Cause::NeverPlaced) => add.add(Key::Pod(ObjectKey::of(&**pod))),
            None => {}
        }
        if has_ended(pod) && !matches!(change, Change::Modified { old, .. } if has_ended(old)) {
            add.add(Key::Ended);
        }
    });
    let (add, known) = (queue.clone(), pods.clone());
    nodes.on_change(move |change| {
        if let Change::Deleted(node) = change {
            let of = known.by_index("node", node.metadata.name.as_deref().unwrap_or_default());
            of.iter().for_each(|p| add.add_after(Key::Pod(ObjectKey::of(&**p)), QUARANTINE));
        }
    });
    pods.synced().await;
    let work = move |key: Key| {
        let (context, nodes, pods) = (context.clone(), nodes.clone(), pods.clone());
        async move {
            match key {
                Key::Pod(key) => {
                    let Some(pod) = pods.get_key(&key) else { return Ok(None) };
                    match cause(&pod, |node| nodes.get("", node).is_some()) {
                        Some(Cause::NodeGone) => orphan(&context, &pod).await?,
                        Some(Cause::NeverPlaced) => remove(&context, &pod).await?,
                        None => {}
                    }
                }
                Key::Ended => {
                    for pod in surplus(pods.by_index(ENDED, ENDED), THRESHOLD) {
                        remove(&context, &pod).await?;
                    }
                }
            }
            Ok::<_, kube::Error>(None)
        }
    };
    queue.run("pod-gc", 4, token, work).await;
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    !matches!(phase, None | Some("Pending" | "Running" | "Unknown"))
}

/// Why a pod must be removed here, if it must.
fn cause(pod: &Pod, node_exists: impl Fn(&str) -> bool) -> Option<Cause> {
    let node = pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).unwrap_or_default();
    if node.is_empty() {
        return pod.metadata.deletion_timestamp.is_some().then_some(Cause::NeverPlaced);
    }
    (!node_exists(node)).then_some(Cause::NodeGone)
}

/// The oldest of the ended pods beyond `keep`.
fn surplus(mut ended: Vec<Arc<Pod>>, keep: usize) -> Vec<Arc<Pod>> {
    let extra = ended.len().saturating_sub(keep);
    ended.sort_by_key(|p| p.metadata.creation_timestamp.as_ref().map(|t| t.0));
    ended.truncate(extra);
    ended
}

/// Removes a pod whose node is gone; the server is asked first whether the node is not there after all.
async fn orphan(context: &Context, pod: &Pod) -> Result<(), kube::Error> {
    let node = pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).unwrap_or_default();
    let nodes: Api<Node> = Api::all(context.client.clone());
    match nodes.get(node).await {
        Err(error) if is_missing(&error) => {}
        other => return other.map(drop),
    }
    if !has_ended(pod) {
        let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC",
            "message": "PodGC: node no longer exists", "lastTransitionTime": ironclad_api::time::now()});
        let status = json!({"phase": "Failed", "conditions": [condition]});
        let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": status});
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        match api(context, pod).patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await {
            Err(error) if is_missing(&error) => return Ok(()),
            other => other.map(drop)?,
        }
    }
    remove(context, pod).await
}

fn api(context: &Context, pod: &Pod) -> Api<Pod> {
    Api::namespaced(context.client.clone(), pod.metadata.namespace.as_deref().unwrap_or_default())
}

async fn remove(context: &Context, pod: &Pod) -> Result<(), kube::Error> {
    let preconditions = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
    let now = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(preconditions),
        ..DeleteParams::background()
    };
    match api(context, pod).delete(pod.metadata.name.as_deref().unwrap_or_default(), &now).await {
        Err(error) if !is_missing(&error) && !crate::is_conflict(&error) => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(node: &str, phase: &str, deleted: bool, born: i64) -> Arc<Pod> {
        let time = |s: i64| k8s_openapi::jiff::Timestamp::from_second(s).unwrap().to_string();
        let mut value = json!({"metadata": {"name": "p", "creationTimestamp": time(born)},
            "spec": {"nodeName": node, "containers": []}, "status": {"phase": phase}});
        if deleted {
            value["metadata"]["deletionTimestamp"] = json!(time(born + 1));
        }
        Arc::new(ironclad_json::from_value(value).unwrap())
    }

    #[test]
    fn only_pods_without_a_keeper_are_removed() {
        let exists = |node: &str| node == "here";
        let cases = [
            (pod("here", "Running", false, 1), None),
            (pod("here", "Running", true, 1), None),
            (pod("gone", "Running", false, 1), Some(Cause::NodeGone)),
            (pod("", "Pending", true, 1), Some(Cause::NeverPlaced)),
            (pod("", "Pending", false, 1), None),
        ];
        for (pod, want) in cases {
            assert_eq!(cause(&pod, exists), want, "{pod:?}");
        }
    }

    #[test]
    fn the_oldest_ended_pods_go_first() {
        let ended =
            vec![pod("n", "Failed", false, 30), pod("n", "Succeeded", false, 10), pod("n", "Failed", false, 20)];
        let born: Vec<_> =
            surplus(ended, 1).iter().map(|p| p.metadata.creation_timestamp.as_ref().unwrap().0.as_second()).collect();
        assert_eq!(born, [10, 20]);
    }
}
