//! ResourceQuotas.

use crate::common::inside::inside;
use crate::common::resources;
use crate::print;
use crate::read::{canonical, has, items, map, text};
use crate::rules::Rules;
use ironclad_api::table::{self, Cells, Column};
use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_json::{Map, Value, json};
use std::collections::BTreeSet;

pub(crate) const QUOTA: Rules = Rules::new()
    .defaults(|o| canonical(o, &["spec", "hard"]))
    .checks(|o| validate_spec(&o["spec"]))
    .checks_update(|new, old| {
        let mut errors = validate_spec(&new["spec"]);
        let scopes = |o: &Value| -> BTreeSet<String> {
            items(o, &["spec", "scopes"]).iter().filter_map(|s| s.as_str().map(str::to_owned)).collect()
        };
        if scopes(new) != scopes(old) {
            let at = Path::new("spec").child("scopes");
            errors.push(FieldError::invalid(&at, &new["spec"]["scopes"], "field is immutable"));
        }
        errors
    })
    .checks_status(|new, _| {
        let mut errors = ErrorList::new();
        for part in ["hard", "used"] {
            amounts(map(new, &["status", part]), &Path::new("status").child(part), &mut errors);
        }
        errors
    })
    .prints(
        const {
            &[
                Column::object_name(),
                Column::text("Request", "Used and allowed requests."),
                Column::text("Limit", "Used and allowed limits."),
                Column::age(),
            ]
        },
        cells,
    );

const PODS: [&str; 7] = ["pods", "cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];
const CONFLICTS: [[&str; 2]; 2] = [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];

fn amounts(given: Option<&Map>, at: &Path, errors: &mut ErrorList) {
    for (name, value) in given.into_iter().flatten() {
        resources::quota(name, value, &at.key(name), errors);
    }
}

fn is_scope(scope: &str) -> bool {
    let known = ["PriorityClass", "VolumeAttributesClass", "CrossNamespacePodAffinity"];
    known.contains(&scope) || CONFLICTS.iter().flatten().any(|s| *s == scope)
}

/// Whether a resource, if it is a standard one, is counted for objects of a scope.
fn applies(scope: &str, resource: &str) -> bool {
    let mut errors = ErrorList::new();
    resources::quota(resource, &Value::Null, &Path::root(), &mut errors);
    if resource.contains('/') || !errors.is_empty() {
        return true;
    }
    match scope {
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => ["persistentvolumeclaims", "requests.storage"].contains(&resource),
        scope if is_scope(scope) => PODS.contains(&resource),
        _ => true,
    }
}

fn validate_spec(spec: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("spec");
    let hard = map(spec, &["hard"]);
    amounts(hard, &at.child("hard"), &mut errors);
    let names: Vec<&str> = hard.into_iter().flatten().map(|(k, _)| k.as_str()).collect();
    let scopes = &spec["scopes"];
    let given: Vec<&str> = items(spec, &["scopes"]).iter().filter_map(Value::as_str).collect();
    let scopes_at = at.child("scopes");
    for scope in &given {
        if !is_scope(scope) {
            errors.push(FieldError::invalid(&scopes_at, scopes, "unsupported scope"));
        }
        for _ in names.iter().filter(|n| !applies(scope, n)) {
            errors.push(FieldError::invalid(&scopes_at, scopes, "unsupported scope applied to resource"));
        }
    }
    conflicts(&given, scopes, &scopes_at, &mut errors);
    if has(spec, &["scopeSelector"]) {
        selector(spec, &names, &at.child("scopeSelector").child("matchExpressions"), &mut errors);
    }
    errors
}

fn conflicts(given: &[&str], shown: &Value, at: &Path, errors: &mut ErrorList) {
    for _ in CONFLICTS.iter().filter(|pair| pair.iter().all(|s| given.contains(s))) {
        errors.push(FieldError::invalid(at, shown, "conflicting scopes"));
    }
}

fn selector(spec: &Value, names: &[&str], at: &Path, errors: &mut ErrorList) {
    const EXISTS: &str = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
    let mut given = Vec::new();
    for e in items(spec, &["scopeSelector", "matchExpressions"]) {
        let (scope, operator) = (text(e, &["scopeName"]), text(e, &["operator"]));
        given.push(scope);
        if !is_scope(scope) {
            errors.push(FieldError::invalid_str(&at.child("scopeName"), scope, "unsupported scope"));
        }
        for _ in names.iter().filter(|n| !applies(scope, n)) {
            let why = "unsupported scope applied to resource";
            errors.push(FieldError::invalid_shown(at, inside(&spec["scopeSelector"], "ScopeSelector"), why));
        }
        let valued = ["PriorityClass", "VolumeAttributesClass"].contains(&scope);
        if is_scope(scope) && !valued && operator != "Exists" {
            errors.push(FieldError::invalid_str(&at.child("operator"), operator, EXISTS));
        }
        let values = items(e, &["values"]);
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let why = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                errors.push(FieldError::required(&at.child("values"), why));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let why = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                errors.push(FieldError::invalid(&at.child("values"), &json!(values), why));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                errors.push(FieldError::invalid_str(&at.child("operator"), other, "not a valid selector operator"));
            }
        }
    }
    conflicts(&given, &spec["scopes"], at, errors);
}

fn cells(o: &Value) -> Cells {
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    let mut hard: Vec<(&ironclad_json::Text, &Value)> = map(o, &["status", "hard"]).into_iter().flatten().collect();
    hard.sort_by_key(|(name, _)| *name);
    for (name, amount) in hard {
        let used = o["status"]["used"].get(name).and_then(Value::as_str).unwrap_or("0");
        let shown = format!("{name}: {used}/{}", amount.as_str().unwrap_or_default());
        if name.starts_with("limits.") { limits.push(shown) } else { requests.push(shown) }
    }
    vec![print::name(o), json!(requests.join(", ")), json!(limits.join(", ")), table::age(o)]
}
