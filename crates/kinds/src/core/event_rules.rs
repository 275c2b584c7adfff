//! What is wrong with an Event, in the shape of the core group. Who writes through `events.k8s.io` is held to more.

use crate::common::checks::{IMMUTABLE, rule, same};
use crate::common::inside::inside;
use crate::read::{count, has, text};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_json::Value;

const WORD_MAX: usize = 128;
const NOTE_MAX: usize = 1024;

fn time_is_set(event: &Value, key: &str) -> bool {
    !text(event, &[key]).is_empty()
}

/// What holds for each Event. `controller` is how the group of the request calls the field.
pub(super) fn legacy(event: &Value, controller: &str) -> ErrorList {
    let mut errors = ErrorList::new();
    let (own, about) = (text(event, &["metadata", "namespace"]), text(event, &["involvedObject", "namespace"]));
    let wrong_place = match (time_is_set(event, "eventTime"), about) {
        (true, "") => own != "default" && own != "kube-system",
        (true, _) => false,
        (false, "") => !own.is_empty() && own != "default",
        (false, about) => own != about,
    };
    if wrong_place {
        let at = Path::new("involvedObject").child("namespace");
        errors.push(FieldError::invalid_str(&at, about, "does not match event.namespace"));
    }
    if time_is_set(event, "eventTime") {
        let given = text(event, &["reportingComponent"]);
        let at = Path::new(controller);
        if given.is_empty() {
            errors.push(FieldError::required(&at, ""));
        }
        rule(names::qualified_name(given), given, &at, &mut errors);
        for (key, required, max) in [
            ("reportingInstance", true, WORD_MAX),
            ("action", true, WORD_MAX),
            ("reason", true, WORD_MAX),
            ("message", false, NOTE_MAX),
        ] {
            let given = text(event, &[key]);
            if required && given.is_empty() {
                errors.push(FieldError::required(&Path::new(key), ""));
            }
            if given.len() > max {
                let why = format!("can have at most {max} characters");
                errors.push(FieldError::invalid_str(&Path::new(key), "", why));
            }
        }
    }
    rule(names::dns1123_subdomain(own), own, &Path::new("namespace"), &mut errors);
    errors
}

fn series(event: &Value, errors: &mut ErrorList) {
    if !has(event, &["series"]) {
        return;
    }
    if count(event, &["series", "count"]) < 2 {
        errors.push(FieldError::invalid_str(&Path::new("series.count"), "", "should be at least 2"));
    }
    if text(event, &["series", "lastObservedTime"]).is_empty() {
        errors.push(FieldError::required(&Path::new("series.lastObservedTime"), ""));
    }
}

/// What holds for an Event that is made through `events.k8s.io`.
pub(super) fn create(event: &Value) -> ErrorList {
    let mut errors = legacy(event, "reportingController");
    series(event, &mut errors);
    if !time_is_set(event, "eventTime") {
        errors.push(FieldError::required(&Path::new("eventTime"), ""));
    }
    let kind = text(event, &["type"]);
    if !matches!(kind, "Normal" | "Warning") {
        errors.push(FieldError::invalid_str(&Path::new("type"), "", format!("has invalid value: {kind}")));
    }
    let source = |key: &str| !text(event, &["source", key]).is_empty();
    for (key, given) in [
        ("firstTimestamp", time_is_set(event, "firstTimestamp")),
        ("lastTimestamp", time_is_set(event, "lastTimestamp")),
        ("count", count(event, &["count"]) != 0),
        ("source", source("component") || source("host")),
    ] {
        if given {
            errors.push(FieldError::invalid_str(&Path::new(key), "", "needs to be unset"));
        }
    }
    errors
}

/// What holds for an Event that is changed through `events.k8s.io`.
pub(super) fn update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = legacy(new, "reportingController");
    if new["series"] != old["series"] {
        series(new, &mut errors);
    }
    let fixed = [
        "involvedObject",
        "reason",
        "message",
        "source",
        "firstTimestamp",
        "lastTimestamp",
        "count",
        "reason",
        "type",
        "eventTime",
        "action",
        "related",
    ];
    for key in fixed.into_iter().filter(|key| !same(&new[*key], &old[*key])) {
        let is = &new[key];
        let shown = match key {
            "involvedObject" | "related" if is.is_object() => inside(is, "ObjectReference"),
            "source" => inside(is, "EventSource"),
            _ if is.is_null() => match key {
                "count" => "0".to_owned(),
                "eventTime" | "firstTimestamp" | "lastTimestamp" | "related" => "null".to_owned(),
                _ => "\"\"".to_owned(),
            },
            _ => is.to_string(),
        };
        errors.push(FieldError::invalid_shown(&Path::new(key), shown, IMMUTABLE));
    }
    for (key, shown) in [("reportingComponent", "reportingController"), ("reportingInstance", "reportingInstance")] {
        if text(new, &[key]) != text(old, &[key]) {
            errors.push(FieldError::invalid_str(&Path::new(shown), text(new, &[key]), "field is immutable"));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    #[test]
    fn an_event_stands_where_its_object_is() {
        let event =
            |own: &str, about: &str| json!({"metadata": {"namespace": own}, "involvedObject": {"namespace": about}});
        for (own, about, good) in [("a", "a", true), ("a", "b", false), ("default", "", true), ("a", "", false)] {
            assert_eq!(legacy(&event(own, about), "reportingComponent").is_empty(), good, "{own} {about}");
        }
    }

    #[test]
    fn the_newer_group_wants_the_newer_fields() {
        let event = json!({"metadata": {"namespace": "default"}, "type": "Odd", "count": 2});
        let found: Vec<String> = create(&event).iter().map(ToString::to_string).collect();
        let expected = [
            "eventTime: Required value",
            "type: Invalid value: \"\": has invalid value: Odd",
            "count: Invalid value: \"\": needs to be unset",
        ];
        assert_eq!(found, expected);
    }
}
