//! Rules of node and pod affinity.

use super::checks::rule;
use crate::common::selector;
use crate::read::{has, int, items, text};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// Checks `spec.affinity`.
pub(crate) fn check(affinity: &Value, at: &Path, errors: &mut ErrorList) {
    let node = &affinity["nodeAffinity"];
    let node_at = at.child("nodeAffinity");
    if has(node, &[REQUIRED]) {
        node_selector(&node[REQUIRED], &node_at.child(REQUIRED), errors);
    }
    for (i, term) in items(node, &[PREFERRED]).iter().enumerate() {
        let at = node_at.child(PREFERRED).index(i);
        weight(term, &at, errors);
        node_term(&term["preference"], false, &at.child("preference"), errors);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let (pods, at) = (&affinity[kind], at.child(kind));
        for (i, term) in items(pods, &[REQUIRED]).iter().enumerate() {
            pod_term(term, &at.child(REQUIRED).index(i), errors);
        }
        for (i, term) in items(pods, &[PREFERRED]).iter().enumerate() {
            let at = at.child(PREFERRED).index(i);
            weight(term, &at, errors);
            pod_term(&term["podAffinityTerm"], &at.child("podAffinityTerm"), errors);
        }
    }
}

fn weight(term: &Value, at: &Path, errors: &mut ErrorList) {
    let weight = int(term, &["weight"]).unwrap_or(0);
    if !(1..=100).contains(&weight) {
        errors.push(FieldError::invalid(&at.child("weight"), &json!(weight), "must be in the range 1-100"));
    }
}

/// Checks a node selector.
pub(crate) fn node_selector(selector: &Value, at: &Path, errors: &mut ErrorList) {
    let terms = items(selector, &["nodeSelectorTerms"]);
    let at = at.child("nodeSelectorTerms");
    if terms.is_empty() {
        errors.push(FieldError::required(&at, "must have at least one node selector term"));
    }
    for (i, term) in terms.iter().enumerate() {
        node_term(term, true, &at.index(i), errors);
    }
}

fn node_term(term: &Value, values: bool, at: &Path, errors: &mut ErrorList) {
    let strict = values;
    for (i, e) in items(term, &["matchExpressions"]).iter().enumerate() {
        let at = at.child("matchExpressions").index(i);
        let values = items(e, &["values"]);
        match text(e, &["operator"]) {
            "In" | "NotIn" if values.is_empty() => {
                let detail = "must be specified when `operator` is 'In' or 'NotIn'";
                errors.push(FieldError::required(&at.child("values"), detail));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                errors.push(FieldError::forbidden(&at.child("values"), detail));
            }
            "Gt" | "Lt" if values.len() != 1 => {
                let detail = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                errors.push(FieldError::required(&at.child("values"), detail));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => {
                errors.push(FieldError::invalid_str(&at.child("operator"), other, "not a valid selector operator"));
            }
        }
        let key = text(e, &["key"]);
        errors
            .extend(names::qualified_name(key).into_iter().map(|m| FieldError::invalid_str(&at.child("key"), key, m)));
        for (j, value) in values.iter().enumerate().filter(|_| strict) {
            let value = value.as_str().unwrap_or_default();
            rule(names::label_value(value), value, &at.child("values").index(j), errors);
        }
    }
    for (i, e) in items(term, &["matchFields"]).iter().enumerate() {
        let at = at.child("matchFields").index(i);
        let (key, values) = (text(e, &["key"]), items(e, &["values"]));
        match text(e, &["operator"]) {
            "In" | "NotIn" if values.len() != 1 => {
                let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
                errors.push(FieldError::required(&at.child("values"), detail));
            }
            "In" | "NotIn" => {}
            other => {
                errors.push(FieldError::invalid_str(&at.child("operator"), other, "not a valid selector operator"));
            }
        }
        if key != "metadata.name" {
            errors.push(FieldError::invalid_str(&at.child("key"), key, "not a valid field selector key"));
            continue;
        }
        for (j, value) in values.iter().enumerate() {
            let value = value.as_str().unwrap_or_default();
            rule(names::dns1123_subdomain(value), value, &at.child("values").index(j), errors);
        }
    }
}

fn pod_term(term: &Value, at: &Path, errors: &mut ErrorList) {
    for key in ["labelSelector", "namespaceSelector"] {
        if has(term, &[key]) {
            errors.extend(selector::validate(&term[key], &at.child(key)));
        }
    }
    for ns in items(term, &["namespaces"]) {
        let ns = ns.as_str().unwrap_or_default();
        rule(names::dns1123_label(ns), ns, &at.child("namespace"), errors);
    }
    super::spread_rules::label_keys(term, at, errors);
    let key = text(term, &["topologyKey"]);
    if key.is_empty() {
        errors.push(FieldError::required(&at.child("topologyKey"), "can not be empty"));
    }
    errors.extend(
        names::qualified_name(key).into_iter().map(|m| FieldError::invalid_str(&at.child("topologyKey"), key, m)),
    );
}
