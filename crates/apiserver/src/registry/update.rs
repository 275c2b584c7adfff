//! Changing objects: one road for PUT, PATCH, status and the other subresources that change an object.

use super::admit::Door;
use super::input::Checked;
use super::{Answer, Input, Registry, Request, invalid, keeps_empties, modified};
use futures::FutureExt;
use ironclad_admission::Written;
use ironclad_api::field::ErrorKind;
use ironclad_api::object::{self, metadata_mut};
use ironclad_api::{ApiError, FieldError, Path, Reason};
use ironclad_json::{Value, json};
use ironclad_kinds::{Kind, validate_metadata_update};
use ironclad_schema::{Empties, Which};
use ironclad_store::{Entry, Expect};
use std::sync::Arc;

/// How often a change that does not insist on a version is tried again.
const ATTEMPTS: u32 = 6;

/// What a change makes of the present object.
pub(crate) struct Changed {
    pub(crate) object: Value,
    /// What of it was sent empty.
    pub(crate) empties: Empties,
    pub(crate) warnings: Vec<String>,
    /// Whether it was applied, so that who owns its fields is noted in it already.
    pub(crate) applied: bool,
}

impl Changed {
    /// A change of which nothing more is known.
    pub(crate) fn of(object: Value) -> Self {
        Self { object, empties: Empties::default(), warnings: Vec::new(), applied: false }
    }
}

impl Registry {
    pub(crate) async fn update(&self, request: &Request<'_>, input: Input) -> Result<Answer, ApiError> {
        let checked = request.check(request.kind, input)?;
        let told = checked.warnings.clone();
        // What was noted of the fields is told also where nothing comes of the request.
        self.updated(request, checked).await.map_err(|error| match error.warnings.is_empty() {
            true => error.warned(told),
            false => error,
        })
    }

    async fn updated(&self, request: &Request<'_>, checked: Checked) -> Result<Answer, ApiError> {
        let Checked { mut object, empties, mut warnings } = checked;
        ironclad_audit::note(|_| {
            let mut sent = object.clone();
            request.kind.strategy.default(&mut sent);
            request.tell_sent(&sent);
        });
        request.settle_namespace(&mut object)?;
        request.must_be_named(&object)?;
        warnings.extend(owners_once(&mut object, ""));
        if self.entry(&request.key(&request.info.name)).await?.is_none() {
            if !request.kind.create_on_update || !request.info.subresource.is_empty() {
                return Err(request.not_found());
            }
            must_be_version(object::resource_version(&object))?;
            if !object::uid(&object).is_empty() {
                return Err(other_uid(request, object::uid(&object), ""));
            }
            // Whatever it was, it is new now.
            metadata_mut(&mut object).remove("resourceVersion");
            let made = Changed { empties, ..Changed::of(object) };
            let (answer, more) =
                self.create_checked(request, made).boxed().await.map_err(|error| error.warned(warnings.clone()))?;
            return Ok(Answer { code: 201, warnings: [warnings, more].concat(), ..answer });
        }
        let change = |_: &Value| {
            let (object, empties, warnings) = (object.clone(), empties.clone(), warnings.clone());
            Ok(Changed { object, empties, warnings, applied: false })
        };
        self.change(request, change).await
    }

    /// Changes an object by a function of its present state; tries again when somebody else was faster, unless the
    /// change insists on a resource version.
    pub(crate) async fn change(
        &self,
        request: &Request<'_>,
        change: impl Fn(&Value) -> Result<Changed, ApiError>,
    ) -> Result<Answer, ApiError> {
        let key = request.key(&request.info.name);
        for attempt in 1.. {
            let entry = self.entry(&key).await?.ok_or_else(|| request.not_found())?;
            let old = self.load(request, &entry).await?;
            let changed = self.converted(request, || change(&old)).await??;
            // Who names a version means it: trying again would not help.
            let named = object::resource_version(&changed.object);
            let other = named != object::resource_version(&old);
            let pinned = !named.is_empty() && (other || &*request.info.verb == "update");
            let noted = changed.warnings.clone();
            match self.change_once(request, &entry, old, changed).await.map_err(|error| {
                // What admission refuses has them already.
                if error.warnings.is_empty() { error.warned(noted.clone()) } else { error }
            }) {
                Err(error)
                    if error.reason == ironclad_api::Reason::Conflict
                        && attempt < ATTEMPTS
                        && !pinned
                        && is_race(&error) => {}
                other => return other,
            }
        }
        Err(modified(request, &request.info.name))
    }

