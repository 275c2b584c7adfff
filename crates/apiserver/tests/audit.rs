//! What is kept of requests, as the policy says, in the order in which it happened.

mod support;

use http_body_util::BodyExt;
use ironclad_apiserver::Auditor;
use ironclad_audit::{Backends, LogOptions, Mode, Policy, Sink};
use ironclad_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use support::{JSON, ask, audited, bytes, send, with};

const POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitManagedFields: true
rules:
- level: None
  resources: [{group: '', resources: [namespaces]}, {group: flowcontrol.apiserver.k8s.io}]
- level: Metadata
  omitStages: [RequestReceived]
  resources: [{group: '', resources: [secrets]}]
- level: RequestResponse
  omitStages: [RequestReceived]
  verbs: [create, get, watch]
- level: Metadata
";

fn auditor(path: PathBuf) -> Auditor {
    let options = LogOptions {
        path,
        max_age: 0,
        max_backups: 0,
        max_size: 0,
        compress: false,
        legacy: false,
        mode: Mode::Blocking,
        truncate: None,
    };
    let backends = Arc::new(Backends::new(vec![Sink::log(&options).unwrap()]));
    Auditor { policy: Policy::parse(POLICY).unwrap(), backends }
}

/// The events of the log, once there are so many.
async fn events(path: &Path, count: usize) -> Vec<Value> {
    for _ in 0..200 {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let events: Vec<Value> = text.lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
        if events.len() >= count {
            return events;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("there are no {count} events: {:?}", std::fs::read_to_string(path));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_is_kept_as_its_rule_says() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let (server, _dir) = audited(auditor(path.clone())).await;
    let (maps, secrets) = ("/api/v1/namespaces/default/configmaps", "/api/v1/namespaces/default/secrets");
    let map = json!({"metadata": {"name": "a"}, "data": {"k": "v"}});
    assert_eq!(ask(&server, "POST", maps, JSON, map.clone()).await.0, 201);
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"password": "hunter2"}});
    assert_eq!(ask(&server, "POST", secrets, JSON, secret).await.0, 201);
    assert_eq!(ask(&server, "GET", "/api/v1/namespaces/default", JSON, Value::Null).await.0, 200);
    assert_eq!(ask(&server, "GET", &format!("{maps}/none"), JSON, Value::Null).await.0, 404);
    assert_eq!(ask(&server, "DELETE", &format!("{maps}/a"), JSON, Value::Null).await.0, 200);
    let all = events(&path, 5).await;
    let told: Vec<(&str, &str, &str)> = all
        .iter()
        .map(|e| (e["stage"].as_str().unwrap(), e["level"].as_str().unwrap(), e["objectRef"]["name"].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            ("ResponseComplete", "RequestResponse", "a"),
            ("ResponseComplete", "Metadata", "s"),
            ("ResponseComplete", "RequestResponse", "none"),
            ("RequestReceived", "Metadata", "a"),
            ("ResponseComplete", "Metadata", "a"),
        ]
    );
    assert_eq!(all[0]["requestObject"]["data"], map["data"]);
    assert_eq!(all[0]["responseObject"]["metadata"].get("managedFields"), None);
    assert_eq!(all[0]["annotations"]["authorization.k8s.io/decision"], "allow");
    assert_eq!(
        (&all[2]["responseStatus"]["code"], &all[2]["responseStatus"]["reason"]),
        (&json!(404), &json!("NotFound"))
    );
    assert_eq!(all[3]["auditID"], all[4]["auditID"]);
    assert!(!all[1].to_string().contains("hunter2"), "metadata holds no content");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_every_form_are_kept_as_json() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let policy = "{apiVersion: audit.k8s.io/v1, kind: Policy, omitStages: [RequestReceived], omitManagedFields: true, rules: [{level: RequestResponse, verbs: [list], resources: [{group: '', resources: [configmaps]}]}, {level: None}]}";
    let (server, _dir) = audited(Auditor { policy: Policy::parse(policy).unwrap(), ..auditor(path.clone()) }).await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let map = json!({"metadata": {"name": "a"}, "data": {"k": "v"}});
    assert_eq!(ask(&server, "POST", maps, JSON, map).await.0, 201);
    let forms = [
        ("application/json", "ConfigMapList"),
        ("application/yaml", "ConfigMapList"),
        ("application/vnd.kubernetes.protobuf", "ConfigMapList"),
        ("application/json;as=Table;g=meta.k8s.io;v=v1", "Table"),
    ];
    let agent = "a".repeat(2000);
    for (at, (form, kind)) in forms.into_iter().enumerate() {
        let told = bytes(with(&server, "GET", maps, &[("accept", form), ("user-agent", &agent)], "").await).await;
        assert!(!told.is_empty());
        let event = events(&path, at + 1).await.remove(at);
        let object = &event["responseObject"];
        assert_eq!(object["kind"], kind, "{form}: {event}");
        assert!(!object.to_string().contains("managedFields"), "{form}: {object}");
        let rows = if kind == "Table" { &object["rows"][0]["object"] } else { &object["items"][0] };
        assert_eq!(rows["metadata"]["name"], "a", "{form}: {object}");
        assert_eq!(event["userAgent"], format!("{}...TRUNCATED", "a".repeat(1024)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_is_kept_when_it_begins_and_when_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let (server, _dir) = audited(auditor(path.clone())).await;
    let watch = "/api/v1/namespaces/default/configmaps?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    let mut body = send(&server, "GET", watch, JSON, "").await.into_body();
    body.frame().await.unwrap().unwrap();
    assert_eq!(events(&path, 1).await[0]["stage"], "ResponseStarted");
    drop(body);
    let all = events(&path, 2).await;
    assert_eq!((&all[1]["stage"], &all[1]["verb"]), (&json!("ResponseComplete"), &json!("watch")));
    assert_eq!(all[0]["auditID"], all[1]["auditID"]);
}
