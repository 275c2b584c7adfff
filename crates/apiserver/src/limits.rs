//! What the server lets in at once and how long things may take.

use crate::metrics::Shared;
use ironclad_api::{ApiError, Reason, UserInfo};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Limits of the server, with the names and values of the stock server's flags.
#[derive(Clone, Debug)]
pub struct Load {
    /// `--max-requests-inflight`: reads at once; with `max_mutating_requests_inflight` the seats that priority and
    /// fairness shares out.
    pub max_requests_inflight: u32,
    /// `--max-mutating-requests-inflight`: writes at once.
    pub max_mutating_requests_inflight: u32,
    /// `--enable-priority-and-fairness`.
    pub priority_and_fairness: bool,
    /// `--request-timeout`: the longest that a request may take that is no watch or stream.
    pub request_timeout: Duration,
    /// `--min-request-timeout`: the shortest that a watch without a time of its own lasts; the longest is twice that.
    pub min_request_timeout: Duration,
    /// `--goaway-chance`: how likely a client is told to connect anew.
    pub goaway_chance: f64,
    /// `--shutdown-delay-duration`: how long the server goes on when it has said that it ends.
    pub shutdown_delay: Duration,
    /// How long requests that are being served have when the server ends.
    pub drain: Duration,
    /// The head of a request, and the first bytes of a connection, must come in this time.
    pub header_timeout: Duration,
    /// `--http2-max-streams-per-connection`.
    pub http2_max_streams: u32,
    /// `--etcd-healthcheck-timeout`: how long the store may take to answer for `/livez` and `/healthz`.
    pub healthcheck_timeout: Duration,
    /// `--etcd-readycheck-timeout`: the same for `/readyz`.
    pub readycheck_timeout: Duration,
    /// `--etcd-compaction-interval`: how long history is kept at least; zero for as long as there is room.
    pub compaction_interval: Duration,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            max_requests_inflight: 400,
            max_mutating_requests_inflight: 200,
            priority_and_fairness: true,
            request_timeout: Duration::from_mins(1),
            min_request_timeout: Duration::from_mins(30),
            goaway_chance: 0.0,
            shutdown_delay: Duration::ZERO,
            drain: Duration::from_secs(10),
            header_timeout: Duration::from_secs(32),
            http2_max_streams: 1000,
            healthcheck_timeout: Duration::from_secs(2),
            readycheck_timeout: Duration::from_secs(2),
            compaction_interval: Duration::from_mins(5),
        }
    }
}

/// Limits without priority and fairness: so many reads, so many writes.
pub(crate) struct Limits {
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    metrics: Shared,
}

/// A request that is counted, and that holds a place where places are limited.
pub(crate) struct Permit {
    metrics: Shared,
    write: bool,
    _place: Option<OwnedSemaphorePermit>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.metrics.requests.in_flight[usize::from(self.write)].add(-1);
    }
}

impl Limits {
    pub(crate) fn new(load: &Load, metrics: Shared) -> Self {
        let places = |count: u32| Arc::new(Semaphore::new(count as usize));
        let (reads, writes) = (places(load.max_requests_inflight), places(load.max_mutating_requests_inflight));
        Self { reads, writes, metrics }
    }

    /// A place for one request; members of `system:masters` always get one.
    pub(crate) fn enter(&self, write: bool, user: &UserInfo) -> Option<Permit> {
        let pool = if write { &self.writes } else { &self.reads };
        match pool.clone().try_acquire_owned() {
            Ok(place) => Some(self.permit(write, Some(place))),
            Err(_) if user.is_in(ironclad_api::user::MASTERS) => Some(self.count(write)),
            Err(_) => None,
        }
    }

    /// Counts a request that is let in by other rules.
    pub(crate) fn count(&self, write: bool) -> Permit {
        self.permit(write, None)
    }

    fn permit(&self, write: bool, place: Option<OwnedSemaphorePermit>) -> Permit {
        self.metrics.requests.in_flight[usize::from(write)].add(1);
        Permit { metrics: self.metrics.clone(), write, _place: place }
    }
}

/// The longest that a write may take, whatever the time-out of requests.
pub(crate) const WRITE: Duration = Duration::from_secs(34);

/// What a request gets that takes too long.
pub(crate) fn too_long() -> ApiError {
    timeout("request did not complete within the allotted timeout")
}

/// What a write gets that takes too long, and whatever waited for a store that does not answer.
pub(crate) fn unanswered() -> ApiError {
    timeout("request did not complete within requested timeout - context deadline exceeded")
}

fn timeout(what: &str) -> ApiError {
    let error = ApiError::new(Reason::Timeout, format!("Timeout: {what}"));
    ApiError { details: Some(Box::default()), ..error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_that_finds_no_place_is_told_to_try_again() {
        let load = Load { max_mutating_requests_inflight: 3, ..Load::default() };
        let limits = Limits::new(&load, Shared::default());
        let (ann, master) = (UserInfo::new("ann", &[]), UserInfo::new("admin", &["system:masters"]));
        let held: Vec<_> = (0..3).map(|_| limits.enter(true, &ann)).collect();
        assert!(held.iter().all(Option::is_some));
        assert!(limits.enter(true, &ann).is_none());
        assert!(limits.enter(true, &master).is_some(), "whoever may do everything must always be heard");
        assert!(limits.enter(false, &ann).is_some(), "reads have places of their own");
        drop(held);
        assert!(limits.enter(true, &ann).is_some());
        assert_eq!(limits.metrics.requests.in_flight[1].get(), 0);
    }
}
