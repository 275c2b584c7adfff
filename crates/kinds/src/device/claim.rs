//! What is wrong with a claim to devices, with a class of devices and with what a claim got.

use super::names::{Most, binding, class, driver, each, fully_qualified, label, pool, set, toleration};
use crate::common::affinity_rules::node_selector;
use crate::common::checks::{required, same};
use crate::common::conditions;
use crate::common::ip::interface_address;
use crate::declared::{covered, format};
use crate::read::{count, has, items, text};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_cel::{Type, device};
use ironclad_json::{Value, json};

const LIST: Most = Most::Declared(32);
const ALTERNATIVES: Most = Most::Declared(8);
const RESERVED: Most = Most::Declared(256);
const CONFIGURATIONS: Most = Most::Declared(64);
const ANY: Most = Most::Declared(usize::MAX);
const CONDITIONS_MAX: usize = 8;
const PARAMETERS_MAX: usize = 10 * 1024;
const EXPRESSION_MAX: usize = 10 * 1024;
const ADDRESSES: Most = Most::Declared(16);

/// What holds for the specification of a claim.
pub(super) fn spec(spec: &Value, at: &Path, errors: &mut ErrorList) {
    let (devices, at) = (&spec["devices"], at.child("devices"));
    let known = requests(devices);
    named(items(devices, &["requests"]), LIST, &at.child("requests"), errors, request);
    let constraints = items(devices, &["constraints"]);
    each(constraints, LIST, &at.child("constraints"), errors, |o, at, errors| {
        references(o, &known, at, errors);
        let (equal, distinct) = (o["matchAttribute"].as_str(), o["distinctAttribute"].as_str());
        match (equal, distinct) {
            (Some(name), _) => {
                covered(errors, |errors| fully_qualified(name, &at.child("matchAttribute"), errors));
            }
            (None, Some(name)) => fully_qualified(name, &at.child("distinctAttribute"), errors),
            (None, None) => {
                let why = "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set";
                errors.push(FieldError::required(at, why));
            }
        }
    });
    each(items(devices, &["config"]), LIST, &at.child("config"), errors, |o, at, errors| {
        references(o, &known, at, errors);
        configuration(o, false, at, errors);
    });
}

/// Checks each item of a list, and that none has the name of one before.
fn named(list: &[Value], max: Most, at: &Path, errors: &mut ErrorList, check: fn(&Value, &Path, &mut ErrorList)) {
    set(list, max, |o| json!(text(o, &["name"])), at, errors, check);
}

/// The names by which a claim's parts refer to its requests.
fn requests(devices: &Value) -> Vec<String> {
    // Of requests with one name the last counts.
    let mut known: Vec<(&str, &[Value])> = Vec::new();
    for request in items(devices, &["requests"]) {
        let name = text(request, &["name"]);
        known.retain(|(before, _)| *before != name);
        known.push((name, items(request, &["firstAvailable"])));
    }
    let below = |(name, subs): (&str, &[Value])| -> Vec<String> {
        let subs = subs.iter().map(|sub| format!("{name}/{}", text(sub, &["name"])));
        std::iter::once(name.to_owned()).chain(subs).collect()
    };
    known.into_iter().flat_map(below).collect()
}

fn references(o: &Value, known: &[String], at: &Path, errors: &mut ErrorList) {
    set(items(o, &["requests"]), LIST, Value::clone, &at.child("requests"), errors, |name, at, errors| {
        reference(name.as_str().unwrap_or_default(), known, at, errors);
    });
}

fn reference(name: &str, known: &[String], at: &Path, errors: &mut ErrorList) {
    let why = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";
    if name.split('/').count() <= 2 {
        for part in name.split('/') {
            crate::common::checks::rule(names::dns1123_label(part), part, at, errors);
        }
    }
    if !known.iter().any(|k| k == name) {
        errors.push(FieldError::invalid_str(at, name, why));
    }
}

fn request(o: &Value, at: &Path, errors: &mut ErrorList) {
    label(o, at, "name", errors);
    let alternatives = items(o, &["firstAvailable"]);
    let one = "exactly one of `exactly` or `firstAvailable` is required";
    match (has(o, &["exactly"]), !alternatives.is_empty()) {
        (false, false) => errors.push(FieldError::required(at, one)),
        (true, true) => {
            let why = format!("{one}, but multiple fields are set");
            errors.push(FieldError::invalid(at, &Value::Null, why));
        }
        (true, false) => {
            let at = at.child("exactly");
            class(&o["exactly"], &at, errors);
            asked(&o["exactly"], &at, errors);
        }
        (false, true) => {
            let at = at.child("firstAvailable");
            named(alternatives, ALTERNATIVES, &at, errors, |sub, at, errors| {
                label(sub, at, "name", errors);
                covered(errors, |errors| class(sub, at, errors));
                asked(sub, at, errors);
            });
        }
    }
}

