//! The order of a merged list: what the patch names in the order of the patch, the rest in the order that it had, and
//! the two woven into each other by the places that they had.

use super::{DIRECTIVE, Refused, no_merge_key};
use crate::patch::go::go_value;
use ironclad_json::Value;

/// `merged` in order. `named` says which items the patch names, `wanted` in which order; `before` is the list as it was.
pub(super) fn settle(
    merged: Vec<Value>,
    named: &[Value],
    wanted: &[Value],
    before: &[Value],
    key: &str,
) -> Result<Vec<Value>, Refused> {
    let id = |v: &Value| if key.is_empty() { Some(v.clone()) } else { v.get(key).cloned() };
    if !key.is_empty() {
        if let Some(place) = wanted.iter().position(|item| !item.is_object()) {
            return Err(Refused::Other(format!("value for key {place} is not a map")));
        }
        for item in merged.iter().chain(named).chain(wanted) {
            let Value::Object(map) = item else {
                return Err(Refused::Other("delta contains items of different types".to_owned()));
            };
            if !map.contains_key(key) {
                return Err(no_merge_key(map, key));
            }
        }
    }
    let place = |list: &[Value], v: &Value| list.iter().position(|w| id(w) == id(v));
    let (mut patched, mut kept): (Vec<Value>, Vec<Value>) = merged.into_iter().partition(|v| place(named, v).is_some());
    patched.sort_by_key(|v| place(wanted, v));
    kept.sort_by_key(|v| place(before, v));
    let mut out = Vec::with_capacity(patched.len() + kept.len());
    let (mut left, mut right) = (kept.into_iter().peekable(), patched.into_iter().peekable());
    while let Some(next) = right.peek() {
        let first = left.next_if(|v| match (place(before, v), place(before, next)) {
            (Some(l), Some(r)) => l < r,
            _ => false,
        });
        out.extend(first.or_else(|| right.next()));
    }
    out.extend(left);
    Ok(out)
}

/// The items of a patch must stand in the order that it names.
pub(super) fn must_agree(patch: &[Value], wanted: &[Value], key: &str) -> Result<(), Refused> {
    if wanted.is_empty() {
        return Ok(());
    }
    let id = |v: &Value| if key.is_empty() { Some(v.clone()) } else { v.get(key).cloned() };
    let mut wanted_left = wanted.iter();
    for item in patch.iter().filter(|i| i.get(DIRECTIVE).is_none()) {
        if !wanted_left.any(|w| id(w) == id(item)) {
            let (patch, wanted) = (go_value(&Value::from(patch)), go_value(&Value::from(wanted)));
            let message =
                format!("The order in patch list:\n{patch}\n doesn't match $setElementOrder list:\n{wanted}\n");
            return Err(Refused::Other(message));
        }
    }
    Ok(())
}
