//! What the server has to store of its own and could not yet, because the store takes no writes: it is out of space, or
//! an alarm or rights are in the way. Reads are served meanwhile.

use crate::server::Inner;
use ironclad_api::{ApiError, object};
use ironclad_json::Value;
use ironclad_store::Error;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Between two tries, growing from the first to the last.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(16));

/// Why an object was not stored.
#[derive(Debug)]
pub(super) enum Unsaved {
    /// The store takes no writes now.
    Later(Error),
    /// It cannot be stored.
    Never(ApiError),
}

impl From<ApiError> for Unsaved {
    fn from(error: ApiError) -> Self {
        Self::Never(error)
    }
}

/// Whether a store that says this may take the same write later.
pub(super) fn refuses(error: &Error) -> bool {
    matches!(error, Error::Full(_) | Error::Refused(_))
}

/// A group, the plural of a kind, and an object of it.
type Object = (String, String, Value);

/// The objects that wait.
#[derive(Default)]
pub(crate) struct Late {
    waiting: Mutex<Vec<Object>>,
    came: Notify,
}

impl Late {
    pub(super) fn put(&self, group: &str, plural: &str, object: Value) {
        let place = |o: &Value| (object::namespace(o).to_owned(), object::name(o).to_owned());
        let mut waiting = self.waiting.lock();
        waiting.retain(|(g, p, o)| (g.as_str(), p.as_str(), place(o)) != (group, plural, place(&object)));
        waiting.push((group.to_owned(), plural.to_owned(), object));
        self.came.notify_one();
    }
}

impl Inner {
    /// Stores what could not be stored, until `token` is cancelled. Nothing tells when a store takes writes again, so it
    /// is tried now and then for as long as something waits.
    pub(crate) async fn catch_up_late(self: Arc<Self>, token: CancellationToken) {
        loop {
            tokio::select! {
                () = token.cancelled() => return,
                () = self.late.came.notified() => {}
            }
            let mut pause = PAUSES.0;
            loop {
                tokio::select! {
                    () = token.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                if self.store_late().await {
                    break;
                }
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }

    /// Tries everything that waits; whether nothing is left.
    async fn store_late(&self) -> bool {
        let waiting = std::mem::take(&mut *self.late.waiting.lock());
        let mut left = Vec::new();
        for (group, plural, object) in waiting {
            // A store that refuses one refuses the others.
            let done =
                if left.is_empty() { self.try_ensure(&group, &plural, &object).await.map_err(Some) } else { Err(None) };
            match done {
                Ok(()) => {}
                Err(Some(Unsaved::Never(error))) => tracing::error!(plural, %error, "an object cannot be stored"),
                Err(Some(Unsaved::Later(_)) | None) => left.push((group, plural, object)),
            }
        }
        let mut waiting = self.late.waiting.lock();
        left.append(&mut waiting);
        *waiting = left;
        waiting.is_empty()
    }
}
