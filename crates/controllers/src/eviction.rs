//! Taint-based eviction: a pod leaves a node with a `NoExecute` taint that it does not tolerate, or no longer tolerates.
//!
//! When a pod must go is a pure function of the node's taints and the pod's tolerations; a timer wakes the pod's key then.

use crate::{Context, is_missing};
use ironclad_client::events::EventType;
use ironclad_client::{Change, ObjectKey, WorkQueue};
use ironclad_json::json;
use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What is to be done about a pod.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Stays,
    /// Seconds that are left; 0 to go at once.
    GoesIn(i64),
}

pub(crate) async fn run(context: Context, token: CancellationToken) {
    let queue: Arc<WorkQueue<ObjectKey>> = WorkQueue::new();
    let (nodes, pods) = (context.informers.get::<Node>(), context.informers.get::<Pod>());
    pods.add_index("node", |p: &Pod| p.spec.iter().filter_map(|s| s.node_name.clone()).collect());
    let add = queue.clone();
    pods.on_change(move |change| {
        let placed = |p: &Pod| p.spec.as_ref().and_then(|s| s.node_name.clone());
        let moved = match change {
            Change::Modified { old, new } => {
                placed(old) != placed(new)
                    || tolerations(old).ne(tolerations(new))
                    || new.metadata.uid != old.metadata.uid
            }
            Change::Added(pod) => placed(pod).is_some(),
            Change::Deleted(_) => true,
        };
        if moved {
            add.add(ObjectKey::of(&**change.object()));
        }
    });
    let (add, known) = (queue.clone(), pods.clone());
    nodes.on_change(move |change| {
        let changed = match change {
            Change::Modified { old, new } => no_execute(old) != no_execute(new),
            Change::Added(node) => !no_execute(node).is_empty(),
            Change::Deleted(_) => false,
        };
        if changed {
            let name = change.object().metadata.name.clone().unwrap_or_default();
            known.by_index("node", &name).iter().for_each(|p| add.add(ObjectKey::of(&**p)));
        }
    });
    nodes.synced().await;
    pods.synced().await;
    let recorder = context.recorder("taint-eviction-controller");
    let waiting: Arc<Mutex<HashMap<ObjectKey, Timestamp>>> = Arc::default();
    let work = move |key: ObjectKey| {
        let (context, nodes, pods) = (context.clone(), nodes.clone(), pods.clone());
        let (recorder, waiting) = (recorder.clone(), waiting.clone());
        async move {
            let live = pods.get_key(&key).filter(|p| p.metadata.deletion_timestamp.is_none());
            let node = live.as_ref().and_then(|p| nodes.get("", p.spec.as_ref()?.node_name.as_deref()?));
            let (Some(pod), Some(node)) = (live, node) else {
                waiting.lock().remove(&key);
                return Ok(None);
            };
            let taints = no_execute(&node);
            let now = Timestamp::now();
            // A taint without a time counts from when it was first seen.
            let seen = *waiting.lock().entry(key.clone()).or_insert(now);
            let given: Vec<Toleration> = tolerations(&pod).cloned().collect();
            match verdict(&taints, &given, seen, now) {
                Verdict::Stays => {
                    waiting.lock().remove(&key);
                    Ok(None)
                }
                Verdict::GoesIn(seconds) if seconds > 0 => Ok(Some(Duration::from_secs(seconds as u64))),
                Verdict::GoesIn(_) => {
                    let message = format!("Marking for deletion Pod {}/{}", key.namespace, key.name);
                    recorder.event(&*pod, EventType::Normal, "TaintManagerEviction", message);
                    evict(&context, &pod).await?;
                    waiting.lock().remove(&key);
                    Ok::<_, kube::Error>(None)
                }
            }
        }
    };
    queue.run("taint-eviction", 8, token, work).await;
}

fn tolerations(pod: &Pod) -> impl Iterator<Item = &Toleration> {
    pod.spec.iter().flat_map(|s| s.tolerations.iter().flatten())
}

