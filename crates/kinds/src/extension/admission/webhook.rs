//! Validation of webhook configurations, and of the way to a webhook, which other kinds have as well.

use super::rules::{conditions, one_of, rules, selectors};
use crate::read::{has, items, text};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_cel::admission::Scope;
use ironclad_json::{Value, json};

const VERSIONS: [&str; 2] = ["v1", "v1beta1"];

/// Checks all webhooks of a configuration.
pub(super) fn validate(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut seen: Vec<&str> = Vec::new();
    for (i, webhook) in items(o, &["webhooks"]).iter().enumerate() {
        let at = Path::new("webhooks").index(i);
        let name = text(webhook, &["name"]);
        errors.extend(one(webhook, &at));
        errors.extend(versions(&webhook["admissionReviewVersions"], &at.child("admissionReviewVersions")));
        if seen.contains(&name) && !name.is_empty() {
            errors.push(FieldError::duplicate(&at.child("name"), &json!(name)));
        }
        seen.push(name);
    }
    errors
}

fn one(webhook: &Value, at: &Path) -> ErrorList {
    let mut errors = name(text(webhook, &["name"]), &at.child("name"));
    errors.extend(rules(items(webhook, &["rules"]), &at.child("rules")));
    errors.extend(one_of(webhook, "failurePolicy", at, &["Fail", "Ignore"]));
    errors.extend(one_of(webhook, "matchPolicy", at, &["Equivalent", "Exact"]));
    if webhook["sideEffects"].is_null() {
        errors.push(FieldError::required(&at.child("sideEffects"), "must specify one of None, NoneOnDryRun"));
    }
    errors.extend(one_of(webhook, "sideEffects", at, &["None", "NoneOnDryRun"]));
    let seconds = webhook["timeoutSeconds"].as_i64().unwrap_or(10);
    if !(1..=30).contains(&seconds) {
        let detail = "the timeout value must be between 1 and 30 seconds";
        errors.push(FieldError::invalid(&at.child("timeoutSeconds"), &json!(seconds), detail));
    }
    errors.extend(selectors(webhook, at));
    errors.extend(one_of(webhook, "reinvocationPolicy", at, &["IfNeeded", "Never"]));
    errors.extend(client_config(&webhook["clientConfig"], &at.child("clientConfig")));
    let scope = Scope { authorizer: true, ..Scope::default() };
    errors.extend(conditions(items(webhook, &["matchConditions"]), &at.child("matchConditions"), &scope));
    errors
}

fn name(name: &str, at: &Path) -> ErrorList {
    if name.is_empty() {
        return vec![FieldError::required(at, "")];
    }
    let wrong = names::dns1123_subdomain(name);
    if !wrong.is_empty() {
        return vec![FieldError::invalid_str(at, name, wrong.join(","))];
    }
    if name.split('.').count() < 3 {
        let detail = "should be a domain with at least three segments separated by dots";
        return vec![FieldError::invalid_str(at, name, detail)];
    }
    ErrorList::new()
}

fn versions(value: &Value, at: &Path) -> ErrorList {
    let list: Vec<&str> = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if list.is_empty() {
        return vec![FieldError::required(at, "must specify one of v1, v1beta1")];
    }
    let mut errors = ErrorList::new();
    for (i, version) in list.iter().enumerate() {
        if list[..i].contains(version) {
            errors.push(FieldError::invalid_str(&at.index(i), version, "duplicate version"));
            continue;
        }
        let wrong = names::dns1035_label(version);
        errors.extend(wrong.into_iter().map(|why| FieldError::invalid_str(&at.index(i), version, why)));
    }
    if !list.iter().any(|v| VERSIONS.contains(v)) {
        errors.push(FieldError::invalid(at, value, "must include at least one of v1, v1beta1"));
    }
    errors
}

/// Where a webhook is: by a URL or by a Service.
pub(crate) fn client_config(config: &Value, at: &Path) -> ErrorList {
    match (has(config, &["url"]), has(config, &["service"])) {
        (true, false) => url(text(config, &["url"]), &at.child("url")),
        (false, true) => service(&config["service"], &at.child("service")),
        _ => vec![FieldError::required(at, "exactly one of url or service is required")],
    }
}

