//! Whether the store answers in time. However many ask for the server's health, the store is asked by one at a time, and
//! what it said counts for half of that time.

use ironclad_store::Store;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// A check of the store with a time of its own.
pub(crate) struct Reach {
    most: Duration,
    /// When the store was asked last, and whether it answered.
    last: Mutex<Option<(Instant, bool)>>,
}

impl Reach {
    /// A check that fails when the store takes longer than `most`.
    pub(crate) fn within(most: Duration) -> Self {
        Self { most, last: Mutex::new(None) }
    }

    /// Whether the store answers.
    pub(crate) async fn ask(&self, store: &dyn Store) -> bool {
        // Whoever waits here shares what the first one hears.
        let mut last = self.last.lock().await;
        if let Some((asked, answered)) = *last
            && asked.elapsed() < self.most / 2
        {
            return answered;
        }
        let asked = Instant::now();
        let answered = matches!(tokio::time::timeout(self.most, store.ping()).await, Ok(Ok(())));
        *last = Some((asked, answered));
        answered
    }
}
