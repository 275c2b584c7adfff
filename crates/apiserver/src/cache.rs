//! The watch cache: for each resource its current objects as shared bytes with what selection needs, and the recent
//! changes for watches.
//!
//! One task follows the store and hands each change to the cache of its resource, so that there is one revision up to
//! which all caches are current.

use crate::encode;
use bytes::Bytes;
use ironclad_api::GroupResource;
use ironclad_kinds::Kind;
use ironclad_schema::proto::{self, MessageId};
use ironclad_store::{Batch, Entry, Event, RangeQuery, Revision, Store, Watch};
use parking_lot::{Mutex, RwLock};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// Changes that one resource remembers.
const HISTORY: usize = 8192;
/// Changes that a watcher may be behind.
const BEHIND: usize = 4096;
/// How long a revision may take to come by itself before the store is asked for a sign.
const PROGRESS: Duration = Duration::from_millis(20);
/// When a store that is away is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// An object as the cache holds it.
#[derive(Debug)]
pub(crate) struct Cached {
    pub(crate) key: Arc<str>,
    pub(crate) bytes: Bytes,
    pub(crate) revision: Revision,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) labels: Vec<(String, String)>,
    /// The values of the kind's selectable fields, in the order of its row.
    fields: Vec<String>,
    /// The object as a protobuf message, made when somebody first asks for it.
    message: OnceLock<Result<Bytes, String>>,
}

impl Cached {
    pub(crate) fn of(kind: &Kind, entry: &Entry) -> Self {
        let object = encode::decode(entry.value.bytes());
        let meta = &object["metadata"];
        let labels = meta["labels"].as_object().into_iter().flatten();
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        Self {
            key: entry.key.clone(),
            bytes: entry.value.bytes().clone(),
            revision: entry.modified,
            namespace: text(&meta["namespace"]),
            name: text(&meta["name"]),
            labels: labels.map(|(k, v)| (k.clone(), text(v))).collect(),
            fields: kind.selectable.iter().map(|f| kind.strategy.field(&object, f).into_owned()).collect(),
            message: OnceLock::new(),
        }
    }

    /// The object as a protobuf message of its kind, without an envelope.
    pub(crate) fn message(&self, id: MessageId) -> Result<Bytes, String> {
        self.message.get_or_init(|| proto::encode_message(id, &self.value()).map(Bytes::from)).clone()
    }

    /// Whether [`Self::message`] costs nothing.
    pub(crate) fn has_message(&self) -> bool {
        self.message.get().is_some()
    }

    pub(crate) fn field(&self, kind: &Kind, field: &str) -> Option<&str> {
        match field {
            "metadata.name" => Some(&self.name),
            "metadata.namespace" => Some(&self.namespace),
            _ => kind.selectable.iter().position(|f| f == field).and_then(|i| self.fields.get(i)).map(String::as_str),
        }
    }

    pub(crate) fn value(&self) -> Value {
        encode::decode(&self.bytes)
    }
}

/// A change to an object.
#[derive(Debug)]
pub(crate) struct Changed {
    pub(crate) revision: Revision,
    pub(crate) object: Arc<Cached>,
    pub(crate) deleted: bool,
    pub(crate) previous: Option<Arc<Cached>>,
}

/// The objects of one resource.
pub(crate) struct ResourceCache {
    kind: Arc<Kind>,
    objects: RwLock<BTreeMap<Arc<str>, Arc<Cached>>>,
    recent: Mutex<Recent>,
    bytes: AtomicUsize,
}

struct Recent {
    changes: VecDeque<Arc<Changed>>,
    /// Changes behind this revision are complete.
    since: Revision,
    /// There only while somebody watches: what it takes is much for a resource that nobody uses.
    watchers: Option<broadcast::Sender<Arc<Changed>>>,
    /// Another cache has taken its place, or its resource is gone.
    closed: bool,
}

impl Recent {
    fn subscribe(&mut self) -> broadcast::Receiver<Arc<Changed>> {
        match self.closed {
            true => broadcast::channel(1).1,
            false => self.watchers.get_or_insert_with(|| broadcast::channel(BEHIND).0).subscribe(),
        }
    }
}

impl ResourceCache {
    fn new(kind: Arc<Kind>) -> Self {
        let recent = Recent { changes: VecDeque::new(), since: Revision(0), watchers: None, closed: false };
        Self { kind, objects: RwLock::default(), recent: Mutex::new(recent), bytes: AtomicUsize::new(0) }
    }

    /// Ends every watch.
    fn close(&self) {
        let mut recent = self.recent.lock();
        recent.closed = true;
        recent.watchers = None;
    }

    pub(crate) fn get(&self, key: &str) -> Option<Arc<Cached>> {
        self.objects.read().get(key).cloned()
    }

    /// The objects whose keys begin with `prefix`, behind `after`.
    pub(crate) fn list(&self, prefix: &str, after: Option<&str>) -> Vec<Arc<Cached>> {
        let objects = self.objects.read();
        let first = match after {
            Some(key) => Bound::Excluded(Arc::from(key)),
            None => Bound::Included(Arc::from(prefix)),
        };
        let range = objects.range::<Arc<str>, _>((first, Bound::Unbounded));
        range.take_while(|(k, _)| k.starts_with(prefix)).map(|(_, v)| v.clone()).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.objects.read().len()
    }

