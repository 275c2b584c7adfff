//! Stored objects in versions that are served no longer, brought into those that followed them. Pure.
//!
//! Invariant: nothing that an object says is lost; what has another name or place gets it.

use ironclad_json::{Map, Value, json};

/// The zone of an endpoint, among what older servers said of its place.
const ZONE: &str = "topology.kubernetes.io/zone";

/// An object of `kind` from an older version.
pub(super) fn upgrade(kind: &str, version: &str, object: &mut Value) {
    match (kind, version) {
        ("EndpointSlice", "v1beta1") => each(&mut object["endpoints"], endpoint),
        ("Ingress", "v1beta1") => ingress(object),
        ("CustomResourceDefinition", "v1beta1") => definition(object),
        ("PriorityLevelConfiguration", _) => level(object),
        _ => {}
    }
}

fn each(list: &mut Value, change: impl Fn(&mut Map)) {
    list.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut).for_each(change);
}

fn rename(map: &mut Map, from: &str, to: &str) {
    if let Some(value) = map.remove(from) {
        map.entry(to).or_insert(value);
    }
}

/// Where an endpoint is was a map of labels, of which zone and node have fields of their own now.
fn endpoint(endpoint: &mut Map) {
    rename(endpoint, "topology", "deprecatedTopology");
    let Some(topology) = endpoint.get_mut("deprecatedTopology").and_then(Value::as_object_mut) else { return };
    let zone = topology.remove(ZONE);
    let node = topology.remove("kubernetes.io/hostname");
    if topology.is_empty() {
        endpoint.remove("deprecatedTopology");
    }
    for (field, value) in [("zone", zone), ("nodeName", node)] {
        if let Some(value) = value {
            endpoint.entry(field).or_insert(value);
        }
    }
}

fn backend(backend: &mut Map) {
    let (name, port) = (backend.remove("serviceName"), backend.remove("servicePort"));
    let Some(name) = name.filter(|n| *n != "") else { return };
    let port = match port.unwrap_or_default() {
        Value::String(name) => json!({"name": name}),
        number => json!({"number": number}),
    };
    backend.insert("service".to_owned(), json!({"name": name, "port": port}));
}

fn ingress(object: &mut Value) {
    let Some(spec) = object["spec"].as_object_mut() else { return };
    rename(spec, "backend", "defaultBackend");
    if let Some(default) = spec.get_mut("defaultBackend").and_then(Value::as_object_mut) {
        backend(default);
    }
    let rules = spec.get_mut("rules").and_then(Value::as_array_mut).into_iter().flatten();
    for rule in rules.filter(|r| r["http"].is_object()) {
        each(&mut rule["http"]["paths"], |path| {
            if let Some(own) = path.get_mut("backend").and_then(Value::as_object_mut) {
                backend(own);
            }
            path.entry("pathType").or_insert(json!("ImplementationSpecific"));
        });
    }
}

fn level(object: &mut Value) {
    if let Some(limited) = object["spec"]["limited"].as_object_mut() {
        rename(limited, "assuredConcurrencyShares", "nominalConcurrencyShares");
    }
}

/// Schema, subresources and columns were said once for all versions, and the only version beside the list of them.
fn definition(object: &mut Value) {
    let Some(spec) = object["spec"].as_object_mut() else { return };
    spec.entry("preserveUnknownFields").or_insert(json!(true));
    let version = spec.remove("version");
    if let Some(version) = version.filter(|_| !spec.get("versions").is_some_and(|v| v[0].is_object())) {
        spec.insert("versions".to_owned(), json!([{"name": version, "served": true, "storage": true}]));
    }
    let shared = [
        ("validation", "schema", spec.remove("validation")),
        ("subresources", "subresources", spec.remove("subresources")),
        ("additionalPrinterColumns", "additionalPrinterColumns", spec.remove("additionalPrinterColumns")),
    ];
    let versions = spec.get_mut("versions").and_then(Value::as_array_mut).into_iter().flatten();
    for version in versions.filter_map(Value::as_object_mut) {
        for (_, field, value) in &shared {
            if let Some(value) = value.as_ref().filter(|v| !v.is_null()) {
                version.entry(*field).or_insert_with(|| value.clone());
            }
        }
        if let Some(columns) = version.get_mut("additionalPrinterColumns") {
            each(columns, |column| rename(column, "JSONPath", "jsonPath"));
        }
    }
    let Some(conversion) = spec.get_mut("conversion").and_then(Value::as_object_mut) else { return };
    let (client, reviews) = (conversion.remove("webhookClientConfig"), conversion.remove("conversionReviewVersions"));
    if let Some(client) = client {
        let reviews = reviews.unwrap_or_else(|| json!(["v1beta1"]));
        conversion.insert("webhook".to_owned(), json!({"clientConfig": client, "conversionReviewVersions": reviews}));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_another_place_now_is_moved_there() {
        let table = [
            (
                "EndpointSlice",
                json!({"endpoints": [{"addresses": ["a"], "topology": {ZONE: "z", "kubernetes.io/hostname": "n", "x": "y"}}]}),
                json!({"endpoints": [{"addresses": ["a"], "deprecatedTopology": {"x": "y"}, "zone": "z", "nodeName": "n"}]}),
            ),
            (
                "Ingress",
                json!({"spec": {"backend": {"serviceName": "s", "servicePort": 80},
                    "rules": [{"host": "h", "http": {"paths": [{"path": "/", "backend": {"serviceName": "t", "servicePort": "web"}}]}}]}}),
                json!({"spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}},
                    "rules": [{"host": "h", "http": {"paths": [{"path": "/", "pathType": "ImplementationSpecific",
                        "backend": {"service": {"name": "t", "port": {"name": "web"}}}}]}}]}}),
            ),
            (
                "PriorityLevelConfiguration",
                json!({"spec": {"limited": {"assuredConcurrencyShares": 5}}}),
                json!({"spec": {"limited": {"nominalConcurrencyShares": 5}}}),
            ),
            (
                "CustomResourceDefinition",
                json!({"spec": {"group": "x.y", "version": "v1", "preserveUnknownFields": false,
                    "validation": {"openAPIV3Schema": {"type": "object"}}, "subresources": {"status": {}},
                    "additionalPrinterColumns": [{"name": "A", "JSONPath": ".a"}],
                    "conversion": {"strategy": "Webhook", "webhookClientConfig": {"url": "u"}}}}),
                json!({"spec": {"group": "x.y", "preserveUnknownFields": false,
                    "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                        "schema": {"openAPIV3Schema": {"type": "object"}},
                        "additionalPrinterColumns": [{"name": "A", "jsonPath": ".a"}]}],
                    "conversion": {"strategy": "Webhook", "webhook": {"clientConfig": {"url": "u"}, "conversionReviewVersions": ["v1beta1"]}}}}),
            ),
        ];
        for (kind, mut object, want) in table {
            upgrade(kind, "v1beta1", &mut object);
            assert_eq!(object, want);
        }
    }
}
