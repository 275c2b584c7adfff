//! What admission sees of requests below objects: the kind that is sent, the object as it was sent.

mod support;

use ironclad_json::{Value, json};
use std::time::Duration;
use support::hook::{Hook, allow, patch};
use support::{JSON, admitting, ask};

const PODS: &str = "/api/v1/namespaces/default/pods";
const MERGE: &str = "application/merge-patch+json";
const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";

type Server = ironclad_apiserver::ApiServer;

/// A webhook that is asked about everything below these resources.
async fn watching(server: &Server, kind: &str, hook: &Hook, groups: Value, resources: Value) {
    let rules = json!([{"operations": ["*"], "apiGroups": groups, "apiVersions": ["*"], "resources": resources}]);
    let webhooks = json!([hook.webhook("see.example.com", json!({"rules": rules}))]);
    let body = json!({"metadata": {"name": kind}, "webhooks": webhooks});
    let path = format!("{GROUP}/{kind}webhookconfigurations");
    let (code, made) = ask(server, "POST", &path, JSON, body).await;
    assert_eq!(code, 201, "{made}");
    // What was just configured is seen through a watch.
    tokio::time::sleep(Duration::from_millis(100)).await;
}

async fn pod(server: &Server, name: &str) -> Value {
    let spec = json!({"automountServiceAccountToken": false, "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "web", "image": "nginx", "resources": {"limits": {"cpu": "1"}}}]});
    ask(server, "POST", "/api/v1/namespaces/default/serviceaccounts", JSON, json!({"metadata": {"name": "default"}}))
        .await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (code, made) = ask(server, "POST", PODS, JSON, json!({"metadata": {"name": name}, "spec": spec})).await;
    assert_eq!(code, 201, "{made}");
    made
}

/// The last review: operation, kind, subresource, kind of the object and of the old one.
fn last(hook: &Hook) -> (Value, Vec<String>) {
    let review = hook.seen.lock().last().cloned().unwrap_or_default()["request"].clone();
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let kind = format!("{}/{}", text(&review["kind"]["version"]), text(&review["kind"]["kind"]));
    let seen = vec![
        text(&review["operation"]),
        kind,
        text(&review["subResource"]),
        text(&review["object"]["kind"]),
        text(&review["oldObject"]["kind"]),
    ];
    (review, seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_door_below_a_pod_shows_the_kind_that_is_sent() {
    let (server, _reader, _dir) = admitting().await;
    let hook = Hook::start(|r| allow(r, json!({}))).await;
    pod(&server, "web").await;
    watching(&server, "validating", &hook, json!([""]), json!(["pods", "pods/*"])).await;
    let status = json!({"status": {"message": "hello"}});
    let ephemeral =
        json!({"spec": {"ephemeralContainers": [{"name": "d", "image": "b", "terminationMessagePolicy": "File"}]}});
    let resize = json!({"spec": {"containers": [{"name": "web", "resources": {"limits": {"cpu": "2"}}}]}});
    let binding =
        json!({"metadata": {"name": "web", "labels": {"zone": "a"}}, "target": {"kind": "Node", "name": "n1"}});
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "web"}});
    const STRATEGIC: &str = "application/strategic-merge-patch+json";
    let table = [
        ("PATCH", "status", MERGE, status, ["UPDATE", "v1/Pod", "status", "Pod", "Pod"]),
        (
            "PATCH",
            "ephemeralcontainers",
            STRATEGIC,
            ephemeral,
            ["UPDATE", "v1/Pod", "ephemeralcontainers", "Pod", "Pod"],
        ),
        ("PATCH", "resize", STRATEGIC, resize, ["UPDATE", "v1/Pod", "resize", "Pod", "Pod"]),
        ("POST", "binding", JSON, binding, ["CREATE", "v1/Binding", "binding", "Binding", ""]),
        ("POST", "eviction", JSON, eviction, ["CREATE", "v1/Eviction", "eviction", "Eviction", ""]),
    ];
    for (method, door, media, body, want) in table {
        let (code, answer) = ask(&server, method, &format!("{PODS}/web/{door}"), media, body).await;
        assert!(code < 300, "{door}: {answer}");
        let (review, seen) = last(&hook);
        assert_eq!(seen, want, "{door}");
        assert_eq!((&review["name"], &review["requestKind"]), (&json!("web"), &review["kind"]), "{door}");
    }
    assert_eq!(hook.seen.lock().len(), 5, "a bound or evicted pod is the server's own change");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_pod_has_the_labels_of_its_binding_and_an_evicted_one_says_why() {
    let (server, _reader, _dir) = admitting().await;
    let node = json!({"metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "z"}}});
    assert_eq!(ask(&server, "POST", "/api/v1/nodes", JSON, node).await.0, 201);
    pod(&server, "web").await;
    let binding = json!({"metadata": {"name": "web", "labels": {"a": "b"}}, "target": {"kind": "Node", "name": "n1"}});
    assert_eq!(ask(&server, "POST", &format!("{PODS}/web/binding"), JSON, binding).await.0, 201);
    let (_, bound) = ask(&server, "GET", &format!("{PODS}/web"), JSON, Value::Null).await;
    assert_eq!(bound["metadata"]["labels"], json!({"a": "b", "topology.kubernetes.io/zone": "z"}));
    let keep = json!({"metadata": {"finalizers": ["example.com/keep"]}});
    assert_eq!(ask(&server, "PATCH", &format!("{PODS}/web"), MERGE, keep).await.0, 200);
    let wrong = json!({"metadata": {"name": "other"}});
    let (code, error) = ask(&server, "POST", &format!("{PODS}/web/eviction"), JSON, wrong).await;
    assert_eq!((code, &error["message"]), (400, &json!("name in URL does not match name in Eviction object")));
    let eviction = json!({"metadata": {"name": "web"}});
    assert_eq!(ask(&server, "POST", &format!("{PODS}/web/eviction"), JSON, eviction).await.0, 201);
    let (_, gone) = ask(&server, "GET", &format!("{PODS}/web"), JSON, Value::Null).await;
    let conditions = gone["status"]["conditions"].as_array().unwrap();
    let target = conditions.iter().find(|c| c["type"] == "DisruptionTarget").unwrap();
    assert_eq!((&target["status"], &target["reason"]), (&json!("True"), &json!("EvictionByEvictionAPI")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_sees_and_changes_a_scale_as_a_scale() {
    let (server, _reader, _dir) = admitting().await;
    let hook = Hook::start(|r| match r["request"]["object"]["spec"]["replicas"].as_i64() {
        Some(7) => allow(r, patch(json!([{"op": "replace", "path": "/spec/replicas", "value": 3}]))),
        _ => allow(r, json!({})),
    })
    .await;
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let deployment =
        json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}});
    const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
    assert_eq!(ask(&server, "POST", DEPLOYMENTS, JSON, deployment).await.0, 201);
    watching(&server, "mutating", &hook, json!(["apps"]), json!(["deployments/scale"])).await;
    let scale = json!({"spec": {"replicas": 7}});
    let (code, scaled) = ask(&server, "PATCH", &format!("{DEPLOYMENTS}/d/scale"), MERGE, scale).await;
    assert_eq!((code, &scaled["spec"]["replicas"]), (200, &json!(3)));
    let (review, seen) = last(&hook);
    assert_eq!(seen, ["UPDATE", "v1/Scale", "scale", "Scale", "Scale"]);
    assert_eq!(review["kind"]["group"], "autoscaling");
    assert_eq!(review["resource"], json!({"group": "apps", "version": "v1", "resource": "deployments"}));
    assert_eq!(review["oldObject"]["spec"]["replicas"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_show_their_options() {
    let (server, _reader, _dir) = admitting().await;
    let hook = Hook::start(|r| {
        let mut answer = allow(r, json!({"status": {"message": "no way in"}}));
        answer["response"]["allowed"] = json!(false);
        answer
    })
    .await;
    pod(&server, "web").await;
    watching(&server, "validating", &hook, json!([""]), json!(["*/*"])).await;
    let table = [
        (
            "POST",
            "pods/web/exec?command=ls&stdout=true&container=web",
            "PodExecOptions",
            json!({"command": ["ls"], "stdout": true, "container": "web"}),
        ),
        ("GET", "pods/web/attach?stdin=true", "PodAttachOptions", json!({"stdin": true})),
        ("POST", "pods/web/portforward?ports=80", "PodPortForwardOptions", json!({"ports": [80]})),
        ("PUT", "pods/web/proxy/a/b/", "PodProxyOptions", json!({"path": "/a/b/"})),
        ("DELETE", "services/s/proxy", "ServiceProxyOptions", json!({})),
    ];
    for (method, path, kind, more) in table {
        let (code, error) =
            ask(&server, method, &format!("/api/v1/namespaces/default/{path}"), JSON, Value::Null).await;
        let want = "admission webhook \"see.example.com\" denied the request: no way in";
        assert_eq!((code, &error["message"]), (400, &json!(want)), "{path}");
        let (review, seen) = last(&hook);
        assert_eq!(seen[..2], ["CONNECT".to_owned(), format!("v1/{kind}")], "{path}");
        let mut object = review["object"].clone();
        object.as_object_mut().unwrap().retain(|k, _| k != "kind" && k != "apiVersion");
        assert_eq!((object, &review["oldObject"]), (more, &Value::Null), "{path}");
    }
    let (code, _) = ask(&server, "GET", "/api/v1/nodes/n/proxy/metrics", JSON, Value::Null).await;
    assert_eq!(code, 400);
    assert_eq!(last(&hook).0["object"], json!({"kind": "NodeProxyOptions", "apiVersion": "v1", "path": "/metrics"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn mutating_webhooks_see_what_was_sent_and_validating_ones_what_is_stored() {
    let (server, _reader, _dir) = admitting().await;
    let (first, second) = (Hook::start(|r| allow(r, json!({}))).await, Hook::start(|r| allow(r, json!({}))).await);
    pod(&server, "web").await;
    watching(&server, "mutating", &first, json!([""]), json!(["pods", "pods/status"])).await;
    watching(&server, "validating", &second, json!([""]), json!(["pods", "pods/status"])).await;
    // A status comes with a spec that this door does not change.
    let (_, mut sent) = ask(&server, "GET", &format!("{PODS}/web"), JSON, Value::Null).await;
    sent["spec"]["containers"][0]["image"] = json!("other");
    sent["metadata"].as_object_mut().unwrap().remove("uid");
    let (code, answer) = ask(&server, "PUT", &format!("{PODS}/web/status"), JSON, sent).await;
    assert_eq!(code, 200, "{answer}");
    let (mutating, validating) = (last(&first).0, last(&second).0);
    assert_eq!(mutating["object"]["spec"]["containers"][0]["image"], "other");
    assert_eq!(mutating["object"]["metadata"]["uid"], Value::Null);
    assert_eq!(validating["object"]["spec"]["containers"][0]["image"], "nginx");
    assert_eq!(validating["object"]["metadata"]["uid"], validating["oldObject"]["metadata"]["uid"]);
    // A new object has no identity and no generated name while it can still be changed.
    let spec = json!({"automountServiceAccountToken": false, "containers": [{"name": "c", "image": "i"}]});
    let new = json!({"metadata": {"generateName": "x-"}, "spec": spec, "status": {"message": "mine"}});
    let (code, made) = ask(&server, "POST", PODS, JSON, new).await;
    assert_eq!(code, 201, "{made}");
    let (mutating, validating) = (last(&first).0, last(&second).0);
    assert_eq!((&mutating["name"], &mutating["object"]["metadata"]["name"]), (&Value::Null, &Value::Null));
    assert_eq!(
        (&mutating["object"]["metadata"]["uid"], &mutating["object"]["status"]["message"]),
        (&Value::Null, &json!("mine"))
    );
    assert_eq!(
        (&validating["name"], &validating["object"]["metadata"]["uid"]),
        (&made["metadata"]["name"], &made["metadata"]["uid"])
    );
    assert_eq!(validating["object"]["status"]["message"], Value::Null);
}

#[tokio::test]
async fn a_node_is_made_with_its_status_and_other_kinds_without() {
    let (server, _, _dir) = admitting().await;
    let node =
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}, "status": {"capacity": {"cpu": "4"}}});
    let (code, made) = ask(&server, "POST", "/api/v1/nodes", JSON, node).await;
    assert_eq!((code, &made["status"]["capacity"]["cpu"]), (201, &json!("4")), "{made}");
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "a"}, "status": {"hard": {"pods": "1"}}});
    let (code, made) = ask(&server, "POST", "/api/v1/namespaces/default/resourcequotas", JSON, quota).await;
    assert_eq!((code, &made["status"]), (201, &json!({})), "{made}");
}
