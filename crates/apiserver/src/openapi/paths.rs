//! Paths: what can be done with the objects of a kind, and with which parameters.

use super::schemas::Schemas;
use super::{Dialect, place};
use ironclad_api::GroupVersionKind;
use ironclad_kinds::{Kind, Verb};
use serde_json::{Map, Value, json};

const PATCHES: [&str; 4] = [
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];
const LIST: &[(&str, &str)] = &[
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const WRITE: &[(&str, &str)] = &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string")];
const APPLY: &[(&str, &str)] =
    &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string"), ("force", "boolean")];
const DELETE: &[(&str, &str)] = &[
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];

/// A verb with its method, its action and its query.
type Operation = (Verb, &'static str, &'static str, &'static [(&'static str, &'static str)]);

const ON_COLLECTIONS: &[Operation] = &[
    (Verb::List, "get", "list", LIST),
    (Verb::Create, "post", "post", WRITE),
    (Verb::DeleteCollection, "delete", "deletecollection", LIST),
];
const ON_OBJECTS: &[Operation] = &[
    (Verb::Get, "get", "get", &[]),
    (Verb::Update, "put", "put", WRITE),
    (Verb::Patch, "patch", "patch", APPLY),
    (Verb::Delete, "delete", "delete", DELETE),
];
const ON_SUBRESOURCES: &[Operation] = &[
    (Verb::Get, "get", "get", &[]),
    (Verb::Create, "post", "post", WRITE),
    (Verb::Update, "put", "put", WRITE),
    (Verb::Patch, "patch", "patch", APPLY),
];

/// Adds the paths of a kind and of what is below its objects.
pub(super) fn add(paths: &mut Map<String, Value>, kind: &Kind, schemas: &mut Schemas) {
    let scope = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
    let base = format!("/{}{scope}/{}", place(kind), kind.plural);
    let own = kind.gvk();
    put(paths, base.clone(), kind, &own, (kind.verbs, ON_COLLECTIONS), schemas);
    put(paths, format!("{base}/{{name}}"), kind, &own, (kind.verbs, ON_OBJECTS), schemas);
    for sub in &kind.subresources {
        let gvk = sub.kind.as_ref().map_or_else(|| own.clone(), |(g, v, k)| GroupVersionKind::new(g, v, k));
        let path = format!("{base}/{{name}}/{}", sub.name);
        put(paths, path, kind, &gvk, (sub.verbs, ON_SUBRESOURCES), schemas);
    }
}

fn put(
    paths: &mut Map<String, Value>,
    path: String,
    kind: &Kind,
    gvk: &GroupVersionKind,
    (verbs, operations): (&[Verb], &[Operation]),
    schemas: &mut Schemas,
) {
    let mut item = Map::new();
    for (_, method, action, query) in operations.iter().filter(|o| verbs.contains(&o.0)) {
        let id = format!("{action} {path}").replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        let mut operation = json!({
            "operationId": id,
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": {"group": gvk.group, "version": gvk.version, "kind": gvk.kind},
        });
        let dialect = schemas.dialect;
        let mut parameters: Vec<Value> = query.iter().map(|(n, t)| parameter(dialect, n, "query", t)).collect();
        let schema = schemas.of_kind(gvk).unwrap_or_else(|| json!({"type": "object"}));
        let sends = match *method {
            "patch" => Some(json!({"type": "object"})),
            "post" | "put" => Some(schema.clone()),
            _ => None,
        };
        if let Some(body) = sends {
            send(&mut operation, &mut parameters, dialect, *method == "patch", &body);
        }
        operation["parameters"] = Value::Array(parameters);
        // A list's own type is the kind's with a frame around it; deletions answer with more than one kind.
        let answers =
            if matches!(*action, "get" | "post" | "put" | "patch") { schema } else { json!({"type": "object"}) };
        operation["responses"] = json!({"200": response(dialect, &answers)});
        item.insert((*method).to_owned(), operation);
    }
    if item.is_empty() {
        return;
    }
    let mut common = Vec::new();
    if kind.namespaced {
        common.push(parameter(schemas.dialect, "namespace", "path", "string"));
    }
    if path.contains("{name}") {
        common.push(parameter(schemas.dialect, "name", "path", "string"));
    }
    item.insert("parameters".to_owned(), Value::Array(common));
    paths.insert(path, Value::Object(item));
}

fn parameter(dialect: Dialect, name: &str, place: &str, ty: &str) -> Value {
    let mut out = json!({"name": name, "in": place});
    if place == "path" {
        out["required"] = json!(true);
    }
    match dialect {
        Dialect::V3 => out["schema"] = json!({"type": ty}),
        Dialect::V2 => out["type"] = json!(ty),
    }
    out
}

fn send(operation: &mut Value, parameters: &mut Vec<Value>, dialect: Dialect, patch: bool, schema: &Value) {
    let media: &[&str] = if patch { &PATCHES } else { &["*/*"] };
    match dialect {
        Dialect::V3 => {
            let content: Map<String, Value> =
                media.iter().map(|m| ((*m).to_owned(), json!({"schema": schema}))).collect();
            operation["requestBody"] = json!({"content": content, "required": true});
        }
        Dialect::V2 => {
            operation["consumes"] = json!(media);
            parameters.push(json!({"name": "body", "in": "body", "required": true, "schema": schema}));
        }
    }
}

fn response(dialect: Dialect, schema: &Value) -> Value {
    match dialect {
        Dialect::V3 => json!({"description": "OK", "content": {"application/json": {"schema": schema}}}),
        Dialect::V2 => json!({"description": "OK", "schema": schema}),
    }
}
