//! What is wrong with a Node.

use crate::common::checks::{optional_rule, rule};
use crate::common::inside::inside;
use crate::common::numbers::amount;
use crate::common::pod_rules::one_of;
use crate::common::{ip, resources};
use crate::read::{fill, has, int, items, map, put, text};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};
use std::collections::HashSet;

const AVOID: &str = "scheduler.alpha.kubernetes.io/preferAvoidPods";

/// The range of addresses and the list of them are one thing.
pub(super) fn first_cidr(node: &mut Value) {
    let Some(spec) = node.get_mut("spec").filter(|s| s.is_object()) else { return };
    let (one, first) = (text(spec, &["podCIDR"]).to_owned(), items(spec, &["podCIDRs"]).first().cloned());
    match first {
        None if !one.is_empty() => put(spec, "podCIDRs", json!([one])),
        // Older clients know only the one.
        Some(first) if !one.is_empty() && first != one.as_str() => put(spec, "podCIDRs", json!([one])),
        Some(first) => fill(spec, "podCIDR", first),
        None => {}
    }
}

pub(super) fn validate(node: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    taints(node, &mut errors);
    amounts(node, &mut errors);
    if let Some(size) = int(node, &["status", "nodeInfo", "swap", "capacity"]).filter(|n| *n <= 0) {
        let at = Path::new("metadata").child("nodeSwapStatus").child("capacity");
        errors.push(FieldError::invalid(&at, &json!(size), "must be greater than zero"));
    }
    declared_features(node, &mut errors);
    let cidrs = items(node, &["spec", "podCIDRs"]);
    let at = Path::new("spec").child("podCIDRs");
    for (i, cidr) in cidrs.iter().enumerate() {
        ip::cidr(cidr.as_str().unwrap_or_default(), &at.index(i), &mut errors);
    }
    if cidrs.len() > 1 {
        let address = |c: &Value| c.as_str().unwrap_or_default().split('/').next().unwrap_or_default().to_owned();
        let shown: Vec<&str> = cidrs.iter().map(|c| c.as_str().unwrap_or_default()).collect();
        if let Some((i, bad)) = shown.iter().enumerate().find(|(_, c)| c.parse::<ipnet::IpNet>().is_err()) {
            let why = format!(
                "invalid PodCIDRs. failed to check with dual stack with error:invalid CIDR[{i}]: <nil> (invalid CIDR address: {bad})"
            );
            errors.push(FieldError::internal(&at, why));
        }
        let readable = shown.iter().all(|c| c.parse::<ipnet::IpNet>().is_ok());
        if cidrs.len() > 2 || !readable || !ip::dual(&address(&cidrs[0]), &address(&cidrs[1])) {
            let why = "may specify no more than one CIDR for each IP family";
            errors.push(FieldError::invalid(&at, &json!(cidrs), why));
        }
    }
    errors
}

