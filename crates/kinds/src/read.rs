//! Short ways to read and to fill in JSON values; a value of the wrong type reads as missing and is left alone.

use ironclad_api::quantity::Quantity;
use ironclad_json::{Map, Value, json};

pub(crate) use ironclad_api::object::{at, text};

/// The list at a path, empty where it is missing.
pub(crate) fn items<'a>(value: &'a Value, path: &[&str]) -> &'a [Value] {
    at(value, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The number at a path.
pub(crate) fn int(value: &Value, path: &[&str]) -> Option<i64> {
    at(value, path).and_then(Value::as_i64)
}

/// The number at a path, 0 where it is missing.
pub(crate) fn count(value: &Value, path: &[&str]) -> i64 {
    int(value, path).unwrap_or(0)
}

/// The boolean at a path, false where it is missing.
pub(crate) fn flag(value: &Value, path: &[&str]) -> bool {
    at(value, path).and_then(Value::as_bool).unwrap_or(false)
}

/// Whether there is something other than null at a path.
pub(crate) fn has(value: &Value, path: &[&str]) -> bool {
    at(value, path).is_some_and(|v| !v.is_null())
}

/// The map at a path.
pub(crate) fn map<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Map> {
    at(value, path).and_then(Value::as_object)
}

/// How many entries the map or list at a path has.
pub(crate) fn size(value: &Value, path: &[&str]) -> usize {
    at(value, path).map_or(0, |v| v.as_object().map_or_else(|| v.as_array().map_or(0, Vec::len), Map::len))
}

/// The value at a path, to change it.
pub(crate) fn at_mut<'a>(value: &'a mut Value, path: &[&str]) -> Option<&'a mut Value> {
    path.iter().try_fold(value, |v, key| v.get_mut(*key)).filter(|v| !v.is_null())
}

/// Calls `f` with each item of the list at a path.
pub(crate) fn each(value: &mut Value, path: &[&str], f: impl FnMut(&mut Value)) {
    if let Some(list) = at_mut(value, path).and_then(Value::as_array_mut) {
        list.iter_mut().for_each(f);
    }
}

/// Sets `key` of an object to `default` where it is missing or null.
pub(crate) fn fill(value: &mut Value, key: &str, default: impl Into<Value>) {
    if let Some(map) = value.as_object_mut() {
        ironclad_api::object::default_to(map, key, || default.into());
    }
}

/// Sets `key` of an object to `default` where it is missing, null, an empty text or 0.
pub(crate) fn fill_zero(value: &mut Value, key: &str, default: impl Into<Value>) {
    if value.get(key).is_some_and(|v| v.as_str() == Some("") || v.as_i64() == Some(0))
        && let Some(map) = value.as_object_mut()
    {
        map.remove(key);
    }
    fill(value, key, default);
}

/// `spec` of an object, made if it is missing.
pub(crate) fn spec(value: &mut Value) -> &mut Value {
    child(value, "spec")
}

/// The object below `key`, made if it is missing or null; a value that is no object is given back as it is.
pub(crate) fn child<'a>(value: &'a mut Value, key: &str) -> &'a mut Value {
    fill(value, key, json!({}));
    if value.get(key).is_some() { &mut value[key] } else { value }
}

/// Rewrites the quantities of a map in their canonical form.
pub(crate) fn canonical(value: &mut Value, path: &[&str]) {
    if let Some(map) = at_mut(value, path).and_then(Value::as_object_mut) {
        map.values_mut().for_each(canonical_quantity);
    }
}

/// Rewrites one quantity, also one given as a number, in its canonical form.
pub(crate) fn canonical_quantity(value: &mut Value) {
    let parsed = match value {
        Value::String(s) => s.parse::<Quantity>().ok(),
        Value::Number(n) => n.to_string().parse::<Quantity>().ok(),
        _ => None,
    };
    if let Some(q) = parsed {
        *value = Value::String(q.to_string().into());
    }
}

/// Sets `key` of an object; anything else is left alone.
pub(crate) fn put(value: &mut Value, key: &str, new: Value) {
    if let Some(map) = value.as_object_mut() {
        map.insert(key.to_owned(), new);
    }
}
