//! PersistentVolumeClaims. A claim is fixed once it is made, but a bound one may grow and change its attributes.

use super::{class, or_unset};
use crate::common::checks::{immutable, same};
use crate::common::claim::{
    CLASS_ANNOTATION, default_spec, normalize_sources, size_warnings, validate_changed_spec, validate_claim_spec,
};
use crate::common::numbers::quantity;
use crate::common::{checks, diff};
use crate::print;
use crate::read::{has, items, map, put, spec, text};
use crate::rules::Rules;
use ironclad_api::quantity::Quantity;
use ironclad_api::table::{self, Cells, Column};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};

/// A volume or claim without a phase is pending; stock servers store none.
pub(super) fn default_phase(o: &mut Value) {
    if o["status"].is_null() {
        put(o, "status", json!({}));
    }
    crate::read::fill_zero(&mut o["status"], "phase", "Pending");
}

pub(crate) const CLAIM: Rules = Rules::new()
    .defaults(|o| {
        default_spec(spec(o));
        default_phase(o);
    })
    .on_create(|o| {
        put(o, "status", json!({"phase": "Pending"}));
        normalize_sources(spec(o), &Value::Null);
    })
    .on_update(|new, old| normalize_sources(spec(new), &old["spec"]))
    .checks(|o| validate_claim_spec(&o["spec"], &Path::new("spec")))
    .checks_update(validate_update)
    .checks_status(validate_status)
    .warns(|o, _| warnings(o))
    .prints(
        const {
            &[
                Column::object_name(),
                Column::text("Status", "The phase of the claim."),
                Column::text("Volume", "The volume that the claim is bound to."),
                Column::text("Capacity", "Size of the volume."),
                Column::text("Access Modes", "How the volume can be mounted."),
                Column::text("StorageClass", "StorageClass of the pvc"),
                Column::text("VolumeAttributesClass", "VolumeAttributesClass of the pvc"),
                Column::age(),
                Column::text("VolumeMode", "Whether it is a file system or a block device.").wide(),
            ]
        },
        cells,
    );

fn size(o: &Value) -> &Value {
    &o["spec"]["resources"]["requests"]["storage"]
}

/// What of the specification counts when old and new are compared.
fn fixed_part(o: &Value, old: &Value) -> Value {
    let mut part = o["spec"].clone();
    let bound = text(o, &["status", "phase"]) == "Bound";
    if bound && has(&part, &["resources", "requests"]) {
        put(&mut part["resources"]["requests"], "storage", size(old).clone());
    }
    if bound {
        put(&mut part, "volumeAttributesClassName", old["spec"]["volumeAttributesClassName"].clone());
    }
    if text(old, &["spec", "volumeName"]).is_empty() {
        put(&mut part, "volumeName", Value::Null);
    }
    // A class may be given later where none was, if it is the one that the old annotation names.
    let annotated = text(old, &["metadata", "annotations", CLASS_ANNOTATION]);
    let given = text(o, &["spec", "storageClassName"]);
    if !has(old, &["spec", "storageClassName"]) && (annotated.is_empty() || annotated == given) {
        put(&mut part, "storageClassName", Value::Null);
    }
    part
}

fn validate_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = validate_changed_spec(&new["spec"], Some(&old["spec"]), &Path::new("spec"));
    let at = Path::new("spec");
    let annotation = |o: &Value| text(o, &["metadata", "annotations", CLASS_ANNOTATION]).to_owned();
    let (was, is) = (annotation(old), annotation(new));
    if was != is && !(is.is_empty() && was == text(new, &["spec", "storageClassName"])) {
        let at = Path::new("metadata").child("annotations").key(CLASS_ANNOTATION);
        errors.push(FieldError::invalid_str(&at, &is, checks::IMMUTABLE));
    }
    let mut before = old["spec"].clone();
    if text(old, &["spec", "volumeName"]).is_empty() {
        put(&mut before, "volumeName", Value::Null);
    }
    let now = fixed_part(new, old);
    if !same(&now, &before) {
        let changes = diff::unified(&before, &now, "PersistentVolumeClaimSpec");
        let why = format!(
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n{changes}"
        );
        errors.push(FieldError::forbidden(&at, why));
    }
    let amount = |v: &Value| quantity(v).unwrap_or(Quantity::ZERO);
    let is = amount(size(new));
    if is < amount(size(old)) && is <= amount(&old["status"]["capacity"]["storage"]) {
        let at = at.child("resources").child("requests").child("storage");
        errors.push(FieldError::forbidden(&at, "field can not be less than status.capacity"));
    }
    if new["spec"]["volumeMode"] != old["spec"]["volumeMode"] {
        immutable(&new["spec"], &old["spec"], &Path::root(), &["volumeMode"], &mut errors);
    }
    attributes(new, old, &at.child("volumeAttributesClassName"), &mut errors);
    errors
}

