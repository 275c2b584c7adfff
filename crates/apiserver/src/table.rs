//! Tables: what kubectl prints, made of the kind's columns and cells.

use crate::accept::Accepted;
use crate::cache::Cached;
use crate::registry::{Request, partial_object};
use crate::request::Query;
use ironclad_api::{ApiError, FieldError, Path};
use ironclad_json::{Value, json};
use ironclad_kinds::Kind;
use std::sync::Arc;

/// Refuses what cannot be included in a table's rows.
pub(crate) fn check_options(query: &Query) -> Result<(), ApiError> {
    let include = query.get("includeObject");
    if matches!(include, "" | "Metadata" | "None" | "Object") {
        return Ok(());
    }
    let why = "must be 'Metadata', 'Object', 'None', or empty";
    let error = FieldError::invalid(&Path::new("includeObject"), &json!(include), why);
    Err(ApiError::bad_request(format!("Unable to convert to Table as requested: {error}")))
}

fn row(kind: &Kind, object: &Value, include: &str, accepted: Accepted) -> Value {
    let shown = match include {
        "None" => Value::Null,
        "Object" => object.clone(),
        _ => partial_object(object, accepted),
    };
    let mut row = json!({"cells": kind.strategy.cells(object), "object": shown});
    if let Some(conditions) = kind.strategy.row_conditions(object) {
        row["conditions"] = conditions;
    }
    row
}

fn table(kind: &Kind, meta: &Value, columns: bool, rows: Vec<Value>, accepted: Accepted) -> Value {
    let definitions = crate::rows::definitions(kind, columns);
    let version = accepted.meta_version();
    json!({"kind": "Table", "apiVersion": version, "metadata": meta, "columnDefinitions": definitions, "rows": rows})
}

pub(crate) fn of_list(request: &Request<'_>, objects: &[Arc<Cached>], meta: &Value) -> Value {
    let include = request.query().get("includeObject");
    let row = |o: &Arc<Cached>| row(request.kind, &request.to_requested(o.value()), include, request.accept);
    table(request.kind, meta, true, objects.iter().map(row).collect(), request.accept)
}

pub(crate) fn of_object(request: &Request<'_>, object: &Value) -> Value {
    let meta = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
    let include = request.query().get("includeObject");
    table(request.kind, &meta, true, vec![row(request.kind, object, include, request.accept)], request.accept)
}

/// The table of one event; only the first of a watch has the columns.
pub(crate) fn of_event(kind: &Kind, object: &Value, include: &str, first: bool, accepted: Accepted) -> Value {
    let meta = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
    table(kind, &meta, first, vec![row(kind, object, include, accepted)], accepted)
}
