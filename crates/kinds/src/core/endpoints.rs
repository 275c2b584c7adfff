//! Endpoints and EndpointSlices.

use crate::Strategy;
use crate::common::cells::or_none;
use ironclad_api::object;
use ironclad_api::table::{Cells, Column, age};
use ironclad_api::{ErrorList, FieldError, Path};
use serde_json::{Value, json};
use std::sync::LazyLock;

/// So many are shown before `+ n more...`.
const SHOWN: usize = 3;

pub(crate) struct Endpoints;
pub(crate) struct EndpointSlice;

static COLUMNS: LazyLock<[Column; 3]> =
    LazyLock::new(|| [Column::object_name(), Column::text("Endpoints", "Addresses with ports."), Column::age()]);
static SLICE_COLUMNS: LazyLock<[Column; 5]> = LazyLock::new(|| {
    [
        Column::object_name(),
        Column::text("AddressType", "What sort of addresses it has."),
        Column::text("Ports", "The ports of its endpoints."),
        Column::text("Endpoints", "Their addresses."),
        Column::age(),
    ]
});

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn shorten(all: &[String], unset: &str) -> Value {
    match all.len() {
        0 => json!(unset),
        n if n > SHOWN => json!(format!("{} + {} more...", all[..SHOWN].join(","), n - SHOWN)),
        _ => json!(all.join(",")),
    }
}

impl Strategy for Endpoints {
    fn default(&self, endpoints: &mut Value) {
        for subset in endpoints["subsets"].as_array_mut().into_iter().flatten() {
            for port in subset["ports"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
                object::default_to(port, "protocol", || json!("TCP"));
            }
        }
        if endpoints.get("subsets").is_some_and(Value::is_null) {
            endpoints.as_object_mut().and_then(|e| e.remove("subsets"));
        }
    }

    fn columns(&self) -> &[Column] {
        &*COLUMNS
    }

    fn cells(&self, endpoints: &Value) -> Cells {
        let mut all = Vec::new();
        for subset in list(endpoints, "subsets") {
            for address in list(subset, "addresses") {
                let ip = object::text(address, &["ip"]);
                let ports = list(subset, "ports");
                all.extend(ports.iter().map(|p| format!("{ip}:{}", p["port"])));
                if ports.is_empty() {
                    all.push(ip.to_owned());
                }
            }
        }
        vec![json!(object::name(endpoints)), shorten(&all, "<none>"), age(endpoints)]
    }
}

impl Strategy for EndpointSlice {
    fn default(&self, slice: &mut Value) {
        for port in slice["ports"].as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
            object::default_to(port, "name", || json!(""));
            object::default_to(port, "protocol", || json!("TCP"));
        }
        if slice.get("ports").is_some_and(Value::is_null) {
            slice.as_object_mut().and_then(|e| e.remove("ports"));
        }
    }

    fn validate(&self, slice: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let kinds = ["FQDN", "IPv4", "IPv6"];
        let path = Path::new("addressType");
        match object::text(slice, &["addressType"]) {
            "" => errors.push(FieldError::required(&path, "")),
            kind if !kinds.contains(&kind) => {
                errors.push(FieldError::not_supported(&path, &slice["addressType"], &kinds))
            }
            _ => {}
        }
        if list(slice, "endpoints").len() > 1000 {
            errors.push(FieldError::too_many(&Path::new("endpoints"), list(slice, "endpoints").len(), 1000));
        }
        for (index, endpoint) in list(slice, "endpoints").iter().enumerate() {
            if list(endpoint, "addresses").is_empty() {
                let path = Path::new("endpoints").index(index).child("addresses");
                errors.push(FieldError::required(&path, "must contain at least 1 address"));
            }
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(new);
        if new["addressType"] != old["addressType"] {
            errors.push(FieldError::invalid(&Path::new("addressType"), &new["addressType"], "field is immutable"));
        }
        errors
    }

    fn columns(&self) -> &[Column] {
        &*SLICE_COLUMNS
    }

    fn cells(&self, slice: &Value) -> Cells {
        let ports: Vec<String> = list(slice, "ports")
            .iter()
            .map(|p| p["port"].as_i64().map_or_else(|| "*".to_owned(), |n| n.to_string()))
            .collect();
        let addresses: Vec<String> = list(slice, "endpoints")
            .iter()
            .flat_map(|e| list(e, "addresses"))
            .filter_map(|a| a.as_str().map(str::to_owned))
            .collect();
        vec![
            json!(object::name(slice)),
            or_none(object::text(slice, &["addressType"])),
            shorten(&ports, "<unset>"),
            shorten(&addresses, "<unset>"),
            age(slice),
        ]
    }
}
