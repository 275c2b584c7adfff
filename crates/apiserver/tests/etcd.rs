//! Servers over a real etcd: they agree, keep objects where stock servers look for them, and outlive it.

mod support;

use bytes::Bytes;
use http_body_util::BodyExt;
use ironclad_apiserver::{ApiServer, Body, StockCodec};
use ironclad_json::{Value, json};
use ironclad_store::{Codec, EtcdOptions, EtcdStore, RangeQuery, Store, Template, Tls};
use ironclad_testkit::Etcd;
use std::sync::Arc;
use std::time::Duration;
use support::{JSON, ask, at, over, send};
use tokio_util::sync::CancellationToken;

fn options(etcd: &Etcd, codec: Arc<dyn Codec>) -> EtcdOptions {
    let prefix = ("/registry".to_owned(), "/registry".to_owned());
    EtcdOptions {
        servers: vec![etcd.url()],
        tls: Tls::default(),
        prefix,
        codec,
        patience: Duration::from_secs(3),
        transform: None,
        way: ironclad_remote::Way::default(),
    }
}

async fn server(etcd: &Etcd) -> (ApiServer, Arc<EtcdStore>) {
    let store = Arc::new(EtcdStore::open(options(etcd, Arc::new(StockCodec::default()))).await.unwrap());
    (over(store.clone(), CancellationToken::new()).await.0, store)
}

/// Shows what lies in etcd, byte for byte.
struct Raw;

impl Codec for Raw {
    fn encode(&self, _: &str, value: &Template) -> Result<Vec<u8>, String> {
        Ok(value.parts().1.to_vec())
    }

    fn decode(&self, _: &str, stored: &[u8]) -> Result<Option<Template>, String> {
        Ok(Some(Template::new(Bytes::copy_from_slice(stored), 0)))
    }
}

fn config_map(name: &str, text: &str) -> Value {
    json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}, "data": {"x": text}})
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// The events of a watch, of which several may come at once.
struct Events(Body, Vec<u8>);

