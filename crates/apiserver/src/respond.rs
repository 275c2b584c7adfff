//! Answers: objects, lists, errors as `Status`, in the form that the client accepts.

use crate::{Body, body};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use ironclad_api::ApiError;
use serde_json::Value;

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
const YAML: HeaderValue = HeaderValue::from_static("application/yaml");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// In which form a client wants objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// As they are.
    Object,
    /// As a `Table`.
    Table,
    /// Only their metadata.
    Partial,
}

/// What a client accepts, the best of what is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) view: View,
    pub(crate) yaml: bool,
}

impl Accepted {
    /// The first of the accepted media types that can be served.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let text = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("*/*");
        for part in text.split(',') {
            let mut fields = part.split(';').map(str::trim);
            let media = fields.next().unwrap_or_default();
            let parameter = |name: &str| {
                part.split(';').filter_map(|p| p.trim().split_once('=')).find(|p| p.0 == name).map(|p| p.1)
            };
            let yaml = media == "application/yaml";
            if !yaml && !matches!(media, "application/json" | "*/*" | "application/*" | "") {
                continue;
            }
            let view = match parameter("as") {
                None => View::Object,
                Some("Table") => View::Table,
                Some("PartialObjectMetadata" | "PartialObjectMetadataList") => View::Partial,
                Some(_) => continue,
            };
            return Ok(Self { view, yaml });
        }
        let message = "only the following media types are accepted: application/json, application/yaml";
        Err(ApiError::new(ironclad_api::Reason::NotAcceptable, message))
    }
}

fn response(code: StatusCode, kind: HeaderValue, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response.headers_mut().insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// An answer of bytes of a media type.
pub(crate) fn kind(code: StatusCode, kind: HeaderValue, bytes: impl Into<Bytes>) -> Response<Body> {
    response(code, kind, body::full(bytes))
}

/// An answer of JSON bytes that are there already.
pub(crate) fn bytes(code: StatusCode, bytes: impl Into<Bytes>) -> Response<Body> {
    response(code, JSON, body::full(bytes))
}

/// An answer of JSON pieces that are there already.
pub(crate) fn pieces(pieces: Vec<Bytes>) -> Response<Body> {
    response(StatusCode::OK, JSON, body::chain(pieces))
}

/// An answer of one value.
pub(crate) fn value(code: StatusCode, value: &Value) -> Response<Body> {
    bytes(code, value.to_string())
}

/// An answer of text.
pub(crate) fn text(code: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    response(code, TEXT, body::full(text))
}

/// An answer that goes on.
pub(crate) fn stream(kind: &'static str, body: Body) -> Response<Body> {
    response(StatusCode::OK, HeaderValue::from_static(kind), body)
}

/// A value as YAML.
pub(crate) fn yaml(code: StatusCode, value: &Value) -> Response<Body> {
    let text = serde_saphyr::to_string(value).unwrap_or_default();
    response(code, YAML, body::full(text))
}

/// An error as `Status`.
pub(crate) fn error(error: &ApiError) -> Response<Body> {
    let code = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = value(code, &error.to_status());
    let seconds = error.details.as_ref().map_or(0, |d| d.retry_after_seconds);
    if seconds > 0
        && let Ok(value) = HeaderValue::from_str(&seconds.to_string())
    {
        response.headers_mut().insert(http::header::RETRY_AFTER, value);
    }
    response
}

/// Adds a warning for the person at the terminal.
pub(crate) fn warn(response: &mut Response<Body>, warning: &str) {
    let escaped = warning.replace('\\', "\\\\").replace('"', "\\\"").replace(['\n', '\r'], " ");
    if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{escaped}\"")) {
        response.headers_mut().append("warning", value);
    }
}
