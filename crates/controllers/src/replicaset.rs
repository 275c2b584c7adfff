//! ReplicaSets: as many pods as are wanted, no more and no less.

use crate::{Context, controller_of, is_conflict, is_missing, own};
use ironclad_api::selector::LabelSelector;
use ironclad_client::events::{EventType, Recorder};
use ironclad_client::{Change, ObjectKey, WorkQueue};
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use parking_lot::Mutex;
use serde_json::json;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Pods that are made or deleted in one round.
const BURST: usize = 500;
/// The index of pods that nobody controls, by their namespace.
const FREE: &str = "free";
/// After so long what was expected is no longer waited for.
const EXPECTED: Duration = Duration::from_mins(5);

/// What a ReplicaSet has done and not seen yet in the cache: without it pods would be made twice.
#[derive(Default)]
struct Expected {
    created: HashSet<String>,
    deleted: HashSet<String>,
    since: Option<Instant>,
}

type Expectations = Arc<Mutex<HashMap<ObjectKey, Expected>>>;

pub(crate) async fn run(context: Context, token: CancellationToken) {
    let queue: Arc<WorkQueue<ObjectKey>> = WorkQueue::new();
    let (sets, pods) = (context.informers.get::<ReplicaSet>(), context.informers.get::<Pod>());
    pods.add_index("controller", |p: &Pod| controller_of(&p.metadata).map(|o| o.uid.clone()).into_iter().collect());
    pods.add_index(FREE, |p: &Pod| match controller_of(&p.metadata) {
        Some(_) => Vec::new(),
        None => p.metadata.namespace.clone().into_iter().collect(),
    });
    let expectations = Expectations::default();
    let add = queue.clone();
    sets.on_change(move |c| add.add(ObjectKey::of(&**c.object())));
    let (add, seen, known) = (queue.clone(), expectations.clone(), sets.clone());
    pods.on_change(move |change| {
        let pod = change.object();
        // A pod that changed hands concerns the one that had it as well.
        if let Change::Modified { old, .. } = change
            && let Some(owner) = controller_of(&old.metadata).filter(|o| o.kind == "ReplicaSet")
        {
            add.add(ObjectKey::new(old.metadata.namespace.as_deref().unwrap_or_default(), &owner.name));
        }
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        match controller_of(&pod.metadata).filter(|o| o.kind == "ReplicaSet") {
            Some(owner) => {
                let key = ObjectKey::new(&namespace, &owner.name);
                observe(&seen, &key, change);
                add.add(key);
            }
            // A pod without a controller may be one that a set can adopt.
            None if controller_of(&pod.metadata).is_none() => {
                known
                    .list_namespace(&namespace)
                    .iter()
                    .filter(|s| selects(s, pod))
                    .for_each(|s| add.add(ObjectKey::of(&**s)));
            }
            None => {}
        }
    });
    sets.synced().await;
    pods.synced().await;
    let recorder = context.recorder("replicaset-controller");
    let work = move |key: ObjectKey| {
        let (context, sets, pods) = (context.clone(), sets.clone(), pods.clone());
        let (expectations, recorder) = (expectations.clone(), recorder.clone());
        async move {
            let Some(set) = sets.get_key(&key) else {
                expectations.lock().remove(&key);
                return Ok(None);
            };
            let uid = set.metadata.uid.clone().unwrap_or_default();
            let mut owned = release(&context, &set, pods.by_index("controller", &uid)).await?;
            owned.extend(adopt(&context, &set, &pods.by_index(FREE, &key.namespace)).await?);
            let terminating = owned.iter().filter(|p| is_terminating(p)).count() as i32;
            owned.retain(|p| is_active(p));
            let settled = settled(&expectations, &key);
            let mut failure = None;
            if settled && set.metadata.deletion_timestamp.is_none() {
                failure = manage(&context, &set, &owned, &expectations, &recorder).await.err();
            }
            let again = report(&context, &set, &owned, terminating, failure.as_ref()).await?;
            failure.map_or(Ok(again), Err)
        }
    };
    queue.run("replicaset", 5, token, work).await;
}

fn observe(expectations: &Expectations, key: &ObjectKey, change: &Change<Pod>) {
    let mut all = expectations.lock();
    let Some(expected) = all.get_mut(key) else { return };
    let (name, uid) = (&change.object().metadata.name, &change.object().metadata.uid);
    match change {
        Change::Added(_) => drop(expected.created.remove(name.as_deref().unwrap_or_default())),
        Change::Deleted(_) => drop(expected.deleted.remove(uid.as_deref().unwrap_or_default())),
        Change::Modified { new, .. } if new.metadata.deletion_timestamp.is_some() => {
            expected.deleted.remove(uid.as_deref().unwrap_or_default());
        }
        Change::Modified { .. } => {}
    }
}

