//! Each public class of holes of API servers that has a name, tried from outside. Those of HTTP/2 are in
//! `connections.rs`, of upgrades, redirects and names in `proxies.rs` and `aggregation.rs`, of webhooks in `webhooks.rs`.

mod support;

use ironclad_json::{Value, json};
use support::{JSON, admitting, ask, send, server};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const MERGE: &str = "application/merge-patch+json";

fn definition(plural: &str, kind: &str, scope: &str) -> Value {
    json!({"metadata": {"name": format!("{plural}.example.com")}, "spec": {
        "group": "example.com", "scope": scope, "names": {"plural": plural, "kind": kind},
        "versions": [{"name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}})
}

/// Defines a resource and waits until it is served.
async fn define(server: &ironclad_apiserver::ApiServer, plural: &str, kind: &str, scope: &str) {
    let (code, made) = ask(server, "POST", DEFINITIONS, JSON, definition(plural, kind, scope)).await;
    assert_eq!(code, 201, "{made}");
    let path = format!("/apis/example.com/v1/{plural}");
    for _ in 0..500 {
        if send(server, "GET", &path, JSON, "").await.status() == 200 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{plural} is not served");
}

/// A resource of the cluster was served below a namespace, where those who may do anything in it could change it.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2019_11247_a_resource_of_the_cluster_is_not_below_a_namespace() {
    let (server, _reader, _dir) = server().await;
    define(&server, "globals", "Global", "Cluster").await;
    define(&server, "locals", "Local", "Namespaced").await;
    let (code, _) = ask(
        &server,
        "POST",
        "/apis/example.com/v1/globals",
        JSON,
        json!({"apiVersion": "example.com/v1", "kind": "Global", "metadata": {"name": "g"}}),
    )
    .await;
    assert_eq!(code, 201);
    for method in ["GET", "PUT", "PATCH", "DELETE"] {
        let path = "/apis/example.com/v1/namespaces/default/globals/g";
        let media = if method == "PATCH" { MERGE } else { JSON };
        let (code, answer) = ask(&server, method, path, media, json!({"spec": {"a": 1}})).await;
        assert_eq!(code, 404, "{method}: {answer}");
    }
    for path in
        ["/apis/example.com/v1/namespaces/default/globals", "/apis/example.com/v1/namespaces/default/globals?watch=1"]
    {
        assert_eq!(send(&server, "GET", path, JSON, "").await.status(), 404, "{path}");
    }
    assert_eq!(
        send(&server, "GET", "/apis/rbac.authorization.k8s.io/v1/namespaces/default/clusterroles", JSON, "")
            .await
            .status(),
        404
    );
    for path in ["/api/v1/namespaces/default/namespaces", "/api/v1/namespaces/default/namespaces/kube-system"] {
        assert_eq!(send(&server, "GET", path, JSON, "").await.status(), 404, "{path}");
    }
}

/// A list of one custom resource showed those of another whose name begins like it.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2022_3162_a_list_shows_nothing_of_a_resource_whose_name_begins_like_it() {
    let (server, _reader, _dir) = server().await;
    define(&server, "web", "Web", "Namespaced").await;
    define(&server, "websecrets", "WebSecret", "Namespaced").await;
    let secret = json!({"apiVersion": "example.com/v1", "kind": "WebSecret", "metadata": {"name": "s"}, "token": "t"});
    let place = "/apis/example.com/v1/namespaces/default";
    assert_eq!(ask(&server, "POST", &format!("{place}/websecrets"), JSON, secret).await.0, 201);
    for path in [
        "/apis/example.com/v1/web".to_owned(),
        format!("{place}/web"),
        format!("{place}/web?limit=1"),
        "/apis/example.com/v1/namespaces/..%2fwebsecrets%2fdefault/web".to_owned(),
        format!("{place}/web/..%2f..%2fwebsecrets%2fdefault%2fs"),
    ] {
        let (code, answer) = ask(&server, "GET", &path, JSON, Value::Null).await;
        assert!(!answer.to_string().contains("\"t\""), "{path}: {code} {answer}");
        assert!(code != 200 || answer["items"].as_array().is_some_and(Vec::is_empty), "{path}: {answer}");
    }
}

/// A small patch that takes the server minutes.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2019_1002100_a_json_patch_of_many_operations_is_refused() {
    let (server, _reader, _dir) = server().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    ask(&server, "POST", maps, JSON, json!({"metadata": {"name": "a"}, "data": {"a": "b"}})).await;
    let copies = vec![json!({"op": "copy", "from": "/data", "path": "/data/a"}); 10_001];
    let (code, answer) =
        ask(&server, "PATCH", &format!("{maps}/a"), "application/json-patch+json", json!(copies)).await;
    assert_eq!(code, 413, "{}", answer["message"]);
    // Each copy doubles the object: what it grows to is bounded as well.
    let doubles: Vec<Value> = (0..60).map(|n| json!({"op": "copy", "from": "", "path": format!("/x{n}")})).collect();
    let one = format!("{maps}/a");
    let patching = ask(&server, "PATCH", &one, "application/json-patch+json", json!(doubles));
    let (code, answer) = tokio::time::timeout(std::time::Duration::from_secs(20), patching).await.expect("an answer");
    assert!((400..500).contains(&code), "{code} {}", answer["message"]);
}

/// Endpoints on the node itself or on its link let a proxy reach what is for the node alone.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2021_25737_endpoints_are_not_on_the_node_or_its_link() {
    let (server, _reader, _dir) = admitting().await;
    for address in ["127.0.0.1", "169.254.169.254", "224.0.0.1", "0.0.0.0"] {
        let slice = json!({"metadata": {"name": "s"}, "addressType": "IPv4", "endpoints": [{"addresses": [address]}]});
        let path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
        let (code, answer) = ask(&server, "POST", path, JSON, slice).await;
        assert_eq!(code, 422, "{address}: {answer}");
        let endpoints = json!({"metadata": {"name": "e"}, "subsets": [{"addresses": [{"ip": address}]}]});
        let (code, answer) = ask(&server, "POST", "/api/v1/namespaces/default/endpoints", JSON, endpoints).await;
        assert_eq!(code, 422, "{address}: {answer}");
    }
}

/// Admission saw the new fields of a Node update as if they had been there before.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2021_25735_admission_sees_a_node_as_it_was_and_as_it_is_to_be() {
    let (server, _reader, _dir) = admitting().await;
    let node = json!({"metadata": {"name": "n", "labels": {"changing": "no"}}});
    assert_eq!(ask(&server, "POST", "/api/v1/nodes", JSON, node).await.0, 201);
    let policy = json!({"metadata": {"name": "p"}, "spec": {
        "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["nodes"]}]},
        "validations": [{"expression": "object.metadata.labels.changing == oldObject.metadata.labels.changing", "message": "stays"}]}});
    let group = "/apis/admissionregistration.k8s.io/v1";
    assert_eq!(ask(&server, "POST", &format!("{group}/validatingadmissionpolicies"), JSON, policy).await.0, 201);
    let binding = json!({"metadata": {"name": "b"}, "spec": {"policyName": "p", "validationActions": ["Deny"]}});
    assert_eq!(ask(&server, "POST", &format!("{group}/validatingadmissionpolicybindings"), JSON, binding).await.0, 201);
    let change = json!({"metadata": {"labels": {"changing": "yes"}}});
    for _ in 0..500 {
        let (code, answer) = ask(&server, "PATCH", "/api/v1/nodes/n?dryRun=All", MERGE, change.clone()).await;
        if code != 200 {
            assert_eq!(code, 422, "{answer}");
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the policy never saw a difference");
}

/// Numbers that no controller can work with brought controllers down.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2024_0793_objects_that_controllers_cannot_read_are_refused() {
    let (server, _reader, _dir) = admitting().await;
    let path = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    let scaler = json!({"metadata": {"name": "h"}, "spec": {"maxReplicas": 1,
        "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"},
        "metrics": [{"type": "Object", "object": {}}]}});
    let (code, answer) = ask(&server, "POST", path, JSON, scaler).await;
    assert_eq!(code, 422, "{answer}");
}

/// Ephemeral containers and variables from Secrets passed by the rule that only listed Secrets are mounted.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2023_2728_and_2024_3177_listed_secrets_hold_for_every_container_and_way() {
    let (server, _reader, _dir) = admitting().await;
    let account =
        json!({"metadata": {"name": "strict", "annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}}});
    assert_eq!(ask(&server, "POST", "/api/v1/namespaces/default/serviceaccounts", JSON, account).await.0, 201);
    let pod = |container: Value| json!({"metadata": {"generateName": "p"}, "spec": {"serviceAccountName": "strict", "containers": [container]}});
    let pods = "/api/v1/namespaces/default/pods";
    let plain = json!({"name": "c", "image": "i"});
    let secrets = [
        json!({"name": "c", "image": "i", "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}),
        json!({"name": "c", "image": "i", "envFrom": [{"secretRef": {"name": "s"}}]}),
    ];
    for container in &secrets {
        let (code, answer) = ask(&server, "POST", pods, JSON, pod(container.clone())).await;
        assert_eq!(code, 403, "{answer}");
    }
    let (code, made) = ask(&server, "POST", pods, JSON, pod(plain)).await;
    assert_eq!(code, 201, "{made}");
    let name = made["metadata"]["name"].as_str().unwrap();
    for container in &secrets {
        let mut ephemeral = container.clone();
        ephemeral["name"] = json!("e");
        let path = format!("{pods}/{name}/ephemeralcontainers");
        let (code, answer) = ask(
            &server,
            "PATCH",
            &path,
            "application/strategic-merge-patch+json",
            json!({"spec": {"ephemeralContainers": [ephemeral]}}),
        )
        .await;
        assert_eq!(code, 403, "{answer}");
    }
}

/// YAML that grows by its aliases, and numbers and texts that take long to read.
#[tokio::test(flavor = "multi_thread")]
async fn cve_2019_11253_and_11254_yaml_costs_no_more_than_its_size() {
    let (server, _reader, _dir) = server().await;
    let bomb = (0..30).fold("a: &x0 [x]\n".to_owned(), |text, n| format!("{text}b{n}: &x{} [*x{n}, *x{n}]\n", n + 1));
    let many_keys = (0..100_000).fold("data: {".to_owned(), |text, n| format!("{text}? k{n}, ")) + "}";
    let colons = format!("data: {}", "a: ".repeat(100_000));
    for body in [bomb, many_keys, colons, "&a ".repeat(200_000), format!("data: {}1", "0".repeat(1 << 20))] {
        let sending = send(&server, "POST", "/api/v1/namespaces/default/configmaps", "application/yaml", body);
        let answer = tokio::time::timeout(std::time::Duration::from_secs(30), sending).await.expect("an answer");
        assert!((400..500).contains(&answer.status().as_u16()), "{}", answer.status());
    }
}
