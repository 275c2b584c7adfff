//! The watch cache: for each resource its current objects as shared bytes with what selection needs, and the recent
//! changes for watches.
//!
//! One task follows the store and hands each change to the cache of its resource, so that there is one revision up to
//! which all caches are current.

mod counts;
mod object;
mod pick;
mod recent;
mod resource;
mod watchers;
mod written;

use ironclad_api::GroupResource;
use ironclad_kinds::Kind;
use ironclad_store::{Batch, Event, RangeQuery, Revision, Store, Watch};
pub(crate) use object::{Cached, Changed};
use parking_lot::RwLock;
pub(crate) use pick::Pick;
use recent::Recent;
pub(crate) use resource::ResourceCache;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
pub(crate) use watchers::{Over, Scope, Subscription};
use written::Written;

/// How long a revision may take to come by itself before the store is asked for a sign.
const PROGRESS: Duration = Duration::from_millis(20);
/// When a store that is away is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// The caches of all resources.
pub(crate) struct Caches {
    by_prefix: RwLock<HashMap<Arc<str>, Arc<ResourceCache>>>,
    revision: watch::Sender<Revision>,
    /// Up to here watchers were offered every change.
    offered: AtomicU64,
    store: Arc<dyn Store>,
    pub(crate) written: Written,
    pub(crate) recent: Recent,
    following: std::sync::atomic::AtomicBool,
    orders: mpsc::UnboundedSender<Order>,
}

/// A cache that the task which follows the store is to open.
struct Order {
    kind: Arc<Kind>,
    done: oneshot::Sender<ironclad_store::Result<()>>,
}

