//! Rules of where the data of a volume is: sources in pods and those of PersistentVolumes, which differ in few points.
//!
//! Only the first source that is given is checked; each further one is refused, in the order in which stock looks.

use super::checks::{optional_rule, required, required_rule, rule};
use super::pod_rules::one_of;
use super::projected_rules::projected;
use super::volume_rules::{driver_name, local_path, mode, no_backsteps};
use super::{claim, env_rules};
use crate::read::{count, flag, has, items, map, text};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};

/// The sources of a pod's volumes.
const IN_PODS: [&str; 30] = [
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];

/// The sources of PersistentVolumes.
pub(crate) const PERSISTENT: [&str; 22] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];

/// Texts that a source must have, where nothing else is to check before them.
const NEEDS: [(&str, &[&str]); 15] = [
    ("gcePersistentDisk", &["pdName"]),
    ("awsElasticBlockStore", &["volumeID"]),
    ("gitRepo", &["repository"]),
    ("nfs", &["server", "path"]),
    ("glusterfs", &["endpoints", "path"]),
    ("persistentVolumeClaim", &["claimName"]),
    ("cinder", &["volumeID"]),
    ("flexVolume", &["driver"]),
    ("azureFile", &["secretName", "shareName"]),
    ("vsphereVolume", &["volumePath"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
    ("local", &["path"]),
];

const ONE: &str = "may not specify more than 1 volume type";

/// How stock calls a source that is one too many; two names it spells in its own way.
fn shown(kind: &str) -> &str {
    match kind {
        "cephfs" => "cephFS",
        "downwardAPI" => "downwarAPI",
        other => other,
    }
}

/// Checks the source of a volume of a pod, which may have no name yet.
pub(super) fn in_pod(volume: &Value, pod: &str, at: &Path, errors: &mut ErrorList) {
    let name = text(volume, &["name"]);
    let mut seen = false;
    for kind in IN_PODS.into_iter().filter(|k| has(volume, &[k])) {
        let given = &volume[kind];
        if std::mem::replace(&mut seen, true) {
            errors.push(FieldError::forbidden(&at.child(shown(kind)), ONE));
        } else {
            source(kind, given, false, &at.child(kind), errors);
            if kind == "ephemeral" && !pod.is_empty() && !name.is_empty() {
                let claim = format!("{pod}-{name}");
                for why in names::dns1123_subdomain(&claim) {
                    errors.push(FieldError::invalid_str(&at.child("name"), name, format!("PVC name {claim:?}: {why}")));
                }
            }
        }
        let portal = format!("{name}:{}", text(given, &["targetPortal"]));
        if kind == "iscsi" && has(given, &["initiatorName"]) && portal.len() > 64 {
            errors.push(FieldError::invalid_str(&at.child("name"), name, LONG_PORTAL));
        }
    }
    if !seen {
        errors.push(FieldError::required(at, "must specify a volume type"));
    }
}

const LONG_PORTAL: &str = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";

/// Checks the source of a PersistentVolume.
pub(crate) fn persistent(spec: &Value, name: &str, at: &Path, errors: &mut ErrorList) {
    let mut seen = false;
    for kind in PERSISTENT.into_iter().filter(|k| has(spec, &[k])) {
        if std::mem::replace(&mut seen, true) && kind != "flexVolume" {
            errors.push(FieldError::forbidden(&at.child(shown(kind)), ONE));
            continue;
        }
        let (given, own) = (&spec[kind], at.child(kind));
        let portal = text(given, &["targetPortal"]);
        let long = kind == "iscsi" && has(given, &["initiatorName"]) && name.len() + 1 + portal.len() > 64;
        if long && !portal.is_empty() {
            errors.push(FieldError::invalid_str(&own.child("targetportal"), portal, LONG_PORTAL));
        }
        source(kind, given, true, &own, errors);
        if kind == "local" && !has(spec, &["nodeAffinity"]) {
            errors.push(FieldError::required(&at.child("nodeAffinity"), "Local volume requires node affinity"));
        }
    }
    if !seen {
        errors.push(FieldError::required(at, "must specify a volume type"));
    }
}

/// Checks one source; `own` says that it is a PersistentVolume's.
fn source(kind: &str, source: &Value, own: bool, at: &Path, errors: &mut ErrorList) {
    // Partitions are shown with the name that the source had inside stock.
    let disk =
        if kind == "gcePersistentDisk" { renamed(at, "gcePersistentDisk", "persistentDisk") } else { at.clone() };
    let at = &disk;
    if let Some((_, keys)) = NEEDS.iter().find(|(k, _)| *k == kind) {
        required(source, at, keys, errors);
    }
    match kind {
        "hostPath" => host_path(source, at, errors),
        "local" => no_backsteps(text(source, &["path"]), &at.child("path"), errors),
        "gitRepo" => {
            let directory = text(source, &["directory"]);
            if directory.starts_with('/') {
                errors.push(FieldError::invalid_str(&at.child("directory"), directory, "must be a relative path"));
            }
            no_backsteps(directory, &at.child("directory"), errors);
        }
        "gcePersistentDisk" | "awsElasticBlockStore" => {
            let partition = count(source, &["partition"]);
            if !(0..=255).contains(&partition) {
                let why = "must be between 1 and 255, inclusive";
                errors.push(FieldError::invalid(&at.child("partition"), &json!(partition), why));
            }
        }
        "secret" | "configMap" => {
            required(source, at, if kind == "secret" { &["secretName"] } else { &["name"] }, errors);
            mode(&source["defaultMode"], &at.child("defaultMode"), errors);
            keys(items(source, &["items"]), &at.child("items"), errors);
        }
        "downwardAPI" => {
            mode(&source["defaultMode"], &at.child("defaultMode"), errors);
            env_rules::downward_files(items(source, &["items"]), at, errors);
        }
        "projected" => {
            mode(&source["defaultMode"], &at.child("defaultMode"), errors);
            projected(source, at, errors);
        }
        "emptyDir" if text(source, &["sizeLimit"]).starts_with('-') => {
            let detail = "SizeLimit field must be a valid resource quantity";
            errors.push(FieldError::forbidden(&at.child("sizeLimit"), detail));
        }
        "nfs" if !text(source, &["path"]).starts_with('/') => {
            let given = text(source, &["path"]);
            errors.push(FieldError::invalid_str(&at.child("path"), given, "must be an absolute path"));
        }
        "csi" if own => csi(source, at, errors),
        "csi" => {
            driver_name(text(source, &["driver"]), &at.child("driver"), errors);
            if has(source, &["nodePublishSecretRef"]) {
                match text(source, &["nodePublishSecretRef", "name"]) {
                    "" => {
                        required(&source["nodePublishSecretRef"], &at.child("nodePublishSecretRef"), &["name"], errors)
                    }
                    name => rule(names::dns1123_subdomain(name), name, &at.child("name"), errors),
                }
            }
        }
        "image" => {
            required(source, at, &["reference"], errors);
            one_of(source, at, "pullPolicy", &["Always", "IfNotPresent", "Never"], true, errors);
        }
        "ephemeral" => claim::template(source, &at.child("volumeClaimTemplate"), errors),
        _ => older(kind, source, own, at, errors),
    }
}

/// Checks a source of a kind that few still use.
fn older(kind: &str, source: &Value, own: bool, at: &Path, errors: &mut ErrorList) {
    match kind {
        "iscsi" => iscsi(source, own, at, errors),
        "fc" => fc(source, at, errors),
        "rbd" | "cephfs" => {
            if items(source, &["monitors"]).is_empty() {
                errors.push(FieldError::required(&at.child("monitors"), ""));
            }
            if kind == "rbd" {
                required(source, at, &["image"], errors);
            }
        }
        "quobyte" => quobyte(source, at, errors),
        "flocker" => flocker(source, at, errors),
        "glusterfs" => {
            if let Some(namespace) = source.get("endpointsNamespace").and_then(Value::as_str) {
                let at = at.child("endpointsNamespace");
                if namespace.is_empty() {
                    let why = "if the endpointnamespace is set, it must be a valid namespace name";
                    errors.push(FieldError::invalid_str(&at, namespace, why));
                } else {
                    rule(names::dns1123_label(namespace), namespace, &at, errors);
                }
            }
        }
        "flexVolume" => reserved_options(source, &at.child("options"), errors),
        "azureFile" if own && source.get("secretNamespace").is_some_and(|n| n == "") => {
            errors.push(FieldError::required(&at.child("secretNamespace"), ""));
        }
        "azureDisk" => azure_disk(source, at, errors),
        "storageos" => {
            required_rule(source, at, "volumeName", names::dns1123_label, errors);
            optional_rule(source, at, "volumeNamespace", names::dns1123_label, errors);
            secret(source, own, at, errors);
        }
        "cinder" => secret(source, own, at, errors),
        _ => {}
    }
}

fn renamed(at: &Path, from: &str, to: &str) -> Path {
    let path = at.as_str();
    Path::new(&format!("{}{to}", path.strip_suffix(from).unwrap_or(path)))
}

/// A Secret in the same namespace, or in a given one.
fn secret(source: &Value, own: bool, at: &Path, errors: &mut ErrorList) {
    if has(source, &["secretRef"]) {
        let keys: &[&str] = if own { &["name", "namespace"] } else { &["name"] };
        required(&source["secretRef"], &at.child("secretRef"), keys, errors);
    }
}

fn host_path(source: &Value, at: &Path, errors: &mut ErrorList) {
    let path = text(source, &["path"]);
    if path.is_empty() {
        errors.push(FieldError::required(&at.child("path"), ""));
        return;
    }
    no_backsteps(path, &at.child("path"), errors);
    let types = ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
    let given = text(source, &["type"]);
    if !types.contains(&given) {
        errors.push(FieldError::not_supported(&at.child("type"), &json!(given), &types));
    }
}

/// Checks keys of a ConfigMap or a Secret and where they go.
fn keys(items: &[Value], at: &Path, errors: &mut ErrorList) {
    for (i, item) in items.iter().enumerate() {
        key(item, &at.index(i), errors);
    }
}

/// Checks one key of a ConfigMap or a Secret and where it goes.
pub(super) fn key(item: &Value, at: &Path, errors: &mut ErrorList) {
    required(item, at, &["key", "path"], errors);
    local_path(text(item, &["path"]), &at.child("path"), errors);
    mode(&item["mode"], &at.child("mode"), errors);
}

/// Checks what a CSI driver is told of a PersistentVolume.
pub(crate) fn csi(source: &Value, at: &Path, errors: &mut ErrorList) {
    driver_name(text(source, &["driver"]), &at.child("driver"), errors);
    required(source, at, &["volumeHandle"], errors);
    let secrets =
        ["controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"];
    for key in secrets.into_iter().filter(|k| has(source, &[k])) {
        required_rule(&source[key], &at.child(key), "name", names::dns1123_subdomain, errors);
        required_rule(&source[key], &at.child(key), "namespace", names::dns1123_label, errors);
    }
}

/// Whether a name has the form of one of the ways to name an iSCSI node.
fn iscsi_form(name: &str) -> bool {
    let sign = |c: char| c.is_ascii_alphanumeric();
    let fixed = |rest: &str, n: usize| rest.chars().count() == n + 1 && rest.chars().skip(1).all(sign);
    if let Some(rest) = name.strip_prefix("eui") {
        return fixed(rest, 16);
    }
    if let Some(rest) = name.strip_prefix("naa") {
        return fixed(rest, 32);
    }
    let dated = |rest: &str| -> Option<bool> {
        let (year, rest) = rest.split_once('-')?;
        let (month, rest) = rest.split_once('.')?;
        let digits = |s: &str, n: usize| s.len() == n && s.bytes().all(|b| b.is_ascii_digit());
        let (authority, own) = rest.split_once(':')?;
        let authority = !authority.is_empty() && authority.chars().all(|c| sign(c) || c == '-' || c == '.');
        let own = !own.is_empty() && !own.contains([',', ';', '*', '&', '$', '|', ' ', '\t', '\n', '\r', '\x0c']);
        Some(digits(year, 4) && digits(month, 2) && authority && own)
    };
    name.strip_prefix("iqn.").and_then(dated).unwrap_or(false)
}

fn iscsi(source: &Value, own: bool, at: &Path, errors: &mut ErrorList) {
    const PREFIX: &str = "must be valid format starting with iqn, eui, or naa";
    let check = |name: &str, at: &Path, errors: &mut ErrorList| {
        let known = ["iqn", "eui", "naa"].iter().any(|p| name.starts_with(p));
        if !known {
            let why = if own { "must be valid format" } else { PREFIX };
            errors.push(FieldError::invalid_str(at, name, why));
        } else if !iscsi_form(name) {
            errors.push(FieldError::invalid_str(at, name, "must be valid format"));
        }
    };
    required(source, at, &["targetPortal", "iqn"], errors);
    let name = text(source, &["iqn"]);
    if !name.is_empty() {
        check(name, &at.child("iqn"), errors);
    }
    super::numbers::range_at(source, at, "lun", 0, 255, errors);
    let needed = ["chapAuthDiscovery", "chapAuthSession"].iter().any(|k| flag(source, &[k]));
    if needed && !has(source, &["secretRef"]) {
        errors.push(FieldError::required(&at.child("secretRef"), ""));
    }
    if own && has(source, &["secretRef"]) {
        required(&source["secretRef"], &at.child("secretRef"), &["name"], errors);
    }
    if let Some(initiator) = source.get("initiatorName").and_then(Value::as_str) {
        check(initiator, &at.child("initiatorname"), errors);
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
    if names.is_empty() {
        return;
    }
    if !has(source, &["lun"]) {
        errors.push(FieldError::required(&at.child("lun"), "lun is required if targetWWNs is specified"));
    }
    super::numbers::range_at(source, at, "lun", 0, 255, errors);
}

fn quobyte(source: &Value, at: &Path, errors: &mut ErrorList) {
    const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";
    let registry = text(source, &["registry"]);
    if registry.is_empty() {
        errors.push(FieldError::required(&at.child("registry"), PAIRS));
    } else if text(source, &["tenant"]).len() >= 65 {
        let why = "must be a UUID and may not exceed a length of 64 characters";
        errors.push(FieldError::required(&at.child("tenant"), why));
    } else {
        for _ in registry.split(',').filter(|pair| !is_host_and_port(pair)) {
            errors.push(FieldError::invalid_str(&at.child("registry"), registry, PAIRS));
        }
    }
    required(source, at, &["volume"], errors);
}

/// Whether a text splits into a host and a port, as Go splits it.
fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bare = |s: &str| !s.contains(['[', ']']);
    match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(bare) && bare(port),
        None => !host.contains(':') && bare(host) && bare(port),
    }
}

fn flocker(source: &Value, at: &Path, errors: &mut ErrorList) {
    let (name, id) = (text(source, &["datasetName"]), text(source, &["datasetUUID"]));
    if name.is_empty() && id.is_empty() {
        errors.push(FieldError::required(at, "one of datasetName and datasetUUID is required"));
    }
    if !name.is_empty() && !id.is_empty() {
        let why = "datasetName and datasetUUID can not be specified simultaneously";
        errors.push(FieldError::invalid_str(at, "resource", why));
    }
    if name.contains('/') {
        errors.push(FieldError::invalid_str(&at.child("datasetName"), name, "must not contain '/'"));
    }
}

fn reserved_options(source: &Value, at: &Path, errors: &mut ErrorList) {
    for (key, _) in map(source, &["options"]).into_iter().flatten() {
        let namespace = format!(".{}", key.split('/').next().unwrap_or_default().to_lowercase());
        if [".kubernetes.io", ".k8s.io"].iter().any(|n| namespace.ends_with(n)) {
            let why = "kubernetes.io and k8s.io namespaces are reserved";
            errors.push(FieldError::invalid_str(&at.key(key), key, why));
        }
    }
}

fn azure_disk(source: &Value, at: &Path, errors: &mut ErrorList) {
    const MANAGED: &str =
        "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
    const BLOB: &str = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";
    for (key, supported) in
        [("cachingMode", ["None", "ReadOnly", "ReadWrite"]), ("kind", ["Dedicated", "Managed", "Shared"])]
    {
        if let Some(given) = source.get(key).and_then(Value::as_str)
            && !supported.contains(&given)
        {
            errors.push(FieldError::not_supported(&at.child(key), &json!(given), &supported));
        }
    }
    let Some(kind) = source.get("kind").and_then(Value::as_str) else { return };
    let uri = text(source, &["diskURI"]);
    let (prefix, form) = if kind == "Managed" { ("/subscriptions/", MANAGED) } else { ("https://", BLOB) };
    if !uri.starts_with(prefix) {
        errors.push(FieldError::not_supported(&at.child("diskURI"), &json!(uri), &[form]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(own: bool, volume: &Value) -> Vec<String> {
        let mut errors = ErrorList::new();
        match own {
            true => persistent(volume, "pv", &Path::new("spec"), &mut errors),
            false => in_pod(volume, "p", &Path::new("v"), &mut errors),
        }
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn each_source_has_the_rules_of_stock() {
        let (https, one) = ("https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd", ONE);
        let table: [(bool, Value, Vec<String>); 13] = [
            (false, json!({"name": "v"}), vec!["v: Required value: must specify a volume type".into()]),
            (
                false,
                json!({"name": "v", "cephfs": {}, "downwardAPI": {}, "emptyDir": {}}),
                vec![format!("v.cephFS: Forbidden: {one}"), format!("v.downwarAPI: Forbidden: {one}")],
            ),
            (
                false,
                json!({"gcePersistentDisk": {"pdName": "d", "partition": 256}}),
                vec!["v.persistentDisk.partition: Invalid value: 256: must be between 1 and 255, inclusive".into()],
            ),
            (false, json!({"hostPath": {"type": "X"}}), vec!["v.hostPath.path: Required value".into()]),
            (
                false,
                json!({"gitRepo": {"repository": "r", "directory": "/d/.."}}),
                vec![
                    "v.gitRepo.directory: Invalid value: \"/d/..\": must be a relative path".into(),
                    "v.gitRepo.directory: Invalid value: \"/d/..\": must not contain '..'".into(),
                ],
            ),
            (
                false,
                json!({"flexVolume": {"driver": "d", "options": {"a.K8s.io/x": "1"}}}),
                vec!["v.flexVolume.options[a.K8s.io/x]: Invalid value: \"a.K8s.io/x\": kubernetes.io and k8s.io namespaces are reserved".into()],
            ),
            (
                false,
                json!({"quobyte": {"registry": "a:1,b", "volume": "v"}}),
                vec!["v.quobyte.registry: Invalid value: \"a:1,b\": must be a host:port pair or multiple pairs separated by commas".into()],
            ),
            (
                false,
                json!({"azureDisk": {"diskName": "d", "diskURI": "u", "kind": "Shared"}}),
                vec![format!("v.azureDisk.diskURI: Unsupported value: \"u\": supported values: {https:?}")],
            ),
            (
                true,
                json!({"flocker": {"datasetName": "a/b", "datasetUUID": "u"}}),
                vec![
                    "spec.flocker: Invalid value: \"resource\": datasetName and datasetUUID can not be specified simultaneously".into(),
                    "spec.flocker.datasetName: Invalid value: \"a/b\": must not contain '/'".into(),
                ],
            ),
            (
                true,
                json!({"local": {"path": "/p"}}),
                vec!["spec.nodeAffinity: Required value: Local volume requires node affinity".into()],
            ),
            (
                true,
                json!({"cinder": {"volumeID": "v", "secretRef": {}}}),
                vec![
                    "spec.cinder.secretRef.name: Required value".into(),
                    "spec.cinder.secretRef.namespace: Required value".into(),
                ],
            ),
            (
                true,
                json!({"iscsi": {"targetPortal": "t", "iqn": "x", "initiatorName": "iqn.2015-02.a:"}}),
                vec![
                    "spec.iscsi.iqn: Invalid value: \"x\": must be valid format".into(),
                    "spec.iscsi.initiatorname: Invalid value: \"iqn.2015-02.a:\": must be valid format".into(),
                ],
            ),
            (
                true,
                json!({"storageos": {"volumeName": "A"}}),
                vec!["spec.storageos.volumeName: Invalid value: \"A\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')".into()],
            ),
        ];
        for (own, volume, want) in table {
            assert_eq!(wrong(own, &volume), want, "{volume}");
        }
    }
}
