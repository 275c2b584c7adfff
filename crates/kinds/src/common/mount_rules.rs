//! Rules of the mounts and the block devices of a container.

use super::container_rules::Context;
use super::pod_rules::one_of_if_set;
use super::volume_rules::local_path;
use crate::read::{flag, has, items, text};
use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_json::{Value, json};
use std::collections::HashSet;

/// Checks `volumeMounts`.
pub(crate) fn mounts(c: &Value, context: &Context<'_>, at: &Path, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    let devices = items(c, &["volumeDevices"]);
    for (i, mount) in items(c, &["volumeMounts"]).iter().enumerate() {
        let place = at.index(i);
        let (name, path) = (text(mount, &["name"]), text(mount, &["mountPath"]));
        let (name_at, path_at) = (place.child("name"), place.child("mountPath"));
        if name.is_empty() {
            errors.push(FieldError::required(&name_at, ""));
        }
        if !context.volumes.contains_key(name) {
            errors.push(FieldError::not_found(&name_at, &json!(name)));
        }
        if path.is_empty() {
            errors.push(FieldError::required(&path_at, ""));
        }
        if !seen.insert(path) {
            errors.push(FieldError::invalid_str(&path_at, path, "must be unique"));
        }
        if devices.iter().any(|d| text(d, &["name"]) == name) {
            errors.push(FieldError::invalid_str(&name_at, name, "must not already exist in volumeDevices"));
        }
        if devices.iter().any(|d| text(d, &["devicePath"]) == path) {
            errors.push(FieldError::invalid_str(&path_at, path, "must not already exist as a path in volumeDevices"));
        }
        sub_paths(mount, &place, at, errors);
        propagation(c, mount, at, errors);
        recursive(mount, &at.child("recursiveReadOnly"), errors);
    }
}

fn sub_paths(mount: &Value, place: &Path, at: &Path, errors: &mut ErrorList) {
    let (sub, expanded) = (text(mount, &["subPath"]), text(mount, &["subPathExpr"]));
    if !sub.is_empty() {
        local_path(sub, &at.child("subPath"), errors);
    }
    if !expanded.is_empty() {
        if !sub.is_empty() {
            let why = "subPathExpr and subPath are mutually exclusive";
            errors.push(FieldError::invalid_str(&place.child("subPathExpr"), expanded, why));
        }
        local_path(expanded, &at.child("subPathExpr"), errors);
    }
}

fn propagation(c: &Value, mount: &Value, at: &Path, errors: &mut ErrorList) {
    one_of_if_set(mount, at, "mountPropagation", &["Bidirectional", "HostToContainer", "None"], errors);
    if text(mount, &["mountPropagation"]) == "Bidirectional" && !flag(c, &["securityContext", "privileged"]) {
        let why = "Bidirectional mount propagation is available only to privileged containers";
        errors.push(FieldError::forbidden(&at.child("mountPropagation"), why));
    }
}

fn recursive(mount: &Value, at: &Path, errors: &mut ErrorList) {
    match mount.get("recursiveReadOnly").and_then(Value::as_str) {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if !flag(mount, &["readOnly"]) {
                errors.push(FieldError::forbidden(at, "may only be specified when readOnly is true"));
            }
            if mount.get("mountPropagation").is_some_and(|p| !p.is_null() && p != "None") {
                let why = "may only be specified when mountPropagation is None or not specified";
                errors.push(FieldError::forbidden(at, why));
            }
        }
        Some(other) => {
            let supported = ["Disabled", "Enabled", "IfPossible"];
            errors.push(FieldError::not_supported(at, &json!(other), &supported));
        }
    }
}

/// Checks `volumeDevices`.
pub(crate) fn devices(c: &Value, context: &Context<'_>, at: &Path, errors: &mut ErrorList) {
    let mounts = items(c, &["volumeMounts"]);
    let (mut names, mut paths) = (HashSet::new(), HashSet::new());
    for (i, device) in items(c, &["volumeDevices"]).iter().enumerate() {
        let at = at.index(i);
        let (name, path) = (text(device, &["name"]), text(device, &["devicePath"]));
        let (name_at, path_at) = (at.child("name"), at.child("devicePath"));
        if name.is_empty() {
            errors.push(FieldError::required(&name_at, ""));
        } else if !names.insert(name) {
            errors.push(FieldError::invalid_str(&name_at, name, "must be unique"));
        }
        match context.volumes.get(name) {
            None => errors.push(FieldError::not_found(&name_at, &json!(name))),
            Some(v) if !has(v, &["persistentVolumeClaim"]) && !has(v, &["ephemeral"]) => {
                let why = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.push(FieldError::invalid_str(&name_at, name, why));
            }
            Some(_) => {}
        }
        if path.is_empty() {
            errors.push(FieldError::required(&path_at, ""));
        } else if path.split('/').any(|p| p == "..") {
            errors.push(FieldError::invalid_str(&path_at, path, "can not contain backsteps ('..')"));
        } else if !paths.insert(path) {
            errors.push(FieldError::invalid_str(&path_at, path, "must be unique"));
        }
        if mounts.iter().any(|m| text(m, &["name"]) == name) {
            errors.push(FieldError::invalid_str(&name_at, name, "must not already exist in volumeMounts"));
        }
        if mounts.iter().any(|m| text(m, &["mountPath"]) == path) {
            errors.push(FieldError::invalid_str(&path_at, path, "must not already exist as a path in volumeMounts"));
        }
    }
}