fn asked(o: &Value, at: &Path, errors: &mut ErrorList) {
    selectors(o, false, at, errors);
    let (n, count_at) = (count(o, &["count"]), at.child("count"));
    match text(o, &["allocationMode"]) {
        "All" if n != 0 => {
            let why = "must not be specified when allocationMode is 'All'";
            errors.push(FieldError::invalid(&count_at, &json!(n), why));
        }
        "ExactCount" if n <= 0 => {
            errors.push(FieldError::invalid(&count_at, &json!(n), "must be greater than zero"));
        }
        "All" | "ExactCount" => {}
        other => {
            let known = ["All", "ExactCount"];
            errors.push(FieldError::not_supported(&at.child("allocationMode"), &json!(other), &known).covered());
        }
    }
    for (i, item) in items(o, &["tolerations"]).iter().enumerate() {
        toleration(item, &at.child("tolerations").index(i), errors);
    }
}

/// `stored` selectors were compiled when they came.
fn selectors(o: &Value, stored: bool, at: &Path, errors: &mut ErrorList) {
    each(items(o, &["selectors"]), LIST, &at.child("selectors"), errors, |selector, at, errors| {
        let at = at.child("cel");
        if !has(selector, &["cel"]) {
            errors.push(FieldError::required(&at, ""));
        } else if !stored {
            expression(text(selector, &["cel", "expression"]), &at.child("expression"), errors);
        }
    });
}

fn expression(source: &str, at: &Path, errors: &mut ErrorList) {
    if source.len() > EXPRESSION_MAX {
        errors.push(FieldError::too_long(at, EXPRESSION_MAX));
        return;
    }
    match device::environment().compile(source) {
        Err(why) => errors.push(FieldError::invalid_str(at, source, format!("compilation failed: {why}"))),
        Ok(program) if !matches!(program.result(), Type::Bool | Type::Dyn) => {
            let why = format!("must evaluate to bool or the unknown type, not {}", program.result());
            errors.push(FieldError::invalid_str(at, source, why));
        }
        Ok(program) if program.cost().max > device::MAX_COST => {
            errors.push(FieldError::forbidden(at, "too complex, exceeds cost limit"));
        }
        Ok(_) => {}
    }
}

/// `stored` parameters may be longer than new ones.
fn configuration(o: &Value, stored: bool, at: &Path, errors: &mut ErrorList) {
    let (opaque, at) = (&o["opaque"], at.child("opaque"));
    if opaque.is_null() {
        errors.push(FieldError::required(&at, ""));
        return;
    }
    covered(errors, |errors| driver(opaque, &at, errors));
    raw(&opaque["parameters"], stored, &at.child("parameters"), errors);
}

/// An object of a kind that the server does not know.
fn raw(value: &Value, stored: bool, at: &Path, errors: &mut ErrorList) {
    match value {
        Value::Null => errors.push(FieldError::required(at, "")),
        _ if !stored && !value.is_null() && value.to_string().len() > PARAMETERS_MAX => {
            errors.push(FieldError::too_long(at, PARAMETERS_MAX));
        }
        Value::Object(_) => {}
        _ => errors.push(FieldError::invalid_str(at, "<value omitted>", "must be a valid JSON object")),
    }
}

/// What holds for a class.
pub(super) fn device_class(o: &Value) -> ErrorList {
    changed_class(o, &Value::Null)
}

/// What holds for a class that was changed: what is as it was is not compiled again.
pub(super) fn changed_class(o: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("spec");
    let stored = |key: &str| !old.is_null() && same(&o["spec"][key], &old["spec"][key]);
    selectors(&o["spec"], stored("selectors"), &at, &mut errors);
    each(items(o, &["spec", "config"]), LIST, &at.child("config"), &mut errors, |o, at, errors| {
        configuration(o, stored("config"), at, errors);
    });
    if let Some(name) = o["spec"]["extendedResourceName"].as_str()
        && !crate::common::resources::is_extended(name)
    {
        let at = at.child("extendedResourceName");
        covered(&mut errors, |errors| format::extended_resource(name, &at, errors));
    }
    errors
}

