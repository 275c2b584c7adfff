//! Rules of the parts of a projected volume.

use super::checks::{required, rule};
use super::inside::inside;
use super::volume_rules::local_path;
use super::volume_sources::key;
use crate::read::{count, has, int, items, map, text};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};
use std::collections::HashSet;

/// What a file of another part is called already.
fn taken<'a>(path: &'a str, shown: &str, seen: &mut HashSet<&'a str>, at: &Path, errors: &mut ErrorList) {
    if !seen.insert(path) {
        errors.push(FieldError::invalid_str(at, shown, "conflicting duplicate paths"));
    }
}

/// Checks the parts and that no two of them write the same file.
pub(super) fn projected(source: &Value, at: &Path, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for (i, part) in items(source, &["sources"]).iter().enumerate() {
        let part_at = at.child("sources").index(i);
        for kind in ["secret", "configMap"].into_iter().filter(|k| has(part, &[k])) {
            let (at_kind, name) = (part_at.child(kind), text(part, &[kind, "name"]));
            required(&part[kind], &at_kind, &["name"], errors);
            for (j, item) in items(part, &[kind, "items"]).iter().enumerate() {
                key(item, &at_kind.child("items").index(j), errors);
                let path = text(item, &["path"]);
                if !path.is_empty() {
                    taken(path, name, &mut seen, at, errors);
                }
            }
        }
        for file in items(part, &["downwardAPI", "items"]) {
            super::env_rules::downward_files(std::slice::from_ref(file), &part_at.child("downwardAPI"), errors);
            let path = text(file, &["path"]);
            if !path.is_empty() {
                taken(path, path, &mut seen, at, errors);
            }
        }
        if has(part, &["serviceAccountToken"]) {
            token(&part["serviceAccountToken"], &part_at.child("serviceAccountToken"), at, errors);
        }
        if has(part, &["clusterTrustBundle"]) {
            bundle(&part["clusterTrustBundle"], &part_at.child("clusterTrustBundle"), errors);
            let path = text(part, &["clusterTrustBundle", "path"]);
            taken(path, path, &mut seen, at, errors);
        }
        if has(part, &["podCertificate"]) {
            pod_certificate(&part["podCertificate"], &mut seen, &part_at.child("podCertificate"), at, errors);
        }
        let kinds = part.as_object().into_iter().flatten().filter(|(_, v)| !v.is_null()).count();
        if kinds > 1 {
            errors.push(FieldError::forbidden(&part_at, "may not specify more than 1 volume type per source"));
        }
    }
}

fn token(token: &Value, at: &Path, volume: &Path, errors: &mut ErrorList) {
    let seconds = count(token, &["expirationSeconds"]);
    let too = match seconds {
        n if n < 600 => Some("may not specify a duration less than 10 minutes"),
        n if n > 1 << 32 => Some("may not specify a duration larger than 2^32 seconds"),
        _ => None,
    };
    if let Some(why) = too {
        errors.push(FieldError::invalid(&at.child("expirationSeconds"), &json!(seconds), why));
    }
    match text(token, &["path"]) {
        "" => errors.push(FieldError::required(&volume.child("path"), "")),
        path => local_path(path, &volume.child("path"), errors),
    }
}

fn bundle(bundle: &Value, at: &Path, errors: &mut ErrorList) {
    match (has(bundle, &["name"]), has(bundle, &["signerName"])) {
        (true, true) => {
            let shown = inside(bundle, "ClusterTrustBundleProjection");
            errors.push(FieldError::invalid_shown(at, shown, "only one of name and signerName may be used"));
        }
        (true, false) => {
            let name = text(bundle, &["name"]);
            if name.is_empty() {
                errors.push(FieldError::required(&at.child("name"), "must be a valid object name"));
            }
            for why in bundle_name(name) {
                let why = format!("not a valid clustertrustbundlename: {why}");
                errors.push(FieldError::invalid_str(&at.child("name"), name, why));
            }
            if has(bundle, &["labelSelector"]) {
                let why = "labelSelector must be unset if name is specified";
                errors.push(FieldError::invalid(&at.child("labelSelector"), &bundle["labelSelector"], why));
            }
        }
        (false, true) => {
            if text(bundle, &["signerName"]).is_empty() {
                errors.push(FieldError::required(&at.child("signerName"), "must be a valid signer name"));
            }
            crate::csr::signer_name(text(bundle, &["signerName"]), &at.child("signerName"), errors);
            if has(bundle, &["labelSelector"]) {
                errors.extend(super::selector::validate(&bundle["labelSelector"], &at.child("labelSelector")));
            }
        }
        (false, false) => errors.push(FieldError::required(at, "either name or signerName must be specified")),
    }
    if text(bundle, &["path"]).is_empty() {
        errors.push(FieldError::required(&at.child("path"), ""));
    }
    local_path(text(bundle, &["path"]), &at.child("path"), errors);
}

/// What is wrong with the name of a bundle, which may begin with its signer's.
fn bundle_name(name: &str) -> Vec<String> {
    let own = match name.rsplit_once(':') {
        Some((_, own)) => own,
        None => name,
    };
    names::dns1123_subdomain(own)
}

/// Checks keys of annotations that a pod hands to a signer.
fn user_annotations(certificate: &Value, at: &Path, errors: &mut ErrorList) {
    const LARGEST: usize = 256 << 10;
    let mut size = 0;
    for (given, value) in map(certificate, &["userAnnotations"]).into_iter().flatten() {
        size += given.len() + value.as_str().map_or(0, str::len);
        let key = given.to_lowercase();
        if key.is_empty() {
            errors.push(FieldError::required(at, ""));
            continue;
        }
        let found = names::qualified_name(&key);
        if found.is_empty() && !key.contains('/') {
            let why = "must be a domain-prefixed key (such as \"acme.io/foo\")";
            errors.push(FieldError::invalid_str(at, &key, why));
        }
        rule(found, &key, at, errors);
    }
    if size > LARGEST {
        errors.push(FieldError::too_long(at, LARGEST));
    }
}

fn pod_certificate<'a>(
    certificate: &'a Value,
    seen: &mut HashSet<&'a str>,
    at: &Path,
    volume: &Path,
    errors: &mut ErrorList,
) {
    let signer = text(certificate, &["signerName"]);
    crate::csr::signer_name(signer, &at.child("signerName"), errors);
    user_annotations(certificate, &at.child("userAnnotations"), errors);
    let kinds = ["RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"];
    let kind = text(certificate, &["keyType"]);
    if !kinds.contains(&kind) {
        errors.push(FieldError::not_supported(&at.child("keyType"), &json!(kind), &kinds));
    }
    if let Some(n) = int(certificate, &["maxExpirationSeconds"]) {
        let most = if signer.starts_with("kubernetes.io/") { 86_400 } else { 7_862_400 };
        let at = at.child("maxExpirationSeconds");
        if n < 3600 {
            errors.push(FieldError::invalid(&at, &json!(n), "if provided, maxExpirationSeconds must be >= 3600"));
        }
        if n > most {
            let why = format!("if provided, maxExpirationSeconds must be <= {most}");
            errors.push(FieldError::invalid(&at, &json!(n), why));
        }
    }
    let files = ["credentialBundlePath", "keyPath", "certificateChainPath"];
    let given: Vec<&str> = files.into_iter().filter(|k| !text(certificate, &[k]).is_empty()).collect();
    for key in &given {
        let path = text(certificate, &[key]);
        local_path(path, &at.child(key), errors);
        taken(path, path, seen, volume, errors);
    }
    if given.is_empty() {
        let why = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath";
        errors.push(FieldError::required(at, why));
    }
}
