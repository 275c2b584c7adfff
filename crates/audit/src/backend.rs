//! Where events go: a log, a webhook, or both.
//!
//! Invariants: an event that is too large loses its objects first and is counted as an error when that does not help;
//! what blocks waits until the event is written, what does not never waits.

mod batch;
pub(crate) mod log;
mod truncate;
pub(crate) mod webhook;

pub use batch::{Batch, Throttle};
pub use truncate::Truncate;

use crate::policy::Level;
use ironclad_json::Value;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc::Sender;
use tokio::sync::oneshot;

/// How events reach a back end.
#[derive(Clone, Debug)]
pub enum Mode {
    /// Behind the requests, in batches; events that find no room are lost.
    Batch(Batch),
    /// A request waits until its events are written.
    Blocking,
    /// The same, and a request whose first event cannot be written is refused.
    BlockingStrict,
}

/// An event on its way, and who waits for it.
pub(crate) struct Told {
    pub(crate) event: Value,
    done: Option<oneshot::Sender<bool>>,
}

impl Told {
    /// Tells who waits whether the event was written.
    pub(crate) fn done(self, written: bool) {
        if let Some(done) = self.done {
            // Who waited may be gone.
            let _ = done.send(written);
        }
    }
}

/// One place where events go.
pub struct Sink {
    plugin: &'static str,
    sender: Sender<Told>,
    blocks: bool,
    strict: bool,
    truncate: Option<Truncate>,
}

impl Sink {
    pub(crate) fn new(plugin: &'static str, sender: Sender<Told>, mode: &Mode, truncate: Option<Truncate>) -> Self {
        let blocks = !matches!(mode, Mode::Batch(_));
        Self { plugin, sender, blocks, strict: matches!(mode, Mode::BlockingStrict), truncate }
    }

    /// What of an event is sent; none when it is too large whatever is taken from it.
    fn cut(&self, event: &Value) -> Option<Value> {
        match &self.truncate {
            Some(truncate) => truncate.event(event),
            None => Some(event.clone()),
        }
    }
}

/// All of them.
#[derive(Default)]
pub struct Backends {
    sinks: Vec<Sink>,
    events: AtomicU64,
    refused: AtomicU64,
    errors: Mutex<BTreeMap<&'static str, u64>>,
    levels: [AtomicU64; 4],
}

/// What the metrics tell of the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Events told.
    pub events: u64,
    /// Requests that were refused since their events could not be written.
    pub refused: u64,
    /// Events that went wrong, by the part that lost them.
    pub errors: Vec<(&'static str, u64)>,
    /// Requests by level.
    pub levels: [(&'static str, u64); 4],
}

impl Backends {
    /// These sinks together.
    pub fn new(sinks: Vec<Sink>) -> Self {
        Self { sinks, ..Self::default() }
    }

    /// For the metrics.
    pub fn counts(&self) -> Counts {
        let all = [Level::None, Level::Metadata, Level::Request, Level::RequestResponse];
        Counts {
            events: self.events.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            errors: self.errors.lock().iter().map(|(k, v)| (*k, *v)).collect(),
            levels: all.map(|l| (l.as_str(), self.levels[l as usize].load(Ordering::Relaxed))),
        }
    }

    /// Counts a request of a level.
    pub fn decided(&self, level: Level) {
        self.levels[level as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that was refused since its event could not be written.
    pub fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the event is where it must be.
    pub(crate) async fn send(&self, event: Value) -> bool {
        self.events.fetch_add(1, Ordering::Relaxed);
        let mut stored = true;
        for sink in &self.sinks {
            let Some(event) = sink.cut(&event) else {
                self.lost("truncate");
                continue;
            };
            if !sink.blocks {
                self.offer(sink, event);
                continue;
            }
            let (done, written) = oneshot::channel();
            let sent = sink.sender.send(Told { event, done: Some(done) }).await.is_ok();
            let written = sent && written.await.unwrap_or(false);
            if !written {
                self.lost(sink.plugin);
            }
            stored &= written || !sink.strict;
        }
        stored
    }

    /// The same where nobody can wait.
    pub(crate) fn send_now(&self, event: Value) {
        self.events.fetch_add(1, Ordering::Relaxed);
        for sink in &self.sinks {
            match sink.cut(&event) {
                Some(event) => self.offer(sink, event),
                None => self.lost("truncate"),
            }
        }
    }

    fn offer(&self, sink: &Sink, event: Value) {
        if sink.sender.try_send(Told { event, done: None }).is_err() {
            self.lost("buffered");
        }
    }

    fn lost(&self, plugin: &'static str) {
        let mut errors = self.errors.lock();
        let count = errors.entry(plugin).or_default();
        if count.is_multiple_of(1000) {
            tracing::error!("Error in audit plugin '{plugin}': events are lost");
        }
        *count += 1;
    }
}
