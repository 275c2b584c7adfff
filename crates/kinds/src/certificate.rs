//! What holds for bundles of trust and for requests of pods' certificates.

mod keys;

use crate::common::checks::same;
use crate::csr::signer_name;
use crate::read::{fill, has, int, items, put, text};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};
use jiff::Timestamp;
use std::collections::HashMap;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

const OMITTED: &str = "<value omitted>";
const SHORTEST: i64 = 3600;
const LONGEST: i64 = 91 * 86_400;
/// What signers of the project never exceed.
const LONGEST_OF_THE_PROJECT: i64 = 86_400;
const LARGEST_CHAIN: usize = 100 << 10;
const LARGEST_ANNOTATIONS: usize = 256 << 10;
const ENDS: [&str; 3] = ["Denied", "Failed", "Issued"];

/// What holds for a new bundle.
pub(crate) fn bundle(o: &Value) -> ErrorList {
    let mut errors = named(o);
    anchors(text(o, &["spec", "trustBundle"]), &Path::new("spec").child("trustBundle"), &mut errors);
    errors
}

/// What holds for a changed bundle.
pub(crate) fn bundle_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = named(new);
    let (now, was) = (text(new, &["spec", "trustBundle"]), text(old, &["spec", "trustBundle"]));
    if now != was {
        anchors(now, &Path::new("spec").child("trustBundle"), &mut errors);
    }
    let signer = text(new, &["spec", "signerName"]);
    if signer != text(old, &["spec", "signerName"]) {
        errors.push(FieldError::invalid_str(&Path::new("spec").child("signerName"), signer, "field is immutable"));
    }
    errors
}

/// A bundle is named after its signer.
fn named(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (signer, name) = (text(o, &["spec", "signerName"]), text(o, &["metadata", "name"]));
    let prefix = format!("{}:", signer.replace('/', ":"));
    let wrong = match name.strip_prefix(&prefix) {
        _ if signer.is_empty() && name.contains(':') => {
            vec!["ClusterTrustBundle without signer name must not have \":\" in its name".to_owned()]
        }
        _ if signer.is_empty() => names::dns1123_subdomain(name),
        None => vec![format!("ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}")],
        Some(rest) => names::dns1123_subdomain(rest),
    };
    let at = Path::new("metadata").child("name");
    errors.extend(wrong.into_iter().map(|why| FieldError::invalid_str(&at, name, why)));
    if !signer.is_empty() {
        signer_name(signer, &Path::new("spec").child("signerName"), &mut errors);
    }
    errors
}

fn anchors(given: &str, at: &Path, errors: &mut ErrorList) {
    let before = errors.len();
    let mut wrong = |why: String| errors.push(FieldError::invalid_str(at, OMITTED, why));
    let blocks = pem::parse_many(given).unwrap_or_default();
    let mut seen: HashMap<&[u8], Vec<usize>> = HashMap::new();
    for (i, block) in blocks.iter().enumerate() {
        if block.tag() != "CERTIFICATE" {
            wrong(format!("entry {i} has bad block type: {}", block.tag()));
            continue;
        }
        if block.headers().iter().next().is_some() {
            wrong(format!("entry {i} has PEM block headers"));
            continue;
        }
        match X509Certificate::from_der(block.contents()) {
            Err(_) => wrong(format!("entry {i} does not parse as an X.509 certificate")),
            Ok((_, certificate)) if !certificate.is_ca() => wrong(format!("entry {i} does not have the CA bit set")),
            Ok(_) => {}
        }
        seen.entry(block.contents()).or_default().push(i);
    }
    if errors.len() > before {
        return;
    }
    if seen.is_empty() {
        errors.push(FieldError::invalid_str(at, OMITTED, "at least one trust anchor must be provided"));
    }
    for indices in seen.values().filter(|i| i.len() > 1) {
        let shown: Vec<String> = indices.iter().map(ToString::to_string).collect();
        let why = format!("duplicate trust anchor (indices [{}])", shown.join(" "));
        errors.push(FieldError::invalid_str(at, OMITTED, why));
    }
}