    /// How many objects there are, and their bytes.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.len(), self.bytes.load(Ordering::Relaxed))
    }

    fn load(&self, entry: &Entry) {
        self.bytes.fetch_add(entry.value.bytes().len(), Ordering::Relaxed);
        self.objects.write().insert(entry.key.clone(), Arc::new(Cached::of(&self.kind, entry)));
    }

    fn apply(&self, event: &Event, revision: Revision) {
        let object = Arc::new(Cached::of(&self.kind, &event.entry));
        let mut objects = self.objects.write();
        let previous = match event.deleted {
            true => objects.remove(&event.entry.key),
            false => objects.insert(event.entry.key.clone(), object.clone()),
        };
        let came = if event.deleted { 0 } else { object.bytes.len() };
        let went = previous.as_ref().map_or(0, |p| p.bytes.len());
        // One task applies all changes.
        self.bytes.store(self.bytes.load(Ordering::Relaxed) + came - went, Ordering::Relaxed);
        let change = Arc::new(Changed { revision, object, deleted: event.deleted, previous });
        // Under the lock of the objects, so that a snapshot and a subscription fit together.
        let mut recent = self.recent.lock();
        recent.changes.push_back(change.clone());
        if recent.changes.len() > HISTORY
            && let Some(oldest) = recent.changes.pop_front()
        {
            recent.since = oldest.revision;
        }
        // An error says that nobody watches any more.
        recent.watchers = recent.watchers.take().filter(|w| w.send(change).is_ok());
    }

    /// Every change behind `after`: what is remembered, then what comes. `Err` with the oldest possible revision.
    pub(crate) fn watch(
        &self,
        after: Revision,
    ) -> Result<(Vec<Arc<Changed>>, broadcast::Receiver<Arc<Changed>>), Revision> {
        let mut recent = self.recent.lock();
        if after < recent.since {
            return Err(recent.since);
        }
        let missed = recent.changes.iter().filter(|c| c.revision > after).cloned().collect();
        Ok((missed, recent.subscribe()))
    }

    /// All objects, and the changes that follow exactly behind them.
    pub(crate) fn snapshot(&self) -> (Vec<Arc<Cached>>, broadcast::Receiver<Arc<Changed>>) {
        let objects = self.objects.read();
        let mut recent = self.recent.lock();
        (objects.values().cloned().collect(), recent.subscribe())
    }
}

/// The caches of all resources.
pub(crate) struct Caches {
    by_prefix: RwLock<HashMap<Arc<str>, Arc<ResourceCache>>>,
    revision: watch::Sender<Revision>,
    store: Arc<dyn Store>,
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
            by_prefix.entry(Arc::from(&*kind.prefix)).or_insert_with(|| Arc::new(ResourceCache::new(kind.clone())));
        }
        let (orders, mut ordered) = mpsc::unbounded_channel();
        let (by_prefix, following) = (RwLock::new(by_prefix), true.into());
        let caches = Arc::new(Self { by_prefix, revision: watch::Sender::new(Revision(0)), store, following, orders });
        let revision = caches.load().await?;
        let following = caches.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = token.cancelled() => {}
                error = following.follow(revision, &mut ordered) => {
                    following.following.store(false, std::sync::atomic::Ordering::Release);
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
            cache.recent.lock().since = page.revision;
        }
        self.revision.send_replace(page.revision);
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
                        Err(Error::Unavailable(_)) => after,
                        Err(error) => return error,
                    }
                }
                Error::Unavailable(why) => {
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
            (prefix.clone(), Arc::new(ResourceCache::new(cache.kind.clone())))
        };
        let fresh: HashMap<Arc<str>, Arc<ResourceCache>> = old.iter().map(fresh).collect();
        for entry in &page.entries {
            if let Some(cache) = of_key(&fresh, &entry.key) {
                cache.load(entry);
            }
        }
        for cache in fresh.values() {
            cache.recent.lock().since = page.revision;
        }
        {
            let mut by_prefix = self.by_prefix.write();
            // A resource that went away meanwhile does not come back.
            by_prefix.iter_mut().for_each(|(prefix, cache)| cache.clone_from(&fresh[prefix]));
        }
        old.values().for_each(|cache| cache.close());
        self.revision.send_replace(page.revision);
        Ok(page.revision)
    }

    /// Opens a cache at the revision which all others show, in the place of one that may be there.
    async fn open(&self, kind: Arc<Kind>) -> ironclad_store::Result<()> {
        let at = self.revision();
        let query = RangeQuery { prefix: kind.prefix.to_string(), at: Some(at), ..RangeQuery::default() };
        let page = self.store.range(&query).await?;
        let prefix = Arc::from(&*kind.prefix);
        let cache = Arc::new(ResourceCache::new(kind));
        page.entries.iter().for_each(|entry| cache.load(entry));
        cache.recent.lock().since = at;
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

    fn apply(&self, batch: &Batch) {
        for event in batch.events.iter() {
            if let Some(cache) = self.of_key(&event.entry.key) {
                cache.apply(event, batch.revision);
            }
        }
        self.revision.send_replace(batch.revision);
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
        self.following.load(std::sync::atomic::Ordering::Acquire)
    }

    /// How many objects there are of each resource.
    pub(crate) fn counts(&self) -> Vec<(GroupResource, usize)> {
        self.by_prefix.read().values().map(|c| (c.kind.group_resource(), c.len())).collect()
    }
}

/// The cache of a key: prefixes have two or three parts.
fn of_key(by_prefix: &HashMap<Arc<str>, Arc<ResourceCache>>, key: &str) -> Option<Arc<ResourceCache>> {
    let mut slashes = key.match_indices('/').map(|(i, _)| i).skip(2);
    let two = slashes.next()?;
    let three = slashes.next();
    by_prefix.get(&key[..=two]).or_else(|| by_prefix.get(&key[..=three?])).cloned()
}
