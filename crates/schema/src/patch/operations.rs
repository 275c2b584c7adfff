//! JSON patch (RFC 6902) as stock's library does it. That takes more than the standard: what an object lacks counts as
//! null, indexes may be negative or have leading zeros, and a path's first token is not looked at.

use ironclad_api::shape::sort;
use ironclad_json::{List, Map, Text, Value};

/// Why an operation cannot be done, in the words of stock's library.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken {
    /// What a person reads.
    pub why: String,
    /// It is only that a test does not hold.
    pub test: bool,
}

/// Bytes that the copies of a patch may add: as many as a request may have.
const COPIED: usize = 3 << 20;

/// Does all operations of a patch that has the form of one; a broken one changes nothing.
pub fn operations(target: &mut Value, patch: &Value) -> Result<(), Broken> {
    let (mut changed, mut copied) = (target.clone(), 0);
    for operation in patch.as_array().into_iter().flatten() {
        let step = Step { operation };
        let name = step.text("op").unwrap_or("unknown");
        let done = match name {
            "add" => step.add(&mut changed),
            "remove" => step.remove(&mut changed),
            "replace" => step.replace(&mut changed),
            "move" => step.move_value(&mut changed),
            "copy" => step.copy(&mut changed, &mut copied),
            "test" => step.test(&changed),
            other => Err(format!("Unexpected kind: {other}")),
        };
        done.map_err(|why| Broken { test: name == "test" && why.ends_with("test failed"), why })?;
    }
    *target = changed;
    Ok(())
}

struct Step<'a> {
    operation: &'a Value,
}

type Done = Result<(), String>;

impl Step<'_> {
    fn text(&self, name: &str) -> Option<&str> {
        self.operation.get(name).and_then(Value::as_str)
    }

    fn path(&self, what: &str) -> Result<&str, String> {
        self.text("path").ok_or_else(|| format!("{what} operation failed to decode path: missing value"))
    }

    fn from(&self, what: &str) -> Result<&str, String> {
        let why = || match self.operation.get("from") {
            Some(other) if !other.is_null() => {
                format!("json: cannot unmarshal {} into Go value of type string", sort(other))
            }
            _ => "operation, missing from field: missing value".to_owned(),
        };
        self.text("from").ok_or_else(|| format!("{what} operation failed to decode from: {}", why()))
    }

    fn value(&self) -> Value {
        self.operation.get("value").cloned().unwrap_or_default()
    }

    fn add(&self, target: &mut Value) -> Done {
        let path = self.path("add")?;
        let missing = || format!("add operation does not apply: doc is missing path: {path:?}: missing value");
        let (container, key) = find_mut(target, path).ok_or_else(missing)?;
        add(container, key, self.value()).map_err(|why| format!("error in add for path: '{path}': {why}"))
    }

    fn remove(&self, target: &mut Value) -> Done {
        let path = self.path("remove")?;
        let missing = || format!("remove operation does not apply: doc is missing path: {path:?}: missing value");
        let (container, key) = find_mut(target, path).ok_or_else(missing)?;
        remove(container, &key).map(drop).map_err(|why| format!("error in remove for path: '{path}': {why}"))
    }

    fn replace(&self, target: &mut Value) -> Done {
        let path = self.path("replace")?;
        if path.is_empty() {
            return match self.value() {
                value @ (Value::Object(_) | Value::Array(_)) => {
                    *target = value;
                    Ok(())
                }
                _ => Err("replace operation value must be object or array: %!w(<nil>)".to_owned()),
            };
        }
        let missing =
            |what: &str| format!("replace operation does not apply: doc is missing {what}: {path}: missing value");
        let (container, key) = find_mut(target, path).ok_or_else(|| missing("path"))?;
        match container {
            Value::Array(list) => {
                let place = existing(list, &key).map_err(|_| missing("key"))?;
                list[place] = self.value();
            }
            Value::Object(map) => drop(map.insert(key, self.value())),
            _ => return Err(missing("path")),
        }
        Ok(())
    }

    fn move_value(&self, target: &mut Value) -> Done {
        let from = self.from("move")?;
        let missing = |what: &str, path: &str| {
            format!("move operation does not apply: doc is missing {what}: {path}: missing value")
        };
        let (container, key) = find_mut(target, from).ok_or_else(|| missing("from path", from))?;
        let value = remove(container, &key).map_err(|why| format!("error in move for path: '{key}': {why}"))?;
        let path = self.path("move")?;
        let (container, key) = find_mut(target, path).ok_or_else(|| missing("destination path", path))?;
        add(container, key, value).map_err(|why| format!("error in move for path: '{path}': {why}"))
    }

    fn copy(&self, target: &mut Value, copied: &mut usize) -> Done {
        let from = self.from("copy")?;
        let missing = |what: &str, path: &str| {
            format!("copy operation does not apply: doc is missing {what}: {path}: missing value")
        };
        let (container, key) = find(target, from).ok_or_else(|| missing("from path", from))?;
        let value = get(container, &key).map_err(|why| format!("error in copy for from: '{from}': {why}"))?.clone();
        let path = self.path("copy")?;
        *copied += if value.is_null() { 0 } else { size(&value) };
        let (container, key) = find_mut(target, path).ok_or_else(|| missing("destination path", path))?;
        if *copied > COPIED {
            return Err(format!(
                "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {COPIED}"
            ));
        }
        add(container, key, value).map_err(|why| format!("error while adding value during copy: {why}"))
    }

    fn test(&self, target: &Value) -> Done {
        let path = self.path("test")?;
        let there = if path.is_empty() {
            target
        } else {
            let missing = || format!("test operation does not apply: is missing path: {path}: missing value");
            let (container, key) = find(target, path).ok_or_else(missing)?;
            get(container, &key).map_err(|why| format!("error in test for path: '{path}': {why}"))?
        };
        if *there == self.value() { Ok(()) } else { Err(format!("testing value {path} failed: test failed")) }
    }
}

