//! Priority and fairness: what was served, what waited, what was refused, and the seats of each level.

use super::family::{Counter, Family, Gauge, Histogram, head, pairs, sample};
use crate::flow::{Class, Why};
use hashbrown::Equivalent;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

const WAITS: [f64; 13] = [0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0];
const SEATS: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 100.0];
const LENGTHS: [f64; 8] = [0.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0];
const WATCHERS: [f64; 6] = [0.0, 1.0, 10.0, 100.0, 1000.0, 10_000.0];

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key(Arc<str>, Arc<str>);

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&*self.0, &*self.1).hash(state);
    }
}

struct Ref<'a>(&'a str, &'a str);

impl Hash for Ref<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.0, self.1).hash(state);
    }
}

impl Equivalent<Key> for Ref<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self.0 == *key.0 && *self.1 == *key.1
    }
}

#[derive(Default)]
struct Series {
    dispatched: Counter,
    refused: [Counter; 3],
    waited: Histogram,
    waited_in_vain: Histogram,
    took: Histogram,
    seats: Histogram,
    watchers: Histogram,
    lengths: Histogram,
    /// Requests that found no seat when they came.
    unaccommodated: Counter,
    /// What is so now: requests that are served, their seats, requests that wait, their seats.
    now: [Gauge; 4],
}

/// A request that waits, counted as long as it is there.
pub(crate) struct Queued(Arc<Series>, u32);

impl Drop for Queued {
    fn drop(&mut self) {
        self.0.now[2].add(-1);
        self.0.now[3].add(-i64::from(self.1));
    }
}

#[derive(Default)]
pub(crate) struct Flow {
    series: Family<Key, Series>,
}

const REASONS: [Why; 3] = [Why::QueueFull, Why::ConcurrencyLimit, Why::TimeOut];

