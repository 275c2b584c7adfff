//! What admission sees of a write: the object as the client sent it, and later as it will be stored; through some doors
//! an object of another kind.
//!
//! Invariant: mutating plugins see an object before the server itself changes anything but defaults, validating ones
//! see exactly what is stored.

use super::{Registry, Request, scale};
use ironclad_admission::{Operation, Request as Admission};
use ironclad_api::object::metadata_mut;
use ironclad_api::{ApiError, GroupVersionKind, object, resource};
use ironclad_json::Value;
use std::sync::Arc;

/// An update on its way through admission.
pub(super) struct Door {
    /// Nothing, where the server itself makes the change.
    request: Option<Admission>,
    scaled: bool,
}

impl Door {
    /// The way of an update of `old`.
    pub(super) fn of(request: &Request<'_>, old: &Arc<Value>) -> Result<Self, ApiError> {
        let scaled = request.info.subresource == "scale";
        // A binding was let in as such; what it does to the pod is the server's.
        if request.info.subresource == "binding" {
            return Ok(Self { request: None, scaled });
        }
        let seen = if scaled { Arc::new(scale::scale_of(request, old)?) } else { old.clone() };
        let options = request.options("UpdateOptions");
        let mut admission = request.admission(Operation::Update, None, Some(seen), options)?;
        if scaled {
            admission.kind = scale::kind();
        }
        Ok(Self { request: Some(admission), scaled })
    }
}

impl Registry {
    /// Lets mutating plugins change an update.
    pub(super) async fn admit(
        &self,
        request: &Request<'_>,
        door: &mut Door,
        new: Value,
        warnings: &mut Vec<String>,
    ) -> Result<Value, ApiError> {
        let Some(admission) = &mut door.request else { return Ok(new) };
        if !door.scaled {
            return self.mutate(request, admission, new, warnings).await;
        }
        admission.object = Some(scale::scale_of(request, &new)?);
        self.admission.admit(admission).await?;
        warnings.append(&mut admission.warnings);
        let scale = admission.object.take().unwrap_or_default();
        scale::with_replicas(request, &new, &scale)
    }

    /// Lets mutating plugins change an object that is to be stored.
    pub(super) async fn mutate(
        &self,
        request: &Request<'_>,
        admission: &mut Admission,
        object: Value,
        warnings: &mut Vec<String>,
    ) -> Result<Value, ApiError> {
        let mut object = object;
        if &*request.info.verb != "patch" {
            warnings.extend(without_doubles(&mut object, ""));
        }
        let managers = object["metadata"].get("managedFields").cloned();
        admission.object = Some(object);
        let admitted = self.admission.admit(admission).await;
        warnings.append(&mut admission.warnings);
        admitted.map_err(|error| error.warned(std::mem::take(warnings)))?;
        let mut object = admission.object.take().unwrap_or_default();
        warnings.extend(without_doubles(&mut object, " after mutating admission happens"));
        keep_valid_managers(&mut object, managers, warnings);
        request.settle_namespace(&mut object)?;
        Ok(object)
    }

    /// Lets validating plugins judge an update that is ready to be stored.
    pub(super) async fn accept(
        &self,
        request: &Request<'_>,
        door: &mut Door,
        new: Value,
        warnings: &mut Vec<String>,
    ) -> Result<Value, ApiError> {
        let Some(admission) = &mut door.request else { return Ok(new) };
        let shown = if door.scaled { scale::scale_of(request, &new)? } else { new.clone() };
        admission.object = Some(shown);
        let accepted = self.admission.validate(admission).await;
        warnings.append(&mut admission.warnings);
        accepted.map_err(|error| error.warned(std::mem::take(warnings)))?;
        admission.object = None;
        Ok(new)
    }

    /// Lets admission see what is created below an object and stored by nobody; returns it as admission left it.
    pub(crate) async fn admitted(&self, request: &Request<'_>, mut object: Value) -> Result<Value, ApiError> {
        if object["metadata"].is_object() {
            // A binding says by its uid which pod it means, a request for a token which account.
            if !matches!(&*request.info.subresource, "binding" | "token") && &*request.kind.plural != "bindings" {
                wipe(&mut object);
            }
            request.settle_namespace(&mut object)?;
        }
        if matches!(&*request.kind.group, "authentication.k8s.io" | "authorization.k8s.io") {
            self.track(request, &Value::Null, &mut object).await;
        }
        let options = request.options("CreateOptions");
        let mut admission = request.admission(Operation::Create, Some(object), None, options)?;
        let below = request.kind.subresource(&request.info.subresource);
        if let Some((group, version, kind)) = below.and_then(|s| s.kind.as_ref()) {
            admission.kind = GroupVersionKind::new(group, version, kind);
        }
        // Who sends an object below another need not say what it is.
        if let Some(object) = admission.object.as_mut().and_then(Value::as_object_mut) {
            // What is sent in an older version is seen in the one that is worked with.
            let GroupVersionKind { group, version, kind } = &admission.kind;
            object.insert("apiVersion", resource::api_version(group, version).into());
            object.insert("kind", kind.as_str().into());
        }
        let asks = matches!(&*request.kind.group, "authentication.k8s.io" | "authorization.k8s.io");
        if let Some(object) = admission.object.as_mut().filter(|_| !asks) {
            if request.info.subresource == "token" && object["spec"]["expirationSeconds"].is_null() {
                object["spec"]["expirationSeconds"] = 3600.into();
            }
            request.track_below(&admission.kind, object);
        }
        self.admission.admit(&mut admission).await?;
        self.admission.validate(&mut admission).await?;
        Ok(admission.object.take().unwrap_or_default())
    }
}

/// Takes away what the server alone decides about an object.
pub(super) fn wipe(object: &mut Value) {
    let meta = metadata_mut(object);
    for field in ["selfLink", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        meta.remove(field);
    }
}

/// Lets every owner stand once; a warning when one stood twice.
fn without_doubles(object: &mut Value, when: &str) -> Option<String> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    let (mut kept, mut doubles): (Vec<Value>, Vec<String>) = Default::default();
    for owner in owners {
        match kept.contains(owner) {
            true => doubles.push(object::text(owner, &["uid"]).to_owned()),
            false => kept.push(owner.clone()),
        }
    }
    if doubles.is_empty() {
        return None;
    }
    metadata_mut(object).insert("ownerReferences", Value::Array(kept.into()));
    Some(format!(
        ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
        doubles.join(", ")
    ))
}

/// Managed fields that a plugin has spoilt become again what they were.
fn keep_valid_managers(object: &mut Value, before: Option<Value>, warnings: &mut Vec<String>) {
    if object["metadata"].get("managedFields") == before.as_ref() {
        return;
    }
    if object["metadata"]["managedFields"].as_array().is_some_and(|list| list.is_empty()) {
        metadata_mut(object).remove("managedFields");
        return;
    }
    let Err(why) = ironclad_schema::apply::check_managers(object) else { return };
    match before {
        Some(before) => drop(metadata_mut(object).insert("managedFields", before)),
        None => drop(metadata_mut(object).remove("managedFields")),
    }
    warnings.push(format!(
        ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating admission controller; please fix your requests: {why}"
    ));
}
