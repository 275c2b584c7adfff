//! What the status of a Job may say. What it said before is let be, so that other parts can go on.

use crate::batch::job_rules::ranges;
use crate::common::numbers::not_negative_at;
use crate::read::{count, flag, has, int, items, text};
use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_json::{Map, Value, json};
use std::collections::HashSet;

/// A Job with the conditions that are true.
struct Job<'a> {
    status: &'a Value,
    spec: &'a Value,
}

impl<'a> Job<'a> {
    fn of(o: &'a Value) -> Self {
        Self { status: &o["status"], spec: &o["spec"] }
    }

    fn is(&self, kind: &str) -> bool {
        self.says(kind, "True")
    }

    fn says(&self, kind: &str, status: &str) -> bool {
        let mut conditions = items(self.status, &["conditions"]).iter();
        conditions.any(|c| text(c, &["type"]) == kind && text(c, &["status"]) == status)
    }

    fn finished(&self) -> bool {
        self.is("Complete") || self.is("Failed")
    }

    fn indexed(&self) -> bool {
        text(self.spec, &["completionMode"]) == "Indexed"
    }

    fn time(&self, key: &str) -> Option<jiff::Timestamp> {
        text(self.status, &[key]).parse().ok()
    }
}

/// Checks a change of the status.
pub(super) fn validate(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("status");
    not_negative_at(&new["status"], &at, &["active", "succeeded", "failed", "ready", "terminating"], &mut errors);
    uncounted(&new["status"], &at, &mut errors);
    let (job, was) = (Job::of(new), Job::of(old));
    ends(&job, &was, &at, &mut errors);
    finished(&job, &was, &at, &mut errors);
    which(&job, &was, &at, &mut errors);
    successes(&job, &at, &mut errors);
    lasting(&job, &was, &at, &mut errors);
    errors
}

fn refused(at: &Path, why: &str, errors: &mut ErrorList) {
    let mut error = FieldError::invalid_str(&at.child("conditions"), "", why);
    error.value = String::new();
    errors.push(error);
}

fn uncounted(status: &Value, at: &Path, errors: &mut ErrorList) {
    let empty = Map::new();
    let counted = status["uncountedTerminatedPods"].as_object().unwrap_or(&empty);
    let mut seen = HashSet::new();
    for part in ["succeeded", "failed"] {
        for (i, uid) in counted.get(part).and_then(Value::as_array).into_iter().flatten().enumerate() {
            let at = at.child("uncountedTerminatedPods").child(part).index(i);
            match uid.as_str().unwrap_or_default() {
                "" => errors.push(FieldError::invalid(&at, uid, "must not be empty")),
                given if !seen.insert(given.to_owned()) => errors.push(FieldError::duplicate(&at, uid)),
                _ => {}
            }
        }
    }
}

/// How the conditions of an end go together, and with the time of completion.
fn ends(job: &Job<'_>, was: &Job<'_>, at: &Path, errors: &mut ErrorList) {
    let changed = |kind: &str| job.is(kind) != was.is(kind);
    let complete = job.is("Complete");
    let completed_at = at.child("completionTime");
    let time = &job.status["completionTime"];
    let time_changed = time != &was.status["completionTime"];
    if (changed("Complete") || changed("Failed")) && complete && job.is("Failed") {
        refused(at, "cannot set Complete=True and Failed=true conditions", errors);
    }
    if (changed("Complete") || changed("FailureTarget")) && complete && job.is("FailureTarget") {
        refused(at, "cannot set Complete=True and FailureTarget=true conditions", errors);
    }
    if (changed("Complete") || time_changed) && !time.is_null() && !complete {
        let why = "cannot set completionTime when there is no Complete=True condition";
        errors.push(FieldError::invalid(&completed_at, time, why));
    }
    if (changed("Complete") || time_changed) && time.is_null() && complete {
        errors.push(FieldError::required(&completed_at, "completionTime is required for Complete jobs"));
    }
    let start_changed = job.status["startTime"] != was.status["startTime"];
    if (start_changed || time_changed) && job.time("completionTime") < job.time("startTime") && !time.is_null() {
        errors.push(FieldError::invalid(&completed_at, time, "must be equal to or after `startTime`"));
    }
    let failed_indexes = job.status["failedIndexes"] != was.status["failedIndexes"];
    if (changed("Failed") || failed_indexes) && job.is("Failed") && !job.is("FailureTarget") {
        refused(at, "cannot set Failed=True condition without the FailureTarget=true condition", errors);
    }
    if (changed("Complete") || changed("SuccessCriteriaMet")) && complete && !job.is("SuccessCriteriaMet") {
        refused(at, "cannot set Complete=True condition without the SuccessCriteriaMet=true condition", errors);
    }
}

