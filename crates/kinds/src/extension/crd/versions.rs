//! The versions of a definition: their schemas, subresources, columns and selectable fields.
//!
//! Where all versions say the same, stock names the place above them; so is it here.

use super::check::{Before, label};
use crate::read::{flag, has, items, text};
use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_json::{Value, json};
use ironclad_structural::{definition, paths, shown};

const FIELDS: usize = 8;

/// What all versions say alike, whose place is the definition's for stock.
struct Shared {
    schema: bool,
    subresources: bool,
    columns: bool,
    fields: bool,
}

impl Shared {
    fn of(spec: &Value) -> Self {
        let versions = items(spec, &["versions"]);
        let plain = |v: &Value| if v.as_array().is_some_and(Vec::is_empty) { Value::Null } else { v.clone() };
        let same = |key: &str| {
            let first = versions.first().map(|first| plain(&first[key]));
            first.is_some_and(|first| versions.iter().all(|v| plain(&v[key]) == first))
        };
        Self {
            schema: same("schema"),
            subresources: same("subresources"),
            columns: same("additionalPrinterColumns"),
            fields: same("selectableFields"),
        }
    }

    /// The versions as they are left.
    fn rest(&self, spec: &Value) -> String {
        let given = &spec["versions"];
        let mut versions = items(spec, &["versions"]).to_vec();
        for version in versions.iter_mut().filter_map(Value::as_object_mut) {
            for (shared, key) in [
                (self.schema, "schema"),
                (self.subresources, "subresources"),
                (self.columns, "additionalPrinterColumns"),
                (self.fields, "selectableFields"),
            ] {
                if shared {
                    version.remove(key);
                }
            }
        }
        match given {
            Value::Array(_) => shown::versions(&Value::Array(versions.into())),
            _ => "null".to_owned(),
        }
    }
}

fn has_schema(version: &Value) -> bool {
    has(version, &["schema", "openAPIV3Schema"])
}

/// Every version has a schema.
pub(super) fn schemas_given(spec: &Value, at: &Path) -> ErrorList {
    let versions = items(spec, &["versions"]).iter().enumerate().filter(|(_, v)| !has_schema(v));
    let at = at.child("versions");
    versions.map(|(i, _)| FieldError::required(&at.index(i).child("schema").child("openAPIV3Schema"), "")).collect()
}

/// Whether a schema has a default anywhere.
pub(super) fn has_defaults(spec: &Value) -> bool {
    fn within(schema: &Value) -> bool {
        let Some(map) = schema.as_object() else { return false };
        map.iter().any(|(key, value)| match key.as_str() {
            "default" => !value.is_null(),
            "items" | "not" | "additionalProperties" | "additionalItems" => {
                within(value) || value.as_array().is_some_and(|l| l.iter().any(within))
            }
            "allOf" | "anyOf" | "oneOf" => value.as_array().is_some_and(|l| l.iter().any(within)),
            "properties" | "patternProperties" | "definitions" | "dependencies" => {
                value.as_object().is_some_and(|m| m.iter().any(|(_, v)| within(v)))
            }
            _ => false,
        })
    }
    items(spec, &["versions"]).iter().any(|v| within(&v["schema"]["openAPIV3Schema"]))
}

/// What is wrong with the versions, but for what they have in common.
pub(super) fn check(spec: &Value, at: &Path, before: Before<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let versions = items(spec, &["versions"]);
    let shared = Shared::of(spec);
    let above = at;
    let at = at.child("versions");
    for (i, version) in versions.iter().enumerate() {
        let (at, name) = (at.index(i), text(version, &["name"]));
        if let Some(why) = label(name) {
            errors.push(FieldError::invalid_str(&at.child("name"), name, why));
        }
        errors.extend(deprecation(version, &at));
        if !shared.schema {
            // The first version of a name stands for all of them.
            let of = versions.iter().find(|v| v["name"] == version["name"]).unwrap_or(version);
            errors.extend(schema(version, &at.child("schema"), has_status(of), before));
        }
        if !shared.subresources {
            errors.extend(subresources(version, &at.child("subresources")));
        }
        if !shared.columns {
            errors.extend(columns(version, &at.child("additionalPrinterColumns")));
        }
        if !shared.fields && !items(version, &["selectableFields"]).is_empty() {
            let at = at.child("selectableFields");
            if shared.schema || !has_schema(version) {
                let why = "may only be set when `version.schema.openAPIV3Schema` is not included";
                errors.push(FieldError::invalid_str(&at, "", why));
            } else {
                errors.extend(selectable(version, &at, before));
            }
        }
    }
    let twice = versions.iter().enumerate().any(|(i, v)| versions[..i].iter().any(|w| w["name"] == v["name"]));
    if twice {
        errors.push(FieldError::invalid_shown(&at, shared.rest(spec), "must contain unique version names"));
    }
    if versions.iter().filter(|v| flag(v, &["storage"])).count() != 1 {
        let why = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid_shown(&at, shared.rest(spec), why));
    }
    let first = versions.first().map_or("", |v| text(v, &["name"]));
    if let Some(why) = label(first).filter(|_| !first.is_empty()) {
        // The name of the first version is that of the definition as well.
        errors.push(FieldError::invalid_str(&above.child("version"), first, why));
    }
    errors
}

fn has_status(version: &Value) -> bool {
    has(version, &["subresources", "status"])
}

/// What is wrong with what all versions have in common.
pub(super) fn shared(spec: &Value, at: &Path, before: Before<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    let versions = items(spec, &["versions"]);
    let Some(first) = versions.first() else { return errors };
    let shared = Shared::of(spec);
    if shared.schema {
        errors.extend(schema(first, &at.child("validation"), versions.iter().any(has_status), before));
    }
    if shared.subresources {
        errors.extend(subresources(first, &at.child("subresources")));
    }
    if shared.columns {
        errors.extend(columns(first, &at.child("additionalPrinterColumns")));
    }
    if shared.fields && !items(first, &["selectableFields"]).is_empty() {
        let at = at.child("selectableFields");
        if shared.schema && first["schema"].is_object() {
            errors.extend(selectable(first, &at, before));
        } else {
            let why = "may only be set when validations.schema is included";
            errors.push(FieldError::invalid_str(&at, "", why));
        }
    }
    errors
}

fn deprecation(version: &Value, at: &Path) -> ErrorList {
    let Some(warning) = version["deprecationWarning"].as_str() else { return ErrorList::new() };
    let mut wrong = Vec::new();
    if !flag(version, &["deprecated"]) {
        wrong.push("can only be set for deprecated versions".to_owned());
    } else {
        if warning.len() > 256 {
            wrong.push("must be <= 256 characters long".to_owned());
        }
        if warning.is_empty() {
            wrong.push("must not be an empty string".to_owned());
        }
        if let Some((index, _)) =
            warning.char_indices().find(|(_, c)| *c != ' ' && (c.is_control() || c.is_whitespace()))
        {
            let why =
                format!("must only contain printable UTF-8 characters; non-printable character found at index {index}");
            wrong.push(why);
        }
    }
    let at = at.child("deprecationWarning");
    wrong.into_iter().map(|why| FieldError::invalid_str(&at, warning, why)).collect()
}

fn schema(version: &Value, at: &Path, status: bool, before: Before<'_>) -> ErrorList {
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
    for (i, field) in fields.iter().enumerate() {
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