/// Names of features are sorted and stand once.
fn declared_features(node: &Value, errors: &mut ErrorList) {
    let at = Path::new("status").child("declaredFeatures");
    let list: Vec<&str> =
        items(node, &["status", "declaredFeatures"]).iter().map(|f| f.as_str().unwrap_or_default()).collect();
    let part = |part: &str, first: fn(&u8) -> bool| {
        part.bytes().next().is_some_and(|b| first(&b)) && part.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    for (i, name) in list.iter().enumerate() {
        let mut parts = name.split('/');
        let well = parts.next().is_some_and(|p| part(p, u8::is_ascii_uppercase))
            && parts.all(|p| part(p, u8::is_ascii_alphabetic));
        if name.len() > 253 {
            let why = format!("invalid feature name {name:?}: must be no more than 253 characters");
            errors.push(FieldError::invalid_str(&at.index(i), name, why));
        } else if !well {
            let why = format!(
                "invalid feature name {name:?}: must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"
            );
            errors.push(FieldError::invalid_str(&at.index(i), name, why));
        }
        match list.get(i + 1) {
            Some(next) if next == name => errors.push(FieldError::duplicate(&at.index(i + 1), &json!(next))),
            Some(next) if next < name => {
                errors.push(FieldError::invalid_str(&at.index(i + 1), next, "list must be sorted alphabetically"));
            }
            _ => {}
        }
    }
}

fn amounts(node: &Value, errors: &mut ErrorList) {
    for part in ["capacity", "allocatable"] {
        for (name, value) in map(node, &["status", part]).into_iter().flatten() {
            amount(value, resources::is_counted(name), &Path::new("status").child(part).child(name), errors);
        }
    }
}

fn taints(node: &Value, errors: &mut ErrorList) {
    let at = Path::new("metadata").child("taints");
    let mut seen = HashSet::new();
    for (i, taint) in items(node, &["spec", "taints"]).iter().enumerate() {
        let at = at.index(i);
        let (key, value, effect) = (text(taint, &["key"]), text(taint, &["value"]), text(taint, &["effect"]));
        rule(names::qualified_name(key), key, &at.child("key"), errors);
        let found = names::label_value(value);
        if !found.is_empty() {
            errors.push(FieldError::invalid_str(&at.child("value"), value, found.join(";")));
        }
        one_of(taint, &at, "effect", &["NoSchedule", "PreferNoSchedule", "NoExecute"], true, errors);
        if !seen.insert((effect, key)) {
            let mut e = FieldError::duplicate(&at, &Value::Null);
            e.value = inside(taint, "Taint");
            e.detail = "taints must be unique by key and effect pair".to_owned();
            errors.push(e);
        }
    }
}

pub(super) fn validate_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    amounts(new, &mut errors);
    declared_features(new, &mut errors);
    let addresses = items(new, &["status", "addresses"]);
    for (i, address) in addresses.iter().enumerate().filter(|(i, a)| addresses[..*i].contains(a)) {
        let at = Path::new("status").child("addresses").index(i);
        let mut e = FieldError::duplicate(&at, &Value::Null);
        e.value = inside(address, "NodeAddress");
        errors.push(e);
    }
    let at = Path::new("spec");
    let (is, was) = (items(new, &["spec", "podCIDRs"]), items(old, &["spec", "podCIDRs"]));
    let changed = if is.len() == was.len() { is.iter().zip(was).filter(|(a, b)| a != b).count() } else { 1 };
    if !was.is_empty() {
        let why = "node updates may not change podCIDR except from \"\" to valid";
        errors.extend((0..changed).map(|_| FieldError::forbidden(&at.child("podCIDRs"), why)));
    }
    let provider = |o: &Value| text(o, &["spec", "providerID"]).to_owned();
    if !provider(old).is_empty() && provider(old) != provider(new) {
        let why = "node updates may not change providerID except from \"\" to valid";
        errors.push(FieldError::forbidden(&at.child("providerID"), why));
    }
    if has(new, &["spec", "configSource"]) {
        config_source(&new["spec"]["configSource"], &at.child("configSource"), &mut errors);
    }
    taints(new, &mut errors);
    if text(new, &["spec", "externalID"]) != text(old, &["spec", "externalID"]) {
        errors.push(FieldError::forbidden(&at.child("externalID"), "may not be updated"));
    }
    errors
}

/// The rules of a feature that is gone: they hold for what older versions stored.
fn config_source(source: &Value, at: &Path, errors: &mut ErrorList) {
    if !has(source, &["configMap"]) {
        errors.push(FieldError::invalid(at, source, "exactly one reference subfield must be non-nil"));
        return;
    }
    let (map, at) = (&source["configMap"], at.child("configMap"));
    for key in ["uid", "resourceVersion"].into_iter().filter(|k| !text(map, &[k]).is_empty()) {
        errors.push(FieldError::forbidden(&at.child(key), format!("{key} must not be set in spec")));
    }
    for key in ["namespace", "name", "kubeletConfigKey"] {
        if text(map, &[key]).is_empty() {
            errors.push(FieldError::required(&at.child(key), ""));
        }
    }
    optional_rule(map, &at, "namespace", names::dns1123_label, errors);
    optional_rule(map, &at, "name", names::dns1123_subdomain, errors);
    optional_rule(map, &at, "kubeletConfigKey", super::config::config_key, errors);
}

pub(super) fn warnings(node: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    if has(node, &["spec", "configSource"]) {
        warnings.push("spec.configSource: the feature is no longer supported".to_owned());
    }
    if !text(node, &["spec", "externalID"]).is_empty() {
        warnings.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned());
    }
    if has(node, &["metadata", "annotations", AVOID]) {
        let at = Path::new("metadata").child("annotations").key(AVOID);
        warnings.push(format!("{at}: this annotation is deprecated, and is unused by Kubernetes"));
    }
    warnings
}
