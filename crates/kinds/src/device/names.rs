//! Names of drivers, pools, devices, requests and attributes, and lists without repetition.

use crate::common::checks::{required_rule, rule};
use crate::common::volume_rules::{declared_driver, driver_name};
use crate::read::{items, text};
use ironclad_api::field::ErrorKind;
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};

const POOL_MAX: usize = 253;
const ID_MAX: usize = 32;
const DOMAIN_MAX: usize = 63;
const IDENTIFIER: &str = "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')";

/// The name of a driver.
pub(super) fn driver(o: &Value, at: &Path, errors: &mut ErrorList) {
    driver_name(text(o, &["driver"]), &at.child("driver"), errors);
}

/// The name of a driver where rules that stock generates check it.
pub(super) fn named_driver(o: &Value, at: &Path, errors: &mut ErrorList) {
    declared_driver(text(o, &["driver"]), &at.child("driver"), errors);
}

/// Puts what the rules find that stock generates behind what is checked by hand, as stock does.
pub(super) fn declared_last(errors: ErrorList) -> ErrorList {
    let declared = |e: &FieldError| {
        let list = e.path.ends_with(']');
        let path = e.path.trim_end_matches(|c: char| c == ']' || c == '[' || c.is_ascii_digit());
        let last = path.rsplit('.').next().unwrap_or_default();
        match e.kind {
            ErrorKind::TooMany => last != "tolerations",
            ErrorKind::Duplicate => list && !last.starts_with("binding") && !["validValues", "ips"].contains(&last),
            ErrorKind::NotSupported => ["allocationMode", "operator", "effect", "source"].contains(&last),
            _ => match last {
                "matchAttribute" | "distinctAttribute" | "source" | "shareID" | "effect" => true,
                "driver" => path.contains(".opaque.") || path.contains(".results["),
                "pool" => path.contains(".results["),
                "deviceClassName" => path.contains(".firstAvailable["),
                "key" => path.contains(".tolerations["),
                _ => false,
            },
        }
    };
    let (last, mut first): (ErrorList, ErrorList) = errors.into_iter().partition(declared);
    first.extend(last);
    first
}

/// A label that must be there.
pub(super) fn label(o: &Value, at: &Path, key: &str, errors: &mut ErrorList) {
    let given = text(o, &[key]);
    rule(names::dns1123_label(given), given, &at.child(key), errors);
}

/// The class of devices that is asked for.
pub(super) fn class(o: &Value, at: &Path, errors: &mut ErrorList) {
    required_rule(o, at, "deviceClassName", names::dns1123_subdomain, errors);
}

/// The name of the pool of what a claim got; what is wrong is said in the words of the rules that stock generates.
pub(super) fn declared_pool(name: &str, at: &Path, errors: &mut ErrorList) {
    if name.is_empty() {
        errors.push(FieldError::required(at, ""));
        return;
    }
    if name.len() > POOL_MAX {
        errors.push(FieldError::too_long(at, POOL_MAX));
    }
    for (i, part) in name.split('/').enumerate() {
        if part.is_empty() {
            errors.push(FieldError::invalid_str(at, name, format!("segment {i}: must not be empty")));
        } else {
            let wrong = names::dns1123_subdomain(part).into_iter().map(|why| format!("segment {i}: {why}"));
            rule(wrong.collect(), part, at, errors);
        }
    }
}

/// The identifier of a share of a device.
pub(super) fn share(o: &Value, at: &Path, errors: &mut ErrorList) {
    let Some(id) = o["shareID"].as_str() else { return };
    let fits = |(i, b): (usize, u8)| match i {
        8 | 13 | 18 | 23 => b == b'-',
        _ => matches!(b, b'0'..=b'9' | b'a'..=b'f'),
    };
    if id.len() != 36 || !id.bytes().enumerate().all(fits) {
        let why = "must be a lowercase UUID in 8-4-4-4-12 format";
        errors.push(FieldError::invalid_str(&at.child("shareID"), id, why));
    }
}

