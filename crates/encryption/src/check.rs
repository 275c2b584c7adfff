//! What is wrong with a configuration, worded as stock words it; secrets are never shown.

use crate::config::{Configuration, Key, Keys, Kms, ProviderConfiguration};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ironclad_api::time::{duration, show_duration};
use ironclad_api::{ErrorList, FieldError, Path, go_quote, url};
use std::collections::HashSet;

/// Lengths of keys.
const AES: &[usize] = &[16, 24, 32];
const SECRETBOX: &[usize] = &[32];

const STAR: &str = "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources";
const OVERLAP: &str = "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked";
const EVENTS: &str = "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file";
const NONE: &str = "provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity";
const MANY: &str = "more than one provider specified in a single element, should split into different list elements";

/// Every mistake, in stock's order.
pub(crate) fn errors(configuration: &Configuration) -> ErrorList {
    let root = Path::new("resources");
    if configuration.resources.is_empty() {
        return vec![FieldError::required(&root, "at least one resources is required")];
    }
    let (mut out, mut names) = (ErrorList::new(), HashSet::new());
    for (at, rule) in configuration.resources.iter().enumerate() {
        let (resources, providers) = (root.index(at).child("resources"), root.index(at).child("providers"));
        let required = |path: &Path| FieldError::required(path, format!("at least one {path} is required"));
        if rule.resources.is_empty() {
            out.push(required(&resources));
        }
        out.extend(overlap(&rule.resources, &resources));
        let named = rule.resources.iter().enumerate();
        out.extend(named.filter_map(|(n, name)| {
            pattern_error(name).map(|why| FieldError::invalid_str(&resources.index(n), name, why))
        }));
        if rule.providers.is_empty() {
            out.push(required(&providers));
        }
        for (n, provider) in rule.providers.iter().enumerate() {
            out.extend(provider_errors(provider, &providers.index(n), &mut names));
        }
    }
    out
}

/// A resource and its group, as Go tells them apart.
fn group_resource(name: &str) -> (&str, &str) {
    name.split_once('.').unwrap_or((name, ""))
}

fn overlap(resources: &[String], path: &Path) -> ErrorList {
    let (mut twice, mut masked) = (false, false);
    for (i, a) in resources.iter().enumerate() {
        for b in resources.iter().skip(i + 1) {
            let (a, b) = (group_resource(a), group_resource(b));
            let any = ("*", "*");
            twice |= a == b;
            masked |= a == any || b == any || (a.1 == b.1 && (a.0 == "*" || b.0 == "*"));
        }
    }
    let shown: Vec<String> = resources.iter().map(|r| go_quote(r)).collect();
    let shown = format!("[{}]", shown.join(","));
    let error = |why: &str| FieldError::invalid_shown(path, shown.clone(), why);
    let same = twice.then(|| error("the same resource cannot be specified multiple times"));
    same.into_iter().chain(masked.then(|| error(OVERLAP))).collect()
}

fn pattern_error(name: &str) -> Option<&'static str> {
    let (resource, group) = group_resource(name);
    match name {
        _ if name.to_lowercase() != name => Some("resource name should not contain capital letters"),
        "*" => Some(STAR),
        "apiserveripinfo" | "serviceipallocations" | "servicenodeportallocations" => {
            Some("resources which do not have REST API/s cannot be encrypted")
        }
        _ if group == "events.k8s.io" => Some(EVENTS),
        _ if group == "extensions" => Some("'extensions' group has been removed and cannot be used for encryption"),
        _ if group == "*" && resource != "*" => Some("encrypting the same resource across groups is not supported"),
        _ => None,
    }
}

fn provider_errors(provider: &ProviderConfiguration, path: &Path, names: &mut HashSet<String>) -> ErrorList {
    let given = [
        provider.aesgcm.is_some(),
        provider.aescbc.is_some(),
        provider.secretbox.is_some(),
        provider.identity.is_some(),
        provider.kms.is_some(),
    ];
    let mut out = match given.iter().filter(|g| **g).count() {
        0 => vec![FieldError::invalid_shown(path, shown(provider), NONE)],
        1 => ErrorList::new(),
        _ => vec![FieldError::invalid_shown(path, shown(provider), MANY)],
    };
    if let Some(kms) = &provider.kms {
        out.extend(kms_errors(kms, &path.child("kms"), names));
        names.insert(kms.name.clone());
    } else if let Some(keys) = &provider.aesgcm {
        out.extend(keys_errors(keys, &path.child("aesgcm").child("keys"), AES));
    } else if let Some(keys) = &provider.aescbc {
        out.extend(keys_errors(keys, &path.child("aescbc").child("keys"), AES));
    } else if let Some(keys) = &provider.secretbox {
        out.extend(keys_errors(keys, &path.child("secretbox").child("keys"), SECRETBOX));
    }
    out
}

