//! Server-side apply: who owns which fields, what an apply changes, and with whom it conflicts (KEP-555).
//!
//! Invariants: an apply that changes nothing leaves the object as it is, time stamps included; a field that one
//! manager applied is never changed by another's apply without `force`; nobody owns a field that is not there, but for
//! lists and maps that were left empty, which are not stored.

mod compare;
mod conflict;
mod fields;
mod last;
mod managers;
mod merge;
mod nodes;
mod place;
mod quick;
mod reconcile;
mod set;
mod update;

pub use managers::{Manager, Operation};
pub use set::{PathElement, Set};

use crate::bundle::{Bundle, Shape};
use crate::check;
use crate::empties::Empties;
use ironclad_api::object::{self, metadata_mut};
use ironclad_api::{ApiError, Reason};
use ironclad_json::{Value, json};
use managers::Managed;
use place::Place;
use std::convert::Infallible;
use update::Update;

/// Fields that belong to the server and to no manager.
const STRIPPED: &[&[&str]] = &[
    &["apiVersion"],
    &["kind"],
    &["metadata"],
    &["metadata", "name"],
    &["metadata", "namespace"],
    &["metadata", "creationTimestamp"],
    &["metadata", "selfLink"],
    &["metadata", "uid"],
    &["metadata", "clusterName"],
    &["metadata", "generation"],
    &["metadata", "managedFields"],
    &["metadata", "resourceVersion"],
];

/// Update managers that are remembered; older ones become one.
const UPDATERS: usize = 10;
const ANCIENT: &str = "ancient-changes";
/// Who owns what was there before the first apply.
const BEFORE: &str = "before-first-apply";

/// How an object looks in its other versions, for managers who wrote in one of them.
pub trait Versions {
    /// The object in another version with its types and its shape there; `None` where that is no longer served.
    fn convert(&self, object: &Value, api_version: &str) -> Option<(Value, &Bundle, Shape)>;

    /// The types and the shape of another version; `None` where that is no longer served.
    fn shape(&self, api_version: &str) -> Option<(&Bundle, Shape)>;

    /// Fields that the door does not change in another version; `None` where they are those of the request's.
    fn ignored(&self, _api_version: &str) -> Option<Set> {
        None
    }
}

/// A kind of one version.
pub struct OneVersion;

impl Versions for OneVersion {
    fn convert(&self, _: &Value, _: &str) -> Option<(Value, &Bundle, Shape)> {
        None
    }

    fn shape(&self, _: &str) -> Option<(&Bundle, Shape)> {
        None
    }
}

/// How an object's fields are told apart.
pub struct Schema<'a> {
    /// The types that the shape refers to.
    pub bundle: &'a Bundle,
    /// The shape of the whole object.
    pub shape: Shape,
    /// Its other versions.
    pub versions: &'a dyn Versions,
    /// Fields that this door does not change, so that nobody comes to own them through it.
    pub ignored: Set,
}

impl<'a> Schema<'a> {
    /// A kind of one version whose every field can be changed.
    pub fn new(bundle: &'a Bundle, shape: Shape) -> Self {
        Self { bundle, shape, versions: &OneVersion, ignored: Set::default() }
    }