/// How long a certificate may live of which nobody says it.
pub(crate) fn default_request(o: &mut Value) {
    if let Some(spec) = o.get_mut("spec").filter(|s| s.is_object()) {
        fill(spec, "maxExpirationSeconds", json!(LONGEST_OF_THE_PROJECT));
    }
}

/// A request begins without an answer.
pub(crate) fn new_request(o: &mut Value) {
    put(o, "status", json!({}));
}

/// What holds for a new request.
pub(crate) fn request(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (spec, at) = (&o["spec"], Path::new("spec"));
    let signer = text(spec, &["signerName"]);
    signer_name(signer, &at.child("signerName"), &mut errors);
    annotations(&spec["unverifiedUserAnnotations"], &at.child("unverifiedUserAnnotations"), &mut errors);
    for (name, uid) in [("podName", "podUID"), ("serviceAccountName", "serviceAccountUID"), ("nodeName", "nodeUID")] {
        let given = text(spec, &[name]);
        let wrong = names::dns1123_subdomain(given);
        errors.extend(wrong.into_iter().map(|why| FieldError::invalid_str(&at.child(name), given, why)));
        match text(spec, &[uid]) {
            "" => errors.push(FieldError::invalid_str(&at.child(uid), "", "must not be empty")),
            long if long.len() > 128 => errors.push(FieldError::too_long(&at.child(uid), 128)),
            _ => {}
        }
    }
    let life_at = at.child("maxExpirationSeconds");
    let of_the_project =
        signer.split('/').next().is_some_and(|d| d == "kubernetes.io" || d.ends_with(".kubernetes.io"));
    let most = if of_the_project { LONGEST_OF_THE_PROJECT } else { LONGEST };
    match int(spec, &["maxExpirationSeconds"]) {
        None => {
            errors.push(FieldError::required(&life_at, "must be set"));
            return errors;
        }
        Some(n) if n < SHORTEST || n > most => {
            let why = format!("must be in the range [{SHORTEST}, {most}]");
            errors.push(FieldError::invalid(&life_at, &json!(n), why));
        }
        Some(_) => {}
    }
    keys::asked(spec, &at, &mut errors);
    errors
}

fn annotations(given: &Value, at: &Path, errors: &mut ErrorList) {
    let mut size = 0;
    for (key, value) in given.as_object().into_iter().flatten() {
        size += key.len() + value.as_str().map_or(0, str::len);
        if !key.contains('/') {
            let why = "must be a domain-prefixed key (such as \"acme.io/foo\")";
            errors.push(FieldError::invalid_str(at, key, why));
        }
        errors.extend(
            names::qualified_name(&key.to_lowercase()).into_iter().map(|w| FieldError::invalid_str(at, key, w)),
        );
    }
    if size > LARGEST_ANNOTATIONS {
        errors.push(FieldError::too_long(at, LARGEST_ANNOTATIONS));
    }
}

/// What holds for an answer to a request.
pub(crate) fn answer(new: &Value, old: &Value) -> ErrorList {
    answer_at(new, old, Timestamp::now())
}

fn end(o: &Value) -> Option<&str> {
    let kinds = items(o, &["status", "conditions"]).iter().map(|c| text(c, &["type"]));
    kinds.into_iter().find(|k| ENDS.contains(k))
}

fn answer_at(new: &Value, old: &Value, now: Timestamp) -> ErrorList {
    let mut errors = ErrorList::new();
    conditions(new, &mut errors);
    let at = Path::new("status");
    let status = |o: &Value| if o["status"].is_null() { json!({}) } else { o["status"].clone() };
    let (now_is, was) = (status(new), status(old));
    let mut wrong = |why: &str| errors.push(FieldError::invalid(&at, &now_is, why));
    let unchanged = same(&now_is, &was);
    match (end(old), end(new)) {
        (Some(_), _) if unchanged => {}
        (Some(_), _) => wrong("immutable after PodCertificateRequest is issued, denied, or failed"),
        (None, Some("Issued")) => issued(new, now, &mut errors),
        (None, Some(_)) => {
            let fields = ["certificateChain", "notBefore", "beginRefreshAt", "notAfter"];
            if fields.iter().any(|f| has(&now_is, &[f])) {
                wrong("non-condition status fields must be empty when denying or failing the PodCertificateRequest");
            }
        }
        (None, None) if unchanged => {}
        (None, None) => {
            wrong("status is immutable unless transitioning to \"Issued\", \"Denied\", or \"Failed\"");
        }
    }
    errors
}

