//! Rules of containers: names, images, ports, environment, mounts, probes, hooks, security.

use super::pod_rules::{check_id, one_of};
use super::port::check_int_or_name;
use super::{resources, volume_rules};
use crate::read::{count, flag, has, int, items, text};
use ironclad_api::{ErrorList, FieldError, Path, names};
use serde_json::{Value, json};
use std::collections::HashSet;

/// What the checks of a container need to know of its pod.
pub(crate) struct Context<'a> {
    /// Names of the volumes.
    pub(crate) volumes: &'a HashSet<String>,
    /// Whether the pod uses the node's network.
    pub(crate) host_network: bool,
}

/// Checks a main or an init container.
pub(crate) fn check(c: &Value, at: &Path, init: bool, context: &Context<'_>, errors: &mut ErrorList) {
    common(c, at, context, errors);
    let sidecar = text(c, &["restartPolicy"]) == "Always";
    for hook in ["postStart", "preStop"] {
        if has(c, &["lifecycle", hook]) {
            let at = at.child("lifecycle");
            if init && !sidecar {
                errors.push(FieldError::forbidden(
                    &at,
                    "may not be set for init containers without restartPolicy=Always",
                ));
                break;
            }
            handler(&c["lifecycle"][hook], &at.child(hook), &["exec", "httpGet", "tcpSocket", "sleep"], errors);
        }
    }
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if has(c, &[kind]) {
            if init && !sidecar {
                let detail = "may not be set for init containers without restartPolicy=Always";
                errors.push(FieldError::forbidden(&at.child(kind), detail));
            } else {
                probe(&c[kind], &at.child(kind), kind, errors);
            }
        }
    }
    let own = text(c, &["restartPolicy"]);
    if init && !matches!(own, "" | "Always" | "Never" | "OnFailure") {
        errors.push(FieldError::not_supported(&at.child("restartPolicy"), &json!(own), &["Always"]));
    }
}

/// Checks an ephemeral container, which may have no ports, probes, hooks or resources.
pub(crate) fn check_ephemeral(c: &Value, at: &Path, context: &Context<'_>, errors: &mut ErrorList) {
    common(c, at, context, errors);
    let detail = "cannot be set for an Ephemeral Container";
    for key in ["ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resizePolicy"] {
        if has(c, &[key]) {
            errors.push(FieldError::forbidden(&at.child(key), detail));
        }
    }
    if ["limits", "requests"].iter().any(|k| has(c, &["resources", k])) {
        errors.push(FieldError::forbidden(&at.child("resources"), detail));
    }
    for (i, mount) in items(c, &["volumeMounts"]).iter().enumerate() {
        if !text(mount, &["subPath"]).is_empty() {
            errors.push(FieldError::forbidden(&at.child("volumeMounts").index(i).child("subPath"), detail));
        }
    }
}

fn common(c: &Value, at: &Path, context: &Context<'_>, errors: &mut ErrorList) {
    let name = text(c, &["name"]);
    if name.is_empty() {
        errors.push(FieldError::required(&at.child("name"), ""));
    } else {
        errors.extend(
            names::dns1123_label(name).into_iter().map(|e| FieldError::invalid_str(&at.child("name"), name, e)),
        );
    }
    let image = text(c, &["image"]);
    if image.is_empty() {
        errors.push(FieldError::required(&at.child("image"), ""));
    } else if image.trim() != image {
        let detail = "must not have leading or trailing whitespace";
        errors.push(FieldError::invalid_str(&at.child("image"), image, detail));
    }
    one_of(c, at, "terminationMessagePolicy", &["FallbackToLogsOnError", "File"], true, errors);
    one_of(c, at, "imagePullPolicy", &["Always", "IfNotPresent", "Never"], true, errors);
    ports(c, &at.child("ports"), context, errors);
    env(items(c, &["env"]), &at.child("env"), errors);
    env_from(items(c, &["envFrom"]), &at.child("envFrom"), errors);
    mounts(c, at, context, errors);
    if has(c, &["resources"]) {
        resources::check(&c["resources"], &at.child("resources"), errors);
    }
    security(&c["securityContext"], &at.child("securityContext"), errors);
}

