//! Events, in the core group and in `events.k8s.io`: one object in two shapes.

use super::event_rules;
use crate::Strategy;
use ironclad_api::ErrorList;
use ironclad_api::object::{self, at};
use ironclad_api::table::{Cells, Column, since};
use ironclad_json::{Map, Value, json};
use std::borrow::Cow;
use std::sync::LazyLock;

/// `v1 Event`, the shape that is stored.
pub(crate) struct Event;
/// `events.k8s.io/v1 Event`.
pub(crate) struct EventsEvent;

static COLUMNS: LazyLock<Vec<Column>> = LazyLock::new(|| {
    vec![
        Column::text("Last Seen", "The time since it happened last."),
        Column::text("Type", "Normal or Warning."),
        Column::text("Reason", "Why, in one word."),
        Column::text("Object", "What it is about."),
        Column::text("Subobject", "The part of the object that it is about.").wide(),
        Column::text("Source", "Who says so.").wide(),
        Column::text("Message", "What happened."),
        Column::text("First Seen", "The time since it happened first.").wide(),
        Column::text("Count", "How often it happened.").wide(),
        Column::object_name().wide(),
    ]
});

impl Strategy for Event {
    fn validate(&self, event: &Value) -> ErrorList {
        event_rules::legacy(event, "reportingComponent")
    }

    fn validate_name(&self, name: &str) -> Vec<String> {
        ironclad_api::names::path_segment(name)
    }

    fn columns(&self) -> &[Column] {
        &COLUMNS
    }

    fn field<'a>(&self, event: &'a Value, field: &str) -> Cow<'a, str> {
        match field {
            "source" => match object::text(event, &["source", "component"]) {
                "" => object::text(event, &["reportingComponent"]).into(),
                source => source.into(),
            },
            _ => object::text(event, &field.split('.').collect::<Vec<_>>()).into(),
        }
    }

    fn cells(&self, event: &Value) -> Cells {
        let first_of = |paths: &[&[&str]]| -> String {
            paths.iter().map(|p| object::text(event, p)).find(|t| !t.is_empty()).unwrap_or_default().to_owned()
        };
        let last = first_of(&[&["series", "lastObservedTime"], &["lastTimestamp"], &["eventTime"]]);
        let first = first_of(&[&["firstTimestamp"], &["eventTime"]]);
        let object = &event["involvedObject"];
        let kind = object::text(object, &["kind"]).to_lowercase();
        let target = match object::text(object, &["name"]) {
            "" => kind,
            name => format!("{kind}/{name}"),
        };
        let source = first_of(&[&["source", "component"], &["reportingComponent"]]);
        let host = first_of(&[&["source", "host"], &["reportingInstance"]]);
        let source = if host.is_empty() { source } else { format!("{source}, {host}") };
        let count = at(event, &["series", "count"])
            .or_else(|| event.get("count"))
            .and_then(Value::as_i64)
            .filter(|n| *n != 0)
            .unwrap_or(1);
        vec![
            since(&last),
            event["type"].clone(),
            event["reason"].clone(),
            json!(target),
            json!(object::text(object, &["fieldPath"])),
            json!(source),
            json!(object::text(event, &["message"]).trim()),
            since(&first),
            json!(count),
            json!(object::name(event)),
        ]
    }

    fn convert(&self, event: Value, _version: &str) -> Value {
        // The only other version is that of the other group.
        to_events(event)
    }
}

impl Strategy for EventsEvent {
    fn validate(&self, event: &Value) -> ErrorList {
        event_rules::create(&to_core(event.clone()))
    }

    fn validate_update(&self, new: &Value, old: &Value) -> ErrorList {
        event_rules::update(&to_core(new.clone()), &to_core(old.clone()))
    }

    fn columns(&self) -> &[Column] {
        &COLUMNS
    }

    fn cells(&self, event: &Value) -> Cells {
        Event.cells(&to_core(event.clone()))
    }

    fn convert(&self, event: Value, _version: &str) -> Value {
        to_core(event)
    }
}

/// The field of `events.k8s.io` for each field of the core group.
const NAMES: [(&str, &str); 6] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];
const CONTROLLER: (&str, &str) = ("reportingComponent", "reportingController");

fn rename(object: Value, names: impl Iterator<Item = (&'static str, &'static str)>) -> Value {
    let Value::Object(mut map) = object else { return object };
    for (from, to) in names {
        if let Some(value) = map.remove(from) {
            map.insert(to.to_owned(), value);
        }
    }
    Value::Object(map)
}

/// A core Event as one of `events.k8s.io`.
pub(crate) fn to_events(event: Value) -> Value {
    rename(event, NAMES.into_iter().chain([CONTROLLER]))
}

/// An Event of `events.k8s.io` as a core one.
pub(crate) fn to_core(event: Value) -> Value {
    let mut event = rename(event, NAMES.into_iter().chain([CONTROLLER]).map(|(a, b)| (b, a)));
    if event.get("involvedObject").is_none() {
        event["involvedObject"] = Value::Object(Map::new());
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_goes_to_the_other_group_and_comes_back() {
        let core = json!({"involvedObject": {"kind": "Pod"}, "message": "m", "count": 2, "reportingComponent": "k", "reason": "r"});
        let other = to_events(core.clone());
        assert_eq!(other["note"], "m");
        assert_eq!(other["regarding"]["kind"], "Pod");
        assert_eq!(to_core(other), core);
    }
}
