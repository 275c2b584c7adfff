//! Tables: what kubectl prints, made of the kind's columns and cells.

use crate::cache::Cached;
use crate::registry::Request;
use ironclad_kinds::Kind;
use serde_json::{Value, json};
use std::sync::Arc;

fn row(kind: &Kind, object: &Value, include: &str) -> Value {
    let shown = match include {
        "None" => Value::Null,
        "Object" => object.clone(),
        _ => json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]}),
    };
    let mut row = json!({"cells": kind.strategy.cells(object)});
    if !shown.is_null() {
        row["object"] = shown;
    }
    row
}

fn table(kind: &Kind, meta: &Value, columns: bool, rows: Vec<Value>) -> Value {
    let definitions: Vec<Value> = match columns {
        true => kind.strategy.columns().iter().map(ironclad_api::table::Column::to_value).collect(),
        false => Vec::new(),
    };
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "columnDefinitions": definitions, "rows": rows})
}

pub(crate) fn of_list(request: &Request<'_>, objects: &[Arc<Cached>], meta: &Value) -> Value {
    let include = request.query().get("includeObject");
    let rows = objects.iter().map(|o| row(request.kind, &request.to_requested(o.value()), include)).collect();
    table(request.kind, meta, true, rows)
}

pub(crate) fn of_object(request: &Request<'_>, object: &Value) -> Value {
    let meta = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
    let include = request.query().get("includeObject");
    table(request.kind, &meta, true, vec![row(request.kind, object, include)])
}

/// The table of one event; only the first of a watch has the columns.
pub(crate) fn of_event(kind: &Kind, object: &Value, include: &str, first: bool) -> Value {
    let meta = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
    table(kind, &meta, first, vec![row(kind, object, include)])
}
