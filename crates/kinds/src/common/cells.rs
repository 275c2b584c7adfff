//! Small cells of tables.

use serde_json::{Value, json};

/// A number that is zero where it is missing.
pub(crate) fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

/// A text, `<none>` where it is missing or empty.
pub(crate) fn or_none(text: &str) -> Value {
    json!(if text.is_empty() { "<none>" } else { text })
}

/// A map as `a=b,c=d`, `<none>` where it is empty.
pub(crate) fn map(value: &Value) -> Value {
    let pairs = value.as_object().into_iter().flatten();
    let pairs: Vec<String> = pairs.map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect();
    or_none(&pairs.join(","))
}

/// A label selector as text, `<none>` where it is empty.
pub(crate) fn selector(value: &Value) -> Value {
    let parsed = serde_json::from_value(value.clone()).ok();
    let selector = ironclad_api::selector::LabelSelector::from_meta(parsed.as_ref());
    or_none(&selector.map(|s| s.to_string()).unwrap_or_default())
}

/// The names and the images of a pod template's containers.
pub(crate) fn containers(spec: &Value) -> (Value, Value) {
    let list = spec["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let join = |field: &str| {
        let all: Vec<&str> = list.iter().filter_map(|c| c[field].as_str()).collect();
        json!(all.join(","))
    };
    (join("name"), join("image"))
}
