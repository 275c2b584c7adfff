//! Rules of volume claims, wherever their specification stands.

use crate::read::{items, text};
use ironclad_api::quantity::Quantity;
use ironclad_api::{ErrorList, FieldError, Path};
use serde_json::{Value, json};

const MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

/// Checks access modes.
pub(crate) fn check_modes(spec: &Value, at: &Path, errors: &mut ErrorList) {
    let modes = items(spec, &["accessModes"]);
    let at = at.child("accessModes");
    if modes.is_empty() {
        errors.push(FieldError::required(&at, "at least 1 access mode is required"));
    }
    for mode in modes.iter().filter(|m| !MODES.contains(&m.as_str().unwrap_or_default())) {
        errors.push(FieldError::not_supported(&at, mode, &MODES));
    }
    if modes.len() > 1 && modes.iter().any(|m| m == "ReadWriteOncePod") {
        errors.push(FieldError::forbidden(&at, "may not use ReadWriteOncePod with other access modes"));
    }
}

/// Checks the specification of a claim, also of a claim template.
pub(crate) fn validate_claim_spec(spec: &Value, at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    check_modes(spec, at, &mut errors);
    let requested = at.child("resources").child("requests").key("storage");
    match spec["resources"]["requests"].get("storage").and_then(Value::as_str).map(str::parse::<Quantity>) {
        None => errors.push(FieldError::required(&at.child("resources").key("storage"), "")),
        Some(Ok(q)) if q.is_negative() || q.is_zero() => {
            errors.push(FieldError::invalid_str(&requested, &q.to_string(), "must be greater than zero"));
        }
        Some(_) => {}
    }
    let mode = text(spec, &["volumeMode"]);
    if !mode.is_empty() && !matches!(mode, "Block" | "Filesystem") {
        errors.push(FieldError::not_supported(&at.child("volumeMode"), &json!(mode), &["Block", "Filesystem"]));
    }
    errors
}