/// Whether the cache shows everything that was done before.
fn settled(expectations: &Expectations, key: &ObjectKey) -> bool {
    let all = expectations.lock();
    all.get(key).is_none_or(|e| {
        (e.created.is_empty() && e.deleted.is_empty()) || e.since.is_none_or(|since| since.elapsed() > EXPECTED)
    })
}

fn selects(set: &ReplicaSet, pod: &Pod) -> bool {
    LabelSelector::from_meta(Some(&set.spec.selector))
        .is_ok_and(|s| !s.is_everything() && s.matches(&pod.metadata.labels))
}

/// A pod that still counts: it has not ended and is not going away.
pub(crate) fn is_active(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    !matches!(phase, Some("Succeeded" | "Failed")) && pod.metadata.deletion_timestamp.is_none()
}

/// A pod that is going away and has not ended yet.
fn is_terminating(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    !matches!(phase, Some("Succeeded" | "Failed")) && pod.metadata.deletion_timestamp.is_some()
}

/// Lets go of pods that the selector no longer matches; returns those that stay.
async fn release(context: &Context, set: &ReplicaSet, pods: Vec<Arc<Pod>>) -> Result<Vec<Arc<Pod>>, kube::Error> {
    let (stay, leave): (Vec<_>, Vec<_>) = pods.into_iter().partition(|p| selects(set, p));
    // A set that goes away leaves its pods to the garbage collector.
    if set.metadata.deletion_timestamp.is_some() {
        return Ok(stay);
    }
    for pod in leave.iter().filter(|p| p.metadata.deletion_timestamp.is_none()) {
        let meta = &pod.metadata;
        let api: Api<Pod> = Api::namespaced(context.client.clone(), meta.namespace.as_deref().unwrap_or_default());
        let mine = json!([{"$patch": "delete", "uid": set.metadata.uid}]);
        let patch = json!({"metadata": {"uid": meta.uid, "ownerReferences": mine}});
        let name = meta.name.as_deref().unwrap_or_default();
        match api.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await {
            Err(error) if !is_missing(&error) && !is_conflict(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(stay)
}

/// Takes pods without a controller that the selector matches.
async fn adopt(context: &Context, set: &ReplicaSet, pods: &[Arc<Pod>]) -> Result<Vec<Arc<Pod>>, kube::Error> {
    if set.metadata.deletion_timestamp.is_some() {
        return Ok(Vec::new());
    }
    let mut adopted = Vec::new();
    let free = |p: &&Arc<Pod>| controller_of(&p.metadata).is_none() && is_active(p) && selects(set, p);
    for pod in pods.iter().filter(free) {
        let meta = &pod.metadata;
        let api: Api<Pod> = Api::namespaced(context.client.clone(), meta.namespace.as_deref().unwrap_or_default());
        let patch = json!({"metadata": {"uid": meta.uid, "ownerReferences": [own(set)]}});
        match api
            .patch(meta.name.as_deref().unwrap_or_default(), &PatchParams::default(), &Patch::Strategic(patch))
            .await
        {
            Ok(_) => adopted.push(pod.clone()),
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(adopted)
}

async fn manage(
    context: &Context,
    set: &ReplicaSet,
    pods: &[Arc<Pod>],
    expectations: &Expectations,
    recorder: &Recorder,
) -> Result<(), kube::Error> {
    let wanted = set.spec.replicas.unwrap_or(1).max(0) as usize;
    let key = ObjectKey::of(set);
    if pods.len() < wanted {
        let missing = (wanted - pods.len()).min(BURST);
        return create(context, set, missing, &key, expectations, recorder).await;
    }
    let extra = (pods.len() - wanted).min(BURST);
    let mut ranked = pods.to_vec();
    ranked.sort_by_cached_key(|p| rank(p, pods));
    ranked.truncate(extra);
    let gone = ranked.iter().map(|pod| delete(context, set, pod, &key, expectations, recorder));
    futures::future::join_all(gone).await.into_iter().collect()
}

/// Makes pods in batches that grow: one, two, four ... so that a mistake shows before it is made a hundred times.
async fn create(
    context: &Context,
    set: &ReplicaSet,
    count: usize,
    key: &ObjectKey,
    expectations: &Expectations,
    recorder: &Recorder,
) -> Result<(), kube::Error> {
    let mut left = count;
    let mut batch = 1;
    while left > 0 {
        let now = batch.min(left);
        let made =
            futures::future::join_all((0..now).map(|_| create_one(context, set, key, expectations, recorder))).await;
        for one in made {
            one?;
        }
        left -= now;
        batch *= 2;
    }
    Ok(())
}

async fn create_one(
    context: &Context,
    set: &ReplicaSet,
    key: &ObjectKey,
    expectations: &Expectations,
    recorder: &Recorder,
) -> Result<(), kube::Error> {
    let api: Api<Pod> = Api::namespaced(context.client.clone(), &key.namespace);
    let template = set.spec.template.clone().unwrap_or_default();
    // The name is chosen here, so that it is known before the cache can show it.
    let name = ironclad_api::names::generate(&format!("{}-", key.name));
    let pod = pod_of(&template, set, &name);
    {
        let mut all = expectations.lock();
        let expected = all.entry(key.clone()).or_default();
        expected.created.insert(name.clone());
        expected.since = Some(Instant::now());
    }
    match api.create(&PostParams::default(), &pod).await {
        Ok(_) => {
            recorder.event(set, EventType::Normal, "SuccessfulCreate", format!("Created pod: {name}"));
            Ok(())
        }
        Err(error) => {
            if let Some(expected) = expectations.lock().get_mut(key) {
                expected.created.remove(&name);
            }
            recorder.event(set, EventType::Warning, "FailedCreate", format!("Error creating: {}", message(&error)));
            Err(error)
        }
    }
}

fn message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

fn pod_of(template: &PodTemplateSpec, set: &ReplicaSet, name: &str) -> Pod {
    let given = template.metadata.clone().unwrap_or_default();
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        generate_name: Some(format!("{}-", set.metadata.name.clone().unwrap_or_default())),
        labels: given.labels,
        annotations: given.annotations,
        finalizers: given.finalizers,
        owner_references: Some(vec![own(set)]),
        ..ObjectMeta::default()
    };
    Pod { metadata, spec: template.spec.clone(), status: None }
}

async fn delete(
    context: &Context,
    set: &ReplicaSet,
    pod: &Pod,
    key: &ObjectKey,
    expectations: &Expectations,
    recorder: &Recorder,
) -> Result<(), kube::Error> {
    let api: Api<Pod> = Api::namespaced(context.client.clone(), &key.namespace);
    let (name, uid) = (pod.metadata.name.clone().unwrap_or_default(), pod.metadata.uid.clone().unwrap_or_default());
    {
        let mut all = expectations.lock();
        let expected = all.entry(key.clone()).or_default();
        expected.deleted.insert(uid.clone());
        expected.since = Some(Instant::now());
    }
    let preconditions = Preconditions { uid: Some(uid.clone()), resource_version: None };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() };
    match api.delete(&name, &params).await {
        Ok(_) => recorder.event(set, EventType::Normal, "SuccessfulDelete", format!("Deleted pod: {name}")),
        Err(error) => {
            if let Some(expected) = expectations.lock().get_mut(key) {
                expected.deleted.remove(&uid);
            }
            if !is_missing(&error) {
                recorder.event(set, EventType::Warning, "FailedDelete", format!("Error deleting: {}", message(&error)));
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Who goes first: unbound before bound, pending before running, not ready before ready, cheap before dear, on a
/// crowded node before on a lonely one, restarted before not, young before old.
fn rank(
    pod: &Pod,
    all: &[Arc<Pod>],
) -> (bool, u8, bool, i64, std::cmp::Reverse<usize>, std::cmp::Reverse<i32>, std::cmp::Reverse<i64>) {
    let node = pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).unwrap_or_default();
    let status = pod.status.as_ref();
    let phase = match status.and_then(|s| s.phase.as_deref()) {
        Some("Pending") => 0,
        Some("Running") => 2,
        _ => 1,
    };
    let cost = pod
        .metadata
        .annotations
        .as_ref()
        .and_then(|a| a.get("controller.kubernetes.io/pod-deletion-cost")?.parse().ok())
        .unwrap_or(0);
    let neighbours = all.iter().filter(|p| p.spec.as_ref().and_then(|s| s.node_name.as_deref()) == Some(node)).count();
    let restarts =
        status.iter().flat_map(|s| s.container_statuses.iter().flatten()).map(|c| c.restart_count).max().unwrap_or(0);
    let born = pod.metadata.creation_timestamp.as_ref().map_or(0, |t| t.0.as_second());
    use std::cmp::Reverse;
    (!node.is_empty(), phase, is_ready(pod).is_some(), cost, Reverse(neighbours), Reverse(restarts), Reverse(born))
}

/// Since when a pod is ready; `None` when it is not.
pub(crate) fn is_ready(pod: &Pod) -> Option<Time> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|c| c.type_ == "Ready" && c.status == "True")?;
    Some(ready.last_transition_time.clone().unwrap_or(Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH)))
}

/// Writes the status where it differs; returns when a pod will have been ready for long enough.
async fn report(
    context: &Context,
    set: &ReplicaSet,
    pods: &[Arc<Pod>],
    terminating: i32,
    failure: Option<&kube::Error>,
) -> Result<Option<Duration>, kube::Error> {
    let min_ready = i64::from(set.spec.min_ready_seconds.unwrap_or(0));
    let now = k8s_openapi::jiff::Timestamp::now().as_second();
    let (mut ready, mut available, mut next) = (0, 0, None);
    for since in pods.iter().filter_map(|p| is_ready(p)) {
        ready += 1;
        let left = since.0.as_second() + min_ready - now;
        if min_ready == 0 || left <= 0 {
            available += 1;
        } else {
            next = Some(next.map_or(left, |n: i64| n.min(left)));
        }
    }
    let template = set.spec.template.as_ref().and_then(|t| t.metadata.as_ref()?.labels.clone()).unwrap_or_default();
    let full =
        |p: &&Arc<Pod>| template.iter().all(|(k, v)| p.metadata.labels.as_ref().and_then(|l| l.get(k)) == Some(v));
    let old = set.status.clone().unwrap_or_default();
    let mut conditions: Vec<ReplicaSetCondition> = old.conditions.clone().unwrap_or_default();
    let had = conditions.iter().any(|c| c.type_.as_deref() == Some("ReplicaFailure"));
    conditions.retain(|c| c.type_.as_deref() != Some("ReplicaFailure") || failure.is_some());
    if let Some(error) = failure.filter(|_| !had) {
        conditions.push(ReplicaSetCondition {
            type_: Some("ReplicaFailure".to_owned()),
            status: Some("True".to_owned()),
            reason: Some(
                if pods.len() < set.spec.replicas.unwrap_or(1) as usize { "FailedCreate" } else { "FailedDelete" }
                    .to_owned(),
            ),
            message: Some(message(error)),
            last_transition_time: Some(Time(k8s_openapi::jiff::Timestamp::now())),
        });
    }
    let status = ReplicaSetStatus {
        replicas: pods.len() as i32,
        fully_labeled_replicas: Some(pods.iter().filter(full).count() as i32),
        ready_replicas: Some(ready),
        available_replicas: Some(available),
        terminating_replicas: Some(terminating),
        observed_generation: set.metadata.generation,
        conditions: (!conditions.is_empty()).then_some(conditions),
    };
    if status != old {
        let name = set.metadata.name.clone().unwrap_or_default();
        let api: Api<ReplicaSet> =
            Api::namespaced(context.client.clone(), set.metadata.namespace.as_deref().unwrap_or_default());
        match api.patch_status(&name, &PatchParams::default(), &Patch::Merge(json!({"status": status}))).await {
            Err(error) if !is_missing(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(next.map(|s| Duration::from_secs(s.max(1) as u64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(node: &str, phase: &str, ready: bool) -> Arc<Pod> {
        let conditions = if ready { json!([{"type": "Ready", "status": "True"}]) } else { json!([]) };
        let value = json!({"metadata": {}, "spec": {"nodeName": node, "containers": []}, "status": {"phase": phase, "conditions": conditions}});
        Arc::new(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn the_least_useful_pods_go_first() {
        let mut pods = [
            pod("a", "Running", true),
            pod("", "Pending", false),
            pod("b", "Running", true),
            pod("b", "Running", true),
            pod("a", "Running", false),
        ];
        let all = pods.to_vec();
        pods.sort_by_cached_key(|p| rank(p, &all));
        let order: Vec<_> =
            pods.iter().map(|p| (p.spec.as_ref().unwrap().node_name.clone().unwrap(), is_ready(p).is_some())).collect();
        assert_eq!(order[0], (String::new(), false));
        assert_eq!(order[1], ("a".into(), false));
    }
}
