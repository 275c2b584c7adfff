//! Rules of topology spread constraints, and of label keys that follow the pod.

use super::checks::rule;
use super::selector;
use crate::read::{count, has, int, items, map, text};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};
use std::collections::HashSet;

/// Checks `topologySpreadConstraints`.
pub(crate) fn check(spec: &Value, at: &Path, errors: &mut ErrorList) {
    let all = items(spec, &["topologySpreadConstraints"]);
    let actions = ["DoNotSchedule", "ScheduleAnyway"];
    for (i, c) in all.iter().enumerate() {
        let at = at.index(i);
        let (skew, action) = (count(c, &["maxSkew"]), text(c, &["whenUnsatisfiable"]));
        if skew <= 0 {
            errors.push(FieldError::invalid(&at.child("maxSkew"), &json!(skew), "must be greater than zero"));
        }
        let key = text(c, &["topologyKey"]);
        if key.is_empty() {
            errors.push(FieldError::required(&at.child("topologyKey"), "can not be empty"));
        }
        if !actions.contains(&action) {
            errors.push(FieldError::not_supported(&at.child("whenUnsatisfiable"), &json!(action), &actions));
        }
        let again = |o: &Value| text(o, &["topologyKey"]) == key && text(o, &["whenUnsatisfiable"]) == action;
        if all[i + 1..].iter().any(again) {
            let at = at.child("{topologyKey, whenUnsatisfiable}");
            errors.push(FieldError::duplicate(&at, &json!(format!("{{{key}, {action}}}"))));
        }
        if let Some(n) = int(c, &["minDomains"]) {
            let at = at.child("minDomains");
            if n <= 0 {
                errors.push(FieldError::invalid(&at, &json!(n), "must be greater than zero"));
            }
            if action != "DoNotSchedule" {
                let why = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
                errors.push(FieldError::invalid(&at, &json!(n), why));
            }
        }
        for key in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            super::pod_rules::one_of_if_set(c, &at, key, &["Honor", "Ignore"], errors);
        }
        label_keys(c, &at, errors);
        if has(c, &["labelSelector"]) {
            errors.extend(selector::validate(&c["labelSelector"], &at.child("labelSelector")));
        }
    }
}

/// Checks `matchLabelKeys` and `mismatchLabelKeys`, here and in pod affinity terms.
pub(crate) fn label_keys(o: &Value, at: &Path, errors: &mut ErrorList) {
    let (with, against) = (items(o, &["matchLabelKeys"]), items(o, &["mismatchLabelKeys"]));
    for (field, keys) in [("matchLabelKeys", with), ("mismatchLabelKeys", against)] {
        let at = at.child(field);
        if !keys.is_empty() && !has(o, &["labelSelector"]) {
            errors.push(FieldError::forbidden(&at, "must not be specified when labelSelector is not set"));
            continue;
        }
        for (i, key) in keys.iter().enumerate() {
            let key = key.as_str().unwrap_or_default();
            rule(names::qualified_name(key), key, &at.index(i), errors);
        }
    }
    let labels = map(o, &["labelSelector", "matchLabels"]).into_iter().flatten().map(|(k, _)| k.as_str());
    let mut chosen: HashSet<&str> = labels.collect();
    for e in items(o, &["labelSelector", "matchExpressions"]) {
        let key = text(e, &["key"]);
        if let Some(i) = with.iter().position(|k| k == key)
            && chosen.contains(key)
        {
            let why = "exists in both matchLabelKeys and labelSelector";
            errors.push(FieldError::invalid_str(&at.index(i), key, why));
        }
        chosen.insert(key);
    }
    for (i, key) in with.iter().enumerate().filter(|(_, k)| against.contains(k)) {
        let why = "exists in both matchLabelKeys and mismatchLabelKeys";
        errors.push(FieldError::invalid(&at.child("matchLabelKeys").index(i), key, why));
    }
}
