//! Creating objects.

use super::admit::wipe;
use super::input::Checked;
use super::update::Changed;
use super::{Answer, Input, Registry, Request, invalid, keeps_empties, types};
use crate::encode;
use ironclad_admission::{Operation, Written};
use ironclad_api::object::{self, metadata_mut};
use ironclad_api::{ApiError, Reason, UserInfo, names, time};
use ironclad_json::{Value, json};
use ironclad_kinds::{Kind, validate_metadata};
use ironclad_schema::{Empties, Shape, Which};
use ironclad_store::Expect;

/// How often a generated name may be taken already.
const ATTEMPTS: u32 = 8;

impl Registry {
    pub(crate) async fn create(&self, request: &Request<'_>, input: Input) -> Result<Answer, ApiError> {
        let Checked { mut object, empties, mut warnings } = request.check(request.kind, input)?;
        ironclad_audit::note(|_| {
            let mut sent = object.clone();
            request.kind.strategy.default(&mut sent);
            request.tell_sent(&sent);
        });
        request.settle_namespace(&mut object)?;
        warnings.extend(super::update::owners_once(&mut object, ""));
        let made = Changed { empties, ..Changed::of(object) };
        let created = self.create_checked(request, made).await;
        let (entry, more) = created.map_err(|error| error.warned(warnings.clone()))?;
        warnings.extend(more);
        Ok(Answer { code: 201, warnings, ..entry })
    }

    /// Creates an object whose fields are known. Who owns those of an applied one is noted in it already.
    pub(crate) async fn create_checked(
        &self,
        request: &Request<'_>,
        made: Changed,
    ) -> Result<(Answer, Vec<String>), ApiError> {
        let kind = request.kind;
        let Changed { mut object, empties, applied, .. } = made;
        wipe(&mut object);
        let version = metadata_mut(&mut object).remove("resourceVersion").unwrap_or_default();
        if !kind.namespaced {
            metadata_mut(&mut object).remove("namespace");
        }
        kind.strategy.default(&mut object);
        if !applied {
            // What admission and the kind itself put in belongs to nobody.
            self.track_sent(request, &Value::Null, &mut object, &empties).await;
        }
        let mut admission = request.admission(Operation::Create, None, None, request.options("CreateOptions"))?;
        object::name(&object).clone_into(&mut admission.name);
        // A namespace lies in itself.
        if kind.group.is_empty() && &*kind.plural == "namespaces" {
            admission.namespace.clone_from(&admission.name);
        }
        let mut warnings = Vec::new();
        let object = self.mutate(request, &mut admission, object, &mut warnings).await?;
        let generate = object::text(&object, &["metadata", "generateName"]).to_owned();
        let generated = object::name(&object).is_empty() && !generate.is_empty();
        let version = version.as_str().unwrap_or_default();
        // What is no number says nothing.
        let told = |version: &str| version.parse::<u64>().is_ok_and(|n| n > 0);
        if (told(version) || told(object::resource_version(&object))) && !request.dry_run() {
            return Err(must_be_new());
        }
        if !generated {
            let created = self.create_once(request, admission, object, &empties, version, &mut warnings).await;
            return created.map_err(|error| error.warned(warnings.clone())).map(|answer| (answer, warnings));
        }
        for attempt in 0.. {
            let mut object = object.clone();
            metadata_mut(&mut object).insert("name", names::generate(&generate).into());
            let mut said = warnings.clone();
            match self.create_once(request, admission.clone(), object, &empties, version, &mut said).await {
                Err(error) if error.code == 409 && attempt < ATTEMPTS => {}
                Err(error) => return Err(error.warned(said)),
                Ok(answer) => return Ok((answer, said)),
            }
        }
        Err(ApiError::internal("no free name was found"))
    }

