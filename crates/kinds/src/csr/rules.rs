//! What is wrong with a CertificateSigningRequest and with what becomes of it.

use super::signer_name;
use crate::common::checks::same;
use crate::read::{int, items, text};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_json::{Value, json};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::{FromDer, X509CertificationRequest};

const LIFE_MIN: i64 = 600;
const LEGACY: &str = "kubernetes.io/legacy-unknown";
const DECISIONS: [&str; 2] = ["Approved", "Denied"];
const LASTING: [&str; 3] = ["Approved", "Denied", "Failed"];

/// What holds for a new request.
pub(super) fn create(o: &Value) -> ErrorList {
    let mut errors = request(o);
    conditions(o, &Value::Null, &mut errors);
    errors
}

fn request(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("spec");
    let request = text(o, &["spec", "request"]);
    if let Err(why) = check_request(request) {
        let shown = o["spec"].get("request").cloned().unwrap_or_default();
        errors.push(FieldError::invalid(&at.child("request"), &shown, why));
    }
    let usages = items(o, &["spec", "usages"]);
    let usages_at = at.child("usages");
    if usages.is_empty() {
        errors.push(FieldError::required(&usages_at, ""));
    }
    let known = ironclad_schema::values("certificates.v1.CertificateSigningRequestSpec", "usages[]");
    for (i, usage) in usages.iter().enumerate().filter(|(_, u)| !known.contains(&u.as_str().unwrap_or_default())) {
        errors.push(FieldError::not_supported(&usages_at.index(i), usage, known));
    }
    for (i, usage) in usages.iter().enumerate().filter(|(i, u)| usages[..*i].contains(u)) {
        errors.push(FieldError::duplicate(&usages_at.index(i), usage));
    }
    let (signer, signer_at) = (text(o, &["spec", "signerName"]), at.child("signerName"));
    if signer == LEGACY {
        let why = "the legacy signerName is not allowed via this API version";
        errors.push(FieldError::invalid_str(&signer_at, signer, why));
    } else {
        signer_name(signer, &signer_at, &mut errors);
    }
    if let Some(n) = int(o, &["spec", "expirationSeconds"]).filter(|n| *n < LIFE_MIN) {
        let why = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.push(FieldError::invalid(&at.child("expirationSeconds"), &json!(n), why));
    }
    errors
}

/// What holds for a change through the object itself, which changes no more than metadata.
pub(super) fn update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    changes(new, old, false, false, &mut errors);
    errors
}

/// What holds for a change through `status`, which may bring the certificate.
pub(super) fn status(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    changes(new, old, false, true, &mut errors);
    errors
}

/// What holds for a change through `approval`, which may decide.
pub(super) fn approval(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    changes(new, old, true, false, &mut errors);
    errors
}

fn changes(new: &Value, old: &Value, may_decide: bool, may_sign: bool, errors: &mut ErrorList) {
    let at = Path::new("status");
    conditions(new, old, errors);
    let (now, was) = (text(new, &["status", "certificate"]), text(old, &["status", "certificate"]));
    if now != was
        && let Err(why) = check_certificate(now)
    {
        errors.push(FieldError::invalid_str(&at.child("certificate"), "<certificate data>", why));
    }
    let of = |o: &Value, kind: &str| -> Vec<Value> {
        items(o, &["status", "conditions"]).iter().filter(|c| text(c, &["type"]) == kind).cloned().collect()
    };
    let conditions_at = at.child("conditions");
    for kind in LASTING {
        if of(new, kind).len() < of(old, kind).len() {
            let why = format!("updates may not remove a condition of type {kind:?}");
            errors.push(FieldError::forbidden(&conditions_at, why));
        }
    }
    for kind in DECISIONS.into_iter().filter(|_| !may_decide) {
        let (now, was) = (of(new, kind), of(old, kind));
        let why = match now.len().cmp(&was.len()) {
            std::cmp::Ordering::Less => continue,
            std::cmp::Ordering::Greater => format!("updates may not add a condition of type {kind:?}"),
            std::cmp::Ordering::Equal if same(&json!(now), &json!(was)) => continue,
            std::cmp::Ordering::Equal => format!("updates may not modify a condition of type {kind:?}"),
        };
        errors.push(FieldError::forbidden(&conditions_at, why));
    }
    if now != was {
        let why = match (may_sign, was) {
            (false, _) => "updates may not set certificate content",
            (true, "") => return,
            (true, _) => "updates may not modify existing certificate content",
        };
        errors.push(FieldError::forbidden(&at.child("certificate"), why));
    }
}

