//! Checks of ports by number or name.

use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};

/// Checks a port that is given by number or by name.
pub(crate) fn check_int_or_name(port: &Value, at: &Path, errors: &mut ErrorList) {
    match port {
        Value::Number(n) => {
            let found = names::port_number(n.as_i64().unwrap_or(0));
            errors.extend(found.into_iter().map(|e| FieldError::invalid(at, port, e)));
        }
        Value::String(s) => {
            errors.extend(names::port_name(s).into_iter().map(|e| FieldError::invalid_str(at, s, e)));
        }
        _ => errors.push(FieldError::invalid(at, &json!(0), "must be between 1 and 65535, inclusive")),
    }
}
