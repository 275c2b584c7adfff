//! What is named after a node: the node itself, its lease, its CSINode, and the slices of its devices.

use super::{Checked, refuse};
use crate::{Operation, Request};
use ironclad_api::object;
use ironclad_json::Value;

/// Labels under `kubernetes.io` and `k8s.io` that a kubelet may set on its node.
const OWN_LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];

/// Refuses what has another name than the node.
pub(super) fn named(request: &Request, node: &str, what: &str) -> Checked {
    // On creation the name may stand in the object alone.
    let own = request.object.as_ref().filter(|_| request.operation == Operation::Create).map(object::name);
    match own.unwrap_or(&request.name) == node {
        true => Ok(()),
        false => refuse(format!("can only access {what} with the same name as the requesting node")),
    }
}

pub(super) fn node(request: &Request, node: &str) -> Checked {
    let object = request.object.as_ref().unwrap_or(&Value::Null);
    let name = if request.name.is_empty() { object::name(object) } else { &request.name };
    if name != node {
        return refuse(format!("node {node:?} is not allowed to modify node {name:?}"));
    }
    let source = |o: &Value| o["spec"]["configSource"].clone();
    match request.operation {
        Operation::Create => {
            if !source(object).is_null() {
                return refuse(format!("node {node:?} is not allowed to create pods with a non-nil configSource"));
            }
            match labels(&Value::Null, object) {
                Some(wrong) => refuse(format!("node {node:?} is not allowed to set the following labels: {wrong}")),
                None => Ok(()),
            }
        }
        Operation::Update => {
            let old = request.old.as_deref().unwrap_or(&Value::Null);
            let list = |o: &Value, path: [&str; 2]| o[path[0]][path[1]].as_array().cloned().unwrap_or_default();
            let changed = |path: [&str; 2]| list(old, path) != list(object, path);
            if !source(object).is_null() && source(object) != source(old) {
                return refuse(format!(
                    "node {node:?} is not allowed to update configSource to a new non-nil configSource"
                ));
            }
            if changed(["spec", "taints"]) {
                return refuse(format!("node {node:?} is not allowed to modify taints"));
            }
            if changed(["metadata", "ownerReferences"]) {
                return refuse(format!("node {node:?} is not allowed to modify ownerReferences"));
            }
            match labels(old, object) {
                Some(wrong) => refuse(format!("is not allowed to modify labels: {wrong}")),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

fn restricted(label: &str) -> bool {
    let prefix = label.split_once('/').map_or("", |(p, _)| p);
    let below = |domain: &str| prefix == domain || prefix.ends_with(&format!(".{domain}"));
    if below("node-restriction.kubernetes.io") {
        return true;
    }
    let own = OWN_LABELS.contains(&label) || below("kubelet.kubernetes.io") || below("node.kubernetes.io");
    (below("kubernetes.io") || below("k8s.io")) && !own
}

/// Labels that differ and are not a kubelet's to set.
fn labels(old: &Value, new: &Value) -> Option<String> {
    let of = |o: &Value| o["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    let (old, new) = (of(old), of(new));
    let changed = |l: &&ironclad_json::Text| old.get(l) != new.get(l) && restricted(l);
    let mut wrong: Vec<&str> = old.keys().chain(new.keys()).filter(changed).map(ironclad_json::Text::as_str).collect();
    wrong.sort_unstable();
    wrong.dedup();
    (!wrong.is_empty()).then(|| wrong.join(", "))
}

/// A kubelet publishes only devices of its own node; changes of what is there are the authorizer's to judge.
pub(super) fn slice(request: &Request, node: &str) -> Checked {
    let (verb, object) = match request.operation {
        Operation::Create => ("create", request.object.as_ref()),
        Operation::Delete => ("delete", request.old.as_deref()),
        _ => return Ok(()),
    };
    match object.is_some_and(|o| object::text(o, &["spec", "nodeName"]) == node) {
        true => Ok(()),
        false => refuse(format!("can only {verb} ResourceSlice with the same NodeName as the requesting node")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_steer_workloads_are_not_a_kubelets() {
        for label in [
            "node-restriction.kubernetes.io/x",
            "a.node-restriction.kubernetes.io/x",
            "kubernetes.io/role",
            "x.k8s.io/y",
            "node-role.kubernetes.io/control-plane",
        ] {
            assert!(restricted(label), "{label}");
        }
        for label in [
            "kubernetes.io/hostname",
            "topology.kubernetes.io/zone",
            "kubelet.kubernetes.io/x",
            "a.node.kubernetes.io/x",
            "example.com/x",
            "plain",
        ] {
            assert!(!restricted(label), "{label}");
        }
    }
}