/// What a job that has ended may not have.
fn finished(job: &Job<'_>, was: &Job<'_>, at: &Path, errors: &mut ErrorList) {
    let changed = |key: &str| job.finished() != was.finished() || job.status[key] != was.status[key];
    if !job.finished() {
        return;
    }
    if changed("active") && count(job.status, &["active"]) > 0 {
        let why = "active>0 is invalid for finished job";
        errors.push(FieldError::invalid(&at.child("active"), &job.status["active"], why));
    }
    let nothing = flag(job.spec, &["suspend"]) && int(job.spec, &["completions"]) == Some(0);
    if changed("startTime") && !nothing && job.status["startTime"].is_null() {
        errors.push(FieldError::required(&at.child("startTime"), "startTime is required for finished job"));
    }
    let uncounted = &job.status["uncountedTerminatedPods"];
    let some = ["failed", "succeeded"].iter().any(|part| !items(uncounted, &[part]).is_empty());
    if changed("uncountedTerminatedPods") && some {
        let at = at.child("uncountedTerminatedPods");
        errors.push(FieldError::invalid(&at, uncounted, "must be empty for finished job"));
    }
}

/// Which indexes are done and which have failed, and how many pods are ready.
fn which(job: &Job<'_>, was: &Job<'_>, at: &Path, errors: &mut ErrorList) {
    let changed = |key: &str| job.status[key] != was.status[key];
    let completions = int(job.spec, &["completions"]);
    let (done, failed) = (text(job.status, &["completedIndexes"]), &job.status["failedIndexes"]);
    let (done_at, failed_at) = (at.child("completedIndexes"), at.child("failedIndexes"));
    let per_index = has(job.spec, &["backoffLimitPerIndex"]);
    let failed_text = failed.as_str().unwrap_or_default();
    if let Some(completions) = completions {
        if changed("completedIndexes")
            && let Err(why) = ranges(done, completions)
        {
            errors.push(FieldError::invalid_str(&done_at, done, format!("error parsing completedIndexes: {why}")));
        }
        if changed("failedIndexes")
            && per_index
            && !failed.is_null()
            && let Err(why) = ranges(failed_text, completions)
        {
            errors.push(FieldError::invalid(&failed_at, failed, format!("error parsing failedIndexes: {why}")));
        }
    }
    if changed("completedIndexes") && !done.is_empty() && !job.indexed() {
        let why = "cannot set non-empty completedIndexes when non-indexed completion mode";
        errors.push(FieldError::invalid_str(&done_at, done, why));
    }
    if changed("failedIndexes") && !per_index && !failed.is_null() {
        let why = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        errors.push(FieldError::invalid(&failed_at, failed, why));
    }
    if (changed("failedIndexes") || changed("completedIndexes"))
        && !failed.is_null()
        && let Some(completions) = completions
        && let (Ok(done), Ok(failed_ranges)) = (ranges(done, completions), ranges(failed_text, completions))
        && let Some(both) =
            failed_ranges.iter().flat_map(|(a, b)| *a..=*b).find(|i| done.iter().any(|(a, b)| (a..=b).contains(&i)))
    {
        let why = format!("failedIndexes and completedIndexes overlap at index: {both}");
        errors.push(FieldError::invalid(&failed_at, failed, why));
    }
    let ended = job.finished() != was.finished();
    if (ended || changed("terminating")) && job.finished() && count(job.status, &["terminating"]) > 0 {
        let why = "terminating>0 is invalid for finished job";
        errors.push(FieldError::invalid(&at.child("terminating"), &job.status["terminating"], why));
    }
    let ready = int(job.status, &["ready"]);
    if (changed("ready") || changed("active")) && ready.is_some_and(|n| n > count(job.status, &["active"])) {
        let why = "cannot set more ready pods than active";
        errors.push(FieldError::invalid(&at.child("ready"), &job.status["ready"], why));
    }
}

