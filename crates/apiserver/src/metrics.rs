//! Metrics with the names and labels of the stock API server.

mod build;
mod doors;
mod family;
mod flow;
mod levels;
mod plugins;
mod process;
pub(crate) mod rare;
mod requests;
mod store;
mod summary;
mod timed;

use crate::cache::Caches;
use crate::flow::{Class, Fairness, Why};
pub(crate) use build::render as render_build;
pub(crate) use doors::{Doors, Step};
pub(crate) use family::{Counter, Family, Histogram};
pub(crate) use family::{head, pairs, sample};
pub(crate) use requests::{Requests, Running};
use std::sync::Arc;
use std::time::Duration;
use summary::Summary;
pub(crate) use timed::{TimedChain, TimedStore};

const ADMISSION: [f64; 6] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5];
const WEBHOOK: [f64; 8] = [0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0];
#[derive(Default)]
pub(crate) struct Metrics {
    pub(crate) requests: Requests,
    flow: flow::Flow,
    admission: Family<(&'static str, &'static str, bool), (Histogram, Summary)>,
    pub(crate) plugins: plugins::Plugins,
    webhooks: Family<(String, &'static str, &'static str, bool), Histogram>,
    health: Family<(String, &'static str, bool), Counter>,
    pub(crate) doors: Doors,
    pub(crate) store: store::Requests,
}

impl Metrics {
    pub(crate) fn flow_entered(&self, class: &Class, waited: Duration, refused: Option<Why>, seats: u32) {
        self.flow.entered(class, waited, refused, seats);
    }

    pub(crate) fn flow_executed(&self, class: &Class, took: Duration, seats: u32) {
        self.flow.executed(class, took, seats);
    }

    /// Counts a request as waiting as long as what is returned is there.
    pub(crate) fn flow_queued(&self, class: &Class, seats: u32) -> flow::Queued {
        self.flow.queued(class, seats)
    }

    /// A request came into a queue of this length.
    pub(crate) fn flow_enqueued(&self, class: &Class, length: usize, waits: bool) {
        self.flow.enqueued(class, length, waits);
    }

    pub(crate) fn flow_watched(&self, class: &Class, watchers: usize) {
        self.flow.watched(class, watchers);
    }

    /// A step of admission, `admit` or `validate`, for an operation.
    pub(crate) fn admitted(&self, step: &'static str, operation: &'static str, rejected: bool, took: Duration) {
        let key = (step, operation, rejected);
        let series = self.admission.of(&key, || key);
        series.0.record(&ADMISSION, took);
        series.1.record(took);
    }

    /// A webhook was asked.
    pub(crate) fn webhook(&self, name: &str, step: &'static str, operation: &'static str, no: bool, took: Duration) {
        let key = (name.to_owned(), operation, step, no);
        self.webhooks.of(&key, || key.clone()).record(&WEBHOOK, took);
    }

    /// A health check was asked through a door.
    pub(crate) fn checked(&self, name: &str, door: &'static str, healthy: bool) {
        let key = (name.to_owned(), door, healthy);
        self.health.of(&key, || key.clone()).add(1);
    }

    pub(crate) fn render(&self, caches: &Caches, fairness: &Fairness, store_bytes: u64) -> String {
        let mut out = String::with_capacity(64 << 10);
        self.requests.render(&mut out);
        fairness.render(&mut out);
        self.flow.render(&mut out);
        self.render_doors(&mut out);
        let name = "apiserver_storage_objects";
        head(
            &mut out,
            name,
            "gauge",
            "STABLE",
            "(Deprecated since 1.34.0) [DEPRECATED, consider using apiserver_resource_objects instead] Number of stored objects at the time of last check split by kind. In case of a fetching error, the value will be -1.",
        );
        for (resource, count) in caches.counts() {
            sample(&mut out, name, &[("resource", &resource.to_string())], count);
        }
        let name = "apiserver_resource_objects";
        let help = "Number of stored objects at the time of last check split by kind. In case of a fetching error, the value will be -1.";
        head(&mut out, name, "gauge", "ALPHA", help);
        for (resource, count) in caches.counts() {
            sample(&mut out, name, &[("group", &resource.group), ("resource", &resource.resource)], count);
        }
        caches.render(&mut out);
        self.store.render(&mut out, caches);
        let name = "apiserver_storage_size_bytes";
        head(&mut out, name, "gauge", "STABLE", "Size of the storage database file physically allocated in bytes.");
        sample(&mut out, name, &[("storage_cluster_id", "")], store_bytes);
        process::render(&mut out);
        rare::render(&mut out);
        out
    }

    /// What each plugin and each webhook took.
    fn render_plugins(&self, out: &mut String) {
        self.plugins.render(out);
        let name = "apiserver_admission_webhook_admission_duration_seconds";
        let help = "Admission webhook latency histogram in seconds, identified by name and broken out for each operation and API resource and type (validate or admit).";
        head(out, name, "histogram", "STABLE", help);
        for ((webhook, operation, step, no), histogram) in self.webhooks.all() {
            histogram.write(out, name, &admission(&webhook, operation, step, no), &WEBHOOK);
        }
    }

    fn render_doors(&self, out: &mut String) {
        self.render_plugins(out);
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
            histogram.0.write(out, name, &labels, &ADMISSION);
        }
        let name = "apiserver_admission_step_admission_duration_seconds_summary";
        let help = "Admission sub-step latency summary in seconds, broken out for each operation and API resource and step type (validate or admit).";
        head(out, name, "summary", "ALPHA", help);
        for ((step, operation, rejected), series) in self.admission.all() {
            let rejected = if rejected { "true" } else { "false" };
            series.1.write(out, name, &pairs(&[("operation", operation), ("rejected", rejected), ("type", step)]));
        }
        self.doors.render(out);
    }

    /// `/metrics/slis`: whether each health check passes, and how often it was asked.
    pub(crate) fn render_slis(&self, checks: &[(&'static str, Vec<(String, bool)>)]) -> String {
        let mut out = String::new();
        let name = "kubernetes_healthcheck";
        head(&mut out, name, "gauge", "STABLE", "This metric records the result of a single healthcheck.");
        for (door, checks) in checks {
            for (check, healthy) in checks {
                sample(&mut out, name, &[("name", check), ("type", door)], u8::from(*healthy));
            }
        }
        let name = "kubernetes_healthchecks_total";
        head(&mut out, name, "counter", "STABLE", "This metric records the results of all healthcheck.");
        for ((check, door, healthy), counter) in self.health.all() {
            let status = if healthy { "success" } else { "error" };
            sample(&mut out, name, &[("name", &check), ("status", status), ("type", door)], counter.get());
        }
        out
    }
}

fn admission(name: &str, operation: &str, step: &str, rejected: bool) -> String {
    let rejected = if rejected { "true" } else { "false" };
    family::pairs(&[("name", name), ("operation", operation), ("rejected", rejected), ("type", step)])
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
        ];
        for (at, (name, stability, help)) in names.iter().enumerate() {
            let name = format!("apiserver_flowcontrol_{name}");
            head(out, &name, "gauge", stability, help);
            for (level, values) in &gauges {
                sample(out, &name, &[("priority_level", level)], values[at]);
            }
        }
        levels::render(&self.gauges_of_use(), out);
    }
}

/// Shared by what records.
pub(crate) type Shared = Arc<Metrics>;