/// The tokens on the way to what a path stands in, and its last one.
pub(super) fn tokens(path: &str) -> Option<(Vec<Text>, Text)> {
    let decoded = |token: &str| Text::from(token.replace("~1", "/").replace("~0", "~"));
    let mut tokens: Vec<Text> = path.split('/').skip(1).map(decoded).collect();
    let last = tokens.pop()?;
    Some((tokens, last))
}

/// What the value at a path stands in, and under which key.
fn find<'v>(target: &'v Value, path: &str) -> Option<(&'v Value, Text)> {
    let (way, last) = tokens(path)?;
    let container = way.iter().try_fold(target, |value, token| get(value, token).ok())?;
    (container.is_object() || container.is_array()).then_some((container, last))
}

fn find_mut<'v>(target: &'v mut Value, path: &str) -> Option<(&'v mut Value, Text)> {
    let (way, last) = tokens(path)?;
    let container = way.iter().try_fold(target, |value, token| match value {
        Value::Object(map) => map.get_mut(token),
        Value::Array(list) => {
            let place = existing(list, token).ok()?;
            list.get_mut(place)
        }
        _ => None,
    })?;
    (container.is_object() || container.is_array()).then_some((container, last))
}

/// What a container holds; null for what an object lacks.
fn get<'v>(container: &'v Value, key: &str) -> Result<&'v Value, String> {
    const NOTHING: &Value = &Value::Null;
    match container {
        Value::Object(map) => Ok(map.get(key).unwrap_or(NOTHING)),
        Value::Array(list) => existing(list, key).map(|place| &list[place]),
        _ => Err("unknown object type".to_owned()),
    }
}

