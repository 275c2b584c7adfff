//! What clients are warned of who write a definition: formats that nobody checks, sets that cannot be merged.

use crate::read::{items, text};
use ironclad_json::Value;
use ironclad_structural::formats;
use std::collections::BTreeSet;

/// The warnings about a definition that were not there before.
pub(super) fn about(new: &Value, old: Option<&Value>) -> Vec<String> {
    let (mut formats, mut sets) = warnings(new);
    let (before, sets_before) = old.map(warnings).unwrap_or_default();
    formats.retain(|f| !before.contains(f));
    sets.retain(|s| !sets_before.contains(s));
    let formats = formats.into_iter().map(|f| format!("unrecognized format {f:?}"));
    formats.chain(sets).collect()
}

fn warnings(definition: &Value) -> (Vec<String>, BTreeSet<String>) {
    let mut found = (Vec::new(), BTreeSet::new());
    for version in items(definition, &["spec", "versions"]) {
        walk(&version["schema"]["openAPIV3Schema"], &mut found);
    }
    found
}

fn walk(schema: &Value, found: &mut (Vec<String>, BTreeSet<String>)) {
    let (ty, format) = (text(schema, &["type"]), text(schema, &["format"]));
    if !format.is_empty() && !formats::recognized(ty, format) {
        found.0.push(format.to_owned());
    }
    let item = text(schema, &["items", "type"]);
    if text(schema, &["x-kubernetes-list-type"]) == "set" && matches!(item, "object" | "array") {
        found.1.insert(format!("x-kubernetes-list-type: set for items of type {item:?} is not supported by server-side apply or CEL validation rules"));
    }
    for key in ["items", "not", "additionalProperties"] {
        if schema[key].is_object() {
            walk(&schema[key], found);
        }
    }
    for key in ["allOf", "anyOf", "oneOf"] {
        items(schema, &[key]).iter().for_each(|s| walk(s, found));
    }
    schema["properties"].as_object().into_iter().flatten().for_each(|(_, s)| walk(s, found));
}
