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
    let parameters = take(&mut whole, "parameters");
    let below = |path: &str| path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let mut paths: Map = take(&mut whole, "paths").into_iter().filter(|(path, _)| below(path)).collect();
    paths.values_mut().for_each(|item| resolve(item, &parameters));
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

/// Puts shared parameters where they are referred to: ours may have others of their names.
fn resolve(value: &mut Value, parameters: &Map) {
    const SHARED: &str = "#/parameters/";
    let name = value.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix(SHARED)).map(str::to_owned);
    if let Some(parameter) = name.and_then(|name| parameters.get(&name)) {
        *value = parameter.clone();
        return;
    }
    match value {
        Value::Object(map) => map.values_mut().for_each(|v| resolve(v, parameters)),
        Value::Array(items) => items.iter_mut().for_each(|v| resolve(v, parameters)),
        _ => {}
    }
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

/// What our own document has under a name.
type Ours<'a> = &'a dyn Fn(&str) -> Option<Value>;

impl Part {
    /// Puts the part beside ours and what others have added. A definition whose name stands for something else there
    /// gets another name.
    pub(crate) fn merge_into(&self, paths: &mut Map, definitions: &mut Map, ours: Ours<'_>) {
        let mut names: BTreeMap<String, String> = BTreeMap::new();
        let mut known: BTreeSet<String> = BTreeSet::new();
        for (name, new) in &self.definitions {
            let Some(old) = definitions.get(name).cloned().or_else(|| ours(name)) else { continue };
            if old == *new {
                known.insert(name.to_string());
                continue;
            }
            let free = |n: &String| {
                !names.values().any(|given| given == n) && !definitions.contains_key(n) && ours(n).is_none()
            };
            let fresh = (2..=u32::MAX).map(|i| format!("{name}_v{i}")).find(free).unwrap_or_default();
            names.insert(name.to_string(), fresh);
        }
        let renamed = |value: &Value| {
            let mut value = value.clone();
            rename(&mut value, &names);
            value
        };
        for (name, definition) in self.definitions.iter().filter(|(name, _)| !known.contains(name.as_str())) {
            let name = names.get(name.as_str()).map_or(name.as_str(), String::as_str);
            definitions.insert(name, renamed(definition));
        }
        for (path, item) in &self.paths {
            paths.entry(path.as_str()).or_insert_with(|| renamed(item));
        }
    }
}

fn rename(value: &mut Value, names: &BTreeMap<String, String>) {
    match value {
        Value::Object(map) => {
            let fresh = map.get("$ref").and_then(Value::as_str).and_then(|r| names.get(r.strip_prefix(PREFIX)?));
            if let Some(fresh) = fresh {
                map.insert("$ref", Value::from(format!("{PREFIX}{fresh}")));
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
        let (mut paths, mut definitions) = (Map::new(), Map::new());
        let ours = |name: &str| (name == "Meta").then(|| json!({"x": 2}));
        part.merge_into(&mut paths, &mut definitions, &ours);
        assert!(definitions.get("Meta").is_none(), "ours stays");
        assert_eq!(definitions["Meta_v2"], json!({"x": 1}));
        assert_eq!(definitions["Flunder"]["meta"], to("Meta_v2"));
        assert_eq!(paths["/apis/a/v1/flunders"]["get"]["schema"], to("Flunder"));
    }
}
