//! Revisioned storage: keys, values, one growing revision, compare-and-commit, watch from a revision.
//!
//! Invariants: a commit that was acknowledged is durable; every watch is gap-free and in revision order; a value is
//! encoded once by its writer and shared as one [`bytes::Bytes`] by every reader ("bytes once").

mod engine;
mod etcd;
mod transform;
mod value;

pub use engine::{LogStore, Options};
pub use etcd::{Codec, EtcdOptions, EtcdStore, Tls};
pub use transform::{Opened, Transform};
pub use value::{Revision, Template, Value};

use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;

/// A key such as `/registry/pods/default/web`.
pub type Key = Arc<str>;

/// What is stored under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// The value with its revision spliced in.
    pub value: Value,
    /// The revision at which the value was written.
    pub modified: Revision,
    /// The revision at which the key came to be.
    pub created: Revision,
}

/// What must hold for a key when a commit is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The key may have any value or none.
    Any,
    /// The key must not exist.
    Absent,
    /// The key must exist and have been written at this revision.
    Modified(Revision),
}

/// What a commit does to a key.
#[derive(Clone, Debug)]
pub enum Change {
    /// Store a value; with a `ttl` it goes away by itself.
    Put {
        /// The value without its revision.
        value: Template,
        /// Time to live, counted from the commit.
        ttl: Option<Duration>,
    },
    /// Remove the key. Watchers see `last` with the revision of the removal, or the stored value if there is none.
    Delete {
        /// The final state.
        last: Option<Template>,
    },
    /// Only check the expectation.
    Check,
}

/// One part of a commit.
#[derive(Clone, Debug)]
pub struct Op {
    /// The key.
    pub key: Key,
    /// What must hold.
    pub expect: Expect,
    /// What is done.
    pub change: Change,
}

/// What a commit did.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The revision of the commit; all its changes carry it.
    pub revision: Revision,
    /// For each operation in order: the entry that was written, or that was removed (with the final state).
    pub entries: Vec<Option<Entry>>,
}

/// A question for a range of keys.
#[derive(Clone, Debug, Default)]
pub struct RangeQuery {
    /// Every key begins with this.
    pub prefix: String,
    /// Only keys behind this one.
    pub start_after: Option<Key>,
    /// At most so many; 0 for all.
    pub limit: usize,
    /// The state at this revision rather than now.
    pub at: Option<Revision>,
}

/// An answer to a [`RangeQuery`], in key order.
#[derive(Clone, Debug)]
pub struct Page {
    /// The entries.
    pub entries: Vec<Entry>,
    /// The revision that the page shows.
    pub revision: Revision,
    /// How many keys follow behind the last entry; 0 at the end.
    pub remaining: usize,
}

/// One change that a watcher sees.
#[derive(Clone, Debug)]
pub struct Event {
    /// The entry that was written; for a removal the final state at the revision of the removal.
    pub entry: Entry,
    /// Whether the key was removed.
    pub deleted: bool,
    /// What was stored before; `None` for a new key.
    pub previous: Option<Entry>,
}

/// All changes of one commit that concern a watcher.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The revision of the commit.
    pub revision: Revision,
    /// The changes. None of them concerns the watcher when a store only tells up to where the watcher is current.
    pub events: Arc<[Event]>,
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An expectation did not hold; nothing was changed.
    #[error("the value of {key:?} is not the expected one")]
    Conflict {
        /// The key.
        key: Key,
        /// What is stored there now.
        current: Option<Box<Entry>>,
    },
    /// The revision is older than the history that is kept.
    #[error("the required revision {requested} has been compacted; the oldest is {oldest}")]
    Compacted {
        /// The revision that was asked for.
        requested: Revision,
        /// The oldest that can be asked for.
        oldest: Revision,
    },
    /// The revision does not exist yet.
    #[error("the required revision {requested} is in the future; the newest is {newest}")]
    Future {
        /// The revision that was asked for.
        requested: Revision,
        /// The newest.
        newest: Revision,
    },
    /// A watcher fell so far behind that its events were dropped; it must list again.
    #[error("the watcher fell behind at revision {0}")]
    Lagged(Revision),
    /// Two stores want the same directory.
    #[error("the data directory {0} is in use by another process")]
    Locked(String),
    /// The files are of a newer format.
    #[error("{path} has format version {found}, this program reads up to {supported}; use a newer ironclad")]
    Format {
        /// The file.
        path: String,
        /// Its version.
        found: u32,
        /// The newest that is understood.
        supported: u32,
    },
    /// The files are damaged where they must not be.
    #[error("{path} is damaged at offset {offset}: {why}")]
    Corrupt {
        /// The file.
        path: String,
        /// Where.
        offset: u64,
        /// What does not fit.
        why: String,
    },
    /// Values were sealed with a key that is not configured.
    #[error("{path} is sealed with keys that are not at hand: {why}")]
    Sealed {
        /// The file.
        path: String,
        /// Which value, and why.
        why: String,
    },
    /// The disk or the network failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// There is no room for more; what is stored stays, and commits are taken again when there is room.
    #[error("there is no space left: {0}")]
    Full(String),
    /// No member of the store's cluster answers. A commit may have been carried out or not.
    #[error("etcd does not answer: {0}")]
    Unavailable(String),
    /// The store's cluster refuses the call.
    #[error("etcd refuses: {0}")]
    Refused(String),
    /// A stored value cannot be read, or one cannot be written.
    #[error("the value of {key:?} cannot be coded: {why}")]
    Value {
        /// The key.
        key: Key,
        /// Why.
        why: String,
    },
    /// The store was closed or its writer failed; nothing more is accepted.
    #[error("the store is closed: {0}")]
    Closed(String),
}

/// A result whose error is a store [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// A gap-free stream of batches, oldest first.
#[async_trait]
pub trait Watch: Send {
    /// The next batch; waits until there is one. After an error the watch is over.
    async fn next(&mut self) -> Result<Batch>;
}

/// Storage with one revision that grows with every commit.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The entry of a key, now or at a revision.
    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Entry>>;

    /// The entries of a range of keys.
    async fn range(&self, query: &RangeQuery) -> Result<Page>;

    /// How many keys begin with `prefix` now.
    async fn count(&self, prefix: &str) -> Result<usize>;

    /// Applies all operations at one revision, or none; returns when they are durable.
    async fn commit(&self, ops: Vec<Op>) -> Result<Committed>;

    /// Every change behind `after` to keys that begin with `prefix`.
    async fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watch>>;

    /// The newest revision whose commit is visible.
    async fn revision(&self) -> Result<Revision>;

    /// Whether other servers may use the same storage.
    fn is_shared(&self) -> bool {
        false
    }

    /// Makes sure that the store answers.
    async fn ping(&self) -> Result<()> {
        Ok(())
    }

    /// Asks all watches to say up to where they are current, in case nothing comes by itself.
    async fn request_progress(&self) {}

    /// Forgets the history before `revision`; reads and watches from before it fail with [`Error::Compacted`].
    async fn compact(&self, revision: Revision) -> Result<()>;

    /// Writes again what the transformation would seal otherwise now; for after a change of its keys.
    async fn reseal(&self) -> Result<()> {
        Ok(())
    }

    /// Bytes on disk.
    async fn size(&self) -> Result<u64>;
}
