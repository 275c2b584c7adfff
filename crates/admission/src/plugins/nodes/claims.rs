//! Claims: a kubelet tells how large a volume has become, and nothing else of it.

use super::{Checked, refuse};
use crate::{Operation, Request};
use ironclad_json::Value;

/// What a kubelet changes in a claim's status.
const OWN: [&str; 4] = ["capacity", "conditions", "allocatedResourceStatuses", "allocatedResources"];

pub(super) fn status(request: &Request, node: &str) -> Checked {
    if request.subresource != "status" {
        return refuse("may only update PVC status");
    }
    if request.operation != Operation::Update {
        return refuse(format!("unexpected operation {:?}", request.operation.as_str()));
    }
    let (old, new) = (request.old.as_deref(), request.object.as_ref());
    if old.map(rest) == new.map(rest) {
        return Ok(());
    }
    refuse(format!("node {node:?} is not allowed to update fields other than status.quantity and status.conditions"))
}

/// Everything of a claim that a kubelet must leave as it is.
fn rest(claim: &Value) -> Value {
    let mut rest = claim.clone();
    if let Some(meta) = rest["metadata"].as_object_mut() {
        meta.remove("resourceVersion");
        meta.remove("managedFields");
    }
    let status = rest.get_mut("status").and_then(Value::as_object_mut);
    let empty = status.is_some_and(|status| {
        OWN.iter().for_each(|field| drop(status.remove(field)));
        status.is_empty()
    });
    if empty && let Some(rest) = rest.as_object_mut() {
        rest.remove("status");
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    #[test]
    fn only_the_size_is_a_kubelets_to_tell() {
        let claim = json!({"metadata": {"name": "c", "resourceVersion": "1"}, "spec": {"volumeName": "v"}, "status": {"phase": "Bound"}});
        let with = |path: &[&str], value: Value| {
            let mut other = claim.clone();
            let last = path.iter().fold(&mut other, |o, key| &mut o[*key]);
            *last = value;
            rest(&other) == rest(&claim)
        };
        assert!(with(&["status", "capacity"], json!({"storage": "2Gi"})));
        assert!(with(&["status", "allocatedResources"], json!({"storage": "2Gi"})));
        assert!(with(&["metadata", "resourceVersion"], json!("2")));
        assert!(!with(&["status", "phase"], json!("Lost")));
        assert!(!with(&["metadata", "labels"], json!({"a": "b"})));
        assert!(!with(&["spec", "volumeName"], json!("w")));
    }
}
