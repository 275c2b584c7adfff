//! What is wrong with a Job.

use crate::apps::check_template;
use crate::common::checks::rule;
use crate::common::numbers::not_negative_at;
use crate::common::selector;
use crate::read::{count, flag, has, int, items, map, text};
use ironclad_api::selector::LabelSelector;
use ironclad_api::{ErrorList, FieldError, Path, names, object};
use ironclad_json::{Map, Value, json};
use std::collections::HashSet;

/// Above so many completions the limits per index are tighter.
const MANY: i64 = 100_000;
const TIGHT: i64 = 10_000;
const INDEXED: &str = "requires indexed completion mode";

pub(super) fn validate(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let spec = &o["spec"];
    generated(o, &mut errors);
    whole_spec(spec, &mut errors);
    let completions = count(spec, &["completions"]);
    if text(spec, &["completionMode"]) == "Indexed" && completions > 0 {
        let host = format!("{}-{}", object::name(o), completions - 1);
        if !names::dns1123_label(&host).is_empty() {
            let at = Path::new("metadata").child("name");
            let why = format!("will not able to create pod with invalid DNS label: {host}");
            errors.push(FieldError::invalid_str(&at, object::name(o), why));
        }
    }
    errors
}

/// Checks the specification of a job that has its selector.
pub(super) fn whole_spec(spec: &Value, errors: &mut ErrorList) {
    let at = Path::new("spec");
    check_spec(spec, &at, errors);
    if has(spec, &["selector"]) {
        errors.extend(selector::validate(&spec["selector"], &at.child("selector")));
    } else {
        errors.push(FieldError::required(&at.child("selector"), ""));
    }
    let parsed = ironclad_json::from_value(spec["selector"].clone()).ok();
    let empty = Map::new();
    let labels = map(spec, &["template", "metadata", "labels"]).unwrap_or(&empty);
    let understood = selector::validate(&spec["selector"], &at).is_empty();
    if understood && LabelSelector::from_meta(parsed.as_ref()).is_ok_and(|s| !s.matches(labels)) {
        let at = at.child("template").child("metadata").child("labels");
        let shown = if labels.is_empty() { Value::Null } else { Value::Object(labels.clone()) };
        errors.push(FieldError::invalid(&at, &shown, "`selector` does not match template `labels`"));
    }
}

/// Labels and selector that the server makes are those of this object.
fn generated(o: &Value, errors: &mut ErrorList) {
    if flag(o, &["spec", "manualSelector"]) || !has(o, &["spec", "selector"]) {
        return;
    }
    let (uid, name) = (object::uid(o), object::name(o));
    if uid.is_empty() {
        errors.push(FieldError::required(&Path::new("metadata").child("uid"), ""));
    }
    let labels = &o["spec"]["template"]["metadata"]["labels"];
    let at = Path::new("spec").child("template").child("metadata").child("labels");
    let mut expected = Map::new();
    for (key, value) in [
        ("batch.kubernetes.io/controller-uid", uid),
        ("batch.kubernetes.io/job-name", name),
        ("controller-uid", uid),
        ("job-name", name),
    ] {
        expected.insert(key.to_owned(), json!(value));
        match labels.get(key) {
            None => errors.push(FieldError::required(&at.key(key), format!("must be '{value}'"))),
            Some(given) if given != value => {
                errors.push(FieldError::invalid(&at.key(key), labels, format!("must be '{value}'")));
            }
            Some(_) => {}
        }
    }
    let parsed = ironclad_json::from_value(o["spec"]["selector"].clone()).ok();
    if LabelSelector::from_meta(parsed.as_ref()).is_ok_and(|s| !s.matches(&expected)) {
        let at = Path::new("spec").child("selector");
        errors.push(FieldError::invalid(&at, &o["spec"]["selector"], "`selector` not auto-generated"));
    }
}

