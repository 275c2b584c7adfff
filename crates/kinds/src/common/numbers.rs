//! Checks of counts, percentages and quantities.

use crate::read::int;
use ironclad_api::quantity::Quantity;
use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_json::{Value, json};

/// What stock says of a number or a quantity below zero.
pub(crate) const NOT_NEGATIVE: &str = "must be greater than or equal to 0";
const PERCENT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";

/// Numbers that must not be negative.
pub(crate) fn not_negative_at(o: &Value, at: &Path, parts: &[&str], errors: &mut ErrorList) {
    for key in parts {
        if let Some(n) = int(o, &[key])
            && n < 0
        {
            errors.push(FieldError::invalid(&at.child(key), &json!(n), NOT_NEGATIVE));
        }
    }
}

/// A number between two others, which are both allowed.
pub(crate) fn range_at(o: &Value, at: &Path, key: &str, low: i64, high: i64, errors: &mut ErrorList) {
    if let Some(n) = int(o, &[key])
        && !(low..=high).contains(&n)
    {
        let why = format!("must be between {low} and {high}, inclusive");
        errors.push(FieldError::invalid(&at.child(key), &json!(n), why));
    }
}

/// The percentage of a text such as `25%`.
pub(crate) fn percent(v: &Value) -> Option<i64> {
    let digits = v.as_str()?.strip_suffix('%')?;
    let numeric = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    numeric.then(|| digits.parse().unwrap_or(i64::MAX))
}

/// Checks a count or a percentage.
pub(crate) fn int_or_percent(v: &Value, at: &Path, errors: &mut ErrorList) {
    match v {
        Value::Number(n) if n.as_i64().is_some_and(|n| n < 0) => {
            errors.push(FieldError::invalid(at, v, NOT_NEGATIVE));
        }
        Value::String(_) if percent(v).is_none() => errors.push(FieldError::invalid(at, v, PERCENT)),
        _ => {}
    }
}

/// Checks that a percentage is not above 100.
pub(crate) fn at_most_100(v: &Value, at: &Path, errors: &mut ErrorList) {
    if percent(v).is_some_and(|n| n > 100) {
        errors.push(FieldError::invalid(at, v, "must not be greater than 100%"));
    }
}

/// Whether a count or percentage is zero; a missing one is.
pub(crate) fn is_zero(v: &Value) -> bool {
    v.as_i64().or_else(|| percent(v)).unwrap_or(0) == 0
}

/// A quantity, also one given as a number.
pub(crate) fn quantity(v: &Value) -> Option<Quantity> {
    match v {
        Value::String(s) => s.parse().ok(),
        Value::Number(n) => n.to_string().parse().ok(),
        _ => None,
    }
}

/// Checks that a quantity is not negative, and whole where its resource is counted.
pub(crate) fn amount(v: &Value, whole: bool, at: &Path, errors: &mut ErrorList) {
    let Some(q) = quantity(v) else { return };
    if q.is_negative() {
        errors.push(FieldError::invalid_str(at, &q.to_string(), NOT_NEGATIVE));
    }
    if whole && !q.is_integer() {
        errors.push(FieldError::invalid_str(at, &q.to_string(), "must be an integer"));
    }
}

/// Checks that a quantity is above zero.
pub(crate) fn positive_amount(v: &Value, at: &Path, errors: &mut ErrorList) {
    if let Some(q) = quantity(v).filter(|q| q.is_negative() || q.is_zero()) {
        errors.push(FieldError::invalid_str(at, &q.to_string(), "must be greater than zero"));
    }
}
