//! HorizontalPodAutoscalers in version 1, which knows the CPU alone. What it has no fields for travels in annotations,
//! in the shapes that stock gives it, so that nothing is lost on the way there and back.

use super::cpu;
use crate::read::{child, has, put, spec, text};
use ironclad_json::{Map, Value, json};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

/// Fields of a source of metrics: where version 2 has one, and what the annotation calls it. `{}` stands for `target`
/// in what is wanted and for `current` in what is measured.
type Fields = &'static [(&'static [&'static str], &'static str)];

const fn fields(source: &str) -> Option<Fields> {
    match source.as_bytes() {
        b"resource" => Some(&[
            (&["name"], "name"),
            (&["{}", "averageUtilization"], "{}AverageUtilization"),
            (&["{}", "averageValue"], "{}AverageValue"),
        ]),
        b"containerResource" => Some(&[
            (&["name"], "name"),
            (&["container"], "container"),
            (&["{}", "averageUtilization"], "{}AverageUtilization"),
            (&["{}", "averageValue"], "{}AverageValue"),
        ]),
        b"pods" => Some(&[
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "selector"),
            (&["{}", "averageValue"], "{}AverageValue"),
        ]),
        b"object" => Some(&[
            (&["describedObject"], "target"),
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "selector"),
            (&["{}", "value"], "{}Value"),
            (&["{}", "averageValue"], "averageValue"),
        ]),
        b"external" => Some(&[
            (&["metric", "name"], "metricName"),
            (&["metric", "selector"], "metricSelector"),
            (&["{}", "value"], "{}Value"),
            (&["{}", "averageValue"], "{}AverageValue"),
        ]),
        _ => None,
    }
}

fn fill_in(name: &str, role: &str) -> String {
    name.replace("{}", role)
}

fn read<'a>(value: &'a Value, path: &[&str], role: &str) -> &'a Value {
    path.iter().fold(value, |v, key| &v[fill_in(key, role)])
}

/// A metric as the annotation has it.
fn flat(metric: &Value, role: &str) -> Value {
    let mut out = metric.clone();
    for (source, from) in metric.as_object().into_iter().flatten() {
        let Some(fields) = fields(source).filter(|_| from.is_object()) else { continue };
        let mut to = Map::new();
        for (path, name) in fields {
            let value = read(from, path, role);
            if !value.is_null() {
                to.insert(fill_in(name, role), value.clone());
            }
        }
        let needs_value = matches!((source.as_str(), role), ("object", _) | ("external", "current"));
        if needs_value {
            to.entry(format!("{role}Value")).or_insert(json!("0"));
        }
        let average = matches!((source.as_str(), role), ("resource" | "containerResource", "current"));
        if average {
            to.entry("currentAverageValue").or_insert(json!("0"));
        }
        put(&mut out, source, Value::Object(to));
    }
    out
}

/// A metric out of the annotation, in the shape of version 2.
fn deep(metric: &Value, role: &str) -> Value {
    let mut out = metric.clone();
    for (source, from) in metric.as_object().into_iter().flatten() {
        let Some(fields) = fields(source).filter(|_| from.is_object()) else { continue };
        let mut to = json!({});
        for (path, name) in fields {
            let value = &from[fill_in(name, role)];
            let unset = name.ends_with("Value") && value == "0" && *name != "averageValue";
            if value.is_null() || unset {
                continue;
            }
            let [parents @ .., last] = path else { continue };
            let place = parents.iter().fold(&mut to, |v, key| child(v, &fill_in(key, role)));
            put(place, last, value.clone());
        }
        if role == "target" {
            let target = child(&mut to, "target");
            let kind = if has(target, &["averageUtilization"]) {
                "Utilization"
            } else if has(target, &["averageValue"]) {
                "AverageValue"
            } else {
                "Value"
            };
            put(target, "type", json!(kind));
        }
        put(&mut out, source, to);
    }
    out
}

/// Names with another first letter: the annotation has the behavior in Go's names.
fn renamed(value: &Value, rename: fn(&str) -> String) -> Value {
    match value {
        Value::Object(map) => Value::Object(map.iter().map(|(k, v)| (rename(k), renamed(v, rename))).collect()),
        Value::Array(list) => Value::Array(list.iter().map(|v| renamed(v, rename)).collect()),
        other => other.clone(),
    }
}

fn upper(name: &str) -> String {
    name[..1.min(name.len())].to_uppercase() + name.get(1..).unwrap_or_default()
}

fn lower(name: &str) -> String {
    name[..1.min(name.len())].to_lowercase() + name.get(1..).unwrap_or_default()
}

