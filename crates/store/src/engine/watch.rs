//! The two ends of a watch: the store offers batches, the watcher takes them in its own time.

use super::filtered;
use crate::{Batch, Error, Result, Revision, Watch};
use async_trait::async_trait;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc;

pub(super) struct Sender {
    prefix: String,
    batches: mpsc::Sender<Batch>,
    lagged: Arc<AtomicBool>,
}

impl Sender {
    /// Offers a batch; `false` when the watcher is gone or too slow and must be forgotten.
    pub(super) fn offer(&mut self, batch: &Batch) -> bool {
        let Some(batch) = filtered(batch, &self.prefix) else { return !self.batches.is_closed() };
        match self.batches.try_send(batch) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.lagged.store(true, Ordering::Release);
                false
            }
        }
    }
}

pub(super) struct Watcher {
    backlog: VecDeque<Batch>,
    batches: mpsc::Receiver<Batch>,
    lagged: Arc<AtomicBool>,
    last: Revision,
}

impl Watcher {
    pub(super) fn new(prefix: &str, backlog: VecDeque<Batch>, buffer: usize) -> (Sender, Self) {
        let (sender, batches) = mpsc::channel(buffer);
        let lagged = Arc::new(AtomicBool::new(false));
        let sender = Sender { prefix: prefix.to_owned(), batches: sender, lagged: lagged.clone() };
        (sender, Self { backlog, batches, lagged, last: Revision(0) })
    }
}

#[async_trait]
impl Watch for Watcher {
    async fn next(&mut self) -> Result<Batch> {
        let batch = match self.backlog.pop_front() {
            Some(batch) => Some(batch),
            None => self.batches.recv().await,
        };
        match batch {
            Some(batch) => {
                self.last = batch.revision;
                Ok(batch)
            }
            None if self.lagged.load(Ordering::Acquire) => Err(Error::Lagged(self.last)),
            None => Err(Error::Closed("the store was closed".to_owned())),
        }
    }
}
