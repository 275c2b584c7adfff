//! IPAddresses and ServiceCIDRs.

use crate::print;
use crate::read::{items, text};
use crate::rules::Rules;
use ironclad_api::table::{self, Cells, Column};
use ironclad_api::{ErrorList, FieldError, Path};
use serde_json::{Value, json};

pub(crate) const IP: Rules = Rules::new().named(ip_name).prints(
    const { &[Column::object_name(), Column::text("ParentRef", "The object that uses the address."), Column::age()] },
    ip_cells,
);

pub(crate) const CIDR: Rules = Rules::new().checks(validate).prints(
    const { &[Column::object_name(), Column::text("CIDRs", "The ranges of addresses."), Column::age()] },
    |o| {
        let cidrs: Vec<&str> = items(o, &["spec", "cidrs"]).iter().filter_map(Value::as_str).collect();
        vec![print::name(o), json!(cidrs.join(",")), table::age(o)]
    },
);

fn ip_name(name: &str) -> Vec<String> {
    match name.parse::<std::net::IpAddr>() {
        Ok(ip) if ip.to_string() == name => Vec::new(),
        Ok(ip) => vec![format!("must be in canonical form (\"{ip}\")")],
        Err(_) => vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()],
    }
}

fn ip_cells(o: &Value) -> Cells {
    let parent = &o["spec"]["parentRef"];
    let part = |key| text(parent, &[key]);
    let parts = [part("resource"), part("group"), part("namespace"), part("name")];
    let [resource, group, namespace, name] = parts;
    let kind = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
    let shown = if namespace.is_empty() { format!("{kind}/{name}") } else { format!("{kind}/{namespace}/{name}") };
    vec![print::name(o), json!(shown), table::age(o)]
}

fn validate(o: &Value) -> ErrorList {
    let at = Path::new("spec").child("cidrs");
    let cidrs = items(o, &["spec", "cidrs"]);
    let mut errors = ErrorList::new();
    if cidrs.is_empty() {
        errors.push(FieldError::required(&at, "at least one CIDR required"));
    }
    for (i, cidr) in cidrs.iter().enumerate() {
        if cidr.as_str().unwrap_or_default().parse::<ipnet::IpNet>().is_err() {
            let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
            errors.push(FieldError::invalid(&at.index(i), cidr, detail));
        }
    }
    errors
}
