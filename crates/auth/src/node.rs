//! What kubelets may do: beyond their role, only what concerns their own node and the pods on it.

mod graph;

use crate::rbac::allows;
use crate::{Attributes, Authorizer, Decision, ResourceRule, Rules, bootstrap, follow, metrics};
use async_trait::async_trait;
use graph::Graph;
use ironclad_api::selector::FieldSelector;
use ironclad_api::source::{Change, Source};
use ironclad_api::{GroupResource, UserInfo};
use parking_lot::RwLock;
use std::sync::Arc;
use std::time::Instant;
use tokio_util::sync::CancellationToken;

/// What the graph is made from: group, resource, the name in metrics.
const SOURCES: [(&str, &str, &str); 5] = [
    ("", "pods", "Pod"),
    ("", "persistentvolumes", "PV"),
    ("storage.k8s.io", "volumeattachments", "VolumeAttachment"),
    ("resource.k8s.io", "resourceslices", "ResourceSlice"),
    ("certificates.k8s.io", "podcertificaterequests", "PodCertificateRequest"),
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
        for (group, resource, kind) in SOURCES {
            let keep = node.clone();
            let of = |verb| metrics::GRAPH_TIMES.of(&[("operation", &format!("{verb}{kind}"))]);
            let times = (of("Add"), of("Delete"));
            follow(source, &GroupResource::new(group, resource), token, move |change| match change {
                Change::Put(object) => {
                    let began = Instant::now();
                    keep.graph.write().put(resource, &object);
                    times.0.took(began.elapsed());
                }
                Change::Delete(object) => {
                    let began = Instant::now();
                    keep.graph.write().remove(resource, &object);
                    times.1.took(began.elapsed());
                }
                Change::Synced => {}
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

    /// Kubelets ask for tokens of accounts of their pods, and for the account itself to know its uid.
    fn accounts(&self, node: &str, a: &Attributes) -> Result<(), String> {
        if a.verb == "get" && a.subresource.is_empty() {
            return self.read(node, "serviceaccounts", a);
        }
        let one = a.verb == "create" && !a.name.is_empty();
        check(one, "can only create tokens for individual service accounts")?;
        check(a.subresource == "token", "can only create token subresource of serviceaccount")?;
        self.related(node, "serviceaccounts", a)
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
            _ => Err("only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, patch, delete, deletecollection".to_owned()),
        }
    }

    fn certificates(&self, node: &str, a: &Attributes) -> Result<(), String> {
        check(a.subresource.is_empty(), "nodes may not access the status subresource of PodCertificateRequests")?;
        match a.verb.as_str() {
            // Admission looks at whose pod it is for.
            "create" => Ok(()),
            "get" => self.related(node, "podcertificaterequests", a),
            "list" | "watch" => check(
                selects(a, "spec.nodeName", node),
                "can only list/watch podcertificaterequests with nodeName field selector",
            ),
            verb => Err(format!("nodes may not {verb} podcertificaterequests")),
        }
    }

    fn pods(&self, node: &str, a: &Attributes) -> Result<(), String> {
        match (a.subresource.as_str(), a.verb.as_str()) {
            ("", "get") => self.related(node, "pods", a),
            ("", "list" | "watch") if selects(a, "spec.nodeName", node) => Ok(()),
            ("", "list" | "watch") if !a.name.is_empty() => self.related(node, "pods", a),
            ("", "list" | "watch") => Err("can only list/watch pods with spec.nodeName field selector".to_owned()),
            // Admission looks at whose pod it is.
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Ok(()),
            _ => Err(String::new()),
        }
    }

    fn nodes(node: &str, a: &Attributes) -> Result<(), String> {
        match (a.subresource.as_str(), a.verb.as_str()) {
            ("", "get" | "list" | "watch") => match a.name.as_str() {
                // A node reads itself before it exists as well.
                name if name == node => Ok(()),
                "" => Err(format!("node '{node}' cannot read all nodes, only its own Node object")),
                name => Err(format!("node '{node}' cannot read '{name}', only its own Node object")),
            },
            // Admission looks at which node it is.
            ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Ok(()),
            _ => Err(String::new()),
        }
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
                check(matches!(a.verb.as_str(), "update" | "patch"), "can only get/update/patch this type")?;
                self.related(node, "persistentvolumeclaims", a)
            }
            ("", "persistentvolumeclaims") => self.get(node, "persistentvolumeclaims", a),
            ("", "persistentvolumes") => self.get(node, "persistentvolumes", a),
            ("resource.k8s.io", "resourceclaims") => self.get(node, "resourceclaims", a),
            ("resource.k8s.io", "resourceslices") => self.slices(node, a),
            ("storage.k8s.io", "volumeattachments") => self.get(node, "volumeattachments", a),
            ("certificates.k8s.io", "podcertificaterequests") => self.certificates(node, a),
            ("", "serviceaccounts") => self.accounts(node, a),
            ("coordination.k8s.io", "leases") => lease(node, a),
            ("storage.k8s.io", "csinodes") => csi_node(node, a),
            ("", "nodes") => Self::nodes(node, a),
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

/// Whether a user is a node; users of the group without such a name are none.
fn is_node(user: &UserInfo) -> bool {
    user.name.starts_with("system:node:") && user.is_in("system:nodes")
}

/// The node that a user is.
fn node_of(user: &UserInfo) -> Option<&str> {
    user.name.strip_prefix("system:node:").filter(|n| !n.is_empty() && is_node(user))
}

#[async_trait]
impl Authorizer for NodeAuthorizer {
    async fn authorize(&self, a: &Attributes) -> Decision {
        let Some(node) = node_of(&a.user) else {
            let why = if is_node(&a.user) { format!("unknown node for user {:?}", a.user.name) } else { String::new() };
            return Decision::NoOpinion(why);
        };
        match self.decide(node, a) {
            Ok(()) => Decision::Allow(String::new()),
            Err(why) => Decision::NoOpinion(why),
        }
    }

    async fn rules(&self, user: &UserInfo, _namespace: &str) -> Rules {
        // What depends on pods cannot be listed.
        let incomplete = is_node(user);
        let why = incomplete.then(|| "node authorizer does not support user rule resolution".to_owned());
        Rules { incomplete, errors: why.into_iter().collect(), ..Rules::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    #[test]
    fn a_node_may_what_concerns_it_and_nothing_else() {
        let node = NodeAuthorizer { graph: RwLock::default(), role: bootstrap::node_rules() };
        let pod = json!({"metadata": {"name": "p", "namespace": "a"}, "spec": {"nodeName": "n1", "serviceAccountName": "web"}});
        let request = json!({"metadata": {"name": "r", "namespace": "a"}, "spec": {"nodeName": "n1"}});
        node.graph.write().put("pods", &pod);
        node.graph.write().put("podcertificaterequests", &request);
        let may = |who: &str, what: &str| {
            // verb group/resource[/subresource] namespace/name [selector]
            let parts: Vec<&str> = what.split(' ').collect();
            let (group, resource) = parts[1].split_once('/').unwrap();
            let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
            let (namespace, name) = parts[2].split_once('/').unwrap();
            let a = Attributes {
                verb: parts[0].into(),
                group: group.into(),
                resource: resource.into(),
                subresource: subresource.into(),
                namespace: namespace.into(),
                name: name.into(),
                field_selector: parts.get(3).unwrap_or(&"").to_string(),
                is_resource: true,
                ..Attributes::default()
            };
            node.decide(who, &a)
        };
        let (pcrs, mine) = ("certificates.k8s.io/podcertificaterequests", "spec.nodeName=n1");
        let allowed = [
            "get /pods a/p".to_owned(),
            "watch /pods a/p metadata.name=p".to_owned(),
            format!("list /pods / {mine}"),
            "delete /pods a/other".to_owned(),
            "get /nodes /n1".to_owned(),
            "update /nodes/status /n2".to_owned(),
            "get /serviceaccounts a/web".to_owned(),
            "create /serviceaccounts/token a/web".to_owned(),
            format!("create {pcrs} a/"),
            format!("get {pcrs} a/r"),
            format!("watch {pcrs} / {mine}"),
            "list certificates.k8s.io/clustertrustbundles /".to_owned(),
        ];
        for what in &allowed {
            assert_eq!(may("n1", what), Ok(()), "{what}");
        }
        let refused = [
            ("n2", "get /pods a/p".to_owned(), "no relationship found"),
            ("n2", "watch /pods a/p metadata.name=p".to_owned(), "no relationship found"),
            ("n2", format!("list /pods / {mine}"), "spec.nodeName field selector"),
            ("n1", "list /pods /".to_owned(), "spec.nodeName field selector"),
            ("n1", "get /pods/log a/p".to_owned(), ""),
            ("n1", "get /nodes /n2".to_owned(), "node 'n1' cannot read 'n2', only its own Node object"),
            ("n1", "list /nodes /".to_owned(), "cannot read all nodes"),
            ("n1", "delete /nodes /n1".to_owned(), ""),
            ("n1", "create /serviceaccounts a/web".to_owned(), "token subresource"),
            ("n1", "create /serviceaccounts/token a/other".to_owned(), "no relationship found"),
            ("n1", "list /serviceaccounts a/".to_owned(), "individual service accounts"),
            ("n2", format!("get {pcrs} a/r"), "no relationship found"),
            ("n1", format!("list {pcrs} a/"), "nodeName field selector"),
            ("n1", format!("update {pcrs}/status a/r"), "may not access the status subresource"),
            ("n1", "get /persistentvolumeclaims/status a/c".to_owned(), "can only get/update/patch"),
            ("n1", "list /secrets a/".to_owned(), "No Object name found"),
            ("n1", "list certificates.k8s.io/certificatesigningrequests/approval /".to_owned(), ""),
        ];
        for (who, what, why) in &refused {
            let error = may(who, what).expect_err(what);
            assert!(error.contains(why), "{what}: {error}");
        }
    }
}
