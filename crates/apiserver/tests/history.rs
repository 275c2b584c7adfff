//! Lists and watches while history is forgotten: what a client puts together from pages, watches and new beginnings is
//! what is there, without a gap and without a repeat.

mod support;

use http_body_util::BodyExt;
use ironclad_apiserver::{ApiServer, Body};
use ironclad_json::{Value, json};
use ironclad_store::{LogStore, Options, Revision, Store};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{JSON, ask, quiet_over, send};
use tempfile::TempDir;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const MERGE: &str = "application/merge-patch+json";

async fn server() -> (ApiServer, Arc<LogStore>, TempDir) {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(LogStore::open(dir.path(), Options::default()).unwrap());
    let (server, _reader) = quiet_over(store.clone()).await;
    (server, store, dir)
}

async fn create(server: &ApiServer, name: &str) {
    let (code, made) = ask(server, "POST", MAPS, JSON, json!({"metadata": {"name": name}, "data": {"n": "0"}})).await;
    assert_eq!(code, 201, "{made}");
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap().to_owned()
}

fn names(list: &Value) -> Vec<String> {
    list["items"].as_array().unwrap().iter().map(name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_behind_forgotten_history_is_refused_with_a_token_that_goes_on_with_the_newest() {
    let (server, store, _dir) = server().await;
    for n in 0..9 {
        create(&server, &format!("m{n}")).await;
    }
    let (_, first) = ask(&server, "GET", &format!("{MAPS}?limit=3"), JSON, Value::Null).await;
    let token = first["metadata"]["continue"].as_str().unwrap().to_owned();
    assert_eq!(first["metadata"]["remainingItemCount"], 6);
    create(&server, "m8-later").await;
    assert_eq!(ask(&server, "DELETE", &format!("{MAPS}/m4"), JSON, Value::Null).await.0, 200);
    // While history is kept the pages are of one revision.
    let (_, second) = ask(&server, "GET", &format!("{MAPS}?limit=3&continue={token}"), JSON, Value::Null).await;
    assert_eq!((names(&second), version(&second)), (vec!["m3".into(), "m4".into(), "m5".into()], version(&first)));
    store.compact(store.revision().await.unwrap()).await.unwrap();
    let (code, gone) = ask(&server, "GET", &format!("{MAPS}?limit=3&continue={token}"), JSON, Value::Null).await;
    assert_eq!((code, &gone["reason"]), (410, &json!("Expired")), "{gone}");
    let why = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";
    assert_eq!(gone["message"], why);
    // From here the list is of the newest revision, and pages of it are of one again.
    let mut token = gone["metadata"]["continue"].as_str().unwrap().to_owned();
    let (mut rest, mut at) = (Vec::new(), None);
    while !token.is_empty() {
        let (code, page) = ask(&server, "GET", &format!("{MAPS}?limit=3&continue={token}"), JSON, Value::Null).await;
        assert_eq!(code, 200, "{page}");
        assert!(version(&page) >= at.unwrap_or(version(&first)));
        at = Some(version(&page));
        rest.extend(names(&page));
        token = page["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
    }
    assert_eq!(rest, ["m3", "m5", "m6", "m7", "m8", "m8-later"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_of_versions_are_what_stock_says_they_are() {
    let (server, store, _dir) = server().await;
    create(&server, "a").await;
    let (_, before) = ask(&server, "GET", MAPS, JSON, Value::Null).await;
    let old = version(&before);
    create(&server, "b").await;
    let list = |query: String| {
        let server = server.clone();
        async move { ask(&server, "GET", &format!("{MAPS}?{query}"), JSON, Value::Null).await }
    };
    let (_, exact) = list(format!("resourceVersion={old}&resourceVersionMatch=Exact")).await;
    assert_eq!((names(&exact), version(&exact)), (vec!["a".to_owned()], old));
    let (_, newer) = list(format!("resourceVersion={old}&resourceVersionMatch=NotOlderThan")).await;
    assert!(version(&newer) >= old && names(&newer).contains(&"a".to_owned()), "{newer}");
    let (code, future) = list(format!("resourceVersion={}&resourceVersionMatch=NotOlderThan", old + 100_000)).await;
    assert_eq!(code, 504, "{future}");
    let cause = &future["details"]["causes"][0];
    assert_eq!(
        (&cause["reason"], &cause["message"]),
        (&json!("ResourceVersionTooLarge"), &json!("Too large resource version"))
    );
    assert!(future["message"].as_str().unwrap().starts_with("Timeout: Too large resource version: "), "{future}");
    store.compact(store.revision().await.unwrap()).await.unwrap();
    let (code, gone) = list(format!("resourceVersion={old}&resourceVersionMatch=Exact")).await;
    assert_eq!((code, &gone["reason"]), (410, &json!("Expired")), "{gone}");
}

/// Events of a watch, one after the other.
struct Events {
    body: Body,
    buffer: Vec<u8>,
}

impl Events {
    async fn of(server: &ApiServer, query: &str) -> Self {
        Self { body: send(server, "GET", &format!("{MAPS}?{query}"), JSON, "").await.into_body(), buffer: Vec::new() }
    }

    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = self.body.frame().await?.unwrap();
            self.buffer.extend_from_slice(&frame.into_data().unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn initial_events_end_with_a_bookmark_for_who_takes_bookmarks() {
    let (server, _store, _dir) = server().await;
    create(&server, "a").await;
    create(&server, "b").await;
    let initial = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    let mut events = Events::of(&server, &format!("{initial}&allowWatchBookmarks=true")).await;
    let mut seen = Vec::new();
    let mark = loop {
        let event = events.next().await.unwrap();
        if event["type"] == "BOOKMARK" {
            break event;
        }
        seen.push(name(&event["object"]));
    };
    assert_eq!(seen, ["a", "b"]);
    assert_eq!(mark["object"]["metadata"]["annotations"], json!({"k8s.io/initial-events-end": "true"}));
    create(&server, "c").await;
    let event = events.next().await.unwrap();
    assert_eq!((&event["type"], name(&event["object"])), (&json!("ADDED"), "c".to_owned()));
    assert!(version(&event["object"]) > version(&mark["object"]));
    // Whoever takes no bookmarks gets what is there, then what comes.
    let mut events = Events::of(&server, &format!("{initial}&timeoutSeconds=1")).await;
    let mut seen = Vec::new();
    while let Some(event) = events.next().await {
        assert_eq!(event["type"], "ADDED");
        seen.push(name(&event["object"]));
    }
    assert_eq!(seen, ["a", "b", "c"]);
}

/// What a client knows: objects by their names, with their versions.
#[derive(Default)]
struct Known {
    now: BTreeMap<String, u64>,
    last: u64,
    lists: usize,
    watches: usize,
}

impl Known {
    async fn list(&mut self, server: &ApiServer) {
        // In pages, begun anew when history was forgotten between them.
        'anew: loop {
            let (mut all, mut token) = (BTreeMap::new(), String::new());
            loop {
                let path = format!("{MAPS}?limit=7&continue={token}");
                let (code, page) = ask(server, "GET", &path, JSON, Value::Null).await;
                if code == 410 {
                    continue 'anew;
                }
                assert_eq!(code, 200, "{page}");
                assert!(all.is_empty() || version(&page) == self.last, "pages of two revisions");
                self.last = version(&page);
                all.extend(page["items"].as_array().unwrap().iter().map(|o| (name(o), version(o))));
                token = page["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
                if token.is_empty() {
                    self.now = all;
                    self.lists += 1;
                    return;
                }
            }
        }
    }

    /// Follows a watch for some events; `false` when history from here on is forgotten.
    async fn follow(&mut self, server: &ApiServer, events: usize) -> bool {
        let query = format!("watch=1&allowWatchBookmarks=true&resourceVersion={}&timeoutSeconds=2", self.last);
        let mut watch = Events::of(server, &query).await;
        self.watches += 1;
        for _ in 0..events {
            let Some(event) = watch.next().await else { return true };
            let (kind, object) = (event["type"].as_str().unwrap(), &event["object"]);
            if kind == "ERROR" {
                assert_eq!(object["code"], 410, "{object}");
                return false;
            }
            let at = version(object);
            if kind == "BOOKMARK" {
                assert!(at >= self.last, "a bookmark goes back");
                self.last = at;
                continue;
            }
            assert!(at > self.last, "{kind} {at} after {}: told twice", self.last);
            self.last = at;
            let known = self.now.contains_key(&name(object));
            assert_eq!(known, kind != "ADDED", "{kind} of {} at {at}: something is missing", name(object));
            match kind {
                "DELETED" => drop(self.now.remove(&name(object))),
                _ => drop(self.now.insert(name(object), at)),
            }
        }
        true
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_comes_back_again_and_again_misses_nothing_while_history_is_forgotten() {
    let (server, store, _dir) = server().await;
    let stop = Arc::new(AtomicBool::new(false));
    let write = |writer: usize| {
        let server = server.clone();
        async move {
            for round in 0..60 {
                let name = format!("w{writer}-{}", round % 5);
                let path = format!("{MAPS}/{name}");
                match round / 5 % 3 {
                    0 => drop(ask(&server, "POST", MAPS, JSON, json!({"metadata": {"name": name}})).await),
                    1 => drop(ask(&server, "PATCH", &path, MERGE, json!({"data": {"r": round.to_string()}})).await),
                    _ => drop(ask(&server, "DELETE", &path, JSON, Value::Null).await),
                }
            }
        }
    };
    let read = |seed: u64| {
        let (server, stop) = (server.clone(), stop.clone());
        async move {
            let (mut random, mut known) = (fastrand::Rng::with_seed(seed), Known::default());
            known.list(&server).await;
            while !stop.load(Ordering::Relaxed) {
                if !known.follow(&server, random.usize(1..25)).await {
                    known.list(&server).await;
                }
            }
            known
        }
    };
    let readers: Vec<_> = (0..6).map(|seed| tokio::spawn(read(seed))).collect();
    let forgetting = {
        let (store, stop) = (store.clone(), stop.clone());
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let now = store.revision().await.unwrap();
                store.compact(Revision(now.0.saturating_sub(5))).await.unwrap();
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        })
    };
    futures::future::join_all((0..5).map(write)).await;
    stop.store(true, Ordering::Relaxed);
    forgetting.await.unwrap();
    for reader in readers {
        let mut known = reader.await.unwrap();
        // What was written since it looked last.
        while known.now != now(&server).await {
            assert!(known.watches < 10_000, "it never comes to what is there");
            if !known.follow(&server, 1).await {
                known.list(&server).await;
            }
        }
        assert!(known.watches > 1);
    }
}

async fn now(server: &ApiServer) -> BTreeMap<String, u64> {
    let (_, list) = ask(server, "GET", MAPS, JSON, Value::Null).await;
    list["items"].as_array().unwrap().iter().map(|o| (name(o), version(o))).collect()
}
