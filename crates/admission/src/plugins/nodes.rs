//! NodeRestriction: a kubelet changes its own node and what is on it, nothing else. TaintNodesByCondition: a new node
//! takes no pods until it is ready.

mod certificates;
mod claims;
mod own;
mod pods;
mod tokens;

use crate::{Mutate, Operation, Plugin, Request};
use async_trait::async_trait;
use ironclad_api::error::Result;
use ironclad_api::object::entry;
use ironclad_api::source::Source;
use ironclad_api::{ApiError, GroupResource, object};
use ironclad_auth::Authorizer;
use ironclad_json::{Value, json};
use std::sync::Arc;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const MIRROR: &str = "kubernetes.io/config.mirror";

/// What somebody who is a node may not do, and why.
type Checked = std::result::Result<(), Refusal>;

/// Why a request of a node is refused.
#[derive(Debug)]
enum Refusal {
    /// It may not.
    Forbidden(String),
    /// It names what is not there or is not what it was; a later attempt may see more.
    Other(ApiError),
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Self::Forbidden(why)
    }
}

impl From<&str> for Refusal {
    fn from(why: &str) -> Self {
        Self::Forbidden(why.to_owned())
    }
}

fn refuse(why: impl Into<Refusal>) -> Checked {
    Err(why.into())
}

pub(super) struct NodeRestriction {
    source: Arc<dyn Source>,
    authorizer: Arc<dyn Authorizer>,
}

impl NodeRestriction {
    pub(super) fn new(source: Arc<dyn Source>, authorizer: Arc<dyn Authorizer>) -> Self {
        Self { source, authorizer }
    }

    fn find(&self, resource: &str, namespace: &str, name: &str) -> std::result::Result<Arc<Value>, Refusal> {
        let resource = GroupResource::new("", resource);
        let found = self.source.get(&resource, namespace, name);
        // As a lister says it: by the object, not by the resource.
        let one = GroupResource::new("", resource.resource.trim_end_matches('s'));
        found.ok_or_else(|| Refusal::Other(ApiError::not_found(&one, name)))
    }

    async fn check(&self, request: &Request, node: &str) -> Checked {
        match (request.resource.group.as_str(), request.resource.resource.as_str()) {
            ("", "pods") => self.pods(request, node),
            ("", "nodes") => own::node(request, node),
            ("", "persistentvolumeclaims") => claims::status(request, node),
            ("", "serviceaccounts") => self.accounts(request, node).await,
            ("coordination.k8s.io", "leases") => match request.namespace == "kube-node-lease" {
                true => own::named(request, node, "node lease"),
                false => refuse("can only access leases in the \"kube-node-lease\" system namespace"),
            },
            ("storage.k8s.io", "csinodes") => own::named(request, node, "CSINode"),
            ("resource.k8s.io", "resourceslices") => own::slice(request, node),
            ("certificates.k8s.io", "certificatesigningrequests") => certificates::request(request, node),
            ("certificates.k8s.io", "podcertificaterequests") => self.pod_certificate(request, node).await,
            _ => Ok(()),
        }
    }
}

impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation != Operation::Connect
    }

    fn mutates(&self) -> Option<&dyn Mutate> {
        Some(self)
    }
}

#[async_trait]
impl Mutate for NodeRestriction {
    async fn admit(&self, request: &mut Request) -> Result<()> {
        if !request.user.is_in("system:nodes") {
            return Ok(());
        }
        let Some(node) = request.user.name.strip_prefix("system:node:").map(str::to_owned) else { return Ok(()) };
        self.check(request, &node).await.map_err(|why| match why {
            Refusal::Forbidden(why) => request.forbidden(why),
            Refusal::Other(error) => error,
        })
    }
}

/// Taints a new node until it is known to be ready.
pub(super) struct TaintNewNodes;

impl Plugin for TaintNewNodes {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    fn mutates(&self) -> Option<&dyn Mutate> {
        Some(self)
    }
}

#[async_trait]
impl Mutate for TaintNewNodes {
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

fn on(pod: &Value, node: &str) -> bool {
    object::text(pod, &["spec", "nodeName"]) == node
}
