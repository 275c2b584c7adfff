//! What is wrong with a HorizontalPodAutoscaler, in the shape of version 2.

use crate::common::checks::{required_rule, rule};
use crate::common::numbers::{amount, not_negative_at, quantity};
use crate::common::resources;
use crate::read::{count, has, int, items, text};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Value, json};

const WINDOW_MAX: i64 = 3600;
const PERIOD_MAX: i64 = 1800;
/// The sources of metrics: the type and its field, in the order in which stock looks at them.
const SOURCES: [(&str, &str); 5] = [
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];

/// What holds for each autoscaler, and for what it was before.
pub(super) fn validate(o: &Value, old: Option<&Value>) -> ErrorList {
    let mut errors = ErrorList::new();
    let (spec, at) = (&o["spec"], Path::new("spec"));
    let (least, most) = (int(spec, &["minReplicas"]), count(spec, &["maxReplicas"]));
    if let Some(least) = least.filter(|n| *n < 1) {
        let why = "must be greater than or equal to 1";
        errors.push(FieldError::invalid(&at.child("minReplicas"), &json!(least), why));
    }
    if most == 0 {
        errors.push(FieldError::required(&at.child("maxReplicas"), ""));
    } else if most < 0 {
        let why = "must be greater than or equal to 1";
        errors.push(FieldError::invalid(&at.child("maxReplicas"), &json!(most), why));
    }
    if least.is_some_and(|least| most < least) {
        let why = "must be greater than or equal to `minReplicas`";
        errors.push(FieldError::invalid(&at.child("maxReplicas"), &json!(most), why));
    }
    let target = &spec["scaleTargetRef"];
    let same = old.is_some_and(|old| {
        let was = &old["spec"]["scaleTargetRef"];
        ["apiVersion", "kind"].iter().all(|key| text(target, &[key]) == text(was, &[key]))
    });
    // Only one kind that can be scaled is of the core group.
    let grouped = !same && text(target, &["kind"]) != "ReplicationController";
    reference(target, &at.child("scaleTargetRef"), grouped, &mut errors);
    metrics(spec, &at.child("metrics"), &mut errors);
    for key in ["scaleUp", "scaleDown"].into_iter().filter(|k| has(spec, &["behavior", k])) {
        behavior(&spec["behavior"][key], &at.child("behavior").child(key), &mut errors);
    }
    errors
}

/// What holds for a status.
pub(super) fn status(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    not_negative_at(&o["status"], &Path::new("status"), &["currentReplicas", "desiredReplicas"], &mut errors);
    errors
}

/// Checks which object is meant; whether `grouped` it must be of a group.
fn reference(o: &Value, at: &Path, grouped: bool, errors: &mut ErrorList) {
    required_rule(o, at, "kind", names::path_segment, errors);
    required_rule(o, at, "name", names::path_segment, errors);
    let version = text(o, &["apiVersion"]);
    let group = version.split_once('/').map_or("", |(group, _)| group);
    if grouped && group.is_empty() {
        let why = "apiVersion must specify API group";
        errors.push(FieldError::invalid_str(&at.child("apiVersion"), version, why));
    }
    if version.matches('/').count() > 1 {
        let why = format!("unexpected GroupVersion string: {version}");
        errors.push(FieldError::invalid_str(&at.child("apiVersion"), version, why));
    }
}

fn metrics(spec: &Value, at: &Path, errors: &mut ErrorList) {
    let metrics = items(spec, &["metrics"]);
    for (i, metric) in metrics.iter().enumerate() {
        check_metric(metric, &at.index(i), errors);
    }
    let outside = |m: &Value| matches!(text(m, &["type"]), "Object" | "External");
    if int(spec, &["minReplicas"]) == Some(0) && !metrics.iter().any(outside) {
        let why = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.push(FieldError::forbidden(at, why));
    }
}

