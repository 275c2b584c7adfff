//! ConfigMaps, Secrets, ServiceAccounts.

use crate::Strategy;
use crate::common::checks::rule;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ironclad_api::object::{self, default_to, entry};
use ironclad_api::table::{Cells, Column, age};
use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_json::{Value, json};
use std::sync::LazyLock;

const SIZE_MAX: usize = 1 << 20;

pub(crate) struct ConfigMap;
pub(crate) struct Secret;
pub(crate) struct ServiceAccount;

static CONFIG_COLUMNS: LazyLock<[Column; 3]> =
    LazyLock::new(|| [Column::object_name(), Column::text("Data", "How many entries it has."), Column::age()]);
static SECRET_COLUMNS: LazyLock<[Column; 4]> = LazyLock::new(|| {
    [
        Column::object_name(),
        Column::text("Type", "What it is for."),
        Column::text("Data", "How many entries it has."),
        Column::age(),
    ]
});
static ACCOUNT_COLUMNS: LazyLock<[Column; 2]> = LazyLock::new(|| [Column::object_name(), Column::age()]);

fn count(value: &Value) -> usize {
    value.as_object().map_or(0, ironclad_json::Map::len)
}

fn keys(object: &Value, fields: &[&str], whole: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut size = 0;
    for field in fields {
        for (key, value) in object[*field].as_object().into_iter().flatten() {
            rule(config_key(key), key, &Path::new(field).key(key), &mut errors);
            size += match *field {
                "data" if *whole == Path::root() => value.as_str().map_or(0, str::len),
                _ => decoded_len(value),
            };
        }
    }
    if size > SIZE_MAX {
        errors.push(FieldError::too_long(whole, SIZE_MAX));
    }
    errors
}

/// How many bytes a value in base64 has.
fn decoded_len(value: &Value) -> usize {
    let text = value.as_str().unwrap_or_default();
    text.trim_end_matches('=').len() * 3 / 4
}

/// What is wrong with a key of a ConfigMap or a Secret.
pub(crate) fn config_key(key: &str) -> Vec<String> {
    let mut errors = Vec::new();
    if key.len() > 253 {
        errors.push("must be no more than 253 characters".to_owned());
    }
    let valid = key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if !valid || key.is_empty() {
        errors.push("a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')".to_owned());
    }
    if key == "." {
        errors.push("must not be '.'".to_owned());
    } else if key == ".." {
        errors.push("must not be '..'".to_owned());
    } else if key.starts_with("..") {
        errors.push("must not start with '..'".to_owned());
    }
    errors
}

fn immutable(new: &Value, old: &Value, fields: &[&str]) -> ErrorList {
    let mut errors = ErrorList::new();
    if old["immutable"] == true {
        if new["immutable"] != true {
            errors.push(FieldError::forbidden(&Path::new("immutable"), "field is immutable when `immutable` is set"));
        }
        for field in fields.iter().filter(|f| new[**f] != old[**f]) {
            errors.push(FieldError::forbidden(&Path::new(field), "field is immutable when `immutable` is set"));
        }
    }
    errors
}

