//! Validation of a pod's specification, wherever it stands.

use ironclad_api::{ErrorList, FieldError, Path, names};
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn one_of(errors: &mut ErrorList, value: &Value, path: &Path, field: &str, allowed: &[&str]) {
    let given = &value[field];
    if given.is_null() || given == "" {
        errors.push(FieldError::required(&path.child(field), ""));
    } else if !allowed.contains(&given.as_str().unwrap_or_default()) {
        errors.push(FieldError::not_supported(&path.child(field), given, allowed));
    }
}

/// What is wrong with a specification.
pub(crate) fn validate(spec: &Value, path: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let volumes = volumes(spec, path, &mut errors);
    if list(spec, "containers").is_empty() {
        errors.push(FieldError::required(&path.child("containers"), ""));
    }
    let mut seen = BTreeSet::new();
    for group in ["initContainers", "containers", "ephemeralContainers"] {
        for (index, c) in list(spec, group).iter().enumerate() {
            let at = path.child(group).index(index);
            if !text(c, "name").is_empty() && !seen.insert(text(c, "name").to_owned()) {
                errors.push(FieldError::duplicate(&at.child("name"), &c["name"]));
            }
            container(c, &at, &volumes, spec["hostNetwork"] == true, &mut errors);
        }
    }
    host_ports(spec, path, &mut errors);
    one_of(&mut errors, spec, path, "restartPolicy", &["Always", "OnFailure", "Never"]);
    one_of(&mut errors, spec, path, "dnsPolicy", &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]);
    let named = |errors: &mut ErrorList, field: &str, rule: fn(&str) -> Vec<String>| {
        let value = text(spec, field);
        if !value.is_empty() {
            errors.extend(rule(value).into_iter().map(|why| FieldError::invalid_str(&path.child(field), value, why)));
        }
    };
    named(&mut errors, "serviceAccountName", names::dns1123_subdomain);
    named(&mut errors, "nodeName", names::dns1123_subdomain);
    named(&mut errors, "hostname", names::dns1123_label);
    named(&mut errors, "subdomain", names::dns1123_label);
    errors.extend(crate::metadata::labels(&spec["nodeSelector"], &path.child("nodeSelector")));
    if spec["terminationGracePeriodSeconds"].as_i64().is_some_and(|s| s < 0) {
        let at = path.child("terminationGracePeriodSeconds");
        errors.push(FieldError::invalid(
            &at,
            &spec["terminationGracePeriodSeconds"],
            "must be greater than or equal to 0",
        ));
    }
    if spec["activeDeadlineSeconds"].as_i64().is_some_and(|s| !(1..=i64::from(i32::MAX)).contains(&s)) {
        let at = path.child("activeDeadlineSeconds");
        errors.push(FieldError::invalid(
            &at,
            &spec["activeDeadlineSeconds"],
            "must be between 1 and 2147483647, inclusive",
        ));
    }
    for (index, t) in list(spec, "tolerations").iter().enumerate() {
        toleration(t, &path.child("tolerations").index(index), &mut errors);
    }
    errors
}

fn volumes<'a>(spec: &'a Value, path: &Path, errors: &mut ErrorList) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    for (index, volume) in list(spec, "volumes").iter().enumerate() {
        let at = path.child("volumes").index(index);
        let name = text(volume, "name");
        if name.is_empty() {
            errors.push(FieldError::required(&at.child("name"), ""));
        } else {
            errors.extend(
                names::dns1123_label(name).into_iter().map(|e| FieldError::invalid_str(&at.child("name"), name, e)),
            );
            if !seen.insert(name) {
                errors.push(FieldError::duplicate(&at.child("name"), &volume["name"]));
            }
        }
        let sources: Vec<&String> =
            volume.as_object().into_iter().flatten().map(|(k, _)| k).filter(|k| *k != "name").collect();
        match sources.as_slice() {
            [] => errors.push(FieldError::required(&at, "must specify a volume type")),
            [one] => source(one, &volume[one.as_str()], &at.child(one), errors),
            [_, rest @ ..] => {
                for extra in rest {
                    errors.push(FieldError::forbidden(&at.child(extra), "may not specify more than 1 volume type"));
                }
            }
        }
    }
    seen
}

fn source(kind: &str, source: &Value, path: &Path, errors: &mut ErrorList) {
    let need = |errors: &mut ErrorList, field: &str| {
        if text(source, field).is_empty() {
            errors.push(FieldError::required(&path.child(field), ""));
        }
    };
    match kind {
        "secret" => need(errors, "secretName"),
        "configMap" => need(errors, "name"),
        "persistentVolumeClaim" => need(errors, "claimName"),
        "hostPath" => {
            need(errors, "path");
            if text(source, "path").split('/').any(|p| p == "..") {
                errors.push(FieldError::invalid(&path.child("path"), &source["path"], "must not contain '..'"));
            }
            let types =
                ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
            if !types.contains(&text(source, "type")) {
                errors.push(FieldError::not_supported(&path.child("type"), &source["type"], &types));
            }
        }
        _ => {}
    }
    if let Some(mode) = source["defaultMode"].as_i64().filter(|m| !(0..=0o777).contains(m)) {
        let why = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.push(FieldError::invalid(&path.child("defaultMode"), &json!(mode), why));
    }
}

