//! How a definition says that its objects are converted.

use super::check::{Before, label};
use crate::read::{has, items, text};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};

const KNOWN: [&str; 2] = ["v1", "v1beta1"];

/// What is wrong with `spec.conversion`.
pub(super) fn check(conversion: &Value, at: &Path, before: Before<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    if !conversion.is_object() {
        return errors;
    }
    let (strategy, strategies) = (text(conversion, &["strategy"]), ["None", "Webhook"]);
    if strategy.is_empty() {
        errors.push(FieldError::required(&at.child("strategy"), ""));
    } else if !strategies.contains(&strategy) {
        errors.push(FieldError::not_supported(&at.child("strategy"), &json!(strategy), &strategies));
    }
    let (client, reviews) =
        (&conversion["webhook"]["clientConfig"], items(conversion, &["webhook", "conversionReviewVersions"]));
    let (at_client, at_reviews) = (at.child("webhookClientConfig"), at.child("conversionReviewVersions"));
    if strategy != "Webhook" {
        let why = "should not be set when strategy is not set to Webhook";
        if has(conversion, &["webhook", "clientConfig"]) {
            errors.push(FieldError::forbidden(&at_client, why));
        }
        if !reviews.is_empty() {
            errors.push(FieldError::forbidden(&at_reviews, why));
        }
        return errors;
    }
    if !client.is_object() {
        errors.push(FieldError::required(&at_client, "required when strategy is set to Webhook"));
    } else if has(client, &["url"]) == has(client, &["service"]) {
        errors.push(FieldError::required(&at_client, "exactly one of url or service is required"));
    } else if has(client, &["url"]) {
        errors.extend(url(text(client, &["url"]), &at_client.child("url")));
    } else {
        errors.extend(service(&client["service"], &at_client.child("service")));
    }
    let bundle = text(client, &["caBundle"]);
    let was = |o: &Value| text(o, &["spec", "conversion", "webhook", "clientConfig", "caBundle"]) == bundle;
    let kept = before.old.is_none_or(was) || !before.established();
    if !bundle.is_empty() && !kept && !has_certificates(bundle) {
        let why = "unable to load root certificates: unable to parse bytes as PEM block";
        errors.push(FieldError::invalid_str(&at_client.child("caBundle"), "<invalid>", why));
    }
    errors.extend(versions(reviews, &at_reviews));
    errors
}

/// Whether a bundle, in base64, holds certificates.
pub(crate) fn has_certificates(bundle: &str) -> bool {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.decode(bundle).ok().and_then(|b| String::from_utf8(b).ok());
    text.is_some_and(|t| pem::parse_many(t).is_ok_and(|p| !p.is_empty() && p.iter().all(|c| c.tag() == "CERTIFICATE")))
}

fn versions(reviews: &[Value], at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    if reviews.is_empty() {
        errors.push(FieldError::required(at, ""));
        return errors;
    }
    for (i, version) in reviews.iter().enumerate() {
        let name = version.as_str().unwrap_or_default();
        if reviews[..i].contains(version) {
            errors.push(FieldError::invalid_str(&at.index(i), name, "duplicate version"));
        } else if let Some(why) = label(name) {
            errors.push(FieldError::invalid_str(&at.index(i), name, why));
        }
    }
    if !reviews.iter().any(|v| KNOWN.iter().any(|k| v == k)) {
        let why = format!("must include at least one of {}", KNOWN.join(", "));
        errors.push(FieldError::invalid(at, &Value::Array(reviews.to_vec().into()), why));
    }
    errors
}

/// What is wrong with the address of a webhook.
fn url(url: &str, at: &Path) -> ErrorList {
    let form = "; desired format: https://host[/path]";
    let mut errors = ErrorList::new();
    let invalid = |value: &str, why: &str| FieldError::invalid_str(at, value, format!("{why}{form}"));
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    if scheme != "https" {
        errors.push(invalid(scheme, "'https' is the only allowed URL scheme"));
    }
    let (main, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (main, query) = main.split_once('?').unwrap_or((main, ""));
    let authority = main.split('/').next().unwrap_or_default();
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if host.is_empty() {
        errors.push(invalid("", "host must be specified"));
    }
    if !user.is_empty() {
        errors.push(invalid(user, "user information is not permitted in the URL"));
    }
    if !fragment.is_empty() {
        errors.push(invalid(fragment, "fragments are not permitted in the URL"));
    }
    if !query.is_empty() {
        errors.push(invalid(query, "query parameters are not permitted in the URL"));
    }
    errors
}

fn service(service: &Value, at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (key, why) in [("name", "service name is required"), ("namespace", "service namespace is required")] {
        if text(service, &[key]).is_empty() {
            errors.push(FieldError::required(&at.child(key), why));
        }
    }
    let port = service["port"].as_i64().unwrap_or(443);
    for why in names::port_number(port) {
        errors.push(FieldError::invalid(&at.child("port"), &json!(port), format!("port is not valid: {why}")));
    }
    let Some(path) = service["path"].as_str() else { return errors };
    let at = at.child("path");
    if path == "/" {
        return errors;
    }
    if path.is_empty() || !path.starts_with('/') {
        errors.push(FieldError::invalid_str(&at, path, "must start with a '/'"));
        return errors;
    }
    for (i, step) in path[1..].trim_end_matches('/').split('/').enumerate() {
        if step.is_empty() {
            errors.push(FieldError::invalid_str(&at, path, format!("segment[{i}] may not be empty")));
        }
        for why in names::dns1123_subdomain(step).into_iter().filter(|_| !step.is_empty()) {
            errors.push(FieldError::invalid_str(&at, path, format!("segment[{i}]: {why}")));
        }
    }
    errors
}
