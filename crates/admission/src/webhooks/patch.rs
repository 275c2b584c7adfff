//! JSON patches from webhooks, bounded in how many operations they have.

use ironclad_json::Value;
use ironclad_schema::patch;

pub(crate) use ironclad_schema::patch::operations as apply;

/// Most operations.
const MAX_OPERATIONS: usize = 10_000;

/// Reads a patch (RFC 6902).
pub(crate) fn read(sent: &[u8]) -> Result<Value, String> {
    let steps: Value = serde_json::from_slice(sent).map_err(|e| ironclad_schema::json::in_go(&e, sent))?;
    if let Some(why) = patch::misformed(&steps) {
        return Err(why);
    }
    match steps.as_array().map_or(0, Vec::len) {
        count if count > MAX_OPERATIONS => {
            Err(format!("the allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {count}"))
        }
        _ => Ok(steps),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    fn patched(operations: Value, mut object: Value) -> Result<Value, String> {
        let patch = read(operations.to_string().as_bytes())?;
        apply(&mut object, &patch).map_err(|broken| broken.why)?;
        Ok(object)
    }

    #[test]
    fn copies_that_grow_without_bound_are_refused() {
        let operations: Vec<Value> =
            (0..40).map(|i| json!({"op": "copy", "from": "/a", "path": format!("/a/{i}")})).collect();
        let why = patched(Value::Array(operations.into()), json!({"a": vec!["x".repeat(100); 100]})).unwrap_err();
        assert!(why.contains("exceeding the limit"), "{why}");
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
            (json!({"op": "test", "path": "/x", "value": 2}), "testing value /x failed: test failed"),
        ];
        for (operation, want) in table {
            assert_eq!(patched(json!([operation]), json!({"x": 1})).unwrap_err(), want);
        }
        assert!(read(b"{").is_err());
    }
}