fn conditions(new: &Value, old: &Value, errors: &mut ErrorList) {
    let list = items(new, &["status", "conditions"]);
    let list_at = Path::new("status").child("conditions");
    let has = |list: &[Value], kind: &str| list.iter().any(|c| text(c, &["type"]) == kind);
    let before = items(old, &["status", "conditions"]);
    let both = DECISIONS.iter().all(|kind| has(before, kind));
    for (i, condition) in list.iter().enumerate() {
        let (at, kind, status) = (list_at.index(i), text(condition, &["type"]), text(condition, &["status"]));
        if kind.is_empty() {
            errors.push(FieldError::required(&at.child("type"), ""));
        }
        let known: &[&str] = if LASTING.contains(&kind) { &["True"] } else { &["False", "True", "Unknown"] };
        if status.is_empty() {
            errors.push(FieldError::required(&at.child("status"), ""));
        } else if !known.contains(&status) {
            errors.push(FieldError::not_supported(&at.child("status"), &json!(status), known));
        }
        let other = match kind {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "",
        };
        if !both && !other.is_empty() && has(&list[..i], other) {
            let why = "Approved and Denied conditions are mutually exclusive";
            errors.push(FieldError::invalid_str(&list_at, kind, why).covered());
        }
        if has(&list[..i], kind) {
            errors.push(FieldError::duplicate(&at.child("type"), &json!(kind)));
        }
    }
}

fn check_request(encoded: &str) -> Result<(), String> {
    const NO_PEM: &str = "PEM block type must be CERTIFICATE REQUEST";
    let bytes = STANDARD.decode(encoded).map_err(|e| e.to_string())?;
    let block = pem::parse(&bytes).map_err(|_| NO_PEM.to_owned())?;
    if block.tag() != "CERTIFICATE REQUEST" {
        return Err(NO_PEM.to_owned());
    }
    let (_, request) = X509CertificationRequest::from_der(block.contents()).map_err(|e| e.to_string())?;
    match super::has_its_key(&request) {
        true => Ok(()),
        false => Err("x509: invalid signature: its sender does not have its key".to_owned()),
    }
}

fn check_certificate(encoded: &str) -> Result<(), String> {
    if encoded.is_empty() {
        return Ok(());
    }
    let bytes = STANDARD.decode(encoded).map_err(|e| e.to_string())?;
    let blocks = pem::parse_many(&bytes).map_err(|e| e.to_string())?;
    for block in &blocks {
        if block.tag() != "CERTIFICATE" {
            return Err(format!("only CERTIFICATE PEM blocks are allowed, found {:?}", block.tag()));
        }
        if block.headers().iter().next().is_some() {
            return Err("no PEM block headers are permitted".to_owned());
        }
        if block.contents().is_empty() {
            return Err("found CERTIFICATE PEM block containing 0 certificates".to_owned());
        }
        X509Certificate::from_der(block.contents()).map_err(|_| "x509: malformed certificate".to_owned())?;
    }
    if blocks.is_empty() {
        return Err("must contain at least one CERTIFICATE PEM block".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(kinds: &[&str], certificate: &str) -> Value {
        let conditions: Vec<Value> = kinds.iter().map(|k| json!({"type": k, "status": "True"})).collect();
        json!({"status": {"conditions": conditions, "certificate": certificate}})
    }

    #[test]
    fn each_door_changes_its_own_part() {
        let says = |errors: ErrorList| errors.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (bare, approved, failed) = (with(&[], ""), with(&["Approved"], ""), with(&["Failed"], ""));
        assert!(approval(&approved, &bare).is_empty());
        let added = "status.conditions: Forbidden: updates may not add a condition of type \"Approved\"";
        assert_eq!(says(status(&approved, &bare)), [added]);
        let removed = "status.conditions: Forbidden: updates may not remove a condition of type \"Failed\"";
        assert_eq!(says(status(&bare, &failed)), [removed]);
        let both = says(approval(&with(&["Approved", "Denied"], ""), &bare));
        let exclusive = "Approved and Denied conditions are mutually exclusive";
        assert_eq!(both, [format!("status.conditions: Invalid value: \"Denied\": {exclusive}")]);
        let found = says(status(&with(&[], &STANDARD.encode("x")), &bare));
        let none = "must contain at least one CERTIFICATE PEM block";
        assert_eq!(found, [format!("status.certificate: Invalid value: \"<certificate data>\": {none}")]);
    }
}
