//! Storage: which claims may grow, and that what is in use stays.

use super::is;
use crate::{Mutate, Operation, Plugin, Request, Validate};
use async_trait::async_trait;
use ironclad_api::error::Result;
use ironclad_api::object::metadata_mut;
use ironclad_api::quantity::Quantity;
use ironclad_api::source::Source;
use ironclad_api::{GroupResource, object};
use ironclad_json::{Value, json};
use std::sync::Arc;

/// Gives claims, volumes and their classes of attributes the finalizer that keeps them while they are in use.
pub(super) struct Protection;

impl Plugin for Protection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Create
    }

    fn mutates(&self) -> Option<&dyn Mutate> {
        Some(self)
    }
}

#[async_trait]
impl Mutate for Protection {
    async fn admit(&self, request: &mut Request) -> Result<()> {
        let finalizer = if is(request, "", "persistentvolumeclaims") {
            "kubernetes.io/pvc-protection"
        } else if is(request, "", "persistentvolumes") {
            "kubernetes.io/pv-protection"
        } else if is(request, "storage.k8s.io", "volumeattributesclasses") {
            "kubernetes.io/vac-protection"
        } else {
            return Ok(());
        };
        let Some(object) = request.object.as_mut() else { return Ok(()) };
        let list = metadata_mut(object).entry("finalizers").or_insert_with(|| json!([]));
        if list.is_null() {
            *list = json!([]);
        }
        match list.as_array_mut() {
            Some(list) if !list.iter().any(|f| f == finalizer) => list.push(json!(finalizer)),
            _ => {}
        }
        Ok(())
    }
}

/// Lets a claim grow only where its class can do that.
pub(super) struct Resize {
    source: Arc<dyn Source>,
}

impl Resize {
    pub(super) fn new(source: Arc<dyn Source>) -> Self {
        Self { source }
    }
}

fn size(claim: &Value) -> Quantity {
    object::text(claim, &["spec", "resources", "requests", "storage"]).parse().unwrap_or(Quantity::ZERO)
}

impl Plugin for Resize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation == Operation::Update
    }

    fn validates(&self) -> Option<&dyn Validate> {
        Some(self)
    }
}

#[async_trait]
impl Validate for Resize {
    async fn validate(&self, request: &mut Request) -> Result<()> {
        let (Some(new), Some(old)) = (&request.object, &request.old) else { return Ok(()) };
        if !is(request, "", "persistentvolumeclaims") || size(new) <= size(old) {
            return Ok(());
        }
        let refuse = |why: &str| Err(request.forbidden(why));
        if object::text(old, &["status", "phase"]) != "Bound" {
            return refuse("Only bound persistent volume claims can be expanded");
        }
        let class = object::text(new, &["spec", "storageClassName"]);
        let found = self.source.get(&GroupResource::new("storage.k8s.io", "storageclasses"), "", class);
        if found.is_some_and(|c| c["allowVolumeExpansion"] == true) {
            return Ok(());
        }
        refuse(
            "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
        )
    }
}
