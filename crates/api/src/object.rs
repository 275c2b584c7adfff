//! Reading the fields that every object has from its JSON value, without decoding the rest.

use crate::resource::GroupVersionKind;
use ironclad_json::{Map, Value};

/// `value` at a path of keys; `None` where any step is missing.
pub fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |v, key| v.get(key))
}

/// The text at a path of keys, empty where it is missing or no text.
pub fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    at(value, path).and_then(Value::as_str).unwrap_or_default()
}

/// `metadata.name`.
pub fn name(object: &Value) -> &str {
    text(object, &["metadata", "name"])
}

/// The field `name` of a reference.
pub fn name_of(reference: &Value) -> &str {
    text(reference, &["name"])
}

/// `metadata.namespace`, empty for cluster-scoped objects.
pub fn namespace(object: &Value) -> &str {
    text(object, &["metadata", "namespace"])
}

/// `metadata.uid`.
pub fn uid(object: &Value) -> &str {
    text(object, &["metadata", "uid"])
}

/// `metadata.resourceVersion`.
pub fn resource_version(object: &Value) -> &str {
    text(object, &["metadata", "resourceVersion"])
}

/// `apiVersion` and `kind`.
pub fn gvk(object: &Value) -> GroupVersionKind {
    GroupVersionKind::parse(text(object, &["apiVersion"]), text(object, &["kind"]))
}

/// The object at `key`, made if it is missing or null. A value that is no object is replaced.
pub fn entry<'a>(object: &'a mut Value, key: &str) -> &'a mut Map {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let Value::Object(map) = object else { unreachable!("made an object above") };
    entry_of(map, key)
}

/// [`entry`] for a map.
pub fn entry_of<'a>(map: &'a mut Map, key: &str) -> &'a mut Map {
    let slot = map.entry(key).or_insert_with(|| Value::Object(Map::new()));
    if !slot.is_object() {
        *slot = Value::Object(Map::new());
    }
    let Value::Object(inner) = slot else { unreachable!("made an object above") };
    inner
}

/// `metadata`, made if it is missing.
pub fn metadata_mut(object: &mut Value) -> &mut Map {
    entry(object, "metadata")
}

/// Sets `key` to `default()` where it is missing or null.
pub fn default_to(map: &mut Map, key: &str, default: impl FnOnce() -> Value) {
    let missing = map.get(key).is_none_or(Value::is_null);
    if missing {
        map.insert(key.to_owned(), default());
    }
}