    /// Checks and stores an object that mutating plugins have let in; a dry run shows the version that was sent.
    async fn create_once(
        &self,
        request: &Request<'_>,
        mut admission: ironclad_admission::Request,
        mut object: Value,
        empties: &Empties,
        version: &str,
        warnings: &mut Vec<String>,
    ) -> Result<Answer, ApiError> {
        let kind = request.kind;
        without_status(kind, &mut object);
        fresh_metadata(&mut object, kind.generation);
        kind.strategy.default(&mut object);
        // Whatever came before, plugins included, it is who asks that asks.
        if &*kind.plural == "certificatesigningrequests" {
            name_requestor(&mut object, request.user);
        }
        kind.strategy.prepare_create(&mut object);
        let reserved = self.addresses.reserve(kind, &mut object, None, request.dry_run()).await?;
        let name = object::name(&object).to_owned();
        let generate = object::text(&object, &["metadata", "generateName"]).to_owned();
        let resource = kind.group_resource();
        if keeps_empties(kind) {
            object = request.laid(empties, &object, Which::Written).unwrap_or(object);
        }
        let mut errors = self.admission.mistakes(&Written { resource, subresource: "", object: &object, old: None });
        errors.extend(validate_metadata(kind, &object));
        let laid = request.laid(empties, &object, Which::All);
        errors.extend(kind.strategy.validate(laid.as_ref().unwrap_or(&object)));
        if !errors.is_empty() {
            return Err(invalid(kind, &name, errors));
        }
        if admission.name.is_empty() {
            admission.name.clone_from(&name);
        }
        warnings.extend(kind.strategy.warnings(&object, None));
        admission.object = Some(object);
        let accepted = self.admission.validate(&mut admission).await;
        warnings.append(&mut admission.warnings);
        accepted?;
        let mut object = admission.object.take().unwrap_or_default();
        if request.dry_run() {
            if let Some(entry) = self.entry(&request.key(&name)).await? {
                return Err(exists_already(request, &name, &generate, &encode::decode(entry.value.bytes())));
            }
            // Whether it could be stored is tried all the same.
            self.store_form(request, object.clone()).await?;
            if !version.is_empty() {
                metadata_mut(&mut object).insert("resourceVersion", version.into());
            }
            return Ok(Answer::value(201, object));
        }
        let object = self.store_form(request, object).await?;
        let entry = match self.put_reserved(request, object, Expect::Absent, reserved).await {
            Err(error) if error.reason == Reason::AlreadyExists => {
                let entry = self.entry(&request.key(&name)).await?;
                let existing = entry.map(|e| encode::decode(e.value.bytes())).unwrap_or_default();
                return Err(exists_already(request, &name, &generate, &existing));
            }
            other => other?,
        };
        Ok(Answer { code: 201, ..self.show(request, &entry).await? })
    }
}

/// A status cannot be set when an object is made, where it has a door of its own. Only nodes come with theirs.
fn without_status(kind: &Kind, object: &mut Value) {
    let is_node = kind.group.is_empty() && &*kind.plural == "nodes";
    if is_node || kind.subresource("status").is_none() {
        return;
    }
    if let Some(map) = object.as_object_mut() {
        map.remove("status");
        if let Some((bundle, Shape::Object(id))) = types(kind) {
            bundle.complete(id, map);
        }
    }
}

/// Who asks for a certificate is who is asking, whatever the request says.
fn name_requestor(object: &mut Value, user: &UserInfo) {
    let spec = object::entry(object, "spec");
    for (field, value) in [
        ("username", json!(user.name)),
        ("uid", json!(user.uid)),
        ("groups", json!(user.groups)),
        ("extra", json!(user.extra)),
    ] {
        match value == json!("") || value == json!([]) || value == json!({}) {
            true => drop(spec.remove(field)),
            false => drop(spec.insert(field.to_owned(), value)),
        }
    }
}

/// What is to be created has no version yet; stock's storage says so, without a reason.
fn must_be_new() -> ApiError {
    ApiError::new(Reason::Unknown, "resourceVersion should not be set on objects to be created")
}

/// That an object exists already, and perhaps not for long; `generate` is what its name was to be made of.
fn exists_already(request: &Request<'_>, name: &str, generate: &str, existing: &Value) -> ApiError {
    let mut error = ApiError::already_exists(&request.kind.group_resource(), name);
    if !generate.is_empty() {
        error.message += ", the server was not able to generate a unique name for the object";
        error = error.retry_after(1);
    }
    if !existing["metadata"]["deletionTimestamp"].is_null() {
        error.message = format!("object is being deleted: {}", error.message);
    }
    error
}

/// What the server alone decides about a new object.
fn fresh_metadata(object: &mut Value, generation: bool) {
    wipe(object);
    let meta = metadata_mut(object);
    for field in ["resourceVersion", "selfLink"] {
        meta.remove(field);
    }
    meta.insert("uid", uuid::Uuid::new_v4().to_string().into());
    meta.insert("creationTimestamp", time::now().into());
    if generation {
        meta.insert("generation", json!(1));
    }
}
