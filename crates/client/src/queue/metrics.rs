//! What work queues do, under the names that stock's have: `workqueue_*`.
//!
//! Invariants: recording is a few additions; a queue that is gone is shown no longer. The registry is the process's, as
//! there is one page of metrics for a process; queues of one name are shown as one.

use ironclad_api::metrics::{go_float, growing};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

/// The upper bounds of the histograms, in seconds.
const BOUNDS: [f64; 10] = growing(10e-9, 10.0);

/// Times by the bound below which they lie.
#[derive(Clone, Debug, Default)]
struct Histogram {
    counts: [u64; BOUNDS.len() + 1],
    sum: f64,
}

impl Histogram {
    fn record(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        self.counts[BOUNDS.partition_point(|b| *b < seconds)] += 1;
        self.sum += seconds;
    }

    fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(mine, theirs)| *mine += theirs);
        self.sum += other.sum;
    }

    fn write(&self, out: &mut String, metric: &str, queue: &str) {
        let mut count = 0;
        let bounds = BOUNDS.iter().map(|b| go_float(*b)).chain(["+Inf".to_owned()]);
        for (bound, found) in bounds.zip(self.counts) {
            count += found;
            line(out, &format!("{metric}_bucket"), &format!("name=\"{queue}\",le=\"{bound}\""), count);
        }
        line(out, &format!("{metric}_sum"), &format!("name=\"{queue}\""), self.sum);
        line(out, &format!("{metric}_count"), &format!("name=\"{queue}\""), count);
    }
}

fn line(out: &mut String, metric: &str, labels: &str, value: impl std::fmt::Display) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "{metric}{{{labels}}} {value}");
}

/// What a queue has done.
#[derive(Clone, Debug, Default)]
pub(super) struct Done {
    adds: u64,
    retries: u64,
    waited: Histogram,
    worked: Histogram,
}

impl Done {
    pub(super) fn added(&mut self) {
        self.adds += 1;
    }

    pub(super) fn retried(&mut self) {
        self.retries += 1;
    }

    pub(super) fn waited(&mut self, took: Duration) {
        self.waited.record(took);
    }

    pub(super) fn worked(&mut self, took: Duration) {
        self.worked.record(took);
    }

    fn add(&mut self, other: &Self) {
        self.adds += other.adds;
        self.retries += other.retries;
        self.waited.add(&other.waited);
        self.worked.add(&other.worked);
    }
}

/// What a queue does now.
#[derive(Clone, Debug, Default)]
pub(super) struct Now {
    pub(super) depth: usize,
    /// How long the keys that are worked on have been so, together and the longest, in seconds.
    pub(super) unfinished: f64,
    pub(super) longest: f64,
    pub(super) done: Done,
}

/// A queue that can be looked at.
pub(super) trait Look: Send + Sync {
    fn now(&self) -> Now;
}

