//! Conditions of definitions.

use crate::read::{items, text};
use ironclad_api::time;
use ironclad_json::{Value, json};

/// A condition of a definition.
pub fn condition<'a>(definition: &'a Value, kind: &str) -> Option<&'a Value> {
    items(definition, &["status", "conditions"]).iter().find(|c| text(c, &["type"]) == kind)
}

/// Whether a condition is there and true.
pub fn is_true(definition: &Value, kind: &str) -> bool {
    condition(definition, kind).is_some_and(|c| text(c, &["status"]) == "True")
}

/// Sets a condition; the time of its transition changes with its status only.
pub fn set_condition(definition: &mut Value, kind: &str, status: &str, reason: &str, message: &str) {
    let old = condition(definition, kind).cloned();
    let since = old.as_ref().filter(|o| text(o, &["status"]) == status).map(|o| o["lastTransitionTime"].clone());
    let new = json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": since.filter(|t| !t.is_null()).unwrap_or_else(|| json!(time::now())),
    });
    let status = ironclad_api::object::entry(definition, "status");
    let list = status.entry("conditions").or_insert_with(|| json!([]));
    if !list.is_array() {
        *list = json!([]);
    }
    let Some(list) = list.as_array_mut() else { return };
    match list.iter_mut().find(|c| text(c, &["type"]) == kind) {
        Some(place) => *place = new,
        None => list.push(new),
    }
}