fn successes(job: &Job<'_>, at: &Path, errors: &mut ErrorList) {
    let met = job.is("SuccessCriteriaMet");
    if met && job.is("Failed") {
        refused(at, "cannot set SuccessCriteriaMet=True and Failed=true conditions", errors);
    }
    if met && job.is("FailureTarget") {
        refused(at, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions", errors);
    }
    if has(job.spec, &["successPolicy"]) && !met && job.is("Complete") {
        let why = "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True";
        refused(at, why, errors);
    }
}

/// What stays once it is so.
fn lasting(job: &Job<'_>, was: &Job<'_>, at: &Path, errors: &mut ErrorList) {
    for kind in ["Failed", "Complete", "FailureTarget"].into_iter().filter(|kind| was.is(kind) && !job.is(kind)) {
        refused(at, &format!("cannot disable the terminal {kind}=True condition"), errors);
    }
    let scaled = job.indexed() && job.spec["completions"] == job.spec["parallelism"];
    for key in ["failed", "succeeded"].into_iter().filter(|key| *key == "failed" || !scaled) {
        let is = count(job.status, &[key]);
        if is < count(was.status, &[key]) {
            let why = format!("cannot decrease the {key} counter");
            errors.push(FieldError::invalid(&at.child(key), &json!(is), why));
        }
    }
    let (time, before) = (&job.status["completionTime"], &was.status["completionTime"]);
    if !time.is_null() && !before.is_null() && time != before {
        errors.push(FieldError::invalid(&at.child("completionTime"), time, "field is immutable"));
    }
    let (start, started) = (&job.status["startTime"], &was.status["startTime"]);
    let resuming = was.is("Suspended") && job.says("Suspended", "False");
    if !started.is_null() && start != started && !resuming && !flag(job.spec, &["suspend"]) {
        let why = "field is immutable for unsuspended job once set";
        errors.push(FieldError::invalid(&at.child("startTime"), start, why));
    }
    let met = job.is("SuccessCriteriaMet");
    if was.is("SuccessCriteriaMet") && !met {
        refused(at, "cannot disable the SuccessCriteriaMet=True condition", errors);
    }
    if was.is("Complete") && !was.is("SuccessCriteriaMet") && met {
        let why = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
        refused(at, why, errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_nothing_that_cannot_be() {
        let condition = |kind: &str| json!({"type": kind, "status": "True"});
        let time = "2026-01-01T00:00:00Z";
        let job = |status: Value| json!({"spec": {"completions": 3, "completionMode": "NonIndexed"}, "status": status});
        let table = [
            (json!({"active": 1, "ready": 1}), json!({}), ""),
            (json!({"ready": 1}), json!({}), "status.ready: Invalid value: 1: cannot set more ready pods than active"),
            (
                json!({"completionTime": time}),
                json!({}),
                "status.completionTime: Invalid value: \"2026-01-01T00:00:00Z\": cannot set completionTime when there is no Complete=True condition",
            ),
            (
                json!({"conditions": [condition("Failed")], "startTime": time}),
                json!({}),
                "status.conditions: Invalid value: cannot set Failed=True condition without the FailureTarget=true condition",
            ),
            (
                json!({"failedIndexes": "1"}),
                json!({}),
                "status.failedIndexes: Invalid value: \"1\": cannot set non-null failedIndexes when backoffLimitPerIndex is null",
            ),
            (
                json!({"failed": 1}),
                json!({"failed": 2}),
                "status.failed: Invalid value: 1: cannot decrease the failed counter",
            ),
        ];
        for (new, old, expected) in table {
            let found = validate(&job(new), &job(old));
            assert_eq!(found.first().map_or_else(String::new, ToString::to_string), expected);
        }
    }
}
