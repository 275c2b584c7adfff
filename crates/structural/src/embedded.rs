//! Kind and metadata of objects inside of objects (`x-kubernetes-embedded-resource`), and of the object itself.

use crate::schema::Schema;
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::Value;
use ironclad_schema::{Shape, bundle, check};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// Brings metadata into its form, here and in embedded objects: drops unknown fields, and wrong ones if `drop`.
/// Returns the paths of unknown fields; an error says what is wrong.
pub fn coerce(
    path: &Path,
    value: &mut Value,
    schema: &Schema,
    root: bool,
    drop: bool,
) -> Result<Vec<String>, FieldError> {
    let mut unknown = Vec::new();
    walk(path, value, schema, root || schema.embedded, drop, &mut unknown)?;
    unknown.sort();
    Ok(unknown)
}

fn walk(
    path: &Path,
    value: &mut Value,
    schema: &Schema,
    embedded: bool,
    drop: bool,
    unknown: &mut Vec<String>,
) -> Result<(), FieldError> {
    match value {
        Value::Object(map) => {
            if embedded {
                for head in ["apiVersion", "kind"] {
                    match map.get(head) {
                        None | Some(Value::String(_)) => {}
                        Some(_) if drop => std::mem::drop(map.remove(head)),
                        Some(odd) => return Err(FieldError::invalid(&path.child(head), odd, "must be a string")),
                    }
                }
                if let Some(meta) = map.get_mut("metadata") {
                    metadata(&path.child("metadata"), meta, drop, unknown)?;
                }
            }
            for (key, child) in map.iter_mut() {
                if let Some(property) = schema.properties.get(key.as_str()) {
                    walk(&path.child(key), child, property, property.embedded, drop, unknown)?;
                } else if let Some(like) = schema.like() {
                    walk(&path.key(key), child, like, like.embedded, drop, unknown)?;
                }
            }
            Ok(())
        }
        Value::Array(items) => {
            let Some(schema) = schema.items.as_deref() else { return Ok(()) };
            for (index, item) in items.iter_mut().enumerate() {
                walk(&path.index(index), item, schema, schema.embedded, drop, unknown)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn metadata(path: &Path, meta: &mut Value, drop: bool, unknown: &mut Vec<String>) -> Result<(), FieldError> {
    let Some(id) = bundle().definition(META) else { return Ok(()) };
    let shape = Shape::Object(id);
    if meta.is_null() {
        *meta = Value::Object(ironclad_json::Map::new());
    }
    let mut whole = meta.clone();
    match check::value(bundle(), &shape, &mut whole) {
        Ok(noticed) => {
            *meta = whole;
            unknown.extend(noticed.unknown.iter().map(|u| format!("{path}.{u}")));
        }
        Err(why) if !drop => return Err(FieldError::invalid(path, meta, why)),
        Err(_) => {
            // Field by field: what is wrong goes, the rest stays.
            let Value::Object(map) = meta else { return Ok(()) };
            map.retain_mut(|key, value| {
                let mut one = Value::Object([(key.clone(), value.clone())].into_iter().collect());
                let good = check::value(bundle(), &shape, &mut one).is_ok();
                if let Some(checked) = one.get(key).filter(|_| good) {
                    *value = checked.clone();
                }
                good
            });
        }
    }
    Ok(())
}

/// What is wrong with the kinds and metadata of embedded objects; with those of the object itself too if `root`.
pub fn validate(path: &Path, value: &Value, schema: &Schema, root: bool) -> ErrorList {
    let mut errors = ErrorList::new();
    inspect(path, value, schema, root || schema.embedded, &mut errors);
    errors
}

fn inspect(path: &Path, value: &Value, schema: &Schema, embedded: bool, errors: &mut ErrorList) {
    match value {
        Value::Object(map) => {
            if embedded {
                head(path, value, errors);
            }
            for (key, child) in map {
                if let Some(property) = schema.properties.get(key.as_str()) {
                    inspect(&path.child(key), child, property, property.embedded, errors);
                } else if let Some(like) = schema.like() {
                    inspect(&path.key(key), child, like, like.embedded, errors);
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = schema.items.as_deref() else { return };
            for (index, item) in items.iter().enumerate() {
                inspect(&path.index(index), item, schema, schema.embedded, errors);
            }
        }
        _ => {}
    }
}

fn head(path: &Path, value: &Value, errors: &mut ErrorList) {
    for field in ["apiVersion", "kind"] {
        let at = path.child(field);
        match value.get(field) {
            None => errors.push(FieldError::required(&at, "")),
            Some(Value::String(text)) if text.is_empty() => {
                errors.push(FieldError::invalid_str(&at, text, "must not be empty"));
            }
            Some(Value::String(text)) if field == "apiVersion" => {
                if text.matches('/').count() > 1 {
                    let why = format!("unexpected GroupVersion string: {text}");
                    errors.push(FieldError::invalid_str(&at, text, why));
                }
            }
            Some(Value::String(text)) => {
                let wrong = names::dns1035_label(&text.to_lowercase());
                if !wrong.is_empty() {
                    let why = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
                    errors.push(FieldError::invalid_str(&at, text, why));
                }
            }
            Some(odd) => errors.push(FieldError::invalid(&at, odd, "must be a string")),
        }
    }
    let Some(meta) = value.get("metadata") else { return };
    let at = path.child("metadata");
    let (name, generate) =
        (ironclad_api::object::text(meta, &["name"]), ironclad_api::object::text(meta, &["generateName"]));
    for (field, text) in [("name", name), ("generateName", generate)] {
        for why in names::path_segment(text) {
            errors.push(FieldError::invalid_str(&at.child(field), text, why));
        }
    }
    for (key, value) in meta.get("labels").and_then(Value::as_object).into_iter().flatten() {
        for why in names::qualified_name(key) {
            errors.push(FieldError::invalid_str(&at.child("labels"), key, why));
        }
        let value = value.as_str().unwrap_or_default();
        for why in names::label_value(value) {
            errors.push(FieldError::invalid_str(&at.child("labels"), value, why));
        }
    }
}
