//! What is wrong with an Ingress.

use crate::common::checks::{optional_rule, required_rule, rule};
use crate::common::ip;
use crate::read::{count, has, items, text};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};

const CLASS: &str = "kubernetes.io/ingress.class";
const NO_NAME: &str = "must be a DNS name, not an IP address";
const WILDCARD: &str = r"a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/// What holds for a new Ingress.
pub(super) fn create(o: &Value) -> ErrorList {
    let mut errors = validate(o);
    let annotation = o["metadata"]["annotations"].get(CLASS).and_then(Value::as_str);
    let class = o["spec"].get("ingressClassName").and_then(Value::as_str);
    if let (Some(annotation), Some(class)) = (annotation, class)
        && annotation != class
    {
        let why = "must match `ingressClassName` when both are specified";
        errors.push(FieldError::invalid_str(&Path::new("annotations").child(CLASS), annotation, why));
    }
    errors
}

/// What holds for every Ingress.
pub(super) fn validate(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("spec");
    let rules = items(o, &["spec", "rules"]);
    if rules.is_empty() && !has(o, &["spec", "defaultBackend"]) {
        let why = "either `defaultBackend` or `rules` must be specified";
        errors.push(FieldError::invalid(&at, &Value::Null, why));
    }
    if has(o, &["spec", "defaultBackend"]) {
        backend(&o["spec"]["defaultBackend"], &at.child("defaultBackend"), &mut errors);
    }
    for (i, entry) in rules.iter().enumerate() {
        let at = at.child("rules").index(i);
        host(text(entry, &["host"]), &at.child("host"), &mut errors);
        if !has(entry, &["http"]) {
            continue;
        }
        let at = at.child("http").child("paths");
        let paths = items(entry, &["http", "paths"]);
        if paths.is_empty() {
            errors.push(FieldError::required(&at, ""));
        }
        for (j, path) in paths.iter().enumerate() {
            check_path(path, &at.index(j), &mut errors);
        }
    }
    for (i, tls) in items(o, &["spec", "tls"]).iter().enumerate() {
        let at = at.child("tls").index(i);
        for (j, name) in items(tls, &["hosts"]).iter().enumerate() {
            domain(name.as_str().unwrap_or_default(), &at.child("hosts").index(j), &mut errors);
        }
        optional_rule(tls, &at, "secretName", names::dns1123_subdomain, &mut errors);
    }
    if let Some(class) = o["spec"].get("ingressClassName").and_then(Value::as_str) {
        rule(names::dns1123_subdomain(class), class, &at.child("ingressClassName"), &mut errors);
    }
    errors
}

fn host(host: &str, at: &Path, errors: &mut ErrorList) {
    if host.is_empty() {
        return;
    }
    if host.parse::<std::net::IpAddr>().is_ok() {
        errors.push(FieldError::invalid_str(at, host, NO_NAME));
    }
    domain(host, at, errors);
}

/// A domain, which may begin with `*.`.
fn domain(host: &str, at: &Path, errors: &mut ErrorList) {
    if !host.contains('*') {
        rule(names::dns1123_subdomain(host), host, at, errors);
    } else if host.strip_prefix("*.").is_none_or(|rest| !names::dns1123_subdomain(rest).is_empty()) {
        errors.push(FieldError::invalid_str(at, host, WILDCARD));
    }
}

fn check_path(path: &Value, at: &Path, errors: &mut ErrorList) {
    let given = text(path, &["path"]);
    let mut wrong = |why: String| errors.push(FieldError::invalid_str(&at.child("path"), given, why));
    let relative = !given.starts_with('/');
    match text(path, &["pathType"]) {
        "" if !has(path, &["pathType"]) => {
            errors.push(FieldError::required(&at.child("pathType"), "pathType must be specified"));
            return;
        }
        "Exact" | "Prefix" => {
            if relative {
                wrong("must be an absolute path".into());
            }
            let sequences = ["//", "/./", "/../", "%2f", "%2F"];
            sequences.iter().filter(|s| given.contains(**s)).for_each(|s| wrong(format!("must not contain '{s}'")));
            let ends = ["/..", "/."];
            ends.iter().filter(|s| given.ends_with(**s)).for_each(|s| wrong(format!("cannot end with '{s}'")));
        }
        "ImplementationSpecific" => {
            if relative && !given.is_empty() {
                wrong("must be an absolute path".into());
            }
        }
        other => {
            let supported = ["Exact", "ImplementationSpecific", "Prefix"];
            errors.push(FieldError::not_supported(&at.child("pathType"), &json!(other), &supported));
        }
    }
    backend(&path["backend"], &at.child("backend"), errors);
}

fn backend(backend: &Value, at: &Path, errors: &mut ErrorList) {
    let mut wrong = |why: &str| errors.push(FieldError::invalid_str(at, "", why));
    match (has(backend, &["service"]), has(backend, &["resource"])) {
        (true, true) => wrong("cannot set both resource and service backends"),
        (false, false) => wrong("resource or service backend is required"),
        (false, true) => reference(&backend["resource"], &at.child("resource"), errors),
        (true, false) => service(&backend["service"], at, errors),
    }
}

fn service(service: &Value, at: &Path, errors: &mut ErrorList) {
    let own = at.child("service");
    required_rule(service, &own, "name", names::dns1123_label, errors);
    let (number, name) = (count(service, &["port", "number"]), text(service, &["port", "name"]));
    let own = own.child("port");
    match (number, name) {
        (0, "") => errors.push(FieldError::required(at, "port name or number is required")),
        (0, name) => rule(names::port_name(name), name, &own.child("name"), errors),
        (number, "") => {
            let found = names::port_number(number).into_iter();
            errors.extend(found.map(|why| FieldError::invalid(&own.child("number"), &json!(number), why)));
        }
        _ => errors.push(FieldError::invalid_str(at, "", "cannot set both port name & port number")),
    }
}

/// Checks what refers to an object of any kind: its group, kind and name.
pub(super) fn reference(o: &Value, at: &Path, errors: &mut ErrorList) {
    if let Some(group) = o.get("apiGroup").and_then(Value::as_str) {
        rule(names::dns1123_subdomain(group), group, &at.child("apiGroup"), errors);
    }
    for key in ["kind", "name"] {
        match text(o, &[key]) {
            "" => errors.push(FieldError::required(&at.child(key), "").covered()),
            given => rule(names::path_segment(given), given, &at.child(key), errors),
        }
    }
}

/// What holds for the addresses in the status.
pub(super) fn status(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("status").child("loadBalancer").child("ingress");
    for (i, point) in items(o, &["status", "loadBalancer", "ingress"]).iter().enumerate() {
        let at = at.index(i);
        let (address, name) = (text(point, &["ip"]), text(point, &["hostname"]));
        if !address.is_empty() {
            ip::address(address, &at.child("ip"), &mut errors);
        }
        if !name.is_empty() {
            rule(names::dns1123_subdomain(name), name, &at.child("hostname"), &mut errors);
            if name.parse::<std::net::IpAddr>().is_ok() {
                errors.push(FieldError::invalid_str(&at.child("hostname"), name, NO_NAME));
            }
        }
    }
    errors
}
