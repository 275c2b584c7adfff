//! Rules of the volumes of a pod.

use crate::read::{count, has, int, items, text};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};
use std::collections::{HashMap, HashSet};

/// Checks `spec.volumes` of a pod, which may have no name yet; gives the good ones by their names.
pub(crate) fn check<'a>(spec: &'a Value, pod: &str, at: &Path, errors: &mut ErrorList) -> HashMap<&'a str, &'a Value> {
    let mut good = HashMap::new();
    let volumes = items(spec, &["volumes"]);
    for (i, volume) in volumes.iter().enumerate() {
        let at = at.index(i);
        let before = errors.len();
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
        if !pod.is_empty() && volumes.iter().any(made) {
            let why = "must not reference a PVC that gets created for an ephemeral volume";
            errors.push(FieldError::invalid_str(&at.child("persistentVolumeClaim").child("claimName"), claim, why));
        }
    }
    good
}

fn required(source: &Value, keys: &[&str], at: &Path, errors: &mut ErrorList) {
    for key in keys.iter().filter(|k| text(source, &[k]).is_empty()) {
        errors.push(FieldError::required(&at.child(key), ""));
    }
}

/// Texts that a source must have, where nothing else is to check.
const NEEDS: [(&str, &[&str]); 16] = [
    ("gcePersistentDisk", &["pdName"]),
    ("awsElasticBlockStore", &["volumeID"]),
    ("gitRepo", &["repository"]),
    ("glusterfs", &["endpoints", "path"]),
    ("rbd", &["image"]),
    ("cinder", &["volumeID"]),
    ("flexVolume", &["driver"]),
    ("azureFile", &["secretName", "shareName"]),
    ("vsphereVolume", &["volumePath"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
    ("quobyte", &["registry", "volume"]),
    ("local", &["path"]),
    ("persistentVolumeClaim", &["claimName"]),
];

/// Checks where a volume's data is.
pub(crate) fn source(kind: &str, source: &Value, at: &Path, errors: &mut ErrorList) {
    if let Some((_, keys)) = NEEDS.iter().find(|(k, _)| *k == kind) {
        required(source, keys, at, errors);
    }
    match kind {
        "hostPath" => {
            required(source, &["path"], at, errors);
            let path = text(source, &["path"]);
            no_backsteps(path, &at.child("path"), errors);
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
            super::env_rules::downward_files(items(source, &["items"]), at, errors);
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
        "nfs" => {
            required(source, &["server", "path"], at, errors);
            if !text(source, &["path"]).starts_with('/') {
                let given = text(source, &["path"]);
                errors.push(FieldError::invalid_str(&at.child("path"), given, "must be an absolute path"));
            }
        }
        "csi" => {
            driver_name(text(source, &["driver"]), &at.child("driver"), errors);
            if has(source, &["nodePublishSecretRef"]) {
                required(&source["nodePublishSecretRef"], &["name"], &at.child("nodePublishSecretRef"), errors);
            }
        }
        "iscsi" => iscsi(source, at, errors),
        "fc" => fc(source, at, errors),
        "local" => no_backsteps(text(source, &["path"]), &at.child("path"), errors),
        "rbd" | "cephfs" if items(source, &["monitors"]).is_empty() => {
            errors.push(FieldError::required(&at.child("monitors"), ""));
        }
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
    let mut seen = HashSet::new();
    for (i, part) in items(source, &["sources"]).iter().enumerate() {
        let part_at = at.child("sources").index(i);
        let mut paths: Vec<(&str, &str)> = Vec::new();
        for kind in ["secret", "configMap"].into_iter().filter(|k| has(part, &[k])) {
            let at = part_at.child(kind);
            required(&part[kind], &["name"], &at, errors);
            keys(items(part, &[kind, "items"]), &at.child("items"), errors);
            let name = text(part, &[kind, "name"]);
            paths.extend(items(part, &[kind, "items"]).iter().map(|k| (text(k, &["path"]), name)));
        }
        if has(part, &["downwardAPI"]) {
            let files = items(part, &["downwardAPI", "items"]);
            super::env_rules::downward_files(files, &part_at.child("downwardAPI"), errors);
            paths.extend(files.iter().map(|f| (text(f, &["path"]), text(f, &["path"]))));
        }
        if has(part, &["serviceAccountToken"]) {
            token(&part["serviceAccountToken"], &part_at.child("serviceAccountToken"), at, errors);
        }
        if has(part, &["clusterTrustBundle"]) {
            bundle(&part["clusterTrustBundle"], &part_at.child("clusterTrustBundle"), errors);
            let path = text(part, &["clusterTrustBundle", "path"]);
            paths.push((path, path));
        }
        if has(part, &["podCertificate"]) {
            let certificate = &part["podCertificate"];
            pod_certificate(certificate, &part_at.child("podCertificate"), errors);
            let files = ["credentialBundlePath", "keyPath", "certificateChainPath"];
            paths.extend(files.iter().map(|k| (text(certificate, &[k]), text(certificate, &[k]))));
        }
        for (path, shown) in paths.into_iter().filter(|(p, _)| !p.is_empty()) {
            if !seen.insert(path) {
                errors.push(FieldError::invalid_str(at, shown, "conflicting duplicate paths"));
            }
        }
        let kinds = part.as_object().into_iter().flatten().filter(|(_, v)| !v.is_null()).count();
        if kinds > 1 {
            errors.push(FieldError::forbidden(&part_at, "may not specify more than 1 volume type per source"));
        }
    }
}

fn token(token: &Value, at: &Path, volume: &Path, errors: &mut ErrorList) {
    let seconds = count(token, &["expirationSeconds"]);
    let too = match seconds {
        n if n < 600 => Some("may not specify a duration less than 10 minutes"),
        n if n > 1 << 32 => Some("may not specify a duration larger than 2^32 seconds"),
        _ => None,
    };
    if let Some(why) = too {
        errors.push(FieldError::invalid(&at.child("expirationSeconds"), &json!(seconds), why));
    }
    match text(token, &["path"]) {
        "" => errors.push(FieldError::required(&volume.child("path"), "")),
        path => local_path(path, &volume.child("path"), errors),
    }
}

fn bundle(bundle: &Value, at: &Path, errors: &mut ErrorList) {
    match (has(bundle, &["name"]), has(bundle, &["signerName"])) {
        (true, true) => {
            errors.push(FieldError::invalid(at, bundle, "only one of name and signerName may be used"));
        }
        (true, false) => {
            if text(bundle, &["name"]).is_empty() {
                errors.push(FieldError::required(&at.child("name"), "must be a valid object name"));
            }
            if has(bundle, &["labelSelector"]) {
                let why = "labelSelector must be unset if name is specified";
                errors.push(FieldError::invalid(&at.child("labelSelector"), &bundle["labelSelector"], why));
            }
        }
        (false, true) => {
            if text(bundle, &["signerName"]).is_empty() {
                errors.push(FieldError::required(&at.child("signerName"), "must be a valid signer name"));
            }
            crate::csr::signer_name(text(bundle, &["signerName"]), &at.child("signerName"), errors);
            if has(bundle, &["labelSelector"]) {
                errors.extend(super::selector::validate(&bundle["labelSelector"], &at.child("labelSelector")));
            }
        }
        (false, false) => errors.push(FieldError::required(at, "either name or signerName must be specified")),
    }
    if text(bundle, &["path"]).is_empty() {
        errors.push(FieldError::required(&at.child("path"), ""));
    }
    local_path(text(bundle, &["path"]), &at.child("path"), errors);
}

fn pod_certificate(certificate: &Value, at: &Path, errors: &mut ErrorList) {
    let signer = text(certificate, &["signerName"]);
    crate::csr::signer_name(signer, &at.child("signerName"), errors);
    let kinds = ["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"];
    let kind = text(certificate, &["keyType"]);
    if !kinds.contains(&kind) {
        errors.push(FieldError::not_supported(&at.child("keyType"), &json!(kind), &kinds));
    }
    if let Some(n) = int(certificate, &["maxExpirationSeconds"]) {
        let most = if signer.starts_with("kubernetes.io/") { 86_400 } else { 7_862_400 };
        let at = at.child("maxExpirationSeconds");
        if n < 3600 {
            errors.push(FieldError::invalid(&at, &json!(n), "if provided, maxExpirationSeconds must be >= 3600"));
        }
        if n > most {
            let why = format!("if provided, maxExpirationSeconds must be <= {most}");
            errors.push(FieldError::invalid(&at, &json!(n), why));
        }
    }
    let files = ["credentialBundlePath", "keyPath", "certificateChainPath"];
    let given: Vec<&str> = files.into_iter().filter(|k| !text(certificate, &[k]).is_empty()).collect();
    for key in &given {
        local_path(text(certificate, &[key]), &at.child(key), errors);
    }
    if given.is_empty() {
        let why = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath";
        errors.push(FieldError::required(at, why));
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
    if path.split('/').next() == Some("..") || path == ".." {
        errors.push(FieldError::invalid_str(at, path, "must not contain '..'"));
    } else if path.starts_with("..") {
        errors.push(FieldError::invalid_str(at, path, "must not start with '..'"));
    } else {
        no_backsteps(path, at, errors);
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
    }
    if name.len() > 63 {
        errors.push(FieldError::too_long(at, 63));
    }
    super::checks::rule(names::dns1123_subdomain(&name.to_lowercase()), name, at, errors);
}

fn iscsi(source: &Value, at: &Path, errors: &mut ErrorList) {
    required(source, &["targetPortal", "iqn"], at, errors);
    let known = |name: &str| ["iqn", "eui", "naa"].iter().any(|p| name.starts_with(p));
    for (key, path) in [("iqn", "iqn"), ("initiatorName", "initiatorname")] {
        let name = text(source, &[key]);
        if !name.is_empty() && !known(name) {
            let why = "must be valid format starting with iqn, eui, or naa";
            errors.push(FieldError::invalid_str(&at.child(path), name, why));
        }
    }
    super::numbers::range_at(source, at, "lun", 0, 255, errors);
    let secret = ["chapAuthDiscovery", "chapAuthSession"].iter().any(|k| crate::read::flag(source, &[k]));
    if secret && !has(source, &["secretRef"]) {
        errors.push(FieldError::required(&at.child("secretRef"), ""));
    }
}

fn fc(source: &Value, at: &Path, errors: &mut ErrorList) {
    let (names, ids) = (items(source, &["targetWWNs"]), items(source, &["wwids"]));
    let names_at = at.child("targetWWNs");
    if names.is_empty() && ids.is_empty() {
        errors.push(FieldError::required(&names_at, "must specify either targetWWNs or wwids, but not both"));
    }
    if !names.is_empty() && !ids.is_empty() {
        let why = "targetWWNs and wwids can not be specified simultaneously";
        errors.push(FieldError::invalid(&names_at, &json!(names), why));
    }
    if !names.is_empty() && !has(source, &["lun"]) {
        errors.push(FieldError::required(&at.child("lun"), "lun is required if targetWWNs is specified"));
    }
    super::numbers::range_at(source, at, "lun", 0, 255, errors);
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
