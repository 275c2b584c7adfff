//! What authentication, authorization and impersonation count, under stock's names.

use ironclad_api::metrics::{Kind, Metric, page};

const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric { name, stability: "ALPHA", help, kind: Kind::Counter }
}

pub(crate) static LEGACY: Metric =
    counter("serviceaccount_legacy_tokens_total", "Cumulative legacy service account tokens used");
pub(crate) static STALE: Metric =
    counter("serviceaccount_stale_tokens_total", "Cumulative stale projected service account tokens used");
pub(crate) static VALID: Metric =
    counter("serviceaccount_valid_tokens_total", "Cumulative valid projected service account tokens used");
pub(crate) static AUTO: Metric =
    counter("serviceaccount_legacy_auto_token_uses_total", "Cumulative auto-generated legacy tokens used");
pub(crate) static INVALID_AUTO: Metric = counter(
    "serviceaccount_invalid_legacy_auto_token_uses_total",
    "Cumulative invalid auto-generated legacy tokens used",
);
pub(crate) static MANUAL: Metric =
    counter("serviceaccount_legacy_manual_token_uses_total", "Cumulative manually created legacy tokens used");

const TIMES: Kind = Kind::Histogram(&ironclad_api::metrics::doubling::<15>(0.001));

const fn times(name: &'static str, help: &'static str) -> Metric {
    Metric { name, stability: "ALPHA", help, kind: TIMES }
}

pub(crate) static IMPERSONATIONS: Metric = counter(
    "apiserver_impersonation_attempts_total",
    "Total number of impersonation attempts split by mode and decision.",
);
pub(crate) static IMPERSONATION_TIMES: Metric = times(
    "apiserver_impersonation_attempts_duration_seconds",
    "Latency of impersonation attempts in seconds split by mode and decision.",
);
pub(crate) static IMPERSONATION_CHECKS: Metric = counter(
    "apiserver_impersonation_authorization_attempts_total",
    "Total number of authorization checks made by the impersonation handler split by mode and decision.",
);
pub(crate) static IMPERSONATION_CHECK_TIMES: Metric = times(
    "apiserver_impersonation_authorization_attempts_duration_seconds",
    "Latency of authorization checks made by the impersonation handler in seconds split by mode and decision.",
);

/// The page of all of them.
pub fn render() -> String {
    page(
        &[&LEGACY, &STALE, &VALID, &AUTO, &INVALID_AUTO, &MANUAL],
        &[&IMPERSONATIONS, &IMPERSONATION_TIMES, &IMPERSONATION_CHECKS, &IMPERSONATION_CHECK_TIMES],
    )
}