    async fn change_once(
        &self,
        request: &Request<'_>,
        entry: &Entry,
        old: Value,
        changed: Changed,
    ) -> Result<Answer, ApiError> {
        let Changed { object: mut new, empties, mut warnings, applied } = changed;
        let kind = request.kind;
        let status = request.info.subresource == "status";
        let empties = empties.only(|part| (part == "status") == status || kind.subresource("status").is_none());
        let uid = object::uid(&new);
        // A patch that makes another uid breaks a rule, which validation tells.
        if &*request.info.verb == "update" && !uid.is_empty() && uid != object::uid(&old) {
            return Err(other_uid(request, uid, object::uid(&old)));
        }
        keep_managers(&mut new, &old);
        let whole = matches!(&*request.info.subresource, "" | "status" | "ephemeralcontainers" | "resize");
        if whole || &*request.info.verb == "update" {
            kind.strategy.default_changed(&mut new, &old);
        }
        if !applied {
            self.track_sent(request, &old, &mut new, &empties).await;
        }
        let old = Arc::new(old);
        let mut door = Door::of(request, &old)?;
        let mut new = self.admit(request, &mut door, new, &mut warnings).await?;
        if &*request.info.verb == "patch" {
            warnings.extend(owners_once(&mut new, " after mutating admission happens"));
        }
        check_version(request, &mut new, &old)?;
        // Whoever names no version means the present one.
        if object::resource_version(&new).is_empty() {
            metadata_mut(&mut new).insert("resourceVersion", object::resource_version(&old).into());
        }
        keep_metadata(&mut new, &old);
        if !kind.namespaced {
            metadata_mut(&mut new).remove("namespace");
        }
        self.prepare(request, &mut new, &old);
        let dry_run = request.dry_run();
        let reserved = self.addresses.reserve(kind, &mut new, Some(&old), dry_run).await?;
        if keeps_empties(kind) {
            new = request.laid(&empties, &new, Which::Written).unwrap_or(new);
        }
        let laid = request.laid_unlike(&empties, &new, &old);
        warnings.extend(self.validate(request, laid.as_ref().unwrap_or(&new), &old)?);
        // Of a status only pods have something to say.
        if request.info.subresource != "status" || &*kind.kind == "Pod" {
            warnings.extend(kind.strategy.warnings(&new, Some(&old)));
        }
        let counting = COUNTING_EMPTIES.contains(&&*kind.plural);
        let counted = counting.then(|| request.laid(&empties, &new, Which::All)).flatten();
        let counted = counted.as_ref().unwrap_or(&new);
        if kind.generation && counts(&request.info.subresource) && !kind.strategy.same_generation(counted, &old) {
            let next = old["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
            metadata_mut(&mut new).insert("generation", json!(next));
        }
        let mut new = self.accept(request, &mut door, new, &mut warnings).await?;
        if same(&new, &old) {
            return Ok(Answer { warnings, ..self.show(request, entry).await? });
        }
        if dry_run {
            // Whether it could be stored is tried all the same.
            self.store_form(request, new.clone()).await?;
            metadata_mut(&mut new).insert("resourceVersion", object::resource_version(&old).into());
            return Ok(Answer { warnings, ..Answer::value(200, new) });
        }
        let new = self.store_form(request, new).await?;
        if self.finished(kind, &new) {
            let entry = self.remove(request, entry, &new).await?;
            reserved.keep().await;
            return Ok(Answer { warnings, ..self.show(request, &entry).await? });
        }
        let entry = self.put_reserved(request, new, Expect::Modified(entry.modified), reserved).await?;
        Ok(Answer { warnings, ..self.show(request, &entry).await? })
    }

    /// Puts back what this door does not change, then lets the kind have its say.
    fn prepare(&self, request: &Request<'_>, new: &mut Value, old: &Value) {
        let kind = request.kind;
        match &*request.info.subresource {
            "status" | "approval" => {
                let sub = new.get("status").cloned();
                let sent = std::mem::replace(new, old.clone());
                put(new, "status", sub);
                for field in metadata_of_status(kind) {
                    let value = sent["metadata"].get(*field).cloned();
                    match value {
                        Some(value) => drop(metadata_mut(new).insert(*field, value)),
                        None => drop(metadata_mut(new).remove(field)),
                    }
                }
                match &*request.info.subresource {
                    "status" => kind.strategy.prepare_status_update(new, old),
                    other => kind.strategy.prepare_subresource(other, new, old),
                }
            }
            // The server itself wrote what a binding changes, the status included.
            "binding" => {}
            "finalize" | "ephemeralcontainers" | "resize" | "scale" => {
                put(new, "status", old.get("status").cloned());
                kind.strategy.prepare_subresource(&request.info.subresource, new, old);
            }
            _ => {
                if kind.subresource("status").is_some() {
                    put(new, "status", old.get("status").cloned());
                }
                kind.strategy.default_changed(new, old);
                kind.strategy.prepare_update(new, old);
            }
        }
    }

    /// Whether the change is right; what was wrong before and stays so is only told.
    fn validate(&self, request: &Request<'_>, new: &Value, old: &Value) -> Result<Vec<String>, ApiError> {
        let kind = request.kind;
        let (resource, subresource) = (kind.group_resource(), &*request.info.subresource);
        let mut errors = validate_metadata_update(kind, subresource, new, old);
        let written = Written { resource, subresource, object: new, old: Some(old) };
        errors.extend(self.admission.mistakes(&written));
        errors.extend(match &*request.info.subresource {
            "status" => kind.strategy.validate_status_update(new, old),
            "binding" => Vec::new(),
            sub @ ("approval" | "ephemeralcontainers" | "finalize" | "resize" | "scale") => {
                kind.strategy.validate_subresource(sub, new, old)
            }
            _ => kind.strategy.validate_update(new, old),
        });
        let (told, errors): (Vec<_>, Vec<_>) = errors.into_iter().partition(|e| e.kind == ErrorKind::Ratcheted);
        match errors.is_empty() {
            true => Ok(told.into_iter().map(|e| e.detail).collect()),
            false => Err(invalid(kind, object::name(new), errors)),
        }
    }

    /// Whether an object that is being deleted has nothing left to wait for.
    pub(crate) fn finished(&self, kind: &Kind, object: &Value) -> bool {
        let meta = &object["metadata"];
        let waiting = meta["finalizers"].as_array().is_some_and(|f| !f.is_empty());
        let deleting = !meta["deletionTimestamp"].is_null();
        let graceful = meta["deletionGracePeriodSeconds"].as_i64().is_some_and(|s| s > 0);
        let namespace =
            &*kind.plural == "namespaces" && object["spec"]["finalizers"].as_array().is_some_and(|f| !f.is_empty());
        deleting && !waiting && !graceful && !namespace
    }
}

/// Kinds whose metadata, managed fields apart, cannot be changed through `status`.
const STATUS_ALONE: &[&str] = &[
    "apiservices",
    "devicetaintrules",
    "flowschemas",
    "podcertificaterequests",
    "podgroups",
    "prioritylevelconfigurations",
    "resourceclaims",
    "resourcepoolstatusrequests",
    "servicecidrs",
    "storageversionmigrations",
    "storageversions",
    "validatingadmissionpolicies",
    "volumeattachments",
];

/// Kinds of which stock takes an empty list for another than a missing one when it counts generations.
const COUNTING_EMPTIES: &[&str] =
    &["mutatingwebhookconfigurations", "networkpolicies", "validatingwebhookconfigurations"];

/// What of the metadata comes in through `status`, besides what no door keeps back.
fn metadata_of_status(kind: &Kind) -> &'static [&'static str] {
    const ALL: &[&str] = &[
        "managedFields",
        "uid",
        "generateName",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "annotations",
        "finalizers",
        "ownerReferences",
        "labels",
    ];
    // Old kubelets spoil who owns a pod, and none decides when it ends.
    const POD: &[&str] =
        &["managedFields", "uid", "generateName", "deletionGracePeriodSeconds", "annotations", "finalizers", "labels"];
    match &*kind.plural {
        _ if kind.custom.is_some() => &ALL[..1],
        "pods" => POD,
        plural if STATUS_ALONE.contains(&plural) => &ALL[..1],
        "deployments" => &ALL[..8],
        _ => ALL,
    }
}