fn container(c: &Value, path: &Path, volumes: &BTreeSet<&str>, host_network: bool, errors: &mut ErrorList) {
    let name = text(c, "name");
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), ""));
    } else {
        errors.extend(
            names::dns1123_label(name).into_iter().map(|e| FieldError::invalid_str(&path.child("name"), name, e)),
        );
    }
    let image = text(c, "image");
    if image.is_empty() {
        errors.push(FieldError::required(&path.child("image"), ""));
    } else if image != image.trim() {
        errors.push(FieldError::invalid(
            &path.child("image"),
            &c["image"],
            "must not have leading or trailing whitespace",
        ));
    }
    one_of(errors, c, path, "imagePullPolicy", &["Always", "IfNotPresent", "Never"]);
    one_of(errors, c, path, "terminationMessagePolicy", &["FallbackToLogsOnError", "File"]);
    ports(c, path, host_network, errors);
    env(c, path, errors);
    mounts(c, path, volumes, errors);
    resources(&c["resources"], &path.child("resources"), errors);
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if c[probe].is_object() {
            validate_probe(&c[probe], &path.child(probe), probe == "readinessProbe", errors);
        }
    }
    for hook in ["postStart", "preStop"] {
        let hook_value = &c["lifecycle"][hook];
        if hook_value.is_object() {
            handler(
                hook_value,
                &path.child("lifecycle").child(hook),
                &["exec", "httpGet", "tcpSocket", "sleep"],
                errors,
            );
        }
    }
}

fn ports(c: &Value, path: &Path, host_network: bool, errors: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for (index, port) in list(c, "ports").iter().enumerate() {
        let at = path.child("ports").index(index);
        let name = text(port, "name");
        if !name.is_empty() {
            errors.extend(
                names::port_name(name).into_iter().map(|e| FieldError::invalid_str(&at.child("name"), name, e)),
            );
            if !seen.insert(name) {
                errors.push(FieldError::duplicate(&at.child("name"), &port["name"]));
            }
        }
        let number = port["containerPort"].as_i64().unwrap_or(0);
        if number == 0 {
            errors.push(FieldError::required(&at.child("containerPort"), ""));
        } else {
            let wrong = names::port_number(number).into_iter();
            errors.extend(wrong.map(|e| FieldError::invalid(&at.child("containerPort"), &json!(number), e)));
        }
        if let Some(host) = port["hostPort"].as_i64().filter(|p| *p != 0) {
            let wrong = names::port_number(host).into_iter();
            errors.extend(wrong.map(|e| FieldError::invalid(&at.child("hostPort"), &json!(host), e)));
            if host_network && host != number {
                errors.push(FieldError::invalid(
                    &at.child("hostPort"),
                    &json!(host),
                    "must match `containerPort` when `hostNetwork` is true",
                ));
            }
        }
        one_of(errors, port, &at, "protocol", &["SCTP", "TCP", "UDP"]);
    }
}

