//! Reads from the watch caches for parts of the server itself: admission, authorization, controllers.
//!
//! Invariant: who subscribes to a resource sees its objects whether the resource is served already or comes later, and
//! sees them go when it goes.

use crate::cache::{Caches, Changed, ResourceCache};
use crate::catalog::Catalog;
use futures::StreamExt;
use ironclad_api::GroupResource;
use ironclad_api::source::{Change, Changes, Source};
use ironclad_kinds::Kind;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

/// Reads from the watch caches; it exists before the server, whose deciders need it.
#[derive(Clone)]
pub struct Reader {
    caches: Arc<Caches>,
    catalog: Arc<Catalog>,
}

impl Reader {
    pub(crate) fn new(caches: Arc<Caches>, catalog: Arc<Catalog>) -> Self {
        Self { caches, catalog }
    }

    fn cache(&self, resource: &GroupResource) -> Option<(Arc<ResourceCache>, Arc<Kind>)> {
        let kind = self.catalog.now().stored(&resource.group, &resource.resource)?.clone();
        Some((self.caches.of(&kind)?, kind))
    }
}

impl Source for Reader {
    fn get(&self, resource: &GroupResource, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let (cache, kind) = self.cache(resource)?;
        let place = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
        cache.get(&format!("{}{place}{name}", kind.prefix)).map(|c| Arc::new(c.value()))
    }

    fn list(&self, resource: &GroupResource, namespace: &str) -> Vec<Arc<Value>> {
        let Some((cache, kind)) = self.cache(resource) else { return Vec::new() };
        let place = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
        cache.list(&format!("{}{place}", kind.prefix), None).iter().map(|c| Arc::new(c.value())).collect()
    }

    fn subscribe(&self, resource: &GroupResource) -> Changes {
        let mut following = Following {
            reader: self.clone(),
            resource: resource.clone(),
            tables: self.catalog.follow(),
            queue: VecDeque::new(),
            changes: None,
        };
        following.attach();
        following.queue.push_back(Change::Synced);
        futures::stream::unfold(following, |mut f| async move { f.next().await.map(|change| (change, f)) }).boxed()
    }
}

/// One subscription.
struct Following {
    reader: Reader,
    resource: GroupResource,
    tables: watch::Receiver<u64>,
    queue: VecDeque<Change>,
    /// From the present cache, while there is one.
    changes: Option<Receiver<Arc<Changed>>>,
}

impl Following {
    /// Begins with what the present cache holds.
    fn attach(&mut self) {
        self.tables.mark_unchanged();
        if let Some((cache, _)) = self.reader.cache(&self.resource) {
            let (objects, changes) = cache.snapshot();
            self.queue.extend(objects.into_iter().map(|c| Change::Put(Arc::new(c.value()))));
            self.changes = Some(changes);
        }
    }

    async fn next(&mut self) -> Option<Change> {
        loop {
            if let Some(change) = self.queue.pop_front() {
                return Some(change);
            }
            let Some(changes) = &mut self.changes else {
                // The catalog lives as long as the reader.
                self.tables.changed().await.ok()?;
                self.attach();
                continue;
            };
            match changes.recv().await {
                Ok(c) if c.deleted => return Some(Change::Delete(Arc::new(c.object.value()))),
                Ok(c) => return Some(Change::Put(Arc::new(c.object.value()))),
                // A reader in process is never so slow; if it is, what it missed comes with the next change.
                Err(RecvError::Lagged(n)) => tracing::error!(n, "an index lost changes"),
                Err(RecvError::Closed) => {
                    self.changes = None;
                    self.attach();
                    if self.changes.as_ref().is_some_and(Receiver::is_closed) {
                        self.changes = None;
                    }
                }
            }
        }
    }
}
