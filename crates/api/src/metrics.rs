//! What the parts of a process count, under the names that stock's parts have, as one page of text.
//!
//! Invariants: recording is one look-up and one addition, or the addition alone for whoever keeps a [`Series`]; a metric
//! without a record is not shown. The registry is the process's, as there is one page for a process.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
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
    growing(start, 2.0)
}

/// Bounds of which each is so many times the one before, with the errors of that multiplication, as stock's have them.
pub const fn growing<const COUNT: usize>(start: f64, factor: f64) -> [f64; COUNT] {
    let mut bounds = [start; COUNT];
    let mut at = 1;
    while at < COUNT {
        bounds[at] = bounds[at - 1] * factor;
        at += 1;
    }
    bounds
}

/// Bounds of times where nothing else is said, in seconds.
pub const USUAL: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

static SERVER: OnceLock<String> = OnceLock::new();

/// Says once how labels name this server: the hash of its identity.
pub fn name_server(hash: String) {
    // The first name stays: there is one server in a process.
    let _ = SERVER.set(hash);
}

/// How labels name this server.
pub fn server() -> &'static str {
    SERVER.get().map_or("", String::as_str)
}

/// One set of labels of a metric: whoever records often keeps it, and pays a few atomic additions.
#[derive(Debug)]
pub struct Series {
    kind: Kind,
    /// A number as its bits; the sum of a histogram.
    value: AtomicU64,
    counts: Box<[AtomicU64]>,
}

impl Series {
    fn new(kind: Kind) -> Self {
        let buckets = if let Kind::Histogram(bounds) = kind { bounds.len() + 1 } else { 0 };
        Self { kind, value: AtomicU64::new(0), counts: (0..buckets).map(|_| AtomicU64::new(0)).collect() }
    }

    fn grow(&self, by: f64) {
        let grown = |bits| Some((f64::from_bits(bits) + by).to_bits());
        // It always goes through: the closure never says no.
        let _ = self.value.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown);
    }

    /// Counts `by` more.
    pub fn add(&self, by: u64) {
        self.grow(by as f64);
    }

    /// One less of what comes and goes.
    pub fn less(&self) {
        self.grow(-1.0);
    }

    /// Shows `value` from now on.
    pub fn set(&self, value: f64) {
        self.value.store(value.to_bits(), Ordering::Relaxed);
    }

    /// Records one observation of a histogram.
    pub fn observe(&self, value: f64) {
        let Kind::Histogram(bounds) = self.kind else { return };
        self.counts[bounds.partition_point(|b| *b < value)].fetch_add(1, Ordering::Relaxed);
        self.grow(value);
    }

    /// Records how long something took, in seconds.
    pub fn took(&self, time: Duration) {
        self.observe(time.as_secs_f64());
    }

    fn value(&self) -> f64 {
        f64::from_bits(self.value.load(Ordering::Relaxed))
    }
}

struct Family {
    metric: &'static Metric,
    series: BTreeMap<String, Arc<Series>>,
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

/// A number as Go writes it: from a million on, and below a ten thousandth, with an exponent of two digits.
pub fn go_float(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    if value != 0.0 && !(1e-4..1e6).contains(&value.abs()) {
        let text = format!("{value:e}");
        if let Some((digits, exponent)) = text.split_once('e') {
            let (sign, exponent) = exponent.strip_prefix('-').map_or(("+", exponent), |e| ("-", e));
            return format!("{digits}e{sign}{exponent:0>2}");
        }
    }
    value.to_string()
}

impl Metric {
    /// The series of these labels, which is shown from now on.
    pub fn of(&'static self, labels: &[(&str, &str)]) -> Arc<Series> {
        let mut families = families();
        let family = families.entry(self.name).or_insert_with(|| Family { metric: self, series: BTreeMap::new() });
        family.series.entry(written(labels)).or_insert_with(|| Arc::new(Series::new(self.kind))).clone()
    }