fn add(container: &mut Value, key: Text, value: Value) -> Done {
    match container {
        Value::Object(map) => drop(map.insert(key, value)),
        Value::Array(list) if key == "-" => list.push(value),
        Value::Array(list) => {
            let why = |why: String| if why.starts_with("strconv") { not_index(&key, &why) } else { why };
            let place = index(&key, list.len() + 1).map_err(why)?;
            list.insert(place, value);
        }
        _ => return Err("unknown object type".to_owned()),
    }
    Ok(())
}

fn not_index(key: &str, why: &str) -> String {
    format!("value was not a proper array index: '{key}': {why}")
}

fn remove(container: &mut Value, key: &str) -> Result<Value, String> {
    match container {
        Value::Object(map) => {
            map.remove(key).ok_or_else(|| format!("Unable to remove nonexistent key: {key}: missing value"))
        }
        Value::Array(list) => existing(list, key).map(|place| list.remove(place)),
        _ => Err("unknown object type".to_owned()),
    }
}

fn existing(list: &List, key: &str) -> Result<usize, String> {
    index(key, list.len())
}

/// An index below `bound`; a negative one counts from there.
fn index(key: &str, bound: usize) -> Result<usize, String> {
    let number: i64 =
        key.parse().map_err(|_| format!("strconv.Atoi: parsing {}: invalid syntax", ironclad_api::go_quote(key)))?;
    let bound = i64::try_from(bound).unwrap_or(i64::MAX);
    let place = if number < 0 { number.saturating_add(bound) } else { number };
    usize::try_from(place)
        .ok()
        .filter(|_| place < bound)
        .ok_or_else(|| format!("Unable to access invalid index: {number}: invalid index referenced"))
}

/// About how many bytes a value has.
fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(|i| size(i) + 1).sum::<usize>() + 2,
        Value::Object(map) => map.iter().map(|(k, v)| k.len() + size(v) + 4).sum::<usize>() + 2,
        _ => 5,
    }
}

/// Why a value is not read as operations, in Go's words; `typed` where it is read as stock reads it to look for unknown
/// fields.
pub(super) fn misformed(patch: &Value, typed: bool) -> Option<String> {
    let (list, item) = if typed {
        ("[]handlers.jsonPatchOp", "handlers.jsonPatchOp")
    } else {
        ("jsonpatch.Patch", "jsonpatch.Operation")
    };
    let wrong = |value: &Value, want: &str| match value {
        Value::Null => None,
        other => Some(format!("json: cannot unmarshal {} into Go {want}", sort(other))),
    };
    let Value::Array(operations) = patch else { return wrong(patch, &format!("value of type {list}")) };
    operations.iter().find_map(|operation| {
        let Value::Object(fields) = operation else { return wrong(operation, &format!("value of type {item}")) };
        let text = |name: &&str| {
            let value = fields.get(name).filter(|v| typed && !v.is_string())?;
            wrong(value, &format!("struct field jsonPatchOp.{name} of type string"))
        };
        ["op", "path", "from"].iter().find_map(text)
    })
}

