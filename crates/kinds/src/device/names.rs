//! Names of drivers, pools, devices, requests and attributes, and lists without repetition.

use crate::common::checks::{required_rule, rule};
use crate::common::volume_rules::driver_name;
use crate::declared::covered;
use crate::declared::format::identifier;
use crate::read::{items, text};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};

const POOL_MAX: usize = 253;

/// The name of a driver.
pub(super) fn driver(o: &Value, at: &Path, errors: &mut ErrorList) {
    driver_name(text(o, &["driver"]), &at.child("driver"), errors);
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

/// The name of a pool: domains with slashes between.
pub(super) fn pool(name: &str, at: &Path, errors: &mut ErrorList) {
    if name.is_empty() {
        errors.push(FieldError::required(at, ""));
        return;
    }
    if name.len() > POOL_MAX {
        errors.push(FieldError::too_long(at, POOL_MAX));
    }
    for part in name.split('/') {
        rule(names::dns1123_subdomain(part), part, at, errors);
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
        _ => {}
    }
}

/// The name of an attribute with its domain.
pub(super) fn fully_qualified(name: &str, at: &Path, errors: &mut ErrorList) {
    qualified(name, at, errors);
    if !name.contains('/') {
        let why = "a fully qualified name must be a domain and a name separated by a slash";
        errors.push(FieldError::invalid_str(at, name, why));
    }
}

/// How many items a list has at most, and whether declared rules say the same of the list.
#[derive(Clone, Copy)]
pub(super) enum Most {
    Declared(usize),
    ByHand(usize),
}

impl Most {
    fn exceeded(self, list: &[Value], at: &Path) -> Option<FieldError> {
        let (Self::Declared(max) | Self::ByHand(max)) = self;
        (list.len() > max).then(|| self.mark(FieldError::too_many(at, list.len(), max)))
    }

    fn mark(self, error: FieldError) -> FieldError {
        match self {
            Self::Declared(_) => error.covered(),
            Self::ByHand(_) => error,
        }
    }
}

/// Checks each item of a list that is not too long.
pub(super) fn each(
    list: &[Value],
    most: Most,
    at: &Path,
    errors: &mut ErrorList,
    mut check: impl FnMut(&Value, &Path, &mut ErrorList),
) -> bool {
    if let Some(error) = most.exceeded(list, at) {
        errors.push(error);
        return false;
    }
    for (i, item) in list.iter().enumerate() {
        check(item, &at.index(i), errors);
    }
    true
}

/// Checks each item of a list, and that none has the key of one before.
pub(super) fn set(
    list: &[Value],
    most: Most,
    key: impl Fn(&Value) -> Value,
    at: &Path,
    errors: &mut ErrorList,
    check: impl FnMut(&Value, &Path, &mut ErrorList),
) {
    if each(list, most, at, errors, check) {
        let twice = repeated(list, key).into_iter();
        errors.extend(twice.map(|(i, key)| most.mark(FieldError::duplicate(&at.index(i), &key))));
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
        each(list, Most::Declared(MAX), at, errors, |name, at, errors| {
            let name = name.as_str().unwrap_or_default();
            rule(names::qualified_name(name), name, at, errors);
        });
    }
    let twice = repeated(good, Value::clone).into_iter();
    errors.extend(twice.map(|(i, name)| FieldError::duplicate(&good_at.index(i), &name)));
    for (i, name) in bad.iter().enumerate() {
        if bad[..i].contains(name) {
            errors.push(FieldError::duplicate(&bad_at.index(i), name));
        }
        if good.contains(name) {
            let why = "bindingFailureConditions must not overlap with bindingConditions";
            errors.push(FieldError::invalid(&bad_at.index(i), name, why));
        }
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
        errors.push(FieldError::required(&at.child("effect"), "").covered());
    } else if !EFFECTS.contains(&effect) {
        errors.push(FieldError::not_supported(&at.child("effect"), &json!(effect), &EFFECTS).covered());
    }
}

/// What a request tolerates.
pub(super) fn toleration(o: &Value, at: &Path, errors: &mut ErrorList) {
    let (key, value, effect) = (text(o, &["key"]), text(o, &["value"]), text(o, &["effect"]));
    if !key.is_empty() {
        covered(errors, |errors| rule(names::qualified_name(key), key, &at.child("key"), errors));
    }
    match text(o, &["operator"]) {
        "Exists" if !value.is_empty() => {
            let why = "must be empty for operator `Exists`";
            errors.push(FieldError::invalid_str(&at.child("value"), value, why));
        }
        "Exists" => {}
        "Equal" => rule(names::label_value(value), value, &at.child("value"), errors),
        "" => errors.push(FieldError::required(&at.child("operator"), "").covered()),
        other => {
            let known = ["Equal", "Exists"];
            errors.push(FieldError::not_supported(&at.child("operator"), &json!(other), &known).covered());
        }
    }
    if !effect.is_empty() && !EFFECTS.contains(&effect) {
        errors.push(FieldError::not_supported(&at.child("effect"), &json!(effect), &EFFECTS).covered());
    }
}
