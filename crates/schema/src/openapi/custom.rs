//! Definitions of custom resources: the schema of the CustomResourceDefinition with what every object has.

use super::schemas::Schemas;
use super::{Form, Resource};
use ironclad_api::GroupVersionKind;
use ironclad_json::{Map, Value, json};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const META_DOC: &str = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";

/// The name of a definition: `com.example.v1.Widget`.
pub(super) fn name(gvk: &GroupVersionKind) -> String {
    let group: Vec<&str> = gvk.group.split('.').rev().collect();
    format!("{}.{}.{}", group.join("."), gvk.version, gvk.kind)
}

/// The definition of a resource from the schema of its version.
pub(super) fn definition(schemas: &mut Schemas<'_>, resource: &Resource, raw: &Value) -> Value {
    let v2 = schemas.form == Form::V2;
    let open = raw.get(PRESERVE) == Some(&Value::Bool(true));
    let mut schema = raw.clone();
    if !schema.is_object() || v2 && open {
        // Old clients cannot tell what is kept from what is unknown.
        schema = json!({"type": "object"});
    } else {
        match v2 {
            true => plain(&mut schema),
            false => unfold(&mut schema),
        }
        embed(schemas, &mut schema);
        whole(schemas, &mut schema);
    }
    if !resource.selectable.is_empty() {
        let paths: Vec<Value> = resource.selectable.iter().map(|f| json!({"fieldPath": f})).collect();
        schema["x-kubernetes-selectable-fields"] = Value::from(paths);
    }
    let GroupVersionKind { group, version, kind } = &resource.gvk;
    schema["x-kubernetes-group-version-kind"] = json!([{"group": group, "kind": kind, "version": version}]);
    schema
}

/// Gives a schema what every object has.
fn whole(schemas: &mut Schemas<'_>, schema: &mut Value) {
    let reference = schemas.reference(META);
    let mut meta = if schemas.form == Form::V3 { json!({"allOf": [reference]}) } else { reference };
    meta["description"] = json!(META_DOC);
    let head = schemas.head();
    let Some(map) = schema.as_object_mut() else { return };
    let properties = map.entry("properties").or_insert_with(|| json!({}));
    if let Some(properties) = properties.as_object_mut() {
        properties.extend(head);
        properties.insert("metadata".to_owned(), meta);
    }
}

/// Does the same to the objects inside of it.
fn embed(schemas: &mut Schemas<'_>, schema: &mut Value) {
    each(schema, &mut |inner| {
        embed(schemas, inner);
        let open = inner.get(PRESERVE) == Some(&Value::Bool(true)) && schemas.form == Form::V2;
        if inner.get("x-kubernetes-embedded-resource") == Some(&Value::Bool(true)) && !open {
            whole(schemas, inner);
            let Some(map) = inner.as_object_mut() else { return };
            let required = map.entry("required").or_insert_with(|| json!([]));
            for head in ["kind", "apiVersion"] {
                if let Some(list) = required.as_array_mut().filter(|l| !l.iter().any(|r| r == head)) {
                    list.push(json!(head));
                }
            }
        }
    });
}

/// Calls a function with the schemas right below one.
fn each(schema: &mut Value, act: &mut dyn FnMut(&mut Value)) {
    let Some(map) = schema.as_object_mut() else { return };
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = map.get_mut(key).filter(|v| v.is_object()) {
            act(inner);
        }
    }
    if let Some(properties) = map.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(act);
    }
}

/// Says of a value that is an integer or a text that it is one of these.
fn unfold(schema: &mut Value) {
    let either = json!([{"type": "integer"}, {"type": "string"}]);
    let told = schema["anyOf"] == either || schema["allOf"][0]["anyOf"] == either;
    if schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) && !told {
        match schema.get("anyOf") {
            None => schema["anyOf"] = either,
            Some(_) => {
                let mut all = vec![json!({"anyOf": either})];
                all.extend(schema["allOf"].as_array().into_iter().flatten().cloned());
                schema["allOf"] = Value::from(all);
            }
        }
    }
    each(schema, &mut unfold);
}

