//! Quantiles of times. Times are counted by powers of two with eight steps between, so that recording is one addition and
//! a quantile is off by a sixteenth at most.

use ironclad_api::metrics::go_float;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Steps between a power of two and the next, as bits.
const STEP: u32 = 3;
/// From a nanosecond to about nine minutes.
const PLACES: usize = 40 << STEP;
const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];

pub(crate) struct Summary {
    counts: Box<[AtomicU64]>,
    nanos: AtomicU64,
}

impl Default for Summary {
    fn default() -> Self {
        Self { counts: (0..PLACES).map(|_| AtomicU64::new(0)).collect(), nanos: AtomicU64::new(0) }
    }
}

/// Where a time is counted.
fn place(nanos: u64) -> usize {
    let nanos = nanos.max(1 << STEP);
    let power = nanos.ilog2();
    let step = (nanos >> (power - STEP)) & ((1 << STEP) - 1);
    ((((power - STEP) << STEP) as u64 + step) as usize).min(PLACES - 1)
}

/// The middle of what is counted at a place.
fn middle(place: usize) -> u64 {
    let (power, step) = ((place >> STEP) as u32 + STEP, (place & ((1 << STEP) - 1)) as u64);
    let width = 1 << (power - STEP);
    (1 << power) + step * width + width / 2
}

impl Summary {
    pub(crate) fn record(&self, took: Duration) {
        let nanos = took.as_nanos() as u64;
        self.counts[place(nanos)].fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// The times below which these parts of all lie, and how many there are.
    fn quantiles(&self) -> ([f64; QUANTILES.len()], u64) {
        let counts: Vec<u64> = self.counts.iter().map(|c| c.load(Ordering::Relaxed)).collect();
        let all: u64 = counts.iter().sum();
        let of = |quantile: f64| {
            let wanted = (quantile * all as f64).ceil() as u64;
            let mut sum = 0;
            let found = counts.iter().position(|count| {
                sum += count;
                sum >= wanted.max(1)
            });
            found.map_or(f64::NAN, |place| middle(place) as f64 / 1e9)
        };
        (QUANTILES.map(of), all)
    }

    pub(crate) fn write(&self, out: &mut String, name: &str, labels: &str) {
        let (values, count) = self.quantiles();
        for (quantile, value) in QUANTILES.iter().zip(values) {
            // Writing to a string cannot fail, here and below.
            let _ = writeln!(out, "{name}{{{labels},quantile=\"{quantile}\"}} {}", go_float(value));
        }
        let sum = Duration::from_nanos(self.nanos.load(Ordering::Relaxed)).as_secs_f64();
        let _ = writeln!(out, "{name}_sum{{{labels}}} {}\n{name}_count{{{labels}}} {count}", go_float(sum));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_off_by_little() {
        let summary = Summary::default();
        (1..=1000).for_each(|n| summary.record(Duration::from_micros(n)));
        let (values, count) = summary.quantiles();
        assert_eq!(count, 1000);
        for (value, want) in values.into_iter().zip([500e-6, 900e-6, 990e-6]) {
            assert!((value / want - 1.0).abs() < 0.07, "{value} is not {want}");
        }
        assert_eq!((place(0), place(u64::MAX)), (0, PLACES - 1));
    }
}
