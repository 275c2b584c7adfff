use super::*;
use crate::bundle::bundle;

fn deployments() -> Vec<Resource> {
    vec![Resource {
        gvk: GroupVersionKind::new("apps", "v1", "Deployment"),
        plural: "deployments".into(),
        namespaced: true,
        verbs: vec!["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
        schema: None,
        subresources: vec![Subresource {
            name: "scale".into(),
            kind: Some(GroupVersionKind::new("autoscaling", "v1", "Scale")),
            verbs: vec!["get", "patch", "update"],
        }],
    }]
}

fn dangling(value: &Value, schemas: &Value, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(to)) = map.get("$ref")
                && schemas.get(to.rsplit('/').next().unwrap()).is_none()
            {
                out.push(to.to_string());
            }
            map.values().for_each(|v| dangling(v, schemas, out));
        }
        Value::Array(items) => items.iter().for_each(|v| dangling(v, schemas, out)),
        _ => {}
    }
}

#[test]
fn a_document_holds_all_that_it_refers_to() {
    let v3 = v3(bundle(), &deployments(), "apis/apps/v1", "v1.37.0").unwrap();
    let v2 = v2(bundle(), &deployments(), "v1.37.0");
    let mut missing = Vec::new();
    dangling(&v3, &v3["components"]["schemas"], &mut missing);
    dangling(&v2, &v2["definitions"], &mut missing);
    assert_eq!(missing, Vec::<String>::new());
    assert!(super::v3(bundle(), &deployments(), "apis/batch/v1", "v1.37.0").is_none());
}

#[test]
fn patches_say_that_they_check_fields_and_what_they_take() {
    let v3 = v3(bundle(), &deployments(), "apis/apps/v1", "v1.37.0").unwrap();
    let patch = &v3["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    let names: Vec<&str> = patch["parameters"].as_array().unwrap().iter().filter_map(|p| p["name"].as_str()).collect();
    assert!(names.contains(&"fieldValidation") && names.contains(&"force"), "{names:?}");
    assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Deployment");
    assert!(patch["requestBody"]["content"].get("application/strategic-merge-patch+json").is_some());
    let scale = &v3["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"]["get"];
    assert_eq!(scale["x-kubernetes-group-version-kind"]["group"], "autoscaling");
}

#[test]
fn schemas_say_how_lists_merge() {
    let v3 = v3(bundle(), &deployments(), "apis/apps/v1", "v1.37.0").unwrap();
    let schemas = &v3["components"]["schemas"];
    let volumes = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["volumes"];
    assert_eq!(volumes["x-kubernetes-patch-strategy"], "merge,retainKeys");
    assert_eq!(volumes["x-kubernetes-patch-merge-key"], "name");
    let ports = &schemas["io.k8s.api.core.v1.Container"]["properties"]["ports"];
    assert_eq!(ports["x-kubernetes-list-map-keys"], json!(["containerPort", "protocol"]));
    assert_eq!(schemas["io.k8s.api.core.v1.LocalObjectReference"]["x-kubernetes-map-type"], "atomic");
    let claims = &schemas["io.k8s.api.core.v1.ResourceRequirements"]["properties"]["claims"];
    assert_eq!(claims["x-kubernetes-list-map-keys"], json!(["name"]));
    assert!(claims.get("x-kubernetes-patch-strategy").is_none(), "a strategic merge patch replaces it");
    let union = &schemas["io.k8s.api.core.v1.SeccompProfile"]["x-kubernetes-unions"];
    let members = json!({"localhostProfile": "LocalhostProfile"});
    assert_eq!(*union, json!([{"discriminator": "type", "fields-to-discriminateBy": members}]));
    let kind = &schemas["io.k8s.api.apps.v1.Deployment"]["properties"]["kind"];
    assert!(kind["description"].as_str().is_some_and(|d| !d.is_empty()));
}

#[test]
fn the_protobuf_form_begins_with_its_version() {
    let bytes = v2_protobuf(&v2(bundle(), &deployments(), "v1.37.0"));
    assert_eq!(&bytes[..5], b"\x0a\x032.0");
    assert!(bytes.len() > 100_000, "{}", bytes.len());
}
