//! The fields that a configuration sets, and what is wrong with it by its schema.

use super::place::{Form, Place, element};
use super::set::{PathElement, Set, describe};
use crate::bundle::Scalar;
use serde_json::Value;

/// Every field that `value` sets. Items of lists that cannot be told apart are left out.
pub(super) fn field_set(place: Place<'_>, value: &Value) -> Set {
    let mut out = Set::default();
    collect(place, value, &mut Vec::new(), &mut out);
    out
}

fn collect(place: Place<'_>, value: &Value, path: &mut Vec<PathElement>, out: &mut Set) {
    match (place.form(value), value) {
        (Form::Map, Value::Object(map)) => {
            for (name, value) in map {
                let (child, declared) = place.child(name);
                path.push(PathElement::Field(name.clone()));
                collect(child, value, path, out);
                let empty = value.is_null() || value.as_object().is_some_and(|m| m.is_empty());
                if empty || !declared {
                    out.insert(path);
                }
                path.pop();
            }
        }
        (form @ (Form::Keyed(_) | Form::Set), Value::Array(items)) => {
            let elements: Vec<Option<PathElement>> = items.iter().map(|i| element(form, i).ok()).collect();
            for (item, element) in items.iter().zip(&elements) {
                let Some(element) = element else { continue };
                let alone = elements.iter().filter(|e| e.as_ref() == Some(element)).count() == 1;
                path.push(element.clone());
                if alone && matches!(form, Form::Keyed(_)) {
                    collect(place.item(), item, path, out);
                }
                out.insert(path);
                path.pop();
            }
        }
        (Form::Leaf, _) => out.insert(path),
        _ => {}
    }
}

/// What is wrong with a configuration: fields that are not declared, values of wrong types, items twice.
pub(super) fn problems(place: Place<'_>, config: &Value) -> Vec<String> {
    let mut out = Vec::new();
    check(place, config, &mut Vec::new(), &mut out);
    out
}

/// How many mistakes are told.
const TOLD: usize = 50;

fn check(place: Place<'_>, value: &Value, path: &mut Vec<PathElement>, out: &mut Vec<String>) {
    if out.len() >= TOLD || value.is_null() {
        return;
    }
    let mut say = |path: &[PathElement], what: String| out.push(format!("{}: {what}", describe(path)));
    match (place.form(value), value) {
        (Form::Map, Value::Object(map)) => {
            for (name, value) in map {
                path.push(PathElement::Field(name.clone()));
                if place.declares(name) {
                    check(place.child(name).0, value, path, out);
                } else {
                    out.push(format!("{}: field not declared in schema", describe(path)));
                }
                path.pop();
            }
        }
        (Form::Map, other) => say(path, format!("expected map, got &{{{}}}", other.to_string().trim_matches('"'))),
        (form @ (Form::Keyed(_) | Form::Set), Value::Array(items)) => {
            let mut seen = Vec::new();
            for (index, item) in items.iter().enumerate() {
                match element(form, item) {
                    Err(why) => out.push(format!("{}: element {index}: {why}", describe(path))),
                    Ok(element) => {
                        path.push(element.clone());
                        if seen.contains(&element) {
                            let place = describe(&path[..path.len() - 1]);
                            let key = describe(&path[path.len() - 1..]);
                            out.push(format!("{place}: duplicate entries for key {key}"));
                        } else if matches!(form, Form::Keyed(_)) {
                            check(place.item(), item, path, out);
                        }
                        path.pop();
                        seen.push(element);
                    }
                }
            }
        }
        (Form::Leaf, Value::Array(_)) if place.is_list() => {}
        (Form::Keyed(_) | Form::Set, other) => {
            say(path, format!("expected list, got &{{{}}}", other.to_string().trim_matches('"')));
        }
        (Form::Leaf, other) if place.is_list() => {
            say(path, format!("expected list, got &{{{}}}", other.to_string().trim_matches('"')));
        }
        (Form::Leaf, other) => {
            if let Some(what) = place.scalar().and_then(|scalar| wrong_scalar(scalar, other)) {
                say(path, what);
            }
        }
    }
}

fn wrong_scalar(scalar: Scalar, value: &Value) -> Option<String> {
    let go = |value: &Value| match value {
        Value::String(_) => "string",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
        Value::Null => "<nil>",
    };
    match (scalar, value) {
        (Scalar::Int32 | Scalar::Int64 | Scalar::Double, other) if !other.is_number() => {
            Some(format!("expected numeric (int or float), got {}", go(other)))
        }
        (Scalar::String | Scalar::Bytes | Scalar::Time | Scalar::MicroTime, other) if !other.is_string() => {
            let shown = other.to_string();
            Some(format!("expected string, got &value.valueUnstructured{{Value:{shown}}}"))
        }
        (Scalar::Bool, other) if !other.is_boolean() => {
            let shown = other.as_str().map_or_else(|| other.to_string(), str::to_owned);
            Some(format!("expected boolean, got &{{{shown}}}"))
        }
        _ => None,
    }
}
