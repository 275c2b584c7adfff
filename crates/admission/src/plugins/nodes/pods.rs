//! Pods: a kubelet makes the mirrors of what it runs by itself, tells the status of its pods, evicts and deletes them.

use super::{Checked, MIRROR, NodeRestriction, on, refuse};
use crate::{Operation, Request};
use ironclad_api::object;
use ironclad_json::Value;

impl NodeRestriction {
    pub(super) fn pods(&self, request: &Request, node: &str) -> Checked {
        let object = request.object.as_ref().unwrap_or(&Value::Null);
        match (request.subresource.as_str(), request.operation) {
            ("", Operation::Create) => self.mirror(object, node),
            ("", Operation::Delete) => {
                let pod = match &request.old {
                    Some(pod) => pod.clone(),
                    None => self.find("pods", &request.namespace, &request.name)?,
                };
                match on(&pod, node) {
                    true => Ok(()),
                    false => refuse(format!("node {node:?} can only delete pods with spec.nodeName set to itself")),
                }
            }
            ("", operation) => refuse(format!(
                "unexpected operation {:?}, node {node:?} can only create and delete mirror pods",
                operation.as_str()
            )),
            ("status", Operation::Update) => status(request.old.as_deref().unwrap_or(&Value::Null), object, node),
            ("eviction", Operation::Create) => {
                let name = if request.name.is_empty() { object::name(object) } else { &request.name };
                if name.is_empty() {
                    return refuse("could not determine pod from request data");
                }
                match on(&*self.find("pods", &request.namespace, name)?, node) {
                    true => Ok(()),
                    false => refuse(format!("node {node} can only evict pods with spec.nodeName set to itself")),
                }
            }
            ("status" | "eviction", operation) => refuse(format!("unexpected operation {:?}", operation.as_str())),
            (other, _) => {
                refuse(format!("unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed"))
            }
        }
    }

    /// A mirror belongs to the node and gives it access to nothing.
    fn mirror(&self, pod: &Value, node: &str) -> Checked {
        if pod["metadata"]["annotations"].get(MIRROR).is_none() {
            return refuse(format!(
                "pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"
            ));
        }
        if !on(pod, node) {
            return refuse(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
        }
        let [owner] = pod["metadata"]["ownerReferences"].as_array().map_or(&[][..], Vec::as_slice) else {
            let many = pod["metadata"]["ownerReferences"].as_array().is_some_and(|o| o.len() > 1);
            let which = if many { "a single owner reference" } else { "an owner reference" };
            return refuse(format!("node {node:?} can only create pods with {which} set to itself"));
        };
        if owner["apiVersion"] != "v1" || owner["kind"] != "Node" || owner["name"] != node {
            return refuse(format!("node {node:?} can only create pods with an owner reference set to itself"));
        }
        if owner["controller"] != true {
            return refuse(format!(
                "node {node:?} can only create pods with a controller owner reference set to itself"
            ));
        }
        if owner["blockOwnerDeletion"] == true {
            return refuse(format!("node {node:?} must not set blockOwnerDeletion on an owner reference"));
        }
        let uid = object::text(owner, &["uid"]);
        let known = self.find("nodes", "", node)?;
        if uid != object::uid(&known) {
            return refuse(format!("node {node} UID mismatch: expected {uid} got {}", object::uid(&known)));
        }
        match reference(&pod["spec"]) {
            Some(what) => refuse(format!("node {node:?} can not create pods that reference {what}")),
            None => Ok(()),
        }
    }
}

/// The first sort of other objects that a pod refers to.
fn reference(spec: &Value) -> Option<&'static str> {
    if !object::text(spec, &["serviceAccountName"]).is_empty() {
        return Some("a service account");
    }
    let secrets = ["secretRef", "secretKeyRef", "nodePublishSecretRef", "secret", "azureFile"];
    let parts = ["volumes", "containers", "initContainers", "ephemeralContainers"];
    let holds = |fields: &[&str]| parts.iter().any(|p| has(&spec[*p], fields));
    let pulls = spec["imagePullSecrets"].as_array().is_some_and(|s| !s.is_empty());
    let volumes = spec["volumes"].as_array().map_or(&[][..], Vec::as_slice);
    let sources = || volumes.iter().flat_map(|v| v["projected"]["sources"].as_array().into_iter().flatten());
    if pulls || holds(&secrets) {
        Some("secrets")
    } else if holds(&["configMap", "configMapRef", "configMapKeyRef"]) {
        Some("configmaps")
    } else if sources().any(|s| !s["clusterTrustBundle"].is_null()) {
        Some("clustertrustbundles")
    } else if sources().any(|s| !s["podCertificate"].is_null()) {
        Some("podcertificates")
    } else if let Some(volume) =
        volumes.iter().find(|v| ["persistentVolumeClaim", "ephemeral"].iter().any(|k| !v[*k].is_null()))
    {
        Some(match volume["ephemeral"].is_null() {
            true => "persistentvolumeclaims",
            false => "persistentvolumeclaims (via ephemeral volumes)",
        })
    } else if spec["resourceClaims"].as_array().is_some_and(|c| !c.is_empty()) {
        Some("resourceclaims")
    } else {
        None
    }
}

