//! What kubelets may do: beyond their role, only what concerns the pods on their own node.

use crate::rbac::allows;
use crate::{Attributes, Authorizer, Decision, ResourceRule, Rules, bootstrap};
use async_trait::async_trait;
use futures::StreamExt;
use ironclad_api::source::{Change, Source};
use ironclad_api::{GroupResource, UserInfo, object};
use parking_lot::RwLock;
use serde_json::Value;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Resource, namespace, name.
type Reference = (&'static str, String, String);

#[derive(Default)]
struct Graph {
    /// What the pods of each node refer to, with how many of them do.
    by_node: HashMap<String, HashMap<Reference, u32>>,
    pods: HashMap<String, (String, HashSet<Reference>)>,
}

/// The authorizer of `system:node:<name>` users.
pub struct NodeAuthorizer {
    graph: RwLock<Graph>,
    role: Vec<ResourceRule>,
}

impl NodeAuthorizer {
    /// Keeps a graph of the pods of `source` until `token` is cancelled.
    pub fn start(source: &dyn Source, token: &CancellationToken) -> Arc<Self> {
        let node = Arc::new(Self { graph: RwLock::default(), role: bootstrap::node_rules() });
        let (keep, token, mut changes) =
            (node.clone(), token.clone(), source.subscribe(&GroupResource::new("", "pods")));
        tokio::spawn(async move {
            loop {
                let change = tokio::select! {
                    () = token.cancelled() => return,
                    change = changes.next() => change,
                };
                match change {
                    Some(Change::Put(pod)) => keep.graph.write().put(&pod),
                    Some(Change::Delete(pod)) => keep.graph.write().remove(object::uid(&pod)),
                    Some(Change::Synced) => {}
                    None => return,
                }
            }
        });
        node
    }
}

impl Graph {
    fn put(&mut self, pod: &Value) {
        let (uid, node) = (object::uid(pod), object::text(pod, &["spec", "nodeName"]));
        self.remove(uid);
        if node.is_empty() {
            return;
        }
        let references = references(pod);
        let of_node = self.by_node.entry(node.to_owned()).or_default();
        references.iter().for_each(|r| *of_node.entry(r.clone()).or_default() += 1);
        self.pods.insert(uid.to_owned(), (node.to_owned(), references));
    }

    fn remove(&mut self, uid: &str) {
        let Some((node, references)) = self.pods.remove(uid) else { return };
        let Some(of_node) = self.by_node.get_mut(&node) else { return };
        for reference in references {
            if let Some(count) = of_node.get_mut(&reference) {
                *count -= 1;
                if *count == 0 {
                    of_node.remove(&reference);
                }
            }
        }
    }
}

/// Everything that a pod's node must be able to read for it.
fn references(pod: &Value) -> HashSet<Reference> {
    let namespace = object::namespace(pod).to_owned();
    let mut out = HashSet::new();
    let account = object::text(pod, &["spec", "serviceAccountName"]);
    out.insert(("serviceaccounts", namespace.clone(), account.to_owned()));
    for secret in pod["spec"]["imagePullSecrets"].as_array().into_iter().flatten() {
        out.insert(("secrets", namespace.clone(), object::name_of(secret).to_owned()));
    }
    walk(&pod["spec"], &namespace, &mut out);
    out
}

/// Finds references by the names of the fields that hold them.
fn walk(value: &Value, namespace: &str, out: &mut HashSet<Reference>) {
    match value {
        Value::Array(items) => items.iter().for_each(|i| walk(i, namespace, out)),
        Value::Object(map) => {
            for (key, inner) in map {
                let found = match key.as_str() {
                    "secretKeyRef" | "secretRef" => Some(("secrets", object::name_of(inner))),
                    "configMapKeyRef" | "configMapRef" => Some(("configmaps", object::name_of(inner))),
                    "secret" => Some((
                        "secrets",
                        match object::text(inner, &["secretName"]) {
                            "" => object::name_of(inner),
                            name => name,
                        },
                    )),
                    "configMap" => Some(("configmaps", object::name_of(inner))),
                    "persistentVolumeClaim" => Some(("persistentvolumeclaims", object::text(inner, &["claimName"]))),
                    _ => None,
                };
                if let Some((resource, name)) = found.filter(|(_, n)| !n.is_empty()) {
                    out.insert((resource, namespace.to_owned(), name.to_owned()));
                }
                walk(inner, namespace, out);
            }
        }
        _ => {}
    }
}

#[async_trait]
impl Authorizer for NodeAuthorizer {
    async fn authorize(&self, a: &Attributes) -> Decision {
        let node = match a.user.name.strip_prefix("system:node:") {
            Some(node) if a.user.is_in("system:nodes") => node,
            _ => return Decision::NoOpinion(String::new()),
        };
        let guarded = ["secrets", "configmaps", "persistentvolumeclaims", "serviceaccounts"];
        if let Some(resource) = guarded.into_iter().find(|r| a.group.is_empty() && a.resource == *r) {
            let reads = matches!(a.verb.as_str(), "get" | "list" | "watch") || a.subresource == "token";
            let reference = (resource, a.namespace.clone(), a.name.clone());
            let graph = self.graph.read();
            let related = !a.name.is_empty() && graph.by_node.get(node).is_some_and(|r| r.contains_key(&reference));
            if reads && related {
                return Decision::Allow(String::new());
            }
            return Decision::NoOpinion(format!("no relationship found between node {node:?} and this object"));
        }
        let own_lease =
            a.resource != "leases" || a.namespace == "kube-node-lease" && (a.name.is_empty() || a.name == node);
        if own_lease && self.role.iter().any(|r| allows(r, a)) {
            return Decision::Allow(String::new());
        }
        Decision::NoOpinion(String::new())
    }

    async fn rules(&self, user: &UserInfo, _namespace: &str) -> Rules {
        let node = user.name.starts_with("system:node:") && user.is_in("system:nodes");
        // What depends on pods cannot be listed.
        Rules { rules: Vec::new(), incomplete: node }
    }
}
