//! Leases.

use crate::print;
use crate::read::{has, int, text};
use crate::rules::Rules;
use ironclad_api::table::{self, Column};
use ironclad_api::{ErrorList, FieldError, Path};
use serde_json::{Value, json};

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
    if has(o, &["spec", "preferredHolder"]) && !has(o, &["spec", "strategy"]) {
        let detail = "may only be specified if `strategy` is defined";
        errors.push(FieldError::forbidden(&at.child("preferredHolder"), detail));
    }
    errors
}
