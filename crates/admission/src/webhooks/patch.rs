//! JSON patches from outside, bounded in how many operations they have and how much they copy; what is wrong with one is
//! said in the words of stock's library.

use ironclad_json::Value;
use ironclad_schema::patch;
use json_patch::{Patch, PatchOperation, jsonptr::PointerBuf};

/// Most operations.
const MAX_OPERATIONS: usize = 10_000;
/// Most bytes that `copy` operations may add.
const MAX_COPIED: usize = 3 << 20;

/// A patch that does not apply.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) why: String,
    /// It is only that a test does not hold.
    pub(crate) test: bool,
}

/// Reads a patch (RFC 6902).
pub(crate) fn read(patch: &[u8]) -> Result<Patch, String> {
    let patch: Patch = serde_json::from_slice(patch).map_err(|e| {
        let text = e.to_string();
        match text.strip_prefix("unknown variant `").and_then(|rest| rest.split_once('`')) {
            Some((kind, _)) => format!("Unexpected kind: {kind}"),
            None if e.is_eof() => "unexpected end of JSON input".to_owned(),
            None => text,
        }
    })?;
    match patch.0.len() > MAX_OPERATIONS {
        true => {
            Err(format!("the allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}", patch.0.len()))
        }
        false => Ok(patch),
    }
}

/// Applies a patch to an object, which is left as it is where the patch does not apply.
pub(crate) fn apply(steps: &Patch, object: &mut Value) -> Result<(), Broken> {
    let (mut changed, mut copied) = (object.clone(), 0);
    for operation in &steps.0 {
        if let PatchOperation::Copy(copy) = operation {
            copied += changed.pointer(copy.from.as_str()).map_or(0, |v| v.to_string().len());
            if copied > MAX_COPIED {
                let why = format!("unable to copy, accumulated copy size exceeds the limit {MAX_COPIED}");
                return Err(Broken { why, test: false });
            }
        }
        if patch::operation(&mut changed, operation).is_err() {
            let test = matches!(operation, PatchOperation::Test(_));
            return Err(Broken { why: reason_of(operation, &changed), test });
        }
    }
    *object = changed;
    Ok(())
}

/// Why an operation does not apply.
fn reason_of(operation: &PatchOperation, object: &Value) -> String {
    let parent = |path: &PointerBuf| path.parent().is_some_and(|p| object.pointer(p.as_str()).is_some());
    let name = |path: &PointerBuf| path.back().map(|t| t.decoded().into_owned()).unwrap_or_default();
    match operation {
        PatchOperation::Add(o) => {
            format!("add operation does not apply: doc is missing path: {:?}: missing value", o.path.as_str())
        }
        PatchOperation::Remove(o) if parent(&o.path) => format!(
            "error in remove for path: '{}': Unable to remove nonexistent key: {}: missing value",
            o.path,
            name(&o.path)
        ),
        PatchOperation::Remove(o) => {
            format!("remove operation does not apply: doc is missing path: {:?}: missing value", o.path.as_str())
        }
        PatchOperation::Replace(o) if parent(&o.path) => {
            format!("replace operation does not apply: doc is missing key: {}: missing value", o.path)
        }
        PatchOperation::Replace(o) => {
            format!("replace operation does not apply: doc is missing path: {}: missing value", o.path)
        }
        PatchOperation::Move(o) => {
            format!("move operation does not apply: doc is missing from path: {}: missing value", o.from)
        }
        PatchOperation::Copy(o) => {
            format!("copy operation does not apply: doc is missing from path: {}: missing value", o.from)
        }
        PatchOperation::Test(o) => format!("testing value {} failed: test failed", o.path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    fn patched(operations: Value, mut object: Value) -> Result<Value, String> {
        let patch = read(operations.to_string().as_bytes())?;
        apply(&patch, &mut object).map_err(|broken| broken.why)?;
        Ok(object)
    }

    #[test]
    fn copies_that_grow_without_bound_are_refused() {
        let operations: Vec<Value> =
            (0..40).map(|i| json!({"op": "copy", "from": "/a", "path": format!("/a/{i}")})).collect();
        let why = patched(Value::Array(operations.into()), json!({"a": vec!["x".repeat(100); 100]})).unwrap_err();
        assert!(why.contains("accumulated copy size exceeds the limit"), "{why}");
    }

    #[test]
    fn a_patch_changes_what_it_names_or_says_why_not() {
        let add = json!([{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}]);
        assert_eq!(patched(add, json!({"metadata": {}})).unwrap(), json!({"metadata": {"labels": {"a": "b"}}}));
        let table = [
            (
                json!({"op": "add", "path": "/a/b", "value": 1}),
                "add operation does not apply: doc is missing path: \"/a/b\": missing value",
            ),
            (
                json!({"op": "remove", "path": "/no"}),
                "error in remove for path: '/no': Unable to remove nonexistent key: no: missing value",
            ),
            (
                json!({"op": "replace", "path": "/no", "value": 1}),
                "replace operation does not apply: doc is missing key: /no: missing value",
            ),
            (json!({"op": "test", "path": "/x", "value": 2}), "testing value /x failed: test failed"),
        ];
        for (operation, want) in table {
            assert_eq!(patched(json!([operation]), json!({"x": 1})).unwrap_err(), want);
        }
        assert!(read(b"{").is_err());
    }
}
