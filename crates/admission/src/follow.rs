//! Configuration that is followed by a watch: compiled once when it changes, looked at by every request. Before it stands
//! what comes from manifests, which no watch tells of.

use arc_swap::ArcSwap;
use futures::StreamExt;
use ironclad_api::source::{Change, Source};
use ironclad_api::{ApiError, GroupResource, object};
use ironclad_json::Value;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// How long a request waits for configuration that was not read yet.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is in force, in order.
type All<T> = Arc<Vec<Arc<T>>>;

/// What comes from where, and both together as requests see them.
struct Lists<T> {
    parts: Mutex<(All<T>, All<T>)>,
    both: ArcSwap<Vec<Arc<T>>>,
}

impl<T> Lists<T> {
    fn change(&self, change: impl FnOnce(&mut (All<T>, All<T>))) {
        let mut parts = self.parts.lock();
        change(&mut parts);
        self.both.store(match parts.0.is_empty() {
            true => parts.1.clone(),
            false => Arc::new(parts.0.iter().chain(parts.1.iter()).cloned().collect()),
        });
    }
}

/// All objects of a resource, compiled, in the order of their names.
pub(crate) struct Followed<T> {
    lists: Arc<Lists<T>>,
    synced: watch::Receiver<bool>,
    task: AbortHandle,
}

/// What comes from manifests.
pub(crate) struct Fixed<T>(Arc<Lists<T>>);

impl<T> Fixed<T> {
    /// Puts what is read now in the place of what was.
    pub(crate) fn put(&self, all: Vec<T>) {
        self.0.change(|parts| parts.0 = Arc::new(all.into_iter().map(Arc::new).collect()));
    }
}

impl<T> Drop for Followed<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<T: Send + Sync + 'static> Followed<T> {
    /// Follows a resource.
    pub(crate) fn new(
        source: &dyn Source,
        resource: &GroupResource,
        mut compile: impl FnMut(&Value) -> T + Send + 'static,
    ) -> Self {
        let lists = Arc::new(Lists { parts: Mutex::default(), both: ArcSwap::default() });
        let (told, synced) = watch::channel(false);
        let (mut changes, shared) = (source.subscribe(resource), lists.clone());
        let task = tokio::spawn(async move {
            let mut all: BTreeMap<(String, String), Arc<T>> = BTreeMap::new();
            while let Some(change) = changes.next().await {
                let key = |o: &Value| (object::namespace(o).to_owned(), object::name(o).to_owned());
                match change {
                    Change::Put(o) => drop(all.insert(key(&o), Arc::new(compile(&o)))),
                    Change::Delete(o) => drop(all.remove(&key(&o))),
                    Change::Synced => drop(told.send_replace(true)),
                }
                if *told.borrow() {
                    shared.change(|parts| parts.1 = Arc::new(all.values().cloned().collect()));
                }
            }
        });
        Self { lists, synced, task: task.abort_handle() }
    }

    /// The place for what comes from manifests.
    pub(crate) fn fixed(&self) -> Fixed<T> {
        Fixed(self.lists.clone())
    }

    /// What there is now for a request that sees `all`, or only what comes from manifests; waits until everything was
    /// read once.
    pub(crate) async fn get(&self, all: bool) -> Result<All<T>, ApiError> {
        if !all {
            return Ok(self.lists.parts.lock().0.clone());
        }
        if !*self.synced.borrow() {
            let mut synced = self.synced.clone();
            let waited = tokio::time::timeout(PATIENCE, synced.wait_for(|done| *done)).await;
            if !matches!(waited, Ok(Ok(_))) {
                return Err(ApiError::new(ironclad_api::Reason::Forbidden, "not yet ready to handle request"));
            }
        }
        Ok(self.lists.both.load_full())
    }
}
