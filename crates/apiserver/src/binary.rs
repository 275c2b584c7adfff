//! Bodies in CBOR, behind its feature gate: read once, where they come in, and JSON from then on.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use ironclad_api::{ApiError, Reason};
use ironclad_schema::cbor;

const CBOR: &str = "application/cbor";
const APPLY: &str = "application/apply-patch+cbor";

/// The headers and the body of a request in a form that everything else knows.
pub(crate) fn incoming(headers: &HeaderMap, bytes: Bytes) -> Result<(HeaderMap, Bytes), ApiError> {
    let kind = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let becomes = match kind.split(';').next().unwrap_or_default().trim() {
        CBOR => "application/json",
        APPLY => "application/apply-patch+yaml",
        _ => return Ok((headers.clone(), bytes)),
    };
    let mut headers = headers.clone();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(becomes));
    if bytes.is_empty() {
        return Ok((headers, bytes));
    }
    let value = cbor::decode(&bytes).map_err(|why| ApiError::bad_request(format!("error decoding CBOR: {why}")))?;
    Ok((headers, value.to_string().into()))
}

/// An error that lists what is accepted, with CBOR among it.
pub(crate) fn told(mut error: ApiError) -> ApiError {
    if error.reason == Reason::UnsupportedMediaType && error.message.contains("application/") {
        let patch = error.message.contains("apply-patch+yaml");
        error.message.push_str(", ");
        error.message.push_str(if patch { APPLY } else { CBOR });
    }
    error
}