/// Whether one of these fields stands anywhere in a value.
fn has(value: &Value, fields: &[&str]) -> bool {
    match value {
        Value::Array(items) => items.iter().any(|i| has(i, fields)),
        Value::Object(map) => {
            map.iter().any(|(k, v)| (fields.contains(&k.as_str()) && v.is_object()) || has(v, fields))
        }
        _ => false,
    }
}

fn status(old: &Value, new: &Value, node: &str) -> Checked {
    if !on(old, node) {
        return refuse(format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself"));
    }
    let labels = |o: &Value| o["metadata"]["labels"].as_object().filter(|l| !l.is_empty()).cloned();
    if labels(old) != labels(new) {
        return refuse(format!("node {node:?} cannot update labels through pod status"));
    }
    let claims = |o: &Value| {
        let list = o["status"]["resourceClaimStatuses"].as_array().cloned().unwrap_or_default();
        list.iter().map(|c| (c["name"].clone(), c["resourceClaimName"].clone())).collect::<Vec<_>>()
    };
    if claims(old) != claims(new) {
        return refuse(format!("node {node:?} cannot update resource claim statues"));
    }
    let extended = |o: &Value| o["status"]["extendedResourceClaimStatus"].clone();
    if extended(old) != extended(new) {
        return refuse(format!("node {node:?} cannot update extended resource claim status"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    #[test]
    fn a_mirror_refers_to_nothing() {
        let table = [
            (json!({"serviceAccountName": "a"}), Some("a service account")),
            (json!({"imagePullSecrets": [{"name": "a"}]}), Some("secrets")),
            (json!({"containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "a"}}}]}]}), Some("secrets")),
            (json!({"volumes": [{"projected": {"sources": [{"secret": {"name": "a"}}]}}]}), Some("secrets")),
            (json!({"initContainers": [{"envFrom": [{"configMapRef": {"name": "a"}}]}]}), Some("configmaps")),
            (
                json!({"volumes": [{"projected": {"sources": [{"clusterTrustBundle": {}}]}}]}),
                Some("clustertrustbundles"),
            ),
            (json!({"volumes": [{"persistentVolumeClaim": {}}]}), Some("persistentvolumeclaims")),
            (
                json!({"volumes": [{"ephemeral": {"volumeClaimTemplate": {}}}]}),
                Some("persistentvolumeclaims (via ephemeral volumes)"),
            ),
            (json!({"resourceClaims": [{"name": "a"}]}), Some("resourceclaims")),
            (json!({"containers": [{"env": [{"name": "secret", "value": "x"}]}], "volumes": [{"hostPath": {}}]}), None),
        ];
        for (spec, what) in table {
            assert_eq!(reference(&spec), what, "{spec}");
        }
    }

    #[test]
    fn a_status_changes_no_labels_and_no_claims() {
        let pod = |node: &str, labels: Value, claims: Value| json!({"metadata": {"labels": labels}, "spec": {"nodeName": node}, "status": {"resourceClaimStatuses": claims}});
        let old = pod("n", json!({"a": "b"}), json!([]));
        assert!(status(&old, &old, "n").is_ok());
        assert!(status(&old, &old, "m").is_err());
        assert!(status(&old, &pod("n", json!({}), json!([])), "n").is_err());
        let claimed = pod("n", json!({"a": "b"}), json!([{"name": "x", "resourceClaimName": "gpu"}]));
        assert!(status(&old, &claimed, "n").is_err());
    }
}
