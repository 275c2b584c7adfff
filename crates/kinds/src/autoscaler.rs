//! HorizontalPodAutoscalers in both versions.

mod old;
mod rules;

use crate::print;
use crate::read::{child, count, fill, has, int, items, spec, text};
use crate::rules::Rules;
use ironclad_api::table::{self, Cells, Column};
use ironclad_json::{Value, json};

pub(crate) const V2: Rules = Rules::new()
    .defaults(default_v2)
    .checks(|o| rules::validate(o, None))
    .checks_update(|new, old| rules::validate(new, Some(old)))
    .checks_status(|new, _| rules::status(new))
    .converts(|o, _| old::from_new(o))
    .prints(COLUMNS, cells);

pub(crate) const V1: Rules = Rules::new()
    .defaults(|o| {
        fill(spec(o), "minReplicas", 1);
        old::settle(o);
    })
    .on_create(|o| old::keep_status(o, &Value::Null))
    .on_update(old::keep_status)
    .on_subresource(|_, new, old| old::keep_spec(new, old))
    .checks(|o| rules::validate(&old::to_new(o.clone()), None))
    .checks_update(|new, old| rules::validate(&old::to_new(new.clone()), Some(old)))
    .checks_status(|new, _| rules::status(new))
    .converts(|o, _| old::to_new(o))
    .prints(COLUMNS, |o| cells(&old::to_new(o.clone())));

const COLUMNS: &[Column] = &[
    Column::object_name(),
    Column::text("Reference", "The object that is scaled."),
    Column::text("Targets", "Current and wanted values of the metrics."),
    Column::text("MinPods", "The least number of pods."),
    Column::text("MaxPods", "The greatest number of pods."),
    Column::text("Replicas", "The current number of pods."),
    Column::age(),
];

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

fn current(now: &Value, field: &str) -> String {
    match &now["current"][field] {
        Value::Number(n) => format!("{n}%"),
        Value::String(q) => q.to_string(),
        _ => "<unknown>".to_owned(),
    }
}

/// What a metric is and is wanted to be.
fn target(metric: &Value, now: &Value) -> String {
    let kind = text(metric, &["type"]);
    let Some(first) = kind.chars().next() else { return "<unknown type>".to_owned() };
    let key = format!("{}{}", first.to_ascii_lowercase(), &kind[1..]);
    let (wanted, now) = (&metric[&key]["target"], &now[&key]);
    let average = text(wanted, &["averageValue"]);
    let whole = || format!("{}/{}", current(now, "value"), text(wanted, &["value"]));
    match kind {
        "Resource" | "ContainerResource" => {
            let name = text(metric, &[&key, "name"]);
            if !average.is_empty() {
                return format!("{name}: {}/{average}", current(now, "averageValue"));
            }
            let wanted = int(wanted, &["averageUtilization"]).map_or("<auto>".to_owned(), |n| format!("{n}%"));
            format!("{name}: {}/{wanted}", current(now, "averageUtilization"))
        }
        "Pods" => format!("{}/{average}", current(now, "averageValue")),
        "Object" | "External" if average.is_empty() => whole(),
        "Object" | "External" => format!("{}/{average} (avg)", current(now, "averageValue")),
        _ => "<unknown type>".to_owned(),
    }
}

fn targets(o: &Value) -> String {
    let current = items(o, &["status", "currentMetrics"]);
    let pairs = items(o, &["spec", "metrics"]).iter().enumerate();
    let shown: Vec<String> = pairs.map(|(i, metric)| target(metric, current.get(i).unwrap_or(&Value::Null))).collect();
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
    fn targets_read_as_kubectl_prints_them() {
        assert_eq!(targets(&json!({"spec": {"metrics": [cpu(80)]}})), "cpu: <unknown>/80%");
        let external =
            json!({"type": "External", "external": {"metric": {"name": "m"}, "target": {"averageValue": "3"}}});
        let now = json!({"external": {"current": {"averageValue": "2"}}});
        assert_eq!(target(&external, &now), "2/3 (avg)");
        let many = json!({"spec": {"metrics": [cpu(80), external, cpu(1)]}});
        assert_eq!(targets(&many), "cpu: <unknown>/80%, <unknown>/3 (avg) + 1 more...");
    }
}
