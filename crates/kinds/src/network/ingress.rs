//! Ingresses.

use super::ingress_rules;
use crate::print;
use crate::read::{has, items, text};
use crate::rules::Rules;
use ironclad_api::table::{self, Cells, Column};
use ironclad_json::{Value, json};

/// How many hosts a cell shows.
const SHOWN: usize = 3;

pub(crate) const INGRESS: Rules = Rules::new()
    .on_create(|o| o["status"] = json!({"loadBalancer": {}}))
    .checks(ingress_rules::create)
    .checks_update(|new, _| ingress_rules::validate(new))
    .checks_status(|new, _| ingress_rules::status(new))
    .warns(|o, _| {
        let old = has(o, &["metadata", "annotations", "kubernetes.io/ingress.class"]);
        let why =
            "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead";
        if old { vec![why.to_owned()] } else { Vec::new() }
    })
    .prints(
        const {
            &[
                Column::object_name(),
                Column::text(
                    "Class",
                    "The name of the IngressClass resource that should be used for additional configuration",
                ),
                Column::text("Hosts", "Hosts that incoming requests are matched against before the ingress rule"),
                Column::text("Address", "Address is a list containing ingress points for the load-balancer"),
                Column::text("Ports", "Ports of TLS configurations that open"),
                Column::age(),
            ]
        },
        cells,
    );

fn cells(o: &Value) -> Cells {
    let rules = items(o, &["spec", "rules"]);
    let (mut hosts, mut more) = (Vec::new(), false);
    for rule in rules {
        more |= hosts.len() == SHOWN;
        let host = text(rule, &["host"]);
        if !more && !host.is_empty() {
            hosts.push(host);
        }
    }
    let mut shown = if hosts.is_empty() { "*".to_owned() } else { hosts.join(",") };
    if more {
        shown = format!("{shown} + {} more...", rules.len() - SHOWN);
    }
    let ports = if items(o, &["spec", "tls"]).is_empty() { "80" } else { "80, 443" };
    vec![
        print::name(o),
        print::or_none(o, &["spec", "ingressClassName"]),
        json!(shown),
        json!(print::load_balancer(o)),
        json!(ports),
        table::age(o),
    ]
}
