//! Which objects a controller owns: those that its selector no longer matches are let go, free ones that it matches
//! are taken.

use crate::{Context, controller_of, is_conflict, is_missing, own};
use ironclad_json::{Value, json};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::{Api, Patch, PatchParams};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::sync::Arc;

/// The index of objects that nobody controls, by their namespace.
pub(crate) const FREE: &str = "free";

/// Where an object stands in the index [`FREE`].
pub(crate) fn free(meta: &ObjectMeta) -> Vec<String> {
    match controller_of(meta) {
        Some(_) => Vec::new(),
        None => meta.namespace.clone().into_iter().collect(),
    }
}

/// An object that can be owned.
pub(crate) trait Dependent:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned
{
}

impl<K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned> Dependent for K {}

/// From what `owner` controls and what nobody controls: what is its own now. An owner that goes away takes nothing and
/// leaves what it has to the garbage collector.
pub(crate) async fn claim<O: Resource<DynamicType = ()>, D: Dependent>(
    context: &Context,
    owner: &O,
    mine: Vec<Arc<D>>,
    free: Vec<Arc<D>>,
    selects: impl Fn(&D) -> bool,
) -> Result<Vec<Arc<D>>, kube::Error> {
    let (mut own_now, leave): (Vec<_>, Vec<_>) = mine.into_iter().partition(|d| selects(d));
    if owner.meta().deletion_timestamp.is_some() {
        return Ok(own_now);
    }
    let uid = &owner.meta().uid;
    for dependent in leave.iter().filter(|d| d.meta().deletion_timestamp.is_none()) {
        let lost = |e: &kube::Error| is_missing(e) || is_conflict(e);
        match patch(context, &**dependent, json!([{"$patch": "delete", "uid": uid}])).await {
            Err(error) if !lost(&error) => return Err(error),
            _ => {}
        }
    }
    for dependent in free.into_iter().filter(|d| controller_of(d.meta()).is_none() && selects(d)) {
        match patch(context, &*dependent, json!([own(owner)])).await {
            Ok(()) => own_now.push(dependent),
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(own_now)
}

async fn patch<D: Dependent>(context: &Context, dependent: &D, owners: Value) -> Result<(), kube::Error> {
    let meta = dependent.meta();
    let api: Api<D> = Api::namespaced(context.client.clone(), meta.namespace.as_deref().unwrap_or_default());
    let patch = json!({"metadata": {"uid": meta.uid, "ownerReferences": owners}});
    let name = meta.name.as_deref().unwrap_or_default();
    api.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await.map(drop)
}
