//! Priority and fairness as clients see it.

mod support;

use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use ironclad_api::UserInfo;
use ironclad_apiserver::{ApiServer, Body};
use ironclad_json::{Value, json};
use support::JSON;
use tower::Service;

const LEVELS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations";
const SCHEMAS: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";

async fn get(server: &ApiServer, user: &str, path: &str) -> Response<Body> {
    let mut request = Request::builder().uri(path).body(Empty::new()).unwrap();
    request.extensions_mut().insert(UserInfo::new(user, &[]));
    server.clone().call(request).await.unwrap()
}

fn header<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |v| v.to_str().unwrap())
}

/// Follows the schemas until one satisfies.
async fn until(server: &ApiServer, done: impl Fn(&Value) -> bool) {
    let path = format!("{SCHEMAS}?watch=1&resourceVersion=0");
    let mut body = get(server, "watcher", &path).await.into_body();
    let mut buffer = Vec::new();
    let waiting = async {
        loop {
            let frame = body.frame().await.expect("the watch goes on").unwrap();
            buffer.extend_from_slice(&frame.into_data().unwrap());
            while let Some(end) = buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                if done(&serde_json::from_slice::<Value>(&line).unwrap()["object"]) {
                    return;
                }
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), waiting).await.expect("it comes to be");
}

fn condition<'a>(schema: &'a Value, kind: &str) -> &'a Value {
    let all = schema["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().find(|c| c["type"] == kind).unwrap_or(&Value::Null)
}

fn level(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"type": "Limited",
        "limited": {"nominalConcurrencyShares": 1, "limitResponse": {"type": "Reject"}}}})
}

fn schema(name: &str, level: &str, user: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"matchingPrecedence": 1000,
        "priorityLevelConfiguration": {"name": level}, "distinguisherMethod": {"type": "ByUser"},
        "rules": [{"subjects": [{"kind": "User", "user": {"name": user}}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_classified_by_what_is_stored() {
    let (server, _reader, _dir) = support::server().await;
    let (code, schema) = support::ask(&server, "POST", SCHEMAS, JSON, schema("mine", "mine", "noxu")).await;
    assert_eq!(code, 201, "{schema}");
    until(&server, |s| s["metadata"]["name"] == "mine" && condition(s, "Dangling")["status"] == "True").await;
    let (code, level) = support::ask(&server, "POST", LEVELS, JSON, level("mine")).await;
    assert_eq!(code, 201, "{level}");
    until(&server, |s| {
        let dangling = condition(s, "Dangling");
        s["metadata"]["name"] == "mine" && dangling["status"] == "False" && dangling["reason"] == "Found"
    })
    .await;

    let response = get(&server, "noxu", "/version").await;
    assert_eq!(header(&response, "x-kubernetes-pf-flowschema-uid"), schema["metadata"]["uid"].as_str().unwrap());
    assert_eq!(header(&response, "x-kubernetes-pf-prioritylevel-uid"), level["metadata"]["uid"].as_str().unwrap());
    let other = get(&server, "foo", "/version").await;
    for name in ["x-kubernetes-pf-flowschema-uid", "x-kubernetes-pf-prioritylevel-uid"] {
        assert!(!header(&other, name).is_empty());
        assert_ne!(header(&other, name), header(&response, name));
    }
    let dump = get(&server, "admin", "/debug/api_priority_and_fairness/dump_priority_levels").await;
    let text = dump.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(text.starts_with("PriorityLevelName, ActiveQueues, IsIdle, "), "{text}");
    assert!(text.lines().any(|l| l.starts_with("mine,")), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stock_objects_are_there_and_come_back() {
    let (server, _reader, _dir) = support::server().await;
    until(&server, |s| s["metadata"]["name"] == "catch-all" && !condition(s, "Dangling").is_null()).await;
    let (_, levels) = support::ask(&server, "GET", LEVELS, JSON, Value::Null).await;
    let names: Vec<&str> =
        levels["items"].as_array().unwrap().iter().map(|l| l["metadata"]["name"].as_str().unwrap()).collect();
    let want = [
        "catch-all",
        "exempt",
        "global-default",
        "leader-election",
        "node-high",
        "system",
        "workload-high",
        "workload-low",
    ];
    assert_eq!(names, want);
    let (_, before) = support::ask(&server, "GET", &format!("{SCHEMAS}/catch-all"), JSON, Value::Null).await;
    assert_eq!(support::ask(&server, "DELETE", &format!("{SCHEMAS}/catch-all"), JSON, Value::Null).await.0, 200);
    until(&server, |s| s["metadata"]["name"] == "catch-all" && s["metadata"]["uid"] != before["metadata"]["uid"]).await;
}
