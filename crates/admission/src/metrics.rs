//! What admission counts under stock's names: policies, webhooks, their match conditions, the levels of pods.

use crate::expressions::{Matched, SPENT};
use crate::{Operation, Request};
use ironclad_api::metrics::{Metric, page};
use std::time::{Duration, Instant};

const CHECKS: &[f64] = &[0.000_000_5, 0.001, 0.01, 0.1, 1.0];

static VALIDATED: Metric = Metric {
    stability: "BETA",
    ..Metric::counter(
        "apiserver_validating_admission_policy_check_total",
        "Validation admission policy check total, labeled by policy and further identified by binding and enforcement action taken.",
    )
};
static VALIDATION_TIMES: Metric = Metric {
    stability: "BETA",
    ..Metric::histogram(
        "apiserver_validating_admission_policy_check_duration_seconds",
        "Validation admission latency for individual validation expressions in seconds, labeled by policy and further including binding and enforcement action taken.",
        CHECKS,
    )
};
static MUTATED: Metric = Metric::counter(
    "apiserver_mutating_admission_policy_check_total",
    "Mutation admission policy check total, labeled by policy and further identified by binding.",
);
static MUTATION_TIMES: Metric = Metric::histogram(
    "apiserver_mutating_admission_policy_check_duration_seconds",
    "Mutation admission latency for individual mutation expressions in seconds, labeled by policy and binding.",
    CHECKS,
);
static HOOKS: Metric = Metric::counter(
    "apiserver_admission_webhook_request_total",
    "Admission webhook request total, identified by name and broken out for each admission type (validating or admit) and operation. Additional labels specify whether the request was rejected or not and an HTTP status code. Codes greater than 600 are truncated to 600, to keep the metrics cardinality bounded.",
);
static HOOK_REFUSALS: Metric = Metric::counter(
    "apiserver_admission_webhook_rejection_count",
    "Admission webhook rejection count, identified by name and broken out for each admission type (validating or admit) and operation. Additional labels specify an error type (calling_webhook_error or apiserver_internal_error if an error occurred; no_error otherwise) and optionally a non-zero rejection code if the webhook rejects the request with an HTTP status code (honored by the apiserver when the code is greater or equal to 400). Codes greater than 600 are truncated to 600, to keep the metrics cardinality bounded.",
);
static HOOKS_OPEN: Metric = Metric::counter(
    "apiserver_admission_webhook_fail_open_count",
    "Admission webhook fail open count, identified by name and broken out for each admission type (validating or admit).",
);
static NAMELESS: Metric = Metric::counter(
    "apiserver_webhooks_x509_missing_san_total",
    "Counts the number of requests to servers missing SAN extension in their serving certificate OR the number of connection failures due to the lack of x509 certificate SAN extension missing (either/or, based on the runtime environment)",
);
static WEAK: Metric = Metric::counter(
    "apiserver_webhooks_x509_insecure_sha1_total",
    "Counts the number of requests to servers with insecure SHA1 signatures in their serving certificate OR the number of connection failures due to the insecure SHA1 signatures (either/or, based on the runtime environment)",
);
static CONDITION_ERRORS: Metric = Metric::counter(
    "apiserver_admission_match_condition_evaluation_errors_total",
    "Admission match condition evaluation errors count, identified by name of resource containing the match condition and broken out for each kind containing matchConditions (webhook or policy), operation and admission type (validate or admit).",
);
static CONDITION_EXCLUSIONS: Metric = Metric::counter(
    "apiserver_admission_match_condition_exclusions_total",
    "Admission match condition evaluation exclusions count, identified by name of resource containing the match condition and broken out for each kind containing matchConditions (webhook or policy), operation and admission type (validate or admit).",
);
static CONDITION_TIMES: Metric = Metric::histogram(
    "apiserver_admission_match_condition_evaluation_seconds",
    "Admission match condition evaluation time in seconds, identified by name and broken out for each kind containing matchConditions (webhook or policy), operation and type (validate or admit).",
    &[0.001, 0.005, 0.01, 0.025, 0.1, 0.2, 0.25],
);
pub(crate) static LEVELS: Metric = Metric::counter(
    "pod_security_evaluations_total",
    "Number of policy evaluations that occurred, not counting ignored or exempt requests.",
);
pub(crate) static EXEMPTIONS: Metric = Metric::counter(
    "pod_security_exemptions_total",
    "Number of exempt requests, not counting ignored or out of scope requests.",
);
pub(crate) static LEVEL_ERRORS: Metric = Metric::counter(
    "pod_security_errors_total",
    "Number of errors preventing normal evaluation. Non-fatal errors may result in the latest restricted profile being used for evaluation.",
);

/// What went wrong with an expression, by the message.
fn error_type(message: &str) -> &'static str {
    match message {
        SPENT => "out_of_budget",
        message if message.contains("compilation error") || message.contains("compilation failed") => "compile_error",
        _ => "invalid_error",
    }
}

/// A policy found something, and its binding asks for these actions; none where failures are let pass.
pub(crate) fn validated(policy: &str, binding: &str, message: &str, actions: &[String], took: Duration) {
    let lower: Vec<String> = actions.iter().map(|a| a.to_lowercase()).collect();
    let all = if lower.is_empty() { vec!["allow".to_owned()] } else { lower };
    for action in &all {
        let labels = [
            ("enforcement_action", &**action),
            ("error_type", error_type(message)),
            ("policy", policy),
            ("policy_binding", binding),
        ];
        VALIDATED.add(&labels, 1);
        VALIDATION_TIMES.took(&labels, took);
    }
}