fn labels(key: &Key) -> [(&'static str, &str); 2] {
    [("flow_schema", &*key.1), ("priority_level", &*key.0)]
}

impl Flow {
    fn of(&self, class: &Class) -> Arc<Series> {
        self.series.of(&Ref(&class.level, &class.schema), || Key(class.level.clone(), class.schema.clone()))
    }

    /// A request got its seats or was refused, after a wait.
    pub(crate) fn entered(&self, class: &Class, waited: Duration, refused: Option<Why>, seats: u32) {
        let series = self.of(class);
        series.seats.record_size(&SEATS, seats.into());
        match refused.and_then(|why| REASONS.iter().position(|r| *r == why)) {
            None => {
                series.dispatched.add(1);
                series.now[0].add(1);
                series.now[1].add(seats.into());
                series.waited.record(&WAITS, waited);
            }
            Some(why) => {
                series.refused[why].add(1);
                series.waited_in_vain.record(&WAITS, waited);
            }
        }
    }

    /// A request gave its seats back.
    pub(crate) fn executed(&self, class: &Class, took: Duration, seats: u32) {
        let series = self.of(class);
        series.took.record(&WAITS, took);
        series.now[0].add(-1);
        series.now[1].add(-i64::from(seats));
    }

    /// A request waits as long as what is returned is there.
    pub(crate) fn queued(&self, class: &Class, seats: u32) -> Queued {
        let series = self.of(class);
        series.now[2].add(1);
        series.now[3].add(seats.into());
        Queued(series, seats)
    }

    /// A request came into a queue that has this length now.
    pub(crate) fn enqueued(&self, class: &Class, length: usize, waits: bool) {
        if length == 0 {
            return;
        }
        let series = self.of(class);
        series.lengths.record_size(&LENGTHS, length as u64);
        series.unaccommodated.add(waits.into());
    }

    /// How many watchers a write has.
    pub(crate) fn watched(&self, class: &Class, watchers: usize) {
        self.of(class).watchers.record_size(&WATCHERS, watchers as u64);
    }

    pub(crate) fn render(&self, out: &mut String) {
        let all = self.series.all();
        let name = "apiserver_flowcontrol_dispatched_requests_total";
        head(out, name, "counter", "BETA", "Number of requests executed by API Priority and Fairness subsystem");
        all.iter().for_each(|(key, series)| sample(out, name, &labels(key), series.dispatched.get()));
        let name = "apiserver_flowcontrol_rejected_requests_total";
        head(out, name, "counter", "BETA", "Number of requests rejected by API Priority and Fairness subsystem");
        for (key, series) in &all {
            for (why, counter) in REASONS.iter().zip(&series.refused).filter(|(_, c)| c.get() > 0) {
                let [schema, level] = labels(key);
                sample(out, name, &[schema, level, ("reason", why.as_str())], counter.get());
            }
        }
        let name = "apiserver_flowcontrol_request_wait_duration_seconds";
        head(out, name, "histogram", "BETA", "Length of time a request spent waiting in its queue");
        for (key, series) in &all {
            for (execute, histogram) in [("false", &series.waited_in_vain), ("true", &series.waited)] {
                let [schema, level] = labels(key);
                let text = pairs(&[("execute", execute), schema, level]);
                histogram.write(out, name, &text, &WAITS);
            }
        }
        let name = "apiserver_flowcontrol_request_execution_seconds";
        head(
            out,
            name,
            "histogram",
            "ALPHA",
            "Duration of initial stage (for a WATCH) or any (for a non-WATCH) stage of request execution in the API Priority and Fairness subsystem",
        );
        for (key, series) in &all {
            let [schema, level] = labels(key);
            series.took.write(out, name, &pairs(&[schema, level, ("type", "regular")]), &WAITS);
        }
        Self::render_now(&all, out);
    }

    fn render_now(all: &[(Key, Arc<Series>)], out: &mut String) {
        let gauges = [
            (
                "current_executing_requests",
                "Number of requests in initial (for a WATCH) or any (for a non-WATCH) execution stage in the API Priority and Fairness subsystem",
            ),
            (
                "current_executing_seats",
                "Concurrency (number of seats) occupied by the currently executing (initial stage for a WATCH, any stage otherwise) requests in the API Priority and Fairness subsystem",
            ),
            (
                "current_inqueue_requests",
                "Number of requests currently pending in queues of the API Priority and Fairness subsystem",
            ),
            (
                "current_inqueue_seats",
                "Number of seats currently pending in queues of the API Priority and Fairness subsystem",
            ),
        ];
        for (at, (name, help)) in gauges.into_iter().enumerate() {
            let name = format!("apiserver_flowcontrol_{name}");
            head(out, &name, "gauge", if at == 3 { "ALPHA" } else { "BETA" }, help);
            all.iter().for_each(|(key, series)| sample(out, &name, &labels(key), series.now[at].get()));
        }
        let name = "apiserver_flowcontrol_work_estimated_seats";
        let help = "Number of estimated seats (maximum of initial and final seats) associated with requests in API Priority and Fairness";
        head(out, name, "histogram", "ALPHA", help);
        all.iter().for_each(|(key, series)| series.seats.write_sizes(out, name, &pairs(&labels(key)), &SEATS));
        let name = "apiserver_flowcontrol_request_queue_length_after_enqueue";
        let help =
            "Length of queue in the API Priority and Fairness subsystem, as seen by each request after it is enqueued";
        head(out, name, "histogram", "ALPHA", help);
        for (key, series) in all.iter().filter(|(_, series)| series.lengths.count() > 0) {
            series.lengths.write_sizes(out, name, &pairs(&labels(key)), &LENGTHS);
        }
        if all.iter().any(|(_, series)| series.unaccommodated.get() > 0) {
            let name = "apiserver_flowcontrol_request_dispatch_no_accommodation_total";
            let help =
                "Number of times a dispatch attempt resulted in a non accommodation due to lack of available seats";
            head(out, name, "counter", "ALPHA", help);
            for (key, series) in all.iter().filter(|(_, series)| series.unaccommodated.get() > 0) {
                sample(out, name, &labels(key), series.unaccommodated.get());
            }
        }
        let name = "apiserver_flowcontrol_watch_count_samples";
        head(out, name, "histogram", "ALPHA", "count of watchers for mutating requests in API Priority and Fairness");
        for (key, series) in all.iter().filter(|(_, series)| series.watchers.count() > 0) {
            series.watchers.write_sizes(out, name, &pairs(&labels(key)), &WATCHERS);
        }
    }
}
