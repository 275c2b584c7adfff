//! Configuration that is followed by a watch: compiled once when it changes, looked at by every request.

use arc_swap::ArcSwap;
use futures::StreamExt;
use ironclad_api::source::{Change, Source};
use ironclad_api::{ApiError, GroupResource, object};
use ironclad_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// How long a request waits for configuration that was not read yet.
const PATIENCE: Duration = Duration::from_secs(10);

/// All objects of a resource, compiled, in the order of their names.
pub(crate) struct Followed<T> {
    now: Arc<ArcSwap<Vec<Arc<T>>>>,
    synced: watch::Receiver<bool>,
    task: AbortHandle,
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
        let now: Arc<ArcSwap<Vec<Arc<T>>>> = Arc::default();
        let (told, synced) = watch::channel(false);
        let (mut changes, shared) = (source.subscribe(resource), now.clone());
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
                    shared.store(Arc::new(all.values().cloned().collect()));
                }
            }
        });
        Self { now, synced, task: task.abort_handle() }
    }

    /// What there is now; waits until everything was read once.
    pub(crate) async fn get(&self) -> Result<Arc<Vec<Arc<T>>>, ApiError> {
        if !*self.synced.borrow() {
            let mut synced = self.synced.clone();
            let waited = tokio::time::timeout(PATIENCE, synced.wait_for(|done| *done)).await;
            if !matches!(waited, Ok(Ok(_))) {
                return Err(ApiError::new(ironclad_api::Reason::Forbidden, "not yet ready to handle request"));
            }
        }
        Ok(self.now.load_full())
    }
}
