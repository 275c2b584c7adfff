//! Deployments.

use super::template;
use crate::common::numbers::{at_most_100, int_or_percent, is_zero, not_negative_at};
use crate::common::pod_defaults;
use crate::print;
use crate::read::{child, count, fill, fill_zero, has, int, spec, text};
use crate::rules::Rules;
use ironclad_api::table::{self, Cells, Column};
use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_json::{Value, json};

pub(crate) const DEPLOYMENT: Rules = Rules::new()
    .counts(&["annotations"])
    .defaults(default)
    .checks(validate)
    .checks_update(|new, old| {
        let mut errors = validate(new);
        template::selector_fixed(new, old, &mut errors);
        errors
    })
    .checks_status(|new, old| {
        let mut errors = ErrorList::new();
        let others = ["observedGeneration", "unavailableReplicas", "terminatingReplicas"];
        let parts = ["updatedReplicas", "readyReplicas", "availableReplicas"];
        template::status(new, &others, &parts, &mut errors);
        template::available(new, "readyReplicas", &mut errors);
        template::collisions(new, old, &mut errors);
        errors
    })
    .warns(|new, old| {
        let name = template::name_warning(new, old, template::POD_NAMES);
        name.into_iter()
            .chain(template::warnings(new, old, &["spec", "template"], &[&["spec"], &["metadata", "annotations"]]))
            .collect()
    })
    .prints(
        const {
            &[
                Column::object_name(),
                Column::text("Ready", "Number of the pod with ready state"),
                Column::text("Up-to-date", "How many pods have the newest template."),
                Column::text("Available", "How many pods have been ready for long enough."),
                Column::age(),
                print::CONTAINERS,
                print::IMAGES,
                print::SELECTOR,
            ]
        },
        cells,
    );

fn default(o: &mut Value) {
    pod_defaults::template(o, &["spec", "template"]);
    if !o["spec"].is_object() {
        return;
    }
    let spec = spec(o);
    fill(spec, "replicas", 1);
    fill(spec, "revisionHistoryLimit", 10);
    fill(spec, "progressDeadlineSeconds", 600);
    let strategy = child(spec, "strategy");
    fill_zero(strategy, "type", "RollingUpdate");
    if text(strategy, &["type"]) == "RollingUpdate" {
        let rolling = child(strategy, "rollingUpdate");
        fill(rolling, "maxUnavailable", "25%");
        fill(rolling, "maxSurge", "25%");
    }
}

fn validate(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (spec, at) = (&o["spec"], Path::new("spec"));
    not_negative_at(spec, &at, &["replicas"], &mut errors);
    template::selector(spec, "deployment", &mut errors);
    template::selector_broken(spec, "invalid label selector", &mut errors);
    template::selector_matches(spec, false, &mut errors);
    template::lasting(spec, "ReplicaSet", &mut errors);
    strategy(&spec["strategy"], &at.child("strategy"), &mut errors);
    not_negative_at(spec, &at, &["minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"], &mut errors);
    if let Some(deadline) = int(spec, &["progressDeadlineSeconds"])
        && deadline <= count(spec, &["minReadySeconds"])
    {
        let at = at.child("progressDeadlineSeconds");
        errors.push(FieldError::invalid(&at, &json!(deadline), "must be greater than minReadySeconds"));
    }
    errors
}

fn strategy(strategy: &Value, at: &Path, errors: &mut ErrorList) {
    let (rolling, rolling_at) = (&strategy["rollingUpdate"], at.child("rollingUpdate"));
    match text(strategy, &["type"]) {
        "Recreate" => {
            if has(strategy, &["rollingUpdate"]) {
                let why = "may not be specified when strategy `type` is 'Recreate'";
                errors.push(FieldError::forbidden(&rolling_at, why));
            }
        }
        "RollingUpdate" if rolling.is_null() => {
            errors.push(FieldError::required(&rolling_at, "this should be defaulted and never be nil"));
        }
        "RollingUpdate" => {
            for key in ["maxUnavailable", "maxSurge"] {
                int_or_percent(&rolling[key], &rolling_at.child(key), errors);
            }
            let unavailable = &rolling["maxUnavailable"];
            if is_zero(unavailable) && is_zero(&rolling["maxSurge"]) {
                let why = "may not be 0 when `maxSurge` is 0";
                errors.push(FieldError::invalid(&rolling_at.child("maxUnavailable"), unavailable, why));
            }
            at_most_100(unavailable, &rolling_at.child("maxUnavailable"), errors);
        }
        other => {
            let shown = json!({"type": other, "rollingUpdate": rolling});
            errors.push(FieldError::not_supported(at, &shown, &["Recreate", "RollingUpdate"]));
        }
    }
}

fn cells(o: &Value) -> Cells {
    let of = |key: &str| count(o, &["status", key]);
    let ready = format!("{}/{}", of("readyReplicas"), count(o, &["spec", "replicas"]));
    let cells =
        vec![print::name(o), json!(ready), json!(of("updatedReplicas")), json!(of("availableReplicas")), table::age(o)];
    print::workload(o, cells)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Strategy;

    fn deployment(spec: Value) -> Value {
        let mut object = json!({"metadata": {"name": "web"}, "spec": spec});
        DEPLOYMENT.default(&mut object);
        object
    }

    #[test]
    fn a_minimal_deployment_gets_the_stock_defaults() {
        let object = deployment(json!({"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}));
        let spec = &object["spec"];
        assert_eq!(
            spec["strategy"],
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}})
        );
        assert_eq!((&spec["replicas"], &spec["progressDeadlineSeconds"]), (&json!(1), &json!(600)));
    }

    #[test]
    fn mistakes_have_the_stock_wording() {
        let template =
            json!({"metadata": {"labels": {"app": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        let found = |spec: Value| -> Vec<String> {
            let mut spec = spec;
            fill(&mut spec, "template", template.clone());
            validate(&deployment(spec)).iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            found(json!({"selector": {"matchLabels": {"app": "a"}}})),
            [
                "spec.template.metadata.labels: Invalid value: {\"app\":\"b\"}: `selector` does not match template `labels`"
            ]
        );
        assert_eq!(
            found(json!({"replicas": -1})),
            [
                "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
                "spec.selector: Required value",
                "spec.template.metadata.labels: Invalid value: {\"app\":\"b\"}: `selector` does not match template `labels`",
            ]
        );
        let selector = json!({"matchLabels": {"app": "b"}});
        let zero = json!({"rollingUpdate": {"maxUnavailable": 0, "maxSurge": "0%"}});
        assert_eq!(
            found(json!({"selector": selector, "strategy": zero, "minReadySeconds": 600})),
            [
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
                "spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds",
            ]
        );
        let recreate = json!({"type": "Recreate", "rollingUpdate": {"maxSurge": 1}});
        assert_eq!(
            found(json!({"selector": selector, "strategy": recreate})),
            ["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"]
        );
    }
}