fn check_metric(metric: &Value, at: &Path, errors: &mut ErrorList) {
    let kind = text(metric, &["type"]);
    let known = SOURCES.iter().find(|(name, _)| *name == kind);
    let unknown = || {
        let supported = ["ContainerResource", "External", "Object", "Pods", "Resource"];
        FieldError::not_supported(&at.child("type"), &json!(kind), &supported)
    };
    if kind.is_empty() {
        errors.push(FieldError::required(&at.child("type"), "must specify a metric source type"));
    }
    if known.is_none() {
        errors.push(unknown());
    }
    let given: Vec<&str> = SOURCES.iter().map(|(_, field)| *field).filter(|f| has(metric, &[f])).collect();
    if let Some(first) = given.first() {
        source(first, &metric[*first], &at.child(first), errors);
    }
    match known {
        Some((_, field)) if !given.contains(field) => {
            let why = "must populate information for the given metric source";
            errors.push(FieldError::required(&at.child(field), why));
        }
        Some(_) => {}
        None => errors.push(unknown()),
    }
    if given.len() != 1 {
        for field in given.iter().filter(|f| known.is_none_or(|(_, own)| own != *f)) {
            errors.push(FieldError::forbidden(&at.child(field), "must populate the given metric source only"));
        }
    }
}

fn source(kind: &str, source: &Value, at: &Path, errors: &mut ErrorList) {
    match kind {
        "containerResource" => {
            match text(source, &["name"]) {
                "" => errors.push(FieldError::required(&at.child("name"), "must specify a resource name")),
                name => resources::container_name(name, &at.child("name"), errors),
            }
            match text(source, &["container"]) {
                "" => errors.push(FieldError::required(&at.child("container"), "must specify a container")),
                name => rule(names::dns1123_label(name), name, &at.child("container"), errors),
            }
        }
        "resource" => {
            if text(source, &["name"]).is_empty() {
                errors.push(FieldError::required(&at.child("name"), "must specify a resource name"));
            }
        }
        _ => {
            if kind == "object" {
                reference(&source["describedObject"], &at.child("describedObject"), false, errors);
            }
            let at = at.child("metric").child("name");
            match text(source, &["metric", "name"]) {
                "" => errors.push(FieldError::required(&at, "must specify a metric name")),
                name => rule(names::path_segment(name), name, &at, errors),
            }
        }
    }
    let at = at.child("target");
    let target = &source["target"];
    check_target(target, &at, errors);
    let (value, average) = (has(target, &["value"]), has(target, &["averageValue"]));
    let share = has(target, &["averageUtilization"]);
    let mut required = |key: &str, why: &str| errors.push(FieldError::required(&at.child(key), why));
    match kind {
        "object" if !value && !average => required("averageValue", "must set either a target value or averageValue"),
        "external" if !value && !average => {
            required("averageValue", "must set either a target value for metric or a per-pod target");
        }
        "external" if value && average => {
            let why = "may not set both a target value for metric and a per-pod target";
            errors.push(FieldError::forbidden(&at.child("value"), why));
        }
        "pods" if !average => required("averageValue", "must specify a positive target averageValue"),
        "resource" | "containerResource" if !share && !average => {
            required("averageUtilization", "must set either a target raw value or a target utilization");
        }
        "resource" | "containerResource" if share && average => {
            let why = "may not set both a target raw value and a target utilization";
            errors.push(FieldError::forbidden(&at.child("averageValue"), why));
        }
        _ => {}
    }
}

fn check_target(target: &Value, at: &Path, errors: &mut ErrorList) {
    let kind = text(target, &["type"]);
    if kind.is_empty() {
        errors.push(FieldError::required(&at.child("type"), "must specify a metric target type"));
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        let why = "must be either Utilization, Value, or AverageValue";
        errors.push(FieldError::invalid_str(&at.child("type"), kind, why));
    }
    for key in ["value", "averageValue"] {
        if let Some(q) = quantity(&target[key]).filter(|q| q.is_negative() || q.is_zero()) {
            errors.push(FieldError::invalid_str(&at.child(key), &q.to_string(), "must be positive"));
        }
    }
    if let Some(n) = int(target, &["averageUtilization"]).filter(|n| *n < 1) {
        errors.push(FieldError::invalid(&at.child("averageUtilization"), &json!(n), "must be greater than 0"));
    }
}

