//! NetworkPolicies.

use crate::common::port::check_int_or_name;
use crate::common::selector;
use crate::print;
use crate::read::{each, fill, has, items, spec};
use crate::rules::Rules;
use ironclad_api::table::{self, Column};
use ironclad_api::{ErrorList, FieldError, Path};
use serde_json::{Value, json};

pub(crate) const STRATEGY: Rules = Rules::new().defaults(default).checks(validate).prints(
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
                if has(port, &["port"]) {
                    check_int_or_name(&port["port"], &at.child("ports").index(j).child("port"), &mut errors);
                }
            }
            for (j, peer) in items(rule, &[peers]).iter().enumerate() {
                check_peer(peer, &at.child(peers).index(j), &mut errors);
            }
        }
    }
    errors
}

fn check_peer(peer: &Value, at: &Path, errors: &mut ErrorList) {
    let selectors = ["podSelector", "namespaceSelector"].into_iter().filter(|k| has(peer, &[k]));
    let mut given = 0;
    for key in selectors {
        given += 1;
        errors.extend(selector::validate(&peer[key], &at.child(key)));
    }
    if has(peer, &["ipBlock"]) {
        if given > 0 {
            let detail = "may not specify both ipBlock and another peer";
            errors.push(FieldError::forbidden(at, detail));
        }
        let cidr = &peer["ipBlock"]["cidr"];
        if cidr.as_str().unwrap_or_default().parse::<ipnet::IpNet>().is_err() {
            let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
            errors.push(FieldError::invalid(&at.child("ipBlock").child("cidr"), cidr, detail));
        }
    } else if given == 0 {
        errors.push(FieldError::required(at, "must specify a peer"));
    }
}
