//! Reads from the watch caches for parts of the server itself: admission, authorization, controllers.
//!
//! Invariant: who subscribes to a resource sees its objects whether the resource is served already or comes later, and
//! sees them go when it goes.

use crate::cache::{Cached, Caches, Changed, Over, ResourceCache, Scope, Subscription};
use crate::catalog::Catalog;
use crate::metrics::Shared;
use futures::StreamExt;
use ironclad_api::GroupResource;
use ironclad_api::source::{Change, Changes, Source};
use ironclad_json::Value;
use ironclad_kinds::Kind;
use ironclad_remote::Egress;
use ironclad_store::Revision;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::watch;

/// Reads from the watch caches; it exists before the server, whose deciders need it.
#[derive(Clone)]
pub struct Reader {
    caches: Arc<Caches>,
    catalog: Arc<Catalog>,
    metrics: Shared,
    egress: Egress,
}

impl Reader {
    pub(crate) fn new(caches: Arc<Caches>, catalog: Arc<Catalog>, metrics: Shared, egress: Egress) -> Self {
        Self { caches, catalog, metrics, egress }
    }

    /// How other servers are reached.
    pub(crate) fn egress(&self) -> &Egress {
        &self.egress
    }

    pub(crate) fn metrics(&self) -> &Shared {
        &self.metrics
    }

    /// The kinds that are served now.
    pub(crate) fn table(&self) -> Arc<crate::catalog::Table> {
        self.catalog.now()
    }

    /// Waits until everything that was committed before the call can be read.
    pub(crate) async fn current(&self) -> Result<(), ironclad_api::ApiError> {
        self.caches.current().await.map(drop).map_err(|e| crate::registry::store_error(&e))
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
        cache.get(&format!("{}{place}{name}", kind.prefix)).map(|c| c.shared(&self.caches))
    }

    fn list(&self, resource: &GroupResource, namespace: &str) -> Vec<Arc<Value>> {
        let Some((cache, kind)) = self.cache(resource) else { return Vec::new() };
        let place = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
        cache.list(&format!("{}{place}", kind.prefix), None).iter().map(|c| c.shared(&self.caches)).collect()
    }

    fn subscribe(&self, resource: &GroupResource) -> Changes {
        let mut following = Following {
            reader: self.clone(),
            resource: resource.clone(),
            tables: self.catalog.follow(),
            queue: VecDeque::new(),
            from: None,
            seen: Revision(0),
            changes: None,
        };
        following.attach();
        following.queue.push_back(Pending::Synced);
        futures::stream::unfold(following, |mut f| async move { f.next().await.map(|change| (change, f)) }).boxed()
    }
}

/// One subscription.
struct Following {
    reader: Reader,
    resource: GroupResource,
    tables: watch::Receiver<u64>,
    queue: VecDeque<Pending>,
    /// The cache that the last objects came from.
    from: Option<Arc<ResourceCache>>,
    /// Up to where changes were seen.
    seen: Revision,
    /// From the present cache, while there is one.
    changes: Option<Subscription>,
}

impl Following {
    /// Begins with what the present cache holds; what only an older one held is gone.
    fn attach(&mut self) {
        self.tables.mark_unchanged();
        let cache = self.reader.cache(&self.resource).map(|(cache, _)| cache);
        let old = self.from.take().map(|old| old.list("", None)).unwrap_or_default();
        let gone = |c: &&Arc<Cached>| cache.as_ref().is_none_or(|now| now.get(&c.key).is_none());
        self.queue.extend(old.iter().filter(gone).cloned().map(Pending::Delete));
        if let Some(cache) = cache {
            let (objects, _, changes) = cache.snapshot(Scope::All, "");
            self.queue.extend(objects.into_iter().map(Pending::Put));
            self.changes = Some(changes);
            self.from = Some(cache);
        }
    }

    /// What was missed, if the cache remembers it; else everything anew.
    fn catch_up(&mut self) {
        // The last change may be one of several of the same commit.
        let before = Revision(self.seen.0.saturating_sub(1));
        let missed = self.from.as_ref().and_then(|cache| cache.watch(before, Scope::All).ok());
        match missed {
            Some((missed, changes)) => {
                self.queue.extend(missed.iter().map(|c| pending(c)));
                self.seen = missed.last().map_or(self.seen, |c| c.revision);
                self.changes = Some(changes);
            }
            None => {
                self.from = None;
                self.attach();
            }
        }
    }

    async fn next(&mut self) -> Option<Change> {
        loop {
            if let Some(pending) = self.queue.pop_front() {
                return Some(pending.decoded(&self.reader.caches));
            }
            let Some(changes) = &mut self.changes else {
                // The catalog lives as long as the reader.
                self.tables.changed().await.ok()?;
                self.attach();
                continue;
            };
            match changes.recv().await {
                Ok(c) => {
                    self.seen = c.revision;
                    return Some(pending(&c).decoded(&self.reader.caches));
                }
                Err(Over::Lagged) => self.catch_up(),
                Err(Over::Closed) => {
                    self.changes = None;
                    self.attach();
                    if self.changes.as_ref().is_some_and(Subscription::is_closed) {
                        self.changes = None;
                    }
                }
            }
        }
    }
}

/// A change that is decoded when it is taken: a queue of many would take ten times the memory.
enum Pending {
    Put(Arc<Cached>),
    Delete(Arc<Cached>),
    Synced,
}

impl Pending {
    fn decoded(self, caches: &Caches) -> Change {
        match self {
            Self::Put(object) => Change::Put(object.shared(caches)),
            Self::Delete(object) => Change::Delete(object.shared(caches)),
            Self::Synced => Change::Synced,
        }
    }
}

fn pending(changed: &Changed) -> Pending {
    if changed.deleted { Pending::Delete(changed.object.clone()) } else { Pending::Put(changed.object.clone()) }
}
