//! NamespaceLifecycle: nothing is made in a namespace that is missing or going away, and some are never deleted.
//! NamespaceExists looks at other writes as well, NamespaceAutoProvision makes what is missing.

use super::quota::Ledger;
use crate::{Mutate, Operation, Plugin, Request, Validate};
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

impl Plugin for Lifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update | Operation::Delete)
    }

    fn mutates(&self) -> Option<&dyn Mutate> {
        Some(self)
    }
}

#[async_trait]
impl Mutate for Lifecycle {
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

/// Whether a namespace is there; the store is asked where the caches know nothing.
async fn exists(source: &dyn Source, ledger: &dyn Ledger, name: &str) -> Result<bool> {
    let namespaces = GroupResource::new("", "namespaces");
    Ok(source.get(&namespaces, "", name).is_some() || ledger.find(&namespaces, "", name).await?.is_some())
}

/// Whether a request is about something in a namespace.
fn inside(request: &Request) -> bool {
    !request.namespace.is_empty() && request.kind.kind != "Namespace"
}

/// Refuses every write to a namespace that is missing.
pub(super) struct Exists {
    source: Arc<dyn Source>,
    ledger: Arc<dyn Ledger>,
}

impl Exists {
    pub(super) fn new(source: Arc<dyn Source>, ledger: Arc<dyn Ledger>) -> Self {
        Self { source, ledger }
    }
}

impl Plugin for Exists {
    fn name(&self) -> &'static str {
        "NamespaceExists"
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update | Operation::Delete)
    }

    fn validates(&self) -> Option<&dyn Validate> {
        Some(self)
    }
}

#[async_trait]
impl Validate for Exists {
    async fn validate(&self, request: &mut Request) -> Result<()> {
        if !inside(request) || exists(&*self.source, &*self.ledger, &request.namespace).await? {
            return Ok(());
        }
        Err(ApiError::not_found(&GroupResource::new("", "namespaces"), &request.namespace))
    }
}

/// Makes the namespace of a new object.
pub(super) struct AutoProvision {
    source: Arc<dyn Source>,
    ledger: Arc<dyn Ledger>,
}

impl AutoProvision {
    pub(super) fn new(source: Arc<dyn Source>, ledger: Arc<dyn Ledger>) -> Self {
        Self { source, ledger }
    }
}

impl Plugin for AutoProvision {
    fn name(&self) -> &'static str {
        "NamespaceAutoProvision"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    fn mutates(&self) -> Option<&dyn Mutate> {
        Some(self)
    }
}

#[async_trait]
impl Mutate for AutoProvision {
    async fn admit(&self, request: &mut Request) -> Result<()> {
        if !inside(request) || request.dry_run {
            return Ok(());
        }
        match exists(&*self.source, &*self.ledger, &request.namespace).await? {
            true => Ok(()),
            false => self.ledger.provide(&request.namespace).await,
        }
    }
}
