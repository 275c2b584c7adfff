//! Leases.

use crate::common::checks::rule;
use crate::print;
use crate::read::{has, int, text};
use crate::rules::Rules;
use ironclad_api::table::{self, Column};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};

/// The one strategy that has a name of its own.
pub(crate) const OLDEST: &str = "OldestEmulationVersion";

pub(crate) const STRATEGY: Rules = Rules::new()
    .checks(validate)
    .prints(const { &[Column::object_name(), Column::text("Holder", "Who holds the lease."), Column::age()] }, |o| {
        vec![print::name(o), json!(text(o, &["spec", "holderIdentity"])), table::age(o)]
    });

fn validate(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("spec");
    if let Some(n) = int(o, &["spec", "leaseDurationSeconds"])
        && n <= 0
    {
        errors.push(FieldError::invalid(&at.child("leaseDurationSeconds"), &json!(n), "must be greater than 0"));
    }
    if let Some(n) = int(o, &["spec", "leaseTransitions"])
        && n < 0
    {
        let detail = "must be greater than or equal to 0";
        errors.push(FieldError::invalid(&at.child("leaseTransitions"), &json!(n), detail));
    }
    if has(o, &["spec", "strategy"]) {
        strategy(text(o, &["spec", "strategy"]), &at.child("strategy"), &mut errors);
    }
    if !text(o, &["spec", "preferredHolder"]).is_empty() && text(o, &["spec", "strategy"]).is_empty() {
        let detail = "may only be specified if `strategy` is defined";
        errors.push(FieldError::forbidden(&at.child("preferredHolder"), detail));
    }
    errors
}

/// Checks how a leader is chosen: a name of stock's, or one below a domain.
pub(crate) fn strategy(given: &str, at: &Path, errors: &mut ErrorList) {
    let at = at.child("strategy");
    if given.contains('/') {
        rule(names::qualified_name(given), given, &at, errors);
    } else if given != OLDEST {
        errors.push(FieldError::not_supported(&at, &json!(given), &[OLDEST]));
    }
}