    /// A counter that is not stable.
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, stability: "ALPHA", help, kind: Kind::Counter }
    }

    /// A gauge that is not stable.
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, stability: "ALPHA", help, kind: Kind::Gauge }
    }

    /// A histogram that is not stable.
    pub const fn histogram(name: &'static str, help: &'static str, bounds: &'static [f64]) -> Self {
        Self { name, stability: "ALPHA", help, kind: Kind::Histogram(bounds) }
    }

    /// Counts `by` more.
    pub fn add(&'static self, labels: &[(&str, &str)], by: u64) {
        self.of(labels).add(by);
    }

    /// Shows `value` from now on.
    pub fn set(&'static self, labels: &[(&str, &str)], value: f64) {
        self.of(labels).set(value);
    }

    /// Shows the time that it is now.
    pub fn now(&'static self, labels: &[(&str, &str)]) {
        self.set(labels, jiff::Timestamp::now().as_microsecond() as f64 / 1e6);
    }

    /// Shows `value` from now on, and nothing else that has the labels of `base`.
    pub fn only(&'static self, labels: &[(&str, &str)], base: &[(&str, &str)], value: f64) {
        let base: Vec<String> = base.iter().map(|label| written(&[*label])).collect();
        if let Some(family) = families().get_mut(self.name) {
            family.series.retain(|labels, _| !base.iter().all(|label| labels.split(',').any(|l| l == label)));
        }
        self.set(labels, value);
    }

    /// Records one observation of a histogram.
    pub fn observe(&'static self, labels: &[(&str, &str)], value: f64) {
        self.of(labels).observe(value);
    }

    /// Records how long something took, in seconds.
    pub fn took(&'static self, labels: &[(&str, &str)], time: Duration) {
        self.observe(labels, time.as_secs_f64());
    }

    fn write(&self, all: &BTreeMap<String, Arc<Series>>, out: &mut String) -> std::fmt::Result {
        let Self { name, stability, help, kind } = self;
        let called = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        // Metrics of libraries have no stability.
        let stability = if stability.is_empty() { String::new() } else { format!("[{stability}] ") };
        write!(out, "# HELP {name} {stability}{help}\n# TYPE {name} {called}\n")?;
        for (labels, series) in all {
            let braced = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
            let Kind::Histogram(bounds) = kind else {
                writeln!(out, "{name}{braced} {}", go_float(series.value()))?;
                continue;
            };
            let (mut sum, comma) = (0, if labels.is_empty() { "" } else { "," });
            let ends = bounds.iter().map(|b| go_float(*b)).chain(["+Inf".to_owned()]);
            for (end, count) in ends.zip(&series.counts) {
                sum += count.load(Ordering::Relaxed);
                writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{end}\"}} {sum}")?;
            }
            writeln!(out, "{name}_sum{braced} {}\n{name}_count{braced} {sum}", go_float(series.value()))?;
        }
        Ok(())
    }
}

/// Everything that was recorded, as text.
pub fn render() -> String {
    let mut out = String::new();
    for family in families().values() {
        // Writing to a string does not fail.
        let _ = family.metric.write(&family.series, &mut out);
    }
    out
}

/// These metrics as text: of those in `labelled` what was recorded, those in `plain` also when nothing was.
pub fn page(plain: &[&'static Metric], labelled: &[&'static Metric]) -> String {
    let mut out = String::new();
    let families = families();
    let mut all: Vec<(&&'static Metric, bool)> = plain.iter().map(|m| (m, true)).collect();
    all.extend(labelled.iter().map(|m| (m, false)));
    all.sort_by_key(|(metric, _)| metric.name);
    for (metric, always) in all {
        // Writing to a string does not fail, here and below.
        match families.get(metric.name) {
            Some(family) => drop(metric.write(&family.series, &mut out)),
            None if always => {
                let nothing = BTreeMap::from([(String::new(), Arc::new(Series::new(metric.kind)))]);
                let _ = metric.write(&nothing, &mut out);
            }
            None => {}
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

    #[test]
    fn bounds_are_written_as_go_writes_them() {
        let cases =
            [(0.005, "0.005"), (1.0, "1"), (1e6, "1e+06"), (2_592_000.0, "2.592e+06"), (1e-5, "1e-05"), (0.0, "0")];
        for (value, want) in cases {
            assert_eq!(go_float(value), want);
        }
    }

    #[test]
    fn bounds_have_the_errors_that_go_makes() {
        let bounds: [f64; 4] = growing(10e-9, 10.0);
        assert_eq!(bounds.map(go_float), ["1e-08", "1e-07", "1e-06", "9.999999999999999e-06"]);
    }

    #[test]
    fn a_series_that_is_kept_is_shown_with_the_others() {
        static KEPT: Metric = Metric { name: "kept_total", stability: "ALPHA", help: "K.", kind: Kind::Counter };
        let series = KEPT.of(&[("a", "b")]);
        series.add(2);
        KEPT.add(&[("a", "b")], 1);
        assert!(page(&[], &[&KEPT]).ends_with("kept_total{a=\"b\"} 3\n"));
    }
}
