//! What is wrong with a Service, and what its author is warned of.

use super::service::qualified;
use crate::common::checks::{required, rule};
use crate::common::inside::inside;
use crate::common::ip;
use crate::common::pod_rules::{one_of, one_of_if_set};
use crate::common::port::check_int_or_name;
use crate::metadata;
use crate::read::{count, has, items, text};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};
use std::collections::HashSet;

const MODE: &str = "service.kubernetes.io/topology-mode";
const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];
const ONLY_BALANCER: &str = "may only be used when `type` is 'LoadBalancer'";

/// Whether something outside of the cluster reaches the Service.
pub(super) fn is_external(spec: &Value) -> bool {
    match text(spec, &["type"]) {
        "LoadBalancer" | "NodePort" => true,
        "ClusterIP" => !items(spec, &["externalIPs"]).is_empty(),
        _ => false,
    }
}

/// Whether the load balancer asks each node for its health.
pub(super) fn needs_health_check(spec: &Value) -> bool {
    text(spec, &["type"]) == "LoadBalancer" && text(spec, &["externalTrafficPolicy"]) == "Local"
}

/// Whether the Service has no address by its own wish.
pub(super) fn is_headless(spec: &Value) -> bool {
    matches!(items(spec, &["clusterIPs"]), [one] if one == "None")
        || (items(spec, &["clusterIPs"]).is_empty() && text(spec, &["clusterIP"]) == "None")
}

pub(super) fn validate(service: &Value, old: Option<&Value>) -> ErrorList {
    let (spec, at) = (&service["spec"], Path::new("spec"));
    let mut errors = ErrorList::new();
    let annotation = |key: &str| service["metadata"]["annotations"].get(key).and_then(Value::as_str);
    if let (Some(mode), Some(hints)) = (annotation(MODE), annotation(HINTS))
        && mode != hints
    {
        let why = format!("must match annotations[{HINTS}] when both are specified");
        let at = Path::new("metadata").child("annotations").key(MODE);
        errors.push(FieldError::invalid_str(&at, mode, why));
    }
    let kind = text(spec, &["type"]);
    let headless = is_headless(spec);
    let ports = items(spec, &["ports"]);
    if ports.is_empty() && !headless && kind != "ExternalName" {
        errors.push(FieldError::required(&at.child("ports"), ""));
    }
    match kind {
        "LoadBalancer" | "NodePort" if headless => {
            let why = format!("may not be set to 'None' for {kind} services");
            errors.push(FieldError::invalid_str(&at.child("clusterIPs").index(0), "None", why));
        }
        "ExternalName" => external_name(spec, &at, &mut errors),
        _ => {}
    }
    let mut seen = HashSet::new();
    for (i, port) in ports.iter().enumerate() {
        check_port(port, ports.len() > 1, &mut seen, &at.child("ports").index(i), &mut errors);
    }
    errors.extend(metadata::labels(&spec["selector"], &at.child("selector")));
    affinity(spec, &at, &mut errors);
    if kind != "ExternalName" {
        errors.extend(service_addresses(service, old));
    }
    for (i, given) in items(spec, &["externalIPs"]).iter().enumerate() {
        ip::endpoint(given.as_str().unwrap_or_default(), &at.child("externalIPs").index(i), &mut errors);
    }
    one_of(spec, &at, "type", &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"], true, &mut errors);
    unique_ports(kind, ports, &at.child("ports"), &mut errors);
    balancer(service, kind, annotation(RANGES), &at, &mut errors);
    traffic(spec, kind, &at, &mut errors);
    errors
}

fn external_name(spec: &Value, at: &Path, errors: &mut ErrorList) {
    for key in ["clusterIPs", "ipFamilies"] {
        if !items(spec, &[key]).is_empty() {
            errors.push(FieldError::forbidden(&at.child(key), "may not be set for ExternalName services"));
        }
    }
    if has(spec, &["ipFamilyPolicy"]) {
        errors.push(FieldError::forbidden(&at.child("ipFamilyPolicy"), "may not be set for ExternalName services"));
    }
    let name = text(spec, &["externalName"]);
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        errors.push(FieldError::required(&at.child("externalName"), ""));
    } else {
        rule(names::dns1123_subdomain(name), name, &at.child("externalName"), errors);
    }
}

