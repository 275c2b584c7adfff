//! The status of a set, written where it differs.

use super::is_ready;
use super::pods::message;
use super::set::Replicated;
use crate::{Context, is_missing};
use ironclad_json::json;
use k8s_openapi::api::apps::v1::{ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, Patch, PatchParams};
use std::sync::Arc;
use std::time::Duration;

/// Writes the status where it differs; returns when a pod will have been ready for long enough.
pub(super) async fn report<K: Replicated>(
    context: &Context,
    set: &K,
    pods: &[Arc<Pod>],
    terminating: i32,
    failure: Option<&kube::Error>,
) -> Result<Option<Duration>, kube::Error> {
    let min_ready = i64::from(set.min_ready_seconds());
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
    let template = set.template().and_then(|t| t.metadata.as_ref()?.labels.clone()).unwrap_or_default();
    let full =
        |p: &&Arc<Pod>| template.iter().all(|(k, v)| p.metadata.labels.as_ref().and_then(|l| l.get(k)) == Some(v));
    let old = set.status();
    let mut conditions = old.conditions.clone().unwrap_or_default();
    let had = conditions.iter().any(|c| c.type_.as_deref() == Some("ReplicaFailure"));
    conditions.retain(|c| c.type_.as_deref() != Some("ReplicaFailure") || failure.is_some());
    if let Some(error) = failure.filter(|_| !had) {
        conditions.push(ReplicaSetCondition {
            type_: Some("ReplicaFailure".to_owned()),
            status: Some("True".to_owned()),
            reason: Some(if pods.len() < set.wanted() { "FailedCreate" } else { "FailedDelete" }.to_owned()),
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
        observed_generation: set.meta().generation,
        conditions: (!conditions.is_empty()).then_some(conditions),
    };
    if status != old {
        let mut value = K::status_value(status);
        // A merge keeps what it does not name.
        if value.get("conditions").is_none() {
            value["conditions"] = ironclad_json::Value::Null;
        }
        let name = set.meta().name.clone().unwrap_or_default();
        let api: Api<K> = Api::namespaced(context.client.clone(), set.meta().namespace.as_deref().unwrap_or_default());
        match api.patch_status(&name, &PatchParams::default(), &Patch::Merge(json!({"status": value}))).await {
            Err(error) if !is_missing(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(next.map(|s| Duration::from_secs(s.max(1) as u64)))
}
