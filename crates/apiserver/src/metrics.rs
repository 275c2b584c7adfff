//! Metrics with the names and labels of the stock API server.

mod family;
mod flow;
mod process;
mod requests;
mod timed;

use crate::cache::Caches;
use crate::flow::{Class, Fairness, Why};
pub(crate) use family::{Counter, Family, Histogram};
pub(crate) use family::{head, sample};
pub(crate) use requests::{Requests, Running};
use std::sync::Arc;
use std::time::Duration;
pub(crate) use timed::{TimedChain, TimedStore};

const ADMISSION: [f64; 5] = [0.005, 0.025, 0.1, 0.5, 1.0];
const STORE: [f64; 20] =
    [0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 30.0];

#[derive(Default)]
pub(crate) struct Metrics {
    pub(crate) requests: Requests,
    flow: flow::Flow,
    admission: Family<(&'static str, &'static str, bool), Histogram>,
    authentication: Family<(&'static str,), Counter>,
    decisions: Family<(&'static str,), Counter>,
    store: Family<(&'static str,), Histogram>,
}

impl Metrics {
    pub(crate) fn flow_entered(&self, class: &Class, waited: Duration, refused: Option<Why>) {
        self.flow.entered(class, waited, refused);
    }

    pub(crate) fn flow_executed(&self, class: &Class, took: Duration) {
        self.flow.executed(class, took);
    }

    /// A step of admission, `admit` or `validate`, for an operation.
    pub(crate) fn admitted(&self, step: &'static str, operation: &'static str, rejected: bool, took: Duration) {
        let key = (step, operation, rejected);
        self.admission.of(&key, || key).record(&ADMISSION, took);
    }

    /// A request whose credentials were looked at: `success`, `failure` or `error`.
    pub(crate) fn authenticated(&self, result: &'static str) {
        self.authentication.of(&(result,), || (result,)).add(1);
    }

    /// An authorizer's answer: `allowed`, `denied` or `no-opinion`.
    pub(crate) fn decided(&self, decision: &'static str) {
        self.decisions.of(&(decision,), || (decision,)).add(1);
    }

    /// A request to the store: `get`, `list`, `create`, `update` or `delete`.
    pub(crate) fn stored(&self, operation: &'static str, took: Duration) {
        self.store.of(&(operation,), || (operation,)).record(&STORE, took);
    }

    pub(crate) fn render(&self, caches: &Caches, fairness: &Fairness, store_bytes: u64) -> String {
        let mut out = String::with_capacity(64 << 10);
        self.requests.render(&mut out);
        self.requests.render_sizes(&mut out);
        fairness.render(&mut out);
        self.flow.render(&mut out);
        self.render_doors(&mut out);
        let name = "apiserver_storage_objects";
        head(
            &mut out,
            name,
            "gauge",
            "STABLE",
            "Number of stored objects at the time of last check split by kind. In case of a fetching error, the value will be -1.",
        );
        for (resource, count) in caches.counts() {
            sample(&mut out, name, &[("resource", &resource.to_string())], count);
        }
        caches.render(&mut out);
        let name = "apiserver_storage_size_bytes";
        head(&mut out, name, "gauge", "STABLE", "Size of the storage database file physically allocated in bytes.");
        sample(&mut out, name, &[("storage_cluster_id", "")], store_bytes);
        process::render(&mut out);
        out
    }

    fn render_doors(&self, out: &mut String) {
        let name = "apiserver_admission_step_admission_duration_seconds";
        head(
            out,
            name,
            "histogram",
            "STABLE",
            "Admission sub-step latency histogram in seconds, broken out for each operation and API resource and step type (validate or admit).",
        );
        for ((step, operation, rejected), histogram) in self.admission.all() {
            let rejected = if rejected { "true" } else { "false" };
            let labels = family::pairs(&[("operation", operation), ("rejected", rejected), ("type", step)]);
            histogram.write(out, name, &labels, &ADMISSION);
        }
        let name = "authentication_attempts";
        head(out, name, "counter", "ALPHA", "Counter of authenticated attempts.");
        for ((result,), counter) in self.authentication.all() {
            sample(out, name, &[("result", result)], counter.get());
        }
        let name = "authorization_attempts_total";
        head(
            out,
            name,
            "counter",
            "ALPHA",
            "Counter of authorization attempts broken down by result. It can be either 'allowed', 'denied', 'no-opinion' or 'error'.",
        );
        for ((result,), counter) in self.decisions.all() {
            sample(out, name, &[("result", result)], counter.get());
        }
        let name = "etcd_request_duration_seconds";
        head(out, name, "histogram", "ALPHA", "Etcd request latency in seconds for each operation and object type.");
        for ((operation,), histogram) in self.store.all() {
            histogram.write(out, name, &family::pairs(&[("operation", operation)]), &STORE);
        }
    }

    /// `/metrics/slis`: whether each health check passes, and how often it was asked.
    pub(crate) fn render_slis(checks: &[(String, bool)], door: &str) -> String {
        let mut out = String::new();
        let name = "kubernetes_healthcheck";
        head(&mut out, name, "gauge", "STABLE", "This metric records the result of a single healthcheck.");
        for (check, healthy) in checks {
            sample(&mut out, name, &[("name", check), ("type", door)], u8::from(*healthy));
        }
        out
    }
}

/// How many seats each level has and uses.
impl Fairness {
    pub(crate) fn render(&self, out: &mut String) {
        let gauges = self.gauges();
        let names = [
            ("nominal_limit_seats", "BETA", "Nominal number of execution seats configured for each priority level"),
            (
                "lower_limit_seats",
                "ALPHA",
                "Configured lower bound on number of execution seats available to each priority level",
            ),
            (
                "upper_limit_seats",
                "ALPHA",
                "Configured upper bound on number of execution seats available to each priority level",
            ),
            (
                "current_limit_seats",
                "ALPHA",
                "current derived number of execution seats available to each priority level",
            ),
            (
                "current_executing_seats",
                "BETA",
                "Concurrency (number of seats) occupied by the currently executing (initial stage for a WATCH, any stage otherwise) requests in the API Priority and Fairness subsystem",
            ),
            (
                "current_executing_requests",
                "BETA",
                "Number of requests in initial (for a WATCH) or any (for a non-WATCH) execution stage in the API Priority and Fairness subsystem",
            ),
            (
                "current_inqueue_requests",
                "BETA",
                "Number of requests currently pending in queues of the API Priority and Fairness subsystem",
            ),
        ];
        for (at, (name, stability, help)) in names.iter().enumerate() {
            let name = format!("apiserver_flowcontrol_{name}");
            head(out, &name, "gauge", stability, help);
            for (level, values) in &gauges {
                sample(out, &name, &[("priority_level", level)], values[at]);
            }
        }
    }
}

/// Shared by what records.
pub(crate) type Shared = Arc<Metrics>;