/// Of owners that stand twice one stays; the warning about the others. `when` says more of when that was seen.
pub(crate) fn owners_once(object: &mut Value, when: &str) -> Option<String> {
    let owners = object["metadata"]["ownerReferences"].as_array().filter(|o| o.len() > 1)?;
    let (mut kept, mut twice) = (Vec::with_capacity(owners.len()), Vec::new());
    for owner in owners {
        match kept.contains(owner) {
            true => twice.push(owner["uid"].as_str().unwrap_or_default().to_owned()),
            false => kept.push(owner.clone()),
        }
    }
    if twice.is_empty() {
        return None;
    }
    metadata_mut(object).insert("ownerReferences", Value::from(kept.as_slice()));
    let advice = "API server dedups owner references in 1.20+, and may reject such requests as early as 1.24; please fix your requests";
    let uids = twice.join(", ");
    Some(format!(
        ".metadata.ownerReferences contains duplicate entries{when}; {advice}; duplicate UID(s) observed: {uids}"
    ))
}

/// Kinds that refuse a PUT without a resource version.
const CONDITIONAL: &[&str] = &[
    "apiservices",
    "clustertrustbundles",
    "csidrivers",
    "csinodes",
    "csistoragecapacities",
    "customresourcedefinitions",
    "leasecandidates",
    "leases",
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
    "mutatingwebhookconfigurations",
    "poddisruptionbudgets",
    "resourcepoolstatusrequests",
    "runtimeclasses",
    "storageversionmigrations",
    "storageversions",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "validatingwebhookconfigurations",
    "volumeattachments",
];