impl Caches {
    /// Loads everything and follows the store until `token` is cancelled.
    pub(crate) async fn start(
        store: Arc<dyn Store>,
        kinds: &[Arc<Kind>],
        token: CancellationToken,
    ) -> ironclad_store::Result<Arc<Self>> {
        let mut by_prefix: HashMap<Arc<str>, Arc<ResourceCache>> = HashMap::new();
        for kind in kinds.iter().filter(|k| k.version == k.storage_version) {
            by_prefix
                .entry(Arc::from(&*kind.prefix))
                .or_insert_with(|| Arc::new(ResourceCache::new(kind.clone(), Arc::default())));
        }
        let (orders, mut ordered) = mpsc::unbounded_channel();
        let (by_prefix, following) = (RwLock::new(by_prefix), true.into());
        let revision = watch::Sender::new(Revision(0));
        let caches = Arc::new(Self {
            by_prefix,
            revision,
            offered: AtomicU64::new(0),
            store,
            written: Written::default(),
            recent: Recent::default(),
            following,
            orders,
        });
        let revision = caches.load().await?;
        let following = caches.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = token.cancelled() => {}
                error = following.follow(revision, &mut ordered) => {
                    following.following.store(false, Ordering::Release);
                    tracing::error!(%error, "the watch caches no longer follow the store");
                }
            }
        });
        Ok(caches)
    }

    async fn load(&self) -> ironclad_store::Result<Revision> {
        let page = self.store.range(&RangeQuery { prefix: "/registry/".to_owned(), ..RangeQuery::default() }).await?;
        for entry in &page.entries {
            if let Some(cache) = self.of_key(&entry.key) {
                cache.load(entry);
            }
        }
        for cache in self.by_prefix.read().values() {
            cache.complete_since(page.revision);
        }
        self.publish(page.revision);
        self.offered.store(page.revision.0, Ordering::Release);
        Ok(page.revision)
    }

    /// Follows the store; what it cannot tell any more is read anew.
    async fn follow(&self, mut after: Revision, orders: &mut mpsc::UnboundedReceiver<Order>) -> ironclad_store::Error {
        use ironclad_store::Error;
        loop {
            let error = match self.store.watch("/registry/", after).await {
                Ok(changes) => self.take(changes, orders).await,
                Err(error) => error,
            };
            after = match error {
                Error::Compacted { .. } | Error::Future { .. } | Error::Lagged(_) => {
                    tracing::warn!(%error, "the watch caches missed changes and are read anew");
                    match self.renew().await {
                        Ok(revision) => revision,
                        Err(Error::Unavailable(_) | Error::Refused(_)) => after,
                        Err(error) => return error,
                    }
                }
                Error::Unavailable(why) | Error::Refused(why) => {
                    tracing::warn!(why, "the watch caches cannot follow the store");
                    tokio::time::sleep(RETRY).await;
                    after
                }
                error => return error,
            };
        }
    }

    /// Applies what a watch brings, and opens caches between two changes.
    async fn take(
        &self,
        mut changes: Box<dyn Watch>,
        orders: &mut mpsc::UnboundedReceiver<Order>,
    ) -> ironclad_store::Error {
        loop {
            let mut next = changes.next();
            let batch = loop {
                tokio::select! {
                    biased;
                    // The sender lives in `self`.
                    Some(order) = orders.recv() => {
                        let opened = self.open(order.kind).await;
                        // Who ordered it may have gone.
                        let _ = order.done.send(opened);
                    }
                    batch = &mut next => break batch,
                }
            };
            match batch {
                Ok(batch) => self.apply(&batch),
                Err(error) => return error,
            }
        }
    }

    /// Puts fresh caches in the place of all; watches end, and begin again from what the fresh ones show.
    async fn renew(&self) -> ironclad_store::Result<Revision> {
        let page = self.store.range(&RangeQuery { prefix: "/registry/".to_owned(), ..RangeQuery::default() }).await?;
        let old = self.by_prefix.read().clone();
        let fresh = |(prefix, cache): (&Arc<str>, &Arc<ResourceCache>)| {
            (prefix.clone(), Arc::new(ResourceCache::new(cache.kind.clone(), cache.counts.clone())))
        };
        let fresh: HashMap<Arc<str>, Arc<ResourceCache>> = old.iter().map(fresh).collect();
        for entry in &page.entries {
            if let Some(cache) = of_key(&fresh, &entry.key) {
                cache.load(entry);
            }
        }
        for cache in fresh.values() {
            cache.complete_since(page.revision);
        }
        {
            let mut by_prefix = self.by_prefix.write();
            // A resource that went away meanwhile does not come back.
            by_prefix.iter_mut().for_each(|(prefix, cache)| cache.clone_from(&fresh[prefix]));
        }
        old.values().for_each(|cache| cache.close());
        self.publish(page.revision);
        self.offered.store(page.revision.0, Ordering::Release);
        Ok(page.revision)
    }

    /// Opens a cache at the revision which all others show, in the place of one that may be there.
    async fn open(&self, kind: Arc<Kind>) -> ironclad_store::Result<()> {
        let at = self.revision();
        let query = RangeQuery { prefix: kind.prefix.to_string(), at: Some(at), ..RangeQuery::default() };
        let page = self.store.range(&query).await?;
        let prefix: Arc<str> = Arc::from(&*kind.prefix);
        let counts = self.by_prefix.read().get(&prefix).map(|old: &Arc<ResourceCache>| old.counts.clone());
        let cache = Arc::new(ResourceCache::new(kind, counts.unwrap_or_default()));
        page.entries.iter().for_each(|entry| cache.load(entry));
        cache.complete_since(at);
        let old = self.by_prefix.write().insert(prefix, cache);
        old.inspect(|old| old.close());
        Ok(())
    }

    /// Begins to cache a resource, or caches it anew as this row says. Watches of an older cache end.
    pub(crate) async fn add(&self, kind: Arc<Kind>) -> ironclad_store::Result<()> {
        let over = || ironclad_store::Error::Closed("the watch caches no longer follow the store".to_owned());
        // At the newest revision, so that what is to be read is not forgotten yet.
        self.current().await?;
        let (done, opened) = oneshot::channel();
        self.orders.send(Order { kind, done }).map_err(|_| over())?;
        opened.await.map_err(|_| over())?
    }

    /// Forgets a resource; its watches end.
    pub(crate) fn remove(&self, prefix: &str) {
        let old = self.by_prefix.write().remove(prefix);
        old.inspect(|old| old.close());
    }

    /// Takes over a commit: first reads see it, then watchers are told.
    fn apply(&self, batch: &Batch) {
        let mut by_cache: Vec<(Arc<ResourceCache>, Vec<&Event>)> = Vec::new();
        for event in batch.events.iter() {
            let Some(cache) = self.of_key(&event.entry.key) else { continue };
            match by_cache.iter_mut().find(|(c, _)| Arc::ptr_eq(c, &cache)) {
                Some((_, events)) => events.push(event),
                None => by_cache.push((cache, vec![event])),
            }
        }
        let take = |(cache, events): (Arc<ResourceCache>, Vec<&Event>)| {
            let changes = cache.apply(events.into_iter(), batch.revision);
            (cache, changes)
        };
        let offers: Vec<_> = by_cache.into_iter().map(take).collect();
        self.publish(batch.revision);
        for (cache, changes) in &offers {
            changes.iter().for_each(|change| cache.offer(change));
        }
        self.offered.store(batch.revision.0, Ordering::Release);
    }

    fn publish(&self, revision: Revision) {
        self.revision.send_replace(revision);
    }

    /// A watcher that has nothing left to take has seen every change up to here, if it asks for this first.
    pub(crate) fn offered(&self) -> Revision {
        Revision(self.offered.load(Ordering::Acquire))
    }

    /// Ends every watch; nothing can be watched any more.
    pub(crate) fn close(&self) {
        self.by_prefix.read().values().for_each(|cache| cache.close());
    }

    fn of_key(&self, key: &str) -> Option<Arc<ResourceCache>> {
        of_key(&self.by_prefix.read(), key)
    }

    pub(crate) fn of(&self, kind: &Kind) -> Option<Arc<ResourceCache>> {
        self.by_prefix.read().get(&*kind.prefix).cloned()
    }

    pub(crate) fn revision(&self) -> Revision {
        *self.revision.borrow()
    }

    /// Waits until everything that was committed before the call is in the caches; returns their revision.
    pub(crate) async fn current(&self) -> ironclad_store::Result<Revision> {
        let newest = self.store.revision().await?;
        Ok(self.reach(newest).await)
    }

    /// Waits until a revision is there, which may not have been made yet.
    pub(crate) async fn wait_for(&self, revision: Revision) {
        // The sender lives as long as `self`.
        drop(self.revision.subscribe().wait_for(|r| *r >= revision).await);
    }

    /// Waits until the caches show `revision`.
    pub(crate) async fn reach(&self, revision: Revision) -> Revision {
        let mut receiver = self.revision.subscribe();
        let mut patience = PROGRESS;
        loop {
            let waiting = tokio::time::timeout(patience, receiver.wait_for(|r| *r >= revision)).await;
            // The sender lives as long as `self`.
            match waiting.map(|reached| reached.map_or(revision, |r| *r)) {
                Ok(reached) => return reached,
                // The revision may be somebody else's, of which no change tells.
                Err(_) => self.store.request_progress().await,
            }
            patience = PROGRESS * 5;
        }
    }

    /// Whether the caches still follow the store.
    pub(crate) fn is_following(&self) -> bool {
        self.following.load(Ordering::Acquire)
    }

    /// The object of an entry of the store.
    pub(crate) fn decoded(&self, key: &str, bytes: &[u8]) -> ironclad_json::Value {
        self.written.find(key, bytes).unwrap_or_else(|| crate::encode::decode(bytes))
    }

    /// How many objects there are of each resource.
    pub(crate) fn counts(&self) -> Vec<(GroupResource, usize)> {
        self.by_prefix.read().values().map(|c| (c.kind.group_resource(), c.len())).collect()
    }

    /// Group and resource of the keys with a prefix.
    pub(crate) fn name_of(&self, prefix: &str) -> Option<(String, String)> {
        let cache = self.by_prefix.read().get(prefix).cloned()?;
        Some((cache.kind.storage_group.to_string(), cache.kind.plural.to_string()))
    }
}

/// The cache of a key: prefixes have two or three parts.
fn of_key(by_prefix: &HashMap<Arc<str>, Arc<ResourceCache>>, key: &str) -> Option<Arc<ResourceCache>> {
    let mut slashes = key.match_indices('/').map(|(i, _)| i).skip(2);
    let two = slashes.next()?;
    let three = slashes.next();
    by_prefix.get(&key[..=two]).or_else(|| by_prefix.get(&key[..=three?])).cloned()
}
