//! NodeRestriction: a kubelet changes its own node and the pods on it, nothing else. TaintNodesByCondition: a new node
//! takes no pods until it is ready.

use crate::{Operation, Plugin, Request};
use async_trait::async_trait;
use ironclad_api::error::Result;
use ironclad_api::object::entry;
use ironclad_api::source::Source;
use ironclad_api::{ApiError, GroupResource, object};
use serde_json::{Value, json};
use std::sync::Arc;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
/// Labels under `kubernetes.io` and `k8s.io` that a kubelet may set on its node.
const OWN_LABELS: [&str; 12] = [
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
    "node.kubernetes.io/windows-build",
];

pub(super) struct NodeRestriction {
    source: Arc<dyn Source>,
}

impl NodeRestriction {
    pub(super) fn new(source: Arc<dyn Source>) -> Self {
        Self { source }
    }

    fn pods(&self, request: &Request, node: &str) -> std::result::Result<(), String> {
        let object = request.object.as_ref().unwrap_or(&Value::Null);
        let on = |pod: &Value| object::text(pod, &["spec", "nodeName"]) == node;
        match (request.operation, request.subresource.as_str()) {
            (Operation::Create, "") => own_mirror_pod(object, node),
            (Operation::Create, "eviction") => {
                let pod = self.source.get(&GroupResource::new("", "pods"), &request.namespace, &request.name);
                match pod {
                    Some(pod) if !on(&pod) => {
                        Err(format!("node {node:?} can only evict pods with spec.nodeName set to itself"))
                    }
                    _ => Ok(()),
                }
            }
            (Operation::Delete, _) if request.old.as_deref().is_some_and(|pod| !on(pod)) => {
                Err(format!("node {node:?} can only delete pods with spec.nodeName set to itself"))
            }
            (Operation::Update, "status") => {
                let old = request.old.as_deref().unwrap_or(&Value::Null);
                if !on(old) {
                    return Err(format!(
                        "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
                    ));
                }
                if old["metadata"]["labels"] != object["metadata"]["labels"] {
                    return Err(format!("node {node:?} cannot update labels through pod status"));
                }
                Ok(())
            }
            (Operation::Delete | Operation::Connect, _) => Ok(()),
            (operation, sub) => Err(format!("unexpected operation {:?} on pods/{sub}", operation.as_str())),
        }
    }
}

