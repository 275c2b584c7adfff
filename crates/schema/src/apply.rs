//! Server-side apply: who owns which fields, what an apply changes, and with whom it conflicts (KEP-555).
//!
//! Invariants: an apply that changes nothing leaves the object as it is, time stamps included; a field that one
//! manager applied is never changed by another's apply without `force`.

mod managers;
mod set;
mod typed;

pub use managers::{Manager, Operation};
pub use set::{PathElement, Set};

use crate::bundle::{Bundle, Shape};
use ironclad_api::{ApiError, Reason};
use managers::Managed;
use serde_json::{Value, json};
use typed::Typed;

/// Fields of metadata that belong to the server and to no manager.
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
    &["metadata", "deletionTimestamp"],
    &["metadata", "deletionGracePeriodSeconds"],
    &["metadata", "generateName"],
];

/// Update managers that are remembered; older ones become one.
const UPDATERS: usize = 10;
const ANCIENT: &str = "ancient-changes";

/// How an object's fields are told apart.
pub struct Schema<'a> {
    /// The types that the shape refers to.
    pub bundle: &'a Bundle,
    /// The shape of the whole object.
    pub shape: Shape,
}

/// Applies `config` to `live` for `manager`. `live` is null for a new object. The answer has its managed fields.
pub fn apply(
    schema: &Schema<'_>,
    live: &Value,
    config: &Value,
    manager: &Manager,
    force: bool,
) -> Result<Value, ApiError> {
    let typed = Typed { bundle: schema.bundle };
    let mut managed = Managed::read(live)?;
    let live_bare = bare(live);
    let config_bare = bare(config);
    let applied = strip(typed.field_set(&schema.shape, &config_bare));
    let mut merged = typed.merge(&schema.shape, &live_bare, &config_bare);
    let others = managed.others(manager);
    if let Some(before) = managed.get(manager) {
        let dropped = before.minus(&applied).minus(&others);
        typed.remove(&schema.shape, &mut merged, &dropped);
    }
    let change = typed.compare(&schema.shape, &live_bare, &merged);
    let touched = change.added.union(&change.modified);
    let conflicts = managed.conflicts(manager, &touched.intersection(&applied));
    if !conflicts.is_empty() && !force {
        return Err(conflict(&conflicts));
    }
    managed.release(manager, &touched.intersection(&applied));
    managed.forget(&change.removed);
    managed.set(manager, applied, change.is_empty());
    managed.write(&mut merged);
    Ok(merged)
}

/// Notes in `new` what an ordinary write of `manager` changed from `old` (null for a new object).
pub fn track(schema: &Schema<'_>, old: &Value, new: &mut Value, manager: &Manager) -> Result<(), ApiError> {
    let typed = Typed { bundle: schema.bundle };
    // A client that sends one empty entry asks to forget everybody.
    let reset = new["metadata"]["managedFields"].as_array().is_some_and(|l| l.is_empty() || l[0] == json!({}));
    let mut managed = if reset && !old.is_null() {
        Managed::default()
    } else {
        Managed::read(if old.is_null() { new } else { old })?
    };
    let new_bare = bare(new);
    let change = typed.compare(&schema.shape, &bare(old), &new_bare);
    let touched = strip(change.added.union(&change.modified));
    if !reset {
        managed.release(manager, &touched);
        managed.forget(&change.removed);
        if !touched.is_empty() {
            managed.add(manager, touched);
        }
        managed.cap(UPDATERS, ANCIENT);
    }
    managed.write(new);
    Ok(())
}

/// The object without its managed fields.
fn bare(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(Value::Object(meta)) = object.get_mut("metadata") {
        meta.remove("managedFields");
    }
    object
}

fn strip(mut set: Set) -> Set {
    for path in STRIPPED {
        let path: Vec<PathElement> = path.iter().map(|p| PathElement::Field((*p).to_owned())).collect();
        set.remove_member(&path);
    }
    set
}

fn conflict(conflicts: &[(Manager, Vec<String>)]) -> ApiError {
    let count: usize = conflicts.iter().map(|c| c.1.len()).sum();
    let noun = if count == 1 { "conflict" } else { "conflicts" };
    let described: Vec<String> = conflicts
        .iter()
        .map(|(manager, fields)| match fields.as_slice() {
            [one] => format!("conflict with {}: {one}", manager.describe()),
            many => format!("conflicts with {}:\n- {}", manager.describe(), many.join("\n- ")),
        })
        .collect();
    let message = format!("Apply failed with {count} {noun}: {}", described.join("\n"));
    let mut error = ApiError::new(Reason::Conflict, message);
    for (manager, fields) in conflicts {
        for field in fields {
            error = error.with_cause(
                "FieldManagerConflict",
                format!("conflict with {}", manager.describe()),
                field.clone(),
            );
        }
    }
    error
}

#[cfg(test)]
mod tests;
