use super::*;

fn deployments() -> Vec<Resource> {
    vec![Resource {
        gvk: GroupVersionKind::new("apps", "v1", "Deployment"),
        list_kind: "DeploymentList".into(),
        selectable: Vec::new(),
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

/// The whole document of version 2, put together as a server does.
fn v2() -> Value {
    let sources = Sources::default();
    let part = sources.v2_part(&deployments());
    let mut definitions = Map::new();
    sources.v2_definitions(&part.wanted, &mut |name, schema| drop(definitions.insert(name, schema)));
    definitions.extend(part.definitions);
    let mut whole = v2_head("v1.37.0");
    whole.insert("definitions", definitions.into());
    whole.insert("paths", part.paths.into());
    whole.insert("parameters", part.parameters.into());
    whole.into()
}

/// The names of the shared parameters that a path refers to.
fn parameters(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            if let Some(name) = map.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix("#/parameters/")) {
                out.push(name.to_owned());
            }
            map.values().for_each(|v| parameters(v, out));
        }
        Value::Array(items) => items.iter().for_each(|v| parameters(v, out)),
        _ => {}
    }
}

fn dangling(value: &Value, schemas: &Value, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(to)) = map.get("$ref")
                && !to.starts_with("#/parameters/")
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
    let v3 = Sources::default().v3(&deployments(), "v1.37.0").unwrap();
    let v2 = v2();
    let mut missing = Vec::new();
    dangling(&v3, &v3["components"]["schemas"], &mut missing);
    dangling(&v2, &v2["definitions"], &mut missing);
    assert_eq!(missing, Vec::<String>::new());
    assert!(Sources::default().v3(&[], "v1.37.0").is_none());
    let shared = v2["parameters"].as_object().unwrap();
    let mut references = Vec::new();
    for item in v2["paths"].as_object().unwrap().values() {
        parameters(item, &mut references);
    }
    assert!(references.len() > 20 && references.iter().all(|r| shared.contains_key(r)), "{references:?}");
}

#[test]
fn patches_say_that_they_check_fields_and_what_they_take() {
    let v3 = Sources::default().v3(&deployments(), "v1.37.0").unwrap();
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
    let v3 = Sources::default().v3(&deployments(), "v1.37.0").unwrap();
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
fn the_protobuf_forms_hold_the_whole_document() {
    let document = v2();
    let part = |key: &str| document[key].as_object().unwrap();
    let bytes = v2_message::head(&v2_head("v1"));
    assert_eq!(&bytes[..5], b"\x0a\x032.0");
    assert!(v2_message::definitions(part("definitions")).len() > 100_000);
    assert!(v2_message::paths(part("paths")).len() > 10_000 && v2_message::parameters(part("parameters")).len() > 500);
    let v3 = Sources::default().v3(&deployments(), "v1.37.0").unwrap();
    let bytes = v3_protobuf(&v3);
    assert_eq!(&bytes[..7], b"\x0a\x053.0.0");
    assert!(bytes.len() > 100_000, "{}", bytes.len());
}

#[test]
fn what_stands_where_nothing_is_given_is_told_in_version_3() {
    let v3 = Sources::default().v3(&deployments(), "v1.37.0").unwrap();
    let schemas = &v3["components"]["schemas"];
    let of = |definition: &str, field: &str| schemas[definition]["properties"][field].clone();
    assert_eq!(of("io.k8s.api.core.v1.ContainerPort", "protocol")["default"], "TCP");
    assert_eq!(of("io.k8s.api.core.v1.Container", "name")["default"], "");
    assert_eq!(of("io.k8s.api.apps.v1.DeploymentSpec", "template")["default"], json!({}));
    assert!(of("io.k8s.api.apps.v1.DeploymentSpec", "selector").get("default").is_none());
    let labels = of("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "labels");
    assert_eq!(labels["additionalProperties"], json!({"type": "string"}));
    let items = &of("io.k8s.api.core.v1.PodSpec", "containers")["items"];
    assert_eq!(*items, json!({"$ref": "#/components/schemas/io.k8s.api.core.v1.Container"}));
    assert_eq!(of("io.k8s.api.core.v1.ContainerPort", "protocol")["enum"], json!(["SCTP", "TCP", "UDP"]));
    assert_eq!(of("io.k8s.api.core.v1.AzureDiskVolumeSource", "fsType")["default"], "ext4");
    let times = of("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta", "creationTimestamp");
    assert!(times.get("default").is_none(), "types that read themselves have none");
    assert!(v2()["definitions"].to_string().find("\"default\":").is_none());
}
