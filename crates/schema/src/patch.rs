//! The patches of the API: JSON patch (RFC 6902), merge patch (RFC 7386), strategic merge patch.

mod strategic;

pub use strategic::strategic;

use ironclad_api::{ApiError, Reason};
use serde_json::Value;

/// Operations that one JSON patch may have.
const OPERATIONS: usize = 10_000;

fn invalid(message: String) -> ApiError {
    ApiError { code: 422, ..ApiError::new(Reason::Invalid, message) }
}

/// Applies a JSON patch.
pub fn json(target: &mut Value, patch: &Value) -> Result<(), ApiError> {
    if let Some(count) = patch.as_array().map(Vec::len).filter(|n| *n > OPERATIONS) {
        let message = format!("The allowed maximum operations in a JSON patch is {OPERATIONS}, got {count}");
        return Err(ApiError::new(Reason::RequestEntityTooLarge, message));
    }
    let patch: json_patch::Patch = serde_json::from_value(patch.clone())
        .map_err(|e| ApiError::bad_request(format!("error decoding patch: {e}")))?;
    // A test that fails is no mistake of form. Stock says no more than this either.
    json_patch::patch(target, &patch)
        .map_err(|_| invalid("the server rejected our request due to an error in our request".to_owned()))
}

/// Applies a merge patch.
pub fn merge(target: &mut Value, patch: &Value) {
    json_patch::merge(target, patch);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_patches_change_or_fail_whole() {
        let mut value = json!({"a": [1, 2]});
        json(&mut value, &json!([{"op": "add", "path": "/a/-", "value": 3}])).unwrap();
        assert_eq!(value, json!({"a": [1, 2, 3]}));
        let error = json(&mut value, &json!([{"op": "test", "path": "/a/0", "value": 9}])).unwrap_err();
        assert_eq!(error.code, 422);
        assert_eq!(json(&mut value, &json!({"op": "add"})).unwrap_err().code, 400);
    }
}
