//! Priority and fairness: what was served, what waited, what was refused, and the seats of each level.

use super::family::{Counter, Family, Histogram, head, sample};
use crate::flow::{Class, Why};
use hashbrown::Equivalent;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

const WAITS: [f64; 16] = [0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 45.0, 60.0, 120.0];

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
}

#[derive(Default)]
pub(crate) struct Flow {
    series: Family<Key, Series>,
}

const REASONS: [Why; 3] = [Why::QueueFull, Why::ConcurrencyLimit, Why::TimeOut];

impl Flow {
    fn of(&self, class: &Class) -> Arc<Series> {
        self.series.of(&Ref(&class.level, &class.schema), || Key(class.level.clone(), class.schema.clone()))
    }

    /// A request got its seats or was refused, after a wait.
    pub(crate) fn entered(&self, class: &Class, waited: Duration, refused: Option<Why>) {
        let series = self.of(class);
        match refused.and_then(|why| REASONS.iter().position(|r| *r == why)) {
            None => {
                series.dispatched.add(1);
                series.waited.record(&WAITS, waited);
            }
            Some(why) => {
                series.refused[why].add(1);
                series.waited_in_vain.record(&WAITS, waited);
            }
        }
    }

    /// A request gave its seats back.
    pub(crate) fn executed(&self, class: &Class, took: Duration) {
        self.of(class).took.record(&WAITS, took);
    }

    pub(crate) fn render(&self, out: &mut String) {
        let all = self.series.all();
        fn labels(key: &Key) -> [(&'static str, &str); 2] {
            [("flow_schema", &*key.1), ("priority_level", &*key.0)]
        }
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
                let text = super::family::pairs(&[("execute", execute), schema, level]);
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
            series.took.write(out, name, &super::family::pairs(&labels(key)), &WAITS);
        }
    }
}
