//! What the parts of a process count, and the page on which they show it.

pub use ironclad_api::metrics::{Kind, Metric, doubling};

/// Everything that was recorded, and the work queues, as text.
pub fn render() -> String {
    let mut out = ironclad_api::metrics::render();
    out.push_str(&crate::queue::metrics::render());
    out
}

/// Whether this process leads, by the Lease's name.
pub(crate) static LEADS: Metric = Metric {
    name: "leader_election_master_status",
    stability: "ALPHA",
    help: "Gauge of if the reporting system is master of the relevant lease, 0 indicates backup, 1 indicates master. 'name' is the string used to identify the lease. Please make sure to group by name.",
    kind: Kind::Gauge,
};

/// Who leads, as text.
pub fn leads() -> String {
    ironclad_api::metrics::page(&[], &[&LEADS])
}

/// Requests to the API server.
pub(crate) static REQUESTS: Metric = Metric {
    name: "rest_client_requests_total",
    stability: "ALPHA",
    help: "Number of HTTP requests, partitioned by status code, method, and host.",
    kind: Kind::Counter,
};

/// How long they took to their answer's head.
pub(crate) static REQUEST_TIMES: Metric = Metric {
    name: "rest_client_request_duration_seconds",
    stability: "ALPHA",
    help: "Request latency in seconds. Broken down by verb, and host.",
    kind: Kind::Histogram(&[0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0]),
};
