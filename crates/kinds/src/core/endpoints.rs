//! Endpoints, which EndpointSlices have replaced.

use crate::common::cells::shorten;
use crate::common::checks::{optional_rule, rule, same};
use crate::common::{ip, pod_rules::one_of};
use crate::print;
use crate::read::{count, each, fill_zero, items, text};
use crate::rules::Rules;
use ironclad_api::table::{Column, age};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};

pub(crate) const ENDPOINTS: Rules = Rules::new()
    .defaults(|o| {
        each(o, &["subsets"], |subset| each(subset, &["ports"], |p| fill_zero(p, "protocol", "TCP")));
        if o.get("subsets").is_some_and(Value::is_null) {
            o.as_object_mut().and_then(|e| e.remove("subsets"));
        }
    })
    .checks(validate)
    .checks_update(|new, old| {
        // What older versions stored stays valid as long as nobody touches it.
        if same(&new["subsets"], &old["subsets"]) { ErrorList::new() } else { validate(new) }
    })
    .prints(
        const { &[Column::object_name(), Column::text("Endpoints", "Addresses with ports."), Column::age()] },
        |o| vec![print::name(o), addresses(o), age(o)],
    );

fn validate(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    for (i, subset) in items(o, &["subsets"]).iter().enumerate() {
        let at = Path::new("subsets").index(i);
        if items(subset, &["addresses"]).is_empty() && items(subset, &["notReadyAddresses"]).is_empty() {
            errors.push(FieldError::required(&at, "must specify `addresses` or `notReadyAddresses`"));
        }
        for part in ["addresses", "notReadyAddresses"] {
            for (j, address) in items(subset, &[part]).iter().enumerate() {
                let at = at.child(part).index(j);
                let (given, ip_at) = (text(address, &["ip"]), at.child("ip"));
                let valid = ip::address(given, &ip_at, &mut errors).is_some();
                optional_rule(address, &at, "hostname", names::dns1123_label, &mut errors);
                if let Some(node) = address.get("nodeName").and_then(Value::as_str) {
                    rule(names::dns1123_subdomain(node), node, &at.child("nodeName"), &mut errors);
                }
                match valid {
                    true => ip::endpoint(given, &ip_at, &mut errors),
                    false => errors.push(FieldError::invalid_str(&ip_at, given, "must be a valid IP address")),
                }
            }
        }
        let ports = items(subset, &["ports"]);
        for (j, port) in ports.iter().enumerate() {
            check_port(port, ports.len() > 1, &at.child("ports").index(j), &mut errors);
        }
    }
    errors
}

fn check_port(port: &Value, named: bool, at: &Path, errors: &mut ErrorList) {
    let name = text(port, &["name"]);
    if !name.is_empty() {
        rule(names::dns1123_label(name), name, &at.child("name"), errors);
    } else if named {
        errors.push(FieldError::required(&at.child("name"), ""));
    }
    let number = count(port, &["port"]);
    for why in names::port_number(number) {
        errors.push(FieldError::invalid(&at.child("port"), &json!(number), why));
    }
    one_of(port, at, "protocol", &["SCTP", "TCP", "UDP"], true, errors);
    super::service::qualified(port, "appProtocol", at, errors);
}

fn addresses(o: &Value) -> Value {
    let mut all = Vec::new();
    for subset in items(o, &["subsets"]) {
        let ports = items(subset, &["ports"]);
        let ips = items(subset, &["addresses"]).iter().map(|a| text(a, &["ip"]));
        if ports.is_empty() {
            all.extend(ips.clone().map(str::to_owned));
        }
        for port in ports {
            let number = count(port, &["port"]);
            all.extend(ips.clone().map(|ip| match ip.contains(':') {
                true => format!("[{ip}]:{number}"),
                false => format!("{ip}:{number}"),
            }));
        }
    }
    let unset = if items(o, &["subsets"]).is_empty() { "<none>" } else { "" };
    shorten(&all, unset)
}
