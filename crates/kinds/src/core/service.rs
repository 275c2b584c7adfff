//! Services. Addresses and node ports are given out by the server; here is what follows from the object alone.

use crate::Strategy;
use crate::common::cells::{map, or_none};
use ironclad_api::object::{self, default_to};
use ironclad_api::table::{Cells, Column, age};
use ironclad_api::{ErrorList, FieldError, Path, names};
use serde_json::{Value, json};
use std::collections::BTreeSet;
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
        let Some(spec) = service.get_mut("spec").and_then(Value::as_object_mut) else { return };
        default_to(spec, "type", || json!("ClusterIP"));
        default_to(spec, "sessionAffinity", || json!("None"));
        if spec["sessionAffinity"] == "ClientIP" {
            let config = object::entry_of(spec, "sessionAffinityConfig");
            default_to(object::entry_of(config, "clientIP"), "timeoutSeconds", || json!(10_800));
        }
        let kind = spec["type"].as_str().unwrap_or_default().to_owned();
        if kind != "ExternalName" {
            default_to(spec, "internalTrafficPolicy", || json!("Cluster"));
        }
        if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
            default_to(spec, "externalTrafficPolicy", || json!("Cluster"));
        }
        if kind == "LoadBalancer" {
            default_to(spec, "allocateLoadBalancerNodePorts", || json!(true));
        }
        for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(port) = port.as_object_mut() else { continue };
            default_to(port, "protocol", || json!("TCP"));
            let number = port.get("port").cloned().unwrap_or_default();
            let target = port.get("targetPort");
            if target.is_none_or(|t| t.is_null() || t == 0 || t == "") {
                port.insert("targetPort".into(), number);
            }
        }
    }

    fn prepare_create(&self, service: &mut Value) {
        service["status"] = json!({"loadBalancer": {}});
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        // What the server gave out stays when the client does not say otherwise.
        let (was, is) =
            (object::text(old, &["spec", "type"]).to_owned(), object::text(new, &["spec", "type"]).to_owned());
        let Some(spec) = new.get_mut("spec").and_then(Value::as_object_mut) else { return };
        if was != "ExternalName" && is != "ExternalName" {
            for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                if let Some(value) = old["spec"].get(field) {
                    default_to(spec, field, || value.clone());
                }
            }
        }
        if matches!(is.as_str(), "NodePort" | "LoadBalancer") {
            keep_node_ports(spec, &old["spec"]);
        }
    }

    fn validate(&self, service: &Value) -> ErrorList {
        validate(&service["spec"])
    }

    fn validate_update(&self, new: &Value, old: &Value) -> ErrorList {
        let mut errors = validate(&new["spec"]);
        let (was, is) = (&old["spec"]["clusterIP"], &new["spec"]["clusterIP"]);
        let external = new["spec"]["type"] == "ExternalName" || old["spec"]["type"] == "ExternalName";
        if !external && was.as_str().is_some_and(|w| !w.is_empty()) && was != is {
            let path = Path::new("spec").child("clusterIPs").index(0);
            errors.push(FieldError::invalid(&path, &json!([is]), "may not change once set"));
        }
        errors
    }

    fn validate_name(&self, name: &str) -> Vec<String> {
        names::dns1035_label(name)
    }

    fn columns(&self) -> &[Column] {
        &COLUMNS
    }

    fn cells(&self, service: &Value) -> Cells {
        let spec = &service["spec"];
        vec![
            json!(object::name(service)),
            spec["type"].clone(),
            or_none(object::text(spec, &["clusterIP"])),
            external(service),
            ports(spec),
            age(service),
            map(&spec["selector"]),
        ]
    }
}

fn keep_node_ports(spec: &mut serde_json::Map<String, Value>, old: &Value) {
    let before = old["ports"].as_array().cloned().unwrap_or_default();
    let mut used: BTreeSet<i64> = spec
        .get("ports")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|p| p["nodePort"].as_i64())
        .collect();
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if port["nodePort"].as_i64().is_some_and(|n| n > 0) {
            continue;
        }
        let same = |b: &&Value| b["port"] == port["port"] && b["protocol"] == port["protocol"];
        let known = before.iter().find(same).and_then(|b| b["nodePort"].as_i64()).filter(|n| *n > 0);
        if let Some(known) = known.filter(|n| used.insert(*n)) {
            port["nodePort"] = json!(known);
        }
    }
}

