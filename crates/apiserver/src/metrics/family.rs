//! Labelled series that are cheap to record: one look under a read lock, then atomic additions. Labels come from the
//! server's own tables, never from a client's text, so that there are never too many.

use hashbrown::{Equivalent, HashMap};
use ironclad_api::metrics::go_float;
use parking_lot::RwLock;
use std::fmt::Write;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Series of one metric by their labels.
pub(crate) struct Family<K, S> {
    series: RwLock<HashMap<K, Arc<S>>>,
}

impl<K, S> Default for Family<K, S> {
    fn default() -> Self {
        Self { series: RwLock::default() }
    }
}

impl<K: Eq + Hash + Ord + Clone, S: Default> Family<K, S> {
    /// The series of these labels; the key is made only when the series is new.
    pub(crate) fn of<Q: Hash + Equivalent<K>>(&self, labels: &Q, key: impl FnOnce() -> K) -> Arc<S> {
        if let Some(series) = self.series.read().get(labels) {
            return series.clone();
        }
        self.series.write().entry(key()).or_default().clone()
    }

    /// All series in the order of their labels.
    pub(crate) fn all(&self) -> Vec<(K, Arc<S>)> {
        let mut all: Vec<_> = self.series.read().iter().map(|(k, s)| (k.clone(), s.clone())).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }
}

/// A count that only grows.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that comes and goes.
#[derive(Default)]
pub(crate) struct Gauge(std::sync::atomic::AtomicI64);

impl Gauge {
    pub(crate) fn add(&self, count: i64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The most buckets that a histogram has, the last without a bound.
const MOST: usize = 32;

/// Times by size; the bounds are given where they are used, the same each time.
#[derive(Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; MOST],
    nanos: AtomicU64,
}

impl Histogram {
    pub(crate) fn record(&self, bounds: &[f64], took: Duration) {
        let seconds = took.as_secs_f64();
        let at = bounds.partition_point(|bound| *bound < seconds);
        self.buckets[at.min(MOST - 1)].fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Records a number of bytes; such a histogram is written with [`Histogram::write_sizes`].
    pub(crate) fn record_size(&self, bounds: &[f64], bytes: u64) {
        self.record_sizes(bounds, bytes, 1);
    }

    /// The same so many times.
    pub(crate) fn record_sizes(&self, bounds: &[f64], bytes: u64, times: u64) {
        let at = bounds.partition_point(|bound| *bound < bytes as f64);
        self.buckets[at.min(MOST - 1)].fetch_add(times, Ordering::Relaxed);
        self.nanos.fetch_add(bytes * times, Ordering::Relaxed);
    }

    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().map(|b| b.load(Ordering::Relaxed)).sum()
    }

    /// Writes the series of a histogram; `labels` without braces.
    pub(crate) fn write(&self, out: &mut String, name: &str, labels: &str, bounds: &[f64]) {
        self.write_from(out, name, labels, bounds, 0);
    }

    /// The same without the first bounds: what they hold counts for the next one.
    pub(crate) fn write_from(&self, out: &mut String, name: &str, labels: &str, bounds: &[f64], first: usize) {
        let sum = Duration::from_nanos(self.nanos.load(Ordering::Relaxed)).as_secs_f64();
        self.write_with(out, name, labels, (bounds, first), sum);
    }

    /// The same for sizes.
    pub(crate) fn write_sizes(&self, out: &mut String, name: &str, labels: &str, bounds: &[f64]) {
        self.write_with(out, name, labels, (bounds, 0), self.nanos.load(Ordering::Relaxed) as f64);
    }

    fn write_with(&self, out: &mut String, name: &str, labels: &str, (bounds, first): (&[f64], usize), sum: f64) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut count = 0;
        for (at, bucket) in self.buckets.iter().enumerate().take(bounds.len() + 1) {
            count += bucket.load(Ordering::Relaxed);
            if at < first {
                continue;
            }
            let bound = bounds.get(at).map_or_else(|| "+Inf".to_owned(), |b| go_float(*b));
            // Writing to a string cannot fail, here and below.
            let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}");
        }
        let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = writeln!(out, "{name}_sum{braces} {sum}\n{name}_count{braces} {count}");
    }
}

/// The head of a metric; those of the process have no stability.
pub(crate) fn head(out: &mut String, name: &str, kind: &str, stability: &str, help: &str) {
    let stability = if stability.is_empty() { String::new() } else { format!("[{stability}] ") };
    let _ = writeln!(out, "# HELP {name} {stability}{help}\n# TYPE {name} {kind}");
}

/// One sample; labels as pairs.
pub(crate) fn sample(out: &mut String, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
    out.push_str(name);
    if !labels.is_empty() {
        let _ = write!(out, "{{{}}}", pairs(labels));
    }
    let _ = writeln!(out, " {value}");
}

/// Labels as they stand between braces.
pub(crate) fn pairs(labels: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (at, (key, value)) in labels.iter().enumerate() {
        let comma = if at > 0 { "," } else { "" };
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(out, "{comma}{key}=\"{escaped}\"");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_upwards() {
        let (histogram, bounds) = (Histogram::default(), [0.1, 1.0]);
        for millis in [50, 100, 500, 5000] {
            histogram.record(&bounds, Duration::from_millis(millis));
        }
        let mut out = String::new();
        histogram.write(&mut out, "x", "a=\"b\"", &bounds);
        let want = "x_bucket{a=\"b\",le=\"0.1\"} 2\nx_bucket{a=\"b\",le=\"1\"} 3\nx_bucket{a=\"b\",le=\"+Inf\"} 4\nx_sum{a=\"b\"} 5.65\nx_count{a=\"b\"} 4\n";
        assert_eq!(out, want);
    }
}
