//! NamespaceLifecycle: nothing is made in a namespace that is missing or going away, and some are never deleted.

use super::quota::Ledger;
use crate::{Operation, Plugin, Request};
use async_trait::async_trait;
use ironclad_api::error::Result;
use ironclad_api::source::Source;
use ironclad_api::{ApiError, GroupResource, object};
use std::sync::Arc;

const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub(super) struct Lifecycle {
    source: Arc<dyn Source>,
    ledger: Arc<dyn Ledger>,
}

impl Lifecycle {
    pub(super) fn new(source: Arc<dyn Source>, ledger: Arc<dyn Ledger>) -> Self {
        Self { source, ledger }
    }
}

#[async_trait]
impl Plugin for Lifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update | Operation::Delete)
    }

    async fn admit(&self, request: &mut Request) -> Result<()> {
        let namespaces = GroupResource::new("", "namespaces");
        let resource = request.resource.group_resource();
        if resource == namespaces {
            if request.operation == Operation::Delete && IMMORTAL.contains(&request.name.as_str()) {
                return Err(ApiError::forbidden(&resource, &request.name, "this namespace may not be deleted"));
            }
            return Ok(());
        }
        let reviews = resource.group == "authorization.k8s.io";
        if request.namespace.is_empty() || request.operation != Operation::Create || reviews {
            return Ok(());
        }
        let namespace = match self.source.get(&namespaces, "", &request.namespace) {
            Some(namespace) => namespace,
            // It may have been made a moment ago.
            None => match self.ledger.find(&namespaces, "", &request.namespace).await? {
                Some(namespace) => Arc::new(namespace),
                None => return Err(ApiError::not_found(&namespaces, &request.namespace)),
            },
        };
        if object::text(&namespace, &["status", "phase"]) == "Terminating" {
            let name = &request.namespace;
            let why = format!("unable to create new content in namespace {name} because it is being terminated");
            let error = ApiError::forbidden(&resource, &request.name, why);
            return Err(error.with_cause(
                "NamespaceTerminating",
                format!("namespace {name} is being terminated"),
                "metadata.namespace",
            ));
        }
        Ok(())
    }
}
