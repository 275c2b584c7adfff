//! Jobs.

use crate::common::numbers::not_negative;
use crate::common::{pod_defaults, pod_rules};
use crate::print;
use crate::read::{at, child, count, each, fill, fill_zero, flag, has, int, map, spec, text};
use crate::rules::Rules;
use ironclad_api::table::{self, Cells, Column};
use ironclad_api::{ErrorList, FieldError, Path, object};
use serde_json::{Value, json};

pub(crate) const STRATEGY: Rules =
    Rules::new().defaults(default).on_create(prepare_create).checks(validate).checks_update(validate_update).prints(
        const {
            &[
                Column::object_name(),
                Column::text("Status", "Status of the job."),
                Column::text("Completions", "How many pods have succeeded, of how many."),
                Column::text("Duration", "Time required to complete the job."),
                Column::age(),
                print::CONTAINERS,
                print::IMAGES,
                print::SELECTOR,
            ]
        },
        cells,
    );

fn default(o: &mut Value) {
    let labels = at(o, &["spec", "template", "metadata", "labels"]).filter(|v| !v.is_null()).cloned();
    let spec = spec(o);
    if !has(spec, &["completions"]) && !has(spec, &["parallelism"]) {
        fill(spec, "completions", 1);
    }
    fill(spec, "parallelism", 1);
    let per_index = has(spec, &["backoffLimitPerIndex"]);
    fill(spec, "backoffLimit", if per_index { i64::from(i32::MAX) } else { 6 });
    fill(spec, "completionMode", "NonIndexed");
    fill(spec, "suspend", false);
    fill(spec, "manualSelector", false);
    let replacement = if has(spec, &["podFailurePolicy"]) { "Failed" } else { "TerminatingOrFailed" };
    fill(spec, "podReplacementPolicy", replacement);
    each(spec, &["podFailurePolicy", "rules"], |rule| {
        each(rule, &["onPodConditions"], |c| fill_zero(c, "status", "True"));
    });
    pod_defaults::template(spec, &["template"]);
    if let Some(labels) = labels
        && map(o, &["metadata", "labels"]).is_none_or(serde_json::Map::is_empty)
    {
        crate::read::put(child(o, "metadata"), "labels", labels);
    }
}

/// Makes the selector from the object's uid, unless the client looks after it.
fn prepare_create(o: &mut Value) {
    if flag(o, &["spec", "manualSelector"]) {
        return;
    }
    let (uid, name) = (object::uid(o).to_owned(), object::name(o).to_owned());
    let spec = spec(o);
    let labels = child(child(child(spec, "template"), "metadata"), "labels");
    for prefix in ["batch.kubernetes.io/", ""] {
        fill(labels, &format!("{prefix}job-name"), name.as_str());
        if let Some(map) = labels.as_object_mut() {
            map.insert(format!("{prefix}controller-uid"), json!(uid));
        }
    }
    let selector = child(child(spec, "selector"), "matchLabels");
    if let Some(map) = selector.as_object_mut() {
        map.insert("batch.kubernetes.io/controller-uid".into(), json!(uid));
    }
}

fn validate(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    check_spec(&o["spec"], &Path::new("spec"), &mut errors);
    let numbers = ["parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"];
    not_negative(o, &numbers, &mut errors);
    if !has(o, &["spec", "selector"]) {
        errors.push(FieldError::required(&Path::new("spec").child("selector"), ""));
    }
    errors
}

/// Checks the specification of a job or of a cron job's template.
pub(crate) fn check_spec(spec: &Value, at: &Path, errors: &mut ErrorList) {
    let template = at.child("template").child("spec");
    errors.extend(pod_rules::template_spec(&spec["template"]["spec"], &template));
    let policy = text(spec, &["template", "spec", "restartPolicy"]);
    if !matches!(policy, "OnFailure" | "Never") {
        let at = template.child("restartPolicy");
        let mut e = FieldError::required(&at, "valid values: \"OnFailure\", \"Never\"");
        if !policy.is_empty() {
            e = FieldError::not_supported(&at, &json!(policy), &["OnFailure", "Never"]);
        }
        errors.push(e);
    }
    let mode = text(spec, &["completionMode"]);
    if !matches!(mode, "" | "NonIndexed" | "Indexed") {
        let supported = ["Indexed", "NonIndexed"];
        errors.push(FieldError::not_supported(&at.child("completionMode"), &json!(mode), &supported));
    }
    if mode == "Indexed" && !has(spec, &["completions"]) {
        let detail = "when completion mode is Indexed";
        errors.push(FieldError::required(&at.child("completions"), detail));
    }
}

fn validate_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = validate(new);
    let suspended = flag(old, &["spec", "suspend"]) && !has(old, &["status", "startTime"]);
    let elastic = text(new, &["spec", "completionMode"]) == "Indexed";
    let keys = ["completions", "selector", "template", "completionMode", "podFailurePolicy", "backoffLimitPerIndex"];
    for key in keys {
        let (now, before) = (&new["spec"][key], &old["spec"][key]);
        let free = (key == "template" && suspended)
            || (key == "completions" && elastic && new["spec"]["completions"] == new["spec"]["parallelism"]);
        if now != before && !free {
            errors.push(FieldError::invalid(&Path::new("spec").child(key), now, "field is immutable"));
        }
    }
    errors
}

fn status(o: &Value) -> &'static str {
    let holds = |kind: &str| print::condition(o, kind).is_some_and(|c| text(c, &["status"]) == "True");
    if holds("Complete") {
        "Complete"
    } else if holds("Failed") {
        "Failed"
    } else if has(o, &["metadata", "deletionTimestamp"]) {
        "Terminating"
    } else if holds("Suspended") {
        "Suspended"
    } else if holds("FailureTarget") {
        "FailureTarget"
    } else if holds("SuccessCriteriaMet") {
        "SuccessCriteriaMet"
    } else {
        "Running"
    }
}

fn cells(o: &Value) -> Cells {
    let succeeded = count(o, &["status", "succeeded"]);
    let completions = match (int(o, &["spec", "completions"]), count(o, &["spec", "parallelism"])) {
        (Some(n), _) => format!("{succeeded}/{n}"),
        (None, p) if p > 1 => format!("{succeeded}/1 of {p}"),
        (None, _) => format!("{succeeded}/1"),
    };
    let second = |path: &[&str]| text(o, path).parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second);
    let duration = second(&["status", "startTime"]).map(|start| {
        let end = second(&["status", "completionTime"]).unwrap_or_else(|| jiff::Timestamp::now().as_second());
        ironclad_api::time::human_duration(end - start)
    });
    let duration = duration.unwrap_or_default();
    let cells = vec![print::name(o), json!(status(o)), json!(completions), json!(duration), table::age(o)];
    print::workload(o, cells)
}
