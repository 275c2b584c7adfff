//! How a Service may change: what the server gave it stays where the client says nothing, what a new type has no use
//! for goes, and addresses stay what they were.

use super::service_rules::{balancer_class, is_external, is_headless, needs_health_check};
use crate::common::checks::same;
use crate::read::{count, each, fill, has, int, items, put, spec, text};
use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_json::{Value, json};
use std::collections::{HashMap, HashSet};

fn kind(spec: &Value) -> &str {
    text(spec, &["type"])
}

fn has_address(spec: &Value) -> bool {
    kind(spec) != "ExternalName"
}

fn has_node_ports(spec: &Value) -> bool {
    matches!(kind(spec), "NodePort" | "LoadBalancer")
}

fn node_ports(spec: &Value) -> HashSet<i64> {
    items(spec, &["ports"]).iter().map(|p| count(p, &["nodePort"])).filter(|n| *n != 0).collect()
}

fn remove(spec: &mut Value, keys: &[&str]) {
    if let Some(map) = spec.as_object_mut() {
        keys.iter().for_each(|k| drop(map.remove(k)));
    }
}

/// Readies an update.
pub(super) fn prepare(new: &mut Value, old: &Value) {
    let before = &old["spec"];
    let now = spec(new);
    keep(now, before);
    normalize(now, before);
    drop_unused(now, before);
}

/// What the server gave out stays when the client does not say otherwise.
fn keep(now: &mut Value, before: &Value) {
    if has_address(before) && has_address(now) {
        let address = text(before, &["clusterIP"]);
        if text(now, &["clusterIP"]).is_empty() && !address.is_empty() {
            put(now, "clusterIP", json!(address));
        }
        if items(now, &["clusterIPs"]).is_empty() && text(now, &["clusterIP"]) == address && !address.is_empty() {
            put(now, "clusterIPs", before["clusterIPs"].clone());
        }
    }
    if has_node_ports(before) && has_node_ports(now) {
        let taken: HashSet<i64> = node_ports(before).intersection(&node_ports(now)).copied().collect();
        let ports = items(before, &["ports"]).iter();
        let known: HashMap<&str, i64> = ports.map(|p| (text(p, &["name"]), count(p, &["nodePort"]))).collect();
        each(now, &["ports"], |port| {
            let was = known.get(text(port, &["name"])).copied().filter(|n| *n != 0 && !taken.contains(n));
            if count(port, &["nodePort"]) == 0
                && let Some(was) = was
            {
                put(port, "nodePort", json!(was));
            }
        });
    }
    if needs_health_check(before) && needs_health_check(now) && count(now, &["healthCheckNodePort"]) == 0 {
        put(now, "healthCheckNodePort", before["healthCheckNodePort"].clone());
    }
    if has_address(before) && has_address(now) {
        for key in ["ipFamilies", "ipFamilyPolicy"] {
            if has(before, &[key]) {
                fill(now, key, before[key].clone());
            }
        }
    }
}

/// The first of the addresses and the address are one thing; a client that changes one changes both.
fn normalize(now: &mut Value, before: &Value) {
    let (one, was) = (text(now, &["clusterIP"]).to_owned(), text(before, &["clusterIP"]));
    let list_is_old = same(&now["clusterIPs"], &before["clusterIPs"]);
    if one.is_empty() && !was.is_empty() && list_is_old {
        remove(now, &["clusterIPs"]);
    } else if !one.is_empty() && one != was && (list_is_old || items(now, &["clusterIPs"]).is_empty()) {
        put(now, "clusterIPs", json!([one]));
    }
}

/// What the new type has no use for goes, unless the client changed it in the same write.
fn drop_unused(now: &mut Value, before: &Value) {
    let unchanged = |now: &Value, keys: &[&str]| keys.iter().all(|k| same(&now[*k], &before[*k]));
    if has_address(before) && !has_address(now) {
        if unchanged(now, &["clusterIP", "clusterIPs"]) {
            remove(now, &["clusterIP", "clusterIPs"]);
        }
        for key in ["ipFamilies", "ipFamilyPolicy"] {
            if unchanged(now, &[key]) {
                remove(now, &[key]);
            }
        }
    }
    if has_node_ports(before) && !has_node_ports(now) && node_ports(before) == node_ports(now) {
        each(now, &["ports"], |port| remove(port, &["nodePort"]));
    }
    if needs_health_check(before) && !needs_health_check(now) && unchanged(now, &["healthCheckNodePort"]) {
        remove(now, &["healthCheckNodePort"]);
    }
    if kind(before) == "LoadBalancer" && kind(now) != "LoadBalancer" {
        for key in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if unchanged(now, &[key]) {
                remove(now, &[key]);
            }
        }
    }
    if is_external(before) && !is_external(now) && unchanged(now, &["externalTrafficPolicy"]) {
        remove(now, &["externalTrafficPolicy"]);
    }
}

