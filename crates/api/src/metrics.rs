//! What the parts of a process count, under the names that stock's parts have, as one page of text.
//!
//! Invariants: recording is one look-up and one addition; a metric without a record is not shown. The registry is the
//! process's, as there is one page for a process.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a metric is.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Records by the upper bounds below which they lie.
    Histogram(&'static [f64]),
}

/// A metric: `prometheus` calls this a family.
#[derive(Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// `ALPHA`, `BETA` or `STABLE`, as stock says it.
    pub stability: &'static str,
    /// What it tells.
    pub help: &'static str,
    /// What it is.
    pub kind: Kind,
}

/// Bounds that double, as stock's: `count` of them from `start` on.
pub const fn doubling<const COUNT: usize>(start: f64) -> [f64; COUNT] {
    let mut bounds = [start; COUNT];
    let mut at = 1;
    while at < COUNT {
        bounds[at] = bounds[at - 1] * 2.0;
        at += 1;
    }
    bounds
}

#[derive(Debug, Default)]
struct Record {
    value: f64,
    counts: Vec<u64>,
}

struct Family {
    metric: &'static Metric,
    records: BTreeMap<String, Record>,
}

static FAMILIES: LazyLock<Mutex<BTreeMap<&'static str, Family>>> = LazyLock::new(Mutex::default);

/// A panic while one was held leaves nothing half done that matters.
fn families() -> MutexGuard<'static, BTreeMap<&'static str, Family>> {
    FAMILIES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Labels as they are written: `a="b",c="d"`.
fn written(labels: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (name, value) in labels {
        let comma = if out.is_empty() { "" } else { "," };
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        // Writing to a string does not fail.
        let _ = write!(out, "{comma}{name}=\"{value}\"");
    }
    out
}

impl Metric {
    fn change(&'static self, labels: &[(&str, &str)], change: impl FnOnce(&mut Record)) {
        let mut families = families();
        let family = families.entry(self.name).or_insert_with(|| Family { metric: self, records: BTreeMap::new() });
        change(family.records.entry(written(labels)).or_default());
    }

    /// Counts `by` more.
    pub fn add(&'static self, labels: &[(&str, &str)], by: u64) {
        self.change(labels, |record| record.value += by as f64);
    }

    /// Shows `value` from now on.
    pub fn set(&'static self, labels: &[(&str, &str)], value: f64) {
        self.change(labels, |record| record.value = value);
    }

    /// Shows `value` from now on, and nothing else that has the labels of `base`.
    pub fn only(&'static self, labels: &[(&str, &str)], base: &[(&str, &str)], value: f64) {
        let base: Vec<String> = base.iter().map(|label| written(&[*label])).collect();
        if let Some(family) = families().get_mut(self.name) {
            family.records.retain(|labels, _| !base.iter().all(|label| labels.split(',').any(|l| l == label)));
        }
        self.set(labels, value);
    }

    /// Records one observation of a histogram.
    pub fn observe(&'static self, labels: &[(&str, &str)], value: f64) {
        let Kind::Histogram(bounds) = self.kind else { return };
        self.change(labels, |record| {
            record.counts.resize(bounds.len() + 1, 0);
            record.counts[bounds.partition_point(|b| *b < value)] += 1;
            record.value += value;
        });
    }

    /// Records how long something took, in seconds.
    pub fn took(&'static self, labels: &[(&str, &str)], time: Duration) {
        self.observe(labels, time.as_secs_f64());
    }

    fn write(&self, records: &BTreeMap<String, Record>, out: &mut String) -> std::fmt::Result {
        let Self { name, stability, help, kind } = self;
        let called = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        write!(out, "# HELP {name} [{stability}] {help}\n# TYPE {name} {called}\n")?;
        for (labels, record) in records {
            let braced = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
            let Kind::Histogram(bounds) = kind else {
                writeln!(out, "{name}{braced} {}", record.value)?;
                continue;
            };
            let (mut sum, comma) = (0, if labels.is_empty() { "" } else { "," });
            let mut counts = record.counts.clone();
            counts.resize(bounds.len() + 1, 0);
            let ends = bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
            for (end, count) in ends.zip(&counts) {
                sum += count;
                writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{end}\"}} {sum}")?;
            }
            writeln!(out, "{name}_sum{braced} {}\n{name}_count{braced} {sum}", record.value)?;
        }
        Ok(())
    }
}

/// Everything that was recorded, as text.
pub fn render() -> String {
    let mut out = String::new();
    for family in families().values() {
        // Writing to a string does not fail.
        let _ = family.metric.write(&family.records, &mut out);
    }
    out
}

/// These metrics as text: of those in `labelled` what was recorded, those in `plain` also when nothing was.
pub fn page(plain: &[&'static Metric], labelled: &[&'static Metric]) -> String {
    let mut out = String::new();
    let (families, nothing) = (families(), BTreeMap::from([(String::new(), Record::default())]));
    let mut all: Vec<(&&'static Metric, bool)> = plain.iter().map(|m| (m, true)).collect();
    all.extend(labelled.iter().map(|m| (m, false)));
    all.sort_by_key(|(metric, _)| metric.name);
    for (metric, always) in all {
        let records = families.get(metric.name).map(|f| &f.records).or(always.then_some(&nothing));
        if let Some(records) = records {
            // Writing to a string does not fail.
            let _ = metric.write(records, &mut out);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    static SHOWN: Metric = Metric { name: "shown_total", stability: "ALPHA", help: "A counter.", kind: Kind::Counter };
    static TIMES: Metric =
        Metric { name: "shown_seconds", stability: "BETA", help: "Times.", kind: Kind::Histogram(&doubling::<3>(0.5)) };

    #[test]
    fn what_is_recorded_is_shown_as_stock_writes_it() {
        assert!(!render().contains("shown_total"));
        SHOWN.add(&[("a", "x\"y"), ("b", "")], 2);
        SHOWN.add(&[("a", "x\"y"), ("b", "")], 1);
        TIMES.took(&[], Duration::from_millis(700));
        TIMES.took(&[], Duration::from_secs(9));
        let page = render();
        for line in [
            "# HELP shown_total [ALPHA] A counter.",
            "# TYPE shown_total counter",
            "shown_total{a=\"x\\\"y\",b=\"\"} 3",
            "shown_seconds_bucket{le=\"0.5\"} 0",
            "shown_seconds_bucket{le=\"1\"} 1",
            "shown_seconds_bucket{le=\"2\"} 1",
            "shown_seconds_bucket{le=\"+Inf\"} 2",
            "shown_seconds_sum 9.7",
            "shown_seconds_count 2",
        ] {
            assert!(page.lines().any(|l| l == line), "{line} is not in\n{page}");
        }
    }

    #[test]
    fn a_page_shows_plain_metrics_from_the_start() {
        static PLAIN: Metric = Metric { name: "plain_total", stability: "ALPHA", help: "P.", kind: Kind::Counter };
        static OTHER: Metric = Metric { name: "other_total", stability: "ALPHA", help: "O.", kind: Kind::Counter };
        assert_eq!(
            page(&[&PLAIN], &[&OTHER]),
            "# HELP plain_total [ALPHA] P.\n# TYPE plain_total counter\nplain_total 0\n"
        );
    }
}