fn own_mirror_pod(pod: &Value, node: &str) -> std::result::Result<(), String> {
    let name = object::name(pod);
    if pod["metadata"]["annotations"].get("kubernetes.io/config.mirror").is_none() {
        return Err(format!(
            "pod does not have \"kubernetes.io/config.mirror\" annotation, node {node:?} can only create mirror pods"
        ));
    }
    if object::text(pod, &["spec", "nodeName"]) != node {
        return Err(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
    }
    let owners = pod["metadata"]["ownerReferences"].as_array().map_or(&[][..], Vec::as_slice);
    let owned = |o: &Value| o["kind"] == "Node" && o["name"] == node && o["controller"] == true;
    if owners.len() > 1 || owners.iter().any(|o| !owned(o)) {
        return Err(format!("node {node:?} can only create pods with an owner reference set to itself"));
    }
    if !object::text(pod, &["spec", "serviceAccountName"]).is_empty() {
        return Err(format!("node {node:?} can not create pods that reference a service account"));
    }
    let referring = ["secret", "configMap", "persistentVolumeClaim", "projected"];
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    if volumes.into_iter().any(|v| referring.iter().any(|r| !v[*r].is_null())) {
        return Err(format!(
            "node {node:?} can not create pod {name:?} that references secrets, configmaps or volume claims"
        ));
    }
    Ok(())
}

fn node(request: &Request, node: &str) -> std::result::Result<(), String> {
    let object = request.object.as_ref().unwrap_or(&Value::Null);
    if request.name != node {
        return Err(format!("node {node:?} is not allowed to modify node {:?}", request.name));
    }
    if request.operation == Operation::Create {
        if !object["spec"]["configSource"].is_null() {
            return Err(format!("node {node:?} is not allowed to create pods with a non-nil configSource"));
        }
        return labels(request, node, &Value::Null, object);
    }
    if request.operation == Operation::Update {
        let old = request.old.as_deref().unwrap_or(&Value::Null);
        if request.subresource.is_empty() && old["spec"]["taints"] != object["spec"]["taints"] {
            return Err(format!("node {node:?} is not allowed to modify taints"));
        }
        if old["metadata"]["ownerReferences"] != object["metadata"]["ownerReferences"] {
            return Err(format!("node {node:?} is not allowed to modify ownerReferences"));
        }
        return labels(request, node, old, object);
    }
    Ok(())
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

fn labels(request: &Request, node: &str, old: &Value, new: &Value) -> std::result::Result<(), String> {
    let of = |o: &Value| o["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    let (old, new) = (of(old), of(new));
    let changed = |l: &&String| old.get(*l) != new.get(*l) && restricted(l);
    let mut wrong: Vec<&str> = old.keys().chain(new.keys()).filter(changed).map(String::as_str).collect();
    wrong.sort_unstable();
    wrong.dedup();
    if wrong.is_empty() {
        return Ok(());
    }
    let verb = if request.operation == Operation::Create { "set" } else { "modify" };
    Err(format!("node {node:?} is not allowed to {verb} the following labels: {}", wrong.join(", ")))
}

/// A kubelet publishes only devices of its own node.
fn slice(request: &Request, node: &str) -> std::result::Result<(), String> {
    let of = |o: Option<&Value>| o.map(|o| object::text(o, &["spec", "nodeName"]).to_owned());
    let (verb, named) = match request.operation {
        Operation::Create => ("create", of(request.object.as_ref())),
        Operation::Update => ("update", of(request.object.as_ref())),
        _ => ("delete", of(request.old.as_deref())),
    };
    match named {
        Some(named) if named != node => {
            Err(format!("can only {verb} ResourceSlice with the same NodeName as the requesting node"))
        }
        _ => Ok(()),
    }
}

fn token(source: &dyn Source, request: &Request, node: &str) -> std::result::Result<(), String> {
    let spec = request.object.as_ref().map_or(&Value::Null, |o| &o["spec"]["boundObjectRef"]);
    if spec["kind"] != "Pod" {
        return Err("node requested token not bound to a pod".to_owned());
    }
    let (name, uid) = (object::text(spec, &["name"]), object::text(spec, &["uid"]));
    if uid.is_empty() {
        return Err("node requested token with a pod binding without a uid".to_owned());
    }
    match source.get(&GroupResource::new("", "pods"), &request.namespace, name) {
        Some(pod) if object::uid(&pod) != uid => Err(format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        )),
        Some(pod) if object::text(&pod, &["spec", "nodeName"]) == node => Ok(()),
        _ => Err("node requested token bound to a pod scheduled on a different node".to_owned()),
    }
}

#[async_trait]
impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation != Operation::Connect
    }

    async fn admit(&self, request: &mut Request) -> Result<()> {
        let name = match request.user.name.strip_prefix("system:node:") {
            Some(name) if request.user.is_in("system:nodes") => name,
            _ => return Ok(()),
        };
        let own = |what: &str| match request.name == name {
            true => Ok(()),
            false => Err(format!("can only access {what} with the same name as the requesting node")),
        };
        let checked = match (request.resource.group.as_str(), request.resource.resource.as_str()) {
            ("", "pods") => self.pods(request, name),
            ("", "nodes") => node(request, name),
            ("", "serviceaccounts") if request.subresource == "token" => token(&*self.source, request, name),
            ("coordination.k8s.io", "leases") => match request.namespace == "kube-node-lease" {
                true => own("node lease"),
                false => Err("can only access leases in the \"kube-node-lease\" system namespace".to_owned()),
            },
            ("storage.k8s.io", "csinodes") => own("CSINode"),
            ("resource.k8s.io", "resourceslices") => slice(request, name),
            _ => Ok(()),
        };
        checked.map_err(|why| ApiError::forbidden(&request.resource.group_resource(), &request.name, why))
    }
}

/// Taints a new node until it is known to be ready.
pub(super) struct TaintNewNodes;

#[async_trait]
impl Plugin for TaintNewNodes {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    async fn admit(&self, request: &mut Request) -> Result<()> {
        if !super::is(request, "", "nodes") {
            return Ok(());
        }
        let Some(node) = request.object.as_mut() else { return Ok(()) };
        let taints = entry(node, "spec").entry("taints").or_insert_with(|| json!([]));
        if taints.is_null() {
            *taints = json!([]);
        }
        let taint = json!({"key": NOT_READY, "effect": "NoSchedule"});
        match taints.as_array_mut() {
            Some(list) if !list.iter().any(|t| t["key"] == NOT_READY && t["effect"] == "NoSchedule") => {
                list.push(taint)
            }
            _ => {}
        }
        Ok(())
    }
}