/// Checks the specification of a job or of a cron job's template.
pub(crate) fn check_spec(spec: &Value, at: &Path, errors: &mut ErrorList) {
    let numbers = [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ];
    not_negative_at(spec, at, &numbers, errors);
    if has(spec, &["maxFailedIndexes"]) && !has(spec, &["backoffLimitPerIndex"]) {
        let why = "when maxFailedIndexes is specified";
        errors.push(FieldError::required(&at.child("backoffLimitPerIndex"), why));
    }
    if let Some(manager) = spec.get("managedBy").and_then(Value::as_str) {
        managed_by(manager, &at.child("managedBy"), errors);
    }
    completion_mode(spec, at, errors);
    if has(spec, &["podFailurePolicy"]) {
        failure_policy(spec, &at.child("podFailurePolicy").child("rules"), errors);
    }
    if has(spec, &["successPolicy"]) {
        let at = at.child("successPolicy");
        if text(spec, &["completionMode"]) == "Indexed" {
            success_policy(spec, &at.child("rules"), errors);
        } else {
            errors.push(FieldError::invalid(&at, &spec["successPolicy"], INDEXED));
        }
    }
    let replacement = text(spec, &["podReplacementPolicy"]);
    let supported: &[&str] =
        if has(spec, &["podFailurePolicy"]) { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    if has(spec, &["podReplacementPolicy"]) && !supported.contains(&replacement) {
        errors.push(FieldError::not_supported(&at.child("podReplacementPolicy"), &json!(replacement), supported));
    }
    check_template(&spec["template"], &at.child("template"), errors);
    restart_policy(spec, &at.child("template").child("spec").child("restartPolicy"), errors);
}

fn restart_policy(spec: &Value, at: &Path, errors: &mut ErrorList) {
    match text(spec, &["template", "spec", "restartPolicy"]) {
        // The template's default, which no job can use, reads as if nothing were said.
        "" | "Always" => errors.push(FieldError::required(at, "valid values: \"OnFailure\", \"Never\"")),
        "OnFailure" if has(spec, &["podFailurePolicy"]) => {
            let why = "only \"Never\" is supported when podFailurePolicy is specified";
            errors.push(FieldError::invalid_str(at, "OnFailure", why));
        }
        "OnFailure" | "Never" => {}
        other => errors.push(FieldError::not_supported(at, &json!(other), &["OnFailure", "Never"])),
    }
}

/// A name with a domain and a path.
fn managed_by(name: &str, at: &Path, errors: &mut ErrorList) {
    const SHAPE: &str = "must be a domain-prefixed path (such as \"acme.io/foo\")";
    match name.split_once('/') {
        _ if name.is_empty() => errors.push(FieldError::required(at, "")),
        Some((domain, path)) if !domain.is_empty() && !path.is_empty() => {
            rule(names::dns1123_subdomain(domain), domain, at, errors);
            let good = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@%/".contains(&b);
            if !path.bytes().all(good) {
                let why = format!("Invalid path (regex used for validation is '{PATH}')");
                errors.push(FieldError::invalid_str(at, path, why));
            }
        }
        _ => errors.push(FieldError::invalid_str(at, name, SHAPE)),
    }
    if name.len() > 63 {
        errors.push(FieldError::too_long(at, 63));
    }
}

const PATH: &str = "[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+";

fn completion_mode(spec: &Value, at: &Path, errors: &mut ErrorList) {
    let mode = text(spec, &["completionMode"]);
    let (per_index, most) = (int(spec, &["backoffLimitPerIndex"]), int(spec, &["maxFailedIndexes"]));
    let number = |key: &str, n: i64, why: String| FieldError::invalid(&at.child(key), &json!(n), why);
    if mode != "Indexed" {
        if mode != "NonIndexed" && has(spec, &["completionMode"]) {
            let supported = ["NonIndexed", "Indexed"];
            errors.push(FieldError::not_supported(&at.child("completionMode"), &json!(mode), &supported));
        }
        // Of other modes nothing is known.
        if mode == "NonIndexed" || !has(spec, &["completionMode"]) {
            errors.extend(per_index.map(|n| number("backoffLimitPerIndex", n, INDEXED.into())));
            errors.extend(most.map(|n| number("maxFailedIndexes", n, INDEXED.into())));
        }
        return;
    }
    let parallelism = count(spec, &["parallelism"]);
    let Some(completions) = int(spec, &["completions"]) else {
        errors.push(FieldError::required(&at.child("completions"), "when completion mode is Indexed"));
        return;
    };
    if parallelism > MANY {
        let why = format!("must be less than or equal to {MANY} when completion mode is Indexed");
        errors.push(number("parallelism", parallelism, why));
    }
    if per_index.is_none() {
        return;
    }
    if let Some(most) = most {
        if most > completions {
            errors.push(number("maxFailedIndexes", most, "must be less than or equal to completions".into()));
        }
        if most > MANY {
            errors.push(number("maxFailedIndexes", most, format!("must be less than or equal to {MANY}")));
        }
    }
    if completions > MANY {
        let why = format!(
            "must be less than or equal to {TIGHT} when completions are above {MANY} and used with backoff limit per index"
        );
        match most {
            None => {
                let why = format!("must be specified when completions is above {MANY}");
                errors.push(FieldError::required(&at.child("maxFailedIndexes"), why));
            }
            Some(n) if n > TIGHT => errors.push(number("maxFailedIndexes", n, why.clone())),
            Some(_) => {}
        }
        if parallelism > TIGHT {
            errors.push(number("parallelism", parallelism, why));
        }
    }
}

/// One of some values; an empty one is told which there are.
fn choice(o: &Value, key: &str, supported: &[&str], at: &Path, errors: &mut ErrorList) {
    let given = text(o, &[key]);
    if given.is_empty() {
        let quoted: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
        errors.push(FieldError::required(&at.child(key), format!("valid values: [{}]", quoted.join(" "))));
    } else if !supported.contains(&given) {
        errors.push(FieldError::not_supported(&at.child(key), &json!(given), supported));
    }
}

fn failure_policy(spec: &Value, at: &Path, errors: &mut ErrorList) {
    let rules = items(spec, &["podFailurePolicy", "rules"]);
    if rules.len() > 20 {
        errors.push(FieldError::too_many(at, rules.len(), 20));
    }
    let containers: HashSet<&str> = ["containers", "initContainers"]
        .into_iter()
        .flat_map(|key| items(spec, &["template", "spec", key]))
        .map(|c| text(c, &["name"]))
        .collect();
    for (i, rule) in rules.iter().enumerate() {
        let at = at.index(i);
        if text(rule, &["action"]) == "FailIndex" && !has(spec, &["backoffLimitPerIndex"]) {
            let why = "requires the backoffLimitPerIndex to be set";
            errors.push(FieldError::invalid_str(&at.child("action"), "FailIndex", why));
        }
        choice(rule, "action", &["Count", "FailIndex", "FailJob", "Ignore"], &at, errors);
        let conditions = items(rule, &["onPodConditions"]);
        if has(rule, &["onExitCodes"]) {
            exit_codes(&rule["onExitCodes"], &containers, &at.child("onExitCodes"), errors);
        }
        pod_conditions(conditions, &at.child("onPodConditions"), errors);
        let why = match (has(rule, &["onExitCodes"]), !conditions.is_empty()) {
            (true, true) => "specifying both OnExitCodes and OnPodConditions is not supported",
            (false, false) => "specifying one of OnExitCodes and OnPodConditions is required",
            _ => continue,
        };
        let mut e = FieldError::invalid(&at, &Value::Null, why);
        e.value = String::new();
        errors.push(e);
    }
}

fn pod_conditions(conditions: &[Value], at: &Path, errors: &mut ErrorList) {
    if conditions.len() > 20 {
        errors.push(FieldError::too_many(at, conditions.len(), 20));
    }
    for (i, pattern) in conditions.iter().enumerate() {
        let (at, kind) = (at.index(i), text(pattern, &["type"]));
        rule(names::qualified_name(kind), kind, &at.child("type"), errors);
        choice(pattern, "status", &["False", "True", "Unknown"], &at, errors);
    }
}

fn exit_codes(codes: &Value, containers: &HashSet<&str>, at: &Path, errors: &mut ErrorList) {
    choice(codes, "operator", &["In", "NotIn"], at, errors);
    if let Some(name) = codes.get("containerName").and_then(Value::as_str)
        && !containers.contains(name)
    {
        let why = "must be one of the container or initContainer names in the pod template";
        errors.push(FieldError::invalid_str(&at.child("containerName"), name, why));
    }
    let (values, at) = (items(codes, &["values"]), at.child("values"));
    match values.len() {
        0 => errors.push(FieldError::invalid(&at, &codes["values"], "at least one value is required")),
        n if n > 255 => errors.push(FieldError::too_many(&at, n, 255)),
        _ => {}
    }
    let numbers: Vec<i64> = values.iter().filter_map(Value::as_i64).collect();
    let mut seen = HashSet::new();
    for (i, n) in numbers.iter().enumerate() {
        if *n == 0 && text(codes, &["operator"]) == "In" {
            errors.push(FieldError::invalid(&at.index(i), &json!(0), "must not be 0 for the In operator"));
        }
        if !seen.insert(n) {
            errors.push(FieldError::duplicate(&at.index(i), &json!(n)));
        }
    }
    if !numbers.is_sorted() {
        errors.push(FieldError::invalid(&at, &json!(values), "must be ordered"));
    }
}

fn success_policy(spec: &Value, at: &Path, errors: &mut ErrorList) {
    const LONGEST: usize = 64 << 10;
    let rules = items(spec, &["successPolicy", "rules"]);
    let completions = count(spec, &["completions"]);
    match rules.len() {
        0 => errors
            .push(FieldError::required(at, "at least one rules must be specified when the successPolicy is specified")),
        n if n > 20 => errors.push(FieldError::too_many(at, n, 20)),
        _ => {}
    }
    for (i, rule) in rules.iter().enumerate() {
        let at = at.index(i);
        let (wanted, count_at) = (int(rule, &["succeededCount"]), at.child("succeededCount"));
        let given = rule.get("succeededIndexes").and_then(Value::as_str);
        if given.is_none() && wanted.is_none() {
            let why = "at least one of succeededCount or succeededIndexes must be specified";
            errors.push(FieldError::required(&at, why));
        }
        let mut total = None;
        if let Some(given) = given {
            let at = at.child("succeededIndexes");
            if given.len() > LONGEST {
                errors.push(FieldError::too_long(&at, LONGEST));
            }
            // Of indexes that cannot be read there are none.
            total = Some(indexes(given, completions).unwrap_or_else(|why| {
                errors.push(FieldError::invalid_str(&at, given, format!("error parsing succeededIndexes: {why}")));
                0
            }));
        }
        not_negative_at(rule, &at, &["succeededCount"], errors);
        let limits =
            [(Some(completions), "specified completions"), (total, "indexes in the specified succeededIndexes field")];
        for (most, of) in limits {
            if let (Some(n), Some(most)) = (wanted, most)
                && n > most
            {
                let why = format!("must be less than or equal to {most} (the number of {of})");
                errors.push(FieldError::invalid(&count_at, &json!(n), why));
            }
        }
    }
}

/// How many indexes a text such as `1,3-5` names.
fn indexes(given: &str, completions: i64) -> Result<i64, String> {
    ranges(given, completions).map(|all| all.into_iter().map(|(first, end)| end - first + 1).sum())
}

/// The first and last indexes of the parts of a text such as `1,3-5`.
pub(super) fn ranges(given: &str, completions: i64) -> Result<Vec<(i64, i64)>, String> {
    let mut all: Vec<(i64, i64)> = Vec::new();
    if given.is_empty() {
        return Ok(all);
    }
    let number = |text: &str| -> Result<i64, String> {
        text.parse().map_err(|_| format!("cannot convert string to integer for index: {text:?}"))
    };
    let mut last = -1;
    for interval in given.split(',') {
        let parts: Vec<&str> = interval.split('-').collect();
        let (first, end) = match parts.as_slice() {
            [one] => (number(one)?, number(one)?),
            [a, b] => (number(a)?, number(b)?),
            _ => {
                return Err(format!(
                    "the fragment {interval:?} violates the requirement that an index interval can have at most two parts separated by '-'"
                ));
            }
        };
        if first <= last {
            return Err(format!("non-increasing order, previous: {last}, current: {first}"));
        }
        if parts.len() == 2 && first >= end {
            return Err(format!("non-increasing order, previous: {first}, current: {end}"));
        }
        for n in [first, end] {
            if n >= completions {
                return Err(format!("too large index: \"{n}\""));
            }
        }
        all.push((first, end));
        last = end;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_counted() {
        assert_eq!(indexes("1,3-5", 10), Ok(4));
        assert_eq!(indexes("", 10), Ok(0));
        for bad in ["3,1", "5-3", "x", "1-2-3", "10"] {
            assert!(indexes(bad, 10).is_err(), "{bad}");
        }
    }

    #[test]
    fn policies_have_the_stock_wording() {
        let found = |spec: Value| -> Vec<String> {
            let mut spec = spec;
            spec["template"] = json!({"spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "dnsPolicy": "Default",
                "containers": [{"name": "a", "image": "b", "imagePullPolicy": "Always", "terminationMessagePolicy": "File"}]}});
            let mut errors = ErrorList::new();
            check_spec(&spec, &Path::new("spec"), &mut errors);
            errors.iter().map(ToString::to_string).collect()
        };
        let table = [
            (json!({"completionMode": "Indexed"}), "spec.completions: Required value: when completion mode is Indexed"),
            (
                json!({"maxFailedIndexes": 1}),
                "spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified",
            ),
            (
                json!({"podFailurePolicy": {"rules": [{"action": "Ignore"}]}}),
                "spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
            ),
            (
                json!({"podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [2, 1]}}]}}),
                "spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [2,1]: must be ordered",
            ),
            (
                json!({"podFailurePolicy": {"rules": [{"action": "X", "onPodConditions": [{"type": "a", "status": "True"}]}]}}),
                "spec.podFailurePolicy.rules[0].action: Unsupported value: \"X\": supported values: \"Count\", \"FailIndex\", \"FailJob\", \"Ignore\"",
            ),
            (
                json!({"completionMode": "Indexed", "completions": 3, "successPolicy": {"rules": [{"succeededCount": 4}]}}),
                "spec.successPolicy.rules[0].succeededCount: Invalid value: 4: must be less than or equal to 3 (the number of specified completions)",
            ),
            (
                json!({"managedBy": "x"}),
                "spec.managedBy: Invalid value: \"x\": must be a domain-prefixed path (such as \"acme.io/foo\")",
            ),
        ];
        for (spec, expected) in table {
            assert_eq!(found(spec)[0], expected);
        }
    }
}
