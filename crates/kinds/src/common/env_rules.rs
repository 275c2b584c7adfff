//! Rules of environment variables and of what they and downward files refer to.

use super::checks::{required_rule, rule};
use super::container_rules::visit;
use super::numbers::quantity;
use super::volume_rules::no_backsteps;
use crate::core::config_key;
use crate::read::{has, items, text};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};

const FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const VOLUME_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const SIZES: &str = "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei";
const SOURCES: [&str; 5] = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];

fn name_rule(name: &str) -> Vec<String> {
    if name.is_empty() || name.contains('=') || !name.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return vec![
            "a valid environment variable name must consist only of printable ASCII characters other than '='".into(),
        ];
    }
    Vec::new()
}

/// Checks the variables of a container.
pub(crate) fn env(list: &[Value], at: &Path, errors: &mut ErrorList) {
    for (i, e) in list.iter().enumerate() {
        let at = at.index(i);
        required_rule(e, &at, "name", name_rule, errors);
        if !has(e, &["valueFrom"]) {
            continue;
        }
        let (from, at) = (&e["valueFrom"], at.child("valueFrom"));
        let given: Vec<&str> = SOURCES.into_iter().filter(|k| has(from, &[k])).collect();
        for kind in &given {
            source(&from[*kind], kind, &at.child(kind), errors);
        }
        if given.is_empty() {
            let why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
            errors.push(FieldError::invalid_str(&at, "", why));
        } else if !text(e, &["value"]).is_empty() {
            errors.push(FieldError::invalid_str(&at, "", "may not be specified when `value` is not empty"));
        } else if given.len() > 1 {
            errors.push(FieldError::invalid_str(&at, "", "may not have more than one field specified at a time"));
        }
    }
}

fn source(from: &Value, kind: &str, at: &Path, errors: &mut ErrorList) {
    match kind {
        "fieldRef" => field_ref(from, &FIELDS, at, errors),
        "resourceFieldRef" => resource_ref(from, false, at, errors),
        "fileKeyRef" => {
            required_rule(from, at, "key", name_rule, errors);
            required_rule(from, at, "volumeName", names::dns1123_label, errors);
            match text(from, &["path"]) {
                "" => errors.push(FieldError::required(&at.child("path"), "")),
                path => no_backsteps(path, &at.child("path"), errors),
            }
        }
        _ => {
            let name = text(from, &["name"]);
            rule(names::dns1123_subdomain(name), name, &at.child("name"), errors);
            required_rule(from, at, "key", config_key, errors);
        }
    }
}

/// Checks that volumes which variables are read from are there and are empty directories.
pub(crate) fn files_are_in_empty_dirs(spec: &Value, at: &Path, errors: &mut ErrorList) {
    for (c, at) in visit(spec, at) {
        for (i, e) in items(c, &["env"]).iter().enumerate().filter(|(_, e)| has(e, &["valueFrom", "fileKeyRef"])) {
            let name = text(e, &["valueFrom", "fileKeyRef", "volumeName"]);
            let at = at.child("env").index(i).child("valueFrom").child("fileKeyRef").child("volumeName");
            match items(spec, &["volumes"]).iter().rfind(|v| text(v, &["name"]) == name) {
                None => errors.push(FieldError::not_found(&at, &json!(name))),
                Some(v) if !has(v, &["emptyDir"]) => {
                    let why = "referenced volume must be of type emptyDir";
                    errors.push(FieldError::invalid_str(&at, name, why));
                }
                Some(_) => {}
            }
        }
    }
}

fn field_ref(reference: &Value, allowed: &[&str], at: &Path, errors: &mut ErrorList) {
    let path = text(reference, &["fieldPath"]);
    for key in ["apiVersion", "fieldPath"] {
        if text(reference, &[key]).is_empty() {
            errors.push(FieldError::required(&at.child(key), ""));
            return;
        }
    }
    let unknown = |what: &str| {
        let why = format!("error converting fieldPath: {what}");
        FieldError::invalid_str(&at.child("fieldPath"), path, why)
    };
    if text(reference, &["apiVersion"]) != "v1" {
        let version = text(reference, &["apiVersion"]);
        errors.push(unknown(&format!("unsupported pod version: {version}")));
        return;
    }
    if let Some((field, rest)) = path.split_once("['")
        && let Some(subscript) = rest.strip_suffix("']")
    {
        match field {
            "metadata.annotations" => {
                rule(names::qualified_name(&subscript.to_lowercase()), &subscript.to_lowercase(), at, errors)
            }
            "metadata.labels" => rule(names::qualified_name(subscript), subscript, at, errors),
            _ => errors.push(unknown(&format!("field label does not support subscript: {path}"))),
        }
        return;
    }
    let known = FIELDS.contains(&path) || VOLUME_FIELDS.contains(&path);
    if !known && !matches!(path, "spec.restartPolicy" | "spec.schedulerName" | "status.phase" | "spec.host") {
        errors.push(unknown(&format!("field label not supported: {path}")));
    } else if !allowed.contains(&path) {
        errors.push(FieldError::not_supported(&at.child("fieldPath"), &json!(path), allowed));
    }
}

