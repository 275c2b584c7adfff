//! HorizontalPodAutoscalers in both versions. Version 1 knows the CPU alone; what it has no fields for travels in
//! annotations, so that nothing is lost on the way there and back.

use crate::print;
use crate::read::{child, count, fill, has, int, items, spec, text};
use crate::rules::Rules;
use ironclad_api::table::{self, Cells, Column};
use ironclad_api::{ErrorList, FieldError, Path};
use serde_json::{Map, Value, json};

pub(crate) const V2: Rules =
    Rules::new().defaults(default_v2).checks(validate).converts(|o, _| to_v1(o)).prints(COLUMNS, cells);

pub(crate) const V1: Rules = Rules::new()
    .defaults(|o| fill(spec(o), "minReplicas", 1))
    .checks(|o| validate(&to_v2(o.clone())))
    .converts(|o, _| to_v2(o))
    .prints(COLUMNS, |o| cells(&to_v2(o.clone())));

const COLUMNS: &[Column] = &[
    Column::object_name(),
    Column::text("Reference", "The object that is scaled."),
    Column::text("Targets", "Current and wanted values of the metrics."),
    Column::text("MinPods", "The least number of pods."),
    Column::text("MaxPods", "The greatest number of pods."),
    Column::text("Replicas", "The current number of pods."),
    Column::age(),
];

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

fn cpu(target: i64) -> Value {
    json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": target}}})
}

fn default_v2(o: &mut Value) {
    let spec = spec(o);
    fill(spec, "minReplicas", 1);
    if items(spec, &["metrics"]).is_empty() {
        crate::read::put(spec, "metrics", json!([cpu(80)]));
    }
    if !has(spec, &["behavior"]) {
        return;
    }
    let behavior = child(spec, "behavior");
    let up = child(behavior, "scaleUp");
    fill(up, "stabilizationWindowSeconds", 0);
    fill(up, "selectPolicy", "Max");
    fill(
        up,
        "policies",
        json!([{"type": "Pods", "value": 4, "periodSeconds": 15},
                                {"type": "Percent", "value": 100, "periodSeconds": 15}]),
    );
    let down = child(behavior, "scaleDown");
    fill(down, "selectPolicy", "Max");
    fill(down, "policies", json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]));
}

fn is_cpu_utilization(metric: &Value, field: &str) -> bool {
    text(metric, &["type"]) == "Resource"
        && text(metric, &["resource", "name"]) == "cpu"
        && int(metric, &["resource", field, "averageUtilization"]).is_some()
}

fn take(map: Option<&mut Map<String, Value>>, key: &str) -> Option<Value> {
    map.and_then(|m| m.remove(key)).filter(|v| !v.is_null())
}

fn part<'a>(o: &'a mut Value, key: &str) -> Option<&'a mut Map<String, Value>> {
    o.get_mut(key).and_then(Value::as_object_mut)
}

fn annotate(o: &mut Value, key: &str, value: &Value) {
    let annotations = child(child(o, "metadata"), "annotations");
    if let Some(map) = annotations.as_object_mut() {
        map.insert(key.to_owned(), json!(value.to_string()));
    }
}

/// Takes an annotation away and reads it.
fn annotation(o: &mut Value, key: &str) -> Option<Value> {
    let annotations = o.get_mut("metadata")?.get_mut("annotations")?.as_object_mut()?;
    let text = annotations.remove(key)?;
    serde_json::from_str(text.as_str()?).ok()
}

fn to_v1(mut o: Value) -> Value {
    if let Some(Value::Array(mut metrics)) = take(part(&mut o, "spec"), "metrics") {
        if let Some(i) = metrics.iter().position(|m| is_cpu_utilization(m, "target")) {
            let metric = metrics.remove(i);
            crate::read::put(
                spec(&mut o),
                "targetCPUUtilizationPercentage",
                metric["resource"]["target"]["averageUtilization"].clone(),
            );
        }
        if !metrics.is_empty() {
            annotate(&mut o, METRICS, &json!(metrics));
        }
    }
    if let Some(behavior) = take(part(&mut o, "spec"), "behavior") {
        annotate(&mut o, BEHAVIOR, &behavior);
    }
    if let Some(Value::Array(mut current)) = take(part(&mut o, "status"), "currentMetrics") {
        if let Some(i) = current.iter().position(|m| is_cpu_utilization(m, "current")) {
            let metric = current.remove(i);
            o["status"]["currentCPUUtilizationPercentage"] =
                metric["resource"]["current"]["averageUtilization"].clone();
        }
        if !current.is_empty() {
            annotate(&mut o, CURRENT, &json!(current));
        }
    }
    if let Some(conditions) = take(part(&mut o, "status"), "conditions") {
        annotate(&mut o, CONDITIONS, &conditions);
    }
    o
}

