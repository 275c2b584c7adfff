//! Workloads: Deployments, ReplicaSets, ReplicationControllers, StatefulSets, DaemonSets.

use crate::Strategy;
use crate::common::cells::{containers, map, number, selector};
use crate::common::selector::validate_workload;
use crate::common::{pod_defaults, pod_rules};
use ironclad_api::object::{self, default_to, entry_of};
use ironclad_api::table::{Cells, Column, age};
use ironclad_api::{ErrorList, FieldError, Path};
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

pub(crate) struct Deployment;
pub(crate) struct ReplicaSet;
pub(crate) struct ReplicationController;
pub(crate) struct StatefulSet;
pub(crate) struct DaemonSet;

fn defaults(object: &mut Value, more: impl FnOnce(&mut Map<String, Value>)) {
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    more(spec);
    if let Some(template) = spec.get_mut("template").and_then(Value::as_object_mut) {
        entry_of(template, "metadata");
        pod_defaults::spec(&mut template["spec"]);
    }
}

/// What is wrong with replicas, selector and template.
fn workload(object: &Value, kind: &str) -> ErrorList {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let mut errors = ErrorList::new();
    non_negative(spec, "replicas", &path, &mut errors);
    non_negative(spec, "minReadySeconds", &path, &mut errors);
    errors.extend(validate_workload(spec, &path, kind));
    let template = path.child("template");
    errors.extend(crate::metadata::labels(
        &spec["template"]["metadata"]["labels"],
        &template.child("metadata").child("labels"),
    ));
    errors.extend(pod_rules::template_spec(&spec["template"]["spec"], &template.child("spec")));
    let policy = &spec["template"]["spec"]["restartPolicy"];
    if policy != "Always" && !policy.is_null() {
        errors.push(FieldError::not_supported(&template.child("spec").child("restartPolicy"), policy, &["Always"]));
    }
    errors
}

fn non_negative(spec: &Value, field: &str, path: &Path, errors: &mut ErrorList) {
    if spec[field].as_i64().is_some_and(|n| n < 0) {
        errors.push(FieldError::invalid(&path.child(field), &spec[field], "must be greater than or equal to 0"));
    }
}

fn selector_fixed(new: &Value, old: &Value, errors: &mut ErrorList) {
    if new["spec"]["selector"] != old["spec"]["selector"] {
        errors.push(FieldError::invalid(
            &Path::new("spec").child("selector"),
            &new["spec"]["selector"],
            "field is immutable",
        ));
    }
}

fn wide(mut columns: Vec<Column>) -> Vec<Column> {
    columns.push(Column::text("Containers", "The names of its containers.").wide());
    columns.push(Column::text("Images", "Their images.").wide());
    columns.push(Column::text("Selector", "The labels of its pods.").wide());
    columns
}

