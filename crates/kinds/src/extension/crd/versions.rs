//! The versions of a definition: their schemas, subresources, columns and selectable fields.
//!
//! Where all versions say the same, stock names the place above them; so is it here.

use super::check::{Before, label};
use crate::read::{flag, has, items, text};
use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_json::{Value, json};
use ironclad_structural::{definition, paths};

const FIELDS: usize = 8;

/// Whether every version says the same, and something.
fn same(spec: &Value, key: &str) -> bool {
    let versions = items(spec, &["versions"]);
    let empty = |v: &Value| v.is_null() || v.as_array().is_some_and(Vec::is_empty);
    versions.first().is_some_and(|first| !empty(&first[key]) && versions.iter().all(|v| v[key] == first[key]))
}

/// What is wrong with the versions, but for what they have in common.
pub(super) fn check(spec: &Value, at: &Path, before: Before<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let versions = items(spec, &["versions"]);
    let at = at.child("versions");
    for (i, version) in versions.iter().enumerate() {
        if !has(version, &["schema", "openAPIV3Schema"]) {
            errors.push(FieldError::required(&at.index(i).child("schema").child("openAPIV3Schema"), ""));
        }
    }
    for (i, version) in versions.iter().enumerate() {
        let (at, name) = (at.index(i), text(version, &["name"]));
        if let Some(why) = label(name) {
            errors.push(FieldError::invalid_str(&at.child("name"), name, why));
        }
        errors.extend(deprecation(version, &at));
        if !same(spec, "schema") {
            errors.extend(schema(version, &at.child("schema"), before));
        }
        if !same(spec, "subresources") {
            errors.extend(subresources(version, &at.child("subresources")));
        }
        if !same(spec, "additionalPrinterColumns") {
            errors.extend(columns(version, &at.child("additionalPrinterColumns")));
        }
        if !same(spec, "selectableFields") {
            errors.extend(selectable(version, &at.child("selectableFields"), before));
        }
    }
    let all = Value::Array(versions.to_vec().into());
    let twice = versions.iter().enumerate().any(|(i, v)| versions[..i].iter().any(|w| w["name"] == v["name"]));
    if twice {
        errors.push(FieldError::invalid(&at, &all, "must contain unique version names"));
    }
    if versions.iter().filter(|v| flag(v, &["storage"])).count() != 1 {
        let why = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid(&at, &all, why));
    }
    errors
}

/// What is wrong with what all versions have in common.
pub(super) fn shared(spec: &Value, at: &Path, before: Before<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let Some(first) = items(spec, &["versions"]).first() else { return errors };
    if same(spec, "schema") {
        errors.extend(schema(first, &at.child("validation"), before));
    }
    if same(spec, "subresources") {
        errors.extend(subresources(first, &at.child("subresources")));
    }
    if same(spec, "additionalPrinterColumns") {
        errors.extend(columns(first, &at.child("additionalPrinterColumns")));
    }
    if same(spec, "selectableFields") {
        errors.extend(selectable(first, &at.child("selectableFields"), before));
    }
    errors
}

fn deprecation(version: &Value, at: &Path) -> Option<FieldError> {
    let warning = version["deprecationWarning"].as_str()?;
    let why = if !flag(version, &["deprecated"]) {
        "can only be set for deprecated versions".to_owned()
    } else if warning.len() > 256 {
        "must be <= 256 characters long".to_owned()
    } else if warning.is_empty() {
        "must not be an empty string".to_owned()
    } else {
        let index = warning.char_indices().find(|(_, c)| c.is_control())?.0;
        format!("must only contain printable UTF-8 characters; non-printable character found at index {index}")
    };
    Some(FieldError::invalid_str(&at.child("deprecationWarning"), warning, why))
}

fn schema(version: &Value, at: &Path, before: Before<'_>) -> ErrorList {
    let raw = &version["schema"]["openAPIV3Schema"];
    if !raw.is_object() {
        return ErrorList::new();
    }
    let old = before.version(text(version, &["name"]));
    let unchanged = old.is_some_and(|o| o["schema"]["openAPIV3Schema"] == *raw);
    if unchanged && before.old.is_some_and(|o| flag(o, &["spec", "preserveUnknownFields"])) {
        // What older servers let in may stay as it is.
        return ErrorList::new();
    }
    let status = has(version, &["subresources", "status"]);
    definition::validate(&at.child("openAPIV3Schema"), raw, status, unchanged)
}

