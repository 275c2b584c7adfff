//! IPAddresses and ServiceCIDRs.

use crate::common::checks::{IMMUTABLE, optional_rule};
use crate::common::ip::{NO_CIDR, NO_IP};
use crate::declared::Step::{self, Field, Immutable, Required, RequiredPointer};
use crate::print;
use crate::read::{items, text};
use crate::rules::Rules;
use ipnet::IpNet;
use ironclad_api::table::{self, Cells, Column};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};

/// What every reference to an object has.
const NAMED: [Step; 2] = [Field("resource", &[Required]), Field("name", &[Required])];

pub(crate) const IP: Rules = Rules::new()
    .named(ip_name)
    .checks(check_ip)
    .declares(const { &[Field("spec", &[Field("parentRef", &[RequiredPointer, Immutable, NAMED[0], NAMED[1]])])] })
    .prints(
        const { &[Column::object_name(), Column::text("ParentRef", "The object that uses the address.")] },
        ip_cells,
    );

pub(crate) const CIDR: Rules = Rules::new().checks(check_cidrs).checks_update(update_cidrs).prints(
    const { &[Column::object_name(), Column::text("CIDRs", "The ranges of addresses."), Column::age()] },
    |o| vec![print::name(o), json!(cidrs(o).join(",")), table::age(o)],
);

fn ip_name(name: &str) -> Vec<String> {
    match name.parse::<std::net::IpAddr>() {
        Ok(ip) if ip.to_string() == name => Vec::new(),
        Ok(ip) => vec![format!("must be in canonical form (\"{ip}\")")],
        Err(_) => vec![NO_IP.to_owned()],
    }
}

fn ip_cells(o: &Value) -> Cells {
    let parent = &o["spec"]["parentRef"];
    let part = |key| text(parent, &[key]);
    let parts = [part("resource"), part("group"), part("namespace"), part("name")];
    let [resource, group, namespace, name] = parts;
    let kind = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
    let shown = if namespace.is_empty() { format!("{kind}/{name}") } else { format!("{kind}/{namespace}/{name}") };
    // Stock has no column for the age, but tells it.
    vec![print::name(o), json!(shown), table::age(o)]
}

fn check_ip(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("spec").child("parentRef");
    let parent = &o["spec"]["parentRef"];
    if !parent.is_object() {
        return vec![FieldError::required(&at, "").covered()];
    }
    optional_rule(parent, &at, "group", names::dns1123_subdomain, &mut errors);
    optional_rule(parent, &at, "resource", names::path_segment, &mut errors);
    optional_rule(parent, &at, "name", names::path_segment, &mut errors);
    optional_rule(parent, &at, "namespace", names::path_segment, &mut errors);
    errors
}

fn cidrs(o: &Value) -> Vec<&str> {
    items(o, &["spec", "cidrs"]).iter().filter_map(Value::as_str).collect()
}

fn check_cidrs(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (at, given) = (Path::new("spec").child("cidrs"), cidrs(o));
    match given.len() {
        0 => return vec![FieldError::required(&at, "at least one CIDR required")],
        1 | 2 => {}
        _ => return vec![FieldError::invalid(&at, &json!({"CIDRs": given}), "may only hold up to 2 values")],
    }
    for (i, cidr) in given.iter().enumerate() {
        let wrong = match cidr.parse::<IpNet>() {
            Err(_) => NO_CIDR.to_owned(),
            Ok(net) if net.addr() != net.network() => "must not have bits set beyond the prefix length".to_owned(),
            Ok(net) if net.to_string() != *cidr => format!("must be in canonical form (\"{net}\")"),
            Ok(_) => continue,
        };
        errors.push(FieldError::invalid_str(&at.index(i), cidr, wrong));
    }
    let families: Vec<bool> =
        given.iter().filter_map(|c| c.parse::<IpNet>().ok()).map(|n| n.addr().is_ipv4()).collect();
    if families.len() == 2 && families[0] == families[1] {
        let why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        errors.push(FieldError::invalid(&at, &o["spec"]["cidrs"], why));
    }
    errors
}

/// A range stays; a second one of the other family may be added.
fn update_cidrs(new: &Value, old: &Value) -> ErrorList {
    let (at, now, was) = (Path::new("spec").child("cidrs"), cidrs(new), cidrs(old));
    let mut errors = ErrorList::new();
    let grows = (was.len(), now.len()) == (1, 2);
    if now.len() != was.len() && !grows {
        return vec![FieldError::invalid(&at, &new["spec"]["cidrs"], IMMUTABLE)];
    }
    for (i, (cidr, _)) in now.iter().zip(&was).enumerate().filter(|(_, (a, b))| a != b) {
        errors.push(FieldError::invalid_str(&at.index(i), cidr, IMMUTABLE));
    }
    if grows {
        errors.extend(check_cidrs(new));
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_stay_and_are_of_different_families() {
        let of = |cidrs: &[&str]| json!({"spec": {"cidrs": cidrs}});
        let table = [
            (of(&[]), "spec.cidrs: Required value: at least one CIDR required"),
            (
                of(&["10.0.0.1/24"]),
                "spec.cidrs[0]: Invalid value: \"10.0.0.1/24\": must not have bits set beyond the prefix length",
            ),
            (of(&["10.0.0.0/24", "fd00::/64"]), ""),
            (
                of(&["FD00::/64"]),
                "spec.cidrs[0]: Invalid value: \"FD00::/64\": must be in canonical form (\"fd00::/64\")",
            ),
        ];
        for (object, expected) in table {
            let found = check_cidrs(&object).first().map_or(String::new(), ToString::to_string);
            assert_eq!(found, expected);
        }
        let (one, two) = (of(&["10.0.0.0/24"]), of(&["10.0.0.0/24", "fd00::/64"]));
        assert!(update_cidrs(&two, &one).is_empty());
        assert_eq!(update_cidrs(&one, &two).len(), 1);
    }
}
