//! CertificateSigningRequests.

mod rules;
mod signature;

pub(crate) use signature::{P256, P384, P521, curve, has_its_key};

use crate::declared::Step::{AtMostOne, Field, Optional};
use crate::print;
use crate::read::{child, fill, has, int, items, put, text};
use crate::rules::Rules;
use ironclad_api::table::{self, Cells, Column};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};

pub(crate) const STRATEGY: Rules = Rules::new()
    .on_update(|new, old| new["spec"] = old["spec"].clone())
    .on_subresource(prepare)
    .checks(rules::create)
    .checks_update(rules::update)
    .checks_status(rules::status)
    .checks_subresource(rules::approval)
    .declares_all(const { &[Field("status", &[Field("conditions", &[Optional, AtMostOne(&["Approved", "Denied"])])])] })
    .named(ironclad_api::names::path_segment)
    .prints(
        const {
            &[
                Column::object_name(),
                Column::age(),
                Column::text("SignerName", "Who is to sign."),
                Column::text("Requestor", "Who asks."),
                Column::text("RequestedDuration", "How long the certificate is to be valid."),
                Column::text("Condition", "What became of the request."),
            ]
        },
        cells,
    );

/// `approval` changes conditions and never the certificate; that `status` does not decide is checked.
fn prepare(subresource: &str, new: &mut Value, old: &Value) {
    let mut conditions = items(new, &["status", "conditions"]).to_vec();
    let status = child(new, "status");
    if subresource == "approval" {
        match old["status"].get("certificate") {
            Some(certificate) => put(status, "certificate", certificate.clone()),
            None => drop(status.as_object_mut().and_then(|s| s.remove("certificate"))),
        }
    }
    if subresource == "status" {
        keep_decisions(&mut conditions, items(old, &["status", "conditions"]));
    }
    let now = ironclad_api::time::now();
    for condition in &mut conditions {
        fill(condition, "lastUpdateTime", now.clone());
        fill(condition, "lastTransitionTime", now.clone());
    }
    if !conditions.is_empty() || has(status, &["conditions"]) {
        put(status, "conditions", Value::Array(conditions.into()));
    }
}

/// What was decided stays as it was, unless conditions of that type come or go, which is refused later.
fn keep_decisions(conditions: &mut [Value], before: &[Value]) {
    for kind in ["Approved", "Denied"] {
        let old: Vec<&Value> = before.iter().filter(|c| text(c, &["type"]) == kind).collect();
        let of_kind = conditions.iter().enumerate().filter(|(_, c)| text(c, &["type"]) == kind);
        let places: Vec<usize> = of_kind.map(|(at, _)| at).collect();
        if places.len() == old.len() {
            for (at, old) in places.into_iter().zip(old) {
                conditions[at] = old.clone();
            }
        }
    }
}

/// Checks the name of a signer: a domain and a path.
pub(crate) fn signer_name(signer: &str, at: &Path, errors: &mut ErrorList) {
    if signer.is_empty() {
        errors.push(FieldError::required(at, ""));
        return;
    }
    let Some((domain, path)) = signer.split_once('/').filter(|(_, path)| !path.contains('/')) else {
        let why = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        errors.push(FieldError::invalid_str(at, signer, why));
        return;
    };
    if domain.len() > 253 {
        errors.push(FieldError::too_long(at, 253));
    }
    let mut wrong = |given: &str, why: String| errors.push(FieldError::invalid_str(at, given, why));
    let labels: Vec<&str> = domain.split('.').collect();
    // The first wrong label is told alone.
    let found = labels.iter().map(|label| (label, names::dns1123_label(label))).find(|(_, found)| !found.is_empty());
    for (label, why) in found.iter().flat_map(|(label, found)| found.iter().map(move |why| (label, why))) {
        wrong(domain, format!("validating label {label:?}: {why}"));
    }
    if labels.len() < 2 {
        wrong(domain, "should be a domain with at least two segments separated by dots".to_owned());
    }
    let labels = path.split('.').map(|label| (label, names::dns1123_subdomain(label)));
    for (label, found) in labels.filter(|(_, found)| !found.is_empty()).take(1) {
        found.iter().for_each(|why| wrong(path, format!("validating label {label:?}: {why}")));
    }
    if signer.len() > 571 {
        errors.push(FieldError::too_long(at, 571));
    }
}

fn condition(o: &Value) -> String {
    let conditions = items(o, &["status", "conditions"]);
    let has = |kind: &str| conditions.iter().any(|c| text(c, &["type"]) == kind);
    let mut shown = if has("Denied") {
        "Denied"
    } else if has("Approved") {
        "Approved"
    } else {
        "Pending"
    }
    .to_owned();
    if has("Failed") {
        shown.push_str(",Failed");
    }
    if !text(o, &["status", "certificate"]).is_empty() {
        shown.push_str(",Issued");
    }
    shown
}

fn cells(o: &Value) -> Cells {
    let duration = int(o, &["spec", "expirationSeconds"]).map(ironclad_api::time::human_duration);
    vec![
        print::name(o),
        table::age(o),
        print::or_none(o, &["spec", "signerName"]),
        json!(text(o, &["spec", "username"])),
        json!(duration.unwrap_or_else(|| print::NONE.to_owned())),
        json!(condition(o)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn approval_decides_and_status_signs() {
        let condition =
            |kind: &str| json!({"type": kind, "status": "True", "lastUpdateTime": "t", "lastTransitionTime": "t"});
        let approved = json!({"status": {"conditions": [condition("Approved")]}});
        let signed = json!({"status": {"conditions": [condition("Approved")], "certificate": "c"}});
        let failed = json!({"status": {"conditions": [condition("Failed")], "certificate": "c"}});
        let pending = json!({"status": {}});
        let table = [
            ("approval", &approved, &pending, &approved),
            ("approval", &signed, &pending, &approved),
            ("status", &signed, &approved, &signed),
            ("status", &failed, &approved, &failed),
        ];
        for (door, sent, old, expected) in table {
            let mut new = sent.clone();
            prepare(door, &mut new, old);
            assert_eq!(&new, expected, "{door} {sent} {old}");
        }
    }
}