/// What Go writes for rules: each field, also the missing ones.
fn go_rules(behavior: &Value) -> Value {
    let mut out = renamed(behavior, upper);
    for key in ["ScaleUp", "ScaleDown"] {
        let rules = &mut out[key];
        for field in ["StabilizationWindowSeconds", "SelectPolicy", "Policies", "Tolerance"] {
            if rules.is_object() && rules.get(field).is_none() {
                rules[field] = Value::Null;
            }
        }
    }
    out
}

fn without_null(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            map.values_mut().for_each(without_null);
        }
        Value::Array(list) => list.iter_mut().for_each(without_null),
        _ => {}
    }
}

fn is_cpu_utilization(metric: &Value, field: &str) -> bool {
    text(metric, &["type"]) == "Resource"
        && text(metric, &["resource", "name"]) == "cpu"
        && has(metric, &["resource", field, "averageUtilization"])
}

fn take(o: &mut Value, part: &str, key: &str) -> Option<Value> {
    o.get_mut(part).and_then(Value::as_object_mut).and_then(|m| m.remove(key)).filter(|v| !v.is_null())
}

fn annotate(o: &mut Value, key: &str, value: &Value) {
    put(child(child(o, "metadata"), "annotations"), key, json!(written(value)));
}

/// The fields of what stands in annotations, in the order in which stock's types have them.
const ORDER: &[&str] = &[
    "type",
    "status",
    "lastTransitionTime",
    "reason",
    "message",
    "object",
    "pods",
    "resource",
    "containerResource",
    "external",
    "kind",
    "name",
    "apiVersion",
    "target",
    "metricName",
    "metricSelector",
    "targetValue",
    "currentValue",
    "targetAverageUtilization",
    "currentAverageUtilization",
    "targetAverageValue",
    "currentAverageValue",
    "container",
    "selector",
    "averageValue",
    "ScaleUp",
    "ScaleDown",
    "StabilizationWindowSeconds",
    "SelectPolicy",
    "Policies",
    "Type",
    "Value",
    "PeriodSeconds",
    "Tolerance",
];

/// JSON with the fields of objects in stock's order.
fn written(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let place = |key: &str| ORDER.iter().position(|k| *k == key).unwrap_or(ORDER.len());
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| (place(key), key.to_string()));
            let parts: Vec<String> =
                entries.iter().map(|(k, v)| format!("{}:{}", json!(k.as_str()), written(v))).collect();
            format!("{{{}}}", parts.join(","))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(written).collect::<Vec<_>>().join(",")),
        plain => plain.to_string(),
    }
}

/// Takes an annotation away and reads it.
fn annotation(o: &mut Value, key: &str) -> Option<Value> {
    let annotations = o.get_mut("metadata")?.get_mut("annotations")?.as_object_mut()?;
    let text = annotations.remove(key)?;
    serde_json::from_str(text.as_str()?).ok()
}

/// Version 2 in the shape of version 1.
pub(super) fn from_new(mut o: Value) -> Value {
    if let Some(Value::Array(metrics)) = take(&mut o, "spec", "metrics") {
        let (own, others): (Vec<&Value>, Vec<&Value>) = metrics.iter().partition(|m| is_cpu_utilization(m, "target"));
        if let Some(metric) = own.last() {
            let target = metric["resource"]["target"]["averageUtilization"].clone();
            put(spec(&mut o), "targetCPUUtilizationPercentage", target);
        }
        if !others.is_empty() {
            let others: Vec<Value> = others.into_iter().map(|m| flat(m, "target")).collect();
            annotate(&mut o, METRICS, &json!(others));
        }
    }
    if let Some(behavior) = take(&mut o, "spec", "behavior") {
        annotate(&mut o, BEHAVIOR, &go_rules(&behavior));
    }
    if let Some(Value::Array(current)) = take(&mut o, "status", "currentMetrics").filter(|c| *c != json!([])) {
        if let Some(metric) = current.iter().rfind(|m| is_cpu_utilization(m, "current")) {
            let used = metric["resource"]["current"]["averageUtilization"].clone();
            o["status"]["currentCPUUtilizationPercentage"] = used;
        }
        let current: Vec<Value> = current.iter().map(|m| flat(m, "current")).collect();
        annotate(&mut o, CURRENT, &json!(current));
    }
    if let Some(conditions) = take(&mut o, "status", "conditions").filter(|c| *c != json!([])) {
        annotate(&mut o, CONDITIONS, &conditions);
    }
    o
}

