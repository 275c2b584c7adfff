//! The fields that a configuration sets, and what is wrong with it by its schema.

use super::place::{Form, Place};
use super::set::{PathElement, Set, describe};
use crate::bundle::Scalar;
use crate::patch;
use crate::patch::go_value;
use ironclad_json::Value;
use std::collections::BTreeMap;

/// The paths of everything in `config` that would replace a whole that its owner knows only as one.
pub(super) fn atomics(place: Place<'_>, config: &Value) -> Vec<String> {
    let mut out = Vec::new();
    find_atomics(place, config, &mut String::new(), &mut out);
    out
}

fn find_atomics(place: Place<'_>, value: &Value, path: &mut String, out: &mut Vec<String>) {
    let length = path.len();
    match value {
        Value::Object(map) => {
            if place.is_map() && place.settled() == Form::Leaf {
                out.push(path.clone());
            }
            for (name, value) in map {
                let (child, declared) = place.child(name);
                if declared && matches!(place.shape(), crate::bundle::Shape::Object(_)) {
                    path.push('.');
                    path.push_str(name);
                    find_atomics(child, value, path, out);
                    path.truncate(length);
                }
            }
        }
        Value::Array(items) if place.is_list() => {
            if place.settled() == Form::Leaf {
                out.push(path.clone());
            }
            for (index, item) in items.iter().enumerate() {
                path.push_str(&format!("[{index}]"));
                find_atomics(place.item(), item, path, out);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

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
            let elements: Vec<Option<PathElement>> = items.iter().map(|i| place.element(form, i).ok()).collect();
            let mut times: BTreeMap<&PathElement, usize> = BTreeMap::new();
            elements.iter().flatten().for_each(|e| *times.entry(e).or_default() += 1);
            for (item, element) in items.iter().zip(&elements) {
                let Some(element) = element else { continue };
                path.push(element.clone());
                // What stands twice is owned as a whole.
                if times.get(element) == Some(&1) && matches!(form, Form::Keyed(_)) {
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
    check(place, config, &mut String::new(), &mut out);
    out
}

/// Whether a value can be told apart by its schema; that items stand twice is no hindrance.
pub(super) fn fits(place: Place<'_>, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) if place.is_map() || place.form(value) == Form::Map => {
            map.iter().all(|(name, value)| place.declares(name) && fits(place.child(name).0, value))
        }
        Value::Array(items) if place.is_list() => {
            let form = place.settled();
            let told = |item: &Value| form == Form::Leaf || place.element(form, item).is_ok();
            items.iter().all(|item| told(item) && fits(place.item(), item))
        }
        _ if place.is_list() => false,
        _ if place.is_map() && place.form(value) != Form::Leaf => false,
        _ => place.scalar().is_none_or(|scalar| wrong_scalar(scalar, value).is_none()),
    }
}

/// How many mistakes are told.
const TOLD: usize = 50;

/// Checks what is at `path`, which is already written as messages have it.
fn check(place: Place<'_>, value: &Value, path: &mut String, out: &mut Vec<String>) {
    if out.len() >= TOLD || value.is_null() {
        return;
    }
    let got = |wanted: &str| format!("expected {wanted}, got &{{{}}}", go_value(value));
    match value {
        Value::Object(map) if place.is_map() || place.form(value) == Form::Map => {
            for (name, value) in map {
                let length = path.len();
                path.push_str(&describe(&[PathElement::Field(name.clone())]));
                if place.declares(name) {
                    check(place.child(name).0, value, path, out);
                } else {
                    out.push(format!("{path}: field not declared in schema"));
                }
                path.truncate(length);
            }
        }
        Value::Array(items) if place.is_list() => check_items(place, items, path, out),
        _ if place.is_list() => out.push(format!("{path}: {}", got("list"))),
        _ if place.is_map() && place.form(value) != Form::Leaf => out.push(format!("{path}: {}", got("map"))),
        _ => {
            if let Some(what) = place.scalar().and_then(|scalar| wrong_scalar(scalar, value)) {
                out.push(format!("{path}: {what}"));
            }
        }
    }
}

fn check_items(place: Place<'_>, items: &[Value], path: &mut String, out: &mut Vec<String>) {
    let form = place.settled();
    let mut seen = std::collections::BTreeSet::new();
    for (index, item) in items.iter().enumerate() {
        let length = path.len();
        if form == Form::Leaf {
            path.push_str(&format!("[{index}]"));
            check(place.item(), item, path, out);
            path.truncate(length);
            continue;
        }
        match place.element(form, item) {
            // What follows could not even be named.
            Err(why) => return out.push(format!("{path}: element {index}: {why}")),
            Ok(element) => {
                let key = describe(std::slice::from_ref(&element));
                if !seen.insert(element) {
                    out.push(format!("{path}: duplicate entries for key {key}"));
                }
                path.push_str(&key);
                check(place.item(), item, path, out);
                path.truncate(length);
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
            let shown = patch::go_syntax(other);
            Some(format!("expected string, got &value.valueUnstructured{{Value:{shown}}}"))
        }
        (Scalar::Bool, other) if !other.is_boolean() => {
            let shown = other.as_str().map_or_else(|| other.to_string(), str::to_owned);
            Some(format!("expected boolean, got &{{{shown}}}"))
        }
        _ => None,
    }
}
