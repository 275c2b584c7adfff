//! Shared informers: a cache of one kind that a watch keeps current, and handlers that see every change in order.
//!
//! Invariants: one watch per kind, filter and process; the cache is updated before handlers run; handlers run one
//! after the other on the informer's task, so they must be quick and must not block (put a key into a work queue).

mod cache;
mod raw;

use cache::Cache;
use futures::{Stream, StreamExt};
use kube::api::{Api, ApiResource, DynamicObject, PartialObjectMeta};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource};
use parking_lot::{Mutex, RwLock};
use raw::Raw;
use serde::de::DeserializeOwned;
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Namespace and name; the namespace is empty for cluster-scoped kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ObjectKey {
    /// `name` in `namespace`.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The key of an object.
    pub fn of<K: Resource>(object: &K) -> Self {
        let meta = object.meta();
        Self { namespace: meta.namespace.clone().unwrap_or_default(), name: meta.name.clone().unwrap_or_default() }
    }
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

/// What happened to an object.
#[derive(Clone, Debug)]
pub enum Change<K> {
    /// It is new, or was there when the handler was added.
    Added(Arc<K>),
    /// It changed.
    Modified {
        /// The state before.
        old: Arc<K>,
        /// The state now.
        new: Arc<K>,
    },
    /// It is gone; the last state that was seen.
    Deleted(Arc<K>),
}

impl<K> Change<K> {
    /// The newest state.
    pub fn object(&self) -> &Arc<K> {
        match self {
            Self::Added(o) | Self::Modified { new: o, .. } | Self::Deleted(o) => o,
        }
    }
}

type Handler<K> = Box<dyn Fn(&Change<K>) + Send + Sync>;

/// A cache of one kind.
pub struct Informer<K> {
    cache: RwLock<Cache<K>>,
    /// Held while a change is applied and handed out, so that a new handler misses nothing and sees nothing twice.
    handlers: Mutex<Vec<Handler<K>>>,
    synced: watch::Sender<bool>,
}

impl<K: Resource + Send + Sync + 'static> Informer<K> {
    /// An informer that nothing feeds yet; see [`Informer::follow`].
    fn new() -> Arc<Self> {
        Arc::new(Self {
            cache: RwLock::new(Cache::default()),
            handlers: Mutex::default(),
            synced: watch::Sender::new(false),
        })
    }

    /// The object with this namespace and name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.cache.read().get(&ObjectKey::new(namespace, name))
    }

    /// The object with this key.
    pub fn get_key(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.cache.read().get(key)
    }

    /// All objects, ordered by namespace and name.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.cache.read().list()
    }

    /// The objects of a namespace, ordered by name.
    pub fn list_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.cache.read().list_namespace(namespace)
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.cache.read().len()
    }

    /// Whether there are no objects.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps an index: `keys` gives the values under which an object is found. Added once per name.
    pub fn add_index(&self, name: &'static str, keys: impl Fn(&K) -> Vec<String> + Send + Sync + 'static) {
        self.cache.write().add_index(name, Box::new(keys));
    }

    /// The objects found under `value` of the index `name`.
    pub fn by_index(&self, name: &'static str, value: &str) -> Vec<Arc<K>> {
        self.cache.read().by_index(name, value)
    }

    /// Calls `handler` for every object that is there, as added, and then for every change.
    pub fn on_change(&self, handler: impl Fn(&Change<K>) + Send + Sync + 'static) {
        let mut handlers = self.handlers.lock();
        let existing = self.cache.read().list();
        for object in existing {
            handler(&Change::Added(object));
        }
        handlers.push(Box::new(handler));
    }

    /// Waits until everything that existed at the start is in the cache.
    pub async fn synced(&self) {
        let mut receiver = self.synced.subscribe();
        // The sender lives in `self`, so the only way out is the value.
        let _ = receiver.wait_for(|synced| *synced).await;
    }

    /// Whether everything that existed at the start is in the cache.
    pub fn has_synced(&self) -> bool {
        *self.synced.borrow()
    }

    fn apply(&self, object: K, strip: fn(&mut K)) {
        let mut object = object;
        strip(&mut object);
        let handlers = self.handlers.lock();
        let change = self.cache.write().put(Arc::new(object));
        if let Some(change) = change {
            handlers.iter().for_each(|h| h(&change));
        }
    }

    fn remove(&self, key: &ObjectKey) {
        let handlers = self.handlers.lock();
        let removed = self.cache.write().remove(key);
        if let Some(object) = removed {
            let change = Change::Deleted(object);
            handlers.iter().for_each(|h| h(&change));
        }
    }

    /// Feeds the cache from a watch until `token` is cancelled.
    async fn follow<S>(self: Arc<Self>, stream: S, token: CancellationToken)
    where
        S: Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send,
    {
        let strip: fn(&mut K) = |o| o.meta_mut().managed_fields = None;
        let mut stream = std::pin::pin!(stream);
        let mut seen = std::collections::HashSet::new();
        loop {
            let event = tokio::select! {
                () = token.cancelled() => return,
                event = stream.next() => event,
            };
            match event {
                Some(Ok(watcher::Event::Init)) => seen.clear(),
                Some(Ok(watcher::Event::InitApply(object))) => {
                    seen.insert(ObjectKey::of(&object));
                    self.apply(object, strip);
                }
                Some(Ok(watcher::Event::InitDone)) => {
                    let gone = self.cache.read().keys_except(&seen);
                    gone.iter().for_each(|key| self.remove(key));
                    seen = std::collections::HashSet::new();
                    self.synced.send_replace(true);
                }
                Some(Ok(watcher::Event::Apply(object))) => self.apply(object, strip),
                Some(Ok(watcher::Event::Delete(object))) => self.remove(&ObjectKey::of(&object)),
                Some(Err(error)) => tracing::debug!(%error, kind = std::any::type_name::<K>(), "watch interrupted"),
                None => return,
            }
        }
    }
}