impl Strategy for Deployment {
    fn default(&self, object: &mut Value) {
        defaults(object, |spec| {
            default_to(spec, "replicas", || json!(1));
            default_to(spec, "revisionHistoryLimit", || json!(10));
            default_to(spec, "progressDeadlineSeconds", || json!(600));
            let strategy = entry_of(spec, "strategy");
            default_to(strategy, "type", || json!("RollingUpdate"));
            if strategy["type"] == "RollingUpdate" {
                let rolling = entry_of(strategy, "rollingUpdate");
                default_to(rolling, "maxUnavailable", || json!("25%"));
                default_to(rolling, "maxSurge", || json!("25%"));
            }
        });
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = workload(object, "deployment");
        let (spec, path) = (&object["spec"], Path::new("spec"));
        non_negative(spec, "revisionHistoryLimit", &path, &mut errors);
        let strategy = &spec["strategy"];
        let at = path.child("strategy");
        match object::text(strategy, &["type"]) {
            "Recreate" if !strategy["rollingUpdate"].is_null() => {
                let why = "may not be specified when strategy `type` is 'Recreate'";
                errors.push(FieldError::forbidden(&at.child("rollingUpdate"), why));
            }
            "Recreate" => {}
            "RollingUpdate" => rolling(&strategy["rollingUpdate"], &at.child("rollingUpdate"), &mut errors),
            _ => errors.push(FieldError::not_supported(
                &at.child("type"),
                &strategy["type"],
                &["Recreate", "RollingUpdate"],
            )),
        }
        let deadline = spec["progressDeadlineSeconds"].as_i64();
        if deadline.is_some_and(|d| d <= spec["minReadySeconds"].as_i64().unwrap_or(0)) {
            let why = "must be greater than minReadySeconds";
            errors.push(FieldError::invalid(
                &path.child("progressDeadlineSeconds"),
                &spec["progressDeadlineSeconds"],
                why,
            ));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(new);
        selector_fixed(new, old, &mut errors);
        errors
    }

    fn columns(&self) -> &[Column] {
        static COLUMNS: LazyLock<Vec<Column>> = LazyLock::new(|| {
            wide(vec![
                Column::object_name(),
                Column::text("Ready", "How many pods are ready of how many that are wanted."),
                Column::text("Up-to-date", "How many pods have the newest template."),
                Column::text("Available", "How many pods have been ready for long enough."),
                Column::age(),
            ])
        });
        &COLUMNS
    }

    fn cells(&self, object: &Value) -> Cells {
        let (spec, status) = (&object["spec"], &object["status"]);
        let (names, images) = containers(&spec["template"]["spec"]);
        vec![
            json!(object::name(object)),
            json!(format!("{}/{}", number(&status["readyReplicas"]), number(&spec["replicas"]))),
            json!(number(&status["updatedReplicas"]).to_string()),
            json!(number(&status["availableReplicas"]).to_string()),
            age(object),
            names,
            images,
            selector(&spec["selector"]),
        ]
    }
}

/// What is wrong with `maxUnavailable` and `maxSurge`.
fn rolling(rolling: &Value, path: &Path, errors: &mut ErrorList) {
    let mut zero = 0;
    for field in ["maxUnavailable", "maxSurge"] {
        let (value, at) = (&rolling[field], path.child(field));
        match value {
            Value::String(text) => match text.strip_suffix('%').and_then(|n| n.parse::<i64>().ok()) {
                Some(percent) => {
                    if field == "maxUnavailable" && percent > 100 {
                        errors.push(FieldError::invalid(&at, value, "must not be greater than 100%"));
                    }
                    zero += i32::from(percent == 0);
                }
                None => {
                    let why = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
                    errors.push(FieldError::invalid(&at, value, why));
                }
            },
            Value::Number(n) => {
                if n.as_i64().is_some_and(|n| n < 0) {
                    errors.push(FieldError::invalid(&at, value, "must be greater than or equal to 0"));
                }
                zero += i32::from(n.as_i64() == Some(0));
            }
            _ => {}
        }
    }
    if zero == 2 {
        let why = "may not be 0 when `maxSurge` is 0";
        errors.push(FieldError::invalid(&path.child("maxUnavailable"), &rolling["maxUnavailable"], why));
    }
}

fn replica_columns() -> Vec<Column> {
    wide(vec![
        Column::object_name(),
        Column::integer("Desired", "How many pods are wanted."),
        Column::integer("Current", "How many pods there are."),
        Column::integer("Ready", "How many pods are ready."),
        Column::age(),
    ])
}

fn replica_cells(object: &Value, select: fn(&Value) -> Value) -> Cells {
    let (spec, status) = (&object["spec"], &object["status"]);
    let (names, images) = containers(&spec["template"]["spec"]);
    vec![
        json!(object::name(object)),
        json!(number(&spec["replicas"])),
        json!(number(&status["replicas"])),
        json!(number(&status["readyReplicas"])),
        age(object),
        names,
        images,
        select(&spec["selector"]),
    ]
}

impl Strategy for ReplicaSet {
    fn default(&self, object: &mut Value) {
        defaults(object, |spec| default_to(spec, "replicas", || json!(1)));
    }

