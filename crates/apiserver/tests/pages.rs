//! What the server tells of itself: pages, discovery in its forms, the health of other parts.

mod support;

use ironclad_json::{Value, json};
use support::{JSON, ask, bytes, send, with};

const AGGREGATED: &str = "g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

#[tokio::test]
async fn a_page_is_itself_and_nothing_beside_it() {
    let (server, _reader, _dir) = support::server().await;
    let table = [
        ("/healthz", 200),
        ("/healthz/", 404),
        ("/livez/ping", 200),
        ("/livez/nobody", 404),
        ("/%76ersion", 200),
        ("/version/", 200),
        ("//version", 404),
        ("/metrics/", 404),
        ("/api//v1", 404),
        ("/openapi/v3/", 404),
        ("/debug/pprof/", 404),
        ("/statusz", 200),
    ];
    for (path, want) in table {
        assert_eq!(send(&server, "GET", path, "*/*", "").await.status(), want, "{path}");
    }
    let (_, index) = ask(&server, "GET", "/", JSON, Value::Null).await;
    let paths: Vec<&str> = index["paths"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(paths.is_sorted() && paths.contains(&"/livez/etcd") && paths.contains(&"/apis/apps/v1"), "{paths:?}");
}

#[tokio::test]
async fn discovery_comes_in_the_form_that_is_asked_for() {
    let (server, _reader, _dir) = support::server().await;
    let kinds = [
        ("application/yaml".to_owned(), 200),
        ("application/vnd.kubernetes.protobuf".to_owned(), 200),
        (format!("application/json;{AGGREGATED}"), 200),
        (format!("application/yaml;{AGGREGATED}"), 200),
        (format!("application/vnd.kubernetes.protobuf;{AGGREGATED}"), 200),
        ("application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList".to_owned(), 406),
        ("text/html".to_owned(), 406),
    ];
    for (accept, want) in kinds {
        let answer = with(&server, "GET", "/apis", &[("accept", accept.as_str())], "").await;
        assert_eq!(answer.status(), want, "{accept}");
        if want == 200 {
            assert_eq!(answer.headers()["content-type"], accept.as_str());
            let cache = if accept.contains("as=") { "public" } else { "no-cache, private" };
            assert_eq!(answer.headers()["cache-control"], cache);
            assert!(!bytes(answer).await.is_empty());
        }
    }
    let (_, core) = ask(&server, "GET", "/api/v1", JSON, Value::Null).await;
    let named = |name: &str| core["resources"].as_array().unwrap().iter().find(|r| r["name"] == name).unwrap().clone();
    assert_eq!((&named("pods/exec")["group"], &named("pods/exec")["version"]), (&Value::Null, &Value::Null));
    assert_eq!(named("pods/eviction")["group"], "policy");
}

#[tokio::test]
async fn other_parts_and_the_store_have_a_status() {
    let (server, _reader, _dir) = support::server().await;
    let path = "/api/v1/componentstatuses";
    let (_, list) = ask(&server, "GET", path, JSON, Value::Null).await;
    assert_eq!(list["metadata"], json!({}), "nobody stored them");
    let (code, store) = ask(&server, "GET", &format!("{path}/etcd-0"), JSON, Value::Null).await;
    let healthy = json!([{"type": "Healthy", "status": "True", "message": "ok"}]);
    assert_eq!((code, &store["conditions"]), (200, &healthy));
    let (code, error) = ask(&server, "GET", &format!("{path}/nobody"), JSON, Value::Null).await;
    assert_eq!((code, &error["message"]), (404, &json!("componentstatus \"nobody\" not found")));
    let none = ask(&server, "GET", &format!("{path}?labelSelector=a"), JSON, Value::Null).await.1;
    assert_eq!(none["items"], json!([]));
}
