//! The service in process: real requests over a real store.

mod support;

use http_body_util::BodyExt;
use ironclad_apiserver::ApiServer;
use ironclad_json::{Value, json};
use std::collections::BTreeMap;
use support::{JSON, ask, send};
use tempfile::TempDir;

async fn server() -> (ApiServer, TempDir) {
    let (server, _, dir) = support::server().await;
    (server, dir)
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str, data: Value) -> Value {
    json!({"metadata": {"name": name}, "data": data})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_lives_from_create_to_delete() {
    let (server, _dir) = server().await;
    let (code, made) = ask(&server, "POST", MAPS, JSON, map("a", json!({"k": "1"}))).await;
    assert_eq!(code, 201);
    let one = format!("{MAPS}/a");
    assert_eq!(ask(&server, "GET", &one, JSON, Value::Null).await, (200, made.clone()));
    let (code, error) = ask(&server, "POST", MAPS, JSON, map("a", json!({}))).await;
    assert_eq!((code, error["reason"].as_str()), (409, Some("AlreadyExists")));

    let (_, list) = ask(&server, "GET", MAPS, JSON, Value::Null).await;
    // In a list the items do not say again what they are.
    let mut item = made.clone();
    item.as_object_mut().unwrap().retain(|k, _| k != "kind" && k != "apiVersion");
    assert!(list["items"].as_array().unwrap().contains(&item));

    let mut newer = made.clone();
    newer["data"]["k"] = json!("2");
    let (code, changed) = ask(&server, "PUT", &one, JSON, newer.clone()).await;
    assert_eq!((code, &changed["data"]["k"]), (200, &json!("2")));
    let (code, error) = ask(&server, "PUT", &one, JSON, newer).await;
    assert_eq!(code, 409);
    let message = error["message"].as_str().unwrap();
    let want = "the object has been modified; please apply your changes to the latest version and try again";
    assert!(message.ends_with(want), "{message}");

    assert_eq!(ask(&server, "DELETE", &one, JSON, Value::Null).await.0, 200);
    assert_eq!(ask(&server, "GET", &one, JSON, Value::Null).await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_json_patch_can_test_and_replace_the_resource_version() {
    let (server, _dir) = server().await;
    let (_, made) = ask(&server, "POST", MAPS, JSON, map("a", json!({"k": "1"}))).await;
    let patch = |version: &Value, value: &str| {
        json!([{"op": "replace", "path": "/data/k", "value": value},
            {"op": "replace", "path": "/metadata/resourceVersion", "value": version}])
    };
    let (one, kind) = (format!("{MAPS}/a"), "application/json-patch+json");
    let version = &made["metadata"]["resourceVersion"];
    let (code, changed) = ask(&server, "PATCH", &one, kind, patch(version, "2")).await;
    assert_eq!((code, &changed["data"]["k"]), (200, &json!("2")), "{changed}");
    assert_eq!(ask(&server, "PATCH", &one, kind, patch(version, "3")).await.0, 409, "the version is old now");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_nothing_writes_nothing() {
    let (server, _dir) = server().await;
    let (_, made) = ask(&server, "POST", MAPS, JSON, map("a", json!({"k": "1"}))).await;
    let (one, kind) = (format!("{MAPS}/a"), "application/merge-patch+json");
    let (_, after) = ask(&server, "PATCH", &one, kind, json!({"data": {"k": "1"}})).await;
    assert_eq!(after["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_named_as_stock_names_them() {
    let (server, _dir) = server().await;
    let elsewhere = json!({"metadata": {"name": "a", "namespace": "other"}});
    let unknown = json!({"metadata": {"name": "a"}, "dataa": {}});
    let large = map("a", json!({"k": "x".repeat(3 << 20)}));
    let strict = format!("{MAPS}?fieldValidation=Strict");
    let table = [
        (MAPS, elsewhere, 400, "the namespace of the provided object does not match the namespace sent on the request"),
        (&*strict, unknown, 400, "strict decoding error: unknown field \"dataa\""),
        (MAPS, large, 413, "Request entity too large: limit is 3145728"),
        ("/api/v1/namespaces/default/nothings", json!({}), 404, "the server could not find the requested resource"),
    ];
    for (path, body, code, message) in table {
        let (got, status) = ask(&server, "POST", path, JSON, body).await;
        assert_eq!((got, &status["kind"]), (code, &json!("Status")), "{path}");
        assert!(status["message"].as_str().unwrap().contains(message), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_a_list_are_of_one_revision() {
    let (server, _dir) = server().await;
    for n in 0..5 {
        ask(&server, "POST", MAPS, JSON, map(&format!("m{n}"), json!({}))).await;
    }
    let (_, first) = ask(&server, "GET", &format!("{MAPS}?limit=2"), JSON, Value::Null).await;
    let left = first["metadata"]["remainingItemCount"].as_u64().unwrap() as usize;
    ask(&server, "DELETE", &format!("{MAPS}/m4"), JSON, Value::Null).await;
    let token = first["metadata"]["continue"].as_str().unwrap();
    let (_, rest) = ask(&server, "GET", &format!("{MAPS}?continue={token}"), JSON, Value::Null).await;
    assert_eq!(rest["items"].as_array().unwrap().len(), left, "what was deleted in between is still there");
    assert_eq!(rest["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
}

/// Reads events until `done` says so.
async fn follow(server: &ApiServer, path: &str, mut done: impl FnMut(&Value) -> bool) {
    let mut body = send(server, "GET", path, JSON, "").await.into_body();
    let mut buffer = Vec::new();
    loop {
        let frame = body.frame().await.expect("the watch goes on").unwrap();
        buffer.extend_from_slice(&frame.into_data().unwrap());
        while let Some(end) = buffer.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            if done(&serde_json::from_slice(&line).unwrap()) {
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_misses_nothing_while_many_write() {
    const WRITERS: usize = 8;
    const EACH: usize = 25;
    let (server, _dir) = server().await;
    let (_, list) = ask(&server, "GET", MAPS, JSON, Value::Null).await;
    let path = format!("{MAPS}?watch=1&resourceVersion={}", list["metadata"]["resourceVersion"].as_str().unwrap());
    let writers: Vec<_> = (0..WRITERS)
        .map(|w| {
            let server = server.clone();
            tokio::spawn(async move {
                for n in 0..EACH {
                    let name = format!("w{w}-{n}");
                    assert_eq!(ask(&server, "POST", MAPS, JSON, map(&name, json!({}))).await.0, 201);
                    assert_eq!(ask(&server, "DELETE", &format!("{MAPS}/{name}"), JSON, Value::Null).await.0, 200);
                }
            })
        })
        .collect();
    let (mut seen, mut last) = (BTreeMap::<String, Vec<String>>::new(), 0);
    let watching = follow(&server, &path, |event| {
        let meta = &event["object"]["metadata"];
        let version: u64 = meta["resourceVersion"].as_str().unwrap().parse().unwrap();
        assert!(version > last, "revisions only rise: {version} after {last}");
        last = version;
        let kind = event["type"].as_str().unwrap().to_owned();
        seen.entry(meta["name"].as_str().unwrap().to_owned()).or_default().push(kind);
        seen.values().map(Vec::len).sum::<usize>() == WRITERS * EACH * 2
    });
    tokio::time::timeout(std::time::Duration::from_secs(60), watching).await.expect("every change arrives");
    assert!(seen.values().all(|kinds| kinds == &["ADDED", "DELETED"]));
    for writer in writers {
        writer.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_created_at_once_never_share_a_port() {
    let (server, _dir) = server().await;
    let service = json!({"metadata": {"generateName": "s-"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
    let creating = (0..11).map(|_| ask(&server, "POST", "/api/v1/namespaces/default/services", JSON, service.clone()));
    let made = futures::future::join_all(creating).await;
    let mut ports: Vec<u64> = made.iter().filter_map(|m| m.1["spec"]["ports"][0]["nodePort"].as_u64()).collect();
    ports.sort_unstable();
    assert_eq!(ports, (30000..=30010).collect::<Vec<_>>(), "{made:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_pod_without_a_node_is_empty() {
    let (server, _dir) = server().await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    assert_eq!(ask(&server, "POST", pods, JSON, pod).await.0, 201);
    assert_eq!(send(&server, "GET", &format!("{pods}/p/log"), JSON, "").await.status(), 204);
    let (code, error) = ask(&server, "GET", &format!("{pods}/p/log?container=x"), JSON, Value::Null).await;
    assert_eq!((code, &error["message"]), (400, &json!("container x is not valid for pod p")));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_subresource_of_a_pod_changes_only_its_own() {
    const MERGE: &str = "application/strategic-merge-patch+json";
    let (server, _dir) = server().await;
    let pods = "/api/v1/namespaces/default/pods";
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [
        {"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}}]}});
    assert_eq!(ask(&server, "POST", pods, JSON, pod).await.0, 201);
    let debug =
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"ephemeralContainers": [{"name": "d", "image": "i"}]}});
    let (code, pod) = ask(&server, "PATCH", &format!("{pods}/p/ephemeralcontainers"), MERGE, debug).await;
    assert_eq!((code, &pod["spec"]["ephemeralContainers"][0]["name"]), (200, &json!("d")), "{pod}");
    assert_eq!(pod["metadata"]["labels"], Value::Null);
    let resize =
        json!({"spec": {"containers": [{"name": "c", "image": "j", "resources": {"requests": {"cpu": "2"}}}]}});
    let (code, pod) = ask(&server, "PATCH", &format!("{pods}/p/resize"), MERGE, resize).await;
    assert_eq!((code, &pod["spec"]["containers"][0]["resources"]["requests"]["cpu"]), (200, &json!("2")), "{pod}");
    assert_eq!(pod["spec"]["containers"][0]["image"], "i");
    let (code, error) = ask(&server, "PATCH", &format!("{pods}/p"), MERGE, json!({"spec": {"hostname": "x"}})).await;
    assert_eq!(code, 422);
    assert!(error["message"].as_str().unwrap().contains("pod updates may not change fields other than"), "{error}");
}

/// One event has two shapes, and the fields of either select it.
#[tokio::test(flavor = "multi_thread")]
async fn events_are_selected_by_the_fields_of_either_group() {
    let (server, ..) = server().await;
    let events = "/namespaces/default/events";
    for (name, about) in [("a", "one"), ("b", "two")] {
        let event = json!({"metadata": {"name": name}, "involvedObject": {"kind": "Pod", "name": about,
            "namespace": "default"}, "reportingComponent": format!("by-{about}"), "reason": "r", "type": "Normal"});
        assert_eq!(ask(&server, "POST", &format!("/api/v1{events}"), JSON, event).await.0, 201);
    }
    for selector in
        ["regarding.name%3Dtwo", "reportingController%3Dby-two", "reportingController!%3Dby-one,type%3DNormal"]
    {
        let path = format!("/apis/events.k8s.io/v1{events}?fieldSelector={selector}");
        let (_, list) = ask(&server, "GET", &path, JSON, Value::Null).await;
        let names: Vec<&str> =
            list["items"].as_array().unwrap().iter().map(|e| e["metadata"]["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["b"], "{selector}");
    }
    let path = format!("/apis/events.k8s.io/v1{events}?fieldSelector=involvedObject.name%3Dtwo");
    let (code, refused) = ask(&server, "GET", &path, JSON, Value::Null).await;
    assert_eq!((code, &refused["message"]), (400, &json!("field label not supported: involvedObject.name")));
}
