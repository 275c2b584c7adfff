//! PodDisruptionBudgets.

use crate::common::numbers::{at_most_100, int_or_percent, not_negative_at};
use crate::common::pod_rules::one_of;
use crate::common::{conditions, selector};
use crate::print;
use crate::read::{count, has, items};
use crate::rules::Rules;
use ironclad_api::table::{self, Column};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};

pub(crate) const STRATEGY: Rules =
    Rules::new().named(names::path_segment).checks(validate).checks_status(|new, _| status(new)).prints(
        const {
            &[
                Column::object_name(),
                Column::text("Min Available", "The minimum number of pods that must be available."),
                Column::text("Max Unavailable", "The maximum number of pods that may be unavailable."),
                Column::integer("Allowed Disruptions", "Calculated number of pods that may be disrupted at this time."),
                Column::age(),
            ]
        },
        |o| {
            vec![
                print::name(o),
                print::int_or_string(o["spec"].get("minAvailable"), "N/A"),
                print::int_or_string(o["spec"].get("maxUnavailable"), "N/A"),
                json!(count(o, &["status", "disruptionsAllowed"])),
                table::age(o),
            ]
        },
    );

fn validate(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("spec");
    if has(o, &["spec", "minAvailable"]) && has(o, &["spec", "maxUnavailable"]) {
        let detail = "minAvailable and maxUnavailable cannot be both set";
        errors.push(FieldError::invalid(&at, &o["spec"], detail));
    }
    for key in ["minAvailable", "maxUnavailable"] {
        int_or_percent(&o["spec"][key], &at.child(key), &mut errors);
        at_most_100(&o["spec"][key], &at.child(key), &mut errors);
    }
    if has(o, &["spec", "selector"]) {
        errors.extend(selector::validate(&o["spec"]["selector"], &at.child("selector")));
    }
    one_of(&o["spec"], &at, "unhealthyPodEvictionPolicy", &["AlwaysAllow", "IfHealthyBudget"], false, &mut errors);
    errors
}

fn status(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (status, at) = (&o["status"], Path::new("status"));
    conditions::all(items(status, &["conditions"]), &at.child("conditions"), &mut errors);
    let counts = ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];
    not_negative_at(status, &at, &counts, &mut errors);
    errors
}