fn check_port<'a>(port: &'a Value, named: bool, seen: &mut HashSet<&'a str>, at: &Path, errors: &mut ErrorList) {
    let name = text(port, &["name"]);
    if !name.is_empty() {
        rule(names::dns1123_label(name), name, &at.child("name"), errors);
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&at.child("name"), &json!(name)));
        }
    } else if named {
        errors.push(FieldError::required(&at.child("name"), ""));
    }
    let number = count(port, &["port"]);
    for why in names::port_number(number) {
        errors.push(FieldError::invalid(&at.child("port"), &json!(number), why));
    }
    one_of(port, at, "protocol", &["SCTP", "TCP", "UDP"], true, errors);
    check_int_or_name(&port["targetPort"], &at.child("targetPort"), errors);
    qualified(port, "appProtocol", at, errors);
}

fn affinity(spec: &Value, at: &Path, errors: &mut ErrorList) {
    one_of(spec, at, "sessionAffinity", &["ClientIP", "None"], true, errors);
    let config = at.child("sessionAffinityConfig");
    match text(spec, &["sessionAffinity"]) {
        "ClientIP" => {
            let seconds = count(spec, &["sessionAffinityConfig", "clientIP", "timeoutSeconds"]);
            if !(1..=86_400).contains(&seconds) {
                let at = config.child("clientIP").child("timeoutSeconds");
                errors.push(FieldError::invalid(&at, &json!(seconds), "must be greater than 0 and less than 86400"));
            }
        }
        "None" if has(spec, &["sessionAffinityConfig"]) => {
            errors.push(FieldError::forbidden(&config, "must not be set when session affinity is None"));
        }
        _ => {}
    }
}

/// What is wrong with the addresses and families of a Service. It is looked at before addresses are given out, and once
/// more with the rest. Addresses that the Service had before are right.
pub fn service_addresses(service: &Value, old: Option<&Value>) -> ErrorList {
    let mut errors = ErrorList::new();
    let had = old.map_or(&[][..], |o| items(o, &["spec", "clusterIPs"]));
    addresses(&service["spec"], &Path::new("spec"), had, &mut errors);
    errors
}

fn addresses(spec: &Value, at: &Path, had: &[Value], errors: &mut ErrorList) {
    let (one, all) = (text(spec, &["clusterIP"]), items(spec, &["clusterIPs"]));
    let (ips_at, families_at) = (at.child("clusterIPs"), at.child("ipFamilies"));
    match (one, all.first()) {
        ("", Some(_)) => {
            let why = "must be empty when `clusterIP` is not specified";
            errors.push(FieldError::invalid(&ips_at, &json!(all), why));
        }
        (_, Some(first)) if first != one => {
            errors.push(FieldError::invalid(&ips_at, &json!(all), "first value must match `clusterIP`"));
        }
        _ => {}
    }
    let families = items(spec, &["ipFamilies"]);
    for (i, family) in families.iter().enumerate() {
        if !FAMILIES.contains(&family.as_str().unwrap_or_default()) {
            errors.push(FieldError::not_supported(&families_at.index(i), family, &FAMILIES));
        }
        if families[..i].contains(family) {
            errors.push(FieldError::duplicate(&families_at.index(i), family));
        }
    }
    let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    one_of_if_set(spec, at, "ipFamilyPolicy", &policies, errors);
    let before = errors.len();
    for (i, given) in all.iter().enumerate() {
        let given = given.as_str().unwrap_or_default();
        if i == 0 && given == "None" {
            if all.len() > 1 {
                errors.push(FieldError::invalid(&ips_at, &json!(all), "'None' must be the first and only value"));
            }
        } else if !had.contains(&all[i]) {
            ip::address(given, &ips_at.index(i), errors);
        }
    }
    let broken = errors.len() > before;
    if all.len() > 2 {
        errors.push(FieldError::invalid(&ips_at, &json!(all), "may only hold up to 2 values"));
    }
    if broken {
        return;
    }
    let addr = |i: usize| all[i].as_str().unwrap_or_default();
    if all.len() > 1 && !(all.len() == 2 && ip::dual(addr(0), addr(1))) {
        let why = "may specify no more than one IP for each IP family";
        errors.push(FieldError::invalid(&ips_at, &json!(all), why));
    }
    for (i, family) in families.iter().enumerate().take(all.len()) {
        let Ok(parsed) = addr(i).parse::<std::net::IpAddr>() else { continue };
        let actual = if parsed.is_ipv4() { "IPv4" } else { "IPv6" };
        if FAMILIES.contains(&family.as_str().unwrap_or_default()) && family != actual {
            let family = family.as_str().unwrap_or_default();
            let why = format!("expected an {family} value as indicated by `ipFamilies[{i}]`");
            errors.push(FieldError::invalid_str(&ips_at.index(i), addr(i), why));
        }
    }
}

