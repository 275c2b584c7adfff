//! Rules of the volumes of a pod.

use crate::read::{count, has, int, items, text};
use ironclad_api::{ErrorList, FieldError, Path, names};
use serde_json::{Value, json};
use std::collections::HashSet;

/// Checks `spec.volumes`; gives the names of the volumes.
pub(crate) fn check(spec: &Value, at: &Path, errors: &mut ErrorList) -> HashSet<String> {
    let mut seen = HashSet::new();
    for (i, volume) in items(spec, &["volumes"]).iter().enumerate() {
        let at = at.index(i);
        let name = text(volume, &["name"]);
        if name.is_empty() {
            errors.push(FieldError::required(&at.child("name"), ""));
        } else {
            let found = names::dns1123_label(name);
            errors.extend(found.into_iter().map(|e| FieldError::invalid_str(&at.child("name"), name, e)));
            if !seen.insert(name.to_owned()) {
                errors.push(FieldError::duplicate(&at.child("name"), &json!(name)));
            }
        }
        let sources: Vec<&str> = volume
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(k, v)| *k != "name" && !v.is_null())
            .map(|(k, _)| k.as_str())
            .collect();
        if sources.is_empty() {
            errors.push(FieldError::required(&at, "must specify a volume type"));
        }
        for extra in sources.iter().skip(1) {
            errors.push(FieldError::forbidden(&at.child(extra), "may not specify more than 1 volume type"));
        }
        if let Some(kind) = sources.first() {
            source(kind, &volume[*kind], &at.child(kind), errors);
        }
    }
    seen
}

fn required(source: &Value, keys: &[&str], at: &Path, errors: &mut ErrorList) {
    for key in keys.iter().filter(|k| text(source, &[k]).is_empty()) {
        errors.push(FieldError::required(&at.child(key), ""));
    }
}

fn source(kind: &str, source: &Value, at: &Path, errors: &mut ErrorList) {
    match kind {
        "hostPath" => {
            required(source, &["path"], at, errors);
            let path = text(source, &["path"]);
            backsteps(path, &at.child("path"), errors);
            let types =
                ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
            let given = text(source, &["type"]);
            if !types.contains(&given) {
                errors.push(FieldError::not_supported(&at.child("type"), &json!(given), &types));
            }
        }
        "secret" | "configMap" => {
            required(source, if kind == "secret" { &["secretName"] } else { &["name"] }, at, errors);
            mode(&source["defaultMode"], &at.child("defaultMode"), errors);
            keys(items(source, &["items"]), &at.child("items"), errors);
        }
        "downwardAPI" => {
            mode(&source["defaultMode"], &at.child("defaultMode"), errors);
            downward(items(source, &["items"]), &at.child("items"), errors);
        }
        "projected" => {
            mode(&source["defaultMode"], &at.child("defaultMode"), errors);
            projected(source, at, errors);
        }
        "emptyDir" => {
            let limit = text(source, &["sizeLimit"]);
            if limit.starts_with('-') {
                let detail = "SizeLimit field must be a valid resource quantity";
                errors.push(FieldError::forbidden(&at.child("sizeLimit"), detail));
            }
        }
        "persistentVolumeClaim" => required(source, &["claimName"], at, errors),
        "nfs" => {
            required(source, &["server", "path"], at, errors);
            if !text(source, &["path"]).starts_with('/') {
                let given = text(source, &["path"]);
                errors.push(FieldError::invalid_str(&at.child("path"), given, "must be an absolute path"));
            }
        }
        "csi" => required(source, &["driver"], at, errors),
        "image" => required(source, &["reference"], at, errors),
        "ephemeral" => {
            let at = at.child("volumeClaimTemplate");
            if has(source, &["volumeClaimTemplate"]) {
                let spec = &source["volumeClaimTemplate"]["spec"];
                errors.extend(super::claim::validate_claim_spec(spec, &at.child("spec")));
            } else {
                errors.push(FieldError::required(&at, ""));
            }
        }
        _ => {}
    }
}

fn projected(source: &Value, at: &Path, errors: &mut ErrorList) {
    for (i, part) in items(source, &["sources"]).iter().enumerate() {
        let at = at.child("sources").index(i);
        for kind in ["secret", "configMap"] {
            if has(part, &[kind]) {
                let at = at.child(kind);
                required(&part[kind], &["name"], &at, errors);
                keys(items(part, &[kind, "items"]), &at.child("items"), errors);
            }
        }
        if has(part, &["downwardAPI"]) {
            downward(items(part, &["downwardAPI", "items"]), &at.child("downwardAPI").child("items"), errors);
        }
        if has(part, &["serviceAccountToken"]) {
            let at = at.child("serviceAccountToken");
            let seconds = count(part, &["serviceAccountToken", "expirationSeconds"]);
            if seconds < 600 {
                let detail = "may not specify a duration less than 10 minutes";
                errors.push(FieldError::invalid(&at.child("expirationSeconds"), &json!(seconds), detail));
            }
            required(&part["serviceAccountToken"], &["path"], &at, errors);
        }
    }
}

fn keys(items: &[Value], at: &Path, errors: &mut ErrorList) {
    for (i, item) in items.iter().enumerate() {
        let at = at.index(i);
        required(item, &["key", "path"], &at, errors);
        local_path(text(item, &["path"]), &at.child("path"), errors);
        mode(&item["mode"], &at.child("mode"), errors);
    }
}

fn downward(items: &[Value], at: &Path, errors: &mut ErrorList) {
    for (i, item) in items.iter().enumerate() {
        let at = at.index(i);
        required(item, &["path"], &at, errors);
        local_path(text(item, &["path"]), &at.child("path"), errors);
        match (has(item, &["fieldRef"]), has(item, &["resourceFieldRef"])) {
            (true, true) => {
                errors.push(FieldError::invalid_str(
                    &at,
                    "resource",
                    "fieldRef and resourceFieldRef can not be specified simultaneously",
                ));
            }
            (false, false) => {
                errors.push(FieldError::required(&at, "one of fieldRef and resourceFieldRef is required"));
            }
            _ => {}
        }
        mode(&item["mode"], &at.child("mode"), errors);
    }
}

fn mode(value: &Value, at: &Path, errors: &mut ErrorList) {
    if let Some(m) = int(value, &[])
        && !(0..=0o777).contains(&m)
    {
        errors.push(FieldError::invalid(at, value, "must be a number between 0 and 0777 (octal), both inclusive"));
    }
}

/// Checks that a path is relative and stays below its root.
pub(crate) fn local_path(path: &str, at: &Path, errors: &mut ErrorList) {
    if path.starts_with('/') {
        errors.push(FieldError::invalid_str(at, path, "must be a relative path"));
    }
    if path.split('/').next() == Some("..") || path == ".." {
        errors.push(FieldError::invalid_str(at, path, "must not contain '..'"));
    } else if path.starts_with("..") {
        errors.push(FieldError::invalid_str(at, path, "must not start with '..'"));
    } else {
        backsteps(path, at, errors);
    }
}

fn backsteps(path: &str, at: &Path, errors: &mut ErrorList) {
    if path.split('/').any(|p| p == "..") {
        errors.push(FieldError::invalid_str(at, path, "must not contain '..'"));
    }
}