fn behavior(rules: &Value, at: &Path, errors: &mut ErrorList) {
    let key = "stabilizationWindowSeconds";
    match int(rules, &[key]) {
        Some(n) if n < 0 => {
            errors.push(FieldError::invalid(&at.child(key), &json!(n), "must be greater than or equal to zero"));
        }
        Some(n) if n > WINDOW_MAX => {
            let why = format!("must be less than or equal to {WINDOW_MAX}");
            errors.push(FieldError::invalid(&at.child(key), &json!(n), why));
        }
        _ => {}
    }
    let chosen = text(rules, &["selectPolicy"]);
    let choices = ["Disabled", "Max", "Min"];
    if has(rules, &["selectPolicy"]) && !choices.contains(&chosen) {
        errors.push(FieldError::not_supported(&at.child("selectPolicy"), &json!(chosen), &choices));
    }
    let policies = items(rules, &["policies"]);
    if policies.is_empty() {
        errors.push(FieldError::required(&at.child("policies"), "must specify at least one Policy"));
    }
    for (i, policy) in policies.iter().enumerate() {
        check_policy(policy, &at.child("policies").index(i), errors);
    }
    amount(&rules["tolerance"], false, &at.child("tolerance"), errors);
}

fn check_policy(policy: &Value, at: &Path, errors: &mut ErrorList) {
    let kind = text(policy, &["type"]);
    let kinds = ["Percent", "Pods"];
    if !kinds.contains(&kind) {
        errors.push(FieldError::not_supported(&at.child("type"), &json!(kind), &kinds));
    }
    for key in ["value", "periodSeconds"] {
        let n = count(policy, &[key]);
        if n <= 0 {
            errors.push(FieldError::invalid(&at.child(key), &json!(n), "must be greater than zero"));
        }
        if key == "periodSeconds" && n > PERIOD_MAX {
            let why = format!("must be less than or equal to {PERIOD_MAX}");
            errors.push(FieldError::invalid(&at.child(key), &json!(n), why));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_say_their_source_and_target() {
        let of = |metric: Value| {
            let target = json!({"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"});
            let o =
                json!({"spec": {"maxReplicas": 3, "minReplicas": 1, "scaleTargetRef": target, "metrics": [metric]}});
            validate(&o, None).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let cpu = json!({"type": "Utilization", "averageUtilization": 50});
        assert!(of(json!({"type": "Resource", "resource": {"name": "cpu", "target": cpu}})).is_empty());
        let found = of(json!({"type": "Pods", "resource": {"name": "cpu", "target": {"type": "Value"}}}));
        let expected = [
            "spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization",
            "spec.metrics[0].pods: Required value: must populate information for the given metric source",
        ];
        assert_eq!(found, expected);
        let found = of(
            json!({"type": "External", "external": {"metric": {"name": ""}, "target": {"type": "Value", "value": "0"}}}),
        );
        let expected = [
            "spec.metrics[0].external.metric.name: Required value: must specify a metric name",
            "spec.metrics[0].external.target.value: Invalid value: \"0\": must be positive",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn behavior_has_policies_within_bounds() {
        let rules = json!({"stabilizationWindowSeconds": 3601, "selectPolicy": "Any",
            "policies": [{"type": "Pods", "value": 0, "periodSeconds": 1801}]});
        let mut errors = ErrorList::new();
        behavior(&rules, &Path::new("up"), &mut errors);
        let found: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let expected = [
            "up.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600",
            "up.selectPolicy: Unsupported value: \"Any\": supported values: \"Disabled\", \"Max\", \"Min\"",
            "up.policies[0].value: Invalid value: 0: must be greater than zero",
            "up.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800",
        ];
        assert_eq!(found, expected);
    }
}