fn env(c: &Value, path: &Path, errors: &mut ErrorList) {
    for (index, variable) in list(c, "env").iter().enumerate() {
        let at = path.child("env").index(index);
        let name = text(variable, "name");
        if name.is_empty() {
            errors.push(FieldError::required(&at.child("name"), ""));
        } else if name.contains('=') || !name.bytes().all(|b| (b' '..=b'~').contains(&b)) {
            let why =
                "a valid environment variable name must consist only of printable ASCII characters other than '='";
            errors.push(FieldError::invalid(&at.child("name"), &variable["name"], why));
        }
        let from = &variable["valueFrom"];
        if from.is_object() {
            let sources = from.as_object().map_or(0, serde_json::Map::len);
            if !text(variable, "value").is_empty() {
                errors.push(FieldError::invalid(
                    &at.child("valueFrom"),
                    &json!(""),
                    "may not be specified when `value` is not empty",
                ));
            } else if sources == 0 {
                let why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`";
                errors.push(FieldError::invalid(&at.child("valueFrom"), &json!(""), why));
            } else if sources > 1 {
                errors.push(FieldError::invalid(
                    &at.child("valueFrom"),
                    &json!(""),
                    "may not have more than one field specified at a time",
                ));
            }
        }
    }
}

fn mounts(c: &Value, path: &Path, volumes: &BTreeSet<&str>, errors: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for (index, mount) in list(c, "volumeMounts").iter().enumerate() {
        let at = path.child("volumeMounts").index(index);
        let (name, target) = (text(mount, "name"), text(mount, "mountPath"));
        if name.is_empty() {
            errors.push(FieldError::required(&at.child("name"), ""));
        } else if !volumes.contains(name) {
            errors.push(FieldError::not_found(&at.child("name"), &mount["name"]));
        }
        if target.is_empty() {
            errors.push(FieldError::required(&at.child("mountPath"), ""));
        } else if !seen.insert(target) {
            errors.push(FieldError::invalid(&at.child("mountPath"), &mount["mountPath"], "must be unique"));
        }
        for field in ["subPath", "subPathExpr"] {
            let sub = text(mount, field);
            if sub.starts_with('/') {
                errors.push(FieldError::invalid(&at.child(field), &mount[field], "must be a relative path"));
            }
            if sub.split('/').any(|p| p == "..") {
                errors.push(FieldError::invalid(&at.child(field), &mount[field], "must not contain '..'"));
            }
        }
    }
}

/// What is wrong with requests and limits.
fn resources(resources: &Value, path: &Path, errors: &mut ErrorList) {
    let amount = |v: &Value| v.as_str().and_then(|s| s.parse::<ironclad_api::quantity::Quantity>().ok());
    for group in ["limits", "requests"] {
        for (name, value) in resources[group].as_object().into_iter().flatten() {
            let at = path.child(group).key(name);
            for why in names::qualified_name(name) {
                errors.push(FieldError::invalid_str(&at, name, why));
            }
            if amount(value).is_some_and(ironclad_api::quantity::Quantity::is_negative) {
                errors.push(FieldError::invalid(&at, value, "must be greater than or equal to 0"));
            }
            if !name.contains('/')
                && !["cpu", "memory", "ephemeral-storage"].contains(&name.as_str())
                && !name.starts_with("hugepages-")
            {
                errors.push(FieldError::invalid_str(&at, name, "must be a standard resource for containers"));
            }
        }
    }
    for (name, request) in resources["requests"].as_object().into_iter().flatten() {
        let limit = &resources["limits"][name];
        if let (Some(r), Some(l)) = (amount(request), amount(limit))
            && r > l
        {
            let why = format!("must be less than or equal to {name} limit of {}", limit.as_str().unwrap_or_default());
            errors.push(FieldError::invalid(&path.child("requests"), request, why));
        }
    }
}

fn validate_probe(probe: &Value, path: &Path, readiness: bool, errors: &mut ErrorList) {
    handler(probe, path, &["exec", "httpGet", "tcpSocket", "grpc"], errors);
    for field in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        if probe[field].as_i64().is_some_and(|n| n < 0) {
            errors.push(FieldError::invalid(&path.child(field), &probe[field], "must be greater than or equal to 0"));
        }
    }
    if !readiness && probe["successThreshold"].as_i64().is_some_and(|n| n != 1) {
        errors.push(FieldError::invalid(&path.child("successThreshold"), &probe["successThreshold"], "must be 1"));
    }
}

fn handler(handler: &Value, path: &Path, kinds: &[&str], errors: &mut ErrorList) {
    let given: Vec<&&str> = kinds.iter().filter(|k| !handler[**k].is_null()).collect();
    match given.as_slice() {
        [] => errors.push(FieldError::required(path, "must specify a handler type")),
        [_, rest @ ..] => {
            for extra in rest {
                errors.push(FieldError::forbidden(&path.child(extra), "may not specify more than 1 handler type"));
            }
        }
    }
    if handler["exec"].is_object() && list(&handler["exec"], "command").is_empty() {
        errors.push(FieldError::required(&path.child("exec").child("command"), ""));
    }
    for kind in ["httpGet", "tcpSocket"] {
        let port = &handler[kind]["port"];
        if let Some(number) = port.as_i64() {
            let wrong = names::port_number(number).into_iter();
            errors.extend(wrong.map(|e| FieldError::invalid(&path.child(kind).child("port"), port, e)));
        }
    }
}

fn host_ports(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for (c_index, c) in list(spec, "containers").iter().enumerate() {
        for (index, port) in list(c, "ports").iter().enumerate() {
            let Some(number) = port["hostPort"].as_i64().filter(|p| *p != 0) else { continue };
            let key = format!("{}/{}/{number}", text(port, "protocol"), text(port, "hostIP"));
            if !seen.insert(key.clone()) {
                let at = path.child("containers").index(c_index).child("ports").index(index).child("hostPort");
                errors.push(FieldError::duplicate(&at, &json!(key)));
            }
        }
    }
}

fn toleration(t: &Value, path: &Path, errors: &mut ErrorList) {
    let key = text(t, "key");
    if !key.is_empty() {
        errors.extend(
            names::qualified_name(key).into_iter().map(|e| FieldError::invalid_str(&path.child("key"), key, e)),
        );
    } else if text(t, "operator") != "Exists" {
        let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        errors.push(FieldError::invalid(&path.child("operator"), &t["operator"], why));
    }
    if !t["tolerationSeconds"].is_null() && text(t, "effect") != "NoExecute" {
        errors.push(FieldError::invalid(
            &path.child("effect"),
            &t["effect"],
            "effect must be 'NoExecute' when `tolerationSeconds` is set",
        ));
    }
    if !["", "Equal", "Exists", "Lt", "Gt"].contains(&text(t, "operator")) {
        errors.push(FieldError::not_supported(&path.child("operator"), &t["operator"], &["Equal", "Exists"]));
    }
    if !["", "NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&text(t, "effect")) {
        errors.push(FieldError::not_supported(
            &path.child("effect"),
            &t["effect"],
            &["NoSchedule", "PreferNoSchedule", "NoExecute"],
        ));
    }
}
