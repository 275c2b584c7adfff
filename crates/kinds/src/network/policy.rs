//! NetworkPolicies.

use crate::common::pod_rules::one_of;
use crate::common::port::check_int_or_name;
use crate::common::{ip, selector};
use crate::declared::Step::{self, Field, Items, Optional, OptionalPointer, Required};
use crate::print;
use crate::read::{each, fill, has, int, items, spec, text};
use crate::rules::Rules;
use ipnet::IpNet;
use ironclad_api::table::{self, Column};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};

const TYPES: [&str; 2] = ["Ingress", "Egress"];

const PEERS: &[Step] = &[Optional, Items(&[], &[Field("ipBlock", &[OptionalPointer, Field("cidr", &[Required])])])];
const DECLARED: &[Step] = &[Field(
    "spec",
    &[
        Field("ingress", &[Optional, Items(&[], &[Field("from", PEERS)])]),
        Field("egress", &[Optional, Items(&[], &[Field("to", PEERS)])]),
    ],
)];

pub(crate) const STRATEGY: Rules = Rules::new().defaults(default).checks(validate).declares(DECLARED).warns(|o, _| warnings(o)).prints(
    const { &[Column::object_name(), Column::text("Pod-Selector", "The pods that the policy is for."), Column::age()] },
    |o| vec![print::name(o), json!(print::selector(o, &["spec", "podSelector"])), table::age(o)],
);

fn default(o: &mut Value) {
    let spec = spec(o);
    fill(spec, "podSelector", json!({}));
    for direction in ["ingress", "egress"] {
        each(spec, &[direction], |rule| each(rule, &["ports"], |p| fill(p, "protocol", "TCP")));
    }
    if items(spec, &["policyTypes"]).is_empty() {
        let both = !items(spec, &["egress"]).is_empty();
        crate::read::put(spec, "policyTypes", if both { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) });
    }
}

fn validate(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("spec");
    errors.extend(selector::validate(&o["spec"]["podSelector"], &at.child("podSelector")));
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for (i, rule) in items(o, &["spec", direction]).iter().enumerate() {
            let at = at.child(direction).index(i);
            for (j, port) in items(rule, &["ports"]).iter().enumerate() {
                check_port(port, &at.child("ports").index(j), &mut errors);
            }
            for (j, peer) in items(rule, &[peers]).iter().enumerate() {
                check_peer(peer, &at.child(peers).index(j), &mut errors);
            }
        }
    }
    let (types, at) = (items(o, &["spec", "policyTypes"]), at.child("policyTypes"));
    if types.len() > TYPES.len() {
        errors.push(FieldError::invalid(&at, &json!(types), "may not specify more than two policyTypes"));
        return errors;
    }
    for (i, kind) in types.iter().enumerate().filter(|(_, k)| !TYPES.contains(&k.as_str().unwrap_or_default())) {
        errors.push(FieldError::not_supported(&at.index(i), kind, &TYPES));
    }
    errors
}

/// What is said of ranges that are written in an odd way.
fn warnings(o: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for (i, rule) in items(o, &["spec", direction]).iter().enumerate() {
            for (j, peer) in items(rule, &[peers]).iter().enumerate() {
                let at = Path::new("spec").child(direction).index(i).child(peers).index(j).child("ipBlock");
                let block = &peer["ipBlock"];
                let except = items(block, &["except"]).iter().enumerate();
                let except = except.map(|(k, cidr)| (cidr, at.child("except").index(k)));
                for (cidr, at) in std::iter::once((&block["cidr"], at.child("cidr"))).chain(except) {
                    warnings.extend(ip::cidr_warnings(cidr.as_str().unwrap_or_default(), &at));
                }
            }
        }
    }
    warnings
}

fn check_port(port: &Value, at: &Path, errors: &mut ErrorList) {
    one_of(port, at, "protocol", &["TCP", "UDP", "SCTP"], false, errors);
    let (own, end_at) = (at.child("port"), at.child("endPort"));
    let end = int(port, &["endPort"]);
    let mut wrong_end = |end: i64, why: &str| errors.push(FieldError::invalid(&end_at, &json!(end), why));
    match (&port["port"], end) {
        (Value::Null, Some(end)) => wrong_end(end, "may not be specified when `port` is not specified"),
        (Value::String(_), Some(end)) => wrong_end(end, "may not be specified when `port` is non-numeric"),
        _ => {}
    }
    if has(port, &["port"]) {
        check_int_or_name(&port["port"], &own, errors);
    }
    if let (Some(number), Some(end)) = (port["port"].as_i64(), end) {
        if end < number {
            errors.push(FieldError::invalid(&end_at, &json!(number), "must be greater than or equal to `port`"));
        }
        errors.extend(names::port_number(end).into_iter().map(|why| FieldError::invalid(&end_at, &json!(end), why)));
    }
}

fn check_peer(peer: &Value, at: &Path, errors: &mut ErrorList) {
    let mut given = 0;
    for key in ["podSelector", "namespaceSelector"].into_iter().filter(|k| has(peer, &[k])) {
        given += 1;
        errors.extend(selector::validate(&peer[key], &at.child(key)));
    }
    let block = has(peer, &["ipBlock"]);
    if block {
        check_block(&peer["ipBlock"], &at.child("ipBlock"), errors);
        if given > 0 {
            errors.push(FieldError::forbidden(at, "may not specify both ipBlock and another peer"));
        }
    } else if given == 0 {
        errors.push(FieldError::required(at, "must specify a peer"));
    }
}

fn check_block(block: &Value, at: &Path, errors: &mut ErrorList) {
    let given = text(block, &["cidr"]);
    if given.is_empty() {
        errors.push(FieldError::required(&at.child("cidr"), "").covered());
        return;
    }
    ip::cidr(given, &at.child("cidr"), errors);
    let Ok(whole) = given.parse::<IpNet>() else { return };
    for (i, given) in items(block, &["except"]).iter().enumerate() {
        let (given, at) = (given.as_str().unwrap_or_default(), at.child("except").index(i));
        ip::cidr(given, &at, errors);
        let Ok(part) = given.parse::<IpNet>() else { continue };
        if !whole.contains(&part.network()) || whole.prefix_len() >= part.prefix_len() {
            errors.push(FieldError::invalid_str(&at, given, "must be a strict subset of `cidr`"));
        }
    }
}
