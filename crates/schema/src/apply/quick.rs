//! The common write: its manager owns already what it changes, and nobody else does. Then the lists of fields stay as
//! they are written, and only a time is renewed; nothing is read into sets.

use super::compare::{Change, compare};
use super::managers::Manager;
use super::set::{PathElement, Set};
use super::{Schema, UPDATERS, fields, merge, strip};
use ironclad_api::object::metadata_mut;
use ironclad_json::{Map, Value};

/// The managed fields after a write of `manager` that changed `old` to `new`, where they are `list` with another time;
/// `None` where more than that changes.
pub(super) fn renewed(
    schema: &Schema<'_>,
    old: &Value,
    new: &Value,
    list: &[Value],
    manager: &Manager,
) -> Option<Vec<Value>> {
    if list.is_empty() || list.len() > UPDATERS || !list.iter().all(|e| is_plain(e, manager)) {
        return None;
    }
    let (left, right) = differing(old, new);
    let change: Change = compare(schema.root(), &schema.typed(&left), &schema.typed(&right)).without(&schema.ignored);
    let touched = change.touched();
    let noted = strip(touched.clone());
    let mut own = None;
    for (at, entry) in list.iter().enumerate() {
        let fields = &entry["fieldsV1"];
        if meets(&change.removed, fields) {
            return None;
        }
        if is_of(entry, manager) {
            own = Some(at).filter(|_| holds(&noted, fields));
        } else if meets(&touched, fields) {
            return None;
        }
    }
    let mut list = list.to_vec();
    match own {
        _ if noted.is_empty() => {}
        Some(at) => list[at]["time"] = manager.time.clone().into(),
        None => return None,
    }
    list.sort_by(|a, b| order(a).cmp(&order(b)));
    Some(list)
}

/// The object after an apply of the fields that its manager applied before, where nobody else owns what it changes;
/// `None` where more is to be done.
pub(super) fn applied(schema: &Schema<'_>, live: &Value, config: &Value, manager: &Manager) -> Option<Value> {
    let list = live["metadata"]["managedFields"].as_array().filter(|l| !l.is_empty())?;
    // Of a custom resource the schema can have changed since, and with it what the entries mean.
    if schema.bundle.is_extension() || !list.iter().all(|e| is_plain(e, manager)) {
        return None;
    }
    let is_own = |entry: &Value| is_called(entry, manager, "Apply");
    let own = list.iter().position(is_own)?;
    let fields = fields::field_set(schema.root(), config).without_trees(&schema.ignored);
    if strip(fields).to_value() != list[own]["fieldsV1"] {
        return None;
    }
    let typed = schema.typed(live);
    let merged = merge::merge(schema.root(), &typed, config);
    if typed == merged {
        return Some(live.clone());
    }
    let change = compare(schema.root(), &typed, &merged).without(&schema.ignored);
    let touched = change.touched();
    let others = list.iter().filter(|e| !is_own(e)).map(|e| &e["fieldsV1"]);
    if others.into_iter().any(|fields| meets(&touched, fields) || meets(&change.removed, fields)) {
        return None;
    }
    let mut list = list.clone();
    list[own]["time"] = manager.time.clone().into();
    list.sort_by(|a, b| order(a).cmp(&order(b)));
    let mut merged = merged;
    metadata_mut(&mut merged).insert("managedFields", Value::Array(list.into()));
    Some(merged)
}

/// Both objects without the fields that are equal in both, and without their managed fields.
pub(super) fn differing(old: &Value, new: &Value) -> (Value, Value) {
    let (Value::Object(before), Value::Object(after)) = (old, new) else { return (old.clone(), new.clone()) };
    let (mut left, mut right) = (Map::new(), Map::new());
    for (name, value) in before.iter().filter(|(name, _)| *name != "managedFields") {
        match after.get(name) {
            None => drop(left.insert(name.clone(), value.clone())),
            Some(other) if other == value => {}
            Some(other) => {
                let (value, other) = differing(value, other);
                left.insert(name.clone(), value);
                right.insert(name.clone(), other);
            }
        }
    }
    for (name, value) in after.iter().filter(|(name, _)| !before.contains_key(name)) {
        right.insert(name.clone(), value.clone());
    }
    (Value::Object(left), Value::Object(right))
}

fn text<'a>(entry: &'a Value, key: &str) -> &'a str {
    entry[key].as_str().unwrap_or_default()
}

/// Whether an entry is well-formed, of the manager's version, and owns something.
fn is_plain(entry: &Value, manager: &Manager) -> bool {
    matches!(text(entry, "operation"), "Apply" | "Update")
        && text(entry, "fieldsType") == "FieldsV1"
        && text(entry, "apiVersion") == manager.api_version
        && entry["fieldsV1"].as_object().is_some_and(|f| !f.is_empty())
}

fn is_of(entry: &Value, manager: &Manager) -> bool {
    is_called(entry, manager, "Update")
}

fn is_called(entry: &Value, manager: &Manager, operation: &str) -> bool {
    text(entry, "manager") == manager.name
        && text(entry, "operation") == operation
        && text(entry, "subresource") == manager.subresource
}

/// The order in which stock writes entries.
fn order(entry: &Value) -> (&str, &str, &str, &str, &str) {
    let [operation, time, name, version, subresource] =
        ["operation", "time", "manager", "apiVersion", "subresource"].map(|key| text(entry, key));
    (operation, time, name, version, subresource)
}

fn is_member(fields: &Value) -> bool {
    fields.as_object().is_some_and(|f| f.is_empty() || f.contains_key("."))
}

fn below<'a>(fields: &'a Value, element: &PathElement) -> Option<&'a Value> {
    fields.get(element.encode())
}

/// Whether every member of the set is among the written fields.
fn holds(set: &Set, fields: &Value) -> bool {
    set.nodes.iter().all(|(element, node)| {
        below(fields, element).is_some_and(|there| (!node.member || is_member(there)) && holds(&node.below, there))
    })
}

/// Whether any member of the set is among the written fields, or stands above some: a schema that has changed since
/// may have made one value of those.
fn meets(set: &Set, fields: &Value) -> bool {
    set.nodes
        .iter()
        .any(|(element, node)| below(fields, element).is_some_and(|there| node.member || meets(&node.below, there)))
}
