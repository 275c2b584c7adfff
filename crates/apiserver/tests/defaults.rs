//! What answers look like where clients say nothing of it: items of lists, tables of watches, dependents of what is
//! deleted.

mod support;

use ironclad_json::{Value, json};
use support::{JSON, ask, bytes, quiet, with};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
}

#[tokio::test(flavor = "multi_thread")]
async fn items_of_a_list_do_not_say_again_what_they_are() {
    let (server, ..) = quiet().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    for name in ["a", "b"] {
        assert_eq!(ask(&server, "POST", maps, JSON, map(name)).await.0, 201);
    }
    for method in ["GET", "DELETE"] {
        let (code, list) = ask(&server, method, maps, JSON, Value::Null).await;
        assert_eq!((code, &list["kind"]), (200, &json!("ConfigMapList")));
        let items = list["items"].as_array().unwrap();
        assert_eq!(items.len(), 2, "{list}");
        for item in items {
            let fields: Vec<&str> = item.as_object().unwrap().keys().map(|k| &**k).collect();
            assert_eq!(fields, ["metadata"], "{method}");
        }
    }
    let (_, one) = ask(&server, "POST", maps, JSON, map("c")).await;
    assert_eq!(one["kind"], "ConfigMap");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_first_table_of_a_watch_has_columns() {
    let (server, ..) = quiet().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    for name in ["a", "b"] {
        ask(&server, "POST", maps, JSON, map(name)).await;
    }
    let path = format!(
        "{maps}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1"
    );
    let text = bytes(with(&server, "GET", &path, &[("accept", TABLE)], "").await).await;
    let events: Vec<Value> = text.split(|b| *b == b'\n').filter_map(|l| serde_json::from_slice(l).ok()).collect();
    assert_eq!(events.len(), 3, "{events:?}");
    let row = &events[2]["object"]["rows"][0];
    assert_eq!((&events[2]["type"], row["cells"].as_array().map(Vec::len)), (&json!("BOOKMARK"), Some(3)));
    assert_eq!(row["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert!(events[0]["object"]["columnDefinitions"].is_array());
    let second = events[1]["object"].as_object().unwrap();
    assert_eq!(second.get("columnDefinitions"), Some(&Value::Null));
}

fn owner(kind: &str) -> Value {
    let pod = json!({
        "metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Always"},
    });
    match kind {
        "Job" => {
            let mut pod = pod;
            pod["spec"]["restartPolicy"] = json!("Never");
            json!({"apiVersion": "batch/v1", "kind": kind, "metadata": {"name": "x"}, "spec": {"template": pod}})
        }
        "ReplicaSet" => json!({
            "apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "x"},
            "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": pod},
        }),
        _ => json!({
            "apiVersion": "v1", "kind": kind, "metadata": {"name": "x"},
            "spec": {"selector": {"a": "b"}, "template": pod},
        }),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_and_replication_controllers_leave_their_pods_unless_told_otherwise() {
    let (server, ..) = quiet().await;
    let warned = "child pods are preserved by default when jobs are deleted";
    for (kind, group, orphaned, warning) in [
        ("Job", "apis/batch/v1", true, warned),
        ("ReplicationController", "api/v1", true, ""),
        ("ReplicaSet", "apis/apps/v1", false, ""),
    ] {
        let all = format!("/{group}/namespaces/default/{}s", kind.to_lowercase());
        let one = format!("{all}/x");
        for (query, left) in
            [("", orphaned), ("?propagationPolicy=Background", false), ("?orphanDependents=true", true)]
        {
            let (code, made) = ask(&server, "POST", &all, JSON, owner(kind)).await;
            assert_eq!(code, 201, "{made}");
            let response = with(&server, "DELETE", &format!("{one}{query}"), &[], "").await;
            let said = response.headers().get("warning").map(|w| w.to_str().unwrap().to_owned()).unwrap_or_default();
            assert_eq!(said.contains(warned), query.is_empty() && !warning.is_empty(), "{kind}{query}: {said}");
            let (code, found) = ask(&server, "GET", &one, JSON, Value::Null).await;
            assert_eq!(code, if left { 200 } else { 404 }, "{kind}{query}");
            if left {
                assert_eq!(found["metadata"]["finalizers"], json!(["orphan"]), "{kind}{query}");
                let patch = json!({"metadata": {"finalizers": null}});
                ask(&server, "PATCH", &one, "application/merge-patch+json", patch).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_never_wait_for_dependents() {
    let (server, ..) = quiet().await;
    let all = "/api/v1/namespaces/default/events";
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "x"},
        "involvedObject": {"namespace": "default", "kind": "Pod", "name": "p"},
    });
    assert_eq!(ask(&server, "POST", all, JSON, event).await.0, 201);
    let (code, _) = ask(&server, "DELETE", &format!("{all}/x?propagationPolicy=Orphan"), JSON, Value::Null).await;
    assert_eq!((code, ask(&server, "GET", &format!("{all}/x"), JSON, Value::Null).await.0), (200, 404));
}
