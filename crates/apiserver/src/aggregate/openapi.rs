//! Another server's part of the OpenAPI document of version 2, and how it is put into ours. Pure.

use ironclad_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

const PREFIX: &str = "#/definitions/";

/// Paths and the definitions that they use.
pub(crate) struct Part {
    paths: Map,
    definitions: Map,
    /// A hash of all of it.
    pub(super) tag: String,
}

/// What a document says of the paths below a place (`/apis/wardle.example.com/v1`).
pub(super) fn part(mut whole: Value, place: &str) -> Part {
    let take = |whole: &mut Value, field: &str| match whole[field].take() {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    let below = |path: &str| path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let paths: Map = take(&mut whole, "paths").into_iter().filter(|(path, _)| below(path)).collect();
    let mut all = take(&mut whole, "definitions");
    let mut wanted: Vec<String> = Vec::new();
    paths.values().for_each(|v| references(v, &mut wanted));
    let mut definitions = Map::new();
    while let Some(name) = wanted.pop() {
        if let Some(definition) = all.remove(&name) {
            references(&definition, &mut wanted);
            definitions.insert(name, definition);
        }
    }
    let tag = Sha256::new_with_prefix(serde_json::to_vec(&paths).unwrap_or_default());
    let tag = tag.chain_update(serde_json::to_vec(&definitions).unwrap_or_default()).finalize();
    Part { paths, definitions, tag: hex::encode(tag) }
}

/// The names of the definitions that a value refers to.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            if let Some(name) = map.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix(PREFIX)) {
                found.push(name.to_owned());
            }
            map.values().for_each(|v| references(v, found));
        }
        Value::Array(items) => items.iter().for_each(|v| references(v, found)),
        _ => {}
    }
}

impl Part {
    /// Puts the part into our document. A definition whose name stands for something else there gets another name.
    pub(crate) fn merge_into(&self, into: &mut Value) {
        merge(into, self);
    }
}

fn merge(into: &mut Value, part: &Part) {
    let names: BTreeMap<String, String> = {
        let taken = into["definitions"].as_object();
        let mut given: BTreeSet<String> = BTreeSet::new();
        let differs = |name: &str, new: &Value| taken.and_then(|t| t.get(name)).is_some_and(|old| old != new);
        let clashing = part.definitions.iter().filter(|(name, new)| differs(name, new));
        clashing
            .map(|(name, _)| {
                let free = |n: &String| !given.contains(n) && taken.is_none_or(|t| !t.contains_key(n));
                let fresh = (2..=u32::MAX).map(|i| format!("{name}_v{i}")).find(free).unwrap_or_default();
                given.insert(fresh.clone());
                (name.to_string(), fresh)
            })
            .collect()
    };
    let renamed = |value: &Value| {
        let mut value = value.clone();
        rename(&mut value, &names);
        value
    };
    if let Some(definitions) = into["definitions"].as_object_mut() {
        for (name, definition) in &part.definitions {
            let name = names.get(name.as_str()).map_or(name.as_str(), String::as_str);
            definitions.entry(name).or_insert_with(|| renamed(definition));
        }
    }
    if let Some(paths) = into["paths"].as_object_mut() {
        for (path, item) in &part.paths {
            paths.entry(path.as_str()).or_insert_with(|| renamed(item));
        }
    }
}

fn rename(value: &mut Value, names: &BTreeMap<String, String>) {
    match value {
        Value::Object(map) => {
            let fresh = map.get("$ref").and_then(Value::as_str).and_then(|r| names.get(r.strip_prefix(PREFIX)?));
            if let Some(fresh) = fresh {
                map.insert("$ref", format!("{PREFIX}{fresh}").into());
            }
            map.values_mut().for_each(|v| rename(v, names));
        }
        Value::Array(items) => items.iter_mut().for_each(|v| rename(v, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    #[test]
    fn only_the_group_version_and_what_it_uses_is_taken() {
        let to = |name: &str| json!({"$ref": format!("{PREFIX}{name}")});
        let whole = json!({
            "paths": {"/apis/a/v1/flunders": {"get": {"schema": to("Flunder")}}, "/apis/a/v10/x": {"get": to("Other")}, "/version": {}},
            "definitions": {"Flunder": {"meta": to("Meta")}, "Meta": {"x": 1}, "Other": {"y": 1}},
        });
        let part = part(whole, "/apis/a/v1");
        assert_eq!(part.paths.keys().collect::<Vec<_>>(), ["/apis/a/v1/flunders"]);
        assert_eq!(part.definitions.keys().collect::<Vec<_>>(), ["Flunder", "Meta"]);
        let mut ours = json!({"paths": {"/api": {}}, "definitions": {"Meta": {"x": 2}}});
        merge(&mut ours, &part);
        assert_eq!(ours["definitions"]["Meta"], json!({"x": 2}), "ours stays");
        assert_eq!(ours["definitions"]["Meta_v2"], json!({"x": 1}));
        assert_eq!(ours["definitions"]["Flunder"]["meta"], to("Meta_v2"));
        assert_eq!(ours["paths"]["/apis/a/v1/flunders"]["get"]["schema"], to("Flunder"));
    }
}
