//! `AdmissionReview`: the question to a webhook, and its answer checked and taken apart.

use crate::Request;
use crate::expressions::request_value;
use ironclad_api::{ApiError, Cause, GroupVersionKind, GroupVersionResource, Reason, object};
use ironclad_json::{Value, json};

/// What a webhook answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) allowed: bool,
    /// Why not.
    pub(crate) status: Value,
    /// RFC 6902, decoded.
    pub(crate) patch: Option<Vec<u8>>,
    /// What the patch is said to be.
    pub(crate) patch_type: String,
    pub(crate) warnings: Vec<String>,
    pub(crate) annotations: Vec<(String, String)>,
}

/// The question, with the objects in the version that the webhook asked for.
pub(crate) fn question(
    version: &str,
    uid: &str,
    request: &Request,
    seen: (&GroupVersionResource, &GroupVersionKind),
    object: Value,
    old: Value,
) -> Value {
    let mut asked = request_value(request, seen.0, seen.1);
    asked["uid"] = json!(uid);
    asked["object"] = object;
    asked["oldObject"] = old;
    json!({"kind": "AdmissionReview", "apiVersion": format!("admission.k8s.io/{version}"), "request": asked})
}

/// Checks an answer; the error says what is wrong with it.
pub(crate) fn answer(mut review: Value, version: &str, uid: &str, mutating: bool) -> Result<Reply, String> {
    let expected = format!("admission.k8s.io/{version}, Kind=AdmissionReview");
    let sent = object::text(&review, &["apiVersion"]).to_owned();
    // As Go shows a kind: the slash stands there whatever is before it.
    let slash = if sent.contains('/') { "" } else { "/" };
    let kind = format!("{slash}{sent}, Kind={}", object::text(&review, &["kind"]));
    let response = review["response"].take();
    if !response.is_object() {
        return Err("webhook response was absent".to_owned());
    }
    let given = object::text(&response, &["uid"]);
    if given != uid && version == "v1" {
        return Err(format!("expected response.uid={uid:?}, got {given:?}"));
    }
    if version == "v1" && kind != expected {
        return Err(format!("expected webhook response of {expected}, got {kind}"));
    }
    let patch = match (mutating, version) {
        (true, _) => patch(&response, version)?,
        (false, "v1") if !object::text(&response, &["patch"]).is_empty() => {
            return Err("validating webhook may not return response.patch".to_owned());
        }
        (false, "v1") if response["patchType"].is_string() => {
            return Err("validating webhook may not return response.patchType".to_owned());
        }
        (false, _) => None,
    };
    let texts = |v: &Value| v.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    let notes = response["auditAnnotations"].as_object().into_iter().flatten();
    Ok(Reply {
        allowed: response["allowed"] == true,
        status: response["status"].clone(),
        patch,
        patch_type: match version {
            "v1" => object::text(&response, &["patchType"]).to_owned(),
            _ => "JSONPatch".to_owned(),
        },
        warnings: texts(&response["warnings"]),
        annotations: notes.filter_map(|(k, v)| Some((k.to_string(), v.as_str()?.to_owned()))).collect(),
    })
}

fn patch(response: &Value, version: &str) -> Result<Option<Vec<u8>>, String> {
    use base64::Engine;
    let encoded = object::text(response, &["patch"]);
    let kind = object::text(response, &["patchType"]);
    if encoded.is_empty() {
        return if version == "v1beta1" || response["patchType"].is_null() {
            Ok(None)
        } else {
            Err("webhook returned response.patchType but not response.patch".into())
        };
    }
    match kind {
        // The old version takes every patch for what it has to be.
        _ if version == "v1beta1" => {}
        "" if response["patchType"].is_string() => {
            return Err("webhook returned invalid response.patchType of \"\"".to_owned());
        }
        "" => return Err("webhook returned response.patch but not response.patchType".to_owned()),
        _ => {}
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded);
    decoded.map(Some).map_err(|e| format!("illegal base64 data in response.patch: {e}"))
}

/// The refusal of a webhook as the client sees it.
pub(crate) fn denial(webhook: &str, status: &Value) -> ApiError {
    let by = format!("admission webhook {webhook:?} denied the request");
    let (message, reason) = (object::text(status, &["message"]), object::text(status, &["reason"]));
    let text = match (message, reason) {
        ("", "") => format!("{by} without explanation"),
        ("", reason) => format!("{by}: {reason}"),
        (message, _) => format!("{by}: {message}"),
    };
    let mut error = ApiError::new(named(reason), text);
    error.code =
        status["code"].as_u64().and_then(|c| u16::try_from(c).ok()).filter(|c| (400..1000).contains(c)).unwrap_or(400);
    let details = &status["details"];
    if error.reason == Reason::Unknown && !reason.is_empty() {
        reason.clone_into(&mut error.details.get_or_insert_default().reason);
    }
    if details.is_object() {
        let of = |field: &str| object::text(details, &[field]).to_owned();
        let told = error.details.get_or_insert_default();
        (told.name, told.group, told.kind, told.uid) = (of("name"), of("group"), of("kind"), of("uid"));
    }
    for cause in details["causes"].as_array().into_iter().flatten() {
        let of = |f: &str| object::text(cause, &[f]).to_owned();
        let cause = Cause { reason: of("reason"), message: of("message"), field: of("field") };
        error.details.get_or_insert_default().causes.push(cause);
    }
    if let Some(after) = details["retryAfterSeconds"].as_u64() {
        error.details.get_or_insert_default().retry_after_seconds = u32::try_from(after).unwrap_or(0);
    }
    error
}

/// A reason by its name; one that nobody knows is none.
pub(crate) fn named(reason: &str) -> Reason {
    const ALL: [Reason; 19] = [
        Reason::Unauthorized,
        Reason::Forbidden,
        Reason::NotFound,
        Reason::AlreadyExists,
        Reason::Conflict,
        Reason::Gone,
        Reason::Invalid,
        Reason::ServerTimeout,
        Reason::StoreReadError,
        Reason::Timeout,
        Reason::TooManyRequests,
        Reason::BadRequest,
        Reason::MethodNotAllowed,
        Reason::NotAcceptable,
        Reason::RequestEntityTooLarge,
        Reason::UnsupportedMediaType,
        Reason::InternalError,
        Reason::Expired,
        Reason::ServiceUnavailable,
    ];
    ALL.into_iter().find(|r| r.as_str() == reason).unwrap_or(Reason::Unknown)
}
