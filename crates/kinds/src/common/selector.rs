//! Validation of label selectors.

use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::Value;

/// What is wrong with a `metav1.LabelSelector`.
pub(crate) fn validate(selector: &Value, path: &Path) -> ErrorList {
    let mut errors = crate::metadata::labels(&selector["matchLabels"], &path.child("matchLabels"));
    for (index, e) in selector["matchExpressions"].as_array().into_iter().flatten().enumerate() {
        let path = path.child("matchExpressions").index(index);
        let values = e["values"].as_array().map_or(0, Vec::len);
        match e["operator"].as_str().unwrap_or_default() {
            "In" | "NotIn" if values == 0 => {
                errors.push(FieldError::required(
                    &path.child("values"),
                    "must be specified when `operator` is 'In' or 'NotIn'",
                ));
            }
            "Exists" | "DoesNotExist" if values > 0 => {
                errors.push(FieldError::forbidden(
                    &path.child("values"),
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                ));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => errors.push(FieldError::invalid(
                &path.child("operator"),
                &e["operator"],
                "not a valid selector operator",
            )),
        }
        for why in names::qualified_name(e["key"].as_str().unwrap_or_default()) {
            errors.push(FieldError::invalid(&path.child("key"), &e["key"], why));
        }
        for (i, value) in e["values"].as_array().into_iter().flatten().enumerate() {
            for why in names::label_value(value.as_str().unwrap_or_default()) {
                errors.push(FieldError::invalid(&path.child("values").index(i), value, why));
            }
        }
    }
    errors
}