/// A class of attributes that was applied cannot be taken away.
fn attributes(new: &Value, old: &Value, at: &Path, errors: &mut ErrorList) {
    let (is, was) = (&new["spec"]["volumeAttributesClassName"], &old["spec"]["volumeAttributesClassName"]);
    if is == was || !has(old, &["status", "currentVolumeAttributesClassName"]) {
        return;
    }
    let what = match is.as_str() {
        None => "nil",
        Some("") => "empty string",
        Some(_) => return,
    };
    let why = format!("update to {what} is forbidden when status.currentVolumeAttributesClassName is not nil");
    errors.push(FieldError::forbidden(at, why));
}

fn resource_key(key: &str, at: &Path, errors: &mut ErrorList) -> bool {
    let found = names::qualified_name(key);
    let native = !key.contains('/') || key.contains("kubernetes.io/");
    let wrong = !found.is_empty() || (native && key != "storage");
    if found.is_empty() && wrong {
        errors.push(FieldError::not_supported(at, &json!(key), &["storage"]));
    }
    checks::rule(found, key, at, errors);
    !wrong
}

fn validate_status(new: &Value, _old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("status");
    let status = &new["status"];
    let amounts = |part: &str, errors: &mut ErrorList| {
        for (key, value) in map(status, &[part]).into_iter().flatten() {
            if part == "allocatedResources" && !resource_key(key, &at.child(part), errors) {
                continue;
            }
            if quantity(value).is_some_and(|q| q.is_negative()) {
                let shown = json!(quantity(value).map_or(0, |q| q.value()));
                errors.push(FieldError::invalid(&at.child(part).key(key), &shown, "must be a valid resource quantity"));
            }
        }
    };
    amounts("capacity", &mut errors);
    let states = [
        "ControllerResizeInProgress",
        "ControllerResizeInfeasible",
        "NodeResizeInProgress",
        "NodeResizeInfeasible",
        "NodeResizePending",
    ];
    for (key, state) in map(status, &["allocatedResourceStatuses"]).into_iter().flatten() {
        let at = at.child("allocatedResourceStatuses");
        resource_key(key, &at, &mut errors);
        if !states.contains(&state.as_str().unwrap_or_default()) {
            errors.push(FieldError::not_supported(&at, &json!(key), &states));
        }
    }
    amounts("allocatedResources", &mut errors);
    errors
}

fn warnings(o: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    if has(o, &["metadata", "annotations", CLASS_ANNOTATION]) {
        let at = Path::new("metadata").child("annotations").key(CLASS_ANNOTATION);
        warnings.push(format!("{at}: deprecated since v1.8; use \"storageClassName\" attribute instead"));
    }
    warnings.extend(size_warnings(&o["spec"], &Path::new("spec")));
    warnings
}

fn cells(o: &Value) -> Cells {
    let deleting = has(o, &["metadata", "deletionTimestamp"]);
    let volume = text(o, &["spec", "volumeName"]);
    let bound = |v: String| json!(if volume.is_empty() { String::new() } else { v });
    vec![
        print::name(o),
        json!(if deleting { "Terminating" } else { text(o, &["status", "phase"]) }),
        json!(volume),
        bound(text(o, &["status", "capacity", "storage"]).to_owned()),
        bound(print::access_modes(items(o, &["status", "accessModes"]))),
        json!(class(o)),
        or_unset(text(o, &["spec", "volumeAttributesClassName"])),
        table::age(o),
        or_unset(text(o, &["spec", "volumeMode"])),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Strategy;

    fn claim(size: &str, phase: &str) -> Value {
        let mut claim = json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}},
            "status": {"phase": phase, "capacity": {"storage": "1Gi"}}});
        CLAIM.default(&mut claim);
        claim
    }

    #[test]
    fn a_source_in_another_namespace_is_dropped() {
        let mut claim = claim("1Gi", "Pending");
        claim["spec"]["dataSourceRef"] = json!({"kind": "PersistentVolumeClaim", "name": "x", "namespace": "other"});
        CLAIM.prepare_create(&mut claim);
        assert!(claim["spec"]["dataSourceRef"].is_null());
    }

    #[test]
    fn a_bound_claim_grows_and_shrinks_down_to_what_it_has() {
        let first = |new: &Value, old: &Value| {
            validate_update(new, old).first().map_or_else(String::new, |e| e.to_string().lines().next().unwrap().into())
        };
        let fixed = "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        assert_eq!(first(&claim("2Gi", "Bound"), &claim("1Gi", "Bound")), "");
        assert_eq!(first(&claim("2Gi", "Bound"), &claim("3Gi", "Bound")), "");
        let less = "spec.resources.requests.storage: Forbidden: field can not be less than status.capacity";
        assert_eq!(first(&claim("1Gi", "Bound"), &claim("3Gi", "Bound")), less);
        assert_eq!(first(&claim("2Gi", "Pending"), &claim("1Gi", "Pending")), fixed);
        let mut named = claim("1Gi", "Pending");
        named["spec"]["volumeName"] = json!("v");
        assert_eq!(first(&named, &claim("1Gi", "Pending")), "", "binding is allowed once");
        let mut other = named.clone();
        other["spec"]["volumeName"] = json!("w");
        assert_eq!(first(&other, &named), fixed);
    }
}
