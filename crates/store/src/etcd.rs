//! The store over etcd v3: the same promises as the embedded engine's, kept by a real etcd cluster.
//!
//! Invariants: revisions are etcd's own; values lie in etcd as its codec writes them, under the keys that stock servers
//! use; a watch goes on after a broken connection exactly behind the last batch that it handed out.

mod client;
mod commit;
mod compact;
mod keys;
mod lease;
mod read;
mod reseal;
mod watch;
mod wire;

pub use client::Tls;

use crate::{Committed, Entry, Error, Op, Page, RangeQuery, Result, Revision, Store, Template, Transform, Watch};
use async_trait::async_trait;
use client::{Again, Client};
use ironclad_remote::Way;
use keys::Keys;
use lease::Leases;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch as signal;

/// How long the first answer may take.
const FIRST: Duration = Duration::from_secs(20);

/// How objects are written in etcd.
pub trait Codec: Send + Sync + 'static {
    /// What is stored for a value.
    fn encode(&self, key: &str, value: &Template) -> std::result::Result<Vec<u8>, String>;
    /// The reverse; `None` for keys that hold no object, whatever wrote them.
    fn decode(&self, key: &str, stored: &[u8]) -> std::result::Result<Option<Template>, String>;
}

/// Where etcd is and how objects lie in it.
#[derive(Clone)]
pub struct EtcdOptions {
    /// The members, such as `https://192.0.2.1:2379`.
    pub servers: Vec<String>,
    /// Who they are and who asks, for `https`.
    pub tls: Tls,
    /// With what keys begin: here, and in etcd instead.
    pub prefix: (String, String),
    /// How objects are written.
    pub codec: Arc<dyn Codec>,
    /// How long a call may take: until then reads are tried again, and what was not sent waits for a member.
    pub patience: Duration,
    /// What is done to written objects before they are stored, in the form in which stock servers encrypt.
    pub transform: Option<Arc<dyn Transform>>,
    /// How the members are reached.
    pub way: Way,
}

/// What the store, its watches and its compactor share.
struct Inner {
    client: Client,
    keys: Keys,
    codec: Arc<dyn Codec>,
    transform: Option<Arc<dyn Transform>>,
    leases: Leases,
    /// Up to where history is known to be forgotten.
    compacted: AtomicU64,
    /// Changes when watches are to ask how far they are.
    progress: signal::Sender<()>,
}

/// A store over etcd.
#[derive(Clone)]
pub struct EtcdStore(Arc<Inner>);

impl EtcdStore {
    /// Connects; fails when no member answers.
    pub async fn open(options: EtcdOptions) -> Result<Self> {
        let (here, there) = options.prefix;
        let store = Self(Arc::new(Inner {
            client: Client::new(&options.servers, &options.tls, &options.way, options.patience)?,
            keys: Keys { here, there },
            codec: options.codec,
            transform: options.transform,
            leases: Leases::default(),
            compacted: AtomicU64::new(0),
            progress: signal::Sender::new(()),
        }));
        store.0.newest_within(FIRST.min(options.patience)).await?;
        Ok(store)
    }
}

impl Inner {
    fn forgotten(&self) -> Revision {
        Revision(self.compacted.load(Ordering::Relaxed))
    }

    fn forget(&self, revision: Revision) {
        self.compacted.fetch_max(revision.0, Ordering::Relaxed);
    }

    /// The bytes that are stored for a value.
    fn seal(&self, key: &str, value: &Template) -> Result<Vec<u8>> {
        let bad = |why| Error::Value { key: key.into(), why };
        let plain = self.codec.encode(key, value).map_err(bad)?;
        match &self.transform {
            Some(transform) if transform.seals(key) => {
                transform.ready(key).and_then(|()| transform.seal(key, &plain)).map_err(bad)
            }
            _ => Ok(plain),
        }
    }

    /// The value of stored bytes.
    fn unseal(&self, key: &str, stored: &[u8]) -> Result<Option<Template>> {
        let bad = |why| Error::Value { key: key.into(), why };
        match &self.transform {
            Some(transform) => {
                let opened = transform.open(key, stored).map_err(bad)?;
                self.codec.decode(key, &opened.plain).map_err(bad)
            }
            None => self.codec.decode(key, stored).map_err(bad),
        }
    }

    fn entry(&self, kv: &wire::KeyValue) -> Result<Option<Entry>> {
        let Some(key) = self.keys.of_etcd(&kv.key) else { return Ok(None) };
        let Some(template) = self.unseal(&key, &kv.value)? else { return Ok(None) };
        let modified = revision(kv.mod_revision);
        Ok(Some(Entry { value: template.render(modified), key, modified, created: revision(kv.create_revision) }))
    }
}

/// etcd's signed number as a revision.
fn revision(number: i64) -> Revision {
    Revision(number.max(0) as u64)
}

fn header(header: Option<&wire::Header>) -> Revision {
    revision(header.map_or(0, |h| h.revision))
}

#[async_trait]
impl Store for EtcdStore {
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
        self.0.commit(ops).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watch>> {
        Ok(Box::new(watch::Watcher::start(self.0.clone(), prefix, after).await?))
    }

    async fn revision(&self) -> Result<Revision> {
        self.0.newest().await
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn ping(&self) -> Result<()> {
        self.0.newest().await.map(drop)
    }

    async fn request_progress(&self) {
        self.0.progress.send_replace(());
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        self.0.compact(revision).await
    }

    async fn reseal(&self) -> Result<()> {
        self.0.reseal().await
    }

    async fn size(&self) -> Result<u64> {
        let path = "/etcdserverpb.Maintenance/Status";
        let status: wire::StatusResponse = self.0.client.call(path, wire::StatusRequest {}, Again::Yes).await?;
        Ok(status.db_size.max(0) as u64)
    }
}
