//! What may change in a Job, and what its status may say.

use super::job_rules;
use crate::common::checks::{IMMUTABLE, immutable, same};
use crate::common::inside::inside;
use crate::read::{at_mut, flag, has, items, put, text};
use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_json::{Value, json};

pub(super) fn validate(new: &Value, old: &Value) -> ErrorList {
    let mut errors = job_rules::validate(new);
    // Stock looks at all once more.
    errors.extend(crate::metadata::update_again(new, old));
    job_rules::whole_spec(&new["spec"], &mut errors);
    let (now, before, at) = (&new["spec"], &old["spec"], Path::new("spec"));
    completions(now, before, &at.child("completions"), &mut errors);
    immutable(now, before, &at, &["selector"], &mut errors);
    let suspended = flag(before, &["suspend"]) && !has(old, &["status", "startTime"]);
    let (is, was) = (&now["template"], &before["template"]);
    let changed = if suspended { !same(&placed(is, was), was) } else { !same(is, was) };
    if changed {
        errors.push(FieldError::invalid_shown(&at.child("template"), inside(is, "PodTemplateSpec"), IMMUTABLE));
    }
    let fixed = ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"];
    immutable(now, before, &at, &fixed, &mut errors);
    errors
}

/// The new template with the old places where pods may run: as long as a job is suspended and never started, those
/// may change.
fn placed(is: &Value, was: &Value) -> Value {
    let mut template = is.clone();
    let copy = |to: Option<&mut Value>, from: &Value, keys: &[&str]| {
        let Some(to) = to else { return };
        for key in keys {
            put(to, key, from.get(key).cloned().unwrap_or_default());
        }
    };
    copy(at_mut(&mut template, &["metadata"]), &was["metadata"], &["labels", "annotations"]);
    copy(at_mut(&mut template, &["spec"]), &was["spec"], &["nodeSelector", "tolerations", "schedulingGates"]);
    for list in ["containers", "initContainers"] {
        for (i, from) in items(was, &["spec", list]).iter().enumerate() {
            let to = at_mut(&mut template, &["spec", list]).and_then(|l| l.get_mut(i));
            copy(to, from, &["resources"]);
        }
    }
    let (mut affinity, kept) = (template["spec"]["affinity"].clone(), &was["spec"]["affinity"]["nodeAffinity"]);
    if affinity.is_object() || !kept.is_null() {
        if !affinity.is_object() {
            affinity = json!({});
        }
        put(&mut affinity, "nodeAffinity", kept.clone());
        let bare = affinity.as_object().is_some_and(|a| a.values().all(Value::is_null));
        put(&mut template["spec"], "affinity", if bare { Value::Null } else { affinity });
    }
    template
}

/// The completions of an indexed job change together with its parallelism only.
fn completions(now: &Value, before: &Value, at: &Path, errors: &mut ErrorList) {
    let (is, was) = (&now["completions"], &before["completions"]);
    if is == was {
        return;
    }
    if text(now, &["completionMode"]) != "Indexed" {
        errors.push(FieldError::invalid(at, is, IMMUTABLE));
    } else if is.is_null() {
        errors.push(FieldError::required(at, "cannot be changed to nil"));
    } else if is != &now["parallelism"] {
        errors.push(FieldError::invalid(at, is, "can only be modified in tandem with spec.parallelism"));
    }
}