fn resource_ref(reference: &Value, volume: bool, at: &Path, errors: &mut ErrorList) {
    let resource = text(reference, &["resource"]);
    let pages = ["requests.hugepages-", "limits.hugepages-"].iter().any(|p| resource.starts_with(p));
    if volume && text(reference, &["containerName"]).is_empty() {
        errors.push(FieldError::required(&at.child("containerName"), ""));
    } else if resource.is_empty() {
        errors.push(FieldError::required(&at.child("resource"), ""));
    } else if !RESOURCES.contains(&resource) && !pages {
        errors.push(FieldError::not_supported(&at.child("resource"), &json!(resource), &RESOURCES));
    }
    let Some(divisor) = quantity(&reference["divisor"]).filter(|d| !d.is_zero()) else { return };
    let (divisor, cpu) = (divisor.to_string(), resource.ends_with(".cpu"));
    let allowed = if cpu { "1m, 1" } else { SIZES };
    if allowed.split(", ").any(|a| a == divisor) {
        return;
    }
    let why = match resource.split_once('.').map_or("", |(_, r)| r) {
        "cpu" => "only divisor's values 1m and 1 are supported with the cpu resource".to_owned(),
        "memory" => format!("only divisor's values {SIZES} are supported with the memory resource"),
        "ephemeral-storage" => {
            format!("only divisor's values {SIZES} are supported with the local ephemeral storage resource")
        }
        _ if pages => format!("only divisor's values {SIZES} are supported with the hugepages resource"),
        _ => return,
    };
    errors.push(FieldError::invalid_str(&at.child("divisor"), resource, why));
}

/// Checks what a container takes whole from ConfigMaps and Secrets.
pub(crate) fn env_from(list: &[Value], at: &Path, errors: &mut ErrorList) {
    for (i, e) in list.iter().enumerate() {
        let place = at.index(i);
        let prefix = text(e, &["prefix"]);
        if !prefix.is_empty() {
            rule(name_rule(prefix), prefix, &place.child("prefix"), errors);
        }
        let given: Vec<&str> = ["configMapRef", "secretRef"].into_iter().filter(|k| has(e, &[k])).collect();
        for kind in &given {
            required_rule(&e[*kind], &place.child(kind), "name", names::dns1123_subdomain, errors);
        }
        match given.len() {
            0 => errors.push(FieldError::invalid_str(at, "", "must specify one of: `configMapRef` or `secretRef`")),
            1 => {}
            _ => errors.push(FieldError::invalid_str(at, "", "may not have more than one field specified at a time")),
        }
    }
}

/// Checks the files that tell containers about their pod.
pub(crate) fn downward_files(files: &[Value], at: &Path, errors: &mut ErrorList) {
    for item in files {
        match text(item, &["path"]) {
            "" => errors.push(FieldError::required(&at.child("path"), "")),
            path => super::volume_rules::local_path(path, &at.child("path"), errors),
        }
        match (has(item, &["fieldRef"]), has(item, &["resourceFieldRef"])) {
            (true, also) => {
                field_ref(&item["fieldRef"], &VOLUME_FIELDS, &at.child("fieldRef"), errors);
                if also {
                    let why = "fieldRef and resourceFieldRef can not be specified simultaneously";
                    errors.push(FieldError::invalid_str(at, "resource", why));
                }
            }
            (false, true) => {
                resource_ref(&item["resourceFieldRef"], true, &at.child("resourceFieldRef"), errors);
            }
            (false, false) => {
                errors.push(FieldError::required(at, "one of fieldRef and resourceFieldRef is required"));
            }
        }
        super::volume_rules::mode(&item["mode"], &at.child("mode"), errors);
    }
}