/// Takes from a schema what version 2 cannot say.
fn plain(schema: &mut Value) {
    let Some(map) = schema.as_object_mut() else { return };
    for key in ["allOf", "anyOf", "oneOf", "not", "default"] {
        map.remove(key);
    }
    if map.remove("nullable") == Some(Value::Bool(true)) {
        ["type", "items", "properties"].iter().for_each(|key| drop(map.remove(key)));
    }
    let open = map.get(PRESERVE) == Some(&Value::Bool(true));
    if open {
        map.remove("items");
        map.remove("properties");
    }
    // Old clients cannot do with lists of nothing, nor with objects that keep what is unknown.
    let ty = map.get("type").and_then(Value::as_str).unwrap_or_default();
    if ty == "array" && !map.contains_key("items") || ty == "object" && open {
        map.remove("type");
    }
    let nullable = |m: &Map, key: &str| m.get(key).is_some_and(|p| p["nullable"] == Value::Bool(true));
    let loose: Vec<String> = match map.get("properties").and_then(Value::as_object) {
        Some(properties) => properties.keys().filter(|k| nullable(properties, k)).map(ToString::to_string).collect(),
        None => Vec::new(),
    };
    if let Some(required) = map.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|r| !loose.iter().any(|l| r == l.as_str()));
        if required.is_empty() {
            map.remove("required");
        }
    }
    each(schema, &mut plain);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openapi::Sources;

    fn resource() -> Resource {
        Resource {
            gvk: GroupVersionKind::new("stable.example.com", "v1", "Widget"),
            list_kind: "WidgetList".into(),
            selectable: vec!["spec.a".into()],
            plural: "widgets".into(),
            namespaced: true,
            verbs: vec!["get", "list", "create", "patch"],
            subresources: Vec::new(),
            schema: Some(json!({"type": "object", "description": "A widget.", "properties": {
                "spec": {"type": "object", "description": "What is wanted.", "required": ["a", "n"], "properties": {
                    "a": {"type": "string", "default": "x"}, "n": {"type": "string", "nullable": true},
                    "pod": {"type": "object", "x-kubernetes-embedded-resource": true, PRESERVE: true},
                    "either": {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": true}}}}})),
        }
    }

    #[test]
    fn a_custom_resource_is_described_in_both_versions() {
        let name = "com.example.stable.v1.Widget";
        let three = Sources::default().v3(&[resource()], "v1").unwrap();
        let widget = &three["components"]["schemas"][name];
        assert_eq!(widget["properties"]["spec"]["description"], "What is wanted.");
        assert_eq!(widget["properties"]["spec"]["properties"]["a"]["default"], "x");
        assert!(widget["properties"]["metadata"]["allOf"][0]["$ref"].as_str().unwrap().ends_with("ObjectMeta"));
        assert!(widget["properties"]["spec"]["properties"]["pod"]["properties"]["metadata"].is_object());
        assert_eq!(widget["x-kubernetes-group-version-kind"][0]["kind"], "Widget");
        assert!(three["components"]["schemas"][format!("{name}List")].is_object());
        let post = &three["paths"]["/apis/stable.example.com/v1/namespaces/{namespace}/widgets"]["post"];
        assert!(post["requestBody"]["content"]["application/json"].is_object());
        assert!(post["requestBody"]["content"]["application/vnd.kubernetes.protobuf"].is_null());

        let two = Sources::default().v2_part(&[resource()]);
        let spec = &two.definitions[name]["properties"]["spec"];
        assert_eq!(spec["required"], json!(["a"]));
        assert!(spec["properties"]["a"].get("default").is_none());
        assert!(spec["properties"]["n"].get("type").is_none());
        assert!(spec["properties"]["either"].get("anyOf").is_none());
        let open =
            Resource { schema: Some(json!({"type": "object", "description": "d", PRESERVE: true})), ..resource() };
        let two = Sources::default().v2_part(&[open]);
        let keys: Vec<&ironclad_json::Text> = two.definitions[name].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["type", "x-kubernetes-group-version-kind", "x-kubernetes-selectable-fields"]);
    }
}
