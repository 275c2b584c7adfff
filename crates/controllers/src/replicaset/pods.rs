//! Pods made and deleted until there are as many as wanted.

use super::expected::Expectations;
use super::is_ready;
use super::set::Replicated;
use crate::{Context, is_missing, own};
use ironclad_client::ObjectKey;
use ironclad_client::events::{EventType, Recorder};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use std::sync::Arc;
use std::time::Instant;

/// Pods that are made or deleted in one round.
const BURST: usize = 500;

pub(super) async fn manage<K: Replicated>(
    context: &Context,
    set: &K,
    pods: &[Arc<Pod>],
    expectations: &Expectations,
    recorder: &Recorder,
) -> Result<(), kube::Error> {
    let wanted = set.wanted();
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
async fn create<K: Replicated>(
    context: &Context,
    set: &K,
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

async fn create_one<K: Replicated>(
    context: &Context,
    set: &K,
    key: &ObjectKey,
    expectations: &Expectations,
    recorder: &Recorder,
) -> Result<(), kube::Error> {
    let api: Api<Pod> = Api::namespaced(context.client.clone(), &key.namespace);
    let template = set.template().cloned().unwrap_or_default();
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

pub(super) fn message(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

fn pod_of<K: Replicated>(template: &PodTemplateSpec, set: &K, name: &str) -> Pod {
    let given = template.metadata.clone().unwrap_or_default();
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        generate_name: Some(format!("{}-", set.meta().name.clone().unwrap_or_default())),
        labels: given.labels,
        annotations: given.annotations,
        finalizers: given.finalizers,
        owner_references: Some(vec![own(set)]),
        ..ObjectMeta::default()
    };
    Pod { metadata, spec: template.spec.clone(), status: None }
}

async fn delete<K: Replicated>(
    context: &Context,
    set: &K,
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

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    fn pod(node: &str, phase: &str, ready: bool) -> Arc<Pod> {
        let conditions = if ready { json!([{"type": "Ready", "status": "True"}]) } else { json!([]) };
        let value = json!({"metadata": {}, "spec": {"nodeName": node, "containers": []}, "status": {"phase": phase, "conditions": conditions}});
        Arc::new(ironclad_json::from_value(value).unwrap())
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
