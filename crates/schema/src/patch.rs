//! The patches of the API: JSON patch (RFC 6902), merge patch (RFC 7386), strategic merge patch.

mod go;
mod operations;
mod strategic;
mod written;

pub(crate) use go::go_syntax;
pub use go::go_value;
pub use operations::{Broken, operations};
pub use written::{Plain, written};

use crate::bundle::{Bundle, TypeId};
use ironclad_api::shape::sort;
use ironclad_api::{ApiError, Reason};
use ironclad_json::Value;

/// Operations that one JSON patch may have.
const OPERATIONS: usize = 10_000;
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

/// 422 without a word on what is wrong, as stock answers.
fn unprocessable() -> ApiError {
    let error = ApiError::new(Reason::Invalid, "the server rejected our request due to an error in our request");
    ApiError { details: Some(Box::default()), ..error }
}

/// 400 for what stock cannot read as typed operations, in which it looks for unknown fields.
pub fn must_be_operations(patch: &Value) -> Result<(), ApiError> {
    let why = operations::misformed(patch, true).map(|why| format!("error decoding patch: {why}"));
    why.map_or(Ok(()), |why| Err(ApiError::bad_request(why)))
}

/// Why a value is not read as a list of operations, in Go's words.
pub fn misformed(patch: &Value) -> Option<String> {
    operations::misformed(patch, false)
}

/// Applies a JSON patch.
pub fn json(target: &mut Value, patch: &Value) -> Result<(), ApiError> {
    if let Some(why) = misformed(patch) {
        return Err(ApiError::bad_request(why));
    }
    if let Some(count) = patch.as_array().map(Vec::len).filter(|n| *n > OPERATIONS) {
        let message = format!(
            "Request entity too large: The allowed maximum operations in a JSON patch is {OPERATIONS}, got {count}"
        );
        return Err(ApiError::new(Reason::RequestEntityTooLarge, message));
    }
    // A test that fails is no mistake of form. Stock says no more than this either.
    operations(target, patch).map_err(|_| unprocessable())
}

/// Why a value is no map, which merge patches must be; null is an empty one.
pub fn must_be_map(patch: &Value) -> Result<(), String> {
    match patch {
        Value::Object(_) | Value::Null => Ok(()),
        other => {
            let kind = sort(other);
            Err(format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"))
        }
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
        assert_eq!(must_be_operations(&json!([{"op": 1}])).unwrap_err().code, 400);
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
        let syntax = r#"map[string]interface {}{"spec":map[string]interface {}{"a":true, "b":[]interface {}{1, "x", interface {}(nil)}}}"#;
        assert_eq!(go_syntax(&value), syntax);
    }
}
