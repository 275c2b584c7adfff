//! Back-off of restarts and pulls: 10 s, doubled each time up to five minutes, forgotten after ten quiet minutes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_secs(10);
const LAST: Duration = Duration::from_mins(5);
const FORGET: Duration = Duration::from_mins(10);

#[derive(Debug, Default)]
pub(crate) struct Backoff {
    entries: HashMap<String, (Duration, Instant)>,
}

impl Backoff {
    /// How long `key` must still wait; nothing when it may go on.
    pub(crate) fn left(&self, key: &str, now: Instant) -> Option<Duration> {
        let (delay, since) = self.entries.get(key)?;
        (*since + *delay).checked_duration_since(now).filter(|d| !d.is_zero())
    }

    /// The present delay of `key`.
    pub(crate) fn delay(&self, key: &str) -> Duration {
        self.entries.get(key).map_or(FIRST, |e| e.0)
    }

    /// Notes a failure that ended at `at`.
    pub(crate) fn failed(&mut self, key: &str, at: Instant) {
        let next = match self.entries.get(key) {
            Some((_, since)) if at.saturating_duration_since(*since) > FORGET => FIRST,
            Some((delay, _)) => (*delay * 2).min(LAST),
            None => FIRST,
        };
        self.entries.insert(key.to_owned(), (next, at));
    }

    pub(crate) fn forget(&mut self, key: &str) {
        self.entries.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_five_minutes_and_start_anew_after_quiet() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        let mut delays = Vec::new();
        for _ in 0..7 {
            backoff.failed("a", now);
            delays.push(backoff.delay("a").as_secs());
        }
        assert_eq!(delays, [10, 20, 40, 80, 160, 300, 300]);
        assert!(backoff.left("a", now + Duration::from_secs(299)).is_some());
        assert!(backoff.left("a", now + LAST).is_none());
        backoff.failed("a", now + Duration::from_mins(11));
        assert_eq!(backoff.delay("a"), FIRST);
    }
}
