//! Strategic merge patch: a merge patch that knows by which key the items of a list are told apart.
//!
//! What is merged, in which order lists end up, and what is refused in which words follows stock.

mod order;

use super::Refused;
use super::go::go_value;
use crate::bundle::{Bundle, Field, Scalar, Shape, TypeId};
use crate::facts;
use ironclad_json::{Map, Value};
use std::collections::HashSet;

const DIRECTIVE: &str = "$patch";
const ORDER: &str = "$setElementOrder/";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const RETAIN: &str = "$retainKeys";

/// Applies `patch` to an object of type `id`.
pub(super) fn strategic(bundle: &Bundle, id: TypeId, target: &Value, patch: &Value) -> Result<Value, Refused> {
    let target_map = match (patch, target) {
        (Value::Null, target) => return Ok(target.clone()),
        (_, Value::Object(map)) => map,
        _ => return Err(Refused::Form("invalid JSON document".to_owned())),
    };
    super::must_be_map(patch).map_err(Refused::Form)?;
    let (Value::Object(patch), target) = (patch, target_map) else { return Ok(target.clone()) };
    let merger = Merger { bundle };
    Ok(Value::Object(merger.object(At::Type(id), target.clone(), patch)?))
}

/// What the fields of a value are.
#[derive(Clone, Copy)]
enum At<'a> {
    Type(TypeId),
    /// Keys with values of one shape.
    Keys(&'a Shape),
    /// Any JSON, which Go has in a struct that knows none of its fields.
    Any,
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

    fn is_replaced(&self, at: At<'_>, name: &str) -> bool {
        matches!(at, At::Type(id) if facts::is_replaced(&self.bundle.get(id).definition, name))
    }

    /// What is below a key.
    fn below<'b>(&'b self, at: At<'b>, name: &str) -> At<'b> {
        let shape = match at {
            At::Type(_) => self.field(at, name).map(|f| &f.shape),
            At::Keys(shape) => Some(shape),
            At::Any | At::Unknown => None,
        };
        match shape {
            Some(Shape::Object(id)) => At::Type(*id),
            Some(Shape::Map(item, _)) => At::Keys(item),
            Some(Shape::Scalar(Scalar::Any)) => At::Any,
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
                Some(list) => delete_from(&mut target, list, value)?,
                None => changes.push((key.clone(), self.key(at, target.get(key), key, value)?)),
            }
        }
        target.set_all(changes);
        Ok(target)
    }

    fn key(&self, at: At<'_>, old: Option<&Value>, key: &str, value: &Value) -> Result<Option<Value>, Refused> {
        Ok(match (old, value) {
            (_, Value::Null) => None,
            // What is replaced is taken as it comes.
            (Some(Value::Object(_)), Value::Object(_)) if self.is_replaced(at, key) => Some(value.clone()),
            (Some(Value::Object(_)), Value::Object(_)) | (Some(Value::Array(_)), Value::Array(_))
                if matches!(at, At::Any) =>
            {
                let why = format!("unable to find api field in struct RawExtension for the json field {key:?}");
                return Err(Refused::Other(why));
            }
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
            // A list that is one value is taken as it comes, with whatever looks like a directive in it.
            return Ok(patch.to_vec());
        };
        if old.is_empty() && patch.is_empty() {
            return Ok(old);
        }
        same_kinds(&old, patch)?;
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
            match list.iter().position(|v| v.get(key) == Some(id) && !id.is_null()) {
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
        let Value::Array(wanted) = wanted else { return Err(no_list(wanted)) };
        let field = self.field(at, list);
        if let (At::Type(id), None) = (at, field) {
            let of = crate::check::go_name(&self.bundle.get(id).definition);
            return Err(Refused::Other(format!("unable to find api field in struct {of} for the json field {list:?}")));
        }
        let key = field.and_then(|f| f.merge_key.as_deref()).unwrap_or_default();
        let patch = match patch {
            None | Some(Value::Null) => None,
            Some(Value::Array(items)) => Some(items.as_slice()),
            Some(other) => return Err(no_list(other)),
        };
        order::must_agree(patch.unwrap_or_default(), wanted, key)?;
        let old = match there {
            None | Some(Value::Null) => None,
            Some(Value::Array(items)) => Some(items.to_vec()),
            Some(other) => return Err(no_list(other)),
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

/// What stands where a list must stand, by Go's name of its type.
fn no_list(value: &Value) -> Refused {
    let kind = match value {
        Value::Null => "nil",
        Value::Object(_) => "map[string]interface {}",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int64",
        other => ironclad_api::shape::sort(other),
    };
    Refused::Other(format!("expected a []interface {{}}, but received a {kind}"))
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

fn delete_from(target: &mut Map, list: &str, values: &Value) -> Result<(), Refused> {
    if let (Some(Value::Array(items)), Value::Array(values)) = (target.get_mut(list), values) {
        same_kinds(items, values)?;
        items.retain(|i| !values.contains(i));
    }
    Ok(())
}

/// Items that are merged must be of one kind.
fn same_kinds(old: &[Value], patch: &[Value]) -> Result<(), Refused> {
    let mut kinds = old.iter().chain(patch).map(ironclad_api::shape::sort);
    let first = kinds.next();
    if first == Some("array") {
        return Err(Refused::Meaning("lists of lists are not supported".to_owned()));
    }
    if kinds.all(|kind| Some(kind) == first) {
        return Ok(());
    }
    let (old, patch) = (go_value(&Value::from(old)), go_value(&Value::from(patch)));
    Err(Refused::Other(format!("list element types are not identical: [{old} {patch}]")))
}

/// A value that meets nothing: without nulls and what is marked by `$patch`. Other directives are taken for fields.
fn plain(value: &Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.contains_key(DIRECTIVE) => None,
        Value::Object(map) => {
            let fields = map.iter().filter(|(_, v)| !v.is_null());
            Some(Value::Object(fields.filter_map(|(k, v)| Some((k.clone(), plain(v)?))).collect()))
        }
        Value::Array(items) => Some(Value::Array(items.iter().filter_map(plain).collect())),
        other => Some(other.clone()),
    }
}

fn unknown_type(directive: &Value, patch: &Map) -> Refused {
    let patch = go_value(&Value::Object(patch.clone()));
    // Go is told to print a text.
    let shown = match directive {
        Value::String(text) => text.to_string(),
        Value::Number(n) if n.is_f64() => format!("%!s(float64={n})"),
        Value::Number(n) => format!("%!s(int64={n})"),
        Value::Bool(b) => format!("%!s(bool={b})"),
        Value::Null => "%!s(<nil>)".to_owned(),
        other => go_value(other),
    };
    Refused::Other(format!("unknown patch type: {shown} in map: {patch}"))
}

fn no_merge_key(item: &Map, key: &str) -> Refused {
    let item = go_value(&Value::Object(item.clone()));
    Refused::Other(format!("map: {item} does not contain declared merge key: {key}"))
}

#[cfg(test)]
mod tests;
