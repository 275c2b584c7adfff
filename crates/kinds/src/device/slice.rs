//! What is wrong with a ResourceSlice and the devices in it.

use super::capacity;
use super::names::{Most, binding, driver, each, label, pool, qualified, set, taint};
use crate::common::affinity_rules::node_selector;
use crate::common::checks::{immutable, required_rule, rule, same};
use crate::declared::covered;
use crate::read::{count, flag, has, items, map, text};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Map, Value, json};

const DEVICES_MAX: usize = 128;
const RICH_DEVICES_MAX: usize = 64;
const COUNTER_SETS: Most = Most::Declared(8);
const COUNTERS_MAX: usize = 32;
const CONSUMPTIONS: Most = Most::Declared(2);
const PARTS_MAX: usize = 32;
const VALUE_MAX: usize = 64;
const VALUES_MAX: usize = 48;
const TAINTS: Most = Most::ByHand(16);
const PLACES: &str = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";

/// What holds for a slice.
pub(super) fn validate(o: &Value) -> ErrorList {
    check(o, None)
}

/// What holds for a change.
pub(super) fn update(new: &Value, old: &Value) -> ErrorList {
    check(new, Some(old))
}

fn check(o: &Value, old: Option<&Value>) -> ErrorList {
    let mut errors = ErrorList::new();
    let (spec, at) = (&o["spec"], Path::new("spec"));
    driver(spec, &at, &mut errors);
    let pool_at = at.child("pool");
    pool(text(spec, &["pool", "name"]), &pool_at.child("name"), &mut errors);
    let slices = count(spec, &["pool", "resourceSliceCount"]);
    if slices <= 0 {
        let why = "must be greater than zero";
        errors.push(FieldError::invalid(&pool_at.child("resourceSliceCount"), &json!(slices), why));
    }
    let generation = count(spec, &["pool", "generation"]);
    if generation < 0 {
        let why = "must be greater than or equal to zero";
        errors.push(FieldError::invalid(&pool_at.child("generation"), &json!(generation), why));
    }
    if let Some(was) = old.map(|old| &old["spec"]) {
        immutable(&spec["pool"], &was["pool"], &pool_at, &["name"], &mut errors);
        immutable(spec, was, &at, &["driver", "nodeName"], &mut errors);
    }
    place(spec, &at, &mut errors);
    if has(spec, &["sharedCounters"]) && has(spec, &["devices"]) {
        let why = "only one of `sharedCounters` or `devices` is allowed";
        errors.push(FieldError::invalid_str(&at, "", why));
    }
    let devices = items(spec, &["devices"]);
    let rich = |d: &Value| !items(d, &["taints"]).is_empty() || !items(d, &["consumesCounters"]).is_empty();
    let was =
        |d: &Value| items(old?, &["spec", "devices"]).iter().find(|was| text(was, &["name"]) == text(d, &["name"]));
    let max = if devices.iter().any(rich) { RICH_DEVICES_MAX } else { DEVICES_MAX };
    let own_place = flag(spec, &["perDeviceNodeSelection"]);
    let name = |o: &Value| json!(text(o, &["name"]));
    set(devices, Most::ByHand(max), name, &at.child("devices"), &mut errors, |d, at, errors| {
        device(d, was(d), own_place, at, errors);
    });
    let shared = items(spec, &["sharedCounters"]);
    set(shared, COUNTER_SETS, name, &at.child("sharedCounters"), &mut errors, |o, at, errors| {
        counters(o, "name", at, errors);
    });
    errors
}

/// A boolean that says yes where it is there.
fn yes(o: &Value, at: &Path, key: &str, errors: &mut ErrorList) -> bool {
    if o[key] == json!(false) {
        errors.push(FieldError::invalid(&at.child(key), &o[key], "must be either unset or set to true"));
    }
    flag(o, &[key])
}

/// Which nodes reach the devices.
fn place(spec: &Value, at: &Path, errors: &mut ErrorList) {
    let mut given = Vec::new();
    match spec["nodeName"].as_str() {
        Some("") => {
            let why = "must be either unset or set to a non-empty string";
            errors.push(FieldError::invalid_str(&at.child("nodeName"), "", why));
        }
        Some(name) => {
            given.push("`nodeName`");
            rule(names::dns1123_subdomain(name), name, &at.child("nodeName"), errors);
        }
        None => {}
    }
    if has(spec, &["nodeSelector"]) {
        given.push("`nodeSelector`");
        node_selector(&spec["nodeSelector"], &at.child("nodeSelector"), errors);
        let terms = items(spec, &["nodeSelector", "nodeSelectorTerms"]);
        if terms.len() != 1 {
            let at = at.child("nodeSelector").child("nodeSelectorTerms");
            let given = &spec["nodeSelector"]["nodeSelectorTerms"];
            errors.push(FieldError::invalid(&at, given, "must have exactly one node selector term"));
        }
    }
    for (key, shown) in [("allNodes", "`allNodes`"), ("perDeviceNodeSelection", "`perDeviceNodeSelection`")] {
        if yes(spec, at, key, errors) {
            given.push(shown);
        }
    }
    match given.len() {
        0 => errors.push(FieldError::required(at, PLACES)),
        1 => {}
        _ => {
            let shown = format!("{{{}}}", given.join(", "));
            errors.push(FieldError::invalid_str(at, &shown, format!("{PLACES}, but multiple fields are set")));
        }
    }
}