/// Version 1 in the shape of version 2.
pub(super) fn to_new(mut o: Value) -> Value {
    let mut metrics = match annotation(&mut o, METRICS) {
        Some(Value::Array(list)) => list.iter().map(|m| deep(m, "target")).collect(),
        _ => Vec::new(),
    };
    if let Some(target) = take(&mut o, "spec", "targetCPUUtilizationPercentage") {
        metrics.push(cpu(target.as_i64().unwrap_or(80)));
    }
    if metrics.is_empty() {
        metrics.push(cpu(80));
    }
    put(spec(&mut o), "metrics", json!(metrics));
    if let Some(mut behavior) = annotation(&mut o, BEHAVIOR).map(|b| renamed(&b, lower)).filter(|b| *b != json!({})) {
        without_null(&mut behavior);
        put(spec(&mut o), "behavior", behavior);
    }
    let used = take(&mut o, "status", "currentCPUUtilizationPercentage");
    let current = match (annotation(&mut o, CURRENT), used) {
        (Some(Value::Array(list)), _) => list.iter().map(|m| deep(m, "current")).collect(),
        (_, Some(used)) => {
            vec![json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": used}}})]
        }
        _ => Vec::new(),
    };
    if !current.is_empty() {
        put(child(&mut o, "status"), "currentMetrics", json!(current));
    }
    if let Some(conditions) = annotation(&mut o, CONDITIONS) {
        put(child(&mut o, "status"), "conditions", conditions);
    }
    without_empty_annotations(&mut o);
    o
}

/// Version 1 as it comes back from version 2, which has a metric even where none is asked for.
pub(super) fn settle(o: &mut Value) {
    *o = from_new(to_new(std::mem::take(o)));
}

/// Puts back what belongs to the status.
pub(super) fn keep_status(new: &mut Value, old: &Value) {
    keep(new, old, &[CURRENT, CONDITIONS]);
    match &old["status"] {
        Value::Null => drop(take(new, "status", "currentCPUUtilizationPercentage")),
        kept => put(new, "status", kept.clone()),
    }
}

/// Puts back what belongs to the specification.
pub(super) fn keep_spec(new: &mut Value, old: &Value) {
    keep(new, old, &[METRICS, BEHAVIOR]);
}

fn keep(new: &mut Value, old: &Value, keys: &[&str]) {
    for key in keys {
        match &old["metadata"]["annotations"][*key] {
            Value::Null => drop(annotation(new, key)),
            kept => put(child(child(new, "metadata"), "annotations"), key, kept.clone()),
        }
    }
    without_empty_annotations(new);
}

fn without_empty_annotations(o: &mut Value) {
    if let Some(metadata) = o.get_mut("metadata").and_then(Value::as_object_mut)
        && metadata.get("annotations").and_then(Value::as_object).is_some_and(Map::is_empty)
    {
        metadata.remove("annotations");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_asks_for_is_the_usual_target_and_a_status_comes_through_its_own_door() {
        let mut o = json!({"metadata": {"name": "h"}, "spec": {"maxReplicas": 3}, "status": {"currentCPUUtilizationPercentage": 7}});
        settle(&mut o);
        assert_eq!(o["spec"]["targetCPUUtilizationPercentage"], 80);
        let annotation = "[{\"type\":\"Resource\",\"resource\":{\"name\":\"cpu\",\"currentAverageUtilization\":7,\"currentAverageValue\":\"0\"}}]";
        assert_eq!(o["metadata"]["annotations"][CURRENT], annotation);
        keep_status(&mut o, &Value::Null);
        assert!(o["metadata"].get("annotations").is_none());
    }

    #[test]
    fn what_the_old_version_has_no_fields_for_comes_back() {
        let memory = json!({"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}});
        let object = json!({"type": "Object", "object": {"describedObject": {"kind": "Service", "name": "s"},
            "metric": {"name": "m"}, "target": {"type": "Value", "value": "3"}}});
        let new = json!({"metadata": {"name": "h"},
            "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "w"},
                "metrics": [memory, object, cpu(50)],
                "behavior": {"scaleUp": {"selectPolicy": "Max", "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]}}},
            "status": {"conditions": [{"type": "ScalingActive", "status": "True"}]}});
        let old = from_new(new.clone());
        assert_eq!(old["spec"]["targetCPUUtilizationPercentage"], 50);
        assert!(old["spec"].get("metrics").is_none());
        let read = |key: &str| -> Value {
            serde_json::from_str(old["metadata"]["annotations"][key].as_str().unwrap()).unwrap()
        };
        assert_eq!(read(METRICS)[0]["resource"], json!({"name": "memory", "targetAverageValue": "1Gi"}));
        assert_eq!(read(METRICS)[1]["object"]["targetValue"], "3");
        assert_eq!(read(BEHAVIOR)["ScaleUp"]["Policies"][0]["PeriodSeconds"], 15);
        assert_eq!(to_new(old), new);
    }
}
