//! What is counted seldom, or is so rare that stock shows it as 0 from the start.

use super::family::{head, sample};
use ironclad_api::metrics::{Metric, page};
use ironclad_kinds::Kind as Row;
use std::collections::BTreeMap;
use std::time::Duration;

const fn beta(metric: Metric) -> Metric {
    Metric { stability: "BETA", ..metric }
}

/// Counters that stand there from the start. Their causes: other servers that serve what this one does not, generated
/// validation beside written one, and repairs, which here are not loops but part of each write.
static NEVER: [Metric; 6] = [
    Metric::counter(
        "aggregator_discovery_peer_aggregated_cache_hits_total",
        "Counter of number of times discovery was served from peer-aggregated cache",
    ),
    Metric::counter(
        "aggregator_discovery_peer_aggregated_cache_misses_total",
        "Counter of number of times discovery was aggregated across all API servers",
    ),
    beta(Metric::counter(
        "apiserver_validation_declarative_validation_mismatch_total",
        "Number of times declarative validation results differed from handwritten validation results for core types.",
    )),
    beta(Metric::counter(
        "apiserver_validation_declarative_validation_panic_total",
        "Number of times declarative validation has panicked during validation.",
    )),
    Metric {
        stability: "INTERNAL",
        ..Metric::counter(
            "apiserver_validation_duplicate_validation_error_total",
            "Number of duplicate validation errors during validation.",
        )
    },
    Metric::counter(
        "apiserver_nodeport_repair_reconcile_errors_total",
        "Number of reconciliation failures on the nodeport repair reconcile loop",
    ),
];
/// Clients of this server bear certificates of their own and start no plug-ins for them.
static PLUGIN_AGE: Metric = Metric::histogram(
    "rest_client_exec_plugin_certificate_rotation_age",
    "Histogram of the number of seconds the last auth exec plugin client certificate lived before being rotated. If auth exec plugin client certificates are unused, histogram will contain no data.",
    &[
        600.0,
        1800.0,
        3600.0,
        14_400.0,
        86_400.0,
        604_800.0,
        2_592_000.0,
        7_776_000.0,
        15_552_000.0,
        31_104_000.0,
        124_416_000.0,
    ],
);
static PLUGIN_TTL: Metric = Metric::gauge(
    "rest_client_exec_plugin_ttl_seconds",
    "Gauge of the shortest TTL (time-to-live) of the client certificate(s) managed by the auth exec plugin. The value is in seconds until certificate expiry (negative if already expired). If auth exec plugins are unused or manage no TLS certificates, the value will be +INF.",
);
static FIELD_VALIDATION: Metric = Metric::histogram(
    "field_validation_request_duration_seconds",
    "Response latency distribution in seconds for each field validation value",
    &[0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0],
);
static WATCH_LISTS: Metric = beta(Metric::histogram(
    "apiserver_watch_list_duration_seconds",
    "Response latency distribution in seconds for watch list requests broken by group, version, resource and scope.",
    &[0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0],
));
static INIT_EVENTS: Metric = Metric::counter(
    "apiserver_init_events_total",
    "Counter of init events processed in watch cache broken by resource type.",
);
static LOG_TLS: Metric = Metric::counter(
    "kube_apiserver_pod_logs_backend_tls_failure_total",
    "Total number of requests for pods/logs that failed due to kubelet server TLS verification",
);
static LOG_INSECURE: Metric = Metric::counter(
    "kube_apiserver_pod_logs_insecure_backend_total",
    "Total number of requests for pods/logs sliced by usage type: enforce_tls, skip_tls_allowed, skip_tls_denied",
);

static NAMELESS: Metric = Metric::counter(
    "apiserver_kube_aggregator_x509_missing_san_total",
    "Counts the number of requests to servers missing SAN extension in their serving certificate OR the number of connection failures due to the lack of x509 certificate SAN extension missing (either/or, based on the runtime environment)",
);
static WEAK: Metric = Metric::counter(
    "apiserver_kube_aggregator_x509_insecure_sha1_total",
    "Counts the number of requests to servers with insecure SHA1 signatures in their serving certificate OR the number of connection failures due to the insecure SHA1 signatures (either/or, based on the runtime environment)",
);

/// A server behind an APIService could not be connected to.
pub(crate) fn unconnected(why: &str) {
    let [nameless, weak] = ironclad_remote::certificate_flaws(why);
    [(nameless, &NAMELESS), (weak, &WEAK)].into_iter().filter(|(is, _)| *is).for_each(|(_, metric)| metric.add(&[], 1));
}