fn no_execute(node: &Node) -> Vec<Taint> {
    let all = node.spec.iter().flat_map(|s| s.taints.iter().flatten());
    all.filter(|t| t.effect == "NoExecute").cloned().collect()
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let empty = |s: &Option<String>| s.as_deref().unwrap_or_default().is_empty();
    (empty(&toleration.effect) || toleration.effect.as_deref() == Some(&taint.effect))
        && (empty(&toleration.key) || toleration.key.as_deref() == Some(&taint.key))
        && match toleration.operator.as_deref().unwrap_or_default() {
            "Exists" => true,
            "" | "Equal" => {
                !empty(&toleration.key)
                    && toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default()
            }
            _ => false,
        }
}

/// Whether and when a pod must leave a node with these taints. `seen` stands for the time of a taint without one.
fn verdict(taints: &[Taint], tolerations: &[Toleration], seen: Timestamp, now: Timestamp) -> Verdict {
    let mut left: Option<i64> = None;
    for taint in taints {
        let fitting: Vec<&Toleration> = tolerations.iter().filter(|t| tolerates(t, taint)).collect();
        if fitting.is_empty() {
            return Verdict::GoesIn(0);
        }
        // The shortest toleration counts; one without seconds does not end.
        let Some(seconds) = fitting.iter().filter_map(|t| t.toleration_seconds).min() else { continue };
        let since = taint.time_added.as_ref().map_or(seen, |t| t.0);
        let rest = (since.as_second() + seconds.max(0) - now.as_second()).max(0);
        left = Some(left.map_or(rest, |l| l.min(rest)));
    }
    left.map_or(Verdict::Stays, Verdict::GoesIn)
}

async fn evict(context: &Context, pod: &Pod) -> Result<(), kube::Error> {
    let meta = &pod.metadata;
    let name = meta.name.as_deref().unwrap_or_default();
    let api: Api<Pod> = Api::namespaced(context.client.clone(), meta.namespace.as_deref().unwrap_or_default());
    let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
        "message": "Taint manager: deleting due to NoExecute taint", "lastTransitionTime": ironclad_api::time::now()});
    let patch = json!({"metadata": {"uid": meta.uid}, "status": {"conditions": [condition]}});
    match api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await {
        Err(error) if is_missing(&error) => return Ok(()),
        other => other.map(drop)?,
    }
    let preconditions = Preconditions { uid: meta.uid.clone(), resource_version: None };
    match api.delete(name, &DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() }).await {
        Err(error) if !is_missing(&error) => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str, added: Option<i64>) -> Taint {
        let time_added =
            added.map(|s| k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::from_second(s).unwrap()));
        Taint { key: key.into(), effect: "NoExecute".into(), value: None, time_added }
    }

    fn toleration(key: &str, seconds: Option<i64>) -> Toleration {
        let operator = Some("Exists".to_owned());
        Toleration { key: Some(key.into()), operator, toleration_seconds: seconds, ..Toleration::default() }
    }

    #[test]
    fn a_pod_goes_when_its_shortest_toleration_ends() {
        let at = |s| Timestamp::from_second(s).unwrap();
        let cases = [
            (vec![], vec![], Verdict::Stays),
            (vec![taint("a", Some(100))], vec![], Verdict::GoesIn(0)),
            (vec![taint("a", Some(100))], vec![toleration("b", None)], Verdict::GoesIn(0)),
            (vec![taint("a", Some(100))], vec![toleration("a", None)], Verdict::Stays),
            (vec![taint("a", Some(100))], vec![toleration("a", Some(300))], Verdict::GoesIn(290)),
            (vec![taint("a", Some(100))], vec![toleration("a", Some(5))], Verdict::GoesIn(0)),
            (vec![taint("a", None)], vec![toleration("a", Some(60))], Verdict::GoesIn(55)),
            (
                vec![taint("a", Some(100)), taint("b", Some(100))],
                vec![toleration("a", Some(300)), toleration("b", Some(30))],
                Verdict::GoesIn(20),
            ),
            (vec![taint("a", Some(100))], vec![toleration("", None)], Verdict::Stays),
        ];
        for (taints, tolerations, want) in cases {
            assert_eq!(verdict(&taints, &tolerations, at(105), at(110)), want, "{taints:?} {tolerations:?}");
        }
    }
}
