//! Which pods belong to a set: some are let go, some are taken.

use super::is_active;
use super::set::Replicated;
use crate::{Context, controller_of, is_conflict, is_missing, own};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use std::sync::Arc;

/// Lets go of pods that the selector no longer matches; returns those that stay.
pub(super) async fn release<K: Replicated>(
    context: &Context,
    set: &K,
    pods: Vec<Arc<Pod>>,
) -> Result<Vec<Arc<Pod>>, kube::Error> {
    let (stay, leave): (Vec<_>, Vec<_>) = pods.into_iter().partition(|p| set.selects(p));
    // A set that goes away leaves its pods to the garbage collector.
    if set.meta().deletion_timestamp.is_some() {
        return Ok(stay);
    }
    for pod in leave.iter().filter(|p| p.metadata.deletion_timestamp.is_none()) {
        let meta = &pod.metadata;
        let api: Api<Pod> = Api::namespaced(context.client.clone(), meta.namespace.as_deref().unwrap_or_default());
        let mine = json!([{"$patch": "delete", "uid": set.meta().uid}]);
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
pub(super) async fn adopt<K: Replicated>(
    context: &Context,
    set: &K,
    pods: &[Arc<Pod>],
) -> Result<Vec<Arc<Pod>>, kube::Error> {
    if set.meta().deletion_timestamp.is_some() {
        return Ok(Vec::new());
    }
    let mut adopted = Vec::new();
    let free = |p: &&Arc<Pod>| controller_of(&p.metadata).is_none() && is_active(p) && set.selects(p);
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
