//! What the extension API server says of itself.

use serde_json::{Value, json};

const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// The document at a path, with its media type.
pub(super) fn answer(path: &str, aggregated: bool) -> Option<(&'static str, Value)> {
    let plain = "application/json";
    Some(match path {
        "/apis" if aggregated => ("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", groups()),
        "/apis/wardle.example.com/v1alpha1" => (plain, resources()),
        "/openapi/v3" => {
            let url = "/openapi/v3/apis/wardle.example.com/v1alpha1?hash=F00";
            (plain, json!({"paths": {"apis/wardle.example.com/v1alpha1": {"serverRelativeURL": url}}}))
        }
        "/openapi/v3/apis/wardle.example.com/v1alpha1" => (plain, openapi3()),
        "/openapi/v2" => (plain, openapi2()),
        _ => return None,
    })
}

fn groups() -> Value {
    let kind = json!({"group": "wardle.example.com", "version": "v1alpha1", "kind": "Flunder"});
    let flunders = json!({
        "resource": "flunders", "responseKind": kind, "scope": "Namespaced", "singularResource": "flunder",
        "verbs": VERBS, "shortNames": ["fl"], "categories": ["all"],
    });
    let version = json!({"version": "v1alpha1", "freshness": "Current", "resources": [flunders]});
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {},
        "items": [{"metadata": {"name": "wardle.example.com"}, "versions": [version]}]})
}

fn resources() -> Value {
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "wardle.example.com/v1alpha1", "resources": [
        {"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder", "verbs": VERBS,
            "shortNames": ["fl"], "categories": ["all"]},
    ]})
}

fn flunder(reference: &str) -> Value {
    json!({
        "type": "object", "description": "A flunder flunds.",
        "x-kubernetes-group-version-kind": [{"group": "wardle.example.com", "version": "v1alpha1", "kind": "Flunder"}],
        "properties": {
            "apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"},
            "spec": {"$ref": format!("{reference}com.example.wardle.v1alpha1.FlunderSpec")},
        },
    })
}

fn spec() -> Value {
    json!({"type": "object", "properties": {"reference": {"type": "string", "description": "Another flunder."}}})
}

fn get(answer: &Value) -> Value {
    json!({"get": {"operationId": "listFlunder", "responses": {"200": answer},
        "x-kubernetes-action": "list",
        "x-kubernetes-group-version-kind": {"group": "wardle.example.com", "version": "v1alpha1", "kind": "Flunder"}}})
}

fn openapi3() -> Value {
    let schemas = "#/components/schemas/";
    let name = "com.example.wardle.v1alpha1.Flunder";
    let answer =
        json!({"description": "OK", "content": {"application/json": {"schema": {"$ref": format!("{schemas}{name}")}}}});
    json!({"openapi": "3.0.0", "info": {"title": "wardle", "version": "0"},
        "paths": {"/apis/wardle.example.com/v1alpha1/namespaces/{namespace}/flunders": get(&answer)},
        "components": {"schemas": {name: flunder(schemas), "com.example.wardle.v1alpha1.FlunderSpec": spec()}}})
}

fn openapi2() -> Value {
    let definitions = "#/definitions/";
    let name = "com.example.wardle.v1alpha1.Flunder";
    let answer = json!({"description": "OK", "schema": {"$ref": format!("{definitions}{name}")}});
    json!({"swagger": "2.0", "info": {"title": "wardle", "version": "0"},
        "paths": {
            "/apis/wardle.example.com/v1alpha1/namespaces/{namespace}/flunders": get(&answer),
            "/apis/other.example.com/v1/things": get(&answer),
        },
        "definitions": {name: flunder(definitions), "com.example.wardle.v1alpha1.FlunderSpec": spec()}})
}