fn ports(c: &Value, at: &Path, context: &Context<'_>, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for (i, port) in items(c, &["ports"]).iter().enumerate() {
        let at = at.index(i);
        let name = text(port, &["name"]);
        if !name.is_empty() {
            let found = names::port_name(name);
            let valid = found.is_empty();
            errors.extend(found.into_iter().map(|e| FieldError::invalid_str(&at.child("name"), name, e)));
            if valid && !seen.insert(name) {
                errors.push(FieldError::duplicate(&at.child("name"), &json!(name)));
            }
        }
        let number = count(port, &["containerPort"]);
        if number == 0 {
            errors.push(FieldError::required(&at.child("containerPort"), ""));
        } else {
            let at = at.child("containerPort");
            errors.extend(names::port_number(number).into_iter().map(|e| FieldError::invalid(&at, &json!(number), e)));
        }
        let host = count(port, &["hostPort"]);
        if host != 0 {
            let at = at.child("hostPort");
            errors.extend(names::port_number(host).into_iter().map(|e| FieldError::invalid(&at, &json!(host), e)));
            if context.host_network && host != number {
                let detail = "must match `containerPort` when `hostNetwork` is true";
                errors.push(FieldError::invalid(&at, &json!(host), detail));
            }
        }
        one_of(port, &at, "protocol", &["SCTP", "TCP", "UDP"], true, errors);
    }
}

/// No two containers may ask for the same port of the node.
pub(crate) fn host_port_conflicts(containers: &[Value], at: &Path, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for (i, c) in containers.iter().enumerate() {
        for (j, port) in items(c, &["ports"]).iter().enumerate() {
            let host = count(port, &["hostPort"]);
            if host == 0 {
                continue;
            }
            let (protocol, ip) = (text(port, &["protocol"]), text(port, &["hostIP"]));
            let key = if ip.is_empty() { format!("{protocol}/{host}") } else { format!("{protocol}/{ip}/{host}") };
            if !seen.insert(key.clone()) {
                let at = at.index(i).child("ports").index(j).child("hostPort");
                errors.push(FieldError::duplicate(&at, &json!(key)));
            }
        }
    }
}

fn env_name(name: &str) -> Vec<String> {
    if name.is_empty() || name.contains('=') || !name.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return vec![
            "a valid environment variable name must consist only of printable ASCII characters other than '='".into(),
        ];
    }
    Vec::new()
}

fn env(list: &[Value], at: &Path, errors: &mut ErrorList) {
    for (i, e) in list.iter().enumerate() {
        let at = at.index(i);
        let name = text(e, &["name"]);
        if name.is_empty() {
            errors.push(FieldError::required(&at.child("name"), ""));
        } else {
            errors.extend(env_name(name).into_iter().map(|m| FieldError::invalid_str(&at.child("name"), name, m)));
        }
        if !has(e, &["valueFrom"]) {
            continue;
        }
        let (from, at) = (&e["valueFrom"], at.child("valueFrom"));
        let sources = from.as_object().map_or(0, |m| m.values().filter(|v| !v.is_null()).count());
        if sources == 0 {
            let detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or \
                          `fileKeyRef`";
            errors.push(FieldError::invalid_str(&at, "", detail));
        } else if !text(e, &["value"]).is_empty() {
            errors.push(FieldError::invalid_str(&at, "", "may not be specified when `value` is not empty"));
        } else if sources > 1 {
            errors.push(FieldError::invalid_str(&at, "", "may not have more than one field specified at a time"));
        }
        for kind in ["configMapKeyRef", "secretKeyRef"] {
            if has(from, &[kind]) && text(from, &[kind, "key"]).is_empty() {
                errors.push(FieldError::required(&at.child(kind).child("key"), ""));
            }
        }
        if has(from, &["fieldRef"]) {
            field_ref(text(from, &["fieldRef", "fieldPath"]), &at.child("fieldRef").child("fieldPath"), errors);
        }
        if has(from, &["resourceFieldRef"]) && text(from, &["resourceFieldRef", "resource"]).is_empty() {
            errors.push(FieldError::required(&at.child("resourceFieldRef").child("resource"), ""));
        }
    }
}