/// What may not change.
pub(super) fn validate(new: &Value, old: &Value) -> ErrorList {
    let (now, before, at) = (&new["spec"], &old["spec"], Path::new("spec"));
    let mut errors = ErrorList::new();
    if has_address(now) && has_address(before) {
        let headless = (is_headless(before), is_headless(now));
        if headless != (true, true) {
            fixed(now, before, "clusterIPs", &at, &mut errors);
        }
        if headless == (false, false) {
            fixed(now, before, "ipFamilies", &at, &mut errors);
        }
    }
    if kind(now) == "LoadBalancer"
        && kind(before) == "LoadBalancer"
        && !same(&now["loadBalancerClass"], &before["loadBalancerClass"])
    {
        let at = at.child("loadBalancerClass");
        errors.push(FieldError::invalid(&at, &now["loadBalancerClass"], "may not change once set"));
    }
    balancer_class(now, &at, &mut errors);
    let health = |spec: &Value| int(spec, &["healthCheckNodePort"]);
    if needs_health_check(before) && needs_health_check(now) && health(before) != health(now) {
        errors.push(FieldError::forbidden(&at.child("healthCheckNodePort"), "field is immutable"));
    }
    errors
}

/// A list of which the first entry stays, and the second comes and goes with the policy.
fn fixed(now: &Value, before: &Value, key: &str, at: &Path, errors: &mut ErrorList) {
    let (list, was) = (items(now, &[key]), items(before, &[key]));
    let wrong = |i: usize, why: &str| FieldError::invalid(&at.child(key).index(i), &json!(list), why);
    let (thing, primary) =
        if key == "clusterIPs" { ("clusterIP", "primary clusterIP") } else { ("ipFamily", "primary ipFamily") };
    if list.len() == was.len() {
        for (i, _) in was.iter().enumerate().filter(|(i, w)| list[*i] != **w) {
            errors.push(wrong(if key == "clusterIPs" { i } else { 0 }, "may not change once set"));
        }
        return;
    }
    if list.is_empty() {
        errors.push(wrong(0, &format!("{primary} can not be unset")));
    } else if was.first().is_some_and(|w| *w != list[0]) {
        errors.push(wrong(0, "may not change once set"));
    }
    if list.len() == 1 && was.len() > 1 && text(now, &["ipFamilyPolicy"]) != "SingleStack" {
        let why = format!("must be set to 'SingleStack' when releasing the secondary {thing}");
        errors.push(FieldError::invalid(&at.child("ipFamilyPolicy"), &now["ipFamilyPolicy"], why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::Map;

    fn prepared(new: Value, old: &Value) -> Map {
        let mut new = json!({"spec": new});
        prepare(&mut new, &json!({"spec": old}));
        new["spec"].as_object().unwrap().clone()
    }

    #[test]
    fn what_was_given_stays_and_what_has_no_use_goes() {
        let old = json!({"type": "NodePort", "clusterIP": "10.0.0.9", "clusterIPs": ["10.0.0.9"],
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "externalTrafficPolicy": "Cluster",
            "ports": [{"name": "a", "port": 80, "nodePort": 30001}, {"name": "b", "port": 81, "nodePort": 30002}]});
        let new = json!({"type": "NodePort", "ports": [{"name": "b", "port": 8081}, {"name": "c", "port": 82}]});
        let spec = prepared(new, &old);
        assert_eq!((&spec["clusterIP"], &spec["clusterIPs"]), (&json!("10.0.0.9"), &json!(["10.0.0.9"])));
        assert_eq!((&spec["ports"][0]["nodePort"], &spec["ports"][1]["nodePort"]), (&json!(30002), &Value::Null));
        let mut inside = old.clone();
        inside["type"] = json!("ClusterIP");
        let spec = prepared(inside, &old);
        assert!(spec.get("externalTrafficPolicy").is_none() && spec["ports"][0].get("nodePort").is_none());
        let mut outside = old.clone();
        outside["type"] = json!("ExternalName");
        let spec = prepared(outside, &old);
        assert!(["clusterIP", "clusterIPs", "ipFamilies"].iter().all(|k| spec.get(k).is_none()));
    }

    #[test]
    fn an_address_stays_once_it_is_set() {
        let old = json!({"spec": {"type": "ClusterIP", "clusterIP": "10.0.0.9", "clusterIPs": ["10.0.0.9"]}});
        let mut new = old.clone();
        new["spec"]["clusterIP"] = json!("10.0.0.8");
        prepare(&mut new, &old);
        let errors = validate(&new, &old);
        assert_eq!(errors[0].to_string(), "spec.clusterIPs[0]: Invalid value: [\"10.0.0.8\"]: may not change once set");
    }
}