    fn root(&self) -> Place<'_> {
        Place::root(self.bundle, &self.shape)
    }

    /// An object as Go's types have it: fields that are always there are there.
    fn typed(&self, object: &Value) -> Value {
        self.completed(bare(object))
    }

    fn completed(&self, mut object: Value) -> Value {
        if let Shape::Object(id) = self.shape {
            self.bundle.complete_all(id, &mut object);
        }
        object
    }

    /// A typed object as it is stored.
    fn stored(&self, mut object: Value) -> Value {
        match object.get_mut("metadata") {
            // Of a custom resource only metadata is typed; null means something in the rest.
            Some(meta) if self.bundle.is_extension() => without_nulls(meta),
            _ if self.bundle.is_extension() => {}
            _ => without_nulls(&mut object),
        }
        if let Shape::Object(id) = self.shape {
            self.bundle.complete_all(id, &mut object);
        }
        object
    }

    /// Brings what was merged into the form in which it is stored. Of a custom resource only metadata has one.
    fn finished(&self, mut object: Value) -> Result<(Value, Empties), String> {
        object = self.stored(object);
        match self.root().child("metadata").0.shape() {
            meta if self.bundle.is_extension() => {
                if let Some(metadata) = object.get_mut("metadata") {
                    check::value(self.bundle, meta, metadata)?;
                }
            }
            _ => {
                let empties = check::value(self.bundle, &self.shape, &mut object)?.empties;
                return Ok((object, empties));
            }
        }
        Ok((object, Empties::default()))
    }

    /// Brings what managers own into line with what the schema says now.
    fn reconcile(&self, managed: &mut Managed, version: &str) {
        for (manager, set) in &mut managed.entries {
            let renewed = if manager.api_version == version {
                reconcile::reconciled(self.root(), set)
            } else {
                let there = self.versions.shape(&manager.api_version);
                there.and_then(|(bundle, shape)| reconcile::reconciled(Place::root(bundle, &shape), set))
            };
            if let Some(renewed) = renewed {
                *set = renewed;
            }
        }
    }
}

/// Applies `config` to `live` for `manager`. `live` is null for a new object. The answer has its managed fields.
pub fn apply(
    schema: &Schema<'_>,
    live: &Value,
    config: &Value,
    manager: &Manager,
    force: bool,
) -> Result<Value, ApiError> {
    apply_sent(schema, live, config, manager, force).map(|(object, _)| object)
}

/// [`apply`], with what stands empty in the object because it was applied so.
pub fn apply_sent(
    schema: &Schema<'_>,
    live: &Value,
    config: &Value,
    manager: &Manager,
    force: bool,
) -> Result<(Value, Empties), ApiError> {
    let config = bare(config);
    let problems = fields::problems(schema.root(), &config);
    if !problems.is_empty() {
        return Err(untyped(&config, &problems));
    }
    let applied = match quick::applied(schema, live, &config, manager) {
        Some(object) => Ok(object),
        None => once(schema, live, &config, manager, force),
    };
    let object = match applied {
        Err(conflicts) => {
            let left = last::not_from_last_applied(schema, live, conflicts, manager);
            if !left.is_empty() {
                return Err(conflict::error(left));
            }
            once(schema, live, &config, manager, true).map_err(conflict::error)?
        }
        Ok(object) => object,
    };
    let (object, empties) = schema.finished(object).map_err(|why| untyped(&config, &[why]))?;
    Ok((last::renew(object, &config, manager), empties))
}

fn once(
    schema: &Schema<'_>,
    live: &Value,
    config: &Value,
    manager: &Manager,
    force: bool,
) -> Result<Value, conflict::Conflicts> {
    let mut managed = Managed::read_or_none(live);
    let typed = schema.typed(live);
    if managed.is_empty() && !live.is_null() {
        // Nobody was noted so far: what is there belongs to those before.
        let before = Manager { name: BEFORE.to_owned(), operation: Operation::Update, ..manager.clone() };
        note(schema, &schema.typed(&Value::Null), &typed, &mut managed, &before);
    }
    schema.reconcile(&mut managed, &manager.api_version);
    let known = managed.get(manager).cloned();
    let fields = fields::field_set(schema.root(), config).without_trees(&schema.ignored);
    let merged = merge::merge(schema.root(), &typed, config);
    // Who applies again all that it applied before takes nothing back.
    let takes_back =
        |(before, last): &&(Manager, Set)| before.api_version != manager.api_version || !last.minus(&fields).is_empty();
    let takes_back = known.as_ref().filter(takes_back).cloned();
    managed.set(manager.clone(), fields);
    let merged = match takes_back.as_ref().filter(|(_, set)| !set.is_empty()) {
        Some((before, last)) => update::without_dropped(schema, merged, before, last, &managed, manager),
        None => merged,
    };
    // What is compared is as it was sent, not as it will be stored: another way of writing a value is another value.
    let update = Update { schema, old: &typed, new: &merged, version: &manager.api_version };
    update.settle(&mut managed, Some(manager), force)?;
    if let Some((owner, set)) = managed.entries.iter_mut().find(|(m, _)| m.same(manager)) {
        *set = strip(std::mem::take(set));
        if typed == merged {
            // Who changes nothing keeps the time of the last change.
            owner.time = known.map(|(m, _)| m.time).unwrap_or_default();
        }
    }
    let mut merged = if typed == merged && !live.is_null() { live.clone() } else { merged };
    managed.write(&mut merged);
    Ok(merged)
}

