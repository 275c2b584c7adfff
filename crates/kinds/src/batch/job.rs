//! Jobs.

use super::{job_rules, job_status, job_update};
use crate::apps::{POD_NAMES, name_warning, template_warnings};
use crate::common::pod_defaults;
use crate::print;
use crate::read::{at, child, count, each, fill, fill_zero, flag, has, int, map, put, spec, text};
use crate::rules::Rules;
use ironclad_api::object;
use ironclad_api::table::{self, Cells, Column};
use ironclad_json::{Value, json};

pub(crate) const STRATEGY: Rules = Rules::new()
    .defaults(default)
    .on_create(prepare_create)
    .checks(job_rules::validate)
    .checks_update(job_update::validate)
    .checks_status(job_status::validate)
    .warns(warnings)
    .prints(
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
    default_spec(spec(o));
    if let Some(labels) = labels
        && map(o, &["metadata", "labels"]).is_none_or(ironclad_json::Map::is_empty)
    {
        put(child(o, "metadata"), "labels", labels);
    }
}

/// Fills in the defaults of a job's own specification.
fn default_spec(spec: &mut Value) {
    // WorkloadWithJob is off.
    if let Some(spec) = spec.as_object_mut() {
        spec.remove("scheduling");
    }
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
}

/// Makes the selector from the object's uid, unless the client looks after it.
fn prepare_create(o: &mut Value) {
    if flag(o, &["spec", "manualSelector"]) {
        return;
    }
    let (uid, name) = (object::uid(o).to_owned(), object::name(o).to_owned());
    let of_template = ["spec", "template", "metadata", "labels"];
    // Labels that a job has of its template stay those of its template.
    let shared = match (map(o, &["metadata", "labels"]), map(o, &of_template)) {
        (Some(own), Some(theirs)) => !own.is_empty() && own.is_same(theirs),
        _ => false,
    };
    let spec = spec(o);
    let labels = child(child(child(spec, "template"), "metadata"), "labels");
    for prefix in ["batch.kubernetes.io/", ""] {
        fill(labels, &format!("{prefix}job-name"), name.as_str());
        fill(labels, &format!("{prefix}controller-uid"), uid.as_str());
    }
    fill(child(child(spec, "selector"), "matchLabels"), "batch.kubernetes.io/controller-uid", uid);
    if let Some(labels) = at(o, &of_template).filter(|_| shared).cloned() {
        put(child(o, "metadata"), "labels", labels);
    }
}

fn warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    const MANY: i64 = 100_000;
    const AT_ONCE: i64 = 10_000;
    let mut warnings: Vec<String> = name_warning(new, old, POD_NAMES).into_iter().collect();
    let spec = &new["spec"];
    let many = count(spec, &["completions"]) > MANY && count(spec, &["parallelism"]) > AT_ONCE;
    if text(spec, &["completionMode"]) == "Indexed" && many {
        warnings.push("In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail".to_owned());
    }
    warnings.extend(template_warnings(new, old, &["spec", "template"], &[&["spec"]]));
    warnings
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_the_template_are_those_of_a_job_without_any() {
        let table =
            [(json!({}), true), (json!({"labels": {"own": "x"}}), false), (json!({"labels": {"a": "b"}}), false)];
        for (metadata, shared) in table {
            let mut job = json!({"metadata": metadata, "spec": {"template": {"metadata": {"labels": {"a": "b"}}}}});
            default(&mut job);
            prepare_create(&mut job);
            let labels = &job["metadata"]["labels"];
            assert_eq!(labels["job-name"].is_string(), shared, "{labels}");
            assert_eq!(job["spec"]["template"]["metadata"]["labels"]["a"], "b");
        }
    }
}
