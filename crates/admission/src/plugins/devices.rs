//! Devices that are in use already are given only in namespaces that an administrator marked for that; who allocates a
//! claim and who tells of a driver's devices must have been allowed to.

mod claims;

pub(super) use claims::Claims;

use crate::{Operation, Plugin, Request, Validate};
use async_trait::async_trait;
use ironclad_api::error::Result;
use ironclad_api::source::Source;
use ironclad_api::{ApiError, FieldError, GroupResource, Path, object};
use ironclad_json::Value;
use std::sync::Arc;

const LABEL: &str = "resource.kubernetes.io/admin-access";

pub(super) struct AdminAccess {
    source: Arc<dyn Source>,
}

impl AdminAccess {
    pub(super) fn new(source: Arc<dyn Source>) -> Self {
        Self { source }
    }
}

fn list<'a>(o: &'a Value, path: &[&str]) -> &'a [Value] {
    path.iter().fold(o, |o, key| &o[*key]).as_array().map_or(&[], Vec::as_slice)
}

/// Where an object asks for access as an administrator, or gives it.
fn asked(object: &Value, resource: &str, subresource: &str) -> Option<Path> {
    if subresource == "status" {
        let given = list(object, &["status", "allocation", "devices", "results"]);
        let i = given.iter().position(|result| result["adminAccess"] == true)?;
        let at = Path::new("status").child("allocation").child("devices").child("results");
        return Some(at.index(i).child("adminAccess"));
    }
    let path: &[&str] = match resource {
        "resourceclaims" => &["spec", "devices", "requests"],
        "resourceclaimtemplates" => &["spec", "spec", "devices", "requests"],
        _ => return None,
    };
    let i = list(object, path).iter().position(|request| request["exactly"]["adminAccess"] == true)?;
    // Stock says the same of templates.
    Some(Path::new("spec").child("devices").child("requests").index(i).child("adminAccess"))
}

impl Plugin for AdminAccess {
    fn name(&self) -> &'static str {
        ""
    }

    fn handles(&self, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
    }

    fn validates(&self) -> Option<&dyn Validate> {
        Some(self)
    }
}

#[async_trait]
impl Validate for AdminAccess {
    async fn validate(&self, request: &mut Request) -> Result<()> {
        let resource = &request.resource;
        if resource.group != "resource.k8s.io" {
            return Ok(());
        }
        let find = |o: &Value| asked(o, &resource.resource, &request.subresource);
        let Some(at) = request.object.as_ref().and_then(find) else { return Ok(()) };
        if request.subresource == "status" && request.old.as_deref().and_then(find).is_some() {
            return Ok(());
        }
        let namespace = self.source.get(&GroupResource::new("", "namespaces"), "", &request.namespace);
        if namespace.is_some_and(|n| object::text(&n, &["metadata", "labels", LABEL]) == "true") {
            return Ok(());
        }
        let why = format!("admin access to devices requires the `{LABEL}: true` label on the containing namespace");
        let name = request.object.as_ref().map(object::name).unwrap_or_default();
        Err(ApiError::invalid(&request.kind.group, &request.kind.kind, name, &[FieldError::forbidden(&at, why)]))
    }
}