/// Which objects of a kind are watched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Filter {
    /// Their namespace; all when empty.
    pub namespace: String,
    /// A label selector.
    pub labels: String,
    /// A field selector.
    pub fields: String,
}

/// An informer, and what ends its watch.
type Shared = (Arc<dyn Any + Send + Sync>, CancellationToken);

/// Makes informers and shares them. Cheap to clone.
#[derive(Clone)]
pub struct Informers {
    client: Client,
    token: CancellationToken,
    shared: Arc<Mutex<HashMap<(TypeId, String, Filter), Shared>>>,
}

impl Informers {
    /// A factory whose watches end when `token` is cancelled.
    pub fn new(client: Client, token: CancellationToken) -> Self {
        Self { client, token, shared: Arc::default() }
    }

    /// The client of the watches.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The informer of all objects of a kind; started when it is first asked for. Must be called in a tokio runtime.
    pub fn get<K>(&self) -> Arc<Informer<K>>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        self.filtered(Filter::default())
    }

    /// The informer of the objects of a kind that a filter selects.
    pub fn filtered<K>(&self, filter: Filter) -> Arc<Informer<K>>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let config = watch_config(&filter);
        let (client, kind) = (self.client.clone(), ApiResource::erase::<K>(&()));
        let api: Api<Raw> = match filter.namespace.as_str() {
            "" => Api::all_with(client, &kind),
            namespace => Api::namespaced_with(client, namespace, &kind),
        };
        let events = move || watcher(api, config).default_backoff().map(|event| event.and_then(raw::typed));
        self.share::<K, _>(K::url_path(&(), None), filter, events)
    }

    /// The informer of the metadata of all objects of a kind that is known only at run time.
    pub fn metadata(&self, resource: &ApiResource) -> Arc<Informer<PartialObjectMeta<DynamicObject>>> {
        let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(self.client.clone(), resource);
        let kind = format!("{}/{}", resource.api_version, resource.plural);
        self.share(kind, Filter::default(), move || watcher(api, watcher::Config::default()).default_backoff())
    }

    /// Forgets the metadata informer of a kind that is gone, and ends its watch.
    pub fn forget_metadata(&self, resource: &ApiResource) {
        let kind = format!("{}/{}", resource.api_version, resource.plural);
        let key = (TypeId::of::<PartialObjectMeta<DynamicObject>>(), kind, Filter::default());
        if let Some((_, token)) = self.shared.lock().remove(&key) {
            token.cancel();
        }
    }

    fn share<K, S>(&self, kind: String, filter: Filter, start: impl FnOnce() -> S) -> Arc<Informer<K>>
    where
        K: Resource + Send + Sync + 'static,
        S: Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send + 'static,
    {
        let mut shared = self.shared.lock();
        let key = (TypeId::of::<K>(), kind, filter);
        if let Some((found, _)) = shared.get(&key) {
            let informer = Arc::clone(found).downcast::<Informer<K>>();
            return informer.unwrap_or_else(|_| unreachable!("the key holds the type"));
        }
        let informer = Informer::new();
        let token = self.token.child_token();
        shared.insert(key, (informer.clone() as Arc<dyn Any + Send + Sync>, token.clone()));
        tokio::spawn(informer.clone().follow(start(), token));
        informer
    }
}

fn watch_config(filter: &Filter) -> watcher::Config {
    let mut config = watcher::Config::default();
    if !filter.labels.is_empty() {
        config = config.labels(&filter.labels);
    }
    if !filter.fields.is_empty() {
        config = config.fields(&filter.fields);
    }
    config
}
