//! DaemonSets.

use super::template;
use crate::common::checks::same;
use crate::common::numbers::{at_most_100, int_or_percent, is_zero, not_negative_at};
use crate::common::{pod_defaults, selector};
use crate::print;
use crate::read::{at, child, count, fill, fill_zero, has, put, size, spec, text};
use crate::rules::Rules;
use ironclad_api::table::{self, Cells, Column};
use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_json::{Value, json};

/// Where the number of the template stands that older versions had in a field.
const GENERATION: &str = "deprecated.daemonset.template.generation";

pub(crate) const DAEMON_SET: Rules = Rules::new()
    .defaults(default)
    .on_create(|o| {
        let zero = json!({"currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0});
        put(o, "status", zero);
        if template_generation(o) < 1 {
            put_generation(o, 1);
        }
    })
    .on_update(|new, old| {
        let changed = !same(&new["spec"]["template"], &old["spec"]["template"]);
        put_generation(new, template_generation(old).max(1) + i64::from(changed));
    })
    .on_subresource(|_, new, old| put_generation(new, template_generation(old).max(1)))
    .checks(validate)
    .checks_update(|new, old| {
        let mut errors = ErrorList::new();
        template::selector_fixed(new, old, &mut errors);
        errors.extend(validate(new));
        errors
    })
    .checks_status(|new, old| {
        let mut errors = ErrorList::new();
        let counts = [
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
            "observedGeneration",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
        ];
        not_negative_at(&new["status"], &Path::new("status"), &counts, &mut errors);
        template::collisions(new, old, &mut errors);
        errors
    })
    .warns(|new, old| template::warnings(new, old, &["spec", "template"], &[&["spec", "template"]]))
    .prints(
        const {
            &[
                Column::object_name(),
                Column::integer("Desired", "How many nodes should run a pod."),
                Column::integer("Current", "How many nodes run one."),
                Column::integer("Ready", "How many pods are ready."),
                Column::integer("Up-to-date", "How many pods have the newest template."),
                Column::integer("Available", "How many pods have been ready for long enough."),
                Column::text("Node Selector", "The labels of the nodes."),
                Column::age(),
                print::CONTAINERS,
                print::IMAGES,
                print::SELECTOR,
            ]
        },
        cells,
    );

fn template_generation(o: &Value) -> i64 {
    text(o, &["metadata", "annotations", GENERATION]).parse().unwrap_or(0)
}

fn put_generation(o: &mut Value, n: i64) {
    put(child(child(o, "metadata"), "annotations"), GENERATION, json!(n.to_string()));
}

fn default(o: &mut Value) {
    pod_defaults::template(o, &["spec", "template"]);
    if text(o, &["metadata", "annotations", GENERATION]).is_empty() {
        put_generation(o, 0);
    }
    if !o["spec"].is_object() {
        return;
    }
    let spec = spec(o);
    fill(spec, "revisionHistoryLimit", 10);
    let strategy = child(spec, "updateStrategy");
    fill_zero(strategy, "type", "RollingUpdate");
    if text(strategy, &["type"]) == "RollingUpdate" {
        let rolling = child(strategy, "rollingUpdate");
        fill(rolling, "maxUnavailable", 1);
        fill(rolling, "maxSurge", 0);
    } else if has(strategy, &["rollingUpdate"]) {
        ["maxUnavailable", "maxSurge"].iter().for_each(|key| fill(child(strategy, "rollingUpdate"), key, 0));
    }
}

fn validate(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (spec, path) = (&o["spec"], Path::new("spec"));
    let given = at(spec, &["selector"]).filter(|s| s.is_object());
    errors.extend(selector::validate(&spec["selector"], &path.child("selector")));
    template::selector_matches(spec, true, &mut errors);
    if given.is_some_and(|s| size(s, &["matchLabels"]) + size(s, &["matchExpressions"]) == 0) {
        let why = "empty selector is invalid for daemonset";
        errors.push(FieldError::invalid(&path.child("selector"), &spec["selector"], why));
    }
    template::lasting(spec, "DaemonSet", &mut errors);
    not_negative_at(spec, &path, &["minReadySeconds"], &mut errors);
    strategy(&spec["updateStrategy"], &path.child("updateStrategy"), &mut errors);
    not_negative_at(spec, &path, &["revisionHistoryLimit"], &mut errors);
    errors
}

fn strategy(strategy: &Value, at: &Path, errors: &mut ErrorList) {
    let (rolling, rolling_at) = (&strategy["rollingUpdate"], at.child("rollingUpdate"));
    match text(strategy, &["type"]) {
        "OnDelete" => {}
        "RollingUpdate" if rolling.is_null() => errors.push(FieldError::required(&rolling_at, "")),
        "RollingUpdate" => {
            let (unavailable, surge) = (&rolling["maxUnavailable"], &rolling["maxSurge"]);
            for (value, key) in [(unavailable, "maxUnavailable"), (surge, "maxSurge")] {
                int_or_percent(value, &rolling_at.child(key), errors);
                at_most_100(value, &rolling_at.child(key), errors);
            }
            match (is_zero(unavailable), is_zero(surge)) {
                (true, true) => {
                    let why = "cannot be 0 when maxSurge is 0";
                    errors.push(FieldError::required(&rolling_at.child("maxUnavailable"), why));
                }
                (false, false) => {
                    let why = "may not be set when maxUnavailable is non-zero";
                    errors.push(FieldError::invalid(&rolling_at.child("maxSurge"), surge, why));
                }
                _ => {}
            }
        }
        other => {
            let shown = json!({"type": other, "rollingUpdate": rolling});
            errors.push(FieldError::not_supported(at, &shown, &["RollingUpdate", "OnDelete"]));
        }
    }
}

fn cells(o: &Value) -> Cells {
    let of = |key: &str| json!(count(o, &["status", key]));
    let cells = vec![
        print::name(o),
        of("desiredNumberScheduled"),
        of("currentNumberScheduled"),
        of("numberReady"),
        of("updatedNumberScheduled"),
        of("numberAvailable"),
        json!(print::labels(o, &["spec", "template", "spec", "nodeSelector"])),
        table::age(o),
    ];
    print::workload(o, cells)
}
