//! What kubelets may do: beyond their role, only what concerns their own node and the pods on it.

mod graph;

use crate::rbac::allows;
use crate::{Attributes, Authorizer, Decision, ResourceRule, Rules, bootstrap};
use async_trait::async_trait;
use futures::StreamExt;
use graph::Graph;
use ironclad_api::selector::FieldSelector;
use ironclad_api::source::{Change, Source};
use ironclad_api::{GroupResource, UserInfo};
use parking_lot::RwLock;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What the graph is made from: group, resource.
const SOURCES: [(&str, &str); 4] = [
    ("", "pods"),
    ("", "persistentvolumes"),
    ("storage.k8s.io", "volumeattachments"),
    ("resource.k8s.io", "resourceslices"),
];

/// The authorizer of `system:node:<name>` users.
pub struct NodeAuthorizer {
    graph: RwLock<Graph>,
    role: Vec<ResourceRule>,
}

impl NodeAuthorizer {
    /// Keeps a graph of the objects of `source` until `token` is cancelled.
    pub fn start(source: &dyn Source, token: &CancellationToken) -> Arc<Self> {
        let node = Arc::new(Self { graph: RwLock::default(), role: bootstrap::node_rules() });
        for (group, resource) in SOURCES {
            let mut changes = source.subscribe(&GroupResource::new(group, resource));
            let (keep, token) = (node.clone(), token.clone());
            tokio::spawn(async move {
                loop {
                    let change = tokio::select! {
                        () = token.cancelled() => return,
                        change = changes.next() => change,
                    };
                    match change {
                        Some(Change::Put(object)) => keep.graph.write().put(resource, &object),
                        Some(Change::Delete(object)) => keep.graph.write().remove(resource, &object),
                        Some(Change::Synced) => {}
                        None => return,
                    }
                }
            });
        }
        node
    }

    fn related(&self, node: &str, resource: &'static str, a: &Attributes) -> Result<(), String> {
        if a.name.is_empty() {
            return Err("No Object name found".to_owned());
        }
        match self.graph.read().leads(node, &(resource, a.namespace.clone(), a.name.clone())) {
            true => Ok(()),
            false => Err(format!("no relationship found between node '{node}' and this object")),
        }
    }

    fn read(&self, node: &str, resource: &'static str, a: &Attributes) -> Result<(), String> {
        check(matches!(a.verb.as_str(), "get" | "list" | "watch"), "can only read resources of this type")?;
        check(a.subresource.is_empty(), "cannot read subresource")?;
        check(!a.namespace.is_empty(), "can only read namespaced object of this type")?;
        self.related(node, resource, a)
    }

    fn get(&self, node: &str, resource: &'static str, a: &Attributes) -> Result<(), String> {
        check(a.verb == "get", "can only get individual resources of this type")?;
        check(a.subresource.is_empty(), "cannot get subresource")?;
        self.related(node, resource, a)
    }

    fn slices(&self, node: &str, a: &Attributes) -> Result<(), String> {
        check(a.subresource.is_empty(), "cannot authorize ResourceSlice subresources")?;
        match a.verb.as_str() {
            // Admission looks at whose slice it is.
            "create" => Ok(()),
            "get" | "update" | "patch" | "delete" => self.related(node, "resourceslices", a),
            "list" | "watch" | "deletecollection" => check(
                selects(a, "spec.nodeName", node),
                "can only list/watch/deletecollection resourceslices with nodeName field selector",
            ),
            _ => Err("can only get, create, update, patch, delete, list or watch a ResourceSlice".to_owned()),
        }
    }

    fn pods(&self, node: &str, a: &Attributes) -> Result<(), String> {
        match (a.verb.as_str(), a.subresource.as_str()) {
            ("get", "") => self.related(node, "pods", a),
            ("list" | "watch", "") => {
                check(selects(a, "spec.nodeName", node), "can only list/watch pods with spec.nodeName field selector")
            }
            // Admission looks at whose pod it is.
            _ => check(self.role(a), ""),
        }
    }

