//! Where events go: a log, a webhook, or both.

pub(crate) mod log;
pub(crate) mod webhook;

use ironclad_json::Value;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc::Sender;

/// One place where events go.
pub struct Sink {
    sender: Sender<Value>,
    /// Whether a request waits for a place in the queue.
    blocks: bool,
}

impl Sink {
    pub(crate) fn new(sender: Sender<Value>, blocks: bool) -> Self {
        Self { sender, blocks }
    }
}

/// All of them.
#[derive(Default)]
pub struct Backends {
    sinks: Vec<Sink>,
    events: AtomicU64,
    lost: AtomicU64,
}

impl Backends {
    /// These sinks together.
    pub fn new(sinks: Vec<Sink>) -> Self {
        Self { sinks, ..Self::default() }
    }

    /// Events told and events lost, for the metrics.
    pub fn counts(&self) -> (u64, u64) {
        (self.events.load(Ordering::Relaxed), self.lost.load(Ordering::Relaxed))
    }

    pub(crate) async fn send(&self, event: Value) {
        self.events.fetch_add(1, Ordering::Relaxed);
        for sink in &self.sinks {
            let sent = match sink.blocks {
                true => sink.sender.send(event.clone()).await.is_ok(),
                false => sink.sender.try_send(event.clone()).is_ok(),
            };
            self.count(sent);
        }
    }

    pub(crate) fn send_now(&self, event: Value) {
        self.events.fetch_add(1, Ordering::Relaxed);
        for sink in &self.sinks {
            self.count(sink.sender.try_send(event.clone()).is_ok());
        }
    }

    fn count(&self, sent: bool) {
        if !sent && self.lost.fetch_add(1, Ordering::Relaxed).is_multiple_of(1000) {
            tracing::error!("audit events are lost: their queue is full");
        }
    }
}