fn device_place(o: &Value, at: &Path, errors: &mut ErrorList) {
    let mut given = Vec::new();
    match o["nodeName"].as_str() {
        Some("") => errors.push(FieldError::invalid_str(&at.child("nodeName"), "", "must not be empty")),
        Some(name) => {
            given.push("`nodeName`");
            rule(names::dns1123_subdomain(name), name, &at.child("nodeName"), errors);
        }
        None => {}
    }
    if has(o, &["nodeSelector"]) {
        given.push("`nodeSelector`");
        node_selector(&o["nodeSelector"], &at.child("nodeSelector"), errors);
    }
    if yes(o, at, "allNodes", errors) {
        given.push("`allNodes`");
    }
    let why = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    match given.len() {
        0 => errors.push(FieldError::required(at, why)),
        1 => {}
        _ => errors.push(FieldError::invalid_str(at, &format!("{{{}}}", given.join(", ")), why)),
    }
}

/// What is as it was, of capacities and taints, is not checked again.
fn device(o: &Value, was: Option<&Value>, own_place: bool, at: &Path, errors: &mut ErrorList) {
    label(o, at, "name", errors);
    let parts = |key: &str| map(o, &[key]).map_or(0, Map::len);
    let total = parts("attributes") + parts("capacity");
    if total > PARTS_MAX {
        let why = format!("the total number of attributes and capacities must not exceed {PARTS_MAX}");
        errors.push(FieldError::invalid(at, &json!(total), why));
    }
    let values = map(o, &["attributes"]).into_iter().flat_map(Map::values).map(attribute_values).sum::<usize>();
    if values > VALUES_MAX {
        let why = format!("the total number of attribute values must not exceed {VALUES_MAX}");
        errors.push(FieldError::invalid(at, &json!(values), why));
    }
    for (name, value) in map(o, &["attributes"]).into_iter().flatten() {
        qualified(name, &at.child("attributes"), errors);
        attribute(value, &at.child("attributes").key(name), errors);
    }
    let changed = |key: &str| was.is_none_or(|was| !same(&was[key], &o[key]));
    for (name, value) in map(o, &["capacity"]).filter(|_| changed("capacity")).into_iter().flatten() {
        qualified(name, &at.child("capacity"), errors);
        let at = at.child("capacity").key(name).child("requestPolicy");
        match (has(value, &["requestPolicy"]), flag(o, &["allowMultipleAllocations"])) {
            (true, true) => capacity::policy(value, &at, errors),
            (true, false) => errors.push(FieldError::forbidden(&at, "allowMultipleAllocations must be true")),
            _ => {}
        }
    }
    if changed("taints") {
        each(items(o, &["taints"]), TAINTS, &at.child("taints"), errors, |o, at, errors| taint(o, None, at, errors));
    }
    let key = |o: &Value| json!(text(o, &["counterSet"]));
    let consumed = items(o, &["consumesCounters"]);
    set(consumed, CONSUMPTIONS, key, &at.child("consumesCounters"), errors, |o, at, errors| {
        counters(o, "counterSet", at, errors);
    });
    if own_place {
        device_place(o, at, errors);
    } else if ["nodeName", "nodeSelector", "allNodes"].iter().any(|k| has(o, &[k])) {
        let why = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
        errors.push(FieldError::invalid(at, &Value::Null, why));
    }
    binding(o, at, errors);
}

const LISTS: [&str; 4] = ["ints", "bools", "strings", "versions"];

/// How many values an attribute has.
fn attribute_values(o: &Value) -> usize {
    LISTS.iter().map(|key| items(o, &[key]).len()).sum::<usize>().max(1)
}

fn attribute(o: &Value, at: &Path, errors: &mut ErrorList) {
    if text(o, &["string"]).len() > VALUE_MAX {
        errors.push(FieldError::too_long(&at.child("string"), VALUE_MAX));
    }
    if let Some(version) = o["version"].as_str() {
        let at = at.child("version");
        if semver::Version::parse(version).is_err() {
            let why = "must be a string compatible with semver.org spec 2.0.0";
            errors.push(FieldError::invalid_str(&at, version, why));
        }
        if version.len() > VALUE_MAX {
            errors.push(FieldError::too_long(&at, VALUE_MAX));
        }
    }
}

fn counters(o: &Value, key: &str, at: &Path, errors: &mut ErrorList) {
    covered(errors, |errors| required_rule(o, at, key, names::dns1123_label, errors));
    let (given, at) = (map(o, &["counters"]), at.child("counters"));
    match given.map_or(0, Map::len) {
        0 => errors.push(FieldError::required(&at, "")),
        n if n > COUNTERS_MAX => errors.push(FieldError::too_many(&at, n, COUNTERS_MAX)),
        _ => {}
    }
    covered(errors, |errors| {
        for name in given.into_iter().flat_map(Map::keys) {
            rule(names::dns1123_label(name), name, &at, errors);
        }
    });
}
