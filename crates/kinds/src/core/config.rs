//! ConfigMaps, Secrets, ServiceAccounts.

use crate::Strategy;
use ironclad_api::object::{self, default_to, entry};
use ironclad_api::table::{Cells, Column, age};
use ironclad_api::{ErrorList, FieldError, Path};
use serde_json::{Value, json};
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
static ACCOUNT_COLUMNS: LazyLock<[Column; 3]> =
    LazyLock::new(|| [Column::object_name(), Column::text("Secrets", "How many Secrets it names."), Column::age()]);

fn count(value: &Value) -> usize {
    value.as_object().map_or(0, serde_json::Map::len)
}

fn keys(object: &Value, fields: &[&str]) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut size = 0;
    for field in fields {
        for (key, value) in object[*field].as_object().into_iter().flatten() {
            let valid = key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
            if !valid || key.is_empty() || key.len() > 253 {
                let why = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
                errors.push(FieldError::invalid_str(&Path::new(field).key(key), key, why));
            }
            size += value.as_str().map_or(0, str::len);
        }
    }
    if size > SIZE_MAX {
        errors.push(FieldError::too_long(&Path::root(), SIZE_MAX));
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
        let mut errors = keys(map, &["data", "binaryData"]);
        for (key, _) in map["binaryData"].as_object().into_iter().flatten() {
            if !map["data"][key].is_null() {
                let why = "duplicate of key present in data";
                errors.push(FieldError::invalid_str(&Path::new("binaryData").key(key), key, why));
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
        vec![json!(object::name(map)), json!(entries.to_string()), age(map)]
    }
}

impl Strategy for Secret {
    fn default(&self, secret: &mut Value) {
        use base64::Engine;
        if let Some(map) = secret.as_object_mut() {
            default_to(map, "type", || json!("Opaque"));
        }
        let Some(plain) = secret.as_object_mut().and_then(|s| s.remove("stringData")) else { return };
        let data = entry(secret, "data");
        for (key, value) in plain.as_object().into_iter().flatten() {
            let encoded = base64::engine::general_purpose::STANDARD.encode(value.as_str().unwrap_or_default());
            data.insert(key.clone(), json!(encoded));
        }
    }

    fn validate(&self, secret: &Value) -> ErrorList {
        let mut errors = keys(secret, &["data"]);
        let need: &[&str] = match object::text(secret, &["type"]) {
            "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
            "kubernetes.io/dockercfg" => &[".dockercfg"],
            "kubernetes.io/tls" => &["tls.crt", "tls.key"],
            "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
            "kubernetes.io/service-account-token" => {
                let annotation = "kubernetes.io/service-account.name";
                if object::text(secret, &["metadata", "annotations", annotation]).is_empty() {
                    let path = Path::new("metadata").child("annotations").key(annotation);
                    errors.push(FieldError::required(&path, ""));
                }
                &[]
            }
            _ => &[],
        };
        for key in need.iter().filter(|k| secret["data"][**k].is_null()) {
            errors.push(FieldError::required(&Path::new("data").key(key), ""));
        }
        errors
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
        let entries = count(&secret["data"]).to_string();
        vec![json!(object::name(secret)), secret["type"].clone(), json!(entries), age(secret)]
    }
}

impl Strategy for ServiceAccount {
    fn columns(&self) -> &[Column] {
        &*ACCOUNT_COLUMNS
    }

    fn cells(&self, account: &Value) -> Cells {
        let secrets = account["secrets"].as_array().map_or(0, Vec::len);
        vec![json!(object::name(account)), json!(secrets.to_string()), age(account)]
    }
}
