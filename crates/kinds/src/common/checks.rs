//! Short forms of the checks that most kinds make. Each adds what it finds to the list.

use crate::read::{has, text};
use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_json::Value;

/// What stock says of a field that may not change.
pub(crate) const IMMUTABLE: &str = "field is immutable";

/// Adds the messages that a rule of [`ironclad_api::names`] has for a text.
pub(crate) fn rule(found: Vec<String>, given: &str, at: &Path, errors: &mut ErrorList) {
    errors.extend(found.into_iter().map(|why| FieldError::invalid_str(at, given, why)));
}

/// Texts that must be there.
pub(crate) fn required(o: &Value, at: &Path, keys: &[&str], errors: &mut ErrorList) {
    for key in keys.iter().filter(|k| text(o, &[k]).is_empty()) {
        errors.push(FieldError::required(&at.child(key), ""));
    }
}

/// A text that must be there and follow a rule.
pub(crate) fn required_rule(o: &Value, at: &Path, key: &str, check: fn(&str) -> Vec<String>, errors: &mut ErrorList) {
    match text(o, &[key]) {
        "" => errors.push(FieldError::required(&at.child(key), "")),
        given => rule(check(given), given, &at.child(key), errors),
    }
}

/// A text that follows a rule where it is given.
pub(crate) fn optional_rule(o: &Value, at: &Path, key: &str, check: fn(&str) -> Vec<String>, errors: &mut ErrorList) {
    let given = text(o, &[key]);
    if !given.is_empty() {
        rule(check(given), given, &at.child(key), errors);
    }
}

/// A part that may not change. Missing and null are the same.
pub(crate) fn immutable(new: &Value, old: &Value, at: &Path, keys: &[&str], errors: &mut ErrorList) {
    for key in keys {
        if !same(&new[*key], &old[*key]) {
            errors.push(FieldError::invalid(&at.child(key), &new[*key], IMMUTABLE));
        }
    }
}

/// Whether two values are equal, where null, missing and empty are the same.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    fn empty(v: &Value) -> bool {
        match v {
            Value::Null => true,
            Value::Array(list) => list.is_empty(),
            _ => false,
        }
    }
    if empty(a) && empty(b) {
        return true;
    }
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            x.iter().all(|(k, v)| same(v, y.get(k).unwrap_or(&Value::Null)))
                && y.iter().all(|(k, v)| x.contains_key(k) || empty(v))
        }
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(p, q)| same(p, q)),
        _ => a == b,
    }
}

/// Parts that may not be given, with the reason.
pub(crate) fn forbidden(o: &Value, at: &Path, keys: &[&str], why: &str, errors: &mut ErrorList) {
    for key in keys.iter().filter(|k| has(o, &[k])) {
        errors.push(FieldError::forbidden(&at.child(key), why));
    }
}