/// What is wrong with a path of names.
fn simple(path: &str, at: &Path) -> Option<FieldError> {
    (!path.starts_with('.')).then(|| FieldError::invalid_str(at, path, "must be a simple json path starting with ."))
}

fn subresources(version: &Value, at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let scale = &version["subresources"]["scale"];
    if !scale.is_object() {
        return errors;
    }
    for (key, below) in [("specReplicasPath", ".spec"), ("statusReplicasPath", ".status")] {
        let (at, path) = (at.child("scale").child(key), text(scale, &[key]));
        if path.is_empty() {
            errors.push(FieldError::required(&at, ""));
        } else if let Some(error) = simple(path, &at) {
            errors.push(error);
        } else if !path.starts_with(&format!("{below}.")) {
            errors.push(FieldError::invalid_str(&at, path, format!("should be a json path under {below}")));
        }
    }
    let (at, path) = (at.child("scale").child("labelSelectorPath"), text(scale, &["labelSelectorPath"]));
    if !path.is_empty() {
        if let Some(error) = simple(path, &at) {
            errors.push(error);
        } else if !path.starts_with(".spec.") && !path.starts_with(".status.") {
            errors.push(FieldError::invalid_str(&at, path, "should be a json path under either .spec or .status"));
        }
    }
    errors
}

fn columns(version: &Value, at: &Path) -> ErrorList {
    const TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
    const FORMATS: [&str; 8] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
    let mut errors = ErrorList::new();
    for (i, column) in items(version, &["additionalPrinterColumns"]).iter().enumerate() {
        let at = at.index(i);
        let of = |key: &str| text(column, &[key]);
        if of("name").is_empty() {
            errors.push(FieldError::required(&at.child("name"), ""));
        }
        let why = format!("must be one of {}", TYPES.join(","));
        match of("type") {
            "" => errors.push(FieldError::required(&at.child("type"), why)),
            ty if !TYPES.contains(&ty) => errors.push(FieldError::invalid_str(&at.child("type"), ty, why)),
            _ => {}
        }
        if !of("format").is_empty() && !FORMATS.contains(&of("format")) {
            let why = format!("must be one of {}", FORMATS.join(","));
            errors.push(FieldError::invalid_str(&at.child("format"), of("format"), why));
        }
        match of("jsonPath") {
            "" => errors.push(FieldError::required(&at.child("JSONPath"), "")),
            path => errors.extend(simple(path, &at.child("JSONPath"))),
        }
    }
    errors
}

fn selectable(version: &Value, at: &Path, before: Before<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let fields = items(version, &["selectableFields"]);
    let raw = &version["schema"]["openAPIV3Schema"];
    let mut seen: Vec<String> = Vec::new();
    for (i, field) in fields.iter().enumerate().filter(|_| raw.is_object()) {
        let (at, given) = (at.index(i).child("jsonPath"), text(field, &["jsonPath"]));
        if given.is_empty() {
            errors.push(FieldError::required(&at, ""));
            continue;
        }
        let (path, found) = match paths::valid(given, raw, false) {
            Ok(found) => found,
            Err(why) => {
                errors.push(FieldError::invalid_str(&at, given, format!("is an invalid path: {why}")));
                continue;
            }
        };
        if path.as_str() == "metadata" || path.as_str().starts_with("metadata.") {
            errors.push(FieldError::invalid_str(&at, given, "must not point to fields in metadata"));
        }
        if !matches!(found["type"].as_str(), Some("string" | "boolean" | "integer")) {
            let why = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            errors.push(FieldError::invalid_str(&at, given, why));
        }
        match seen.iter().any(|s| s == path.as_str()) {
            true => errors.push(FieldError::duplicate(&at, &json!(given))),
            false => seen.push(path.as_str().to_owned()),
        }
    }
    let old = before.version(text(version, &["name"])).map(|v| &v["selectableFields"]);
    if seen.len() > FIELDS && old != Some(&version["selectableFields"]) {
        errors.push(FieldError::too_many(at, seen.len(), FIELDS));
    }
    errors
}
