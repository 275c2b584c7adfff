//! Parts of table cells that several kinds share.

use crate::read::{at, items, text};
use ironclad_api::object;
use ironclad_api::selector::LabelSelector;
use ironclad_api::table::{Cells, Column};
use ironclad_json::{Value, json};
use std::borrow::Cow;

pub(crate) const NONE: &str = "<none>";

/// The three columns of a workload that `-o wide` shows.
pub(crate) const CONTAINERS: Column = Column::text("Containers", "Names of each container in the template.").wide();
/// See [`CONTAINERS`].
pub(crate) const IMAGES: Column = Column::text("Images", "Images referenced by each container in the template.").wide();
/// See [`CONTAINERS`].
pub(crate) const SELECTOR: Column = Column::text("Selector", "The label selector of the pods.").wide();

/// A column of text that has another type for the client, such as `date`.
pub(crate) const fn typed(name: &'static str, kind: &'static str, description: &'static str) -> Column {
    Column {
        name: Cow::Borrowed(name),
        kind: Cow::Borrowed(kind),
        format: Cow::Borrowed(""),
        description: Cow::Borrowed(description),
        priority: 0,
    }
}

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

/// A label selector in the form that kubectl takes, its requirements in the order of their keys.
pub(crate) fn selector(o: &Value, path: &[&str]) -> String {
    let Some(given) = at(o, path).filter(|v| v.is_object()) else { return NONE.into() };
    let parsed = ironclad_json::from_value(given.clone()).ok();
    if !matches!(parsed.as_ref().map(|p| LabelSelector::from_meta(Some(p))), Some(Ok(_))) {
        return "<error>".into();
    }
    let labels = given["matchLabels"].as_object().into_iter().flatten();
    let labels = labels.map(|(k, v)| (k.to_string(), format!("{k}={}", v.as_str().unwrap_or_default())));
    let expression = |e: &Value| {
        let key = text(e, &["key"]);
        let mut values: Vec<&str> = items(e, &["values"]).iter().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let shown = match text(e, &["operator"]) {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        };
        (key.to_owned(), shown)
    };
    let mut all: Vec<(String, String)> =
        labels.chain(items(given, &["matchExpressions"]).iter().map(expression)).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    let all: Vec<String> = all.into_iter().map(|(_, shown)| shown).collect();
    non_empty(&all.join(",")).to_owned()
}

/// Names and images of the containers at a path.
pub(crate) fn containers(o: &Value, path: &[&str]) -> [Value; 2] {
    let list = items(o, path);
    let join = |key| json!(list.iter().map(|c| text(c, &[key])).collect::<Vec<_>>().join(","));
    [join("name"), join("image")]
}

/// Containers, images and selector of a workload with `spec.template` and `spec.selector`.
pub(crate) fn workload(o: &Value, mut cells: Cells) -> Cells {
    cells.extend(containers(o, &["spec", "template", "spec", "containers"]));
    cells.push(json!(selector(o, &["spec", "selector"])));
    cells
}

/// When the object was created, as RFC 3339.
pub(crate) fn created_at(o: &Value) -> Value {
    json!(text(o, &["metadata", "creationTimestamp"]))
}

/// The addresses of `status.loadBalancer`, sorted.
pub(crate) fn load_balancer(o: &Value) -> String {
    let found = items(o, &["status", "loadBalancer", "ingress"]).iter();
    let mut addresses: Vec<&str> = found
        .map(|i| if text(i, &["ip"]).is_empty() { text(i, &["hostname"]) } else { text(i, &["ip"]) })
        .filter(|a| !a.is_empty())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.join(",")
}

/// An integer or a percentage.
pub(crate) fn int_or_string(v: Option<&Value>, missing: &str) -> Value {
    match v {
        Some(Value::String(s)) => json!(s),
        Some(Value::Number(n)) => json!(n.to_string()),
        _ => json!(missing),
    }
}

/// The status of a condition, empty where it is missing.
pub(crate) fn condition<'a>(o: &'a Value, kind: &str) -> Option<&'a Value> {
    items(o, &["status", "conditions"]).iter().find(|c| text(c, &["type"]) == kind)
}

/// `RWO,ROX` and so on.
pub(crate) fn access_modes(modes: &[Value]) -> String {
    let table =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let given = |mode: &str| modes.iter().any(|m| m.as_str() == Some(mode));
    table.iter().filter(|(mode, _)| given(mode)).map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}

/// When an object was made, where stock shows the time and not the age.
pub(crate) const CREATED_AT: Column = typed("Created At", "date", "When the object was created.");
