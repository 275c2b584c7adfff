//! Devices that are in use already are given only in namespaces that an administrator marked for that; who allocates a
//! claim and who tells of a driver's devices must have been allowed to.

mod claims;

pub(super) use claims::Claims;

use crate::{Operation, Plugin, Written};
use ironclad_api::source::Source;
use ironclad_api::{ErrorList, FieldError, GroupResource, Path, object};
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
    // In v1beta1 it stands beside the name.
    let wanted = |r: &Value| r["exactly"]["adminAccess"] == true || r["adminAccess"] == true;
    let i = list(object, path).iter().position(wanted)?;
    // Stock says the same of templates.
    Some(Path::new("spec").child("devices").child("requests").index(i).child("adminAccess"))
}

impl Plugin for AdminAccess {
    fn name(&self) -> &'static str {
        ""
    }

    fn handles(&self, _: Operation) -> bool {
        false
    }

    fn mistakes(&self, written: &Written<'_>) -> ErrorList {
        if written.resource.group != "resource.k8s.io" {
            return ErrorList::new();
        }
        let find = |o: &Value| asked(o, &written.resource.resource, written.subresource);
        let was = written.old.filter(|_| written.subresource == "status").and_then(find);
        // What is asked for stays as it was, so that only a new object is looked at.
        let asks = written.old.is_none() || written.subresource == "status";
        let Some(at) = find(written.object).filter(|_| asks && was.is_none()) else { return ErrorList::new() };
        let namespace = object::namespace(written.object);
        let namespace = self.source.get(&GroupResource::new("", "namespaces"), "", namespace);
        if namespace.is_some_and(|n| object::text(&n, &["metadata", "labels", LABEL]) == "true") {
            return ErrorList::new();
        }
        let why = format!("admin access to devices requires the `{LABEL}: true` label on the containing namespace");
        vec![FieldError::forbidden(&at, why)]
    }
}
