//! What is particular to objects of a definition: all of it follows from the schema and the subresources.

use super::{Custom, ScalePaths};
use crate::Strategy;
use crate::read::{items, text};
use ironclad_api::field::ErrorKind;
use ironclad_api::table::{Cells, Column, since};
use ironclad_api::{ErrorList, FieldError, Path, names, object};
use ironclad_json::{Value, json};
use ironclad_schema::patch::go_value;
use ironclad_structural::{JsonPath, embedded, jsonpath, lists, validate};
use std::borrow::Cow;
use std::sync::Arc;

/// The columns of a version's tables.
pub(super) struct Columns {
    columns: Vec<Column>,
    /// Of every column but the first.
    paths: Vec<Option<JsonPath>>,
}

impl Columns {
    pub(super) fn of(version: &Value) -> Self {
        let given = items(version, &["additionalPrinterColumns"]);
        let age = Column { kind: "date".into(), ..Column::age() };
        let mut out = Self { columns: vec![Column::object_name()], paths: Vec::new() };
        if given.is_empty() {
            out.columns.push(age);
            out.paths.push(JsonPath::parse(".metadata.creationTimestamp"));
            return out;
        }
        for raw in given {
            let of = |key: &str| Cow::Owned(text(raw, &[key]).to_owned());
            let path = text(raw, &["jsonPath"]);
            let shown = format!("Custom resource definition column (in JSONPath format): {path}");
            let description = text(raw, &["description"]);
            out.columns.push(Column {
                name: of("name"),
                kind: of("type"),
                format: of("format"),
                description: Cow::Owned(if description.is_empty() { shown } else { description.to_owned() }),
                priority: raw["priority"].as_i64().unwrap_or(0) as i32,
            });
            out.paths.push(JsonPath::parse(path));
        }
        out
    }

    fn cells(&self, object: &Value) -> Cells {
        let mut cells = vec![json!(object::name(object))];
        for (column, path) in self.columns[1..].iter().zip(&self.paths) {
            let found = path.as_ref().and_then(|p| p.first(object));
            cells.push(found.map_or(Value::Null, |v| cell(&column.kind, v)));
        }
        cells
    }
}

fn cell(kind: &str, value: &Value) -> Value {
    match (kind, value) {
        ("string", value) => json!(jsonpath::print(value)),
        ("integer", Value::Number(n)) => {
            n.as_i64().or_else(|| n.as_f64().map(|f| f as i64)).map_or(Value::Null, Value::from)
        }
        ("number", Value::Number(n)) => json!(n.as_f64()),
        ("boolean", Value::Bool(_)) => value.clone(),
        ("date", Value::String(text)) if text.parse::<jiff::Timestamp>().is_ok() => since(text),
        ("date", Value::String(_)) => json!("<invalid>"),
        _ => Value::Null,
    }
}

/// See [`Strategy`].
pub(super) struct CustomStrategy {
    custom: Arc<Custom>,
    columns: Columns,
}

impl CustomStrategy {
    pub(super) fn new(custom: Arc<Custom>, columns: Columns) -> Self {
        Self { custom, columns }
    }

    /// What is wrong with an object as its schema goes; `old` is the one before, if there is one.
    fn check(&self, new: &Value, old: Option<&Value>) -> ErrorList {
        let schema = &self.custom.compiled().schema;
        let root = Path::root();
        let mut errors = validate::validate(&root, schema, new, old);
        if let Some(scale) = &self.custom.scale {
            errors.extend(scale_spec(scale, new));
            errors.extend(scale_status(scale, new));
        }
        errors.extend(embedded::validate(&root, new, schema, false));
        errors.extend(self.lists(new, old));
        self.rules(new, old, &mut errors);
        errors
    }

    /// What stands twice, unless something did before.
    fn lists(&self, new: &Value, old: Option<&Value>) -> ErrorList {
        let schema = &self.custom.compiled().schema;
        let before = old.is_some_and(|old| !lists::validate(&Path::root(), schema, old).is_empty());
        if before { ErrorList::new() } else { lists::validate(&Path::root(), schema, new) }
    }

    /// What the rules say, unless the object is not even of the right form.
    fn rules(&self, new: &Value, old: Option<&Value>, errors: &mut ErrorList) {
        use ErrorKind::{NotSupported, Required, TooLong, TooMany, TypeInvalid};
        let Some(rules) = &self.custom.compiled().rules else { return };
        if errors.iter().any(|e| matches!(e.kind, NotSupported | Required | TooLong | TooMany | TypeInvalid)) {
            let why = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
            errors.push(FieldError::invalid(&Path::new("<nil>"), &Value::Null, why));
            return;
        }
        errors.extend(rules.validate(&Path::root(), new, old));
    }
}

/// The value at a path of keys; an error where something on the way has no keys.
fn nested<'v>(paths: &[String], object: &'v Value) -> Result<Option<&'v Value>, String> {
    let mut here = object;
    for (index, key) in paths.iter().enumerate() {
        match here {
            Value::Object(map) => match map.get(key) {
                Some(found) => here = found,
                None => return Ok(None),
            },
            Value::Null => return Ok(None),
            other => return Err(odd(&paths[..=index], other, "map[string]interface{}")),
        }
    }
    Ok(Some(here))
}

