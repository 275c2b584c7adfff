//! EndpointSlices.

use crate::common::cells::shorten;
use crate::common::checks::rule;
use crate::common::ip;
use crate::declared::Step::{Field, Immutable, Items, MaxItems, OneOf, Optional, Required};
use crate::print;
use crate::read::{each, fill, items, text};
use crate::rules::Rules;
use ironclad_api::table::{Column, age};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};
use std::collections::HashSet;

const TOPOLOGY_MAX: usize = 16;
const ENDPOINTS_MAX: usize = 1000;
const PORTS_MAX: usize = 20_000;
const ADDRESSES_MAX: usize = 100;
const ZONES_MAX: usize = 8;
const NODES_MAX: usize = 8;
const HOST_LABEL: &str = "kubernetes.io/hostname";

pub(crate) const SLICE: Rules = Rules::new()
    .counts(&["labels"])
    .defaults(|o| {
        each(o, &["ports"], |p| {
            fill(p, "name", "");
            fill(p, "protocol", "TCP");
        });
    })
    .on_create(|o| each(o, &["endpoints"], without_topology))
    .on_update(|new, old| {
        let before = items(old, &["endpoints"]);
        // What older versions wrote stays as long as nothing changes.
        if items(new, &["endpoints"]) == before {
            return;
        }
        // What is dropped below counts as a change all the same.
        new["metadata"]["generation"] = json!(old["metadata"]["generation"].as_i64().unwrap_or(0) + 1);
        let known: Vec<&str> = before.iter().map(node_of_old).filter(|node| !node.is_empty()).collect();
        each(new, &["endpoints"], |e| {
            let node = node_of_old(e).to_owned();
            if e["nodeName"].is_null() && known.contains(&&*node) && names::dns1123_subdomain(&node).is_empty() {
                e["nodeName"] = json!(node);
            }
            without_topology(e);
        });
    })
    .checks(validate)
    .declares(
        const {
            &[
                Field("addressType", &[Required, Immutable, OneOf(&["FQDN", "IPv4", "IPv6"])]),
                Field(
                    "endpoints",
                    &[Optional, Items(&[], &[Field("addresses", &[Required, MaxItems(ADDRESSES_MAX)])])],
                ),
            ]
        },
    )
    .warns(warnings)
    .prints(
        const {
            &[
                Column::object_name(),
                Column::text("AddressType", "What sort of addresses it has."),
                Column::text("Ports", "The ports of its endpoints."),
                Column::text("Endpoints", "Their addresses."),
                Column::age(),
            ]
        },
        |o| {
            let ports: Vec<String> = items(o, &["ports"]).iter().map(port).collect();
            let addresses = items(o, &["endpoints"]).iter().flat_map(|e| items(e, &["addresses"]));
            let addresses: Vec<String> = addresses.filter_map(|a| a.as_str().map(str::to_owned)).collect();
            let kind = json!(text(o, &["addressType"]));
            vec![print::name(o), kind, shorten(&ports, "<unset>"), shorten(&addresses, "<unset>"), age(o)]
        },
    );