/// What of a configuration would replace a whole that is known only as one; merging it would lose what it does not name.
pub fn atomics(schema: &Schema<'_>, config: &Value) -> Vec<String> {
    fields::atomics(schema.root(), config)
}

/// What is wrong with a configuration by its schema.
pub fn problems(schema: &Schema<'_>, config: &Value) -> Vec<String> {
    fields::problems(schema.root(), config)
}

/// An object with `config` merged over it, without regard to who owns what.
pub fn merge(schema: &Schema<'_>, live: &Value, config: &Value) -> Value {
    merge::merge(schema.root(), live, config)
}

/// Whether the managed fields of an object can be understood; the error says why not.
pub fn check_managers(object: &Value) -> Result<(), String> {
    Managed::read(object).map(drop)
}

/// Notes in `new` what an ordinary write of `manager` changed from `old` (null for a new object).
pub fn track(schema: &Schema<'_>, old: &Value, new: &mut Value, manager: &Manager) {
    // What does not fit its schema has no fields that could be owned.
    if schema.bundle.is_extension() && !fields::fits(schema.root(), new) {
        drop(metadata_mut(new).remove("managedFields"));
        return;
    }
    let renewed = quick_list(old, new, !manager.subresource.is_empty())
        .and_then(|list| quick::renewed(schema, old, new, list, manager));
    match renewed {
        Some(list) => drop(metadata_mut(new).insert("managedFields", Value::Array(list.into()))),
        None => track_in_full(schema, old, new, manager),
    }
}

/// Notes in `new`, which nobody stores, what it has beyond `empty`.
pub fn begin(schema: &Schema<'_>, empty: &Value, new: &mut Value, manager: &Manager) {
    let mut managed = Managed::default();
    note(schema, &schema.typed(empty), &schema.typed(new), &mut managed, manager);
    managed.write(new);
}

fn track_in_full(schema: &Schema<'_>, old: &Value, new: &mut Value, manager: &Manager) {
    let sent = &new["metadata"]["managedFields"];
    let through_subresource = !manager.subresource.is_empty();
    // An empty list, or one empty entry, asks to forget everybody.
    let reset = sent.as_array().is_some_and(|l| match l.as_slice() {
        [] => true,
        [one] => is_empty_entry(one),
        _ => false,
    });
    let mut managed = match reset && !through_subresource {
        true => Managed::default(),
        false => {
            // Clients can write the list, but who does not know it does not empty it.
            let given = if through_subresource { Managed::default() } else { Managed::read_or_none(new) };
            if given.is_empty() { Managed::read_or_none(old) } else { given }
        }
    };
    if managed.is_empty() && !old.is_null() {
        // Nobody asked to be noted so far.
        metadata_mut(new).remove("managedFields");
        return;
    }
    schema.reconcile(&mut managed, &manager.api_version);
    if managed.entries.iter().all(|(m, _)| m.api_version == manager.api_version) {
        // What did not change is in no set; only another version may need it, to convert the rest.
        let (old, new) = quick::differing(old, new);
        note(schema, &schema.typed(&old), &schema.typed(&new), &mut managed, manager);
    } else {
        note(schema, &schema.typed(old), &schema.typed(new), &mut managed, manager);
    }
    managed.cap(UPDATERS, ANCIENT);
    managed.write(new);
}

