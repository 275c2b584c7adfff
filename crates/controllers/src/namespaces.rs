//! Namespaces that go away: their pods are deleted, then everything else in them, then their finalizer is taken off.

mod conditions;

use crate::Context;
use crate::resources::{Resources, Served};
use conditions::Findings;
use futures::StreamExt;
use ironclad_client::{Change, WorkQueue};
use ironclad_json::json;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How soon a namespace is looked at again of which something could not be deleted.
const AGAIN: Duration = Duration::from_secs(1);
/// How soon one is looked at again of which something is left in a kind that cannot be watched.
const LATER: Duration = Duration::from_secs(15);

pub(crate) async fn run(context: Context, resources: Arc<Resources>, token: CancellationToken) {
    let queue: Arc<WorkQueue<String>> = WorkQueue::new();
    let namespaces = context.informers.get::<Namespace>();
    let (wake, of) = (queue.clone(), namespaces.clone());
    resources.on_served(move |served, metadata| {
        let Some(metadata) = metadata.filter(|_| served.namespaced) else { return };
        let (wake, of) = (wake.clone(), of.clone());
        metadata.on_change(move |change| {
            // What goes may be the last that a namespace waits for.
            let Change::Deleted(object) = change else { return };
            let name = object.metadata.namespace.clone().unwrap_or_default();
            if of.get("", &name).is_some_and(|n| n.metadata.deletion_timestamp.is_some()) {
                wake.add(name);
            }
        });
    });
    let add = queue.clone();
    namespaces.on_change(move |c| {
        // The conditions that are written here bring no news.
        let before = matches!(c, Change::Modified { old, .. } if old.metadata.deletion_timestamp.is_some());
        if !before && !matches!(c, Change::Deleted(_)) && c.object().metadata.deletion_timestamp.is_some() {
            add.add(c.object().metadata.name.clone().unwrap_or_default());
        }
    });
    namespaces.synced().await;
    let vigils = Arc::new(Vigils { queue: queue.clone(), kept: Mutex::default(), token: token.clone() });
    let work = move |name: String| {
        let (context, namespaces, resources) = (context.clone(), namespaces.clone(), resources.clone());
        let vigils = vigils.clone();
        async move {
            match namespaces.get("", &name) {
                Some(namespace) if namespace.metadata.deletion_timestamp.is_some() => {
                    empty(&context, &resources, &vigils, &namespace).await
                }
                _ => Ok(None),
            }
        }
    };
    queue.run("namespace", 4, token, work).await;
}

/// Watches over what is left of kinds that nobody follows, such as Events.
struct Vigils {
    queue: Arc<WorkQueue<String>>,
    /// Namespaces with the kinds that are watched in them.
    kept: Mutex<HashSet<(String, String)>>,
    token: CancellationToken,
}

impl Vigils {
    /// Wakes a namespace when the next object of a kind goes from it.
    fn keep(self: &Arc<Self>, context: &Context, namespace: &str, resource: &ApiResource, version: String) {
        let key = (namespace.to_owned(), format!("{}.{}", resource.plural, resource.group));
        if !self.kept.lock().insert(key.clone()) {
            return;
        }
        let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), namespace, resource);
        let this = self.clone();
        tokio::spawn(async move {
            let gone = async {
                let Ok(events) = api.watch_metadata(&WatchParams::default(), &version).await else {
                    return tokio::time::sleep(AGAIN).await;
                };
                let mut events = std::pin::pin!(events);
                // A watch that ends is as good a reason to look again.
                while let Some(Ok(event)) = events.next().await {
                    if matches!(event, WatchEvent::Deleted(_)) {
                        break;
                    }
                }
            };
            tokio::select! {
                () = gone => {}
                () = this.token.cancelled() => return,
            }
            this.kept.lock().remove(&key);
            this.queue.add(key.0);
        });
    }
}