    fn prepare_create(&self, object: &mut Value) {
        object["status"] = json!({"replicas": 0});
    }

    fn validate(&self, object: &Value) -> ErrorList {
        workload(object, "replicaset")
    }

    fn validate_update(&self, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(new);
        selector_fixed(new, old, &mut errors);
        errors
    }

    fn columns(&self) -> &[Column] {
        static COLUMNS: LazyLock<Vec<Column>> = LazyLock::new(replica_columns);
        &COLUMNS
    }

    fn cells(&self, object: &Value) -> Cells {
        replica_cells(object, selector)
    }
}

impl Strategy for ReplicationController {
    fn default(&self, object: &mut Value) {
        let labels = object["spec"]["template"]["metadata"]["labels"].clone();
        defaults(object, |spec| {
            default_to(spec, "replicas", || json!(1));
            if labels.is_object() {
                default_to(spec, "selector", || labels);
            }
        });
    }

    fn prepare_create(&self, object: &mut Value) {
        object["status"] = json!({"replicas": 0});
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        non_negative(&object["spec"], "replicas", &path, &mut errors);
        if object["spec"]["selector"].as_object().is_none_or(Map::is_empty) {
            errors.push(FieldError::required(&path.child("selector"), ""));
        }
        errors.extend(pod_rules::template_spec(
            &object["spec"]["template"]["spec"],
            &path.child("template").child("spec"),
        ));
        errors
    }

    fn columns(&self) -> &[Column] {
        static COLUMNS: LazyLock<Vec<Column>> = LazyLock::new(replica_columns);
        &COLUMNS
    }

    fn cells(&self, object: &Value) -> Cells {
        replica_cells(object, map)
    }
}

impl Strategy for StatefulSet {
    fn default(&self, object: &mut Value) {
        defaults(object, |spec| {
            default_to(spec, "replicas", || json!(1));
            default_to(spec, "revisionHistoryLimit", || json!(10));
            default_to(spec, "podManagementPolicy", || json!("OrderedReady"));
            let strategy = entry_of(spec, "updateStrategy");
            default_to(strategy, "type", || json!("RollingUpdate"));
            if strategy["type"] == "RollingUpdate" {
                default_to(entry_of(strategy, "rollingUpdate"), "partition", || json!(0));
            }
            let retention = entry_of(spec, "persistentVolumeClaimRetentionPolicy");
            default_to(retention, "whenDeleted", || json!("Retain"));
            default_to(retention, "whenScaled", || json!("Retain"));
        });
    }

    fn prepare_create(&self, object: &mut Value) {
        object["status"] = json!({"replicas": 0, "availableReplicas": 0});
    }

    fn validate(&self, object: &Value) -> ErrorList {
        workload(object, "statefulset")
    }

    fn validate_update(&self, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(new);
        let fixed = |v: &Value| {
            let mut spec = v["spec"].clone();
            for field in [
                "replicas",
                "ordinals",
                "template",
                "updateStrategy",
                "revisionHistoryLimit",
                "persistentVolumeClaimRetentionPolicy",
                "minReadySeconds",
            ] {
                spec.as_object_mut().and_then(|s| s.remove(field));
            }
            spec
        };
        if fixed(new) != fixed(old) {
            let why = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
            errors.push(FieldError::forbidden(&Path::new("spec"), why));
        }
        errors
    }

    fn columns(&self) -> &[Column] {
        static COLUMNS: LazyLock<Vec<Column>> = LazyLock::new(|| {
            vec![
                Column::object_name(),
                Column::text("Ready", "How many pods are ready of how many that are wanted."),
                Column::age(),
                Column::text("Containers", "The names of its containers.").wide(),
                Column::text("Images", "Their images.").wide(),
            ]
        });
        &COLUMNS
    }

