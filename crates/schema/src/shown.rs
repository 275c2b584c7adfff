//! Values as errors show them: Go's own types written as JSON. The types that stock validates have no names for JSON but
//! those of the machinery below them, so that fields stand under their Go names, all of them, in the order of the type.
//!
//! Invariant: what is not known is shown as it came.

use crate::proto::wire::{Field, Message, MessageId, Number, Presence, Sort, wire};
use ironclad_api::GroupVersionKind;
use ironclad_json::{Map, Value};
use serde_json::to_string;

/// What stands at a place of the wire format.
#[derive(Clone, Copy)]
enum At {
    Message(MessageId),
    /// Several of them, in a field of another.
    Many(MessageId, MessageId),
}

/// How stock shows `value`, which stands at `path` of a kind's objects; `None` where nothing is known of that place.
/// Rules that stock generates see the types that clients send, whose fields stand under the names of JSON: `sent`.
pub fn shown(gvk: &GroupVersionKind, path: &str, value: &Value, sent: bool) -> Option<String> {
    if !value.is_object() && !value.is_array() {
        return None;
    }
    let root = crate::bundle().get(crate::bundle().kind(gvk)?).definition.clone();
    let mut at = At::Message(wire().find(&root)?);
    for step in path.split('.') {
        let (name, indexes) =
            step.split_once('[').map_or((step, 0), |(name, rest)| (name, 1 + rest.matches('[').count()));
        let At::Message(id) = at else { return None };
        let field = named(wire().get(id), name)?;
        let Sort::Message(inner) = field.sort else { return None };
        at = match (field.number, indexes) {
            (Number::One, 0) | (Number::Many | Number::Map, 1) => At::Message(inner),
            (Number::Many, 0) => At::Many(inner, id),
            _ => return None,
        };
    }
    let mut out = String::new();
    match (at, value) {
        // What is shown in Go's names already stays.
        (At::Message(id), Value::Object(map)) if !map.keys().all(|key| named(wire().get(id), key).is_some()) => {
            return None;
        }
        // One item may be told of where the list is meant, or what the list stands in.
        (At::Many(id, whole), Value::Object(map)) => {
            let of = |id: MessageId| map.keys().all(|key| named(wire().get(id), key).is_some());
            message(if of(id) || !of(whole) { id } else { whole }, map, sent, &mut out);
        }
        (At::Message(id), Value::Object(map)) => message(id, map, sent, &mut out),
        (At::Many(id, _), Value::Array(list)) => {
            let known =
                |item: &Value| item.as_object().is_some_and(|m| m.keys().all(|k| named(wire().get(id), k).is_some()));
            if !list.iter().all(known) {
                return None;
            }
            out.push('[');
            for (index, item) in list.iter().enumerate() {
                comma(index, &mut out);
                message(id, item.as_object()?, sent, &mut out);
            }
            out.push(']');
        }
        _ => return None,
    }
    Some(out)
}

/// The field of a message, or of one that stands beside its fields.
fn named<'a>(message: &'a Message, name: &str) -> Option<&'a Field> {
    message.fields.iter().find_map(|f| match f.sort {
        Sort::Message(inner) if f.name.is_empty() => named(wire().get(inner), name),
        _ => (&*f.name == name).then_some(f),
    })
}

/// Whether Go leaves a value out of JSON where it may.
fn is_bare(value: &Value) -> bool {
    value.as_array().is_some_and(|list| list.is_empty()) || value.as_object().is_some_and(Map::is_empty)
}

fn comma(before: usize, out: &mut String) {
    if before > 0 {
        out.push(',');
    }
}

fn one(id: MessageId, value: &Value, sent: bool, out: &mut String) {
    match value.as_object() {
        Some(map) => message(id, map, sent, out),
        None => out.push_str("null"),
    }
}

fn message(id: MessageId, map: &Map, sent: bool, out: &mut String) {
    out.push('{');
    let mut written = 0;
    fields(id, map, sent || wire().is_machinery(id), &mut written, out);
    out.push('}');
}

fn fields(id: MessageId, map: &Map, tagged: bool, written: &mut usize, out: &mut String) {
    for field in wire().get(id).declared() {
        let beside = field.name.is_empty() || !tagged && &*field.name == "metadata";
        if let (true, Sort::Message(inner)) = (beside, field.sort) {
            let none = Map::new();
            let inside = match field.name.is_empty() {
                true => map,
                false => map.get("metadata").and_then(Value::as_object).unwrap_or(&none),
            };
            fields(inner, inside, wire().is_machinery(inner), written, out);
            continue;
        }
        let value = map.get(&field.name).filter(|v| !v.is_null());
        if tagged && value.is_none_or(is_bare) && field.presence != Presence::Always {
            continue;
        }
        comma(*written, out);
        *written += 1;
        let name = if tagged { field.name.to_string() } else { go_name(&field.name) };
        out.push_str(&format!("\"{name}\":"));
        write(field, value, tagged, out);
    }
}

