//! Rules of probes and hooks.

use super::numbers::not_negative_at;
use super::port::check_int_or_name;
use crate::read::{count, has, int, items, text};
use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_json::{Value, json};

const HEADER: &str = "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')";

/// Checks a probe.
pub(crate) fn probe(p: &Value, kind: &str, spec: &Value, at: &Path, errors: &mut ErrorList) {
    handler(p, spec, at, &["exec", "httpGet", "tcpSocket", "grpc"], errors);
    let numbers = ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"];
    not_negative_at(p, at, &numbers, errors);
    let grace = int(p, &["terminationGracePeriodSeconds"]);
    let grace_at = at.child("terminationGracePeriodSeconds");
    if let Some(n) = grace.filter(|n| *n <= 0) {
        errors.push(FieldError::invalid(&grace_at, &json!(n), "must be greater than 0"));
    }
    let successes = int(p, &["successThreshold"]).unwrap_or(1);
    if kind != "readinessProbe" {
        if successes != 1 {
            errors.push(FieldError::invalid(&at.child("successThreshold"), &json!(successes), "must be 1"));
        }
    } else if let Some(n) = grace {
        errors.push(FieldError::invalid(&grace_at, &json!(n), "must not be set for readinessProbes"));
    }
}

/// Checks hooks and the stop signal.
pub(crate) fn lifecycle(l: &Value, spec: &Value, at: &Path, errors: &mut ErrorList) {
    for hook in ["postStart", "preStop"].into_iter().filter(|h| has(l, &[h])) {
        handler(&l[hook], spec, &at.child(hook), &["exec", "httpGet", "tcpSocket", "sleep"], errors);
    }
    if let Some(signal) = l.get("stopSignal").and_then(Value::as_str) {
        let os = has(spec, &["os"]).then(|| text(spec, &["os", "name"]));
        stop_signal(signal, os, &at.child("stopSignal"), errors);
    }
}

fn handler(h: &Value, spec: &Value, at: &Path, kinds: &[&str], errors: &mut ErrorList) {
    let given: Vec<&&str> = kinds.iter().filter(|k| has(h, &[k])).collect();
    if given.is_empty() {
        errors.push(FieldError::required(at, "must specify a handler type"));
    }
    for (i, kind) in given.iter().enumerate() {
        let at = at.child(kind);
        if i > 0 {
            errors.push(FieldError::forbidden(&at, "may not specify more than 1 handler type"));
            continue;
        }
        match **kind {
            "exec" if items(h, &["exec", "command"]).is_empty() => {
                errors.push(FieldError::required(&at.child("command"), ""));
            }
            "httpGet" => http_get(&h["httpGet"], &at, errors),
            "tcpSocket" | "grpc" => check_int_or_name(&h[**kind]["port"], &at.child("port"), errors),
            "sleep" => sleep(count(h, &["sleep", "seconds"]), spec, &at, errors),
            _ => {}
        }
    }
}

fn http_get(get: &Value, at: &Path, errors: &mut ErrorList) {
    if text(get, &["path"]).is_empty() {
        errors.push(FieldError::required(&at.child("path"), ""));
    }
    check_int_or_name(&get["port"], &at.child("port"), errors);
    let scheme = text(get, &["scheme"]);
    if !["HTTP", "HTTPS"].contains(&scheme) {
        errors.push(FieldError::not_supported(&at.child("scheme"), &json!(scheme), &["HTTP", "HTTPS"]));
    }
    for header in items(get, &["httpHeaders"]) {
        let name = text(header, &["name"]);
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            errors.push(FieldError::invalid_str(&at.child("httpHeaders"), name, HEADER));
        }
    }
}

fn sleep(seconds: i64, spec: &Value, at: &Path, errors: &mut ErrorList) {
    if let Some(grace) = int(spec, &["terminationGracePeriodSeconds"])
        && !(0..=grace).contains(&seconds)
    {
        let why = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.push(FieldError::invalid(at, &json!(seconds), why));
    }
}

fn stop_signal(signal: &str, os: Option<&str>, at: &Path, errors: &mut ErrorList) {
    let signals = ironclad_schema::values("core.v1.Lifecycle", "stopSignal");
    match os {
        None => errors.push(FieldError::forbidden(at, "may not be set for containers with empty `spec.os.name`")),
        Some("windows") if !["SIGKILL", "SIGTERM"].contains(&signal) => {
            errors.push(FieldError::not_supported(at, &json!(signal), &["SIGKILL", "SIGTERM"]));
        }
        Some("linux") if !signals.contains(&signal) => {
            errors.push(FieldError::not_supported(at, &json!(signal), signals));
        }
        _ => {}
    }
}