/// The managed fields that a write goes on from.
fn quick_list<'a>(old: &'a Value, new: &'a Value, through_subresource: bool) -> Option<&'a [Value]> {
    let of = |object: &'a Value| object["metadata"]["managedFields"].as_array().filter(|l| !l.is_empty());
    if !through_subresource && new["metadata"]["managedFields"].as_array().is_some_and(Vec::is_empty) {
        return None;
    }
    let sent = of(new).filter(|_| !through_subresource);
    sent.or_else(|| of(old)).map(Vec::as_slice)
}

fn is_empty_entry(entry: &Value) -> bool {
    entry.as_object().is_some_and(|e| e.values().all(|v| v.is_null() || v == ""))
}

/// Notes what `manager` changed by a write that is no apply.
fn note(schema: &Schema<'_>, old: &Value, new: &Value, managed: &mut Managed, manager: &Manager) {
    let update = Update { schema, old, new, version: &manager.api_version };
    // Without an applier there are no conflicts.
    let Ok(change) = update.settle(managed, None, true) else { return };
    let touched = strip(change.touched());
    if !touched.is_empty() {
        managed.add(manager, touched);
    }
}

/// The object without its managed fields, which are not even copied: they can be as long as all the rest.
fn bare(object: &Value) -> Value {
    let Value::Object(map) = object else { return if object.is_null() { json!({}) } else { object.clone() } };
    let without = |(name, value): (&ironclad_json::Text, &Value)| {
        let value = match value {
            Value::Object(meta) if name == "metadata" => {
                let kept = meta.iter().filter(|(field, _)| *field != "managedFields");
                Value::Object(kept.map(|(field, value)| (field.clone(), value.clone())).collect())
            }
            other => other.clone(),
        };
        (name.clone(), value)
    };
    Value::Object(map.iter().map(without).collect())
}

/// Takes out what stands for Go's lists that are none.
fn without_nulls(value: &mut Value) {
    if !holds_null(value) {
        return;
    }
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            let Ok(_) = map.rewrite(|_, v| Ok::<_, Infallible>(cleaned(v).into()));
        }
        Value::Array(items) => {
            items.retain(|v| !v.is_null());
            let Ok(_) = items.rewrite(|_, v| Ok::<_, Infallible>(cleaned(v)));
        }
        _ => {}
    }
}

/// A value that has nulls in it without them.
fn cleaned(value: &Value) -> Option<Value> {
    holds_null(value).then(|| {
        let mut value = value.clone();
        without_nulls(&mut value);
        value
    })
}

fn holds_null(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.values().any(|v| v.is_null() || holds_null(v)),
        Value::Array(items) => items.iter().any(|v| v.is_null() || holds_null(v)),
        _ => false,
    }
}

fn strip(mut set: Set) -> Set {
    for path in STRIPPED {
        let path: Vec<PathElement> = path.iter().map(|p| PathElement::Field((*p).into())).collect();
        set.remove_member(&path);
    }
    set
}

/// A configuration that does not fit its type. Stock has no reason for it.
fn untyped(config: &Value, problems: &[String]) -> ApiError {
    let gvk = object::gvk(config);
    let (namespace, name) = (object::namespace(config), object::name(config));
    let what = match problems {
        [one] => one.clone(),
        many => format!("errors:\n  {}", many.join("\n  ")),
    };
    let of = format!("{namespace}/{name}; {}/{}, Kind={}", gvk.group, gvk.version, gvk.kind);
    ApiError::new(Reason::Unknown, format!("failed to create typed patch object ({of}): {what}"))
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
