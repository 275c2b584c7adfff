//! Namespaces that go away: everything in them is deleted, then their finalizer is taken off.

use crate::Context;
use ironclad_client::{Change, WorkQueue};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, ListParams, PostParams};
use kube::discovery::{Discovery, Scope, verbs};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How soon a namespace is looked at again while its content is still going: pods may take their grace.
const AGAIN: Duration = Duration::from_secs(1);

pub(crate) async fn run(context: Context, token: CancellationToken) {
    let queue: Arc<WorkQueue<String>> = WorkQueue::new();
    let namespaces = context.informers.get::<Namespace>();
    let add = queue.clone();
    namespaces.on_change(move |c| {
        if !matches!(c, Change::Deleted(_)) && c.object().metadata.deletion_timestamp.is_some() {
            add.add(c.object().metadata.name.clone().unwrap_or_default());
        }
    });
    namespaces.synced().await;
    let work = move |name: String| {
        let (context, namespaces) = (context.clone(), namespaces.clone());
        async move {
            match namespaces.get("", &name) {
                Some(namespace) if namespace.metadata.deletion_timestamp.is_some() => empty(&context, &namespace).await,
                _ => Ok(None),
            }
        }
    };
    queue.run("namespace", 4, token, work).await;
}

/// Deletes what is in a namespace; once nothing is left, takes the finalizer off.
async fn empty(context: &Context, namespace: &Namespace) -> Result<Option<Duration>, kube::Error> {
    let name = namespace.metadata.name.clone().unwrap_or_default();
    let finalizers = namespace.spec.as_ref().and_then(|s| s.finalizers.clone()).unwrap_or_default();
    if !finalizers.iter().any(|f| f == "kubernetes") {
        return Ok(None);
    }
    let mut left = 0;
    for resource in deletable(context).await? {
        let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), &name, &resource);
        let list = api.list_metadata(&ListParams::default().limit(1)).await?;
        if list.items.is_empty() {
            continue;
        }
        api.delete_collection(&DeleteParams::background(), &ListParams::default()).await?;
        left += api.list_metadata(&ListParams::default().limit(1)).await?.items.len();
    }
    if left > 0 {
        return Ok(Some(AGAIN));
    }
    let keep: Vec<String> = finalizers.into_iter().filter(|f| f != "kubernetes").collect();
    let mut done = namespace.clone();
    done.metadata.resource_version = None;
    done.spec.get_or_insert_default().finalizers = Some(keep);
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": done.metadata, "spec": done.spec});
    let api: Api<Namespace> = Api::all(context.client.clone());
    match api.replace_subresource::<serde_json::Value>("finalize", &name, &PostParams::default(), &body).await {
        Err(error) if !crate::is_missing(&error) => Err(error),
        _ => Ok(None),
    }
}

/// Every kind of object that can be in a namespace and be deleted.
pub(crate) async fn deletable(context: &Context) -> Result<Vec<ApiResource>, kube::Error> {
    let discovery = Discovery::new(context.client.clone()).run_aggregated().await?;
    let mut out = Vec::new();
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            let can = |verb| capabilities.supports_operation(verb);
            let shown_twice = resource.group == "events.k8s.io";
            if capabilities.scope == Scope::Namespaced && can(verbs::LIST) && can(verbs::DELETE) && !shown_twice {
                out.push(resource);
            }
        }
    }
    Ok(out)
}
