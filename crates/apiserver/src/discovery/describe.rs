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
        let mut kinds: Vec<&Arc<Kind>> = v.kinds().iter().collect();
        kinds.sort_by(|a, b| a.plural.cmp(&b.plural));
        let resources: Vec<Value> = kinds.into_iter().map(|k| resource(k)).collect();
        json!({"version": v.name(), "freshness": "Current", "resources": resources})
    };
    let versions: Vec<Value> = group.versions().iter().map(version).collect();
    let mut metadata = json!({});
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
            let other = sub.kind.as_ref().filter(|k| (&k.0, &k.1) != (&kind.group, &kind.version));
            if let Some((group, version, _)) = other {
                resource["group"] = json!(group);
                resource["version"] = json!(version);
            }
            list.push(resource);
        }
    }
    list.sort_by(|a, b| a["name"].as_str().cmp(&b["name"].as_str()));
    let name = kinds.first().map(|k| k.api_version()).unwrap_or_default();
    let mut out = json!({"kind": "APIResourceList", "groupVersion": name, "resources": list});
    // Stock's core group has none.
    if name != "v1" {
        out["apiVersion"] = json!("v1");
    }
    out
}

fn plain_resource(kind: &Kind) -> Value {
    let mut resource = json!({
        "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind,
        "verbs": verbs_of(kind),
    });
    names(kind, &mut resource);
    // What is made when it is asked for is not stored in any version.
    if kind.allows(Verb::Get) && kind.plural != "componentstatuses" {
        let version = match &*kind.plural {
            // Stock says so of them, whatever it stores.
            "customresourcedefinitions" => "v1beta1",
            _ => &kind.storage_version,
        };
        let hash = Sha256::digest(format!("{}/{version}/{}", kind.group, kind.kind));
        use base64::Engine;
        resource["storageVersionHash"] = json!(base64::engine::general_purpose::STANDARD.encode(&hash[..8]));
    }
    resource
}

fn resource(kind: &Kind) -> Value {
    // Stock names the group and the version of its own kinds only where they are others than the document's.
    let own = || match kind.custom.is_some() {
        true => (kind.group.clone(), kind.version.clone()),
        false => (String::new().into(), String::new().into()),
    };
    let (group, version) = own();
    let mut resource = json!({
        "resource": kind.plural, "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular, "verbs": verbs_of(kind),
        "responseKind": {"group": group, "version": version, "kind": kind.kind},
    });
    names(kind, &mut resource);
    let below = |s: &ironclad_kinds::Subresource| {
        let (group, version) = own();
        let own = (group, version, kind.kind.clone());
        let mut answered = s.kind.clone().unwrap_or(own);
        if kind.custom.is_none() && (&answered.0, &answered.1) == (&kind.group, &kind.version) {
            (answered.0, answered.1) = (String::new().into(), String::new().into());
        }
        let (group, version, name) = answered;
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

/// The verbs of a kind, those of custom resources in an order of their own; while the definition goes, nothing is written.
fn verbs_of(kind: &Kind) -> Value {
    match &kind.custom {
        Some(custom) if custom.terminating => json!(["delete", "deletecollection", "get", "list", "watch"]),
        Some(_) => json!(["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"]),
        None => verbs(kind.verbs),
    }
}

fn verbs(verbs: &[Verb]) -> Value {
    verbs.iter().map(|v| json!(v.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_stand_in_the_order_of_their_names_and_name_other_groups_alone() {
        let kind = |name: &str| ironclad_kinds::all().iter().find(|k| k.plural == name).unwrap();
        let answers = |r: &Value| (r["responseKind"]["group"].clone(), r["responseKind"]["version"].clone());
        let sets = resource(kind("statefulsets"));
        assert_eq!(answers(&sets), (json!(""), json!("")));
        let below: Vec<_> = sets["subresources"].as_array().unwrap().iter().map(answers).collect();
        assert_eq!(below, [(json!("autoscaling"), json!("v1")), (json!(""), json!(""))]);
        let list = resources(&[kind("ingresses").clone(), kind("ingressclasses").clone()]);
        let names: Vec<_> = list["resources"].as_array().unwrap().iter().map(|r| r["name"].clone()).collect();
        assert_eq!(names, ["ingressclasses", "ingresses", "ingresses/status"]);
    }
}
