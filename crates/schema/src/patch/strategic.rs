//! Strategic merge patch: a merge patch that knows by which key the items of a list are told apart.
//!
//! What is merged, in which order lists end up, and what is refused in which words follows stock.

mod order;

use super::Refused;
use super::go::go_value;
use crate::bundle::{Bundle, Field, Shape, TypeId};
use ironclad_json::{Map, Value};
use std::collections::HashSet;

const DIRECTIVE: &str = "$patch";
const ORDER: &str = "$setElementOrder/";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const RETAIN: &str = "$retainKeys";

/// Applies `patch` to an object of type `id`.
pub(super) fn strategic(bundle: &Bundle, id: TypeId, target: &Value, patch: &Value) -> Result<Value, Refused> {
    let (Value::Object(patch), Value::Object(target)) = (patch, target) else {
        return Err(Refused::Form("invalid JSON document".to_owned()));
    };
    let merger = Merger { bundle };
    Ok(Value::Object(merger.object(At::Type(id), target.clone(), patch)?))
}

/// What the fields of a value are.
#[derive(Clone, Copy)]
enum At<'a> {
    Type(TypeId),
    /// Keys with values of one shape.
    Keys(&'a Shape),
    Unknown,
}

struct Merger<'a> {
    bundle: &'a Bundle,
}

impl Merger<'_> {
    fn field(&self, at: At<'_>, name: &str) -> Option<&Field> {
        match at {
            At::Type(id) => self.bundle.get(id).field(name),
            _ => None,
        }
    }

    /// What is below a key.
    fn below<'b>(&'b self, at: At<'b>, name: &str) -> At<'b> {
        let shape = match at {
            At::Type(_) => self.field(at, name).map(|f| &f.shape),
            At::Keys(shape) => Some(shape),
            At::Unknown => None,
        };
        match shape {
            Some(Shape::Object(id)) => At::Type(*id),
            Some(Shape::Map(item, _)) => At::Keys(item),
            _ => At::Unknown,
        }
    }

    fn object(&self, at: At<'_>, mut target: Map, patch: &Map) -> Result<Map, Refused> {
        match patch.get(DIRECTIVE) {
            None => {}
            Some(Value::String(d)) if d == "replace" => {
                return Ok(patch
                    .iter()
                    .filter(|(k, _)| *k != DIRECTIVE)
                    .map(|(k, v)| (k.clone(), v.clone()))
                    .collect());
            }
            Some(Value::String(d)) if d == "delete" => return Ok(Map::new()),
            Some(other) => return Err(unknown_type(other, patch)),
        }
        retain(&mut target, patch)?;
        let mut settled = HashSet::new();
        let mut changes = Vec::new();
        for (key, order) in patch {
            if let Some(list) = key.strip_prefix(ORDER) {
                let sorted = self.ordered(at, target.get(list), list, order, patch.get(list))?;
                changes.extend(sorted.map(|sorted| (list.into(), Some(sorted))));
                settled.insert(list);
            }
        }
        target.set_all(changes);
        let mut changes = Vec::with_capacity(patch.len());
        for (key, value) in patch {
            if key.starts_with(ORDER) || key == RETAIN || settled.contains(key.as_str()) {
                continue;
            }
            match key.strip_prefix(DELETE_FROM) {
                Some(list) => delete_from(&mut target, list, value),
                None => changes.push((key.clone(), self.key(at, target.get(key), key, value)?)),
            }
        }
        target.set_all(changes);
        Ok(target)
    }

    fn key(&self, at: At<'_>, old: Option<&Value>, key: &str, value: &Value) -> Result<Option<Value>, Refused> {
        Ok(match (old, value) {
            (_, Value::Null) => None,
            (Some(Value::Object(old)), Value::Object(patch)) => {
                Some(Value::Object(self.object(self.below(at, key), old.clone(), patch)?))
            }
            (Some(Value::Array(old)), Value::Array(patch)) => {
                Some(Value::Array(self.list(self.field(at, key), old.to_vec(), patch)?.into()))
            }
            (_, other) => plain(other),
        })
    }

    fn list(&self, field: Option<&Field>, old: Vec<Value>, patch: &[Value]) -> Result<Vec<Value>, Refused> {
        let Some(key) = field.and_then(|f| f.merge_key.as_deref()) else {
            // A list that is one value. Whoever says that it is replaced means the same.
            let directive = |v: &&Value| v.get(DIRECTIVE).and_then(Value::as_str) != Some("replace");
            return Ok(patch.iter().filter(directive).cloned().collect());
        };
        if old.is_empty() && patch.is_empty() {
            return Ok(old);
        }
        if old.iter().chain(patch).any(Value::is_array) {
            return Err(Refused::Meaning("lists of lists are not supported".to_owned()));
        }
        if key.is_empty() {
            let mut merged: Vec<Value> = Vec::with_capacity(old.len() + patch.len());
            for value in old.iter().chain(patch) {
                if !merged.contains(value) {
                    merged.push(value.clone());
                }
            }
            return order::settle(merged, patch, patch, &old, key);
        }
        let item = match field.map(|f| &f.shape) {
            Some(Shape::List(inner, _)) => match &**inner {
                Shape::Object(id) => At::Type(*id),
                _ => At::Unknown,
            },
            _ => At::Unknown,
        };
        let (base, changes) = special(old, patch, key)?;
        let Some(changes) = changes else { return Ok(base) };
        let merged = self.keyed(item, key, base.clone(), &changes)?;
        order::settle(merged, &changes, &changes, &base, key)
    }

    fn keyed(&self, item: At<'_>, key: &str, mut list: Vec<Value>, patch: &[Value]) -> Result<Vec<Value>, Refused> {
        for value in patch {
            let Value::Object(change) = value else {
                return Err(Refused::Other("delta contains items of different types".to_owned()));
            };
            let Some(id) = change.get(key) else { return Err(no_merge_key(change, key)) };
            match list.iter().position(|v| v.get(key) == Some(id)) {
                Some(place) => {
                    let Value::Object(old) = list[place].take() else {
                        return Err(Refused::Other("the list holds no objects".to_owned()));
                    };
                    list[place] = Value::Object(self.object(item, old, change)?);
                }
                // What a new item says in directives has nothing to work on.
                None => list.extend(plain(value)),
            }
        }
        Ok(list)
    }

    /// A list whose order the patch names.
    fn ordered(
        &self,
        at: At<'_>,
        there: Option<&Value>,
        list: &str,
        wanted: &Value,
        patch: Option<&Value>,
    ) -> Result<Option<Value>, Refused> {
        let form = || Refused::Form("invalid patch format of setElementOrder list".to_owned());
        let Value::Array(wanted) = wanted else { return Err(form()) };
        let field = self.field(at, list);
        let key = field.and_then(|f| f.merge_key.as_deref()).unwrap_or_default();
        let patch = match patch {
            None | Some(Value::Null) => None,
            Some(Value::Array(items)) => Some(items.as_slice()),
            Some(_) => return Err(form()),
        };
        order::must_agree(patch.unwrap_or_default(), wanted, key)?;
        let old = match there {
            None | Some(Value::Null) => None,
            Some(Value::Array(items)) => Some(items.to_vec()),
            Some(_) => return Err(form()),
        };
        let merged = match (&old, patch) {
            (None, None) => return Ok(None),
            (Some(old), None) => old.clone(),
            (None, Some(patch)) => patch.iter().filter_map(plain).collect(),
            (Some(old), Some(patch)) => self.list(field, old.clone(), patch)?,
        };
        let sorted = order::settle(merged, wanted, wanted, old.as_deref().unwrap_or_default(), key)?;
        Ok(Some(Value::Array(sorted.into())))
    }
}