async fn event(events: &mut Events) -> Value {
    loop {
        if let Some(end) = events.1.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = events.1.drain(..=end).collect();
            return serde_json::from_slice(&line).unwrap();
        }
        let frame = tokio::time::timeout(Duration::from_secs(20), events.0.frame()).await.expect("no event in time");
        events.1.extend_from_slice(&frame.unwrap().unwrap().into_data().unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_on_one_etcd_agree() {
    let etcd = Etcd::start().unwrap();
    let ((one, _), (two, _)) = (server(&etcd).await, server(&etcd).await);
    let (_, list) = ask(&two, "GET", MAPS, JSON, Value::Null).await;
    let from = list["metadata"]["resourceVersion"].as_str().unwrap();
    let watch = send(&two, "GET", &format!("{MAPS}?watch=1&resourceVersion={from}"), JSON, "").await.into_body();
    let mut watch = Events(watch, Vec::new());
    for n in 0..30 {
        let (code, made) = ask(&one, "POST", MAPS, JSON, config_map(&format!("a{n}"), "1")).await;
        assert_eq!(code, 201, "{made}");
        // What one has acknowledged the other shows at once, whichever way it is asked.
        let (_, list) = ask(&two, "GET", MAPS, JSON, Value::Null).await;
        assert_eq!(list["items"].as_array().unwrap().len(), n + 1);
        let (_, got) = ask(&two, "GET", &format!("{MAPS}/a{n}"), JSON, Value::Null).await;
        assert_eq!(got, made);
        let seen = event(&mut watch).await;
        assert_eq!((&seen["type"], &seen["object"]), (&json!("ADDED"), &made));
    }
    let (_, old) = ask(&one, "GET", &format!("{MAPS}/a0"), JSON, Value::Null).await;
    let mut new = old.clone();
    new["data"]["x"] = json!("2");
    assert_eq!(ask(&two, "PUT", &format!("{MAPS}/a0"), JSON, new).await.0, 200);
    let (code, refused) = ask(&one, "PUT", &format!("{MAPS}/a0"), JSON, old).await;
    assert_eq!((code, &refused["reason"]), (409, &json!("Conflict")));
    assert_eq!(ask(&one, "DELETE", &format!("{MAPS}/a0"), JSON, Value::Null).await.0, 200);
    assert_eq!(ask(&two, "GET", &format!("{MAPS}/a0"), JSON, Value::Null).await.0, 404);
    for kind in ["MODIFIED", "DELETED"] {
        assert_eq!(event(&mut watch).await["type"], kind);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_lie_where_stock_servers_look_for_them() {
    let etcd = Etcd::start().unwrap();
    let (server, _) = server(&etcd).await;
    ask(&server, "POST", MAPS, JSON, config_map("a", "1")).await;
    let raw = EtcdStore::open(options(&etcd, Arc::new(Raw))).await.unwrap();
    let page = raw.range(&RangeQuery { prefix: "/registry/".into(), ..RangeQuery::default() }).await.unwrap();
    let keys: Vec<&str> = page.entries.iter().map(|e| &*e.key).collect();
    for key in [
        "/registry/configmaps/default/a",
        "/registry/namespaces/kube-system",
        "/registry/services/specs/default/kubernetes",
        "/registry/services/endpoints/default/kubernetes",
        "/registry/endpointslices/default/kubernetes",
    ] {
        assert!(keys.contains(&key), "{key} is not among {keys:?}");
    }
    for entry in page.entries {
        let bytes = entry.value.bytes();
        assert!(!bytes.windows(15).any(|w| w == b"resourceVersion"), "{}", entry.key);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_across_a_compaction_goes_on_inconsistently() {
    let etcd = Etcd::start().unwrap();
    let (server, store) = server(&etcd).await;
    for n in 0..6 {
        ask(&server, "POST", MAPS, JSON, config_map(&format!("a{n}"), "1")).await;
    }
    let (_, first) = ask(&server, "GET", &format!("{MAPS}?limit=2"), JSON, Value::Null).await;
    assert_eq!(first["metadata"]["remainingItemCount"], 4);
    let token = first["metadata"]["continue"].as_str().unwrap();
    let next = |token: &str| format!("{MAPS}?limit=2&continue={token}");
    ask(&server, "DELETE", &format!("{MAPS}/a3"), JSON, Value::Null).await;
    let (_, second) = ask(&server, "GET", &next(token), JSON, Value::Null).await;
    assert_eq!(second["items"][1]["metadata"]["name"], "a3");
    assert_eq!(second["metadata"]["remainingItemCount"], 2);
    ask(&server, "POST", MAPS, JSON, config_map("b", "1")).await;
    store.compact(store.revision().await.unwrap()).await.unwrap();
    let (code, gone) = ask(&server, "GET", &next(token), JSON, Value::Null).await;
    assert_eq!((code, &gone["reason"]), (410, &json!("Expired")));
    let token = gone["metadata"]["continue"].as_str().unwrap();
    let (code, rest) = ask(&server, "GET", &next(token), JSON, Value::Null).await;
    let names: Vec<&Value> = rest["items"].as_array().unwrap().iter().map(|i| &i["metadata"]["name"]).collect();
    assert_eq!((code, names), (200, vec![&json!("a2"), &json!("a4")]));
    // From here on the list is consistent again.
    let (_, last) = ask(&server, "GET", &next(rest["metadata"]["continue"].as_str().unwrap()), JSON, Value::Null).await;
    assert_eq!(last["items"].as_array().unwrap().len(), 2);
    assert_eq!(last["metadata"]["continue"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_goes_on_after_etcd_was_away() {
    let mut etcd = Etcd::start().unwrap();
    let (server, _) = server(&etcd).await;
    let (_, list) = ask(&server, "GET", MAPS, JSON, Value::Null).await;
    let from = list["metadata"]["resourceVersion"].as_str().unwrap();
    let watch = send(&server, "GET", &format!("{MAPS}?watch=1&resourceVersion={from}"), JSON, "").await.into_body();
    let mut watch = Events(watch, Vec::new());
    ask(&server, "POST", MAPS, JSON, config_map("a", "1")).await;
    etcd.kill();
    let (code, error) = ask(&server, "POST", MAPS, JSON, config_map("b", "1")).await;
    assert_eq!((code, &error["reason"]), (504, &Value::from("Timeout")));
    assert_eq!(send(&server, "GET", "/readyz", JSON, "").await.status(), 500);
    assert!(error["message"].as_str().unwrap().contains("context deadline exceeded"), "{error}");
    etcd.run().unwrap();
    assert_eq!(ask(&server, "POST", MAPS, JSON, config_map("c", "1")).await.0, 201);
    assert_eq!(send(&server, "GET", "/readyz", JSON, "").await.status(), 200);
    for name in ["a", "c"] {
        assert_eq!(event(&mut watch).await["object"]["metadata"]["name"], name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_share_an_etcd_are_all_behind_the_service_and_leave_it_when_they_end() {
    let etcd = Etcd::start().unwrap();
    let (one, store) = server(&etcd).await;
    let token = CancellationToken::new();
    let two = at("192.0.2.2", store.clone(), token.clone()).await;
    let addresses = || async {
        let path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
        let (_, slice) = ask(&one, "GET", path, JSON, Value::Null).await;
        let endpoints = slice["endpoints"].as_array().unwrap().clone();
        endpoints.iter().map(|e| e["addresses"][0].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(addresses().await, ["192.0.2.1", "192.0.2.2"]);
    let (_, endpoints) = ask(&two, "GET", "/api/v1/namespaces/default/endpoints/kubernetes", JSON, Value::Null).await;
    assert_eq!(endpoints["subsets"][0]["addresses"].as_array().unwrap().len(), 2);
    token.cancel();
    for _ in 0..100 {
        if addresses().await == ["192.0.2.1"] {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the address of the server that ended is still there");
}