fn unique_ports(kind: &str, ports: &[Value], at: &Path, errors: &mut ErrorList) {
    if kind == "ClusterIP" {
        for (i, _) in ports.iter().enumerate().filter(|(_, p)| count(p, &["nodePort"]) != 0) {
            let why = "may not be used when `type` is 'ClusterIP'";
            errors.push(FieldError::forbidden(&at.index(i).child("nodePort"), why));
        }
    }
    let (mut nodes, mut seen) = (HashSet::new(), HashSet::new());
    for (i, port) in ports.iter().enumerate() {
        let node = count(port, &["nodePort"]);
        if node != 0 && !nodes.insert((text(port, &["protocol"]), node)) {
            errors.push(FieldError::duplicate(&at.index(i).child("nodePort"), &json!(node)));
        }
    }
    for (i, port) in ports.iter().enumerate() {
        let (protocol, number) = (text(port, &["protocol"]), count(port, &["port"]));
        if !seen.insert((protocol, number)) {
            // Stock shows its own structure, the empty fields too.
            let mut twice = FieldError::duplicate(&at.index(i), &Value::Null);
            twice.value = inside(&json!({"protocol": protocol, "port": number}), "ServicePort");
            errors.push(twice);
        }
    }
}

fn balancer(service: &Value, kind: &str, annotation: Option<&str>, at: &Path, errors: &mut ErrorList) {
    let spec = &service["spec"];
    let is_balancer = kind == "LoadBalancer";
    let ranges = items(spec, &["loadBalancerSourceRanges"]);
    let ranges_at = at.child("LoadBalancerSourceRanges");
    if !ranges.is_empty() {
        if !is_balancer {
            errors.push(FieldError::forbidden(&ranges_at, ONLY_BALANCER));
        }
        for (i, range) in ranges.iter().enumerate() {
            ip::cidr(range.as_str().unwrap_or_default().trim(), &ranges_at.index(i), errors);
        }
    } else if let Some(given) = annotation {
        let at = Path::new("metadata").child("annotations").key(RANGES);
        if !is_balancer {
            errors.push(FieldError::forbidden(&at, ONLY_BALANCER));
        }
        for range in given.split(',').map(str::trim).filter(|_| !given.trim().is_empty()) {
            ip::cidr(range, &at, errors);
        }
    }
    if !is_balancer && has(spec, &["allocateLoadBalancerNodePorts"]) {
        errors.push(FieldError::forbidden(&at.child("allocateLoadBalancerNodePorts"), ONLY_BALANCER));
    }
    balancer_class(spec, at, errors);
}

/// What is wrong with the class of a load balancer; an update looks at it twice.
pub(super) fn balancer_class(spec: &Value, at: &Path, errors: &mut ErrorList) {
    if text(spec, &["type"]) == "LoadBalancer" {
        qualified(spec, "loadBalancerClass", at, errors);
    } else if has(spec, &["loadBalancerClass"]) {
        errors.push(FieldError::forbidden(&at.child("loadBalancerClass"), ONLY_BALANCER));
    }
}

fn traffic(spec: &Value, kind: &str, at: &Path, errors: &mut ErrorList) {
    let policies = ["Cluster", "Local"];
    let outside = text(spec, &["externalTrafficPolicy"]);
    if is_external(spec) {
        one_of(spec, at, "externalTrafficPolicy", &policies, true, errors);
    } else if !outside.is_empty() {
        let why = "may only be set for externally-accessible services";
        errors.push(FieldError::invalid_str(&at.child("externalTrafficPolicy"), outside, why));
    }
    let health = count(spec, &["healthCheckNodePort"]);
    if health != 0 {
        let at = at.child("healthCheckNodePort");
        if needs_health_check(spec) {
            for why in names::port_number(health) {
                errors.push(FieldError::invalid(&at, &json!(health), why));
            }
        } else {
            let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.push(FieldError::invalid(&at, &json!(health), why));
        }
    }
    if matches!(kind, "ClusterIP" | "NodePort" | "LoadBalancer") && !has(spec, &["internalTrafficPolicy"]) {
        required(spec, at, &["internalTrafficPolicy"], errors);
    }
    one_of_if_set(spec, at, "internalTrafficPolicy", &policies, errors);
    let distributions = ["PreferClose", "PreferSameZone", "PreferSameNode"];
    if let Some(given) = spec.get("trafficDistribution").filter(|v| !v.is_null())
        && !distributions.contains(&given.as_str().unwrap_or_default())
    {
        errors.push(FieldError::not_supported(&at.child("trafficDistribution"), given, &distributions));
    }
}