/// Which providers stand in an element, in the form of stock; no keys.
fn shown(provider: &ProviderConfiguration) -> String {
    let keys = |keys: &Option<Keys>| match keys {
        None => "null".to_owned(),
        Some(_) => "{\"Keys\":[REDACTED]}".to_owned(),
    };
    let set = |is: bool| if is { "{}" } else { "null" };
    format!(
        "{{\"AESGCM\":{},\"AESCBC\":{},\"Secretbox\":{},\"Identity\":{},\"KMS\":{}}}",
        keys(&provider.aesgcm),
        keys(&provider.aescbc),
        keys(&provider.secretbox),
        set(provider.identity.is_some()),
        set(provider.kms.is_some())
    )
}

fn keys_errors(keys: &Keys, path: &Path, lengths: &[usize]) -> ErrorList {
    match keys.keys.is_empty() {
        true => vec![FieldError::required(path, "at least one keys is required")],
        false => keys.keys.iter().enumerate().flat_map(|(n, key)| key_errors(key, &path.index(n), lengths)).collect(),
    }
}

fn key_errors(key: &Key, path: &Path, lengths: &[usize]) -> ErrorList {
    let mut out = ErrorList::new();
    if key.name.is_empty() {
        out.push(FieldError::required(&path.child("name"), "name is a mandatory field for a key"));
    }
    let at = path.child("secret");
    let wrong = |why: &str| FieldError::invalid_str(&at, "REDACTED", why);
    if key.secret.is_empty() {
        out.push(FieldError::required(&at, "secret is a mandatory field for a key"));
        return out;
    }
    // Go passes over ends of lines in base64.
    let text: String = key.secret.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    match STANDARD.decode(text).map(|bytes| bytes.len()) {
        Err(_) => out.push(wrong("secrets must be base64 encoded")),
        Ok(length) if !lengths.contains(&length) => {
            let known: Vec<String> = lengths.iter().map(ToString::to_string).collect();
            let known = known.join(" ");
            out.push(wrong(&format!("secret is not of the expected length, got {length}, expected one of [{known}]")));
        }
        Ok(_) => {}
    }
    out
}

fn kms_errors(kms: &Kms, path: &Path, names: &HashSet<String>) -> ErrorList {
    let version = kms.api_version.as_deref().filter(|v| !v.is_empty()).unwrap_or("v1");
    let mut out = ErrorList::new();
    let at = path.child("name");
    if kms.name.is_empty() {
        out.push(FieldError::required(&at, "name is a mandatory field for a provider"));
    }
    if version != "v1" && kms.name.contains(':') {
        let why = format!("invalid KMS provider name {}, must not contain ':'", kms.name);
        out.push(FieldError::invalid_str(&at, &kms.name, why));
    }
    if version != "v1" && names.contains(&kms.name) {
        let why = format!("duplicate KMS provider name {}, names must be unique", kms.name);
        out.push(FieldError::invalid_str(&at, &kms.name, why));
    }
    if let Some(wrong) = kms.timeout.as_deref().and_then(|t| duration(t).ok()).filter(|n| *n <= 0) {
        let why = "timeout should be a positive value";
        out.push(FieldError::invalid_str(&path.child("timeout"), &show_duration(wrong), why));
    }
    out.extend(endpoint_error(&kms.endpoint, &path.child("endpoint")));
    let at = path.child("cachesize");
    match kms.cachesize {
        Some(size) if version != "v1" => {
            out.push(FieldError::invalid_shown(&at, size.to_string(), "cachesize is not supported in v2"));
        }
        Some(0) => {
            let why = "cachesize should be a positive value, or negative to disable";
            out.push(FieldError::invalid_shown(&at, "0", why));
        }
        _ => {}
    }
    if !matches!(version, "v1" | "v2") {
        let why = "unsupported apiVersion apiVersion for KMS provider, only v1 and v2 are supported";
        out.push(FieldError::invalid_str(&path.child("apiVersion"), version, why));
    }
    out
}

fn endpoint_error(endpoint: &str, path: &Path) -> Option<FieldError> {
    let wrong = |why: String| Some(FieldError::invalid_str(path, endpoint, why));
    if endpoint.is_empty() {
        return wrong("endpoint is a mandatory field for a kms".to_owned());
    }
    match url::parse(endpoint) {
        Err(why) => wrong(format!("invalid endpoint for kms provider, error: {why}")),
        Ok(url) if url.scheme != "unix" => {
            wrong(format!("unsupported scheme {} for KMS provider, only unix is supported", go_quote(&url.scheme)))
        }
        Ok(_) => None,
    }
}