impl Strategy for ConfigMap {
    fn validate(&self, map: &Value) -> ErrorList {
        let mut errors = keys(map, &["data", "binaryData"], &Path::root());
        for (key, _) in map["data"].as_object().into_iter().flatten() {
            if !map["binaryData"][key].is_null() {
                let why = "duplicate of key present in binaryData";
                errors.push(FieldError::invalid_str(&Path::new("data").key(key), key, why));
            }
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> ErrorList {
        let mut errors = immutable(new, old, &["data", "binaryData"]);
        errors.extend(self.validate(new));
        errors
    }

    fn columns(&self) -> &[Column] {
        &*CONFIG_COLUMNS
    }

    fn cells(&self, map: &Value) -> Cells {
        let entries = count(&map["data"]) + count(&map["binaryData"]);
        vec![json!(object::name(map)), json!(entries), age(map)]
    }
}

/// Checks the registries' credentials of a Secret, without showing them.
fn registries(data: &Value, key: &str, at: &Path, errors: &mut ErrorList) {
    let Some(encoded) = data[key].as_str() else {
        errors.push(FieldError::required(&at.key(key), ""));
        return;
    };
    let bytes = STANDARD.decode(encoded).unwrap_or_default();
    let why = match serde_json::from_slice::<Value>(&bytes) {
        Ok(Value::Object(_) | Value::Null) => return,
        Ok(_) => "json: cannot unmarshal value into Go value of type map[string]interface {}".to_owned(),
        Err(_) if bytes.is_empty() => "unexpected end of JSON input".to_owned(),
        Err(e) if e.is_eof() => "unexpected end of JSON input".to_owned(),
        Err(_) => {
            let first = bytes.iter().copied().find(|b| !b.is_ascii_whitespace()).map_or(' ', char::from);
            format!("invalid character {first:?} looking for beginning of value")
        }
    };
    errors.push(FieldError::invalid_str(&at.key(key), "<secret contents redacted>", why));
}

impl Strategy for Secret {
    fn default(&self, secret: &mut Value) {
        if let Some(map) = secret.as_object_mut() {
            default_to(map, "type", || json!("Opaque"));
        }
        let Some(plain) = secret.as_object_mut().and_then(|s| s.remove("stringData")) else { return };
        let data = entry(secret, "data");
        for (key, value) in plain.as_object().into_iter().flatten() {
            let encoded = STANDARD.encode(value.as_str().unwrap_or_default());
            data.insert(key.clone(), json!(encoded));
        }
    }

    fn validate(&self, secret: &Value) -> ErrorList {
        let at = Path::new("data");
        let mut errors = keys(secret, &["data"], &at);
        let data = &secret["data"];
        let missing = |key: &str| data[key].is_null();
        let require = |key: &str| FieldError::required(&at.key(key), "");
        match object::text(secret, &["type"]) {
            "kubernetes.io/service-account-token" => {
                let annotation = "kubernetes.io/service-account.name";
                if object::text(secret, &["metadata", "annotations", annotation]).is_empty() {
                    let path = Path::new("metadata").child("annotations").key(annotation);
                    errors.push(FieldError::required(&path, ""));
                }
            }
            "kubernetes.io/dockerconfigjson" => registries(data, ".dockerconfigjson", &at, &mut errors),
            "kubernetes.io/dockercfg" => registries(data, ".dockercfg", &at, &mut errors),
            "kubernetes.io/basic-auth" if missing("username") && missing("password") => {
                errors.extend(["username", "password"].map(require));
            }
            "kubernetes.io/ssh-auth" if object::text(data, &["ssh-privatekey"]).is_empty() => {
                errors.push(require("ssh-privatekey"));
            }
            "kubernetes.io/tls" => {
                errors.extend(["tls.crt", "tls.key"].into_iter().filter(|k| missing(k)).map(require))
            }
            _ => {}
        }
        errors
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        // Stock tries the pair of a TLS Secret.
        let text = |key: &str| -> Option<String> {
            let bytes = STANDARD.decode(object::text(new, &["data", key])).ok()?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        };
        if object::text(new, &["type"]) != "kubernetes.io/tls" {
            return Vec::new();
        }
        match (text("tls.crt"), text("tls.key")) {
            (Some(cert), _) if !cert.contains("-----BEGIN CERTIFICATE-----") => {
                vec!["tls: failed to find any PEM data in certificate input".to_owned()]
            }
            (_, Some(key)) if !key.contains("PRIVATE KEY-----") => {
                vec!["tls: failed to find any PEM data in key input".to_owned()]
            }
            _ => Vec::new(),
        }
    }

    fn validate_update(&self, new: &Value, old: &Value) -> ErrorList {
        let mut errors = immutable(new, old, &["data"]);
        if new["type"] != old["type"] {
            errors.push(FieldError::invalid(&Path::new("type"), &new["type"], "field is immutable"));
        }
        errors.extend(self.validate(new));
        errors
    }

    fn columns(&self) -> &[Column] {
        &*SECRET_COLUMNS
    }

    fn cells(&self, secret: &Value) -> Cells {
        let entries = count(&secret["data"]);
        vec![json!(object::name(secret)), secret["type"].clone(), json!(entries), age(secret)]
    }
}

/// Of a Secret only the name counts.
fn only_names(account: &mut Value) {
    for secret in account.get_mut("secrets").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(map) = secret.as_object_mut() {
            map.retain(|key, _| key == "name");
        }
    }
}

impl Strategy for ServiceAccount {
    fn prepare_create(&self, account: &mut Value) {
        only_names(account);
    }

    fn prepare_update(&self, new: &mut Value, _old: &Value) {
        only_names(new);
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Vec<String> {
        const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";
        let has = |o: &Value| o["metadata"]["annotations"].get(ENFORCE).is_some();
        if !has(new) || old.is_some_and(has) {
            return Vec::new();
        }
        let at = Path::new("metadata").child("annotations").key(ENFORCE);
        let why = "deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets";
        vec![format!("{at}: {why}")]
    }

    fn columns(&self) -> &[Column] {
        &*ACCOUNT_COLUMNS
    }

    fn cells(&self, account: &Value) -> Cells {
        vec![json!(object::name(account)), age(account)]
    }
}