    fn cells(&self, object: &Value) -> Cells {
        let (names, images) = containers(&object["spec"]["template"]["spec"]);
        let ready = format!("{}/{}", number(&object["status"]["readyReplicas"]), number(&object["spec"]["replicas"]));
        vec![json!(object::name(object)), json!(ready), age(object), names, images]
    }
}

impl Strategy for DaemonSet {
    fn default(&self, object: &mut Value) {
        defaults(object, |spec| {
            default_to(spec, "revisionHistoryLimit", || json!(10));
            let strategy = entry_of(spec, "updateStrategy");
            default_to(strategy, "type", || json!("RollingUpdate"));
            if strategy["type"] == "RollingUpdate" {
                let rolling = entry_of(strategy, "rollingUpdate");
                default_to(rolling, "maxUnavailable", || json!(1));
                default_to(rolling, "maxSurge", || json!(0));
            }
        });
    }

    fn prepare_create(&self, object: &mut Value) {
        object["status"] = json!({"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0});
    }

    fn validate(&self, object: &Value) -> ErrorList {
        workload(object, "daemonset")
    }

    fn validate_update(&self, new: &Value, old: &Value) -> ErrorList {
        let mut errors = self.validate(new);
        selector_fixed(new, old, &mut errors);
        errors
    }

    fn columns(&self) -> &[Column] {
        static COLUMNS: LazyLock<Vec<Column>> = LazyLock::new(|| {
            wide(vec![
                Column::object_name(),
                Column::integer("Desired", "How many nodes should run a pod."),
                Column::integer("Current", "How many nodes run one."),
                Column::integer("Ready", "How many pods are ready."),
                Column::integer("Up-to-date", "How many pods have the newest template."),
                Column::integer("Available", "How many pods have been ready for long enough."),
                Column::text("Node Selector", "The labels of the nodes."),
                Column::age(),
            ])
        });
        &COLUMNS
    }

    fn cells(&self, object: &Value) -> Cells {
        let (spec, status) = (&object["spec"], &object["status"]);
        let (names, images) = containers(&spec["template"]["spec"]);
        let count = |field: &str| json!(number(&status[field]));
        vec![
            json!(object::name(object)),
            count("desiredNumberScheduled"),
            count("currentNumberScheduled"),
            count("numberReady"),
            count("updatedNumberScheduled"),
            count("numberAvailable"),
            map(&spec["template"]["spec"]["nodeSelector"]),
            age(object),
            names,
            images,
            selector(&spec["selector"]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(spec: Value) -> Value {
        let mut object = json!({"metadata": {"name": "web"}, "spec": spec});
        Deployment.default(&mut object);
        object
    }

    #[test]
    fn a_deployment_gets_the_stock_defaults() {
        let spec = deployment(json!({"template": {"spec": {"containers": []}}}))["spec"].clone();
        assert_eq!(
            spec["strategy"],
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}})
        );
        assert_eq!((&spec["replicas"], &spec["progressDeadlineSeconds"]), (&json!(1), &json!(600)));
    }

    #[test]
    fn selectors_must_match_the_template() {
        let bad = deployment(json!({"selector": {"matchLabels": {"app": "a"}}, "template": {
            "metadata": {"labels": {"app": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}));
        let errors = Deployment.validate(&bad);
        assert_eq!(
            errors[0].to_string(),
            "spec.template.metadata.labels: Invalid value: {\"app\":\"b\"}: `selector` does not match template `labels`"
        );
        let missing =
            deployment(json!({"replicas": -1, "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}));
        let errors: Vec<String> = Deployment.validate(&missing).iter().map(ToString::to_string).collect();
        assert_eq!(
            errors,
            ["spec.replicas: Invalid value: -1: must be greater than or equal to 0", "spec.selector: Required value"]
        );
    }
}
