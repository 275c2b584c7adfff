//! CSINodes.

use crate::common::checks::{rule, same};
use crate::common::numbers::not_negative_at;
use crate::common::volume_rules::driver_name;
use crate::print;
use crate::read::{items, size, text};
use crate::rules::Rules;
use ironclad_api::table::{self, Column};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};

const ID_MAX: usize = 256;

pub(crate) const NODE: Rules = Rules::new().checks(validate).checks_update(validate_update).prints(
    const { &[Column::object_name(), Column::integer("Drivers", "Number of drivers on the node."), Column::age()] },
    |o| vec![print::name(o), json!(size(o, &["spec", "drivers"])), table::age(o)],
);

fn validate(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let drivers = items(o, &["spec", "drivers"]);
    for (i, driver) in drivers.iter().enumerate() {
        let at = Path::new("spec").child("drivers").index(i);
        let name = text(driver, &["name"]);
        driver_name(name, &at.child("name"), &mut errors);
        let id = text(driver, &["nodeID"]);
        if id.is_empty() {
            errors.push(FieldError::required(&at.child("nodeID"), ""));
        }
        if id.len() > ID_MAX {
            let why = format!("must be {ID_MAX} characters or less");
            errors.push(FieldError::invalid_str(&at.child("nodeID"), id, why));
        }
        not_negative_at(&driver["allocatable"], &at.child("allocatable"), &["count"], &mut errors);
        if drivers[..i].iter().any(|d| text(d, &["name"]) == name) {
            errors.push(FieldError::duplicate(&at.child("name"), &json!(name)));
        }
        let keys = items(driver, &["topologyKeys"]);
        for (j, key) in keys.iter().enumerate() {
            let given = key.as_str().unwrap_or_default();
            if given.is_empty() {
                errors.push(FieldError::required(&at, ""));
            }
            if keys[..j].contains(key) {
                errors.push(FieldError::duplicate(&at, key));
            }
            rule(names::qualified_name(given), given, &at, &mut errors);
        }
    }
    errors
}

/// A driver may come and go but not change, but for how many volumes it takes.
fn validate_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = validate(new);
    let without = |driver: &Value| {
        let mut driver = driver.clone();
        driver.as_object_mut().and_then(|d| d.remove("allocatable"));
        driver
    };
    for before in items(old, &["spec", "drivers"]) {
        let same_name = |d: &&Value| text(d, &["name"]) == text(before, &["name"]);
        for now in items(new, &["spec", "drivers"]).iter().filter(same_name) {
            let now = without(now);
            if !same(&now, &without(before)) {
                errors.push(FieldError::invalid(&Path::new("spec").child("drivers"), &now, "field is immutable"));
            }
        }
    }
    errors
}