fn to_v2(mut o: Value) -> Value {
    let mut metrics = match annotation(&mut o, METRICS) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    };
    if let Some(target) = take(part(&mut o, "spec"), "targetCPUUtilizationPercentage") {
        metrics.insert(0, cpu(target.as_i64().unwrap_or(80)));
    }
    if !metrics.is_empty() {
        crate::read::put(spec(&mut o), "metrics", json!(metrics));
    }
    if let Some(behavior) = annotation(&mut o, BEHAVIOR) {
        crate::read::put(spec(&mut o), "behavior", behavior);
    }
    let mut current = match annotation(&mut o, CURRENT) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    };
    if let Some(used) = take(part(&mut o, "status"), "currentCPUUtilizationPercentage") {
        let metric = json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": used}}});
        current.insert(0, metric);
    }
    if !current.is_empty() {
        crate::read::put(child(&mut o, "status"), "currentMetrics", json!(current));
    }
    if let Some(conditions) = annotation(&mut o, CONDITIONS) {
        crate::read::put(child(&mut o, "status"), "conditions", conditions);
    }
    if let Some(annotations) = o.get_mut("metadata").and_then(Value::as_object_mut)
        && annotations.get("annotations").and_then(Value::as_object).is_some_and(Map::is_empty)
    {
        annotations.remove("annotations");
    }
    o
}

fn validate(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("spec");
    let (least, most) = (count(o, &["spec", "minReplicas"]), count(o, &["spec", "maxReplicas"]));
    if has(o, &["spec", "minReplicas"]) && least < 1 {
        let detail = "must be greater than or equal to 1";
        errors.push(FieldError::invalid(&at.child("minReplicas"), &json!(least), detail));
    }
    if most < 1 {
        errors.push(FieldError::invalid(&at.child("maxReplicas"), &json!(most), "must be greater than 0"));
    }
    if most < least {
        let detail = "must be greater than or equal to `minReplicas`";
        errors.push(FieldError::invalid(&at.child("maxReplicas"), &json!(most), detail));
    }
    for key in ["kind", "name"] {
        if text(o, &["spec", "scaleTargetRef", key]).is_empty() {
            errors.push(FieldError::required(&at.child("scaleTargetRef").child(key), ""));
        }
    }
    errors
}

fn targets(o: &Value) -> String {
    let metrics = items(o, &["spec", "metrics"]);
    let current = items(o, &["status", "currentMetrics"]);
    let shown: Vec<String> = metrics
        .iter()
        .enumerate()
        .map(|(i, metric)| {
            let kind = text(metric, &["type"]);
            let key = kind[..1.min(kind.len())].to_lowercase() + kind.get(1..).unwrap_or_default();
            let none = Value::Null;
            let now = current.get(i).and_then(|c| c.get(&key)).unwrap_or(&none);
            let target = &metric[&key]["target"];
            let name = match kind {
                "Resource" | "ContainerResource" => format!("{}: ", text(metric, &[&key, "name"])),
                _ => String::new(),
            };
            if let Some(wanted) = int(target, &["averageUtilization"]) {
                let used = int(now, &["current", "averageUtilization"]);
                let used = used.map_or("<unknown>".to_owned(), |u| format!("{u}%"));
                return format!("{name}{used}/{wanted}%");
            }
            let (field, suffix) = if has(target, &["averageValue"]) { ("averageValue", "") } else { ("value", "") };
            let used = text(now, &["current", field]);
            let used = if used.is_empty() { "<unknown>" } else { used };
            format!("{name}{used}/{}{suffix}", text(target, &[field]))
        })
        .collect();
    match shown.len() {
        0 => print::NONE.to_owned(),
        1..=2 => shown.join(", "),
        n => format!("{} + {} more...", shown[..2].join(", "), n - 2),
    }
}

fn cells(o: &Value) -> Cells {
    let reference =
        format!("{}/{}", text(o, &["spec", "scaleTargetRef", "kind"]), text(o, &["spec", "scaleTargetRef", "name"]));
    vec![
        print::name(o),
        json!(reference),
        json!(targets(o)),
        int(o, &["spec", "minReplicas"]).map_or(json!("<unset>"), |n| json!(n.to_string())),
        json!(count(o, &["spec", "maxReplicas"])),
        json!(count(o, &["status", "currentReplicas"])),
        table::age(o),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1_carries_what_it_has_no_fields_for() {
        let v2 = json!({"metadata": {"name": "h"}, "spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "w"},
            "metrics": [cpu(50), {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}}]},
            "status": {"conditions": [{"type": "ScalingActive", "status": "True"}]}});
        let v1 = to_v1(v2.clone());
        assert_eq!(v1["spec"]["targetCPUUtilizationPercentage"], 50);
        assert!(v1["spec"].get("metrics").is_none());
        assert!(v1["metadata"]["annotations"][METRICS].as_str().unwrap().contains("memory"));
        assert_eq!(to_v2(v1), v2);
    }

    #[test]
    fn targets_read_as_kubectl_prints_them() {
        assert_eq!(targets(&json!({"spec": {"metrics": [cpu(80)]}})), "cpu: <unknown>/80%");
    }
}
