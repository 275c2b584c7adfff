//! Parts of table cells that several kinds share.

use crate::read::{at, items, text};
use ironclad_api::object;
use serde_json::{Value, json};

pub(crate) const NONE: &str = "<none>";

/// The object's name.
pub(crate) fn name(o: &Value) -> Value {
    json!(object::name(o))
}

/// The text at a path, `<none>` where it is empty.
pub(crate) fn or_none(o: &Value, path: &[&str]) -> Value {
    json!(non_empty(text(o, path)))
}

/// `text`, or `<none>` for an empty one.
pub(crate) fn non_empty(text: &str) -> &str {
    if text.is_empty() { NONE } else { text }
}

/// `a=b,c=d` in the order of the keys.
pub(crate) fn labels(o: &Value, path: &[&str]) -> String {
    let Some(map) = at(o, path).and_then(Value::as_object).filter(|m| !m.is_empty()) else { return NONE.into() };
    let mut parts: Vec<String> = map.iter().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect();
    parts.sort();
    parts.join(",")
}

/// Names and images of the containers at a path.
pub(crate) fn containers(o: &Value, path: &[&str]) -> [Value; 2] {
    let list = items(o, path);
    let join = |key| json!(list.iter().map(|c| text(c, &[key])).collect::<Vec<_>>().join(","));
    [join("name"), join("image")]
}

/// When the object was created, as RFC 3339.
pub(crate) fn created_at(o: &Value) -> Value {
    json!(text(o, &["metadata", "creationTimestamp"]))
}

/// The status of a condition, empty where it is missing.
pub(crate) fn condition<'a>(o: &'a Value, kind: &str) -> Option<&'a Value> {
    items(o, &["status", "conditions"]).iter().find(|c| text(c, &["type"]) == kind)
}