fn external(service: &Value) -> Value {
    let spec = &service["spec"];
    let texts = |v: &Value| -> Vec<String> {
        v.as_array().into_iter().flatten().filter_map(|x| x.as_str().map(str::to_owned)).collect()
    };
    let given = texts(&spec["externalIPs"]);
    match object::text(spec, &["type"]) {
        "ExternalName" => json!(object::text(spec, &["externalName"])),
        "LoadBalancer" => {
            let ingress = service["status"]["loadBalancer"]["ingress"].as_array().into_iter().flatten();
            let mut all: Vec<String> =
                ingress.filter_map(|i| i["ip"].as_str().or(i["hostname"].as_str()).map(str::to_owned)).collect();
            all.extend(given);
            json!(if all.is_empty() { "<pending>".to_owned() } else { all.join(",") })
        }
        _ => or_none(&given.join(",")),
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
    let all: Vec<String> = spec["ports"].as_array().into_iter().flatten().map(one).collect();
    or_none(&all.join(","))
}

fn validate(spec: &Value) -> ErrorList {
    let path = Path::new("spec");
    let mut errors = ErrorList::new();
    let kind = object::text(spec, &["type"]);
    let list = spec["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let headless = spec["clusterIP"] == "None";
    if list.is_empty() && !headless && kind != "ExternalName" {
        errors.push(FieldError::required(&path.child("ports"), ""));
    }
    match kind {
        "ExternalName" => {
            let name = object::text(spec, &["externalName"]);
            let at = path.child("externalName");
            if name.is_empty() {
                errors.push(FieldError::required(&at, ""));
            } else {
                let wrong = names::dns1123_subdomain(name.trim_end_matches('.'));
                errors.extend(wrong.into_iter().map(|e| FieldError::invalid_str(&at, name, e)));
            }
        }
        "NodePort" | "LoadBalancer" if headless => {
            let why = format!("may not be set to 'None' for {kind} services");
            errors.push(FieldError::invalid(&path.child("clusterIPs").index(0), &spec["clusterIP"], why));
        }
        "ClusterIP" | "NodePort" | "LoadBalancer" => {}
        _ => {
            let kinds = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
            errors.push(FieldError::not_supported(&path.child("type"), &spec["type"], &kinds));
        }
    }
    let address = object::text(spec, &["clusterIP"]);
    if !["", "None"].contains(&address) && address.parse::<std::net::IpAddr>().is_err() {
        let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        errors.push(FieldError::invalid_str(&path.child("clusterIPs").index(0), address, why));
    }
    if !["None", "ClientIP"].contains(&object::text(spec, &["sessionAffinity"])) {
        errors.push(FieldError::not_supported(
            &path.child("sessionAffinity"),
            &spec["sessionAffinity"],
            &["ClientIP", "None"],
        ));
    }
    errors.extend(crate::metadata::labels(&spec["selector"], &path.child("selector")));
    let (mut seen_names, mut seen_ports) = (BTreeSet::new(), BTreeSet::new());
    for (index, port) in list.iter().enumerate() {
        let at = path.child("ports").index(index);
        let name = object::text(port, &["name"]);
        if name.is_empty() && list.len() > 1 {
            errors.push(FieldError::required(&at.child("name"), ""));
        } else if !name.is_empty() {
            errors.extend(
                names::dns1123_label(name).into_iter().map(|e| FieldError::invalid_str(&at.child("name"), name, e)),
            );
            if !seen_names.insert(name) {
                errors.push(FieldError::duplicate(&at.child("name"), &port["name"]));
            }
        }
        let number = port["port"].as_i64().unwrap_or(0);
        errors.extend(
            names::port_number(number).into_iter().map(|e| FieldError::invalid(&at.child("port"), &json!(number), e)),
        );
        match &port["targetPort"] {
            Value::Number(n) => {
                let wrong = names::port_number(n.as_i64().unwrap_or(0)).into_iter();
                errors.extend(wrong.map(|e| FieldError::invalid(&at.child("targetPort"), &port["targetPort"], e)));
            }
            Value::String(s) => {
                errors.extend(
                    names::port_name(s).into_iter().map(|e| FieldError::invalid_str(&at.child("targetPort"), s, e)),
                );
            }
            _ => {}
        }
        let protocol = object::text(port, &["protocol"]);
        if !["TCP", "UDP", "SCTP"].contains(&protocol) {
            errors.push(FieldError::not_supported(&at.child("protocol"), &port["protocol"], &["SCTP", "TCP", "UDP"]));
        }
        if kind == "ClusterIP" && port["nodePort"].as_i64().is_some_and(|n| n > 0) {
            errors.push(FieldError::forbidden(&at.child("nodePort"), "may not be used when `type` is 'ClusterIP'"));
        }
        if !seen_ports.insert((number, protocol)) {
            errors.push(FieldError::duplicate(&at, &json!({"port": number, "protocol": protocol})));
        }
    }
    errors
}