/// That a value is of another type than it should be, in the words of Go.
fn odd(paths: &[String], value: &Value, wanted: &str) -> String {
    let ty = match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    };
    format!(".{} accessor error: {} is of the type {ty}, expected {wanted}", paths.join("."), go_value(value))
}

/// The number at a path of keys; an error where there is something else.
fn replicas(paths: &[String], object: &Value) -> Result<Option<i64>, FieldError> {
    let path = Path::new(&format!(".{}", paths.join(".")));
    let wrong = |why: String| FieldError::invalid(&path, &json!(0), why);
    match nested(paths, object).map_err(wrong)? {
        None => Ok(None),
        Some(Value::Number(n)) if n.is_i64() => {
            let n = n.as_i64().unwrap_or_default();
            let limit = i64::from(i32::MAX);
            let why = match n {
                n if n < 0 => "should be a non-negative integer".to_owned(),
                n if n > limit => format!("should be less than or equal to {limit}"),
                n => return Ok(Some(n)),
            };
            Err(FieldError::invalid(&path, &json!(n), why))
        }
        Some(other) => Err(wrong(odd(paths, other, "int64"))),
    }
}

fn scale_spec(scale: &ScalePaths, object: &Value) -> ErrorList {
    replicas(&scale.spec_replicas, object).err().into_iter().collect()
}

fn scale_status(scale: &ScalePaths, object: &Value) -> ErrorList {
    let mut errors: ErrorList = replicas(&scale.status_replicas, object).err().into_iter().collect();
    if let Some(keys) = &scale.selector {
        let wrong = match nested(keys, object) {
            Ok(None | Some(Value::String(_))) => None,
            Ok(Some(other)) => Some(odd(keys, other, "string")),
            Err(why) => Some(why),
        };
        let path = Path::new(&format!(".{}", keys.join(".")));
        errors.extend(wrong.map(|why| FieldError::invalid_str(&path, "", why)));
    }
    errors
}

/// Warnings about finalizers that others could use too.
fn finalizers(new: &Value, old: Option<&Value>) -> Vec<String> {
    let before = old.map_or(&[][..], |o| items(o, &["metadata", "finalizers"]));
    let mut added: Vec<&str> = items(new, &["metadata", "finalizers"])
        .iter()
        .filter(|f| !before.contains(f))
        .filter_map(Value::as_str)
        .collect();
    added.sort_unstable();
    let mut out = Vec::new();
    for name in added {
        out.extend(names::qualified_name(name).iter().map(|why| format!("metadata.finalizers: {name:?}: {why}")));
        let standard = ["orphan", "foregroundDeletion", "kubernetes"].contains(&name);
        if !name.contains('/') && !standard {
            let path = if name.contains('.') { " including a path (/)" } else { "" };
            out.push(format!(
                "metadata.finalizers: {name:?}: prefer a domain-qualified finalizer name{path} to avoid accidental conflicts with other finalizer writers"
            ));
        }
    }
    out
}

impl Strategy for CustomStrategy {
    fn default(&self, object: &mut Value) {
        let schema = &self.custom.compiled().schema;
        ironclad_structural::default::drop_nulls(object, schema);
        ironclad_structural::default::default(object, schema);
    }

    fn prepare_create(&self, new: &mut Value) {
        if self.custom.status
            && let Some(map) = new.as_object_mut()
        {
            map.remove("status");
        }
    }

    fn validate(&self, object: &Value) -> ErrorList {
        self.check(object, None)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> ErrorList {
        self.check(new, Some(old))
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> ErrorList {
        let schema = &self.custom.compiled().schema;
        let mut errors = ErrorList::new();
        if let (Some(status), Some(schema)) = (new.get("status"), schema.properties.get("status")) {
            errors.extend(validate::validate(&Path::new("status"), schema, status, old.get("status")));
        }
        errors.extend(self.custom.scale.iter().flat_map(|s| scale_status(s, new)));
        errors.extend(self.lists(new, Some(old)));
        self.rules(new, Some(old), &mut errors);
        errors
    }

    fn validate_subresource(&self, _subresource: &str, new: &Value, old: &Value) -> ErrorList {
        self.check(new, Some(old))
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        finalizers(new, old)
    }

    fn columns(&self) -> &[Column] {
        &self.columns.columns
    }

    fn cells(&self, object: &Value) -> Cells {
        self.columns.cells(object)
    }

    fn field<'a>(&self, object: &'a Value, field: &str) -> Cow<'a, str> {
        match JsonPath::parse(&format!(".{field}")).and_then(|p| p.first(object)) {
            Some(Value::Null) | None => Cow::Borrowed(""),
            Some(value) => jsonpath::print(value),
        }
    }

    fn same_generation(&self, new: &Value, old: &Value) -> bool {
        let rest = |v: &Value| -> Vec<(ironclad_json::Text, Value)> {
            let parts = v.as_object().into_iter().flatten().filter(|(k, _)| *k != "metadata");
            parts.map(|(k, v)| (k.clone(), v.clone())).collect()
        };
        rest(new) == rest(old)
    }
}