/// Lays a merge patch (RFC 7386) over a value.
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(map) = target else { return };
    let changed = |(name, value): (&Text, &Value)| {
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

    #[test]
    fn operations_do_what_stock_does() {
        let before = json!({"a": [1, 2], "b": {"c/d": 1}});
        let with = |name: &str, value: Value| {
            let mut changed = before.clone();
            changed[name] = value;
            Ok(changed)
        };
        let refused = |why: &str| Err(why.to_owned());
        let table = [
            (json!({"op": "add", "path": "/a/1", "value": 9}), with("a", json!([1, 9, 2]))),
            (json!({"op": "add", "path": "/a/2", "value": 9}), with("a", json!([1, 2, 9]))),
            (json!({"op": "add", "path": "/a/-1", "value": 9}), with("a", json!([1, 2, 9]))),
            (
                json!({"op": "add", "path": "/a/4", "value": 9}),
                refused("error in add for path: '/a/4': Unable to access invalid index: 4: invalid index referenced"),
            ),
            (
                json!({"op": "add", "path": "/x/y", "value": 9}),
                refused("add operation does not apply: doc is missing path: \"/x/y\": missing value"),
            ),
            (json!({"op": "add", "path": "x/e"}), with("e", json!(null))),
            (
                json!({"op": "add", "path": "", "value": {}}),
                refused("add operation does not apply: doc is missing path: \"\": missing value"),
            ),
            (json!({"op": "remove", "path": "/b/c~1d"}), with("b", json!({}))),
            (json!({"op": "remove", "path": "/a/01"}), with("a", json!([1]))),
            (json!({"op": "remove", "path": "/a/-2"}), with("a", json!([2]))),
            (
                json!({"op": "remove", "path": "/a/-"}),
                refused("error in remove for path: '/a/-': strconv.Atoi: parsing \"-\": invalid syntax"),
            ),
            (
                json!({"op": "remove", "path": "/no"}),
                refused("error in remove for path: '/no': Unable to remove nonexistent key: no: missing value"),
            ),
            (json!({"op": "replace", "path": "/a/0", "value": "x"}), with("a", json!(["x", 2]))),
            (json!({"op": "replace", "path": "/c", "value": 1}), with("c", json!(1))),
            (json!({"op": "replace", "path": "", "value": [1]}), Ok(json!([1]))),
            (json!({"op": "move", "from": "/a/0", "path": "/a/1"}), with("a", json!([2, 1]))),
            (
                json!({"op": "move", "from": "/b", "path": "/b/x"}),
                refused("move operation does not apply: doc is missing destination path: /b/x: missing value"),
            ),
            (json!({"op": "copy", "from": "/a", "path": "/c"}), with("c", json!([1, 2]))),
            (json!({"op": "copy", "from": "/no", "path": "/c"}), with("c", json!(null))),
            (json!({"op": "test", "path": "/a", "value": [1, 2]}), Ok(before.clone())),
            (json!({"op": "test", "path": "/no", "value": null}), Ok(before.clone())),
            (json!({"op": "test", "path": "/a", "value": [1]}), refused("testing value /a failed: test failed")),
            (
                json!({"op": "copy", "path": "/c"}),
                refused("copy operation failed to decode from: operation, missing from field: missing value"),
            ),
            (json!({"op": "ADD", "path": "/c"}), refused("Unexpected kind: ADD")),
            (json!(null), refused("Unexpected kind: unknown")),
        ];
        for (operation, want) in table {
            let mut value = before.clone();
            let done = operations(&mut value, &json!([operation.clone()]));
            assert_eq!(done.map(|()| value).map_err(|broken| broken.why), want, "{operation}");
        }
    }

    #[test]
    fn what_is_no_patch_is_told_in_the_words_of_go() {
        let table = [
            (json!({}), true, Some("json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp")),
            (json!({}), false, Some("json: cannot unmarshal object into Go value of type jsonpatch.Patch")),
            (json!([1]), true, Some("json: cannot unmarshal number into Go value of type handlers.jsonPatchOp")),
            (
                json!([{"op": "add", "path": 1}]),
                true,
                Some("json: cannot unmarshal number into Go struct field jsonPatchOp.path of type string"),
            ),
            (json!([{"op": "add", "path": 1}]), false, None),
            (json!([null]), true, None),
            (json!(null), true, None),
        ];
        for (patch, typed, want) in table {
            assert_eq!(misformed(&patch, typed).as_deref(), want, "{patch}");
        }
    }

    #[test]
    fn merge_patches_take_out_what_is_null() {
        let mut value = json!({"a": {"b": 1, "c": 2}, "d": [1]});
        merge(&mut value, &json!({"a": {"b": null, "x": {"y": null, "z": 1}}, "d": {"e": 1}}));
        assert_eq!(value, json!({"a": {"c": 2, "x": {"z": 1}}, "d": {"e": 1}}));
    }
}
