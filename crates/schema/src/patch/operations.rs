//! JSON patch (RFC 6902) on values.

use ironclad_json::{List, Value};
use json_patch::PatchOperation;
use json_patch::jsonptr::Pointer;

/// Why an operation cannot be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Impossible(pub(super) &'static str);

const NO_PLACE: Impossible = Impossible("path is invalid");
const NO_SOURCE: Impossible = Impossible("\"from\" path is invalid");

/// Does one operation.
pub(super) fn apply(target: &mut Value, operation: &PatchOperation) -> Result<(), Impossible> {
    match operation {
        PatchOperation::Add(o) => add(target, &o.path, o.value.clone().into()),
        PatchOperation::Remove(o) => remove(target, &o.path).map(drop),
        PatchOperation::Replace(o) => {
            *target.pointer_mut(o.path.as_str()).ok_or(NO_PLACE)? = o.value.clone().into();
            Ok(())
        }
        PatchOperation::Move(o) => {
            if o.path.as_str().strip_prefix(o.from.as_str()).is_some_and(|rest| rest.starts_with('/')) {
                return Err(Impossible("cannot move the value inside itself"));
            }
            let value = remove(target, &o.from).map_err(|_| NO_SOURCE)?;
            add(target, &o.path, value)
        }
        PatchOperation::Copy(o) => {
            let value = target.pointer(o.from.as_str()).ok_or(NO_SOURCE)?.clone();
            add(target, &o.path, value)
        }
        PatchOperation::Test(o) => {
            let there = target.pointer(o.path.as_str()).ok_or(NO_PLACE)?;
            if *there == Value::from(o.value.clone()) { Ok(()) } else { Err(Impossible("value did not match")) }
        }
    }
}

/// What a path stands in, and its last part.
fn parent<'v>(target: &'v mut Value, path: &Pointer) -> Result<(&'v mut Value, String), Impossible> {
    let (parent, last) = path.split_back().ok_or(NO_PLACE)?;
    let parent = target.pointer_mut(parent.as_str()).ok_or(NO_PLACE)?;
    Ok((parent, last.decoded().into_owned()))
}

fn place(list: &List, token: &str) -> Result<usize, Impossible> {
    let plain = token == "0" || !token.starts_with(['0', '+']);
    token.parse().ok().filter(|at| plain && *at <= list.len()).ok_or(NO_PLACE)
}

fn add(target: &mut Value, path: &Pointer, value: Value) -> Result<(), Impossible> {
    if path.as_str().is_empty() {
        *target = value;
        return Ok(());
    }
    match parent(target, path)? {
        (Value::Object(map), name) => drop(map.insert(name, value)),
        (Value::Array(list), token) if token == "-" => list.push(value),
        (Value::Array(list), token) => {
            let at = place(list, &token)?;
            list.insert(at, value);
        }
        _ => return Err(NO_PLACE),
    }
    Ok(())
}

fn remove(target: &mut Value, path: &Pointer) -> Result<Value, Impossible> {
    match parent(target, path)? {
        (Value::Object(map), name) => map.remove(&name).ok_or(NO_PLACE),
        (Value::Array(list), token) => match place(list, &token)? {
            at if at < list.len() => Ok(list.remove(at)),
            _ => Err(NO_PLACE),
        },
        _ => Err(NO_PLACE),
    }
}

/// Lays a merge patch (RFC 7386) over a value.
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(ironclad_json::Map::new());
    }
    let Value::Object(map) = target else { return };
    let changed = |(name, value): (&ironclad_json::Text, &Value)| {
        let merged = (!value.is_null()).then(|| {
            let mut merged = map.get(name).cloned().unwrap_or_default();
            merge(&mut merged, value);
            merged
        });
        (name.clone(), merged)
    };
    let changes = patch.iter().map(changed).collect();
    map.set_all(changes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    fn patched(mut value: Value, operation: Value) -> Result<Value, Impossible> {
        let operation: PatchOperation = ironclad_json::from_value(operation).unwrap();
        apply(&mut value, &operation).map(|()| value)
    }

    #[test]
    fn operations_do_what_the_standard_says() {
        let before = json!({"a": [1, 2], "b": {"c/d": 1}});
        let table = [
            (json!({"op": "add", "path": "/a/1", "value": 9}), Some(json!({"a": [1, 9, 2], "b": {"c/d": 1}}))),
            (json!({"op": "add", "path": "/a/2", "value": 9}), Some(json!({"a": [1, 2, 9], "b": {"c/d": 1}}))),
            (json!({"op": "add", "path": "/a/3", "value": 9}), None),
            (json!({"op": "add", "path": "/x/y", "value": 9}), None),
            (json!({"op": "add", "path": "", "value": 9}), Some(json!(9))),
            (json!({"op": "remove", "path": "/b/c~1d"}), Some(json!({"a": [1, 2], "b": {}}))),
            (json!({"op": "remove", "path": "/a/2"}), None),
            (json!({"op": "remove", "path": "/a/01"}), None),
            (json!({"op": "remove", "path": "/a/-"}), None),
            (json!({"op": "replace", "path": "/a/0", "value": "x"}), Some(json!({"a": ["x", 2], "b": {"c/d": 1}}))),
            (json!({"op": "replace", "path": "/c", "value": 1}), None),
            (json!({"op": "move", "from": "/a/0", "path": "/a/1"}), Some(json!({"a": [2, 1], "b": {"c/d": 1}}))),
            (json!({"op": "move", "from": "/b", "path": "/b/x"}), None),
            (
                json!({"op": "copy", "from": "/a", "path": "/c"}),
                Some(json!({"a": [1, 2], "b": {"c/d": 1}, "c": [1, 2]})),
            ),
            (json!({"op": "test", "path": "/a", "value": [1, 2]}), Some(before.clone())),
            (json!({"op": "test", "path": "/a", "value": [1]}), None),
        ];
        for (operation, want) in table {
            assert_eq!(patched(before.clone(), operation.clone()).ok(), want, "{operation}");
        }
    }

    #[test]
    fn merge_patches_take_out_what_is_null() {
        let mut value = json!({"a": {"b": 1, "c": 2}, "d": [1]});
        merge(&mut value, &json!({"a": {"b": null, "x": {"y": null, "z": 1}}, "d": {"e": 1}}));
        assert_eq!(value, json!({"a": {"c": 2, "x": {"z": 1}}, "d": {"e": 1}}));
    }
}
