//! PriorityClasses.

use crate::common::pod_rules::one_of;
use crate::print;
use crate::read::{count, fill, flag, text};
use crate::rules::Rules;
use ironclad_api::table::{self, Column};
use ironclad_api::{ErrorList, FieldError, Path, object};
use ironclad_json::{Value, json};

const HIGHEST_USER: i64 = 1_000_000_000;

pub(crate) const STRATEGY: Rules = Rules::new()
    .defaults(|o| fill(o, "preemptionPolicy", "PreemptLowerPriority"))
    .one_generation()
    .checks(validate)
    .checks_update(validate_update)
    .prints(
        const {
            &[
                Column::object_name(),
                Column::integer("Value", "The priority of pods of this class."),
                print::typed("Global-Default", "boolean", "Whether pods that name no class are of this one."),
                Column::age(),
                Column::text("PreemptionPolicy", "Whether pods of this class preempt others."),
            ]
        },
        |o| {
            vec![
                print::name(o),
                json!(count(o, &["value"])),
                json!(flag(o, &["globalDefault"])),
                table::age(o),
                json!(text(o, &["preemptionPolicy"])),
            ]
        },
    );

fn validate(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (name, value) = (object::name(o), count(o, &["value"]));
    if name.starts_with("system-") {
        if !matches!(
            (name, value),
            ("system-cluster-critical", 2_000_000_000) | ("system-node-critical", 2_000_001_000)
        ) {
            let why = match name {
                "system-cluster-critical" => format!("value of {name} PriorityClass must be 2000000000"),
                "system-node-critical" => format!("value of {name} PriorityClass must be 2000001000"),
                _ => format!("{name} is not a known system priority class"),
            };
            let detail =
                format!("priority class names with 'system-' prefix are reserved for system use only. error: {why}");
            errors.push(FieldError::forbidden(&Path::new("metadata").child("name"), detail));
        }
    } else if value > HIGHEST_USER {
        let detail = format!("maximum allowed value of a user defined priority is {HIGHEST_USER}");
        errors.push(FieldError::forbidden(&Path::new("value"), detail));
    }
    one_of(o, &Path::root(), "preemptionPolicy", &["PreemptLowerPriority", "Never"], true, &mut errors);
    errors
}

fn validate_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    if count(new, &["value"]) != count(old, &["value"]) {
        errors.push(FieldError::forbidden(&Path::new("value"), "may not be changed in an update."));
    }
    if new["preemptionPolicy"] != old["preemptionPolicy"] {
        let at = Path::new("preemptionPolicy");
        errors.push(FieldError::invalid(&at, &new["preemptionPolicy"], "field is immutable"));
    }
    errors
}
