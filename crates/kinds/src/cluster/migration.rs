//! Migrations of stored objects to the version in which they are stored now.

use crate::common::checks::{IMMUTABLE, immutable};
use crate::common::conditions;
use crate::print;
use crate::read::{items, text};
use crate::rules::Rules;
use ironclad_api::table::Column;
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};

pub(crate) const MIGRATION: Rules = Rules::new()
    .checks(migration)
    .checks_update(|new, old| {
        let mut errors = migration(new);
        immutable(new, old, &Path::root(), &["spec"], &mut errors);
        errors
    })
    .checks_status(migrated)
    .prints(
        const {
            &[
                Column::text("Name", "Name of the migration."),
                Column::text("Resource", "What is migrated."),
                Column::text("Status", "How far it has come."),
            ]
        },
        |o| {
            let (resource, group) =
                (text(o, &["spec", "resource", "resource"]), text(o, &["spec", "resource", "group"]));
            let dot = if group.is_empty() { "" } else { "." };
            vec![print::name(o), json!(format!("{resource}{dot}{group}")), json!(stage(o))]
        },
    );

/// The last of the conditions that says how far a migration has come.
fn stage(o: &Value) -> &str {
    let told = items(o, &["status", "conditions"]).iter().rev().filter(|c| text(c, &["status"]) == "True");
    let mut stages = told.map(|c| text(c, &["type"]));
    stages.find(|stage| ["Running", "Failed", "Succeeded"].contains(stage)).unwrap_or("Unknown")
}

fn migration(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (resource, at) = (&o["spec"]["resource"], Path::new("spec").child("resource"));
    let mut check = |key: &str, rule: fn(&str) -> Vec<String>| {
        let given = text(resource, &[key]);
        let wrong = if given.is_empty() { Vec::new() } else { rule(given) };
        if !wrong.is_empty() {
            errors.push(FieldError::invalid_str(&at.child(key), given, wrong.join(",")));
        }
    };
    check("resource", names::dns1035_label);
    check("group", names::dns1123_subdomain);
    if text(resource, &["resource"]).is_empty() {
        errors.insert(0, FieldError::required(&at.child("resource"), "resource is required to be set"));
    }
    errors
}

/// How far a migration has come: it ends one way, once.
fn migrated(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("status");
    let version = |o| text(o, &["status", "resourceVersion"]);
    let (now, was, version_at) = (version(new), version(old), at.child("resourceVersion"));
    if let Err(why) = resource_version(now) {
        errors.push(FieldError::invalid_str(&version_at, now, why));
    }
    let (told, conditions_at) = (items(new, &["status", "conditions"]), at.child("conditions"));
    conditions::all(told, &conditions_at, &mut errors);
    if !was.is_empty() && was != now {
        errors.push(FieldError::invalid_str(&version_at, now, IMMUTABLE));
    }
    let ended = |o: &Value, how: &str| {
        let is = |c: &Value| text(c, &["type"]) == how && text(c, &["status"]) == "True";
        items(o, &["status", "conditions"]).iter().any(is)
    };
    let mut wrong = |why: &str| errors.push(FieldError::invalid(&conditions_at, &json!(told), why));
    if ended(new, "Succeeded") && ended(new, "Failed") {
        wrong("Both success and failed conditions cannot be true at the same time");
    }
    for (how, said) in [("Succeeded", "Success"), ("Failed", "Failed")] {
        if ended(old, how) && !ended(new, how) {
            wrong(&format!("{said} condition cannot be set to false once it is true"));
        }
    }
    errors
}

/// A resource version is a number as people write it.
fn resource_version(given: &str) -> Result<(), String> {
    match given.as_bytes() {
        [] => Ok(()),
        [b'0', ..] => Err(format!("resource version is not well formed: {given}")),
        digits if digits.iter().all(u8::is_ascii_digit) => Ok(()),
        _ => Err(format!("resource version is not well formed: {given}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Strategy;

    #[test]
    fn it_is_shown_how_far_a_migration_has_come() {
        let of = |group: &str, conditions: &[&str]| {
            let told: Vec<Value> = conditions.iter().map(|c| json!({"type": c, "status": "True"})).collect();
            let spec = json!({"resource": {"resource": "things", "group": group}});
            MIGRATION.cells(&json!({"metadata": {"name": "m"}, "spec": spec, "status": {"conditions": told}}))
        };
        assert_eq!(json!(of("", &[])), json!(["m", "things", "Unknown"]));
        assert_eq!(json!(of("x.io", &["Running", "Succeeded", "Other"])), json!(["m", "things.x.io", "Succeeded"]));
    }

    #[test]
    fn a_migration_is_of_one_resource_and_ends_once() {
        let of = |resource: Value| json!({"spec": {"resource": resource}});
        let says = |found: ErrorList| found.iter().map(ToString::to_string).collect::<Vec<_>>();
        let expected = ["spec.resource.resource: Required value: resource is required to be set"];
        assert_eq!(says(MIGRATION.validate(&of(json!({})))), expected);
        let (old, new) = (of(json!({"resource": "pods"})), of(json!({"resource": "pods", "group": "apps"})));
        assert!(MIGRATION.validate(&old).is_empty());
        assert_eq!(MIGRATION.validate_update(&new, &old).len(), 1);
        let done = |how: &str, is: &str| {
            let condition = json!({"type": how, "status": is, "reason": "R", "lastTransitionTime": "t"});
            json!({"status": {"conditions": [condition], "resourceVersion": "5"}})
        };
        let (yes, no) = (done("Succeeded", "True"), done("Succeeded", "False"));
        assert!(MIGRATION.validate_status_update(&yes, &no).is_empty());
        let found = says(MIGRATION.validate_status_update(&no, &yes));
        assert!(found[0].ends_with("Success condition cannot be set to false once it is true"), "{found:?}");
        let odd = says(MIGRATION.validate_status_update(&json!({"status": {"resourceVersion": "x"}}), &json!({})));
        let why = "resource version is not well formed: x";
        assert_eq!(odd, [format!("status.resourceVersion: Invalid value: \"x\": {why}")]);
    }
}
