//! Back-off of restarts and pulls: 10 s, doubled each time up to five minutes, forgotten after ten quiet minutes.
//!
//! Times are nanoseconds since the epoch: a delay counts from when something ended, which the runtime knows.

use std::collections::HashMap;
use std::time::Duration;

const FIRST: Duration = Duration::from_secs(10);
const LAST: Duration = Duration::from_mins(5);
const FORGET: Duration = Duration::from_mins(10);

#[derive(Debug, Default)]
pub(crate) struct Backoff {
    /// The present delay, and when it was set.
    entries: HashMap<String, (Duration, i64)>,
}

fn since(later: i64, earlier: i64) -> Duration {
    Duration::from_nanos(later.saturating_sub(earlier).max(0) as u64)
}

/// Now, in nanoseconds since the epoch.
pub(crate) fn now() -> i64 {
    i64::try_from(k8s_openapi::jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

impl Backoff {
    /// How long to wait yet after what ended at `event`; nothing when one may go on.
    pub(crate) fn left(&self, key: &str, event: i64, now: i64) -> Option<Duration> {
        let (delay, set) = self.entries.get(key)?;
        if since(event, *set) > FORGET {
            return None;
        }
        delay.checked_sub(since(now, event)).filter(|d| !d.is_zero())
    }

    /// How long to wait yet when the delay counts from when it was set.
    pub(crate) fn left_since_set(&self, key: &str, now: i64) -> Option<Duration> {
        let (_, set) = self.entries.get(key)?;
        self.left(key, *set, now)
    }

    /// The present delay of `key`.
    pub(crate) fn delay(&self, key: &str) -> Duration {
        self.entries.get(key).map_or(FIRST, |e| e.0)
    }

    /// Goes on to the next delay.
    pub(crate) fn next(&mut self, key: &str, now: i64) {
        let next = match self.entries.get(key) {
            Some((_, set)) if since(now, *set) > FORGET => FIRST,
            Some((delay, _)) => (*delay * 2).min(LAST),
            None => FIRST,
        };
        self.entries.insert(key.to_owned(), (next, now));
    }

    pub(crate) fn forget(&mut self, key: &str) {
        self.entries.remove(key);
    }
}

/// A duration as Go writes it: `10s`, `1m20s`, `1.5s`, `250ms`.
pub(crate) fn go(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis < 1000 {
        return if millis == 0 { "0s".to_owned() } else { format!("{millis}ms") };
    }
    let (minutes, rest) = (millis / 60_000, millis % 60_000);
    let fraction = format!("{:03}", rest % 1000);
    let fraction = fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    let seconds = format!("{}{dot}{fraction}s", rest / 1000);
    match (minutes / 60, minutes % 60) {
        (0, 0) => seconds,
        (0, m) => format!("{m}m{seconds}"),
        (h, m) => format!("{h}h{m}m{seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn delays_double_up_to_five_minutes_and_start_anew_after_quiet() {
        let mut backoff = Backoff::default();
        let delays: Vec<u64> = (0..7)
            .map(|_| {
                backoff.next("a", 0);
                backoff.delay("a").as_secs()
            })
            .collect();
        assert_eq!(delays, [10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(backoff.left("a", 0, 299 * SECOND), Some(Duration::from_secs(1)));
        assert!(backoff.left("a", 0, 300 * SECOND).is_none());
        assert!(backoff.left("a", 601 * SECOND, 602 * SECOND).is_none());
        backoff.next("a", 601 * SECOND);
        assert_eq!(backoff.delay("a"), FIRST);
    }

    #[test]
    fn the_first_restart_does_not_wait() {
        assert!(Backoff::default().left("a", 5, 6).is_none());
    }

    #[test]
    fn durations_look_as_in_go() {
        for (millis, want) in
            [(0, "0s"), (250, "250ms"), (10_000, "10s"), (80_000, "1m20s"), (300_000, "5m0s"), (1_230, "1.23s")]
        {
            assert_eq!(go(Duration::from_millis(millis)), want);
        }
    }
}
