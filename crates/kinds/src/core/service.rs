//! Services. Addresses and node ports are given out by the server; here is what follows from the object alone.

use super::{service_rules, service_update};
use crate::Strategy;
use crate::common::cells::{map, or_none};
use crate::common::checks::rule;
use crate::print;
use crate::read::{at_mut, child, each, fill, fill_zero, has, items, put, spec, text};
use ironclad_api::object;
use ironclad_api::table::{Cells, Column, age};
use ironclad_api::{ErrorList, Path, names};
use ironclad_json::{Value, json};
use std::sync::LazyLock;

pub(crate) struct Service;

static COLUMNS: LazyLock<Vec<Column>> = LazyLock::new(|| {
    vec![
        Column::object_name(),
        Column::text("Type", "How the Service is reached."),
        Column::text("Cluster-IP", "Its address in the cluster."),
        Column::text("External-IP", "Its addresses outside of the cluster."),
        Column::text("Port(s)", "Its ports, and the node ports behind the colon."),
        Column::age(),
        Column::text("Selector", "The labels of the pods behind it.").wide(),
    ]
});

impl Strategy for Service {
    fn default(&self, service: &mut Value) {
        if !service["spec"].is_object() {
            return;
        }
        let spec = spec(service);
        fill_zero(spec, "type", "ClusterIP");
        fill_zero(spec, "sessionAffinity", "None");
        match text(spec, &["sessionAffinity"]) {
            "None" => drop(spec.as_object_mut().and_then(|s| s.remove("sessionAffinityConfig"))),
            "ClientIP" if !has(spec, &["sessionAffinityConfig", "clientIP", "timeoutSeconds"]) => {
                put(spec, "sessionAffinityConfig", json!({"clientIP": {"timeoutSeconds": 10_800}}));
            }
            _ => {}
        }
        each(spec, &["ports"], |port| {
            fill_zero(port, "protocol", "TCP");
            let number = port["port"].clone();
            fill_zero(port, "targetPort", number);
        });
        if service_rules::is_external(spec) {
            fill_zero(spec, "externalTrafficPolicy", "Cluster");
        }
        let kind = text(spec, &["type"]).to_owned();
        if matches!(kind.as_str(), "ClusterIP" | "NodePort" | "LoadBalancer") {
            fill(spec, "internalTrafficPolicy", "Cluster");
        }
        if kind == "LoadBalancer" {
            fill(spec, "allocateLoadBalancerNodePorts", true);
            default_status(service);
        }
    }

    fn prepare_create(&self, service: &mut Value) {
        put(service, "status", json!({"loadBalancer": {}}));
        without_inner_policy(service);
        let address = text(service, &["spec", "clusterIP"]).to_owned();
        if !address.is_empty() && items(service, &["spec", "clusterIPs"]).is_empty() {
            put(child(service, "spec"), "clusterIPs", json!([address]));
        }
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        service_update::prepare(new, old);
        without_inner_policy(new);
        // No balancer serves another type.
        if text(new, &["spec", "type"]) != "LoadBalancer" {
            child(new, "status")["loadBalancer"] = json!({});
        }
    }

    fn prepare_status_update(&self, new: &mut Value, _old: &Value) {
        default_status(new);
    }

    fn validate(&self, service: &Value) -> ErrorList {
        service_rules::validate(service, None)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> ErrorList {
        let mut errors = service_update::validate(new, old);
        errors.extend(service_rules::validate(new, Some(old)));
        errors
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let at = Path::new("status").child("loadBalancer").child("ingress");
        let balancer = text(new, &["spec", "type"]) == "LoadBalancer";
        service_rules::balancer_status(&new["status"]["loadBalancer"], &at, balancer, &mut errors);
        errors
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Vec<String> {
        service_rules::warnings(new)
    }

    fn validate_name(&self, name: &str) -> Vec<String> {
        // KEP-5311 relaxed the rule of Services to that of labels.
        names::dns1123_label(name)
    }

    fn columns(&self) -> &[Column] {
        &COLUMNS
    }

    fn cells(&self, service: &Value) -> Cells {
        let spec = &service["spec"];
        vec![
            json!(object::name(service)),
            json!(text(spec, &["type"])),
            or_none(object::text(spec, &["clusterIP"])),
            json!(external(service)),
            ports(spec),
            age(service),
            map(&spec["selector"]),
        ]
    }
}

/// A Service that only names another host has no traffic of its own.
fn without_inner_policy(service: &mut Value) {
    let given = text(service, &["spec", "internalTrafficPolicy"]);
    if text(service, &["spec", "type"]) == "ExternalName" && matches!(given, "Cluster" | "Local") {
        child(service, "spec").as_object_mut().map(|s| s.remove("internalTrafficPolicy"));
    }
}

/// Addresses of a load balancer are virtual ones unless it says otherwise.
fn default_status(service: &mut Value) {
    if let Some(balancer) = at_mut(service, &["status", "loadBalancer"]) {
        each(balancer, &["ingress"], |i| {
            if !text(i, &["ip"]).is_empty() {
                fill(i, "ipMode", "VIP");
            }
        });
    }
}

fn external(service: &Value) -> String {
    let spec = &service["spec"];
    let given: Vec<&str> = items(spec, &["externalIPs"]).iter().filter_map(Value::as_str).collect();
    match text(spec, &["type"]) {
        "ExternalName" => text(spec, &["externalName"]).to_owned(),
        "LoadBalancer" => {
            let balancer = print::load_balancer(service);
            let mut all: Vec<&str> = balancer.split(',').filter(|a| !a.is_empty()).collect();
            all.extend(given);
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        "ClusterIP" | "NodePort" => print::non_empty(&given.join(",")).to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

fn ports(spec: &Value) -> Value {
    let one = |p: &Value| {
        let (port, protocol) = (p["port"].as_i64().unwrap_or(0), object::text(p, &["protocol"]));
        match p["nodePort"].as_i64().filter(|n| *n > 0) {
            Some(node) => format!("{port}:{node}/{protocol}"),
            None => format!("{port}/{protocol}"),
        }
    };
    let all: Vec<String> = items(spec, &["ports"]).iter().map(one).collect();
    or_none(&all.join(","))
}

/// Checks a qualified name where one is given.
pub(super) fn qualified(o: &Value, key: &str, at: &Path, errors: &mut ErrorList) {
    if let Some(given) = o.get(key).and_then(Value::as_str) {
        rule(names::qualified_name(given), given, &at.child(key), errors);
    }
}
