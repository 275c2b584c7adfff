//! Rules of resource requirements.

use crate::read::map;
use ironclad_api::quantity::Quantity;
use ironclad_api::{ErrorList, FieldError, Path, names};
use serde_json::Value;

fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn can_exceed(name: &str) -> bool {
    is_native(name) && !name.starts_with("hugepages-")
}

/// Checks limits and requests, and that no request is larger than its limit.
pub(crate) fn check(resources: &Value, at: &Path, errors: &mut ErrorList) {
    let amount =
        |part: &str, name: &str| -> Option<Quantity> { resources.get(part)?.get(name)?.as_str()?.parse().ok() };
    for part in ["limits", "requests"] {
        for (name, value) in map(resources, &[part]).into_iter().flatten() {
            let at = at.child(part).key(name);
            errors.extend(names::qualified_name(name).into_iter().map(|e| FieldError::invalid_str(&at, name, e)));
            let standard = ["cpu", "memory", "ephemeral-storage", "storage"];
            if !name.contains('/') && !standard.contains(&name.as_str()) && !name.starts_with("hugepages-") {
                errors.push(FieldError::invalid_str(&at, name, "must be a standard resource type or fully qualified"));
            }
            match value.as_str().unwrap_or_default().parse::<Quantity>() {
                Ok(q) if q.is_negative() => {
                    errors.push(FieldError::invalid(&at, value, "must be greater than or equal to 0"));
                }
                Ok(q) if !is_native(name) && !q.is_integer() => {
                    errors.push(FieldError::invalid(&at, value, "must be an integer"));
                }
                Ok(_) => {}
                Err(e) => errors.push(FieldError::invalid(&at, value, e.to_string())),
            }
        }
    }
    for (name, value) in map(resources, &["requests"]).into_iter().flatten() {
        let at = at.child("requests");
        match (amount("requests", name), amount("limits", name)) {
            (Some(request), Some(limit)) if !can_exceed(name) && request != limit => {
                let detail = format!("must be equal to {name} limit of {limit}");
                errors.push(FieldError::invalid(&at, value, detail));
            }
            (Some(request), Some(limit)) if request > limit => {
                let detail = format!("must be less than or equal to {name} limit of {limit}");
                errors.push(FieldError::invalid(&at, value, detail));
            }
            (Some(_), None) if !can_exceed(name) => {
                errors.push(FieldError::required(&at.clone(), "Limit must be set for non overcommitable resources"));
            }
            _ => {}
        }
    }
}