const ENV_FIELDS: [&str; 9] = [
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

fn field_ref(path: &str, at: &Path, errors: &mut ErrorList) {
    let keyed = path.starts_with("metadata.annotations['") || path.starts_with("metadata.labels['");
    if path.is_empty() {
        errors.push(FieldError::required(at, ""));
    } else if !ENV_FIELDS.contains(&path) && !keyed {
        errors.push(FieldError::not_supported(at, &json!(path), &ENV_FIELDS));
    }
}

fn env_from(list: &[Value], at: &Path, errors: &mut ErrorList) {
    for (i, e) in list.iter().enumerate() {
        let at = at.index(i);
        let given = ["configMapRef", "secretRef"].into_iter().filter(|k| has(e, &[k])).count();
        match given {
            0 => errors.push(FieldError::invalid_str(&at, "", "must specify one of: `configMapRef` or `secretRef`")),
            1 => {}
            _ => errors.push(FieldError::invalid_str(&at, "", "may not have more than one field specified at a time")),
        }
        for kind in ["configMapRef", "secretRef"] {
            if has(e, &[kind]) && text(e, &[kind, "name"]).is_empty() {
                errors.push(FieldError::required(&at.child(kind).child("name"), ""));
            }
        }
    }
}

fn mounts(c: &Value, at: &Path, context: &Context<'_>, errors: &mut ErrorList) {
    let at = at.child("volumeMounts");
    let mut seen = HashSet::new();
    for (i, mount) in items(c, &["volumeMounts"]).iter().enumerate() {
        let at = at.index(i);
        let (name, path) = (text(mount, &["name"]), text(mount, &["mountPath"]));
        if name.is_empty() {
            errors.push(FieldError::required(&at.child("name"), ""));
        } else if !context.volumes.contains(name) {
            errors.push(FieldError::not_found(&at.child("name"), &json!(name)));
        }
        if path.is_empty() {
            errors.push(FieldError::required(&at.child("mountPath"), ""));
        } else if !seen.insert(path) {
            errors.push(FieldError::invalid_str(&at.child("mountPath"), path, "must be unique"));
        }
        let sub = text(mount, &["subPath"]);
        if !sub.is_empty() {
            volume_rules::local_path(sub, &at.child("subPath"), errors);
            if !text(mount, &["subPathExpr"]).is_empty() {
                let detail = "subPathExpr and subPath are mutually exclusive";
                errors.push(FieldError::invalid_str(&at.child("subPathExpr"), text(mount, &["subPathExpr"]), detail));
            }
        }
        one_of(mount, &at, "mountPropagation", &["Bidirectional", "HostToContainer", "None"], false, errors);
        if text(mount, &["mountPropagation"]) == "Bidirectional" && !flag(c, &["securityContext", "privileged"]) {
            let detail = "Bidirectional mount propagation is available only to privileged containers";
            errors.push(FieldError::forbidden(&at.child("mountPropagation"), detail));
        }
    }
}

fn probe(p: &Value, at: &Path, kind: &str, errors: &mut ErrorList) {
    handler(p, at, &["exec", "httpGet", "tcpSocket", "grpc"], errors);
    for key in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        if let Some(n) = int(p, &[key])
            && n < 0
        {
            errors.push(FieldError::invalid(&at.child(key), &json!(n), "must be greater than or equal to 0"));
        }
    }
    let successes = int(p, &["successThreshold"]).unwrap_or(1);
    if kind != "readinessProbe" && successes != 1 {
        errors.push(FieldError::invalid(&at.child("successThreshold"), &json!(successes), "must be 1"));
    }
    if has(p, &["terminationGracePeriodSeconds"]) {
        let at = at.child("terminationGracePeriodSeconds");
        let n = count(p, &["terminationGracePeriodSeconds"]);
        if kind == "readinessProbe" {
            errors.push(FieldError::invalid(&at, &json!(n), "must not be set for readinessProbes"));
        } else if n <= 0 {
            errors.push(FieldError::invalid(&at, &json!(n), "must be greater than 0"));
        }
    }
}

fn handler(h: &Value, at: &Path, kinds: &[&str], errors: &mut ErrorList) {
    let given: Vec<&&str> = kinds.iter().filter(|k| has(h, &[k])).collect();
    if given.is_empty() {
        errors.push(FieldError::required(at, "must specify a handler type"));
    }
    for extra in given.iter().skip(1) {
        errors.push(FieldError::forbidden(&at.child(extra), "may not specify more than 1 handler type"));
    }
    match given.first() {
        Some(&&"exec") if items(h, &["exec", "command"]).is_empty() => {
            errors.push(FieldError::required(&at.child("exec").child("command"), ""));
        }
        Some(&&"httpGet") => {
            let (get, at) = (&h["httpGet"], at.child("httpGet"));
            if text(get, &["path"]).is_empty() {
                errors.push(FieldError::required(&at.child("path"), ""));
            }
            check_int_or_name(&get["port"], &at.child("port"), errors);
            one_of(get, &at, "scheme", &["HTTP", "HTTPS"], true, errors);
        }
        Some(&&"tcpSocket") => check_int_or_name(&h["tcpSocket"]["port"], &at.child("tcpSocket").child("port"), errors),
        Some(&&"grpc") => check_int_or_name(&h["grpc"]["port"], &at.child("grpc").child("port"), errors),
        _ => {}
    }
}

fn security(context: &Value, at: &Path, errors: &mut ErrorList) {
    for key in ["runAsUser", "runAsGroup"] {
        check_id(&context[key], &at.child(key), errors);
    }
    if context["allowPrivilegeEscalation"].as_bool() == Some(false) {
        if flag(context, &["privileged"]) {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.push(FieldError::invalid(at, context, detail));
        }
        if items(context, &["capabilities", "add"]).iter().any(|c| c == "CAP_SYS_ADMIN") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.push(FieldError::invalid(at, context, detail));
        }
    }
}
