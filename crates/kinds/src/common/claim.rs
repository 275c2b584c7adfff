//! Rules of volume claims, wherever their specification stands.

use super::checks::{optional_rule, required};
use super::numbers::{positive_amount, quantity};
use super::pod_rules::one_of_if_set;
use super::selector;
use crate::read::{fill, has, items, put, text};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::Value;

const MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
/// The annotation that named the class before the field did.
pub(crate) const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

/// Checks access modes; `missing` is said where there is none.
pub(crate) fn check_modes(spec: &Value, at: &Path, missing: &str, errors: &mut ErrorList) {
    let modes = items(spec, &["accessModes"]);
    let at = at.child("accessModes");
    if modes.is_empty() {
        errors.push(FieldError::required(&at, missing));
    }
    for mode in modes.iter().filter(|m| !MODES.contains(&m.as_str().unwrap_or_default())) {
        errors.push(FieldError::not_supported(&at, mode, &MODES));
    }
    let other = |m: &&Value| MODES.contains(&m.as_str().unwrap_or_default()) && *m != "ReadWriteOncePod";
    if modes.iter().any(|m| m == "ReadWriteOncePod") && modes.iter().any(|m| other(&m)) {
        errors.push(FieldError::forbidden(&at, "may not use ReadWriteOncePod with other access modes"));
    }
}

/// Checks the specification of a claim, also of a claim template.
pub(crate) fn validate_claim_spec(spec: &Value, at: &Path) -> ErrorList {
    validate_changed_spec(spec, None, at)
}

/// As [`validate_claim_spec`] for a claim that changes: groups of sources are right where the old one had any.
pub(crate) fn validate_changed_spec(spec: &Value, old: Option<&Value>, at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    check_modes(spec, at, "at least 1 access mode is required", &mut errors);
    if has(spec, &["selector"]) {
        errors.extend(selector::validate(&spec["selector"], &at.child("selector")));
    }
    let size_at = at.child("resources").key("storage");
    match spec["resources"]["requests"].get("storage") {
        None | Some(Value::Null) => errors.push(FieldError::required(&size_at, "")),
        Some(size) => {
            positive_amount(size, &size_at, &mut errors);
        }
    }
    optional_rule(spec, at, "storageClassName", names::dns1123_subdomain, &mut errors);
    one_of_if_set(spec, at, "volumeMode", &["Block", "Filesystem"], &mut errors);
    let grouped = |o: &Value| ["dataSource", "dataSourceRef"].iter().any(|k| has(o, &[k, "apiGroup"]));
    sources(spec, at, old.is_some_and(grouped), &mut errors);
    optional_rule(spec, at, "volumeAttributesClassName", names::dns1123_subdomain, &mut errors);
    errors
}

/// Checks the template of a claim that a pod's volume is made by.
pub(crate) fn template(source: &Value, at: &Path, errors: &mut ErrorList) {
    if !has(source, &["volumeClaimTemplate"]) {
        errors.push(FieldError::required(at, ""));
        return;
    }
    let (template, meta_at) = (&source["volumeClaimTemplate"], at.child("metadata"));
    let metadata = &template["metadata"];
    errors.extend(crate::metadata::annotations(&metadata["annotations"], &meta_at.child("annotations")));
    errors.extend(crate::metadata::labels(&metadata["labels"], &meta_at.child("labels")));
    let kept = |key: &str| !has(metadata, &[key]);
    for (_, shown) in crate::metadata::OF_OBJECTS.iter().filter(|(key, _)| !kept(key)) {
        errors.push(FieldError::forbidden(&meta_at.child(shown), "cannot be set"));
    }
    errors.extend(validate_claim_spec(&template["spec"], &at.child("spec")));
}

fn sources(spec: &Value, at: &Path, any_group: bool, errors: &mut ErrorList) {
    for key in ["dataSource", "dataSourceRef"].into_iter().filter(|k| has(spec, &[k])) {
        let (source, at) = (&spec[key], at.child(key));
        required(source, &at, &["name", "kind"], errors);
        let (group, kind) = (text(source, &["apiGroup"]), text(source, &["kind"]));
        if group.is_empty() && kind != "PersistentVolumeClaim" {
            let why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
            errors.push(FieldError::invalid_str(&at, kind, why));
        }
        if !any_group {
            optional_rule(source, &at, "apiGroup", names::dns1123_subdomain, errors);
        }
        optional_rule(source, &at, "namespace", names::dns1123_label, errors);
    }
    let (source, reference) = (&spec["dataSource"], &spec["dataSourceRef"]);
    if !source.is_object() || !reference.is_object() {
        return;
    }
    // Stock shows nothing of the path that it takes for a value.
    let shown = || "{}".to_owned();
    if !text(reference, &["namespace"]).is_empty() {
        let why = "may not be specified when dataSourceRef.namespace is specified";
        errors.push(FieldError::invalid_shown(at, shown(), why));
    } else if ["apiGroup", "kind", "name"].iter().any(|k| text(source, &[k]) != text(reference, &[k])) {
        errors.push(FieldError::invalid_shown(at, shown(), "must match dataSourceRef"));
    }
}

/// Each of the two fields for a source follows from the other.
pub(crate) fn normalize_sources(spec: &mut Value, old: &Value) {
    // CrossNamespaceVolumeDataSource is off: a source elsewhere is dropped where there was none before.
    if !text(spec, &["dataSourceRef", "namespace"]).is_empty()
        && !has(old, &["dataSourceRef"])
        && let Some(spec) = spec.as_object_mut()
    {
        spec.remove("dataSourceRef");
    }
    for (from, to) in [("dataSource", "dataSourceRef"), ("dataSourceRef", "dataSource")] {
        if has(spec, &[from]) && !has(spec, &[to]) {
            let copy = spec[from].clone();
            put(spec, to, copy);
        }
    }
}

/// Fills in the defaults of a claim's specification.
pub(crate) fn default_spec(spec: &mut Value) {
    fill(spec, "volumeMode", "Filesystem");
    crate::read::canonical(spec, &["resources", "requests"]);
    crate::read::canonical(spec, &["resources", "limits"]);
}

/// Warnings about sizes that are no whole bytes.
pub(crate) fn size_warnings(spec: &Value, at: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    for part in ["requests", "limits"] {
        if let Some(q) = quantity(&spec["resources"][part]["storage"]).filter(|q| !q.is_integer()) {
            let at = at.child("resources").child(part).key("storage");
            warnings.push(format!("{at}: fractional byte value \"{q}\" is invalid, must be an integer"));
        }
    }
    warnings
}