fn needs_version(kind: &Kind) -> bool {
    kind.custom.is_some() || CONDITIONAL.contains(&&*kind.plural)
}

fn must_have_version(kind: &Kind, object: &Value) -> Result<(), ApiError> {
    if !matches!(object::resource_version(object), "" | "0") {
        return Ok(());
    }
    let path = Path::new("metadata").child("resourceVersion");
    let error = FieldError::invalid(&path, &json!(0), "must be specified for an update");
    Err(ApiError::invalid(&kind.group, &kind.plural, object::name(object), &[error]))
}

fn is_race(error: &ApiError) -> bool {
    error.message.contains("the object has been modified")
}

fn put(object: &mut Value, field: &str, value: Option<Value>) {
    match (value, object.as_object_mut()) {
        (Some(value), Some(map)) => drop(map.insert(field.to_owned(), value)),
        (None, Some(map)) => drop(map.remove(field)),
        _ => {}
    }
}

/// What a client cannot change, whatever it sends.
fn keep_metadata(new: &mut Value, old: &Value) {
    let meta = metadata_mut(new);
    meta.remove("selfLink");
    for field in
        ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "generateName"]
    {
        let given = meta.get(field).is_some_and(|v| !v.is_null());
        let own = old["metadata"].get(field);
        let kept = match field {
            "generation" | "creationTimestamp" => true,
            "deletionTimestamp" => own.is_some(),
            _ => false,
        };
        // A value that differs is a mistake that validation names; a missing one is filled in.
        if !given || kept {
            match own {
                Some(value) => drop(meta.insert(field, value.clone())),
                None => drop(meta.remove(field)),
            }
        }
    }
}

