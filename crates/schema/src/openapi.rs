//! OpenAPI v3 documents, one for each group and version, made when they are asked for.

use crate::bundle::{Bundle, Field, List, Scalar, Shape, TypeId};
use crate::facts;
use ironclad_api::GroupVersionKind;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// What a document must know of a resource.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Its kind.
    pub gvk: GroupVersionKind,
    /// Its plural, in paths.
    pub plural: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Its verbs.
    pub verbs: Vec<&'static str>,
}

/// `apis/apps/v1`, as paths and the index name a group and version.
pub fn path_of(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// The document of one group and version.
pub fn v3(bundle: &Bundle, resources: &[Resource], version: &str) -> Value {
    let docs = bundle.docs();
    let mut schemas = Map::new();
    let mut todo: Vec<TypeId> = resources.iter().filter_map(|r| bundle.kind(&r.gvk)).collect();
    todo.extend(["DeleteOptions", "Status"].iter().filter_map(|n| bundle.definition(&meta(n))));
    let mut seen: BTreeSet<TypeId> = BTreeSet::new();
    while let Some(id) = todo.pop() {
        if !seen.insert(id) {
            continue;
        }
        let ty = bundle.get(id);
        ty.fields.iter().for_each(|f| references(&f.shape, &mut todo));
        let (doc, field_docs) = &docs[id.0 as usize];
        schemas.insert(ty.definition.clone(), schema(bundle, id, doc, field_docs));
    }
    let mut paths = Map::new();
    for resource in resources {
        add_paths(bundle, resource, &mut paths);
    }
    json!({
        "openapi": "3.0.0", "info": {"title": "Kubernetes", "version": version},
        "paths": paths, "components": {"schemas": schemas},
    })
}

fn meta(name: &str) -> String {
    format!("io.k8s.apimachinery.pkg.apis.meta.v1.{name}")
}

fn references(shape: &Shape, out: &mut Vec<TypeId>) {
    match shape {
        Shape::Object(id) => out.push(*id),
        Shape::List(inner) | Shape::Map(inner) => references(inner, out),
        Shape::Scalar(_) => {}
    }
}

fn schema(bundle: &Bundle, id: TypeId, doc: &str, docs: &[String]) -> Value {
    let ty = bundle.get(id);
    let mut properties = Map::new();
    for (field, doc) in ty.fields.iter().zip(docs) {
        properties.insert(field.name.clone(), property(bundle, field, doc));
    }
    if ty.gvk.is_some() {
        let text = |doc: &str| json!({"type": "string", "description": doc});
        properties.insert("apiVersion".into(), text("The group and version in which the object is written."));
        properties.insert("kind".into(), text("What sort of object it is."));
    }
    let required: Vec<&String> = ty.fields.iter().filter(|f| f.required).map(|f| &f.name).collect();
    let mut out = json!({"type": "object", "description": doc, "properties": properties});
    if !required.is_empty() {
        out["required"] = json!(required);
    }
    if let Some(gvk) = &ty.gvk {
        out["x-kubernetes-group-version-kind"] = json!([named(gvk)]);
    }
    if facts::is_atomic(&ty.definition) {
        out["x-kubernetes-map-type"] = json!("atomic");
    }
    out
}

fn named(gvk: &GroupVersionKind) -> Value {
    json!({"group": gvk.group, "kind": gvk.kind, "version": gvk.version})
}

fn property(bundle: &Bundle, field: &Field, doc: &str) -> Value {
    let mut out = shape(bundle, &field.shape);
    out["description"] = json!(doc);
    match &field.list {
        List::Map(keys) => {
            out["x-kubernetes-list-type"] = json!("map");
            out["x-kubernetes-list-map-keys"] = json!(keys);
        }
        List::Set => out["x-kubernetes-list-type"] = json!("set"),
        List::Atomic if matches!(field.shape, Shape::List(_)) => out["x-kubernetes-list-type"] = json!("atomic"),
        List::Atomic => {}
    }
    if let Some(key) = &field.merge_key {
        out["x-kubernetes-patch-strategy"] = json!("merge");
        if !key.is_empty() {
            out["x-kubernetes-patch-merge-key"] = json!(key);
        }
    }
    out
}

fn shape(bundle: &Bundle, of: &Shape) -> Value {
    match of {
        Shape::Object(id) => {
            json!({"allOf": [{"$ref": format!("#/components/schemas/{}", bundle.get(*id).definition)}]})
        }
        Shape::List(inner) => json!({"type": "array", "items": shape(bundle, inner)}),
        Shape::Map(inner) => json!({"type": "object", "additionalProperties": shape(bundle, inner)}),
        Shape::Scalar(scalar) => match scalar {
            Scalar::String | Scalar::Quantity => json!({"type": "string"}),
            Scalar::Int32 => json!({"type": "integer", "format": "int32"}),
            Scalar::Int64 => json!({"type": "integer", "format": "int64"}),
            Scalar::Double => json!({"type": "number", "format": "double"}),
            Scalar::Bool => json!({"type": "boolean"}),
            Scalar::Bytes => json!({"type": "string", "format": "byte"}),
            Scalar::Time | Scalar::MicroTime => json!({"type": "string", "format": "date-time"}),
            Scalar::IntOrString => {
                json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
            }
            Scalar::Any => json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        },
    }
}

/// Verb, HTTP method, `x-kubernetes-action`, whether it names an object.
const OPERATIONS: [(&str, &str, &str, bool); 7] = [
    ("list", "get", "list", false),
    ("create", "post", "post", false),
    ("deletecollection", "delete", "deletecollection", false),
    ("get", "get", "get", true),
    ("update", "put", "put", true),
    ("patch", "patch", "patch", true),
    ("delete", "delete", "delete", true),
];

fn add_paths(bundle: &Bundle, resource: &Resource, paths: &mut Map<String, Value>) {
    let Some(id) = bundle.kind(&resource.gvk) else { return };
    let reference = json!({"$ref": format!("#/components/schemas/{}", bundle.get(id).definition)});
    let place = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
    let base = format!("/{}{place}/{}", path_of(&resource.gvk.group, &resource.gvk.version), resource.plural);
    for (verb, method, action, one) in OPERATIONS {
        if !resource.verbs.contains(&verb) {
            continue;
        }
        let writes = matches!(method, "post" | "put" | "patch");
        let mut parameters = Vec::new();
        if writes {
            parameters.extend(["dryRun", "fieldManager", "fieldValidation"].map(query));
        }
        if method == "patch" {
            parameters
                .push(json!({"name": "force", "in": "query", "schema": {"type": "boolean", "uniqueItems": true}}));
        }
        let operation = json!({
            "operationId": format!("{action}{}{}{}", resource.gvk.group, resource.gvk.version, resource.gvk.kind),
            "parameters": parameters, "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": named(&resource.gvk),
            "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": reference}}}},
        });
        let path = if one { format!("{base}/{{name}}") } else { base.clone() };
        let entry = paths.entry(path).or_insert_with(|| json!({}));
        entry[method] = operation;
    }
}

fn query(name: &str) -> Value {
    json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle;

    #[test]
    fn a_document_holds_what_its_kinds_need_and_how_to_patch_them() {
        let gvk = GroupVersionKind::new("apps", "v1", "Deployment");
        let resource = Resource { gvk, plural: "deployments".into(), namespaced: true, verbs: vec!["get", "patch"] };
        let document = v3(bundle(), &[resource], "v1.37.0");
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let container = &schemas["io.k8s.api.core.v1.Container"]["properties"];
        assert_eq!(container["ports"]["x-kubernetes-list-map-keys"], json!(["containerPort", "protocol"]));
        assert!(container["image"]["description"].as_str().unwrap().starts_with("Container image name."));
        let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
        assert!(patch["parameters"].as_array().unwrap().iter().any(|p| p["name"] == "fieldValidation"));
        // Every reference leads somewhere.
        let text = document.to_string();
        for reference in text.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(schemas.contains_key(name), "{name}");
        }
    }
}
