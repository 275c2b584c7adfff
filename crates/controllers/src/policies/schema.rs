//! Kinds in OpenAPI documents, as declarations for expressions.

use ironclad_api::{GroupVersionKind, GroupVersionResource, object};
use ironclad_cel::Decl;
use ironclad_json::{Map, Value, json};
use std::sync::Arc;

/// How deep a type is followed; types that hold themselves are dynamic from there on.
const DEPTH: usize = 24;
const KIND: &str = "x-kubernetes-group-version-kind";

/// The kind that the paths of a resource are about.
pub(super) fn kind_of(document: &Value, resource: &GroupVersionResource) -> Option<GroupVersionKind> {
    let tail = format!("/{}", resource.resource);
    let paths = document["paths"].as_object()?;
    let own = paths.iter().filter(|(path, _)| path.ends_with(&tail) && !path.contains("/watch/"));
    let marks = own.filter_map(|(_, operations)| {
        let mark = [&operations["post"][KIND], &operations["get"][KIND]].into_iter().find(|m| m.is_object())?;
        Some(read(mark))
    });
    marks.into_iter().next()
}

fn read(mark: &Value) -> GroupVersionKind {
    let text = |field: &str| object::text(mark, &[field]);
    GroupVersionKind::new(text("group"), text("version"), text("kind"))
}

/// The declaration of a kind.
pub(super) fn of_kind(document: &Value, kind: &GroupVersionKind) -> Option<Arc<Decl>> {
    let schemas = document["components"]["schemas"].as_object()?;
    let is =
        |schema: &&Value| schema[KIND].as_array().is_some_and(|marks| marks.len() == 1 && read(&marks[0]) == *kind);
    let schema = schemas.values().find(is)?;
    Decl::from_schema(&resolve(schemas, schema, 0), true)
}

/// A schema with what it refers to put in its place.
fn resolve(schemas: &Map, schema: &Value, depth: usize) -> Value {
    let any = || json!({"x-kubernetes-int-or-string": true});
    if depth > DEPTH {
        return any();
    }
    let all = schema["allOf"].as_array().filter(|all| all.len() == 1);
    if let Some(reference) = schema["$ref"].as_str().or_else(|| all.and_then(|a| a[0]["$ref"].as_str())) {
        let name = reference.rsplit('/').next().unwrap_or_default();
        return schemas.get(name).map_or_else(any, |inner| resolve(schemas, inner, depth + 1));
    }
    if schema["format"] == "int-or-string" || schema["type"].is_null() && schema["properties"].is_null() {
        return any();
    }
    let mut out = schema.as_object().cloned().unwrap_or_default();
    out.retain(|key, _| !matches!(key.as_str(), "description" | "default" | "oneOf" | "allOf"));
    let object = out.get("type").is_some_and(|t| t == "object");
    if object && !out.contains_key("properties") && !out.contains_key("additionalProperties") {
        // Whatever it holds, expressions may look at it.
        return any();
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = out.get(key).filter(|i| i.is_object()) {
            let inner = resolve(schemas, inner, depth + 1);
            out.insert(key.to_owned(), inner);
        }
    }
    if let Some(Value::Object(properties)) = out.get_mut("properties") {
        for inner in properties.values_mut() {
            *inner = resolve(schemas, inner, depth + 1);
        }
    }
    Value::Object(out)
}
