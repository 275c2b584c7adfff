//! The options that every write takes in its query, checked as stock checks them.

use super::Request;
use crate::metrics::rare;
use ironclad_api::{ApiError, FieldError, Path};
use ironclad_json::json;

const LONGEST_MANAGER: usize = 128;
const VALIDATIONS: [&str; 4] = ["", "Ignore", "Strict", "Warn"];

/// Checks the options of a write. `apply` says for a patch whether it is an apply.
pub(crate) fn check(request: &Request<'_>, apply: Option<bool>) -> Result<(), ApiError> {
    let query = request.query();
    let mut errors = Vec::new();
    let kind = match &*request.info.verb {
        "create" => "CreateOptions",
        "update" => "UpdateOptions",
        "patch" => "PatchOptions",
        _ => "DeleteOptions",
    };
    match apply {
        Some(true) if query.get("fieldManager").is_empty() => {
            errors.push(FieldError::required(&Path::new("fieldManager"), "is required for apply patch"));
        }
        Some(false) if query.has("force") => {
            errors.push(FieldError::forbidden(&Path::new("force"), "may not be specified for non-apply patch"));
        }
        _ => {}
    }
    if kind != "DeleteOptions" {
        manager(query.get("fieldManager"), &mut errors);
    }
    let runs = query.0.get("dryRun").map(Vec::as_slice).unwrap_or_default();
    if runs.iter().any(|v| v != "All") {
        errors.push(FieldError::not_supported(&Path::new("dryRun"), &json!(runs), &["All"]));
    }
    let validation = query.get("fieldValidation");
    rare::field_validation(validation);
    if kind != "DeleteOptions" && !VALIDATIONS.contains(&validation) {
        errors.push(FieldError::not_supported(&Path::new("fieldValidation"), &json!(validation), &VALIDATIONS));
    }
    if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid("meta.k8s.io", kind, "", &errors)) }
}

fn manager(name: &str, errors: &mut Vec<FieldError>) {
    let path = Path::new("fieldManager");
    if name.len() > LONGEST_MANAGER {
        errors.push(FieldError::too_long(&path, LONGEST_MANAGER));
    }
    for (place, c) in name.char_indices().filter(|(_, c)| !ironclad_api::is_print(*c)) {
        let why = format!("invalid character U+{:04X} (at position {place})", c as u32);
        errors.push(FieldError::invalid(&path, &json!(name), why));
    }
}
