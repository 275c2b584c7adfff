//! What the service proxy counts, under stock's names.

use ironclad_client::metrics::{Kind, Metric, doubling};
use std::time::{Duration, SystemTime};

/// The proxy serves IPv4 and IPv6 by one table; stock counts them apart.
pub(super) const FAMILY: &[(&str, &str)] = &[("ip_family", "IPv4")];
static TIMES: [f64; 15] = doubling(0.001);

const fn metric(name: &'static str, help: &'static str, kind: Kind) -> Metric {
    Metric { name, stability: "ALPHA", help, kind }
}

static SYNC: Metric =
    metric("kubeproxy_sync_proxy_rules_duration_seconds", "SyncProxyRules latency in seconds", Kind::Histogram(&TIMES));
static FULL: Metric = metric(
    "kubeproxy_sync_full_proxy_rules_duration_seconds",
    "SyncProxyRules latency in seconds for full resyncs",
    Kind::Histogram(&TIMES),
);
static PARTIAL: Metric = metric(
    "kubeproxy_sync_partial_proxy_rules_duration_seconds",
    "SyncProxyRules latency in seconds for partial resyncs",
    Kind::Histogram(&TIMES),
);
static LAST: Metric = metric(
    "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
    "The last time proxy rules were successfully synced",
    Kind::Gauge,
);
static QUEUED: Metric = metric(
    "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
    "The last time a sync of proxy rules was queued",
    Kind::Gauge,
);
pub(super) static SERVICES: Metric =
    metric("kubeproxy_sync_proxy_rules_service_changes_total", "Cumulative proxy rules Service changes", Kind::Counter);
pub(super) static ENDPOINTS: Metric = metric(
    "kubeproxy_sync_proxy_rules_endpoint_changes_total",
    "Cumulative proxy rules Endpoint changes",
    Kind::Counter,
);
pub(super) static FAILED: Metric = metric(
    "kubeproxy_sync_proxy_rules_nftables_sync_failures_total",
    "Cumulative proxy nftables sync failures",
    Kind::Counter,
);

/// Notes that the table is what it should be now, and how long that took.
pub(super) fn synced(took: Duration, all: bool) {
    SYNC.took(FAMILY, took);
    if all { &FULL } else { &PARTIAL }.took(FAMILY, took);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    LAST.set(FAMILY, now);
    QUEUED.set(FAMILY, now - took.as_secs_f64());
}
