//! What authentication, authorization and impersonation count, under stock's names.

use ironclad_api::metrics::{Kind, Metric, Series, USUAL, page};
use sha2::{Digest, Sha256};
use std::sync::{Arc, LazyLock, OnceLock};

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

pub(crate) static DECISIONS: Metric = counter(
    "apiserver_authorization_decisions_total",
    "Total number of terminal decisions made by an authorizer split by authorizer type, name, and decision.",
);

const SECONDS: Kind = Kind::Histogram(&USUAL);

/// Tokens that were looked at; each is looked at anew, so that all are misses.
static TOKENS: [Metric; 4] = [
    counter("authentication_token_cache_request_total", ""),
    Metric { name: "authentication_token_cache_request_duration_seconds", stability: "ALPHA", help: "", kind: SECONDS },
    counter("authentication_token_cache_fetch_total", ""),
    Metric { name: "authentication_token_cache_active_fetch_count", stability: "ALPHA", help: "", kind: Kind::Gauge },
];

/// What is counted of tokens, each by what it is about.
pub(crate) struct Tokens {
    pub(crate) misses: Arc<Series>,
    pub(crate) took: Arc<Series>,
    pub(crate) good: Arc<Series>,
    pub(crate) failed: Arc<Series>,
    pub(crate) running: Arc<Series>,
}

pub(crate) static TOKEN: LazyLock<Tokens> = LazyLock::new(|| Tokens {
    misses: TOKENS[0].of(&[("status", "miss")]),
    took: TOKENS[1].of(&[("status", "miss")]),
    good: TOKENS[2].of(&[("status", "ok")]),
    failed: TOKENS[2].of(&[("status", "error")]),
    running: TOKENS[3].of(&[("status", "in_flight")]),
});

pub(crate) static JWT_TIMES: Metric = Metric {
    name: "apiserver_authentication_jwt_authenticator_latency_seconds",
    stability: "ALPHA",
    help: "Latency of jwt authentication operations in seconds. This is the time spent authenticating a token for cache miss only (i.e. when the token is not found in the cache).",
    kind: Kind::Histogram(&[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]),
};
pub(crate) static KEYS_FETCHED: Metric = Metric {
    name: "apiserver_authentication_jwt_authenticator_jwks_fetch_last_timestamp_seconds",
    stability: "ALPHA",
    help: "Timestamp of the last successful or failed JWKS fetch split by result, api server identity and jwt issuer for the JWT authenticator.",
    kind: Kind::Gauge,
};
pub(crate) static KEYS_INFO: Metric = Metric {
    name: "apiserver_authentication_jwt_authenticator_jwks_fetch_last_key_set_info",
    stability: "ALPHA",
    help: "Information about the last JWKS fetched by the JWT authenticator with hash as label, split by api server identity and jwt issuer.",
    kind: Kind::Gauge,
};
pub(crate) static HOOK_ASKED: Metric =
    counter("apiserver_authorization_webhook_evaluations_total", "Round-trips to authorization webhooks.");
pub(crate) static HOOK_OPEN: Metric = counter(
    "apiserver_authorization_webhook_evaluations_fail_open_total",
    "NoOpinion results due to webhook timeout or error.",
);
pub(crate) static HOOK_TIMES: Metric = Metric {
    name: "apiserver_authorization_webhook_duration_seconds",
    stability: "ALPHA",
    help: "Request latency in seconds.",
    kind: SECONDS,
};
pub(crate) static CONDITION_ERRORS: Metric = counter(
    "apiserver_authorization_match_condition_evaluation_errors_total",
    "Total number of errors when an authorization webhook encounters a match condition error split by authorizer type and name.",
);
pub(crate) static CONDITION_EXCLUSIONS: Metric = counter(
    "apiserver_authorization_match_condition_exclusions_total",
    "Total number of exclusions when an authorization webhook is skipped because match conditions exclude it.",
);
pub(crate) static CONDITION_TIMES: Metric = Metric {
    name: "apiserver_authorization_match_condition_evaluation_seconds",
    stability: "ALPHA",
    help: "Authorization match condition evaluation time in seconds, split by authorizer type and name.",
    kind: Kind::Histogram(&[0.001, 0.005, 0.01, 0.025, 0.1, 0.2, 0.25]),
};
pub(crate) static GRAPH_TIMES: Metric = Metric {
    name: "node_authorizer_graph_actions_duration_seconds",
    stability: "ALPHA",
    help: "Histogram of duration of graph actions in node authorizer.",
    kind: Kind::Histogram(&ironclad_api::metrics::doubling::<12>(0.0001)),
};

/// A text as labels name it.
pub(crate) fn hash(text: &[u8]) -> String {
    if text.is_empty() { String::new() } else { format!("sha256:{}", hex::encode(Sha256::digest(text))) }
}

/// An authorizer's last words, counted by what they are.
#[derive(Default)]
pub(crate) struct Decided([OnceLock<Arc<Series>>; 2]);

impl Decided {
    /// It decided.
    pub(crate) fn count(&self, sort: &str, name: &str, allowed: bool) {
        let word = if allowed { "allowed" } else { "denied" };
        let make = || DECISIONS.of(&[("decision", word), ("name", name), ("type", sort)]);
        self.0[usize::from(allowed)].get_or_init(make).add(1);
    }
}

/// The page of all of them.
pub fn render() -> String {
    page(
        &[&LEGACY, &STALE, &VALID, &AUTO, &INVALID_AUTO, &MANUAL],
        &[
            &IMPERSONATIONS,
            &IMPERSONATION_TIMES,
            &IMPERSONATION_CHECKS,
            &IMPERSONATION_CHECK_TIMES,
            &DECISIONS,
            &TOKENS[0],
            &TOKENS[1],
            &TOKENS[2],
            &TOKENS[3],
            &JWT_TIMES,
            &KEYS_FETCHED,
            &KEYS_INFO,
            &HOOK_ASKED,
            &HOOK_OPEN,
            &HOOK_TIMES,
            &CONDITION_ERRORS,
            &CONDITION_EXCLUSIONS,
            &CONDITION_TIMES,
            &GRAPH_TIMES,
        ],
    )
}
