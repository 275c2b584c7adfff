//! Rules of the volumes of a pod, and of the paths in them.

use super::volume_sources;
use crate::read::{has, int, items, text};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};
use std::collections::HashMap;

/// Checks `spec.volumes` of a pod, which may have no name yet; gives the good ones by their names.
pub(crate) fn check<'a>(spec: &'a Value, pod: &str, at: &Path, errors: &mut ErrorList) -> HashMap<&'a str, &'a Value> {
    let mut good = HashMap::new();
    let volumes = items(spec, &["volumes"]);
    for (i, volume) in volumes.iter().enumerate() {
        let at = at.index(i);
        let before = errors.len();
        volume_sources::in_pod(volume, pod, &at, errors);
        super::checks::required_rule(volume, &at, "name", names::dns1123_label, errors);
        let name = text(volume, &["name"]);
        if good.contains_key(name) {
            errors.push(FieldError::duplicate(&at.child("name"), &json!(name)));
        }
        if errors.len() == before {
            good.insert(name, volume);
        }
        let claim = text(volume, &["persistentVolumeClaim", "claimName"]);
        let made = |v: &Value| has(v, &["ephemeral"]) && format!("{pod}-{}", text(v, &["name"])) == claim;
        if !pod.is_empty() && has(volume, &["persistentVolumeClaim"]) && volumes.iter().any(made) {
            let why = "must not reference a PVC that gets created for an ephemeral volume";
            errors.push(FieldError::invalid_str(&at.child("persistentVolumeClaim").child("claimName"), claim, why));
        }
    }
    good
}

/// Checks the mode of a file.
pub(crate) fn mode(value: &Value, at: &Path, errors: &mut ErrorList) {
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
    no_backsteps(path, at, errors);
    if path.starts_with("..") && !path.starts_with("../") {
        errors.push(FieldError::invalid_str(at, path, "must not start with '..'"));
    }
}

/// Checks that a path has no `..`.
pub(crate) fn no_backsteps(path: &str, at: &Path, errors: &mut ErrorList) {
    if path.split('/').any(|p| p == "..") {
        errors.push(FieldError::invalid_str(at, path, "must not contain '..'"));
    }
}

/// Checks the name of a CSI driver.
pub(crate) fn driver_name(name: &str, at: &Path, errors: &mut ErrorList) {
    if name.is_empty() {
        errors.push(FieldError::required(at, ""));
        return;
    }
    if name.len() > 63 {
        errors.push(FieldError::too_long(at, 63));
    }
    super::checks::rule(names::dns1123_subdomain(&name.to_lowercase()), name, at, errors);
}

/// Fills in the defaults of the source of a volume, in a pod or on its own.
pub(crate) fn default_source(volume: &mut Value) {
    use crate::read::{at_mut, fill, fill_zero};
    if let Some(path) = at_mut(volume, &["hostPath"]) {
        fill(path, "type", "");
    }
    if let Some(rbd) = at_mut(volume, &["rbd"]) {
        for (key, default) in [("pool", "rbd"), ("user", "admin"), ("keyring", "/etc/ceph/keyring")] {
            fill_zero(rbd, key, default);
        }
    }
    if let Some(iscsi) = at_mut(volume, &["iscsi"]) {
        fill_zero(iscsi, "iscsiInterface", "default");
    }
    if let Some(disk) = at_mut(volume, &["azureDisk"]) {
        for (key, default) in [
            ("cachingMode", json!("ReadWrite")),
            ("fsType", json!("ext4")),
            ("readOnly", json!(false)),
            ("kind", json!("Shared")),
        ] {
            fill(disk, key, default);
        }
    }
    if let Some(io) = at_mut(volume, &["scaleIO"]) {
        for (key, default) in [("storageMode", "ThinProvisioned"), ("fsType", "xfs")] {
            fill_zero(io, key, default);
        }
    }
}
