//! What workloads have in common: the selector, the pod template, the counts of their status, their warnings.

use crate::common::checks::same;
use crate::common::numbers::not_negative_at;
use crate::common::{pod_rules, pod_warnings, selector};
use crate::metadata;
use crate::read::{count, has, int, text};
use ironclad_api::selector::LabelSelector;
use ironclad_api::{ErrorList, FieldError, Path, names, object};
use ironclad_json::{Map, Value, json};

/// Checks a template: its labels, its annotations, its pods.
pub(crate) fn check(template: &Value, at: &Path, errors: &mut ErrorList) {
    errors.extend(metadata::labels(&template["metadata"]["labels"], &at.child("labels")));
    errors.extend(metadata::annotations(&template["metadata"]["annotations"], &at.child("annotations")));
    errors.extend(pod_rules::template_spec(&template["spec"], &at.child("spec")));
}

/// Checks the template of a workload whose pods run on and on.
pub(super) fn lasting(spec: &Value, kind: &str, errors: &mut ErrorList) {
    let (template, at) = (&spec["template"], Path::new("spec").child("template"));
    check(template, &at, errors);
    let policy = text(template, &["spec", "restartPolicy"]);
    if policy != "Always" {
        errors.push(FieldError::not_supported(&at.child("spec").child("restartPolicy"), &json!(policy), &["Always"]));
    }
    if has(template, &["spec", "activeDeadlineSeconds"]) {
        let why = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.push(FieldError::forbidden(&at.child("spec").child("activeDeadlineSeconds"), why));
    }
}

/// Checks the selector; `kind` is what the message of an empty one says.
pub(super) fn selector(spec: &Value, kind: &str, errors: &mut ErrorList) {
    let at = Path::new("spec").child("selector");
    if !has(spec, &["selector"]) {
        errors.push(FieldError::required(&at, ""));
        return;
    }
    errors.extend(selector::validate(&spec["selector"], &at));
    let parts = ["matchLabels", "matchExpressions"];
    if parts.iter().all(|p| crate::read::size(&spec["selector"], &[p]) == 0) {
        errors.push(FieldError::invalid(&at, &spec["selector"], format!("empty selector is invalid for {kind}")));
    }
}

/// Says of a selector that cannot be understood that it cannot, in words that kinds choose.
pub(super) fn selector_broken(spec: &Value, why: &str, errors: &mut ErrorList) {
    let at = Path::new("spec").child("selector");
    if !selector::validate(&spec["selector"], &at).is_empty() {
        errors.push(FieldError::invalid(&at, &spec["selector"], why));
    }
}

/// Checks that the selector picks the template's pods, if it can be understood; an empty selector is somebody else's
/// business unless `also_empty`.
pub(super) fn selector_matches(spec: &Value, also_empty: bool, errors: &mut ErrorList) {
    if !selector::validate(&spec["selector"], &Path::root()).is_empty() {
        return;
    }
    let parsed = ironclad_json::from_value(spec["selector"].clone()).ok();
    let Ok(selector) = LabelSelector::from_meta(parsed.as_ref()) else { return };
    if selector.is_everything() && !also_empty {
        return;
    }
    let empty = Map::new();
    let labels = spec["template"]["metadata"]["labels"].as_object().unwrap_or(&empty);
    if !selector.matches(labels) {
        let at = Path::new("spec").child("template").child("metadata").child("labels");
        let shown = match spec["template"]["metadata"].get("labels") {
            Some(labels) => labels.clone(),
            None => Value::Null,
        };
        errors.push(FieldError::invalid(&at, &shown, "`selector` does not match template `labels`"));
    }
}

/// The selector stays what it was.
pub(super) fn selector_fixed(new: &Value, old: &Value, errors: &mut ErrorList) {
    crate::common::checks::immutable(&new["spec"], &old["spec"], &Path::new("spec"), &["selector"], errors);
}

/// Checks counts of a status: none is negative, none of `parts` is above the replicas.
pub(super) fn status(new: &Value, others: &[&str], parts: &[&str], errors: &mut ErrorList) {
    let (status, at) = (&new["status"], Path::new("status"));
    not_negative_at(status, &at, &["replicas"], errors);
    not_negative_at(status, &at, parts, errors);
    not_negative_at(status, &at, others, errors);
    let replicas = count(status, &["replicas"]);
    for key in parts.iter().filter(|k| count(status, &[k]) > replicas) {
        let shown = json!(count(status, &[key]));
        errors.push(FieldError::invalid(&at.child(key), &shown, "cannot be greater than status.replicas"));
    }
}

/// Checks that no more pods are available than ready; `ready` is how the message calls that.
pub(super) fn available(new: &Value, ready: &str, errors: &mut ErrorList) {
    let of = |key: &str| count(new, &["status", key]);
    let at = Path::new("status").child("availableReplicas");
    if of("availableReplicas") > of("readyReplicas") {
        let why = format!("cannot be greater than {ready}");
        errors.push(FieldError::invalid(&at, &json!(of("availableReplicas")), why));
    }
}

/// A count of collisions only grows.
pub(super) fn collisions(new: &Value, old: &Value, errors: &mut ErrorList) {
    let (is, was) = (int(new, &["status", "collisionCount"]), int(old, &["status", "collisionCount"]));
    let at = Path::new("status").child("collisionCount");
    not_negative_at(&new["status"], &Path::new("status"), &["collisionCount"], errors);
    if was.is_some_and(|was| is.is_none_or(|is| is < was)) {
        errors.push(FieldError::invalid(&at, &json!(is.unwrap_or(0)), "cannot be decremented"));
    }
}

/// Warnings about the template at a path, when the object is new or something of what counts has changed.
pub(crate) fn warnings(new: &Value, old: Option<&Value>, path: &[&str], counted: &[&[&str]]) -> Vec<String> {
    let part = |o: &Value, path: &[&str]| crate::read::at(o, path).cloned().unwrap_or_default();
    let of = |o: &Value| part(o, path);
    if old.is_some_and(|old| counted.iter().all(|path| same(&part(old, path), &part(new, path)))) {
        return Vec::new();
    }
    let at = path.iter().fold(Path::root(), |at, key| at.child(key));
    pod_warnings::template(&of(new), &at)
}

/// A warning about a new name that cannot be a host's.
pub(crate) fn name_warning(new: &Value, old: Option<&Value>, what: &str) -> Option<String> {
    let found = names::dns1123_label(object::name(new));
    (old.is_none() && !found.is_empty()).then(|| {
        let found = found.join(" ");
        format!("metadata.name: this is used in {what}, which can result in surprising behavior; a DNS label is recommended: [{found}]")
    })
}

/// What a pod template's object is used for, as [`name_warning`] says it.
pub(crate) const POD_NAMES: &str = "Pod names and hostnames";
