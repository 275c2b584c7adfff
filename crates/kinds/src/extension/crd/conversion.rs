//! How a definition says that its objects are converted.

use super::check::Before;
use crate::extension::admission::webhook::{service, url};
use crate::read::{has, items, text};
use ironclad_api::names::dns1035_label;
use ironclad_api::{ErrorList, FieldError, Path};
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
    let was_wrong = |o: &Value| bundle_mistake(text(o, BUNDLE)).is_some();
    let lenient = before.old.is_none_or(was_wrong) || !before.established();
    if let Some(why) = bundle_mistake(bundle).filter(|_| !lenient) {
        errors.push(FieldError::invalid_str(&at_client.child("caBundle"), bundle, why));
    }
    errors.extend(versions(reviews, &at_reviews));
    errors
}

const BUNDLE: &[&str] = &["spec", "conversion", "webhook", "clientConfig", "caBundle"];

/// Why no server can be checked by a bundle, given in base64; an empty one stands for those of the system.
pub(crate) fn bundle_mistake(bundle: &str) -> Option<String> {
    use base64::Engine;
    if bundle.is_empty() {
        return None;
    }
    let bytes = base64::engine::general_purpose::STANDARD.decode(bundle).unwrap_or_default();
    let blocks = pem::parse_many(bytes).unwrap_or_default();
    let mut bad = None;
    for block in blocks.iter().filter(|b| b.tag() == "CERTIFICATE") {
        match x509_parser::parse_x509_certificate(block.contents()) {
            Ok(_) => return None,
            Err(why) => bad = bad.or(Some(format!("failed to parse certificate: {why}"))),
        }
    }
    let why = match blocks.is_empty() {
        true => "unable to parse bytes as PEM block".to_owned(),
        false => bad.unwrap_or_else(|| "no valid certificate authority data seen".to_owned()),
    };
    Some(format!("unable to load root certificates: {why}"))
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
            continue;
        }
        errors.extend(dns1035_label(name).into_iter().map(|why| FieldError::invalid_str(&at.index(i), name, why)));
    }
    if !reviews.iter().any(|v| KNOWN.iter().any(|k| v == k)) {
        let why = format!("must include at least one of {}", KNOWN.join(", "));
        errors.push(FieldError::invalid(at, &Value::Array(reviews.to_vec().into()), why));
    }
    errors
}
