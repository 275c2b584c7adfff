//! A store that takes no writes: the server begins, reads are served, and what it lacks is stored when writes go again.

mod support;

use async_trait::async_trait;
use ironclad_json::json;
use ironclad_store::{
    Committed, Entry, Error, LogStore, Op, Options, Page, RangeQuery, Result, Revision, Store, Watch,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use support::{JSON, ask, eventually, over};
use tokio_util::sync::CancellationToken;

const FULL: &str = "etcdserver: mvcc: database space exceeded";

/// A store that refuses writes as long as it is full.
struct Filled(LogStore, Arc<AtomicBool>);

#[async_trait]
impl Store for Filled {
    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Entry>> {
        self.0.get(key, at).await
    }

    async fn range(&self, query: &RangeQuery) -> Result<Page> {
        self.0.range(query).await
    }

    async fn count(&self, prefix: &str) -> Result<usize> {
        self.0.count(prefix).await
    }

    async fn commit(&self, ops: Vec<Op>) -> Result<Committed> {
        match self.1.load(Ordering::Acquire) {
            true => Err(Error::Full(FULL.to_owned())),
            false => self.0.commit(ops).await,
        }
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watch>> {
        self.0.watch(prefix, after).await
    }

    async fn revision(&self) -> Result<Revision> {
        self.0.revision().await
    }

    async fn request_progress(&self) {
        self.0.request_progress().await;
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn ping(&self) -> Result<()> {
        self.0.ping().await
    }

    async fn reseal(&self) -> Result<()> {
        self.0.reseal().await
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        self.0.compact(revision).await
    }

    async fn size(&self) -> Result<u64> {
        self.0.size().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_over_a_full_store_serves_reads_and_stores_what_it_lacks_later() {
    let dir = tempfile::tempdir().unwrap();
    let full = Arc::new(AtomicBool::new(true));
    let store = Filled(LogStore::open(dir.path(), Options::default()).unwrap(), full.clone());
    let token = CancellationToken::new();
    let (server, _) = over(Arc::new(store), token.clone()).await;
    let (code, list) = ask(&server, "GET", "/api/v1/namespaces", JSON, json!(null)).await;
    assert_eq!((code, list["items"].as_array().map(|i| i.len())), (200, Some(0)), "{list}");
    let (code, refused) = ask(&server, "POST", "/api/v1/namespaces", JSON, json!({"metadata": {"name": "mine"}})).await;
    assert_eq!((code, &refused["message"]), (500, &json!(FULL)), "{refused}");
    full.store(false, Ordering::Release);
    let name = eventually(async || {
        let (code, found) = ask(&server, "GET", "/api/v1/namespaces/kube-system", JSON, json!(null)).await;
        (code == 200).then(|| found["metadata"]["name"].clone())
    });
    assert_eq!(name.await, json!("kube-system"));
    token.cancel();
}
