//! Checks of conditions in a status.

use super::checks::rule;
use crate::read::{count, text};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};

const REASON_MAX: usize = 1024;
const MESSAGE_MAX: usize = 32 * 1024;
const REASON: &str = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";

fn is_reason(reason: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    reason.starts_with(|c: char| c.is_ascii_alphabetic())
        && reason.ends_with(word)
        && reason.chars().all(|c| word(c) || matches!(c, ',' | ':'))
}

/// Checks conditions as newer kinds have them: each type once, and each part given.
pub(crate) fn all(conditions: &[Value], at: &Path, errors: &mut ErrorList) {
    for (i, condition) in conditions.iter().enumerate() {
        let (at, kind) = (at.index(i), text(condition, &["type"]));
        if conditions[..i].iter().any(|c| text(c, &["type"]) == kind) {
            errors.push(FieldError::duplicate(&at.child("type"), &json!(kind)));
        }
        rule(names::qualified_name(kind), kind, &at.child("type"), errors);
        let (status, known) = (text(condition, &["status"]), ["False", "True", "Unknown"]);
        if !known.contains(&status) {
            errors.push(FieldError::not_supported(&at.child("status"), &json!(status), &known));
        }
        let generation = count(condition, &["observedGeneration"]);
        if generation < 0 {
            let why = "must be greater than or equal to zero";
            errors.push(FieldError::invalid(&at.child("observedGeneration"), &json!(generation), why));
        }
        if text(condition, &["lastTransitionTime"]).is_empty() {
            errors.push(FieldError::required(&at.child("lastTransitionTime"), ""));
        }
        let (reason, reason_at) = (text(condition, &["reason"]), at.child("reason"));
        if reason.is_empty() {
            errors.push(FieldError::required(&reason_at, ""));
        } else if !is_reason(reason) {
            errors.push(FieldError::invalid_str(&reason_at, reason, REASON));
        }
        if reason.len() > REASON_MAX {
            errors.push(FieldError::too_long(&reason_at, REASON_MAX));
        }
        if text(condition, &["message"]).len() > MESSAGE_MAX {
            errors.push(FieldError::too_long(&at.child("message"), MESSAGE_MAX));
        }
    }
}

/// Checks conditions of which only the types matter.
pub(crate) fn types(conditions: &[Value], at: &Path, errors: &mut ErrorList) {
    for (i, condition) in conditions.iter().enumerate() {
        let (at, kind) = (at.index(i).child("type"), text(condition, &["type"]));
        if conditions[..i].iter().any(|c| text(c, &["type"]) == kind) {
            errors.push(FieldError::duplicate(&at, &json!(kind)));
        }
        if kind.is_empty() {
            errors.push(FieldError::required(&at, ""));
        }
    }
}
