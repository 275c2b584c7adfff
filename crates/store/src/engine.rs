//! The embedded engine: every object in memory, every commit in an append-only log (see FORMAT.md).
//!
//! Invariants: one thread writes; a commit is visible and acknowledged only after its frame is on disk; what readers
//! see is always a prefix of the log; when the disk fails nothing more is accepted; when it is full nothing is changed,
//! and commits are taken again when there is room.

mod files;
mod frame;
mod memory;
mod recover;
mod snapshot;
mod watch;
mod window;
mod writer;

use crate::{Batch, Change, Committed, Entry, Error, Op, Page, RangeQuery, Result, Revision, Store, Transform, Watch};
use async_trait::async_trait;
use memory::Memory;
use parking_lot::RwLock;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Limits of the engine.
#[derive(Clone)]
pub struct Options {
    /// Bytes of one log file, allocated at once.
    pub segment_bytes: u64,
    /// Bytes of log behind the last snapshot that lead to the next one.
    pub snapshot_bytes: u64,
    /// How many commits can be watched from and read at.
    pub history_commits: usize,
    /// How many bytes of values the history may hold.
    pub history_bytes: usize,
    /// How many batches a watcher may be behind.
    pub watch_buffer: usize,
    /// What is done to values on their way to the disk.
    pub transform: Option<Arc<dyn Transform>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            snapshot_bytes: 64 << 20,
            history_commits: 100_000,
            history_bytes: 64 << 20,
            watch_buffer: 4096,
            transform: None,
        }
    }
}

/// A commit on its way to the writer.
struct Request {
    ops: Vec<Op>,
    reply: oneshot::Sender<Result<Committed>>,
    /// Its place in the queue, given back when the writer takes it.
    place: OwnedSemaphorePermit,
}

/// What the writer is asked for.
enum Message {
    Commit(Request),
    /// Write everything anew, so that nothing on disk is sealed as it was before.
    Reseal(oneshot::Sender<Result<()>>),
}

/// The embedded store. Dropping it stops the writer after what was accepted is done.
pub struct LogStore {
    memory: Arc<RwLock<Memory>>,
    requests: Option<Sender<Message>>,
    places: Arc<Semaphore>,
    writer: Option<std::thread::JoinHandle<()>>,
    dir: PathBuf,
    watch_buffer: usize,
    transform: Option<Arc<dyn Transform>>,
    _lock: files::DirLock,
}

/// Requests that may wait for the writer; more wait at the door.
const WAITING: usize = 8192;

impl LogStore {
    /// Opens the store in `dir`, making it if it is missing, and recovers everything that was acknowledged.
    pub fn open(dir: &Path, options: Options) -> Result<Self> {
        let lock = files::DirLock::take(dir)?;
        let recovered = recover::recover(dir, &options)?;
        let memory = Arc::new(RwLock::new(recovered.memory));
        let (requests, receiver) = channel();
        let places = Arc::new(Semaphore::new(WAITING));
        let (watch_buffer, transform) = (options.watch_buffer, options.transform.clone());
        let mut writer = writer::Writer::new(dir, options, memory.clone(), recovered.log, recovered.deadlines);
        if recovered.stale {
            writer.reseal()?;
        }
        let thread = std::thread::Builder::new().name("store-writer".into()).spawn(move || writer.run(&receiver));
        let writer = Some(thread.map_err(|e| files::io("cannot start the writer", e))?);
        let (requests, dir) = (Some(requests), dir.to_owned());
        Ok(Self { memory, requests, places, writer, dir, watch_buffer, transform, _lock: lock })
    }
}

impl Drop for LogStore {
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has told its callers already.
            let _ = writer.join();
        }
    }
}

#[async_trait]
impl Store for LogStore {
    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Entry>> {
        self.memory.read().get(key, at)
    }

    async fn range(&self, query: &RangeQuery) -> Result<Page> {
        self.memory.read().range(query)
    }

    async fn count(&self, prefix: &str) -> Result<usize> {
        Ok(self.memory.read().count(prefix))
    }

    async fn commit(&self, ops: Vec<Op>) -> Result<Committed> {
        // Before they share a round with others, who have nothing to do with it.
        if let Some(transform) = &self.transform {
            for op in ops.iter().filter(|op| matches!(op.change, Change::Put { .. })) {
                transform.ready(&op.key).map_err(|why| Error::Value { key: op.key.clone(), why })?;
            }
        }
        let (reply, answer) = oneshot::channel();
        let closed = || Error::Closed("its writer has ended".to_owned());
        let requests = self.requests.as_ref().ok_or_else(closed)?;
        // Nobody closes the semaphore; only the length of the queue makes a writer wait here.
        let place = self.places.clone().acquire_owned().await.map_err(|_| closed())?;
        requests.send(Message::Commit(Request { ops, reply, place })).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Box<dyn Watch>> {
        let watcher = self.memory.write().watch(prefix, after, self.watch_buffer)?;
        Ok(Box::new(watcher))
    }

    async fn revision(&self) -> Result<Revision> {
        Ok(self.memory.read().revision())
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        self.memory.write().compact(revision)
    }

    /// Writes a snapshot and begins a new log, so that every value on disk is sealed as the transformation does it now.
    async fn reseal(&self) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        let closed = || Error::Closed("its writer has ended".to_owned());
        self.requests.as_ref().ok_or_else(closed)?.send(Message::Reseal(reply)).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    async fn size(&self) -> Result<u64> {
        files::size(&self.dir)
    }
}

/// What a watcher's prefix lets through of a batch.
fn filtered(batch: &Batch, prefix: &str) -> Option<Batch> {
    let fits = |e: &crate::Event| e.entry.key.starts_with(prefix);
    if batch.events.iter().all(fits) {
        return Some(batch.clone());
    }
    let events: Arc<[_]> = batch.events.iter().filter(|e| fits(e)).cloned().collect();
    (!events.is_empty()).then_some(Batch { revision: batch.revision, events })
}