static QUEUES: LazyLock<Mutex<Vec<(&'static str, Weak<dyn Look>)>>> = LazyLock::new(Mutex::default);

/// Shows a queue from now on, as long as it is there.
pub(super) fn show(name: &'static str, queue: &Arc<impl Look + 'static>) {
    let queue: Arc<dyn Look> = queue.clone();
    let mut queues = QUEUES.lock();
    queues.retain(|(_, known)| known.strong_count() > 0);
    queues.push((name, Arc::downgrade(&queue)));
}

/// The metrics of every queue that somebody works on, as text.
pub fn render() -> String {
    let queues: Vec<_> = QUEUES.lock().iter().filter_map(|(name, queue)| Some((*name, queue.upgrade()?))).collect();
    let mut all: BTreeMap<&'static str, Now> = BTreeMap::new();
    for (name, queue) in queues {
        let (sum, now) = (all.entry(name).or_default(), queue.now());
        sum.depth += now.depth;
        sum.unfinished += now.unfinished;
        sum.longest = sum.longest.max(now.longest);
        sum.done.add(&now.done);
    }
    write(&all)
}

fn write(all: &BTreeMap<&'static str, Now>) -> String {
    let mut out = String::new();
    let plain: [(&str, &str, &str, fn(&Now) -> f64); 5] = [
        ("workqueue_depth", "gauge", "Current depth of workqueue", |n| n.depth as f64),
        ("workqueue_adds_total", "counter", "Total number of adds handled by workqueue", |n| n.done.adds as f64),
        ("workqueue_retries_total", "counter", "Total number of retries handled by workqueue", |n| {
            n.done.retries as f64
        }),
        (
            "workqueue_unfinished_work_seconds",
            "gauge",
            "How many seconds of work has done that is in progress and hasn't been observed by work_duration. Large values indicate stuck threads. One can deduce the number of stuck threads by observing the rate at which this increases.",
            |n| n.unfinished,
        ),
        (
            "workqueue_longest_running_processor_seconds",
            "gauge",
            "How many seconds has the longest running processor for workqueue been running.",
            |n| n.longest,
        ),
    ];
    for (metric, kind, help, value) in plain {
        head(&mut out, metric, kind, help);
        all.iter().for_each(|(name, now)| line(&mut out, metric, &format!("name=\"{name}\""), value(now)));
    }
    let times: [(&str, &str, fn(&Now) -> &Histogram); 2] = [
        (
            "workqueue_queue_duration_seconds",
            "How long in seconds an item stays in workqueue before being requested.",
            |n| &n.done.waited,
        ),
        ("workqueue_work_duration_seconds", "How long in seconds processing an item from workqueue takes.", |n| {
            &n.done.worked
        }),
    ];
    for (metric, help, histogram) in times {
        head(&mut out, metric, "histogram", help);
        all.iter().for_each(|(name, now)| histogram(now).write(&mut out, metric, name));
    }
    out
}

fn head(out: &mut String, metric: &str, kind: &str, help: &str) {
    // Writing to a string does not fail.
    let _ = write!(out, "# HELP {metric} [BETA] {help}\n# TYPE {metric} {kind}\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::WorkQueue;

    #[tokio::test(start_paused = true)]
    async fn a_queue_shows_what_waits_what_is_worked_on_and_what_was_done() {
        let queue = WorkQueue::new();
        show("shown", &queue);
        for key in ["a", "b", "c"] {
            queue.add(key);
            queue.add(key);
        }
        tokio::time::advance(Duration::from_secs(2)).await;
        let (a, b) = (queue.next().await.unwrap(), queue.next().await.unwrap());
        tokio::time::advance(Duration::from_secs(3)).await;
        queue.done(&a);
        queue.add_rate_limited(a);
        tokio::time::advance(Duration::from_secs(1)).await;
        let page = render();
        let expected = [
            "workqueue_depth{name=\"shown\"} 1",
            "workqueue_adds_total{name=\"shown\"} 3",
            "workqueue_retries_total{name=\"shown\"} 1",
            "workqueue_unfinished_work_seconds{name=\"shown\"} 4",
            "workqueue_longest_running_processor_seconds{name=\"shown\"} 4",
            "workqueue_queue_duration_seconds_bucket{name=\"shown\",le=\"1\"} 0",
            "workqueue_queue_duration_seconds_bucket{name=\"shown\",le=\"10\"} 2",
            "workqueue_queue_duration_seconds_sum{name=\"shown\"} 4",
            "workqueue_work_duration_seconds_sum{name=\"shown\"} 3",
            "workqueue_work_duration_seconds_bucket{name=\"shown\",le=\"1e-08\"} 0",
            "# TYPE workqueue_work_duration_seconds histogram",
        ];
        for line in expected {
            assert!(page.lines().any(|l| l == line), "{line} is not in\n{page}");
        }
        queue.done(&b);
        drop(queue);
        assert!(!render().contains("shown"));
    }
}
