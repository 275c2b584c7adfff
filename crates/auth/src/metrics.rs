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

/// The page of all of them.
pub fn render() -> String {
    page(&[&LEGACY, &STALE, &VALID, &AUTO, &INVALID_AUTO, &MANUAL], &[])
}