/// Controllers write addresses as they should be written.
const CAREFUL: [&str; 2] = ["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];

fn warnings(o: &Value, old: Option<&Value>) -> Vec<String> {
    let mut warnings = Vec::new();
    if old.is_none() && text(o, &["addressType"]) == "FQDN" {
        warnings.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
    }
    if CAREFUL.contains(&text(o, &["metadata", "labels", "endpointslice.kubernetes.io/managed-by"])) {
        return warnings;
    }
    for (i, endpoint) in items(o, &["endpoints"]).iter().enumerate() {
        let at = Path::new("endpoints").index(i).child("addresses");
        let addresses = items(endpoint, &["addresses"]).iter().enumerate();
        warnings.extend(addresses.filter_map(|(j, a)| ip::warning(a.as_str().unwrap_or_default(), &at.index(j))));
    }
    warnings
}

/// The node of an endpoint where older versions told it.
fn node_of_old(endpoint: &Value) -> &str {
    endpoint["deprecatedTopology"][HOST_LABEL].as_str().unwrap_or_default()
}

fn without_topology(endpoint: &mut Value) {
    if let Some(endpoint) = endpoint.as_object_mut() {
        endpoint.remove("deprecatedTopology");
    }
}

fn port(p: &Value) -> String {
    match (p["port"].as_i64(), p["name"].as_str()) {
        (Some(number), _) => number.to_string(),
        (None, Some(name)) => name.to_owned(),
        (None, None) => "*".to_owned(),
    }
}

fn validate(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    check_ports(items(o, &["ports"]), &Path::new("ports"), &mut errors);
    let endpoints = items(o, &["endpoints"]);
    let at = Path::new("endpoints");
    if endpoints.len() > ENDPOINTS_MAX {
        errors.push(FieldError::too_many(&at, endpoints.len(), ENDPOINTS_MAX));
        return errors;
    }
    for (i, endpoint) in endpoints.iter().enumerate() {
        check_endpoint(endpoint, text(o, &["addressType"]), &at.index(i), &mut errors);
    }
    errors
}

fn check_endpoint(endpoint: &Value, kind: &str, at: &Path, errors: &mut ErrorList) {
    let addresses = items(endpoint, &["addresses"]);
    let addresses_at = at.child("addresses");
    for (i, address) in addresses.iter().enumerate() {
        let (given, at) = (address.as_str().unwrap_or_default(), addresses_at.index(i));
        match kind {
            "IPv4" | "IPv6" => {
                let parsed = given.parse::<std::net::IpAddr>();
                if parsed.is_ok_and(|ip| ip.is_ipv4() != (kind == "IPv4")) {
                    let family = if kind == "IPv4" { "4" } else { "6" };
                    let why = format!("must be a valid IPv{family} address");
                    errors.push(FieldError::invalid_str(&at, given, why));
                }
                ip::endpoint(given, &at, errors);
            }
            "FQDN" => fqdn(given, &at, errors),
            _ => {}
        }
    }
    let node = text(endpoint, &["nodeName"]);
    if endpoint.get("nodeName").is_some_and(|v| !v.is_null()) {
        rule(names::dns1123_subdomain(node), node, &at.child("nodeName"), errors);
    }
    let topology = &endpoint["deprecatedTopology"];
    let topology_at = at.child("deprecatedTopology");
    if topology.as_object().is_some_and(|t| t.len() > TOPOLOGY_MAX) {
        let n = topology.as_object().map_or(0, ironclad_json::Map::len);
        errors.push(FieldError::too_many(&topology_at, n, TOPOLOGY_MAX));
    }
    errors.extend(crate::metadata::labels(topology, &topology_at));
    if topology.get(HOST_LABEL).is_some() && !node.is_empty() {
        let why = "may not be specified, use the nodeName field instead";
        errors.push(FieldError::forbidden(&topology_at.key(HOST_LABEL), why));
    }
    let host = text(endpoint, &["hostname"]);
    if endpoint.get("hostname").is_some_and(|v| !v.is_null()) {
        rule(names::dns1123_label(host), host, &at.child("hostname"), errors);
    }
    hints(&endpoint["hints"], &at.child("hints"), errors);
}

/// A name of at least two labels.
fn fqdn(given: &str, at: &Path, errors: &mut ErrorList) {
    if given.is_empty() {
        errors.push(FieldError::required(at, ""));
        return;
    }
    let found = names::dns1123_subdomain(given);
    if found.is_empty() && given.split('.').count() < 2 {
        let why = "should be a domain with at least two segments separated by dots";
        errors.push(FieldError::invalid_str(at, given, why));
    }
    rule(found, given, at, errors);
}

fn hints(hints: &Value, at: &Path, errors: &mut ErrorList) {
    for (part, max, check) in [
        ("forZones", ZONES_MAX, names::label_value as fn(&str) -> Vec<String>),
        ("forNodes", NODES_MAX, names::dns1123_subdomain),
    ] {
        let (given, at) = (items(hints, &[part]), at.child(part));
        if given.len() > max {
            errors.push(FieldError::too_many(&at, given.len(), max));
            return;
        }
        let mut seen = HashSet::new();
        for (i, hint) in given.iter().enumerate() {
            let (name, at) = (text(hint, &["name"]), at.index(i).child("name"));
            if !seen.insert(name) {
                errors.push(FieldError::duplicate(&at, &json!(name)));
            }
            rule(check(name), name, &at, errors);
        }
    }
}

fn check_ports(ports: &[Value], at: &Path, errors: &mut ErrorList) {
    if ports.len() > PORTS_MAX {
        errors.push(FieldError::too_many(at, ports.len(), PORTS_MAX));
        return;
    }
    let mut seen = HashSet::new();
    for (i, port) in ports.iter().enumerate() {
        let (at, name) = (at.index(i), text(port, &["name"]));
        if !name.is_empty() {
            rule(names::dns1123_label(name), name, &at.child("name"), errors);
        }
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&at.child("name"), &json!(name)));
        }
        let (protocol, known) = (text(port, &["protocol"]), ["SCTP", "TCP", "UDP"]);
        if !known.contains(&protocol) {
            errors.push(FieldError::not_supported(&at.child("protocol"), &json!(protocol), &known));
        }
        super::service::qualified(port, "appProtocol", &at, errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Strategy;

    #[test]
    fn topology_that_older_versions_wrote_stays_until_something_changes() {
        let slice = |endpoints: Value| json!({"metadata": {"generation": 3}, "endpoints": endpoints});
        let old = slice(json!([{"addresses": ["1.2.3.4"], "deprecatedTopology": {HOST_LABEL: "n"}}]));
        let mut same = old.clone();
        SLICE.prepare_update(&mut same, &old);
        assert_eq!(same, old);
        let wanted = json!([
            {"addresses": ["1.2.3.5"], "deprecatedTopology": {HOST_LABEL: "n"}},
            {"addresses": ["1.2.3.6"], "deprecatedTopology": {HOST_LABEL: "other"}},
        ]);
        let mut new = slice(wanted);
        SLICE.prepare_update(&mut new, &old);
        assert_eq!(new["endpoints"], json!([{"addresses": ["1.2.3.5"], "nodeName": "n"}, {"addresses": ["1.2.3.6"]}]));
        assert_eq!(new["metadata"]["generation"], 4);
    }
}