/// What is wrong with the addresses that a load balancer reports, for Services and Ingresses.
pub(crate) fn balancer_status(status: &Value, at: &Path, balancer: bool, errors: &mut ErrorList) {
    let list = items(status, &["ingress"]);
    if !balancer && !list.is_empty() {
        errors.push(FieldError::forbidden(at, "may only be used when `spec.type` is 'LoadBalancer'"));
        return;
    }
    for (i, ingress) in list.iter().enumerate() {
        let at = at.index(i);
        let given = text(ingress, &["ip"]);
        if !given.is_empty() {
            ip::address(given, &at.child("ip"), errors);
        }
        match (has(ingress, &["ipMode"]), given.is_empty()) {
            (false, false) => {
                errors.push(FieldError::required(&at.child("ipMode"), "must be specified when `ip` is set"));
            }
            (true, true) => {
                let why = "may not be specified when `ip` is not set";
                errors.push(FieldError::forbidden(&at.child("ipMode"), why));
            }
            (true, false) => one_of_if_set(ingress, &at, "ipMode", &["Proxy", "VIP"], errors),
            (false, true) => {}
        }
        host(text(ingress, &["hostname"]), &at.child("hostname"), errors);
    }
}

/// Checks the DNS name of a load balancer.
pub(crate) fn host(name: &str, at: &Path, errors: &mut ErrorList) {
    if name.is_empty() {
        return;
    }
    rule(names::dns1123_subdomain(name), name, at, errors);
    if name.parse::<std::net::IpAddr>().is_ok() {
        errors.push(FieldError::invalid_str(at, name, "must be a DNS name, not an IP address"));
    }
}

/// What the author of a Service is told besides.
pub(super) fn warnings(service: &Value) -> Vec<String> {
    let spec = &service["spec"];
    let mut warnings = Vec::new();
    if service["metadata"]["annotations"].get(HINTS).is_some() {
        warnings.push(format!("annotation {HINTS} is deprecated, please use {MODE} instead"));
    }
    let headless = text(spec, &["type"]) == "ClusterIP" && text(spec, &["clusterIP"]) == "None";
    let at = Path::new("spec");
    for (i, given) in items(spec, &["clusterIPs"]).iter().enumerate().filter(|_| !headless) {
        warnings.extend(ip::warning(given.as_str().unwrap_or_default(), &at.child("clusterIPs").index(i)));
    }
    if headless {
        if !text(spec, &["loadBalancerIP"]).is_empty() {
            warnings.push("spec.loadBalancerIP is ignored for headless services".to_owned());
        }
        if !items(spec, &["externalIPs"]).is_empty() {
            warnings.push("spec.externalIPs is ignored for headless services".to_owned());
        }
        if !matches!(text(spec, &["sessionAffinity"]), "" | "None") {
            warnings.push("spec.SessionAffinity is ignored for headless services".to_owned());
        }
    }
    let external = text(spec, &["type"]) == "ExternalName";
    let ips = items(spec, &["externalIPs"]);
    for (i, given) in ips.iter().enumerate() {
        warnings.extend(ip::warning(given.as_str().unwrap_or_default(), &at.child("externalIPs").index(i)));
    }
    if !ips.is_empty() && !headless && !external {
        warnings.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned());
    }
    warnings.extend(ip::warning(text(spec, &["loadBalancerIP"]), &at.child("loadBalancerIP")));
    for (i, given) in items(spec, &["loadBalancerSourceRanges"]).iter().enumerate() {
        let at = at.child("loadBalancerSourceRanges").index(i);
        warnings.extend(ip::cidr_warnings(given.as_str().unwrap_or_default(), &at));
    }
    if external && !items(spec, &["externalIPs"]).is_empty() {
        warnings.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
    }
    if !external && !text(spec, &["externalName"]).is_empty() {
        warnings.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if text(spec, &["trafficDistribution"]) == "PreferClose" {
        warnings.push("spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".to_owned());
    }
    warnings
}
