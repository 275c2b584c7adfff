//! The patches of the API: JSON patch (RFC 6902), merge patch (RFC 7386), strategic merge patch.

mod go;
mod operations;
mod strategic;

pub use go::go_value;

use crate::bundle::{Bundle, TypeId};
use ironclad_api::{ApiError, Reason};
use ironclad_json::Value;
use json_patch::PatchOperation;

/// Operations that one JSON patch may have.
const OPERATIONS: usize = 10_000;
/// Bytes that its copies may add: as many as a request may have.
const COPIED: usize = 3 << 20;

/// Why a patch is not applied, by what stock answers.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    /// 400: it has not the form of a patch.
    Form(String),
    /// 422: it cannot mean anything.
    Meaning(String),
    /// 500 with a message and without a reason.
    Other(String),
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Form(why) => Self::bad_request(why),
            // Stock does not tell why.
            Refused::Meaning(_) => unprocessable(),
            Refused::Other(why) => Self::new(Reason::Unknown, why),
        }
    }
}

fn unprocessable() -> ApiError {
    ApiError::new(Reason::Invalid, "the server rejected our request due to an error in our request")
}

/// Applies a JSON patch.
pub fn json(target: &mut Value, patch: &Value) -> Result<(), ApiError> {
    if let Some(count) = patch.as_array().map(Vec::len).filter(|n| *n > OPERATIONS) {
        let message = format!(
            "Request entity too large: The allowed maximum operations in a JSON patch is {OPERATIONS}, got {count}"
        );
        return Err(ApiError::new(Reason::RequestEntityTooLarge, message));
    }
    let patch: json_patch::Patch = ironclad_json::from_value(patch.clone())
        .map_err(|e| ApiError::bad_request(format!("error decoding patch: {e}")))?;
    let (mut changed, mut copied) = (target.clone(), 0);
    for operation in &patch.0 {
        if let PatchOperation::Copy(copy) = operation {
            // Copies of copies would grow without bounds.
            copied += changed.pointer(copy.from.as_str()).map_or(0, size);
            if copied > COPIED {
                return Err(unprocessable());
            }
        }
        // A test that fails is no mistake of form. Stock says no more than this either.
        self::operation(&mut changed, operation).map_err(|_| unprocessable())?;
    }
    *target = changed;
    Ok(())
}

/// Does one operation of a JSON patch; says why it cannot be done.
pub fn operation(target: &mut Value, operation: &PatchOperation) -> Result<(), &'static str> {
    operations::apply(target, operation).map_err(|operations::Impossible(why)| why)
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

/// Applies a merge patch.
pub fn merge(target: &mut Value, patch: &Value) -> Result<(), ApiError> {
    if !patch.is_object() {
        return Err(ApiError::bad_request("Invalid JSON Patch"));
    }
    operations::merge(target, patch);
    Ok(())
}

/// Applies a strategic merge patch to an object of type `id`.
pub fn strategic(bundle: &Bundle, id: TypeId, target: &Value, patch: &Value) -> Result<Value, ApiError> {
    Ok(strategic::strategic(bundle, id, target, patch)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    #[test]
    fn json_patches_change_or_fail_whole() {
        let mut value = json!({"a": [1, 2]});
        json(&mut value, &json!([{"op": "add", "path": "/a/-", "value": 3}])).unwrap();
        assert_eq!(value, json!({"a": [1, 2, 3]}));
        let error = json(&mut value, &json!([{"op": "test", "path": "/a/0", "value": 9}])).unwrap_err();
        assert_eq!(error.code, 422);
        assert_eq!(json(&mut value, &json!({"op": "add"})).unwrap_err().code, 400);
        let many: Value = (0..=OPERATIONS).map(|_| json!({"op": "remove", "path": "/a"})).collect();
        let error = json(&mut value, &many).unwrap_err();
        let want = "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001";
        assert_eq!((error.code, error.message.as_str()), (413, want));
    }

    #[test]
    fn copies_of_copies_are_bounded() {
        let mut value = json!({"a": ["x".repeat(1000)]});
        let bomb: Value = (0..40).map(|_| json!({"op": "copy", "from": "/a", "path": "/a/-"})).collect();
        assert_eq!(json(&mut value, &bomb).unwrap_err().code, 422);
        assert_eq!(value["a"].as_array().map(Vec::len), Some(1), "nothing was changed");
    }

    #[test]
    fn values_look_as_go_prints_them() {
        let value = json!({"spec": {"b": [1, "x", null], "a": true}});
        assert_eq!(go_value(&value), "map[spec:map[a:true b:[1 x <nil>]]]");
    }
}
