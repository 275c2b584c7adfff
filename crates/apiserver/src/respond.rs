//! Answers: objects, lists, errors as `Status`, in the form that the client accepts.

use crate::accept::{Accepted, Media};
use crate::{Body, body, encode, pretty};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use ironclad_api::{ApiError, Reason, object};
use ironclad_json::Value;
use ironclad_schema::{bundle, cbor, proto};

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
const YAML: HeaderValue = HeaderValue::from_static("application/yaml");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

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

/// An answer of pieces that are there already.
pub(crate) fn pieces(media: Media, pieces: Vec<Bytes>) -> Response<Body> {
    response(StatusCode::OK, HeaderValue::from_static(media.name()), body::chain(pieces))
}

/// An object that is there already as JSON.
pub(crate) fn object(code: StatusCode, bytes: Bytes) -> Response<Body> {
    response(code, JSON, body::chain(vec![bytes, Bytes::from_static(b"\n")]))
}

/// An answer of one value as JSON.
pub(crate) fn value(code: StatusCode, value: &Value) -> Response<Body> {
    bytes(code, value.to_string())
}

/// An answer of one value in the form that the client accepts.
pub(crate) fn encoded(code: StatusCode, accepted: Accepted, object: &Value) -> Response<Body> {
    match accepted.media {
        Media::Json if accepted.pretty => bytes(code, pretty::indent(&encode::ordered(object))),
        Media::Json => self::object(code, encode::ordered(object).into()),
        Media::Yaml => yaml(code, object),
        Media::Cbor => match cbor::encode(bundle(), object) {
            Ok(bytes) => kind(code, HeaderValue::from_static(Media::Cbor.name()), bytes),
            Err(why) => error(&ApiError::internal(why), Accepted::JSON),
        },
        Media::Protobuf => match proto::encode(bundle(), object) {
            Some(Ok(bytes)) => kind(code, HeaderValue::from_static(Media::Protobuf.name()), bytes),
            Some(Err(why)) => error(&ApiError::internal(why), Accepted::JSON),
            None => error(&no_protobuf(object), Accepted::JSON),
        },
    }
}

fn no_protobuf(object: &Value) -> ApiError {
    let kind = object::text(object, &["kind"]);
    let why = "does not implement the protobuf marshalling interface and cannot be encoded to a protobuf message";
    ApiError::new(Reason::NotAcceptable, format!("object *v1.{kind} {why}"))
}

/// An answer of text.
pub(crate) fn text(code: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    response(code, TEXT, body::full(text))
}

/// 404 for a path that nobody serves.
pub(crate) fn nothing_there() -> Response<Body> {
    let mut response = text(StatusCode::NOT_FOUND, "404 page not found\n");
    response.headers_mut().insert(http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// An answer that goes on.
pub(crate) fn stream(media: Media, body: Body) -> Response<Body> {
    let kind = match media {
        Media::Protobuf => HeaderValue::from_static("application/vnd.kubernetes.protobuf;stream=watch"),
        Media::Cbor => HeaderValue::from_static("application/cbor-seq"),
        other => HeaderValue::from_static(other.name()),
    };
    response(StatusCode::OK, kind, body)
}

/// A value as YAML.
fn yaml(code: StatusCode, value: &Value) -> Response<Body> {
    response(code, YAML, body::full(crate::yaml::to_string(value)))
}

/// An error as `Status`.
pub(crate) fn error(error: &ApiError, accepted: Accepted) -> Response<Body> {
    let code = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = encoded(code, accepted, &error.to_status());
    warn_all(&mut response, &error.warnings);
    let seconds = error.details.as_ref().map_or(0, |d| d.retry_after_seconds);
    if seconds > 0
        && let Ok(value) = HeaderValue::from_str(&seconds.to_string())
    {
        response.headers_mut().insert(http::header::RETRY_AFTER, value);
    }
    response
}

/// What a request gets that finds no place.
pub(crate) fn too_many() -> Response<Body> {
    later("Too many requests, please try again later.\n", HeaderValue::from_static("1"))
}

/// What a request gets that comes to a server which only finishes what it has begun.
pub(crate) fn going_away() -> Response<Body> {
    let why = "The apiserver is shutting down, please try again later.\n";
    let mut response = later(why, HeaderValue::from_static("5"));
    response.headers_mut().insert(http::header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn later(why: &'static str, after: HeaderValue) -> Response<Body> {
    let mut response = text(StatusCode::TOO_MANY_REQUESTS, why);
    let headers = response.headers_mut();
    headers.insert(http::header::RETRY_AFTER, after);
    headers.insert(http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Adds what the person at the terminal is warned of: each text once, and of much no more than stock says.
pub(crate) fn warn_all(response: &mut Response<Body>, warnings: &[String]) {
    for warning in worth_saying(warnings) {
        warn(response, &warning);
    }
}

/// Whether a text can be a warning: stock leaves out whatever holds signs that control a terminal.
fn is_shown(warning: &str) -> bool {
    !warning.is_empty() && !warning.chars().any(char::is_control)
}

/// All warnings, or, where they are more than a header should hold, the beginnings of the first ones.
fn worth_saying(warnings: &[String]) -> Vec<String> {
    const ALL: usize = 4 << 10;
    const ONE: usize = 256;
    let mut seen = std::collections::HashSet::new();
    let once: Vec<&String> = warnings.iter().filter(|w| is_shown(w) && seen.insert(w.as_str())).collect();
    let length = |w: &str| w.chars().count();
    if once.iter().map(|w| length(w)).sum::<usize>() <= ALL {
        return once.into_iter().cloned().collect();
    }
    let mut left = ALL;
    let mut kept = Vec::new();
    for warning in once {
        let short: String = warning.chars().take(ONE).collect();
        // The one that goes over is the last.
        if left == 0 {
            break;
        }
        left = left.saturating_sub(length(&short));
        kept.push(short);
    }
    kept
}

/// Adds a warning before those that are there.
pub(crate) fn warn_first(response: &mut Response<Body>, warning: &str) {
    let others: Vec<HeaderValue> = match response.headers_mut().entry("warning") {
        http::header::Entry::Occupied(there) => there.remove_entry_mult().1.collect(),
        http::header::Entry::Vacant(_) => Vec::new(),
    };
    warn(response, warning);
    for other in others {
        response.headers_mut().append("warning", other);
    }
}

/// Adds a warning for the person at the terminal.
pub(crate) fn warn(response: &mut Response<Body>, warning: &str) {
    if !is_shown(warning) {
        return;
    }
    let escaped = warning.replace('\\', "\\\\").replace('"', "\\\"");
    if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{escaped}\"")) {
        response.headers_mut().append("warning", value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_said_once_and_not_without_end() {
        let short = ["a".to_owned(), "a".to_owned(), String::new(), "b".to_owned()];
        assert_eq!(worth_saying(&short), ["a", "b"]);
        let long: Vec<String> = (0..40).map(|n| format!("{n:0>300}")).collect();
        let kept = worth_saying(&long);
        assert_eq!((kept.len(), kept[0].len()), (16, 256));
        let uneven: Vec<String> = (0..40).map(|n| format!("{n:0>202}")).collect();
        assert_eq!(worth_saying(&uneven).len(), 21);
        assert!(worth_saying(&["two\nlines".to_owned()]).is_empty());
    }
}
