//! Reads that are asked for no version show everything that was acknowledged before them, also when the caches fall
//! behind the store and are read anew meanwhile.

mod support;

use async_trait::async_trait;
use http_body_util::BodyExt;
use ironclad_apiserver::ApiServer;
use ironclad_json::{Value, json};
use ironclad_schema::{bundle, proto};
use ironclad_store::{
    Batch, Committed, Entry, Error, LogStore, Op, Options, Page, RangeQuery, Result, Revision, Store, Watch,
};
use std::sync::Arc;
use std::time::Duration;
use support::{JSON, ask, bytes, quiet_over, send, with};
use tempfile::TempDir;
use tokio::sync::watch;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// A watch that tells what is there, with a mark behind it.
const INITIAL: &str = "watch=1&sendInitialEvents=1&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=1";

/// Whether watches tell nothing for now, and how often all of them have lagged behind.
type Orders = (bool, u64);

/// A store whose watches can be held up and made to lag behind.
struct Shaky {
    store: LogStore,
    orders: watch::Sender<Orders>,
    /// Somebody has asked for the newest revision.
    asked: watch::Sender<()>,
}

impl Shaky {
    fn new(dir: &TempDir) -> Arc<Self> {
        let store = LogStore::open(dir.path(), Options::default()).unwrap();
        Arc::new(Self { store, orders: watch::Sender::new((false, 0)), asked: watch::Sender::new(()) })
    }

    fn hold(&self) {
        self.orders.send_modify(|(held, _)| *held = true);
    }

    fn lag(&self) {
        self.orders.send_modify(|(held, lags)| (*held, *lags) = (false, *lags + 1));
    }
}

struct ShakyWatch {
    watch: Box<dyn Watch>,
    orders: watch::Receiver<Orders>,
    lags: u64,
}

#[async_trait]
impl Watch for ShakyWatch {
    async fn next(&mut self) -> Result<Batch> {
        loop {
            let (held, lags) = *self.orders.borrow_and_update();
            if lags != self.lags {
                return Err(Error::Lagged(Revision(0)));
            }
            tokio::select! {
                changed = self.orders.changed() => changed.map_err(|e| Error::Closed(e.to_string()))?,
                batch = self.watch.next(), if !held => return batch,
            }
        }
    }
}

#[async_trait]
impl Store for Shaky {
    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Entry>> {
        self.store.get(key, at).await
    }
    async fn range(&self, query: &RangeQuery) -> Result<Page> {
        self.store.range(query).await
    }
    async fn count(&self, prefix: &str) -> Result<usize> {
        self.store.count(prefix).await
    }
    async fn commit(&self, ops: Vec<Op>) -> Result<Committed> {
        self.store.commit(ops).await
    }
    async fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watch>> {
        let orders = self.orders.subscribe();
        let lags = orders.borrow().1;
        Ok(Box::new(ShakyWatch { watch: self.store.watch(prefix, after).await?, orders, lags }))
    }
    async fn revision(&self) -> Result<Revision> {
        let revision = self.store.revision().await;
        self.asked.send_replace(());
        revision
    }
    async fn compact(&self, revision: Revision) -> Result<()> {
        self.store.compact(revision).await
    }
    async fn size(&self) -> Result<u64> {
        self.store.size().await
    }
}

/// How a client may ask for what is there.
#[derive(Clone, Copy, Debug)]
enum Way {
    Json,
    Protobuf,
    Selected,
    Watched,
}

const WAYS: [Way; 4] = [Way::Json, Way::Protobuf, Way::Selected, Way::Watched];

async fn create(server: &ApiServer, name: &str) {
    let map = json!({"metadata": {"name": name, "labels": {"is": "here"}}});
    let (code, made) = ask(server, "POST", MAPS, JSON, map).await;
    assert_eq!(code, 201, "{made}");
}

fn names<'a>(objects: impl Iterator<Item = &'a Value>) -> Vec<String> {
    objects.filter_map(|o| o["metadata"]["name"].as_str().map(str::to_owned)).collect()
}

/// The names of what is there.
async fn there(server: &ApiServer, way: Way) -> Vec<String> {
    let list = match way {
        Way::Watched => return watched(server).await,
        Way::Json => ask(server, "GET", MAPS, JSON, Value::Null).await.1,
        Way::Selected => ask(server, "GET", &format!("{MAPS}?labelSelector=is%3Dhere"), JSON, Value::Null).await.1,
        Way::Protobuf => {
            let response = with(server, "GET", MAPS, &[("accept", PROTOBUF)], "").await;
            proto::decode(bundle(), &bytes(response).await).unwrap()
        }
    };
    names(list["items"].as_array().into_iter().flatten())
}

async fn watched(server: &ApiServer) -> Vec<String> {
    let mut body = send(server, "GET", &format!("{MAPS}?{INITIAL}"), JSON, "").await.into_body();
    let (mut events, mut buffer): (Vec<Value>, Vec<u8>) = (Vec::new(), Vec::new());
    while events.last().is_none_or(|e| e["type"] != "BOOKMARK") {
        match buffer.iter().position(|b| *b == b'\n') {
            Some(end) => events.push(serde_json::from_slice(&buffer.drain(..=end).collect::<Vec<u8>>()).unwrap()),
            None => buffer.extend_from_slice(&body.frame().await.unwrap().unwrap().into_data().unwrap()),
        }
    }
    names(events.iter().map(|e| &e["object"]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_waits_shows_what_fresh_caches_hold() {
    let dir = TempDir::new().unwrap();
    let store = Shaky::new(&dir);
    let (server, _reader) = quiet_over(store.clone()).await;
    for (n, way) in WAYS.into_iter().enumerate() {
        let name = format!("made-{n}");
        store.hold();
        create(&server, &name).await;
        let mut asked = store.asked.subscribe();
        let reader = server.clone();
        let reading = tokio::spawn(async move { there(&reader, way).await });
        asked.changed().await.unwrap();
        // The read has begun, and the caches do not show the object yet; they will be read anew.
        store.lag();
        let found = tokio::time::timeout(Duration::from_secs(30), reading).await.expect("no answer in time").unwrap();
        assert!(found.contains(&name), "{way:?}: {name} is not in {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn what_is_acknowledged_is_in_every_read_behind_it() {
    let dir = TempDir::new().unwrap();
    let store = Shaky::new(&dir);
    let (server, _reader) = quiet_over(store.clone()).await;
    let client = |writer: usize| {
        let (server, store) = (server.clone(), store.clone());
        async move {
            for round in 0..20 {
                let name = format!("w{writer}-{round}");
                create(&server, &name).await;
                if writer == 0 {
                    store.lag();
                }
                let way = WAYS[(writer + round) % WAYS.len()];
                let found = there(&server, way).await;
                assert!(found.contains(&name), "{way:?}: {name} is not among {}", found.len());
            }
        }
    };
    let clients: Vec<_> = (0..8).map(|writer| tokio::spawn(client(writer))).collect();
    for client in clients {
        client.await.unwrap();
    }
}