/// A policy changed an object, or could not.
pub(crate) fn mutated(policy: &str, binding: &str, failed: Option<&str>, took: Duration) {
    let error = failed.map_or("no_error", error_type);
    let labels = [("error_type", error), ("policy", policy), ("policy_binding", binding)];
    MUTATED.add(&labels, 1);
    MUTATION_TIMES.took(&labels, took);
}

/// What came of a call of a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Called {
    Allowed,
    /// It said no, with this code.
    Refused(u64),
    /// It could not be asked; whether that is let pass.
    Failed {
        open: bool,
        /// The code that it answered with, or 503.
        code: u16,
    },
    /// It is called by no dry run.
    Unasked,
}

impl Called {
    /// The code, whether the request was refused, and why if it was.
    fn told(self) -> (u64, Option<&'static str>) {
        match self {
            Self::Allowed => (200, None),
            Self::Refused(code) => (code.min(600), Some("no_error")),
            Self::Failed { open, code } => (code.min(600).into(), (!open).then_some("calling_webhook_error")),
            Self::Unasked => (0, Some("apiserver_internal_error")),
        }
    }

    /// Whether the request is refused.
    pub(crate) fn refuses(self) -> bool {
        self.told().1.is_some()
    }
}

/// A webhook could not be connected to.
pub(crate) fn unconnected(why: &str) {
    let [nameless, weak] = ironclad_remote::certificate_flaws(why);
    [(nameless, &NAMELESS), (weak, &WEAK)].into_iter().filter(|(is, _)| *is).for_each(|(_, metric)| metric.add(&[], 1));
}

/// A webhook was called in a step, `admit` or `validating`.
pub(crate) fn called(name: &str, step: &str, operation: Operation, outcome: Called) {
    let (code, refused) = outcome.told();
    let (code, operation) = (code.to_string(), operation.as_str());
    let rejected = if refused.is_some() { "true" } else { "false" };
    let labels = [("code", &*code), ("name", name), ("operation", operation), ("rejected", rejected), ("type", step)];
    HOOKS.add(&labels, 1);
    if matches!(outcome, Called::Failed { open: true, .. }) {
        HOOKS_OPEN.add(&[("name", name), ("type", step)], 1);
    }
    if let Some(why) = refused {
        let labels =
            [("error_type", why), ("name", name), ("operation", operation), ("rejection_code", &code), ("type", step)];
        HOOK_REFUSALS.add(&labels, 1);
    }
}

/// The match conditions of a `webhook` or `policy` were evaluated.
pub(crate) fn matched(kind: &str, step: &str, name: &str, request: &Request, outcome: &Matched, began: Instant) {
    let labels = [("kind", kind), ("name", name), ("operation", request.operation.as_str()), ("type", step)];
    if *outcome != Matched::Yes {
        CONDITION_TIMES.took(&labels, began.elapsed());
    }
    match outcome {
        Matched::Yes => {}
        Matched::No => CONDITION_EXCLUSIONS.add(&labels, 1),
        Matched::Failed(_) => CONDITION_ERRORS.add(&labels, 1),
    }
}

/// Shows what stock shows before the first pod.
pub(crate) fn begin() {
    for operation in ["create", "update"] {
        let labels = [
            ("decision", "allow"),
            ("mode", "enforce"),
            ("policy_level", "privileged"),
            ("policy_version", "latest"),
            ("request_operation", operation),
            ("resource", "pod"),
            ("subresource", ""),
        ];
        LEVELS.add(&labels, 0);
        for resource in ["pod", "controller"] {
            let labels = [("request_operation", operation), ("resource", resource), ("subresource", "")];
            EXEMPTIONS.add(&labels, 0);
        }
    }
}

/// The page of all of them.
pub fn render() -> String {
    page(
        &[&NAMELESS, &WEAK],
        &[
            &VALIDATED,
            &VALIDATION_TIMES,
            &MUTATED,
            &MUTATION_TIMES,
            &HOOKS,
            &HOOK_REFUSALS,
            &HOOKS_OPEN,
            &CONDITION_ERRORS,
            &CONDITION_EXCLUSIONS,
            &CONDITION_TIMES,
            &LEVELS,
            &EXEMPTIONS,
            &LEVEL_ERRORS,
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_told_by_its_code_and_by_what_came_of_it() {
        let table = [
            (Called::Allowed, (200, None)),
            (Called::Refused(403), (403, Some("no_error"))),
            (Called::Refused(999), (600, Some("no_error"))),
            (Called::Failed { open: true, code: 503 }, (503, None)),
            (Called::Failed { open: false, code: 500 }, (500, Some("calling_webhook_error"))),
            (Called::Unasked, (0, Some("apiserver_internal_error"))),
        ];
        for (called, want) in table {
            assert_eq!(called.told(), want, "{called:?}");
        }
    }

    #[test]
    fn an_expression_fails_in_one_of_three_ways() {
        let of = error_type;
        assert_eq!((of(SPENT), of("failed expression: false")), ("out_of_budget", "invalid_error"));
        assert_eq!(of("compilation error: compilation failed: x"), "compile_error");
    }
}