/// Deletes what is in a namespace; once nothing is left, takes the finalizer off.
async fn empty(
    context: &Context,
    resources: &Resources,
    vigils: &Arc<Vigils>,
    namespace: &Namespace,
) -> Result<Option<Duration>, kube::Error> {
    let name = namespace.metadata.name.clone().unwrap_or_default();
    let finalizers = namespace.spec.as_ref().and_then(|s| s.finalizers.clone()).unwrap_or_default();
    if !finalizers.iter().any(|f| f == "kubernetes") {
        return Ok(None);
    }
    let mut findings = Findings::default();
    let served = resources.in_namespaces();
    // Nothing is known before the first discovery.
    if served.is_empty() {
        return Ok(Some(AGAIN));
    }
    let mut unseen = false;
    for stage in stages(served) {
        unseen |= clear(context, vigils, &name, &stage, &mut findings).await;
        // What could not be looked at may still be there.
        if !findings.is_empty() {
            break;
        }
    }
    report(context, namespace, &findings).await?;
    if !findings.failures.is_empty() {
        return Ok(Some(AGAIN));
    }
    if !findings.is_empty() {
        // The last object that goes wakes it.
        return Ok(unseen.then_some(LATER));
    }
    finalize(context, namespace, finalizers).await.map(|()| None)
}

/// What is deleted one after the other: pods before everything else, so that none runs on without what it was given,
/// such as its network policies.
fn stages(served: Vec<Served>) -> [Vec<Served>; 2] {
    served.into_iter().partition::<Vec<_>, _>(|s| s.api.group.is_empty() && s.api.plural == "pods").into()
}

/// Deletes the objects of some kinds; whether some are left that nothing tells of.
async fn clear(context: &Context, vigils: &Arc<Vigils>, name: &str, kinds: &[Served], findings: &mut Findings) -> bool {
    let mut unseen = false;
    for resource in kinds {
        match sweep(context, name, &resource.api, findings).await {
            // One kind that cannot be emptied does not keep the others.
            Err(error) => findings.failures.push(error.to_string()),
            Ok(Some(version)) if !resource.is_followed() => match resource.watchable {
                true => vigils.keep(context, name, &resource.api, version),
                false => unseen = true,
            },
            Ok(_) => {}
        }
    }
    unseen
}

/// Deletes the objects of one kind and notes what is left of them; the version of that, if there is any.
async fn sweep(
    context: &Context,
    namespace: &str,
    resource: &ApiResource,
    findings: &mut Findings,
) -> Result<Option<String>, kube::Error> {
    let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), namespace, resource);
    if api.list_metadata(&ListParams::default().limit(1)).await?.items.is_empty() {
        return Ok(None);
    }
    api.delete_collection(&DeleteParams::background(), &ListParams::default()).await?;
    let list = api.list_metadata(&ListParams::default()).await?;
    let left = list.items;
    let group = if resource.group.is_empty() { String::new() } else { format!(".{}", resource.group) };
    findings.note(&format!("{}{group}", resource.plural), left.iter().map(|o| &o.metadata));
    Ok(list.metadata.resource_version.filter(|_| !left.is_empty()))
}

async fn report(context: &Context, namespace: &Namespace, findings: &Findings) -> Result<(), kube::Error> {
    let before = namespace.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default();
    let after = conditions::update(&before, findings, k8s_openapi::jiff::Timestamp::now());
    if after == before {
        return Ok(());
    }
    let api: Api<Namespace> = Api::all(context.client.clone());
    let name = namespace.metadata.name.as_deref().unwrap_or_default();
    let patch = json!({"metadata": {"uid": namespace.metadata.uid}, "status": {"conditions": after}});
    match api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await {
        Err(error) if !crate::is_missing(&error) => Err(error),
        _ => Ok(()),
    }
}

async fn finalize(context: &Context, namespace: &Namespace, finalizers: Vec<String>) -> Result<(), kube::Error> {
    let name = namespace.metadata.name.clone().unwrap_or_default();
    let mut done = namespace.clone();
    done.metadata.resource_version = None;
    done.spec.get_or_insert_default().finalizers = Some(finalizers.into_iter().filter(|f| f != "kubernetes").collect());
    let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": done.metadata, "spec": done.spec});
    let api: Api<Namespace> = Api::all(context.client.clone());
    match api.replace_subresource::<ironclad_json::Value>("finalize", &name, &PostParams::default(), &body).await {
        Err(error) if !crate::is_missing(&error) => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_go_before_everything_else() {
        let served = |group: &str, plural: &str| Served {
            api: ApiResource {
                group: group.into(),
                plural: plural.into(),
                version: "v1".into(),
                api_version: "v1".into(),
                kind: String::new(),
            },
            namespaced: true,
            deletable: true,
            watchable: true,
            versions: Vec::new(),
        };
        let all = vec![served("", "configmaps"), served("", "pods"), served("metrics.k8s.io", "pods")];
        let [first, second] = stages(all.clone());
        assert_eq!(first, [all[1].clone()]);
        assert_eq!(second, [all[0].clone(), all[2].clone()]);
    }
}