fn conditions(o: &Value, errors: &mut ErrorList) {
    let at = Path::new("status").child("conditions");
    for (i, condition) in items(o, &["status", "conditions"]).iter().enumerate() {
        let (at, of) = (at.index(i), |key: &str| text(condition, &[key]));
        if !ENDS.contains(&of("type")) {
            errors.push(FieldError::not_supported(&at.child("type"), &json!(of("type")), &ENDS));
        }
        if of("status") != "True" {
            errors.push(FieldError::not_supported(&at.child("status"), &json!(of("status")), &["True"]));
        }
        if of("reason").is_empty() {
            errors.push(FieldError::required(&at.child("reason"), "must be set"));
        }
        if of("lastTransitionTime").is_empty() {
            errors.push(FieldError::required(&at.child("lastTransitionTime"), "must be set"));
        }
        if i > 0 {
            let why = "There may be at most one condition with type \"Issued\", \"Denied\", or \"Failed\"";
            errors.push(FieldError::invalid_str(&at.child("type"), of("type"), why));
        }
    }
}

/// What holds for the certificate: it is for the key that was asked for, and lives as long as it says.
fn issued(o: &Value, now: Timestamp, errors: &mut ErrorList) {
    let at = Path::new("status");
    let chain_at = at.child("certificateChain");
    let chain = text(o, &["status", "certificateChain"]);
    if chain.len() > LARGEST_CHAIN {
        errors.push(FieldError::too_long(&chain_at, LARGEST_CHAIN));
        return;
    }
    let mut bad_chain = |why: String| errors.push(FieldError::invalid_str(&chain_at, OMITTED, why));
    let blocks = pem::parse_many(chain).unwrap_or_default();
    if blocks.is_empty() || blocks.iter().any(|b| b.tag() != "CERTIFICATE") {
        return bad_chain(
            "issued certificate chain must consist of one or more valid CERTIFICATE PEM blocks".to_owned(),
        );
    }
    let parsed: Result<Vec<X509Certificate<'_>>, _> =
        blocks.iter().map(|b| X509Certificate::from_der(b.contents()).map(|(_, c)| c)).collect();
    let Ok(parsed) = parsed else {
        return bad_chain("all certificates in the issued chain must parse as X.509 certificates".to_owned());
    };
    let leaf = &parsed[0];
    if !keys::is_for(&o["spec"], leaf.public_key().raw) {
        return bad_chain("leaf certificate was not issued to the requested public key".to_owned());
    }
    let (begin, end) = (leaf.validity().not_before.timestamp(), leaf.validity().not_after.timestamp());
    let life = end - begin;
    if life < SHORTEST {
        bad_chain("leaf certificate lifetime must be >= 1 hour".to_owned());
    }
    let most = int(o, &["spec", "maxExpirationSeconds"]).unwrap_or(LONGEST_OF_THE_PROJECT);
    if life > most {
        bad_chain(format!("leaf certificate lifetime must be <= spec.maxExpirationSeconds ({most})"));
    }
    times(o, (begin, end), now.as_second(), errors);
}