/// Who says nothing of who owns which fields does not change it.
fn keep_managers(new: &mut Value, old: &Value) {
    let meta = metadata_mut(new);
    if !meta.contains_key("managedFields")
        && let Some(managed) = old["metadata"].get("managedFields")
    {
        meta.insert("managedFields", managed.clone());
    }
}

/// That an object is not the one that is meant. Stock lets its storage say it, which a dry run does not reach.
fn other_uid(request: &Request<'_>, uid: &str, own: &str) -> ApiError {
    let key = request.key(&request.info.name);
    let key = if request.dry_run() { key.strip_prefix("/registry").unwrap_or(&key) } else { &key };
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {own}"
    );
    ApiError::conflict(&request.kind.group_resource(), &request.info.name, why)
}

/// A version is a number, in the words of Go where it is none.
fn must_be_version(text: &str) -> Result<(), ApiError> {
    let Err(why) = text.parse::<u64>() else { return Ok(()) };
    let why = match why.kind() {
        std::num::IntErrorKind::Empty => return Ok(()),
        std::num::IntErrorKind::PosOverflow => "value out of range",
        _ => "invalid syntax",
    };
    let why = format!("strconv.ParseUint: parsing {}: {why}", ironclad_api::go_quote(text));
    Err(ApiError::new(Reason::Unknown, why))
}

/// A change that names a version is for that version alone, and of some kinds every change must name one.
fn check_version(request: &Request<'_>, new: &mut Value, old: &Value) -> Result<(), ApiError> {
    if object::resource_version(new) == "0" {
        metadata_mut(new).remove("resourceVersion");
    }
    let named = object::resource_version(new);
    must_be_version(named)?;
    if !named.is_empty() && named != object::resource_version(old) {
        return Err(modified(request, &request.info.name));
    }
    let own = matches!(&*request.info.subresource, "" | "status");
    let written = matches!(&*request.info.verb, "update" | "patch");
    if written && needs_version(request.kind) && (own || request.kind.custom.is_none()) {
        must_have_version(request.kind, new)?;
    }
    Ok(())
}

/// Whether what changes through this door counts in `metadata.generation`: a status says how far others have come, and
/// who binds a pod gives it a place, but asks for nothing else.
fn counts(subresource: &str) -> bool {
    !matches!(subresource, "status" | "binding")
}

/// Whether nothing but the resource version and the times of managed fields differs.
fn same(new: &Value, old: &Value) -> bool {
    let equal = |a: &Value, b: &Value, but: &[&str], inner: &dyn Fn(&str, &Value, &Value) -> bool| {
        let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else { return a == b };
        let there = |m: &ironclad_json::Map| m.keys().filter(|k| !but.contains(&k.as_str())).count();
        let same =
            |(key, value): (&ironclad_json::Text, &Value)| b.get(key).is_some_and(|other| inner(key, value, other));
        there(a) == there(b) && a.iter().filter(|(key, _)| !but.contains(&key.as_str())).all(same)
    };
    let managed = |a: &Value, b: &Value| match (a.as_array(), b.as_array()) {
        (Some(a), Some(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b, &["time"], &|_, a, b| a == b))
        }
        _ => a == b,
    };
    let metadata = |key: &str, a: &Value, b: &Value| if key == "managedFields" { managed(a, b) } else { a == b };
    let whole = |key: &str, a: &Value, b: &Value| match key {
        "metadata" => equal(a, b, &["resourceVersion"], &metadata),
        _ => a == b,
    };
    equal(new, old, &[], &whole)
}