fn write(field: &Field, value: Option<&Value>, sent: bool, out: &mut String) {
    match (field.number, field.sort, value) {
        (Number::One, Sort::Message(id), Some(Value::Object(map))) => message(id, map, sent, out),
        (Number::Many, Sort::Message(id), Some(Value::Array(list))) => {
            out.push('[');
            for (index, item) in list.iter().enumerate() {
                comma(index, out);
                one(id, item, sent, out);
            }
            out.push(']');
        }
        (Number::Map, Sort::Message(id), Some(Value::Object(map))) => {
            out.push('{');
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by(|a, b| a.0.as_str().cmp(b.0.as_str()));
            for (index, (key, item)) in entries.into_iter().enumerate() {
                comma(index, out);
                out.push_str(&format!("{}:", to_string(key.as_str()).unwrap_or_default()));
                one(id, item, sent, out);
            }
            out.push('}');
        }
        (_, _, Some(value)) => out.push_str(&value.to_string()),
        (Number::Many | Number::Map, _, None) => out.push_str("null"),
        (Number::One, _, None) if field.presence == Presence::Pointer => out.push_str("null"),
        (Number::One, sort, None) => match sort {
            Sort::String => out.push_str("\"\""),
            Sort::Int32 | Sort::Int64 | Sort::Double | Sort::IntOrString => out.push('0'),
            Sort::Bool => out.push_str("false"),
            Sort::Quantity => out.push_str("\"0\""),
            Sort::Message(id) => message(id, &Map::new(), sent, out),
            _ => out.push_str("null"),
        },
    }
}

/// Beginnings of names that Go writes in capitals.
const CAPITALS: [&str; 24] = [
    "aws", "api", "ca", "cel", "cidrs", "cidr", "csi", "dns", "fc", "fs", "gce", "grpc", "http", "ip", "iscsi", "json",
    "nfs", "pid", "rbd", "se", "tcp", "tls", "ttl", "uid",
];

/// `apiGroup` as `APIGroup`.
fn go_name(name: &str) -> String {
    if let "url" | "id" = name {
        return name.to_uppercase();
    }
    let is_word = |c: &str| {
        let rest = name.strip_prefix(c);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(|n: char| n.is_ascii_uppercase()))
    };
    match CAPITALS.iter().find(|c| is_word(c)) {
        // `seLinuxOptions` is the only one that goes on in capitals.
        Some(found) => format!("{}{}", found.to_uppercase(), &name[found.len()..]),
        None => name.chars().take(1).flat_map(char::to_uppercase).chain(name.chars().skip(1)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    #[test]
    fn values_are_shown_as_go_shows_its_types() {
        let deployment = GroupVersionKind::new("apps", "v1", "Deployment");
        let job = GroupVersionKind::new("batch", "v1", "Job");
        let budget = GroupVersionKind::new("policy", "v1", "PodDisruptionBudget");
        let table = [
            (
                &deployment,
                "spec.selector",
                json!({"matchExpressions": [{"values": ["b"], "operator": "In", "key": "a"}], "matchLabels": {"a": "b"}}),
                r#"{"matchLabels":{"a":"b"},"matchExpressions":[{"key":"a","operator":"In","values":["b"]}]}"#,
            ),
            (
                &deployment,
                "spec.strategy",
                json!({"type": "X", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": "25%"}}),
                r#"{"Type":"X","RollingUpdate":{"MaxUnavailable":1,"MaxSurge":"25%"}}"#,
            ),
            (&job, "spec.successPolicy", json!({}), r#"{"Rules":null}"#),
            (
                &budget,
                "spec",
                json!({"minAvailable": "x", "selector": {}}),
                r#"{"MinAvailable":"x","Selector":{},"MaxUnavailable":null,"UnhealthyPodEvictionPolicy":null}"#,
            ),
        ];
        for (gvk, path, value, want) in table {
            assert_eq!(shown(gvk, path, &value, false).as_deref(), Some(want));
        }
        let claim = GroupVersionKind::new("resource.k8s.io", "v1", "ResourceClaim");
        let request = json!({"name": "r", "exactly": {"count": 1, "deviceClassName": "c"}});
        let sent = r#"{"name":"r","exactly":{"deviceClassName":"c","count":1}}"#;
        assert_eq!(shown(&claim, "spec.devices.requests[1]", &request, true).as_deref(), Some(sent));
        assert_eq!(shown(&job, "spec.successPolicy", &json!({"rules": []}), false).as_deref(), Some(r#"{"Rules":[]}"#));
        let bare = json!({"matchLabels": {}, "matchExpressions": [{"key": "a", "operator": "In", "values": []}]});
        let shown_bare = r#"{"matchExpressions":[{"key":"a","operator":"In"}]}"#;
        assert_eq!(shown(&deployment, "spec.selector", &bare, false).as_deref(), Some(shown_bare));
        let quota = GroupVersionKind::new("", "v1", "ResourceQuota");
        let scopes = json!({"matchExpressions": [{"scopeName": "BestEffort", "operator": "Exists"}]});
        let shown_scopes = r#"{"MatchExpressions":[{"ScopeName":"BestEffort","Operator":"Exists","Values":null}]}"#;
        let scopes = shown(&quota, "spec.scopeSelector.matchExpressions", &scopes, false);
        assert_eq!(scopes.as_deref(), Some(shown_scopes));
        assert_eq!(shown(&job, "spec.nothing", &json!({}), false), None);
        assert_eq!(shown(&job, "spec.successPolicy", &json!({"Rules": []}), false), None);
        assert_eq!(go_name("apiGroup"), "APIGroup");
        assert_eq!(go_name("uid"), "UID");
        assert_eq!(go_name("ipBlock"), "IPBlock");
        assert_eq!(go_name("serviceName"), "ServiceName");
    }
}
