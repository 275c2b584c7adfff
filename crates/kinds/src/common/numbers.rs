//! Checks of counts and percentages.

use crate::read::int;
use ironclad_api::{ErrorList, FieldError, Path};
use serde_json::{Value, json};

/// Numbers that must not be negative.
pub(crate) fn not_negative(o: &Value, parts: &[&str], errors: &mut ErrorList) {
    for key in parts {
        if let Some(n) = int(o, &["spec", key])
            && n < 0
        {
            let at = Path::new("spec").child(key);
            errors.push(FieldError::invalid(&at, &json!(n), "must be greater than or equal to 0"));
        }
    }
}

/// Checks a count or a percentage up to 100%.
pub(crate) fn check_int_or_percent(v: &Value, at: &Path, errors: &mut ErrorList) {
    match v {
        Value::Number(n) if n.as_i64().is_some_and(|n| n < 0) => {
            errors.push(FieldError::invalid(at, v, "must be greater than or equal to 0"));
        }
        Value::String(s) => match s.strip_suffix('%').and_then(|d| d.parse::<u32>().ok()) {
            None => {
                let detail = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  \
                              or '93%', regex used for validation is '[0-9]+%')";
                errors.push(FieldError::invalid(at, v, detail));
            }
            Some(n) if n > 100 => errors.push(FieldError::invalid(at, v, "must not be greater than 100%")),
            Some(_) => {}
        },
        _ => {}
    }
}