/// The name of a pool: domains with slashes between.
pub(super) fn pool(name: &str, at: &Path, errors: &mut ErrorList) {
    if name.is_empty() {
        errors.push(FieldError::required(at, ""));
        return;
    }
    if name.len() > POOL_MAX {
        errors.push(FieldError::too_long(at, POOL_MAX));
    }
    let mut before = None;
    for part in name.split('/').filter(|part| before.replace(*part) != Some(*part)) {
        rule(names::dns1123_subdomain(part), part, at, errors);
    }
}

fn identifier(id: &str, at: &Path, errors: &mut ErrorList) {
    if id.len() > ID_MAX {
        errors.push(FieldError::too_long(at, ID_MAX));
    }
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !id.starts_with(|c: char| word(c) && !c.is_ascii_digit()) || !id.chars().all(word) {
        errors.push(FieldError::invalid_str(at, id, IDENTIFIER));
    }
}

/// The name of an attribute or a capacity, with or without a domain.
pub(super) fn qualified(name: &str, at: &Path, errors: &mut ErrorList) {
    let parts: Vec<&str> = name.split('/').collect();
    match parts.as_slice() {
        [id] => identifier(id, at, errors),
        [domain, id] => {
            if domain.is_empty() {
                errors.push(FieldError::invalid_str(at, "", "the domain must not be empty"));
            } else {
                driver_name(domain, at, errors);
            }
            if id.is_empty() {
                errors.push(FieldError::invalid_str(at, "", "the name must not be empty"));
            } else {
                identifier(id, at, errors);
            }
        }
        _ => errors.push(FieldError::invalid_str(at, name, "must not contain more than one slash")),
    }
}

/// The name of an attribute with its domain; what is wrong is said in the words of the rules that stock generates.
pub(super) fn fully_qualified(name: &str, at: &Path, errors: &mut ErrorList) {
    let parts: Vec<&str> = name.split('/').collect();
    match parts.as_slice() {
        [domain, id] => {
            match domain.len() {
                0 => errors.push(FieldError::invalid_str(at, "", "prefix must not be empty")),
                length => {
                    if length > DOMAIN_MAX {
                        errors.push(FieldError::too_long(at, DOMAIN_MAX));
                    }
                    let wrong = names::dns1123_subdomain(domain).into_iter().map(|why| format!("prefix: {why}"));
                    rule(wrong.collect(), domain, at, errors);
                }
            }
            match id.is_empty() {
                true => errors.push(FieldError::invalid_str(at, "", "name must not be empty")),
                false => identifier(id, at, errors),
            }
        }
        _ => qualified(name, at, errors),
    }
    if !name.contains('/') {
        let why = "a fully qualified name must be a domain and a name separated by a slash";
        errors.push(FieldError::invalid_str(at, name, why));
    }
}

/// Checks each item of a list that has no more than so many.
pub(super) fn each(
    list: &[Value],
    max: usize,
    at: &Path,
    errors: &mut ErrorList,
    mut check: impl FnMut(&Value, &Path, &mut ErrorList),
) -> bool {
    if list.len() > max {
        errors.push(FieldError::too_many(at, list.len(), max));
        return false;
    }
    for (i, item) in list.iter().enumerate() {
        check(item, &at.index(i), errors);
    }
    true
}

/// Checks each item of a list, and that none has the key of one before, which is told.
pub(super) fn set(
    list: &[Value],
    max: usize,
    key: impl Fn(&Value) -> Value,
    at: &Path,
    errors: &mut ErrorList,
    check: impl FnMut(&Value, &Path, &mut ErrorList),
) {
    if each(list, max, at, errors, check) {
        let twice = repeated(list, key).into_iter();
        errors.extend(twice.map(|(i, key)| FieldError::duplicate(&at.index(i), &key)));
    }
}

/// As [`set`], but the whole item is told, as the rules that stock generates do.
pub(super) fn set_by(
    list: &[Value],
    max: usize,
    key: impl Fn(&Value) -> Value,
    at: &Path,
    errors: &mut ErrorList,
    check: impl FnMut(&Value, &Path, &mut ErrorList),
) {
    if each(list, max, at, errors, check) {
        let twice = repeated(list, key).into_iter();
        errors.extend(twice.map(|(i, _)| FieldError::duplicate(&at.index(i), &list[i])));
    }
}

