//! Watches under concurrent writers: from whatever version they begin, what they tell is the history, whole and in
//! order, for everybody who sees a part of it.

mod support;

use http_body_util::BodyExt;
use ironclad_apiserver::ApiServer;
use ironclad_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use support::{JSON, ask, send};

const PODS: &str = "/api/v1/namespaces/default/pods";
const WRITERS: usize = 6;
const ROUNDS: usize = 20;

fn pod(name: &str, node: usize) -> Value {
    json!({"metadata": {"name": name, "labels": {"round": "0"}},
        "spec": {"nodeName": format!("n{node}"), "containers": [{"name": "c", "image": "i"}]}})
}

async fn write(server: ApiServer, writer: usize) {
    for round in 0..ROUNDS {
        let name = format!("w{writer}-{}", round % 4);
        let one = format!("{PODS}/{name}");
        let (code, made) = ask(&server, "POST", PODS, JSON, pod(&name, (writer + round) % 3)).await;
        assert_eq!(code, 201, "{made}");
        let label = json!({"metadata": {"labels": {"round": (round % 2).to_string()}}});
        assert_eq!(ask(&server, "PATCH", &one, "application/merge-patch+json", label).await.0, 200);
        if round % 4 != 3 || round + 4 < ROUNDS {
            assert_eq!(ask(&server, "DELETE", &format!("{one}?gracePeriodSeconds=0"), JSON, Value::Null).await.0, 200);
        }
    }
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

type State = BTreeMap<String, u64>;

fn state(list: &Value) -> State {
    let name = |o: &Value| o["metadata"]["name"].as_str().unwrap().to_owned();
    list["items"].as_array().unwrap().iter().map(|o| (name(o), version(o))).collect()
}

/// Follows a selection from a list on, until the marker pod of its own writer says that all was written; returns the
/// state that the events add up to.
async fn follow(server: ApiServer, selection: String) -> (String, State) {
    let (_, list) = ask(&server, "GET", &format!("{PODS}?{selection}"), JSON, Value::Null).await;
    let (mut now, mut last) = (state(&list), version(&list));
    let path = format!("{PODS}?{selection}&watch=1&allowWatchBookmarks=1&resourceVersion={last}&timeoutSeconds=4");
    let mut body = send(&server, "GET", &path, JSON, "").await.into_body();
    let mut buffer = Vec::new();
    // The watch ends by itself, after the writers.
    while let Some(frame) = body.frame().await {
        buffer.extend_from_slice(&frame.unwrap().into_data().unwrap());
        while let Some(end) = buffer.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = buffer.drain(..=end).collect();
            let event: Value = serde_json::from_slice(&line).unwrap();
            let (kind, object) = (event["type"].as_str().unwrap(), &event["object"]);
            let at = version(object);
            if kind == "BOOKMARK" {
                assert!(at >= last, "{selection}: a bookmark goes back from {last} to {at}");
                last = at;
                continue;
            }
            assert!(at > last, "{selection}: {kind} {at} after {last}");
            last = at;
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            let before = now.contains_key(&name);
            match kind {
                "ADDED" => assert!(!before, "{selection}: {name} was there"),
                "MODIFIED" | "DELETED" => assert!(before, "{selection}: {name} was not there"),
                other => panic!("{other}: {object}"),
            }
            match kind {
                "DELETED" => drop(now.remove(&name)),
                _ => drop(now.insert(name, at)),
            }
        }
    }
    (selection, now)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_watch_adds_up_to_what_is_there() {
    let (server, _reader, _dir) = support::server().await;
    let account = json!({"metadata": {"name": "default"}});
    ask(&server, "POST", "/api/v1/namespaces/default/serviceaccounts", JSON, account).await;
    let writers: Vec<_> = (0..WRITERS).map(|w| tokio::spawn(write(server.clone(), w))).collect();
    let selections = [
        "limit=0",
        "fieldSelector=spec.nodeName%3Dn0",
        "fieldSelector=spec.nodeName%3Dn1",
        "labelSelector=round%3D1",
        "labelSelector=round!%3D1&fieldSelector=spec.nodeName%3Dn2",
        "fieldSelector=metadata.name%3Dw1-1",
        "fieldSelector=spec.nodeName!%3Dn2",
    ];
    let mut watching = Vec::new();
    for _ in 0..4 {
        watching.extend(selections.iter().map(|s| tokio::spawn(follow(server.clone(), (*s).to_owned()))));
        // Others begin in the middle.
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    for watch in watching {
        let (selection, told) = watch.await.unwrap();
        let (_, list) = ask(&server, "GET", &format!("{PODS}?{selection}"), JSON, Value::Null).await;
        assert_eq!(told, state(&list), "{selection}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_can_begin_at_any_version_that_is_kept() {
    let (server, _reader, _dir) = support::server().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let mut versions = Vec::new();
    for n in 0..40 {
        let map = json!({"metadata": {"name": format!("m{n}")}});
        let (_, made) = ask(&server, "POST", maps, JSON, map).await;
        versions.push(version(&made));
    }
    for (at, from) in versions.iter().enumerate() {
        let path = format!("{maps}?watch=1&resourceVersion={from}&timeoutSeconds=1");
        let mut body = send(&server, "GET", &path, JSON, "").await.into_body();
        let (mut seen, mut buffer) = (Vec::new(), Vec::new());
        while seen.len() < versions.len() - at - 1 {
            buffer.extend_from_slice(&body.frame().await.unwrap().unwrap().into_data().unwrap());
            while let Some(end) = buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = buffer.drain(..=end).collect();
                seen.push(version(&serde_json::from_slice::<Value>(&line).unwrap()["object"]));
            }
        }
        assert_eq!(seen, versions[at + 1..]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_that_cannot_be_are_refused_in_the_stock_words() {
    let (server, _reader, _dir) = support::server().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let (_, list) = ask(&server, "GET", maps, JSON, Value::Null).await;
    let now = version(&list);
    let future = format!("{maps}?resourceVersion={}", now + 1000);
    let (code, error) = ask(&server, "GET", &future, JSON, Value::Null).await;
    assert_eq!((code, &error["reason"]), (504, &json!("Timeout")));
    assert_eq!(error["message"], format!("Timeout: Too large resource version: {}, current: {now}", now + 1000));
    assert_eq!(error["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
    assert_eq!(error["details"]["retryAfterSeconds"], 1);
    let table = [
        ("resourceVersionMatch=Exact", "resourceVersionMatch is forbidden unless resourceVersion is provided"),
        (
            "resourceVersion=0&resourceVersionMatch=Exact",
            "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
        ),
        ("resourceVersion=1&resourceVersionMatch=Newest", "Unsupported value: \"Newest\""),
    ];
    for (query, message) in table {
        let (code, error) = ask(&server, "GET", &format!("{maps}?{query}"), JSON, Value::Null).await;
        assert_eq!(code, 422, "{query}: {error}");
        assert!(error["message"].as_str().unwrap().contains(message), "{query}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_goes_on_where_it_was_when_history_is_forgotten() {
    let dir = tempfile::TempDir::new().unwrap();
    let load = ironclad_apiserver::Load { compaction_interval: Duration::from_millis(50), ..Default::default() };
    let (server, _) = support::limited(dir.path(), tokio_util::sync::CancellationToken::new(), load).await;
    let maps = "/api/v1/namespaces/default/configmaps";
    for n in 0..6 {
        ask(&server, "POST", maps, JSON, json!({"metadata": {"name": format!("m{n}")}})).await;
    }
    let (_, first) = ask(&server, "GET", &format!("{maps}?limit=2"), JSON, Value::Null).await;
    let token = first["metadata"]["continue"].as_str().unwrap();
    let gone = async {
        for n in 0.. {
            let other = json!({"metadata": {"name": format!("z{n}")}});
            ask(&server, "POST", maps, JSON, other).await;
            let (code, answer) =
                ask(&server, "GET", &format!("{maps}?limit=2&continue={token}"), JSON, Value::Null).await;
            if code == 410 {
                return answer;
            }
            assert_eq!(answer["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        unreachable!()
    };
    let gone = tokio::time::timeout(Duration::from_secs(20), gone).await.expect("history is forgotten");
    assert_eq!(gone["reason"], "Expired");
    let token = gone["metadata"]["continue"].as_str().unwrap();
    let (code, next) = ask(&server, "GET", &format!("{maps}?limit=2&continue={token}"), JSON, Value::Null).await;
    assert_eq!(code, 200, "{next}");
    assert_ne!(next["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let shown = |list: &Value| state(list).into_keys().collect::<Vec<_>>();
    let seen = shown(&first);
    assert!(shown(&next).iter().all(|name| seen.iter().all(|s| s < name)), "{:?} after {seen:?}", shown(&next));
}
