//! Events in batches: until enough are there or the time is over, and no more batches in a second than allowed.

use super::Told;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;
use tokio::time::Instant;

/// How events are gathered.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Events that may wait.
    pub buffer: usize,
    /// Events of one batch.
    pub size: usize,
    /// How long a batch waits for more.
    pub wait: Duration,
    /// How many batches go out.
    pub throttle: Option<Throttle>,
}

/// A bucket of tokens, one for each batch.
#[derive(Clone, Copy, Debug)]
pub struct Throttle {
    /// Tokens of a second.
    pub qps: f64,
    /// Tokens that the bucket holds.
    pub burst: u32,
}

/// The bucket as it stands.
pub(crate) struct Bucket {
    throttle: Throttle,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    pub(crate) fn new(throttle: Throttle, now: Instant) -> Self {
        Self { throttle, tokens: f64::from(throttle.burst), at: now }
    }

    /// Takes a token; how long to wait until it is there.
    fn take(&mut self, now: Instant) -> Duration {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * self.throttle.qps;
        self.at = now;
        self.tokens = (self.tokens + gained).min(f64::from(self.throttle.burst)) - 1.0;
        Duration::from_secs_f64((-self.tokens / self.throttle.qps).max(0.0))
    }
}

/// The next batch; none when no more events come.
pub(crate) async fn next(events: &mut Receiver<Told>, batch: &Batch) -> Option<Vec<Told>> {
    let mut out = vec![events.recv().await?];
    let end = Instant::now() + batch.wait;
    while out.len() < batch.size {
        match tokio::time::timeout_at(end, events.recv()).await {
            Ok(Some(event)) => out.push(event),
            Ok(None) | Err(_) => break,
        }
    }
    Some(out)
}

/// Waits until another batch may go out.
pub(crate) async fn pass(bucket: &mut Option<Bucket>) {
    if let Some(bucket) = bucket {
        let wait = bucket.take(Instant::now());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_lets_a_burst_through_and_then_its_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(Throttle { qps: 10.0, burst: 3 }, start);
        let mut waits = |after: u64| bucket.take(start + Duration::from_millis(after)).as_millis();
        assert_eq!([waits(0), waits(0), waits(0), waits(0), waits(0)], [0, 0, 0, 100, 200]);
        assert_eq!(waits(10_000), 0);
    }
}