/// A write says how it wants its fields checked; stock shows who asked so, without times.
pub(crate) fn field_validation(directive: &str) {
    if matches!(directive, "" | "Ignore" | "Warn" | "Strict") {
        drop(FIELD_VALIDATION.of(&[("field_validation", directive)]));
    }
}

fn scope(row: &Row, namespace: &str, name: &str) -> &'static str {
    match (name.is_empty(), namespace.is_empty() || !row.namespaced) {
        (false, _) => "resource",
        (true, false) => "namespace",
        (true, true) => "cluster",
    }
}

/// A watch has told all that was there, which it was asked for.
pub(crate) fn watch_list(row: &Row, namespace: &str, name: &str, took: Duration) {
    let labels = [
        ("group", row.group.as_ref()),
        ("resource", row.plural.as_ref()),
        ("scope", scope(row, namespace, name)),
        ("version", row.version.as_ref()),
    ];
    WATCH_LISTS.took(&labels, took);
}

/// So many objects were there when a watch began.
pub(crate) fn init_events(row: &Row, count: usize) {
    if count > 0 {
        INIT_EVENTS.add(&[("group", row.group.as_ref()), ("resource", row.plural.as_ref())], count as u64);
    }
}

/// A log is asked for, over a connection whose other end is checked or need not be.
pub(crate) fn log(insecure: bool) {
    LOG_INSECURE.add(&[("usage", if insecure { "skip_tls_allowed" } else { "enforce_tls" })], 1);
}

/// A kubelet's certificate was not good when a log was asked for.
pub(crate) fn log_refused() {
    LOG_TLS.add(&[], 1);
}

/// Writes all of it.
pub(crate) fn render(out: &mut String) {
    PLUGIN_TTL.set(&[], f64::INFINITY);
    let mut plain: Vec<&'static Metric> = NEVER.iter().collect();
    plain.extend([&PLUGIN_AGE, &PLUGIN_TTL, &LOG_TLS, &NAMELESS, &WEAK]);
    out.push_str(&page(&plain, &[&FIELD_VALIDATION, &WATCH_LISTS, &INIT_EVENTS, &LOG_INSECURE]));
}

/// How many metrics a page shows, by their stability, and those that are gone.
pub(crate) fn registered(out: &mut String) {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for line in out.lines().filter_map(|l| l.strip_prefix("# HELP ")) {
        let help = line.split_once(' ').map_or("", |(_, help)| help);
        let Some(at) = ["[ALPHA]", "[BETA]", "[STABLE]", "[INTERNAL]"].into_iter().find(|s| help.contains(s)) else {
            continue;
        };
        let deprecated = help.split_once("(Deprecated since ").and_then(|(_, rest)| rest.split_once(')'));
        *counts.entry((deprecated.map_or("", |d| d.0), at.trim_matches(['[', ']']))).or_default() += 1;
    }
    // These are metrics themselves.
    *counts.entry(("", "BETA")).or_default() += 3;
    *counts.entry(("", "ALPHA")).or_default() += 1;
    let lines: Vec<_> = counts.into_iter().map(|((d, s), n)| (d.to_owned(), s.to_owned(), n)).collect();
    let name = "registered_metrics_total";
    head(
        out,
        name,
        "counter",
        "BETA",
        "The count of registered metrics broken by stability level and deprecation version.",
    );
    for (deprecated, stability, count) in lines {
        sample(out, name, &[("deprecated_version", &deprecated), ("stability_level", &stability)], count);
    }
    for (name, stability, help) in [
        ("hidden_metrics_total", "BETA", "The count of hidden metrics."),
        ("disabled_metrics_total", "BETA", "The count of disabled metrics."),
        (
            "cardinality_enforcement_unexpected_categorizations_total",
            "ALPHA",
            "The count of unexpected categorizations during cardinality enforcement.",
        ),
    ] {
        head(out, name, "counter", stability, help);
        sample(out, name, &[], 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_counted_by_their_stability() {
        let mut page =
            "# HELP a [STABLE] A.\n# HELP b [STABLE] (Deprecated since 1.34.0) B.\n# HELP c [ALPHA] C.\n# HELP d D.\n"
                .to_owned();
        registered(&mut page);
        for line in [
            "registered_metrics_total{deprecated_version=\"\",stability_level=\"STABLE\"} 1",
            "registered_metrics_total{deprecated_version=\"1.34.0\",stability_level=\"STABLE\"} 1",
            "registered_metrics_total{deprecated_version=\"\",stability_level=\"ALPHA\"} 2",
        ] {
            assert!(page.lines().any(|l| l == line), "{line} is not in\n{page}");
        }
    }
}