/// A URL that leads nowhere but to one path of one host, by TLS.
/// What is wrong with the URL of a webhook.
pub(crate) fn url(url: &str, at: &Path) -> ErrorList {
    const FORM: &str = "; desired format: https://host[/path]";
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = rest.split('/').next().unwrap_or_default();
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(u, h)| (Some(u), h));
    let port = host[host.rfind(']').unwrap_or(0)..].split_once(':').map_or("", |(_, p)| p);
    // A host has no spaces, a path that leads from nowhere may.
    let spaced = !scheme.is_empty() && host.contains(' ');
    if url.chars().any(|c| c.is_ascii_control()) || spaced || !port.bytes().all(|b| b.is_ascii_digit()) {
        let detail = format!("url must be a valid URL: parse {url:?}: invalid character in URL{FORM}");
        return vec![FieldError::required(at, detail)];
    }
    let mut errors = ErrorList::new();
    let scheme = scheme.to_ascii_lowercase();
    if scheme != "https" {
        errors.push(FieldError::invalid_str(at, &scheme, format!("'https' is the only allowed URL scheme{FORM}")));
    }
    if host.is_empty() || scheme.is_empty() {
        errors.push(FieldError::invalid_str(at, "", format!("host must be specified{FORM}")));
    }
    if let Some(user) = user {
        errors.push(FieldError::invalid_str(at, user, "user information is not permitted in the URL"));
    }
    if !fragment.is_empty() {
        errors.push(FieldError::invalid_str(at, fragment, "fragments are not permitted in the URL"));
    }
    if !query.is_empty() {
        errors.push(FieldError::invalid_str(at, query, "query parameters are not permitted in the URL"));
    }
    errors
}

/// What is wrong with the Service of a webhook.
pub(crate) fn service(service: &Value, at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    // Stock takes one for the other here.
    for (key, shown) in [("namespace", "name"), ("name", "namespace")] {
        if text(service, &[key]).is_empty() {
            errors.push(FieldError::required(&at.child(shown), ""));
        }
    }
    let port = service["port"].as_i64().unwrap_or(443);
    let wrong = names::port_number(port);
    if !wrong.is_empty() {
        let detail = format!("port is not valid: {}", wrong.join(","));
        errors.push(FieldError::invalid(&at.child("port"), &json!(port), detail));
    }
    errors.extend(path(text(service, &["path"]), &at.child("path")));
    errors
}

/// A path whose every segment could be a host name: no `..`, no empty ones.
fn path(path: &str, at: &Path) -> ErrorList {
    if path.is_empty() || path == "/" {
        return ErrorList::new();
    }
    let invalid = |detail: String| FieldError::invalid_str(at, path, detail);
    if path == "//" {
        return vec![invalid("segment[0] may not be empty".into())];
    }
    let mut errors = ErrorList::new();
    let rest = match path.strip_prefix('/') {
        Some(rest) => rest,
        None => {
            errors.push(invalid("must start with a '/'".into()));
            path.get(1..).unwrap_or_default()
        }
    };
    let steps: Vec<&str> = rest.strip_suffix('/').unwrap_or(rest).split('/').collect();
    for (i, step) in steps.iter().enumerate() {
        if step.is_empty() {
            errors.push(invalid(format!("segment[{i}] may not be empty")));
            continue;
        }
        errors.extend(names::dns1123_subdomain(step).into_iter().map(|why| invalid(format!("segment[{i}]: {why}"))));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_told_in_the_order_of_stock() {
        let webhook = json!({
            "name": "a.example.com", "sideEffects": "None", "reinvocationPolicy": "x", "timeoutSeconds": 31,
            "namespaceSelector": {"matchLabels": {"a b": "c"}}, "matchConditions": [{"name": "", "expression": "true"}],
        });
        let found = validate(&json!({"webhooks": [webhook.clone(), webhook]}));
        let fields: Vec<&str> = found.iter().filter_map(|e| e.path.strip_prefix("webhooks[1].")).collect();
        let expected = [
            "timeoutSeconds",
            "namespaceSelector.matchLabels",
            "reinvocationPolicy",
            "clientConfig",
            "matchConditions[0].name",
            "admissionReviewVersions",
            "name",
        ];
        assert_eq!(fields, expected);
    }
}