/// The list without what the patch deletes, and the patch without such items; no patch where the list is replaced.
fn special(mut old: Vec<Value>, patch: &[Value], key: &str) -> Result<(Vec<Value>, Option<Vec<Value>>), Refused> {
    let (mut changes, mut replace) = (Vec::new(), false);
    for value in patch {
        let Value::Object(change) = value else {
            return Err(Refused::Other("delta contains items of different types".to_owned()));
        };
        match change.get(DIRECTIVE) {
            None => changes.push(value.clone()),
            Some(Value::String(d)) if d == "delete" => match change.get(key) {
                Some(id) => old.retain(|v| v.get(key) != Some(id)),
                None => return Err(no_merge_key(change, key)),
            },
            Some(Value::String(d)) if d == "replace" => replace = true,
            Some(Value::String(d)) if d == "merge" => {
                return Err(Refused::Other("merging lists cannot yet be specified in the patch".to_owned()));
            }
            Some(other) => return Err(unknown_type(other, change)),
        }
    }
    Ok(if replace { (changes, None) } else { (old, Some(changes)) })
}

/// Keeps only the keys that the patch names, if it does; everything else in it must be among them.
fn retain(target: &mut Map, patch: &Map) -> Result<(), Refused> {
    let Some(keep) = patch.get(RETAIN) else { return Ok(()) };
    let form = || Refused::Form("invalid patch format of retainKeys".to_owned());
    let keep: Vec<&str> = keep.as_array().ok_or_else(form)?.iter().filter_map(Value::as_str).collect();
    let free = |k: &str, v: &Value| v.is_null() || k == RETAIN || k.starts_with(ORDER) || k.starts_with(DELETE_FROM);
    if patch.iter().any(|(k, v)| !free(k, v) && !keep.contains(&k.as_str())) {
        return Err(form());
    }
    target.retain(|k, _| keep.contains(&k.as_str()));
    Ok(())
}

fn delete_from(target: &mut Map, list: &str, values: &Value) {
    if let (Some(Value::Array(items)), Value::Array(values)) = (target.get_mut(list), values) {
        items.retain(|i| !values.contains(i));
    }
}

/// A value that meets nothing: without nulls and directives. `None` for a directive itself.
fn plain(value: &Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key(DIRECTIVE) => None,
        Value::Object(map) => {
            let fields = map.iter().filter(|(k, v)| !v.is_null() && !is_directive(k));
            Some(Value::Object(fields.filter_map(|(k, v)| Some((k.clone(), plain(v)?))).collect()))
        }
        Value::Array(items) => Some(Value::Array(items.iter().filter_map(plain).collect())),
        other => Some(other.clone()),
    }
}

fn is_directive(key: &str) -> bool {
    key == RETAIN || key.starts_with(ORDER) || key.starts_with(DELETE_FROM)
}

fn unknown_type(directive: &Value, patch: &Map) -> Refused {
    let patch = go_value(&Value::Object(patch.clone()));
    Refused::Other(format!("unknown patch type: {} in map: {patch}", go_value(directive)))
}

fn no_merge_key(item: &Map, key: &str) -> Refused {
    let item = go_value(&Value::Object(item.clone()));
    Refused::Other(format!("map: {item} does not contain declared merge key: {key}"))
}

#[cfg(test)]
mod tests;
