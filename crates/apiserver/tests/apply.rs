//! Server-side apply and managed fields over the whole server, as clients see them.

mod support;

use ironclad_apiserver::ApiServer;
use ironclad_json::{Value, json};
use support::{JSON, ask, bytes, server, with};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const APPLY: &str = "application/apply-patch+yaml";

async fn apply(server: &ApiServer, path: &str, query: &str, config: &Value) -> (u16, Value) {
    let path = format!("{path}?{query}");
    let response = with(server, "PATCH", &path, &[("content-type", APPLY)], config.to_string()).await;
    let code = response.status().as_u16();
    (code, serde_json::from_slice(&bytes(response).await).unwrap())
}

fn deployment(spec: Value) -> Value {
    let mut spec = spec;
    spec["selector"] = json!({"matchLabels": {"app": "web"}});
    if spec["template"].is_null() {
        spec["template"] = json!({"metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": "nginx"}]}});
    }
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec})
}

fn entry<'a>(object: &'a Value, manager: &str) -> &'a Value {
    let all = object["metadata"]["managedFields"].as_array().unwrap();
    all.iter().find(|e| e["manager"] == manager).unwrap_or_else(|| panic!("{manager} in {all:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_owns_what_it_says_and_nothing_that_the_server_put_in() {
    let (server, ..) = server().await;
    let one = format!("{DEPLOYMENTS}/web");
    let (code, made) = apply(&server, &one, "fieldManager=me", &deployment(json!({"replicas": 2}))).await;
    assert_eq!(code, 201, "{made}");
    let fields = &entry(&made, "me")["fieldsV1"]["f:spec"];
    let want = json!({"f:replicas": {}, "f:selector": {}, "f:template": {"f:metadata": {"f:labels": {"f:app": {}}},
        "f:spec": {"f:containers": {"k:{\"name\":\"web\"}": {".": {}, "f:name": {}, "f:image": {}}}}}});
    assert_eq!(*fields, want);
    assert_eq!(made["spec"]["strategy"]["type"], "RollingUpdate");

    // The same again writes nothing, not even a time.
    let (code, again) = apply(&server, &one, "fieldManager=me", &deployment(json!({"replicas": 2}))).await;
    assert_eq!((code, &again), (200, &made));

    // What is no longer said goes back to what it is without.
    let (_, less) = apply(&server, &one, "fieldManager=me", &deployment(json!({}))).await;
    assert_eq!(less["spec"]["replicas"], 1);
    assert_eq!(less["metadata"]["generation"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_create_owns_the_defaults_of_its_type() {
    let (server, ..) = server().await;
    let path = format!("{DEPLOYMENTS}?fieldManager=me");
    let (code, made) = ask(&server, "POST", &path, JSON, deployment(json!({}))).await;
    assert_eq!(code, 201);
    let fields = &entry(&made, "me")["fieldsV1"];
    let strategy = json!({"f:rollingUpdate": {".": {}, "f:maxSurge": {}, "f:maxUnavailable": {}}, "f:type": {}});
    assert_eq!(fields["f:spec"]["f:strategy"], strategy);
    let container = &fields["f:spec"]["f:template"]["f:spec"]["f:containers"]["k:{\"name\":\"web\"}"];
    for field in [".", "f:image", "f:imagePullPolicy", "f:name", "f:resources", "f:terminationMessagePath"] {
        assert_eq!(container[field], json!({}), "{field}");
    }
    assert!(fields.get("f:status").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_name_who_and_what() {
    let (server, ..) = server().await;
    let one = format!("{DEPLOYMENTS}/web");
    apply(&server, &one, "fieldManager=a", &deployment(json!({"replicas": 1, "paused": true}))).await;
    let other = deployment(json!({"replicas": 5, "paused": false}));
    let (code, error) = apply(&server, &one, "fieldManager=b", &other).await;
    assert_eq!((code, &error["reason"]), (409, &json!("Conflict")));
    let want = "Apply failed with 2 conflicts: conflicts with \"a\":\n- .spec.paused\n- .spec.replicas";
    assert_eq!(error["message"], want);
    assert_eq!(
        error["details"]["causes"][1],
        json!({"reason": "FieldManagerConflict",
        "message": "conflict with \"a\"", "field": ".spec.replicas"})
    );
    let (code, forced) = apply(&server, &one, "fieldManager=b&force=true", &other).await;
    assert_eq!((code, &forced["spec"]["replicas"]), (200, &json!(5)));
    assert!(entry(&forced, "a")["fieldsV1"]["f:spec"].get("f:replicas").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn scaling_takes_the_replicas_from_who_applied_them() {
    let (server, ..) = server().await;
    let one = format!("{DEPLOYMENTS}/web");
    apply(&server, &one, "fieldManager=a", &deployment(json!({"replicas": 1}))).await;
    let merge = "application/merge-patch+json";
    let scale = format!("{one}/scale?fieldManager=scaler");
    let (code, _) = ask(&server, "PATCH", &scale, merge, json!({"spec": {"replicas": 4}})).await;
    assert_eq!(code, 200);
    let (_, now) = ask(&server, "GET", &one, JSON, Value::Null).await;
    let scaler = entry(&now, "scaler");
    assert_eq!(
        (&scaler["subresource"], &scaler["fieldsV1"]),
        (&json!("scale"), &json!({"f:spec": {"f:replicas": {}}}))
    );
    let (code, error) = apply(&server, &one, "fieldManager=a", &deployment(json!({"replicas": 1}))).await;
    assert_eq!(code, 409);
    let want = "Apply failed with 1 conflict: conflict with \"scaler\" with subresource \"scale\" using apps/v1: .spec.replicas";
    assert_eq!(error["message"], want);
    let config = json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": 6}});
    let (code, scale) = apply(&server, &format!("{one}/scale"), "fieldManager=hand&force=true", &config).await;
    assert_eq!((code, &scale["spec"]["replicas"]), (200, &json!(6)), "{scale}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_door_owns_only_status() {
    let (server, ..) = server().await;
    let one = format!("{DEPLOYMENTS}/web");
    apply(&server, &one, "fieldManager=a", &deployment(json!({"replicas": 1}))).await;
    let mut config = deployment(json!({"replicas": 9}));
    config["status"] = json!({"replicas": 3});
    let (code, now) = apply(&server, &format!("{one}/status"), "fieldManager=s", &config).await;
    assert_eq!((code, &now["spec"]["replicas"], &now["status"]["replicas"]), (200, &json!(1), &json!(3)), "{now}");
    let status = entry(&now, "s");
    assert_eq!(
        (&status["subresource"], &status["fieldsV1"]),
        (&json!("status"), &json!({"f:status": {"f:replicas": {}}}))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_can_reset_and_rewrite_managed_fields() {
    let (server, ..) = server().await;
    let one = format!("{MAPS}/a");
    ask(&server, "POST", MAPS, JSON, json!({"metadata": {"name": "a"}, "data": {"k": "v"}})).await;
    let kind = "application/json-patch+json";
    // An empty list forgets every manager, and the next write is followed again only by an apply.
    let empty = json!([{"op": "replace", "path": "/metadata/managedFields", "value": []}]);
    let (code, bare) = ask(&server, "PATCH", &one, kind, empty).await;
    assert_eq!((code, bare["metadata"].get("managedFields")), (200, None));
    ask(&server, "DELETE", &one, JSON, Value::Null).await;
    let (_, kept) = ask(&server, "POST", MAPS, JSON, json!({"metadata": {"name": "a"}, "data": {"k": "v"}})).await;
    assert_eq!(kept["metadata"]["managedFields"].as_array().map(Vec::len), Some(1));

    // How kubectl gives to its applies what it applied on its own side before.
    let fields = kept["metadata"]["managedFields"][0]["fieldsV1"].clone();
    let moved = json!([{"manager": "kubectl", "operation": "Apply", "apiVersion": "v1", "time": "2026-01-01T00:00:00Z",
        "fieldsType": "FieldsV1", "fieldsV1": fields}]);
    let patch = json!([{"op": "replace", "path": "/metadata/managedFields", "value": moved},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": kept["metadata"]["resourceVersion"]}]);
    let (code, after) = ask(&server, "PATCH", &one, kind, patch).await;
    assert_eq!((code, &after["metadata"]["managedFields"]), (200, &moved));

    let reset = json!([{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}]);
    let (_, bare) = ask(&server, "PATCH", &one, kind, reset).await;
    assert!(bare["metadata"].get("managedFields").is_none());
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "w"}});
    let (code, error) = apply(&server, &one, "fieldManager=me", &config).await;
    let want = "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.k";
    assert_eq!((code, &error["message"]), (409, &json!(want)));
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_goes_from_its_own_apply_to_the_servers() {
    let (server, ..) = server().await;
    let last = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "default"}, "data": {"k": "1", "other": "1"}});
    let mut made = last.clone();
    let annotation = "kubectl.kubernetes.io/last-applied-configuration";
    made["metadata"]["annotations"] = json!({annotation: last.to_string()});
    ask(&server, "POST", &format!("{MAPS}?fieldManager=kubectl-client-side-apply"), JSON, made).await;
    let one = format!("{MAPS}/a");
    let mut config = last.clone();
    config["data"]["k"] = json!("2");
    let (code, error) = apply(&server, &one, "fieldManager=other", &config).await;
    assert_eq!(code, 409, "{error}");
    let (code, now) = apply(&server, &one, "fieldManager=kubectl", &config).await;
    assert_eq!((code, &now["data"]["k"]), (200, &json!("2")), "{now}");
    let renewed: Value = serde_json::from_str(now["metadata"]["annotations"][annotation].as_str().unwrap()).unwrap();
    assert_eq!(renewed["data"]["k"], "2");
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_in_configurations_are_named() {
    let (server, ..) = server().await;
    let one = format!("{DEPLOYMENTS}/web");
    let good = || deployment(json!({"replicas": 1}));
    let with_field = |path: &str, value: Value| {
        let mut config = good();
        *config.pointer_mut(path).unwrap() = value;
        config
    };
    let of = "failed to create typed patch object (/web; apps/v1, Kind=Deployment): ";
    let twice = json!([{"name": "a", "image": "x"}, {"name": "a", "image": "y"}]);
    let table = [
        (with_field("/spec/replicas", json!("x")), ".spec.replicas: expected numeric (int or float), got string"),
        (
            with_field("/metadata", json!({"name": "web", "unknown": 1})),
            ".metadata.unknown: field not declared in schema",
        ),
        (
            with_field("/spec/template/spec/containers", twice),
            ".spec.template.spec.containers: duplicate entries for key [name=\"a\"]",
        ),
        (
            with_field("/metadata", json!({"name": "web", "ownerReferences": [null]})),
            ".metadata.ownerReferences: element 0: associative list with keys may not have a null element",
        ),
    ];
    for (config, want) in table {
        let (code, error) = apply(&server, &one, "fieldManager=me", &config).await;
        assert_eq!((code, error["message"].as_str().unwrap()), (500, &*format!("{of}{want}")));
        assert!(error.get("reason").is_none());
    }
    // A name that Go always writes is empty where it is not given.
    let nameless = with_field("/spec/template/spec/containers", json!([{"image": "x"}]));
    let (code, error) = apply(&server, &one, "fieldManager=me", &nameless).await;
    let want = "Deployment.apps \"web\" is invalid: spec.template.spec.containers[0].name: Required value";
    assert_eq!((code, error["message"].as_str().unwrap()), (422, want));
    let options = [
        ("", "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch"),
        (
            "fieldManager=me&dryRun=x",
            "PatchOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"x\"]: supported values: \"All\"",
        ),
    ];
    for (query, want) in options {
        let (code, error) = apply(&server, &one, query, &good()).await;
        assert_eq!((code, error["message"].as_str().unwrap()), (422, want));
    }
    let merge = "application/merge-patch+json";
    let (code, error) = ask(&server, "PATCH", &format!("{one}?force=true"), merge, json!({})).await;
    let want = "PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for non-apply patch";
    assert_eq!((code, error["message"].as_str().unwrap()), (422, want));
}

/// An autoscaler that two managers apply in different versions.
#[tokio::test(flavor = "multi_thread")]
async fn managers_of_other_versions_keep_what_is_theirs() {
    let (server, ..) = server().await;
    let path = |version: &str| format!("/apis/autoscaling/{version}/namespaces/default/horizontalpodautoscalers/a");
    let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
    let config = |version: &str, rest: Value| {
        let mut spec = json!({"scaleTargetRef": target});
        spec.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        json!({"apiVersion": format!("autoscaling/{version}"), "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"}, "spec": spec})
    };
    let first = config("v2", json!({"maxReplicas": 5, "minReplicas": 2}));
    let (code, made) = apply(&server, &path("v2"), "fieldManager=two", &first).await;
    assert_eq!(code, 201, "{made}");
    let (code, error) = apply(&server, &path("v1"), "fieldManager=one", &config("v1", json!({"maxReplicas": 9}))).await;
    let want = "Apply failed with 1 conflict: conflict with \"two\": .spec.maxReplicas";
    assert_eq!((code, error["message"].as_str().unwrap()), (409, want));
    let (code, now) =
        apply(&server, &path("v1"), "fieldManager=one&force=true", &config("v1", json!({"maxReplicas": 9}))).await;
    assert_eq!((code, &now["spec"]["maxReplicas"], &now["spec"]["minReplicas"]), (200, &json!(9), &json!(2)), "{now}");
    assert_eq!(entry(&now, "two")["apiVersion"], "autoscaling/v2");
    // Applied anew in the other version, what is no longer said goes.
    let (code, now) = apply(&server, &path("v1"), "fieldManager=two", &config("v1", json!({"maxReplicas": 9}))).await;
    assert_eq!(code, 200, "{now}");
    assert_eq!(entry(&now, "two")["apiVersion"], "autoscaling/v1");
    assert_eq!(now["spec"]["minReplicas"], 1, "the default is back: {now}");
}
