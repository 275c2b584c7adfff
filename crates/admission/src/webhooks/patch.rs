//! JSON patches from outside, bounded in how many operations they have and how much they copy.

use ironclad_json::Value;
use ironclad_schema::patch::operation;
use json_patch::{Patch, PatchOperation};

/// Most operations.
const MAX_OPERATIONS: usize = 10_000;
/// Most bytes that `copy` operations may add.
const MAX_COPIED: usize = 3 << 20;

/// Applies a patch (RFC 6902) to an object.
pub(crate) fn apply(patch: &[u8], object: &mut Value) -> Result<(), String> {
    let patch: Patch = serde_json::from_slice(patch).map_err(|e| e.to_string())?;
    if patch.0.len() > MAX_OPERATIONS {
        return Err(format!(
            "the allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            patch.0.len()
        ));
    }
    let mut copied = 0;
    for (index, step) in patch.0.iter().enumerate() {
        if let PatchOperation::Copy(copy) = step {
            copied += object.pointer(copy.from.as_str()).map_or(0, |v| v.to_string().len());
            if copied > MAX_COPIED {
                return Err(format!("unable to copy, accumulated copy size exceeds the limit {MAX_COPIED}"));
            }
        }
        operation(object, step)
            .map_err(|why| format!("operation '/{index}' failed at path '{}': {why}", step.path()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    #[test]
    fn copies_that_grow_without_bound_are_refused() {
        let mut object = json!({"a": vec!["x".repeat(100); 100]});
        let operations: Vec<Value> =
            (0..40).map(|i| json!({"op": "copy", "from": "/a", "path": format!("/a/{i}")})).collect();
        let why = apply(Value::Array(operations.into()).to_string().as_bytes(), &mut object).unwrap_err();
        assert!(why.contains("accumulated copy size exceeds the limit"), "{why}");
    }

    #[test]
    fn a_patch_changes_what_it_names() {
        let mut object = json!({"metadata": {}});
        let patch = br#"[{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}]"#;
        apply(patch, &mut object).unwrap();
        assert_eq!(object, json!({"metadata": {"labels": {"a": "b"}}}));
        assert!(apply(b"{", &mut object).is_err());
        assert!(apply(br#"[{"op": "remove", "path": "/nope"}]"#, &mut object).is_err());
    }
}
