//! What discovery says of a group, of a version, of a resource.

use crate::catalog::{Group, Version};
use ironclad_json::{Value, json};
use ironclad_kinds::{Kind, Verb};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// An item of `APIGroupList`.
pub(crate) fn plain(group: &Group) -> Value {
    let name = group.name();
    let version = |v: &Version| json!({"groupVersion": format!("{name}/{}", v.name()), "version": v.name()});
    let all: Vec<Value> = group.versions().iter().map(version).collect();
    json!({"name": name, "versions": all, "preferredVersion": all.first()})
}

/// An item of `APIGroupDiscoveryList`.
pub(crate) fn aggregated(group: &Group) -> Value {
    let version = |v: &Version| {
        let resources: Vec<Value> = v.kinds().iter().map(|k| resource(k)).collect();
        json!({"version": v.name(), "freshness": "Current", "resources": resources})
    };
    let versions: Vec<Value> = group.versions().iter().map(version).collect();
    let mut metadata = json!({"creationTimestamp": null});
    if !group.name().is_empty() {
        metadata["name"] = json!(group.name());
    }
    json!({"metadata": metadata, "versions": versions})
}

/// The `APIResourceList` of a version, whose kinds these are; there is at least one.
pub(crate) fn resources(kinds: &[Arc<Kind>]) -> Value {
    let mut list = Vec::new();
    for kind in kinds {
        list.push(plain_resource(kind));
        for sub in &kind.subresources {
            let mut resource = json!({
                "name": format!("{}/{}", kind.plural, sub.name), "singularName": "", "namespaced": kind.namespaced,
                "kind": sub.kind.as_ref().map_or(&kind.kind, |k| &k.2), "verbs": verbs(sub.verbs),
            });
            if let Some((group, version, _)) = &sub.kind {
                resource["group"] = json!(group);
                resource["version"] = json!(version);
            }
            list.push(resource);
        }
    }
    let name = kinds.first().map(|k| k.api_version()).unwrap_or_default();
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": list})
}

fn plain_resource(kind: &Kind) -> Value {
    let mut resource = json!({
        "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind,
        "verbs": verbs(kind.verbs),
    });
    names(kind, &mut resource);
    if kind.allows(Verb::Get) {
        let hash = Sha256::digest(format!("{}/{}/{}", kind.group, kind.storage_version, kind.kind));
        use base64::Engine;
        resource["storageVersionHash"] = json!(base64::engine::general_purpose::STANDARD.encode(&hash[..8]));
    }
    resource
}

fn resource(kind: &Kind) -> Value {
    let mut resource = json!({
        "resource": kind.plural, "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular, "verbs": verbs(kind.verbs),
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
    });
    names(kind, &mut resource);
    let below = |s: &ironclad_kinds::Subresource| {
        let own = (kind.group.clone(), kind.version.clone(), kind.kind.clone());
        let (group, version, name) = s.kind.clone().unwrap_or(own);
        let answered = json!({"group": group, "version": version, "kind": name});
        json!({"subresource": s.name, "verbs": verbs(s.verbs), "responseKind": answered})
    };
    if !kind.subresources.is_empty() {
        resource["subresources"] = kind.subresources.iter().map(below).collect();
    }
    resource
}

fn names(kind: &Kind, resource: &mut Value) {
    if !kind.short_names.is_empty() {
        resource["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        resource["categories"] = json!(kind.categories);
    }
}

fn verbs(verbs: &[Verb]) -> Value {
    verbs.iter().map(|v| json!(v.as_str())).collect()
}
