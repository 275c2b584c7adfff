//! How full a level was and for how long: each value counts by the nanoseconds during which it held, as stock's timing
//! histograms have it. All of it changes under the lock of the seats.

use std::time::{Duration, Instant};

/// The most buckets, the last without a bound.
const MOST: usize = 16;
/// After so long the demand of a level is summed up.
const PERIOD: Duration = Duration::from_secs(10);
/// How much of a smoothed demand stays after a period.
const KEPT: f64 = 0.977;

pub(super) const SEATS: &[f64] = &[0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0];
pub(super) const REQUESTS: &[f64] = &[0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.25, 0.5, 0.75, 1.0];
pub(super) const KINDS: &[f64] = &[0.0, 0.001, 0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0];
pub(super) const DEMANDS: &[f64] = &[0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.7, 2.0, 2.8, 4.0, 6.0];

/// Values by the time for which they held.
#[derive(Clone, Debug)]
pub(crate) struct Timing {
    pub(crate) bounds: &'static [f64],
    since: Instant,
    value: f64,
    /// Nanoseconds.
    pub(crate) counts: [u64; MOST],
    pub(crate) sum: f64,
}

impl Timing {
    pub(super) fn new(bounds: &'static [f64], now: Instant) -> Self {
        Self { bounds, since: now, value: 0.0, counts: [0; MOST], sum: 0.0 }
    }

    /// From now on it is `value`.
    pub(super) fn set(&mut self, value: f64, now: Instant) {
        let held = now.saturating_duration_since(self.since).as_nanos() as u64;
        self.counts[self.bounds.partition_point(|b| *b < self.value)] += held;
        self.sum += self.value * held as f64;
        self.since = now;
        self.value = value;
    }

    /// As it is now.
    pub(super) fn until(&self, now: Instant) -> Self {
        let mut whole = self.clone();
        whole.set(self.value, now);
        whole
    }
}

/// What was asked of a level in a period.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Demand {
    pub(crate) most: f64,
    pub(crate) average: f64,
    pub(crate) deviation: f64,
    pub(crate) smoothed: f64,
}

/// The seats that a level could use, summed up period by period.
#[derive(Clone, Debug)]
pub(super) struct Demands {
    began: Instant,
    since: Instant,
    value: f64,
    most: f64,
    /// The integrals of the value and of its square.
    sums: (f64, f64),
    last: Demand,
}

impl Demands {
    pub(super) fn new(now: Instant) -> Self {
        Self { began: now, since: now, value: 0.0, most: 0.0, sums: (0.0, 0.0), last: Demand::default() }
    }

    /// From now on it is `value`.
    pub(super) fn set(&mut self, value: f64, now: Instant) {
        let held = now.saturating_duration_since(self.since).as_secs_f64();
        self.sums = (self.sums.0 + self.value * held, self.sums.1 + self.value * self.value * held);
        self.since = now;
        let period = now.saturating_duration_since(self.began);
        if period >= PERIOD {
            let seconds = period.as_secs_f64();
            let average = self.sums.0 / seconds;
            let deviation = (self.sums.1 / seconds - average * average).max(0.0).sqrt();
            let envelope = average + deviation;
            // So many periods went by without a change.
            let kept = KEPT.powf((seconds / PERIOD.as_secs_f64()).floor());
            let smoothed = envelope.max(kept * self.last.smoothed + (1.0 - kept) * envelope);
            self.last = Demand { most: self.most, average, deviation, smoothed };
            (self.began, self.most, self.sums) = (now, value, (0.0, 0.0));
        }
        self.value = value;
        self.most = self.most.max(value);
    }

    /// The last period that is over.
    pub(super) fn until(&self, now: Instant) -> Demand {
        let mut whole = self.clone();
        whole.set(self.value, now);
        whole.last
    }
}

/// What a level tells of itself.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) seats: Timing,
    pub(super) waiting: Timing,
    pub(super) executing: Timing,
    pub(super) demand: Timing,
    pub(super) demands: Demands,
    /// Virtual time at the last start, and the start itself in it.
    pub(super) dispatched: Option<(f64, f64)>,
}

impl Told {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self {
            seats: Timing::new(SEATS, now),
            waiting: Timing::new(REQUESTS, now),
            executing: Timing::new(REQUESTS, now),
            demand: Timing::new(DEMANDS, now),
            demands: Demands::new(now),
            dispatched: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_by_the_time_for_which_it_held() {
        let began = Instant::now();
        let at = |millis| began + Duration::from_millis(millis);
        let mut timing = Timing::new(SEATS, began);
        timing.set(0.25, at(10));
        timing.set(0.0, at(14));
        let whole = timing.until(at(20));
        assert_eq!(whole.counts[..4], [16_000_000, 0, 0, 4_000_000]);
        assert!((whole.sum - 1_000_000.0).abs() < 1.0, "{}", whole.sum);
    }

    #[test]
    fn demand_is_summed_up_when_a_period_is_over() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut demands = Demands::new(began);
        demands.set(4.0, at(5));
        let of = |told: Demand| [told.most, told.average, told.deviation, told.smoothed].map(|v| format!("{v:.3}"));
        assert_eq!(of(demands.until(at(9))), ["0.000"; 4]);
        assert_eq!(of(demands.until(at(10))), ["4.000", "2.000", "2.000", "4.000"]);
    }
}
