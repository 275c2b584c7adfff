//! Which schemas are structural: the form of every value is said outside of `allOf`, `anyOf`, `oneOf` and `not`.

use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_json::{Value, json};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// What keeps a schema, given as JSON, from being structural; sorted by the messages.
pub fn structural(path: &Path, schema: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    invariants(schema, Level::Root, path, &mut errors);
    complete(schema, Some(schema), path, path, &mut errors);
    errors.sort_by_key(ToString::to_string);
    errors
}

fn text<'a>(schema: &'a Value, key: &str) -> &'a str {
    schema[key].as_str().unwrap_or_default()
}

fn flag(schema: &Value, key: &str) -> bool {
    schema[key] == true
}

fn list<'a>(schema: &'a Value, key: &str) -> &'a [Value] {
    schema[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn properties(schema: &Value) -> impl Iterator<Item = (&ironclad_json::Text, &Value)> {
    schema["properties"].as_object().into_iter().flatten()
}

const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
const EMBEDDED: &str = "x-kubernetes-embedded-resource";
const EITHER: &str = "x-kubernetes-int-or-string";

fn invariants(s: &Value, level: Level, path: &Path, errors: &mut ErrorList) {
    let ty = text(s, "type");
    if ty == "array" && s["items"].is_null() {
        errors.push(FieldError::required(&path.child("items"), "must be specified"));
    }
    if s["items"].is_object() {
        invariants(&s["items"], Level::Item, &path.child("items"), errors);
    }
    for (name, property) in properties(s) {
        invariants(property, Level::Field, &path.child("properties").key(name), errors);
    }
    let additional = &s["additionalProperties"];
    if !additional.is_null() && level == Level::Root {
        errors.push(FieldError::forbidden(&path.child("additionalProperties"), "must not be used at the root"));
    }
    if additional.is_object() {
        invariants(additional, Level::Field, &path.child("additionalProperties"), errors);
    }
    for key in [PRESERVE, EMBEDDED] {
        if flag(s, EITHER) && flag(s, key) {
            let why = format!("must be false if {EITHER} is true");
            errors.push(FieldError::invalid(&path.child(key), &json!(true), why));
        }
    }
    let (any, all) = either_patterns(s);
    values(s, any, all, path, errors);
    form(s, ty, level, path, errors);
    meta(s, level, path, errors);
}

/// The type that a schema must have.
fn form(s: &Value, ty: &str, level: Level, path: &Path, errors: &mut ErrorList) {
    let at = path.child("type");
    if flag(s, EMBEDDED) && ty != "object" {
        let why = format!("must be object if {EMBEDDED} is true");
        errors.push(if ty.is_empty() { FieldError::required(&at, why) } else { FieldError::invalid_str(&at, ty, why) });
    } else if ty.is_empty() && !flag(s, EITHER) && !flag(s, PRESERVE) {
        errors.push(FieldError::required(
            &at,
            match level {
                Level::Root => "must not be empty at the root",
                Level::Item => "must not be empty for specified array items",
                Level::Field => "must not be empty for specified object fields",
            },
        ));
    }
    if flag(s, EMBEDDED) && !s["additionalProperties"].is_null() {
        let why = format!("must not be used if {EMBEDDED} is set");
        errors.push(FieldError::forbidden(&path.child("additionalProperties"), why));
    }
    if level == Level::Root && !ty.is_empty() && ty != "object" {
        errors.push(FieldError::invalid_str(&at, ty, "must be object at the root"));
    }
    if flag(s, EMBEDDED) && !flag(s, PRESERVE) && properties(s).next().is_none() {
        let why = format!("must not be empty if {EMBEDDED} is true without {PRESERVE}");
        errors.push(FieldError::required(&path.child("properties"), why));
    }
}

/// What may be said of kind and metadata.
fn meta(s: &Value, level: Level, path: &Path, errors: &mut ErrorList) {
    let whole = level == Level::Root || flag(s, EMBEDDED);
    let at = path.child("properties");
    for head in ["kind", "apiVersion"] {
        if whole && let Some(schema) = s["properties"].get(head).filter(|p| text(p, "type") != "string") {
            let at = at.key(head).child("type");
            errors.push(FieldError::invalid_str(&at, text(schema, "type"), "must be string"));
        }
    }
    let Some(metadata) = s["properties"].get("metadata") else { return };
    let at = at.key("metadata");
    if whole && text(metadata, "type") != "object" {
        errors.push(FieldError::invalid_str(&at.child("type"), text(metadata, "type"), "must be object"));
    }
    if level == Level::Root {
        let known = |name: &ironclad_json::Text| matches!(name.as_str(), "name" | "generateName");
        let named = properties(metadata).all(|(name, _)| known(name));
        let more = metadata.as_object().into_iter().flatten().any(|(key, value)| {
            let empty = value.is_null() || *value == json!(false) || *value == json!("") || *value == json!([]);
            !matches!(key.as_str(), "type" | "default" | "properties") && !empty
        });
        if !named || more {
            let why =
                "must not specify anything other than name and generateName, but metadata is implicitly specified";
            errors.push(FieldError::forbidden(&at, why));
        }
    }
}

/// Whether `anyOf`, and the `anyOf` of the first of `allOf`, say that a value is an integer or a text.
fn either_patterns(s: &Value) -> (bool, bool) {
    let pattern = json!([{"type": "integer"}, {"type": "string"}]);
    (s["anyOf"] == pattern, list(s, "allOf").first().is_some_and(|f| f["anyOf"] == pattern))
}

fn values(v: &Value, skip_any: bool, skip_first: bool, path: &Path, errors: &mut ErrorList) {
    if !skip_any {
        for (i, inner) in list(v, "anyOf").iter().enumerate() {
            nested(inner, false, &path.child("anyOf").index(i), errors);
        }
    }
    for (i, inner) in list(v, "allOf").iter().enumerate() {
        nested(inner, skip_first && i == 0, &path.child("allOf").index(i), errors);
    }
    for (i, inner) in list(v, "oneOf").iter().enumerate() {
        nested(inner, false, &path.child("oneOf").index(i), errors);
    }
    if v["not"].is_object() {
        nested(&v["not"], false, &path.child("not"), errors);
    }
    let pattern = text(v, "pattern");
    if !pattern.is_empty()
        && let Err(why) = crate::pattern(pattern)
    {
        let why = format!("must be a valid regular expression, but isn't: {why}");
        errors.push(FieldError::invalid_str(&path.child("pattern"), pattern, why));
    }
}

/// What may not be said inside of `allOf` and its like.
const FORBIDDEN: &[(&str, &str)] = &[
    ("type", "empty"),
    ("additionalProperties", "undefined"),
    ("default", "undefined"),
    ("title", "empty"),
    ("description", "empty"),
    ("nullable", "false"),
    (PRESERVE, "false"),
    (EMBEDDED, "false"),
    (EITHER, "false"),
    ("x-kubernetes-list-map-keys", "empty"),
    ("x-kubernetes-list-type", "undefined"),
    ("x-kubernetes-map-type", "undefined"),
    ("x-kubernetes-validations", "empty"),
];

fn nested(v: &Value, skip_any: bool, path: &Path, errors: &mut ErrorList) {
    values(v, skip_any, false, path, errors);
    if v["items"].is_object() {
        nested(&v["items"], false, &path.child("items"), errors);
    }
    for (name, inner) in properties(v) {
        nested(inner, false, &path.child("properties").key(name), errors);
    }
    for (key, wanted) in FORBIDDEN {
        let value = &v[key];
        let zero = value.is_null()
            || *value == json!(false)
            || *wanted == "empty" && (*value == json!("") || *value == json!([]));
        if !zero {
            errors.push(FieldError::forbidden(&path.child(key), format!("must be {wanted} to be structural")));
        }
    }
    if v["properties"].get("metadata").is_some() {
        let at = path.child("properties").key("metadata");
        errors.push(FieldError::forbidden(&at, "must not be specified in a nested context"));
    }
}

/// Whatever is said inside of `allOf` and its like is of a value whose form is said outside.
fn complete(v: &Value, s: Option<&Value>, at: &Path, from: &Path, errors: &mut ErrorList) {
    let mut inner = |v: &Value, from: Path| inside(v, s, at, &from, errors);
    if v["not"].is_object() {
        inner(&v["not"], from.child("not"));
    }
    for key in ["allOf", "anyOf", "oneOf"] {
        for (i, one) in list(v, key).iter().enumerate() {
            inner(one, from.child(key).index(i));
        }
    }
}

fn inside(v: &Value, s: Option<&Value>, at: &Path, from: &Path, errors: &mut ErrorList) {
    let Some(schema) = s.filter(|s| s.is_object()) else {
        errors.push(FieldError::required(at, format!("because it is defined in {from}")));
        return;
    };
    complete(v, s, at, from, errors);
    if v["items"].is_object() {
        inside(&v["items"], schema.get("items"), &at.child("items"), &from.child("items"), errors);
    }
    for (name, inner) in properties(v) {
        let (at, from) = (at.child("properties").key(name), from.child("properties").key(name));
        inside(inner, schema["properties"].get(name), &at, &from, errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_structural_is_named() {
        let object = |properties: Value| json!({"type": "object", "properties": properties});
        let table = [
            (object(json!({"a": {"type": "string"}})), ""),
            (json!({}), "s.type: Required value: must not be empty at the root"),
            (
                object(json!({"a": {}})),
                "s.properties[a].type: Required value: must not be empty for specified object fields",
            ),
            (object(json!({"a": {"type": "array"}})), "s.properties[a].items: Required value: must be specified"),
            (
                object(
                    json!({"a": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}}),
                ),
                "",
            ),
            (
                object(json!({"a": {"type": "string", "anyOf": [{"type": "string"}]}})),
                "s.properties[a].anyOf[0].type: Forbidden: must be empty to be structural",
            ),
            (
                json!({"type": "object", "anyOf": [{"properties": {"a": {"minimum": 1}}}]}),
                "s.properties[a]: Required value: because it is defined in s.anyOf[0].properties[a]",
            ),
            (
                object(
                    json!({"metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}}}}),
                ),
                "",
            ),
            (
                object(json!({"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}})),
                "s.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
            ),
            (
                json!({"type": "object", "additionalProperties": {"type": "string"}}),
                "s.additionalProperties: Forbidden: must not be used at the root",
            ),
        ];
        for (schema, want) in table {
            let errors: Vec<String> = structural(&Path::new("s"), &schema).iter().map(ToString::to_string).collect();
            assert_eq!(errors.join("; "), want, "{schema}");
        }
    }
}
