//! How many short requests from the network are served at once, and how long one may take.
//!
//! Invariant: a write that has begun runs to its end, whatever becomes of its client: what it reserved is kept exactly
//! when it was stored.

use ironclad_api::{ApiError, Reason};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Reads, then writes, at once.
const AT_ONCE: (usize, usize) = (400, 200);
/// The longest that a request may take.
pub(crate) const LONGEST: Duration = Duration::from_mins(1);

pub(crate) struct Limits {
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { reads: Arc::new(Semaphore::new(AT_ONCE.0)), writes: Arc::new(Semaphore::new(AT_ONCE.1)) }
    }
}

impl Limits {
    /// A place for one request; it is given back when the permit is dropped.
    pub(crate) fn enter(&self, write: bool) -> Result<OwnedSemaphorePermit, ApiError> {
        let pool = if write { &self.writes } else { &self.reads };
        pool.clone().try_acquire_owned().map_err(|_| {
            ApiError::new(Reason::TooManyRequests, "Too many requests, please try again later.").retry_after(1)
        })
    }

    /// Reads and writes that are being served.
    pub(crate) fn in_flight(&self) -> (usize, usize) {
        (AT_ONCE.0 - self.reads.available_permits(), AT_ONCE.1 - self.writes.available_permits())
    }
}

/// What a request gets that takes too long.
pub(crate) fn too_long() -> ApiError {
    ApiError::new(Reason::Timeout, "Timeout: request did not complete within the allotted timeout")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_that_finds_no_place_is_told_to_try_again() {
        let limits = Limits::default();
        let held: Vec<_> = (0..AT_ONCE.1).map(|_| limits.enter(true).unwrap()).collect();
        let refused = limits.enter(true).unwrap_err();
        assert_eq!(refused.code, 429);
        assert!(limits.enter(false).is_ok(), "reads have places of their own");
        drop(held);
        assert!(limits.enter(true).is_ok());
    }
}
