//! Eviction: when the node runs short of memory, disk or process ids, pods go, the least important first.
//!
//! Invariant: what is short and who goes are pure functions of measurements; one pod goes at a time, so that each look
//! sees what the one before changed.

mod limits;
mod rank;
mod signal;

use crate::gc;
use crate::stats;
use crate::worker::{Order, Shared};
use rank::Candidate;
pub use signal::{Limit, Signal, Threshold, defaults};
use signal::{Measured, measure};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio_util::sync::CancellationToken;

/// Disks tell nobody that they fill up: they are looked at this often.
const PERIOD: Duration = Duration::from_secs(10);
/// How long the node is said to be under pressure after it was.
pub(crate) const HOLD: Duration = Duration::from_secs(30);

/// Looks after the node until `token` is cancelled.
pub(crate) async fn run(shared: Shared, token: CancellationToken) {
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut seen: BTreeMap<&'static str, Instant> = BTreeMap::new();
    let stall = Stall::watch();
    loop {
        tokio::select! {
            () = token.cancelled() => return,
            _ = ticks.tick() => {}
            () = Stall::wait(stall.as_ref()) => {}
        }
        look(&shared, &mut seen).await;
        limits::enforce(&shared).await;
    }
}

async fn look(shared: &Shared, seen: &mut BTreeMap<&'static str, Instant>) {
    let config = &shared.config;
    let now = measure(&config.root_dir);
    let mut short: Vec<&Threshold> = config.eviction.iter().filter(|t| t.is_met(&now)).collect();
    if short.iter().any(|t| t.signal.is_disk()) && gc::free(shared, true).await {
        let after = measure(&config.root_dir);
        short.retain(|t| t.is_met(&after));
    }
    for threshold in &short {
        seen.insert(threshold.signal.condition(), Instant::now());
    }
    seen.retain(|_, at| at.elapsed() < HOLD);
    let pressure: Vec<&'static str> = seen.keys().copied().collect();
    shared.admitted.set_pressure(pressure, &shared.node_changed);
    // What needs memory most urgently comes first.
    short.sort_by_key(|t| t.signal);
    if let Some(threshold) = short.first() {
        tracing::warn!(signal = threshold.signal.name(), "the node runs short");
        evict(shared, threshold, &now).await;
    }
}

async fn evict(shared: &Shared, threshold: &Threshold, measured: &Measured) {
    let stats = stats::collect(shared, true).await;
    let candidates: Vec<Candidate> = shared
        .table
        .pods()
        .into_iter()
        .filter_map(|pod| {
            let used = stats.pods.iter().find(|s| Some(&s.uid) == pod.metadata.uid.as_ref())?;
            Candidate::new(pod, used, threshold.signal)
        })
        .collect();
    let Some(victim) = rank::first(candidates) else { return };
    let message = format!("{}{}", threshold.message(measured), victim.containers);
    order(shared, &victim.uid, message);
}

/// Has a pod end because of what it, or others, used.
fn order(shared: &Shared, uid: &str, message: String) {
    let order = Order { reason: "Evicted".to_owned(), message, grace: Duration::ZERO, event: true };
    if shared.table.order(uid, order) {
        tracing::warn!(uid, "a pod was evicted");
    }
}

/// The kernel tells when work waits for memory.
struct Stall(AsyncFd<std::fs::File>);

impl Stall {
    /// Nothing where the kernel has no such news.
    fn watch() -> Option<Self> {
        let mut file = OpenOptions::new().read(true).write(true).open("/proc/pressure/memory").ok()?;
        file.write_all(b"some 300000 2000000\0").ok()?;
        #[expect(deprecated, reason = "its successor is unsafe; the file is owned and outlives the registration")]
        let watched = AsyncFd::with_interest(file, Interest::PRIORITY);
        watched.ok().map(Self)
    }

    async fn wait(stall: Option<&Self>) {
        match stall {
            None => std::future::pending().await,
            Some(stall) => match stall.0.ready(Interest::PRIORITY).await {
                Ok(mut guard) => guard.clear_ready(),
                Err(_) => std::future::pending().await,
            },
        }
    }
}
