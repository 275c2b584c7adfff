//! ReplicaSets and ReplicationControllers.

use super::template;
use crate::common::numbers::not_negative_at;
use crate::common::pod_defaults;
use crate::print;
use crate::read::{at, count, fill, has, map, put, size, spec};
use crate::rules::Rules;
use ironclad_api::table::{self, Cells, Column};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::{Map, Value, json};

const COLUMNS: &[Column] = &[
    Column::object_name(),
    Column::integer("Desired", "How many pods are wanted."),
    Column::integer("Current", "How many pods there are."),
    Column::integer("Ready", "How many pods are ready."),
    Column::age(),
    print::CONTAINERS,
    print::IMAGES,
    print::SELECTOR,
];

pub(crate) const REPLICA_SET: Rules = Rules::new()
    .defaults(|o| {
        pod_defaults::template(o, &["spec", "template"]);
        if o["spec"].is_object() {
            fill(spec(o), "replicas", 1);
        }
    })
    .on_create(|o| put(o, "status", json!({"replicas": 0})))
    .checks(validate_set)
    .checks_update(|new, old| {
        let mut errors = validate_set(new);
        template::selector_fixed(new, old, &mut errors);
        errors
    })
    .checks_status(|new, _| status(new))
    .warns(warnings)
    .prints(COLUMNS, |o| print::workload(o, counts(o)));

pub(crate) const REPLICATION_CONTROLLER: Rules = Rules::new()
    .defaults(|o| {
        pod_defaults::template(o, &["spec", "template"]);
        if !o["spec"].is_object() {
            return;
        }
        let labels = at(o, &["spec", "template", "metadata", "labels"]).filter(|l| l.is_object()).cloned();
        let spec = spec(o);
        fill(spec, "replicas", 1);
        let Some(labels) = labels else { return };
        if size(spec, &["selector"]) == 0 {
            put(spec, "selector", labels.clone());
        }
        if size(o, &["metadata", "labels"]) == 0 {
            put(crate::read::child(o, "metadata"), "labels", labels);
        }
    })
    .on_create(|o| put(o, "status", json!({"replicas": 0})))
    .checks(validate_controller)
    .checks_status(|new, _| status(new))
    // The rule that stock generates counts bytes.
    .named(|name| {
        names::dns1123_subdomain(name).into_iter().map(|why| why.replace("253 characters", "253 bytes")).collect()
    })
    .warns(warnings)
    .prints(COLUMNS, |o| {
        let mut cells = counts(o);
        cells.extend(print::containers(o, &["spec", "template", "spec", "containers"]));
        cells.push(json!(print::labels(o, &["spec", "selector"])));
        cells
    });

fn warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let name = template::name_warning(new, old, template::POD_NAMES);
    name.into_iter().chain(template::warnings(new, old, &["spec", "template"], &[&["spec"]])).collect()
}

fn validate_set(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let spec = &o["spec"];
    not_negative_at(spec, &Path::new("spec"), &["replicas", "minReadySeconds"], &mut errors);
    // Stock's message for an empty selector names the other kind.
    template::selector(spec, "deployment", &mut errors);
    template::selector_broken(spec, "invalid label selector", &mut errors);
    template::selector_matches(spec, false, &mut errors);
    template::lasting(spec, "ReplicaSet", &mut errors);
    errors
}

fn validate_controller(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (spec, at) = (&o["spec"], Path::new("spec"));
    not_negative_at(spec, &at, &["minReadySeconds"], &mut errors);
    let selector = map(spec, &["selector"]).filter(|s| !s.is_empty());
    if selector.is_none() {
        errors.push(FieldError::required(&at.child("selector"), ""));
    }
    not_negative_at(spec, &at, &["replicas"], &mut errors);
    if !has(spec, &["template"]) {
        errors.push(FieldError::required(&at.child("template"), ""));
        return errors;
    }
    let empty = Map::new();
    let labels = map(spec, &["template", "metadata", "labels"]).unwrap_or(&empty);
    if selector.is_some_and(|s| s.iter().any(|(k, v)| labels.get(k) != Some(v))) {
        let at = at.child("template").child("metadata").child("labels");
        let shown = spec["template"]["metadata"]["labels"].clone();
        errors.push(FieldError::invalid(&at, &shown, "`selector` does not match template `labels`"));
    }
    template::lasting(spec, "ReplicationController", &mut errors);
    errors
}

fn status(new: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let parts = ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
    template::status(new, &["observedGeneration", "terminatingReplicas"], &parts, &mut errors);
    template::available(new, "readyReplicas", &mut errors);
    errors
}

fn counts(o: &Value) -> Cells {
    vec![
        print::name(o),
        json!(count(o, &["spec", "replicas"])),
        json!(count(o, &["status", "replicas"])),
        json!(count(o, &["status", "readyReplicas"])),
        table::age(o),
    ]
}
