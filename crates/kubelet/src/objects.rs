//! The ConfigMaps and Secrets that pods of this node refer to, each kept current by a watch of its own.
//!
//! Invariant: an object is watched once however many pods use it, and no longer than one does; the node may read no
//! other (it is only allowed what its pods refer to).

use crate::signers::Signers;
use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::Api;
use kube::runtime::utils::Backoff;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

/// The first wait after a failure.
const FIRST: Duration = Duration::from_millis(5);

/// What is known of an object.
#[derive(Clone, Debug)]
pub(crate) enum Known<K> {
    /// Nothing yet.
    Unknown,
    /// It does not exist.
    Absent,
    Here(Arc<K>),
    /// It cannot be read.
    Failed(String),
}

/// One watched object.
pub(crate) struct Entry<K> {
    value: watch::Sender<Known<K>>,
    /// Who is woken by a change.
    wakes: Mutex<Vec<Weak<Notify>>>,
    task: Mutex<Option<AbortHandle>>,
}

impl<K> Drop for Entry<K> {
    fn drop(&mut self) {
        if let Some(task) = self.task.lock().take() {
            task.abort();
        }
    }
}

impl<K> Entry<K> {
    /// The object, once it is known whether there is one; the error says why it cannot be read.
    pub(crate) async fn get(&self) -> Result<Option<Arc<K>>, String> {
        let mut values = self.value.subscribe();
        // The sender lives in `self`, so the only way out is the value.
        let known = values.wait_for(|k| !matches!(k, Known::Unknown)).await;
        match known.as_deref() {
            Ok(Known::Here(object)) => Ok(Some(object.clone())),
            Ok(Known::Failed(why)) => Err(why.clone()),
            _ => Ok(None),
        }
    }

    fn put(&self, known: Known<K>) {
        self.value.send_replace(known);
        let mut wakes = self.wakes.lock();
        wakes.retain(|w| match w.upgrade() {
            Some(wake) => {
                wake.notify_one();
                true
            }
            None => false,
        });
    }
}

type Key = (String, String);
type Shared<K> = Mutex<HashMap<Key, Weak<Entry<K>>>>;

/// The objects of one node.
pub(crate) struct Objects {
    client: Client,
    config_maps: Shared<ConfigMap>,
    secrets: Shared<Secret>,
    /// What signers have for the node.
    pub(crate) signers: Arc<Signers>,
}

/// What a pod uses: keeps it watched.
#[derive(Default)]
pub(crate) struct Used {
    pub(crate) config_maps: HashMap<String, Arc<Entry<ConfigMap>>>,
    pub(crate) secrets: HashMap<String, Arc<Entry<Secret>>>,
}

impl Objects {
    pub(crate) fn new(client: Client, signers: Arc<Signers>) -> Arc<Self> {
        Arc::new(Self { client, config_maps: Mutex::default(), secrets: Mutex::default(), signers })
    }

    /// Watches what a pod refers to; `wake` is told of every change.
    pub(crate) fn follow(
        &self,
        namespace: &str,
        config_maps: impl IntoIterator<Item = String>,
        secrets: impl IntoIterator<Item = String>,
        wake: &Arc<Notify>,
    ) -> Used {
        let client = &self.client;
        let one = |name: String| (name.clone(), entry(&self.config_maps, client, namespace, &name, wake));
        let config_maps = config_maps.into_iter().map(one).collect();
        let one = |name: String| (name.clone(), entry(&self.secrets, client, namespace, &name, wake));
        Used { config_maps, secrets: secrets.into_iter().map(one).collect() }
    }
}

fn entry<K>(shared: &Shared<K>, client: &Client, namespace: &str, name: &str, wake: &Arc<Notify>) -> Arc<Entry<K>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let mut shared = shared.lock();
    let key = (namespace.to_owned(), name.to_owned());
    let found = shared.get(&key).and_then(Weak::upgrade);
    let entry = found.unwrap_or_else(|| {
        shared.retain(|_, e| e.strong_count() > 0);
        let entry = Arc::new(Entry {
            value: watch::Sender::new(Known::Unknown),
            wakes: Mutex::default(),
            task: Mutex::default(),
        });
        let task =
            tokio::spawn(keep(Arc::downgrade(&entry), Api::<K>::namespaced(client.clone(), namespace), key.1.clone()));
        *entry.task.lock() = Some(task.abort_handle());
        shared.insert(key, Arc::downgrade(&entry));
        entry
    });
    entry.wakes.lock().push(Arc::downgrade(wake));
    entry
}

/// The server learns of a new pod and of what its node may read in no order: the first attempts follow quickly. What
/// worked for a while begins anew.
struct Retry(Duration, Instant);

impl Iterator for Retry {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if self.1.elapsed() > Duration::from_mins(2) {
            self.0 = FIRST;
        }
        let now = self.0;
        *self = Self((now * 2).min(Duration::from_secs(30)), Instant::now());
        Some(now)
    }
}

impl Backoff for Retry {
    fn reset(&mut self) {}
}

async fn keep<K>(entry: Weak<Entry<K>>, api: Api<K>, name: String)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = std::pin::pin!(watcher(api, config).backoff(Retry(FIRST, Instant::now())));
    let (mut found, mut failures) = (false, 0);
    while let Some(event) = events.next().await {
        let Some(entry) = entry.upgrade() else { return };
        match event {
            Ok(watcher::Event::Init) => found = false,
            Ok(watcher::Event::InitApply(object) | watcher::Event::Apply(object)) => {
                (found, failures) = (true, 0);
                entry.put(Known::Here(Arc::new(object)));
            }
            Ok(watcher::Event::InitDone) if !found => entry.put(Known::Absent),
            Ok(watcher::Event::Delete(_)) => entry.put(Known::Absent),
            Ok(watcher::Event::InitDone) => {}
            Err(error) => {
                failures += 1;
                // What was seen before stays good while the server is away.
                let unknown = matches!(*entry.value.borrow(), Known::Unknown);
                if unknown && failures > 5 {
                    entry.put(Known::Failed(text(&error)));
                }
                tracing::debug!(%error, name, "the watch of an object was interrupted");
            }
        }
    }
}

/// What the server said, without how it was asked.
fn text(error: &watcher::Error) -> String {
    use watcher::Error::{InitialListFailed, WatchFailed, WatchStartFailed};
    match error {
        InitialListFailed(kube::Error::Api(status))
        | WatchStartFailed(kube::Error::Api(status))
        | WatchFailed(kube::Error::Api(status)) => status.message.clone(),
        other => other.to_string(),
    }
}