    fn nodes(&self, node: &str, a: &Attributes) -> Result<(), String> {
        let own = a.name == node || matches!(a.verb.as_str(), "list" | "watch") && selects(a, "metadata.name", node);
        match a.verb.as_str() {
            "get" | "list" | "watch" if a.subresource.is_empty() => {
                check(own, &format!("node '{node}' cannot read all nodes, only its own Node object"))?;
            }
            "patch" | "update" => {
                check(a.name == node, &format!("node '{node}' is not allowed to modify node '{}'", a.name))?
            }
            _ => {}
        }
        check(self.role(a), "")
    }

    fn role(&self, a: &Attributes) -> bool {
        self.role.iter().any(|r| allows(r, a))
    }

    /// Whether a node may; the reason when it may not.
    fn decide(&self, node: &str, a: &Attributes) -> Result<(), String> {
        match (a.group.as_str(), a.resource.as_str()) {
            _ if !a.is_resource => check(self.role(a), ""),
            ("", "secrets") => self.read(node, "secrets", a),
            ("", "configmaps") => self.read(node, "configmaps", a),
            ("", "persistentvolumeclaims") if a.subresource == "status" => {
                check(matches!(a.verb.as_str(), "get" | "update" | "patch"), "can only get/update/patch this type")?;
                self.related(node, "persistentvolumeclaims", a)
            }
            ("", "persistentvolumeclaims") => self.get(node, "persistentvolumeclaims", a),
            ("", "persistentvolumes") => self.get(node, "persistentvolumes", a),
            ("resource.k8s.io", "resourceclaims") => self.get(node, "resourceclaims", a),
            ("resource.k8s.io", "resourceslices") => self.slices(node, a),
            ("storage.k8s.io", "volumeattachments") => self.get(node, "volumeattachments", a),
            ("", "serviceaccounts") => {
                let token = a.verb == "create" && a.subresource == "token";
                let own = a.verb == "get" && a.subresource.is_empty();
                check(token || own, "can only create tokens for individual service accounts")?;
                self.related(node, "serviceaccounts", a)
            }
            ("coordination.k8s.io", "leases") => lease(node, a),
            ("storage.k8s.io", "csinodes") => csi_node(node, a),
            ("", "nodes") => self.nodes(node, a),
            ("", "pods") => self.pods(node, a),
            _ => check(self.role(a), ""),
        }
    }
}

fn check(holds: bool, why: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why.to_owned()) }
}

/// Whether a list or watch is limited to what has this field.
fn selects(a: &Attributes, field: &str, value: &str) -> bool {
    FieldSelector::parse(&a.field_selector).is_ok_and(|s| s.exact(field) == Some(value))
}

fn lease(node: &str, a: &Attributes) -> Result<(), String> {
    let verb = matches!(a.verb.as_str(), "get" | "create" | "update" | "patch" | "delete");
    check(verb, "can only get, create, update, patch, or delete a node lease")?;
    check(a.namespace == "kube-node-lease", "can only access leases in the \"kube-node-lease\" system namespace")?;
    let own = a.verb == "create" || a.name == node;
    check(own, "can only access node lease with the same name as the requesting node")
}

fn csi_node(node: &str, a: &Attributes) -> Result<(), String> {
    let verb = matches!(a.verb.as_str(), "get" | "create" | "update" | "patch" | "delete");
    check(verb, "can only get, create, update, patch, or delete a CSINode")?;
    check(a.subresource.is_empty(), "cannot authorize CSINode subresources")?;
    let own = a.verb == "create" || a.name == node;
    check(own, "can only access CSINode with the same name as the requesting node")
}

/// The node that a user is; users of the group without such a name are none.
fn node_of(user: &UserInfo) -> Option<&str> {
    user.name.strip_prefix("system:node:").filter(|n| !n.is_empty() && user.is_in("system:nodes"))
}

#[async_trait]
impl Authorizer for NodeAuthorizer {
    async fn authorize(&self, a: &Attributes) -> Decision {
        let Some(node) = node_of(&a.user) else {
            let nameless = a.user.is_in("system:nodes");
            let why = if nameless { format!("unknown node for user {:?}", a.user.name) } else { String::new() };
            return Decision::NoOpinion(why);
        };
        match self.decide(node, a) {
            Ok(()) => Decision::Allow(String::new()),
            Err(why) => Decision::NoOpinion(why),
        }
    }

    async fn rules(&self, user: &UserInfo, _namespace: &str) -> Rules {
        // What depends on pods cannot be listed.
        Rules { rules: Vec::new(), incomplete: node_of(user).is_some() }
    }
}
