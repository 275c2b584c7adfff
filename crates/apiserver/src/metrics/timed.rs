//! The store and the admission chain with a clock beside them.

use super::Shared;
use async_trait::async_trait;
use ironclad_admission::{Chain, Request, Written};
use ironclad_api::{ErrorList, error};
use ironclad_store::{Change, Committed, Entry, Expect, Op, Page, RangeQuery, Result, Revision, Store, Watch};
use std::sync::Arc;
use std::time::Instant;

/// The admission chain, timed.
pub(crate) struct TimedChain {
    chain: Chain,
    metrics: Shared,
}

impl TimedChain {
    pub(crate) fn new(chain: Chain, metrics: Shared) -> Self {
        let told = metrics.clone();
        told.plugins.name(chain.names());
        let timer = move |at, step, operation, refused, took| told.plugins.record(at, step, operation, refused, took);
        Self { chain: chain.timed(Box::new(timer)), metrics }
    }

    /// See [`Chain::admit`].
    pub(crate) async fn admit(&self, request: &mut Request) -> error::Result<()> {
        let (began, operation) = (Instant::now(), request.operation.as_str());
        let done = self.chain.admit(request).await;
        self.metrics.admitted("admit", operation, done.is_err(), began.elapsed());
        done
    }

    /// See [`Chain::mistakes`].
    pub(crate) fn mistakes(&self, written: &Written<'_>) -> ErrorList {
        self.chain.mistakes(written)
    }

    /// See [`Chain::validate`].
    pub(crate) async fn validate(&self, request: &mut Request) -> error::Result<()> {
        let (began, operation) = (Instant::now(), request.operation.as_str());
        let done = self.chain.validate(request).await;
        self.metrics.admitted("validate", operation, done.is_err(), began.elapsed());
        done
    }
}

/// The store, timed.
pub(crate) struct TimedStore {
    store: Arc<dyn Store>,
    metrics: Shared,
}

impl TimedStore {
    pub(crate) fn new(store: Arc<dyn Store>, metrics: Shared) -> Self {
        Self { store, metrics }
    }
}

fn operation(ops: &[Op]) -> &'static str {
    match ops.first() {
        Some(Op { change: Change::Delete { .. }, .. }) => "delete",
        Some(Op { expect: Expect::Absent, .. }) => "create",
        _ => "update",
    }
}

#[async_trait]
impl Store for TimedStore {
    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Entry>> {
        let began = Instant::now();
        let got = self.store.get(key, at).await;
        self.metrics.store.done("get", key, began.elapsed());
        got
    }

    async fn range(&self, query: &RangeQuery) -> Result<Page> {
        let began = Instant::now();
        let page = self.store.range(query).await;
        self.metrics.store.done("list", &query.prefix, began.elapsed());
        page
    }

    async fn count(&self, prefix: &str) -> Result<usize> {
        self.store.count(prefix).await
    }

    async fn commit(&self, ops: Vec<Op>) -> Result<Committed> {
        let (began, operation) = (Instant::now(), operation(&ops));
        let first = ops.first().map(|op| op.key.clone());
        let done = self.store.commit(ops).await;
        if let Some(key) = first {
            self.metrics.store.done(operation, &key, began.elapsed());
        }
        done
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watch>> {
        self.store.watch(prefix, after).await
    }

    async fn revision(&self) -> Result<Revision> {
        self.store.revision().await
    }

    async fn request_progress(&self) {
        self.store.request_progress().await;
    }

    fn is_shared(&self) -> bool {
        self.store.is_shared()
    }

    async fn ping(&self) -> Result<()> {
        self.store.ping().await
    }

    async fn reseal(&self) -> Result<()> {
        self.store.reseal().await
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        self.store.compact(revision).await
    }

    async fn size(&self) -> Result<u64> {
        self.store.size().await
    }
}