/// The items that have the key of one before.
fn repeated(list: &[Value], key: impl Fn(&Value) -> Value) -> Vec<(usize, Value)> {
    let mut keys = Vec::new();
    let mut twice = Vec::new();
    for (i, key) in list.iter().map(key).enumerate() {
        if keys.contains(&key) {
            twice.push((i, key.clone()));
        }
        keys.push(key);
    }
    twice
}

/// Names that conditions have, none twice and none on both sides.
pub(super) fn binding(o: &Value, at: &Path, errors: &mut ErrorList) {
    const MAX: usize = 4;
    let (good, bad) = (items(o, &["bindingConditions"]), items(o, &["bindingFailureConditions"]));
    let (good_at, bad_at) = (at.child("bindingConditions"), at.child("bindingFailureConditions"));
    for (list, at) in [(good, &good_at), (bad, &bad_at)] {
        each(list, MAX, at, errors, |name, at, errors| {
            let name = name.as_str().unwrap_or_default();
            rule(names::qualified_name(name), name, at, errors);
        });
    }
    for (list, at) in [(good, &good_at), (bad, &bad_at)] {
        let twice = repeated(list, Value::clone).into_iter();
        errors.extend(twice.map(|(i, name)| FieldError::duplicate(&at.index(i), &name)));
    }
    for (i, name) in bad.iter().enumerate().filter(|(_, name)| good.contains(name)) {
        let why = "bindingFailureConditions must not overlap with bindingConditions";
        errors.push(FieldError::invalid(&bad_at.index(i), name, why));
    }
    if good.is_empty() && !bad.is_empty() {
        let why = "bindingConditions are required to use bindingFailureConditions";
        errors.push(FieldError::invalid(&good_at, &o["bindingConditions"], why));
    }
    if bad.is_empty() && !good.is_empty() {
        let why = "bindingFailureConditions are required to use bindingConditions";
        errors.push(FieldError::invalid(&bad_at, &o["bindingFailureConditions"], why));
    }
}

const EFFECTS: [&str; 3] = ["NoExecute", "NoSchedule", "None"];

/// A taint of a device. An effect that it had before is not checked again.
pub(super) fn taint(o: &Value, old: Option<&Value>, at: &Path, errors: &mut ErrorList) {
    let (key, value, effect) = (text(o, &["key"]), text(o, &["value"]), text(o, &["effect"]));
    rule(names::qualified_name(key), key, &at.child("key"), errors);
    if !value.is_empty() {
        rule(names::label_value(value), value, &at.child("value"), errors);
    }
    if old.is_some_and(|old| text(old, &["effect"]) == effect) {
    } else if effect.is_empty() {
        errors.push(FieldError::required(&at.child("effect"), ""));
    } else if !EFFECTS.contains(&effect) {
        errors.push(FieldError::not_supported(&at.child("effect"), &json!(effect), &EFFECTS));
    }
}

/// What a request tolerates.
pub(super) fn toleration(o: &Value, at: &Path, errors: &mut ErrorList) {
    let (key, value, effect) = (text(o, &["key"]), text(o, &["value"]), text(o, &["effect"]));
    if !key.is_empty() {
        rule(names::qualified_name(key), key, &at.child("key"), errors);
    }
    match text(o, &["operator"]) {
        "Exists" if !value.is_empty() => {
            let why = "must be empty for operator `Exists`";
            errors.push(FieldError::invalid_str(&at.child("value"), value, why));
        }
        "Exists" => {}
        "Equal" => rule(names::label_value(value), value, &at.child("value"), errors),
        "" => errors.push(FieldError::required(&at.child("operator"), "")),
        other => {
            errors.push(FieldError::not_supported(&at.child("operator"), &json!(other), &["Equal", "Exists"]));
        }
    }
    if !effect.is_empty() && !EFFECTS.contains(&effect) {
        errors.push(FieldError::not_supported(&at.child("effect"), &json!(effect), &EFFECTS));
    }
}
