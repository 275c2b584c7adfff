//! The annotation in which kubectl keeps what it applied on the client's side: the way from there to server-side apply.

use super::compare::compare;
use super::conflict::Conflicts;
use super::managers::Manager;
use super::{Schema, bare, fields};
use ironclad_json::Value;

const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Bytes that an object's annotations may have together.
const LARGEST: usize = 256 << 10;
/// The only manager whose annotation is looked at.
const KUBECTL: &str = "kubectl";

fn annotation(object: &Value) -> Option<&str> {
    object["metadata"]["annotations"][ANNOTATION].as_str().filter(|t| !t.is_empty())
}

/// The conflicts that kubectl does not have with itself: fields that it applied on the client's side, and that are
/// still as it left them, are its own.
pub(super) fn not_from_last_applied(
    schema: &Schema<'_>,
    live: &Value,
    conflicts: Conflicts,
    manager: &Manager,
) -> Conflicts {
    if manager.name != KUBECTL {
        return conflicts;
    }
    let Some(last) = annotation(live).and_then(|text| serde_json::from_str::<Value>(text).ok()) else {
        return conflicts;
    };
    // What was applied in another version, or what cannot be told apart, says nothing.
    let readable = |object: &Value| fields::problems(schema.root(), object).is_empty();
    let last = bare(&last);
    if last["apiVersion"] != *manager.api_version || !readable(&last) || !readable(&bare(live)) {
        return conflicts;
    }
    let change = compare(schema.root(), &last, &bare(live));
    let allowed = fields::field_set(schema.root(), &last).minus(&change.touched()).minus(&change.removed);
    let left = conflicts.into_iter().map(|(manager, fields)| (manager, fields.minus(&allowed)));
    left.filter(|(_, fields)| !fields.is_empty()).collect()
}

/// Keeps the annotation in step with what kubectl applies now.
pub(super) fn renew(mut object: Value, config: &Value, manager: &Manager) -> Value {
    if manager.name == KUBECTL && annotation(&object).is_some() {
        let mut config = config.clone();
        let annotations = config.get_mut("metadata").and_then(|m| m.get_mut("annotations"));
        if let Some(annotations) = annotations.and_then(Value::as_object_mut) {
            annotations.remove(ANNOTATION);
        }
        object["metadata"]["annotations"][ANNOTATION] = format!("{config}\n").into();
        let annotations = object["metadata"]["annotations"].as_object_mut();
        if let Some(annotations) = annotations
            && annotations.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum::<usize>()
                > LARGEST
        {
            annotations.remove(ANNOTATION);
        }
    }
    object
}