/// What holds for the status of a claim: what it got, and who uses it.
pub(super) fn status(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (status, was, at) = (&new["status"], &old["status"], Path::new("status"));
    let known = requests(&new["spec"]["devices"]);
    let users = items(status, &["reservedFor"]);
    let users_at = at.child("reservedFor");
    set(
        users,
        RESERVED,
        |o| json!(text(o, &["uid"])),
        &users_at,
        &mut errors,
        |o, at, errors| {
            required(o, at, &["resource", "name", "uid"], errors);
        },
    );
    let results = items(status, &["allocation", "devices", "results"]);
    let key = |o: &Value| json!(id(o).iter().filter(|p| !p.is_empty()).cloned().collect::<Vec<_>>().join("/"));
    set(items(status, &["devices"]), ANY, key, &at.child("devices"), &mut errors, |o, at, errors| {
        device_status(o, results, at, errors);
    });
    if !users.is_empty() && !has(status, &["allocation"]) {
        errors.push(FieldError::forbidden(&users_at, "may not be specified when `allocated` is not set"));
    } else if has(new, &["metadata", "deletionTimestamp"])
        && users.iter().any(|u| !items(was, &["reservedFor"]).contains(u))
    {
        let why = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
        errors.push(FieldError::forbidden(&users_at, why));
    }
    match (has(was, &["allocation"]), has(status, &["allocation"])) {
        (true, true) if !same(&status["allocation"], &was["allocation"]) => {
            let why = "field cannot be modified once set";
            errors.push(FieldError::invalid(&at.child("allocation"), &Value::Null, why).covered());
        }
        (false, true) => allocation(&status["allocation"], &known, &at.child("allocation"), &mut errors),
        _ => {}
    }
    errors
}

/// What identifies a device of a claim.
fn id(o: &Value) -> [String; 4] {
    ["driver", "pool", "device", "shareID"].map(|k| text(o, &[k]).to_owned())
}

/// What identifies a device, as stock shows it.
fn shown_id(o: &Value) -> String {
    let parts = ["Driver", "Pool", "Device", "ShareID"].into_iter().zip(id(o));
    format!("{{{}}}", parts.map(|(name, part)| format!("\"{name}\":{}", json!(part))).collect::<Vec<_>>().join(","))
}

/// Forgets what was told of devices that the claim had and has no more.
pub(super) fn forget_devices(new: &mut Value, old: &Value) {
    let had = |o: &Value| -> Vec<[String; 4]> {
        items(o, &["status", "allocation", "devices", "results"]).iter().map(id).collect()
    };
    let kept = had(new);
    let gone: Vec<[String; 4]> = had(old).into_iter().filter(|device| !kept.contains(device)).collect();
    let Some(devices) = crate::read::at_mut(new, &["status", "devices"]).and_then(Value::as_array_mut) else { return };
    devices.retain(|told| !gone.contains(&id(told)));
}

fn allocation(o: &Value, known: &[String], at: &Path, errors: &mut ErrorList) {
    let devices = at.child("devices");
    each(items(o, &["devices", "results"]), LIST, &devices.child("results"), errors, |o, at, errors| {
        reference(text(o, &["request"]), known, &at.child("request"), errors);
        covered(errors, |errors| {
            driver(o, at, errors);
            pool(text(o, &["pool"]), &at.child("pool"), errors);
        });
        label(o, at, "device", errors);
        binding(o, at, errors);
    });
    each(items(o, &["devices", "config"]), CONFIGURATIONS, &devices.child("config"), errors, |o, at, errors| {
        references(o, known, at, errors);
        configuration(o, false, at, errors);
    });
    if has(o, &["nodeSelector"]) {
        node_selector(&o["nodeSelector"], &at.child("nodeSelector"), errors);
    }
}

fn device_status(o: &Value, results: &[Value], at: &Path, errors: &mut ErrorList) {
    driver(o, at, errors);
    pool(text(o, &["pool"]), &at.child("pool"), errors);
    label(o, at, "device", errors);
    if !results.iter().any(|r| id(r) == id(o)) {
        errors.push(FieldError::invalid_shown(at, shown_id(o), "must be an allocated device in the claim"));
    }
    let list = items(o, &["conditions"]);
    if list.len() > CONDITIONS_MAX {
        errors.push(FieldError::too_many(&at.child("conditions"), list.len(), CONDITIONS_MAX));
    }
    conditions::all(list, &at.child("conditions"), errors);
    if has(o, &["data"]) {
        raw(&o["data"], false, &at.child("data"), errors);
    }
    let (data, at) = (&o["networkData"], at.child("networkData"));
    set(items(data, &["ips"]), ADDRESSES, Value::clone, &at.child("ips"), errors, |address, at, errors| {
        interface_address(address.as_str().unwrap_or_default(), at, errors);
    });
}