fn times(o: &Value, (begin, end): (i64, i64), now: i64, errors: &mut ErrorList) {
    let at = Path::new("status");
    let of = |key: &str| text(o, &["status", key]);
    let time = |key: &str| of(key).parse::<Timestamp>().ok().map(Timestamp::as_second);
    let given = [time("notBefore"), time("beginRefreshAt"), time("notAfter")];
    for (key, _) in ["notBefore", "beginRefreshAt", "notAfter"].iter().zip(given).filter(|(_, t)| t.is_none()) {
        errors.push(FieldError::required(&at.child(key), "must be present and consistent with the issued certificate"));
    }
    let [Some(not_before), Some(refresh), Some(not_after)] = given else { return };
    let mut wrong = |key: &str, why: &str| errors.push(FieldError::invalid_str(&at.child(key), of(key), why));
    if not_before != begin {
        wrong("notBefore", "must be set to the NotBefore time encoded in the leaf certificate");
    }
    if (begin - now).abs() >= 300 {
        wrong("notBefore", "must be set to within 5 minutes of kube-apiserver's current time");
    }
    if not_after != end {
        wrong("notAfter", "must be set to the NotAfter time encoded in the leaf certificate");
    }
    if refresh < begin + 600 {
        wrong("beginRefreshAt", "must be at least 10 minutes after status.notBefore");
    }
    if refresh > end - 600 {
        wrong("beginRefreshAt", "must be at least 10 minutes before status.notAfter");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use std::process::Command;

    /// What openssl makes of a command in a directory of its own.
    fn openssl(dir: &std::path::Path, args: &str) -> Vec<u8> {
        let out = Command::new("openssl").args(args.split(' ')).current_dir(dir).output().unwrap();
        assert!(out.status.success(), "{args}: {}", String::from_utf8_lossy(&out.stderr));
        out.stdout
    }

    fn said(errors: &ErrorList) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_bundle_is_named_after_its_signer_and_holds_authorities() {
        let dir = tempfile::tempdir().unwrap();
        openssl(
            dir.path(),
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k -out ca.pem -subj /CN=ca -days 10",
        );
        let leaf = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k -out leaf.pem -subj /CN=leaf -days 10 -addext basicConstraints=CA:FALSE";
        openssl(dir.path(), leaf);
        let read = |file: &str| std::fs::read_to_string(dir.path().join(file)).unwrap();
        let (ca, leaf) = (read("ca.pem"), read("leaf.pem"));
        let of = |name: &str, signer: &str, pem: &str| {
            let mut o = json!({"metadata": {"name": name}, "spec": {"trustBundle": pem}});
            if !signer.is_empty() {
                o["spec"]["signerName"] = json!(signer);
            }
            said(&bundle(&o)).join("; ")
        };
        assert_eq!(of("example.com:foo:v1", "example.com/foo", &ca), "");
        assert_eq!(of("plain", "", &ca), "");
        assert!(of("plain", "example.com/foo", &ca).contains("must be named with prefix example.com:foo:"));
        assert!(of("a:b", "", &ca).contains("must not have \":\" in its name"));
        assert!(of("plain", "", "").contains("at least one trust anchor must be provided"));
        assert!(of("plain", "", &leaf).contains("entry 0 does not have the CA bit set"));
        assert!(of("plain", "", &format!("{ca}{ca}")).contains("duplicate trust anchor (indices [0 1])"));
        let (old, new) = (
            json!({"metadata": {"name": "p"}, "spec": {"trustBundle": "x"}}),
            json!({"metadata": {"name": "p"}, "spec": {"trustBundle": "x"}}),
        );
        assert!(bundle_update(&new, &old).is_empty(), "what was not changed is not read again");
    }

    fn asked(stub: &[u8]) -> Value {
        let mut o = json!({"metadata": {"name": "r", "namespace": "a"}, "spec": {
            "signerName": "example.com/foo", "podName": "p", "podUID": "1", "serviceAccountName": "default",
            "serviceAccountUID": "2", "nodeName": "n", "nodeUID": "3", "stubPKCS10Request": STANDARD.encode(stub)}});
        default_request(&mut o);
        o
    }

    #[test]
    fn a_request_names_everything_and_is_signed_with_its_key() {
        let dir = tempfile::tempdir().unwrap();
        for (kind, good) in [("P-256", true), ("P-384", true), ("P-521", true), ("secp256k1", false)] {
            let stub = openssl(
                dir.path(),
                &format!("req -new -newkey ec -pkeyopt ec_paramgen_curve:{kind} -nodes -keyout k -outform der -subj /"),
            );
            let errors = request(&asked(&stub));
            assert_eq!(errors.is_empty(), good, "{kind}: {:?}", said(&errors));
        }
        for kind in ["rsa:3072", "ed25519"] {
            let stub = openssl(dir.path(), &format!("req -new -newkey {kind} -nodes -keyout k -outform der -subj /"));
            assert_eq!(said(&request(&asked(&stub))), Vec::<String>::new(), "{kind}");
        }
        let weak = openssl(dir.path(), "req -new -newkey rsa:2048 -nodes -keyout k -outform der -subj /");
        assert!(said(&request(&asked(&weak)))[0].contains("modulus size 3072 or 4096"));
        let mut broken = openssl(
            dir.path(),
            "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k -outform der -subj /",
        );
        let last = broken.len() - 1;
        broken[last] ^= 1;
        assert!(!request(&asked(&broken)).is_empty(), "signed by another key");
        let mut o = asked(&weak);
        o["spec"]["maxExpirationSeconds"] = json!(10);
        o["spec"]["podUID"] = json!("");
        o["spec"]["unverifiedUserAnnotations"] = json!({"plain": "x"});
        let found = said(&request(&o)).join("; ");
        for why in [
            "spec.podUID: Invalid value: \"\": must not be empty",
            "must be in the range [3600, 7862400]",
            "domain-prefixed key",
        ] {
            assert!(found.contains(why), "{found}");
        }
    }

    #[test]
    fn an_answer_is_given_once_and_fits_what_was_asked() {
        let dir = tempfile::tempdir().unwrap();
        let stub = openssl(
            dir.path(),
            "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k -outform der -subj /CN=x -out r.der",
        );
        assert!(stub.is_empty());
        let stub = std::fs::read(dir.path().join("r.der")).unwrap();
        openssl(dir.path(), "req -x509 -key k -out own.pem -subj /CN=x -days 1");
        openssl(
            dir.path(),
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k2 -out other.pem -subj /CN=x -days 1",
        );
        let read = |file: &str| std::fs::read_to_string(dir.path().join(file)).unwrap();
        let old = asked(&stub);
        let der = pem::parse(read("own.pem")).unwrap();
        let leaf = X509Certificate::from_der(der.contents()).unwrap().1;
        let begin = leaf.validity().not_before.timestamp();
        let at = |offset: i64| Timestamp::from_second(begin + offset).unwrap().to_string();
        let with = |kind: &str, chain: &str| {
            let mut o = old.clone();
            let condition = json!({"type": kind, "status": "True", "reason": "Done", "lastTransitionTime": at(0)});
            o["status"] = json!({"conditions": [condition]});
            if !chain.is_empty() {
                o["status"]["certificateChain"] = json!(chain);
                o["status"]["notBefore"] = json!(at(0));
                o["status"]["beginRefreshAt"] = json!(at(43_200));
                o["status"]["notAfter"] = json!(at(86_400));
            }
            o
        };
        let now = Timestamp::from_second(begin + 1).unwrap();
        let says = |new: &Value, old: &Value| said(&answer_at(new, old, now)).join("; ");
        let good = with("Issued", &read("own.pem"));
        assert_eq!(says(&good, &old), "");
        assert!(says(&with("Issued", &read("other.pem")), &old).contains("not issued to the requested public key"));
        assert!(says(&with("Issued", "nothing"), &old).contains("one or more valid CERTIFICATE PEM blocks"));
        assert_eq!(says(&with("Denied", ""), &old), "");
        assert!(says(&with("Denied", &read("own.pem")), &old).contains("must be empty when denying"));
        assert!(says(&with("Denied", ""), &good).contains("immutable after PodCertificateRequest is issued"));
        assert!(says(&with("Maybe", ""), &old).contains("Unsupported value: \"Maybe\""));
        let late = Timestamp::from_second(begin + 3600).unwrap();
        assert!(said(&answer_at(&good, &old, late)).join("").contains("within 5 minutes"));
        let mut early = good.clone();
        early["status"]["beginRefreshAt"] = json!(at(10));
        assert!(says(&early, &old).contains("at least 10 minutes after status.notBefore"));
    }
}
