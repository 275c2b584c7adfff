//! What the server makes of bytes from outside before it knows who sends them; for fuzzers and their tests.

use crate::accept::{Accepted, Offer};
use crate::registry::{decode, versions};
use crate::request::{Info, Query};
use crate::yaml as forms;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Request};

/// A method and the target of a request, such as `GET /api/v1/pods?watch=1`.
pub fn request(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (method, target) = text.split_once(' ').unwrap_or(("GET", text));
    let Ok(request) = Request::builder().method(method).uri(target).body(()) else { return };
    let info = Info::of(&request);
    let encoded = request.uri().path().contains('%');
    for part in [&info.group, &info.version, &info.namespace, &info.resource, &info.name, &info.subresource] {
        assert!(encoded || !part.contains('/'), "{info:?}");
    }
    assert!(info.is_resource || info.resource.is_empty(), "{info:?}");
    versions::check(&info.query);
}

/// Values of the `Accept` header, one for each line.
pub fn accept(data: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in data.split(|b| *b == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(ACCEPT, value);
        }
    }
    let query = Query::default();
    for bits in 0..16 {
        let offer = Offer { protobuf: bits & 1 > 0, table: bits & 2 > 0, watch: bits & 4 > 0, cbor: bits & 8 > 0 };
        if let Ok(chosen) = Accepted::of(&headers, &query, offer) {
            assert!(offer.cbor || chosen.media != crate::accept::Media::Cbor, "{chosen:?}");
            assert!(
                offer.protobuf
                    || chosen.media != crate::accept::Media::Protobuf
                    || chosen.view == crate::accept::View::Partial,
                "{chosen:?}"
            );
        }
    }
    Accepted::of_error(&headers, &query, true);
}

/// A content type, a line break, and a body.
pub fn body(data: &[u8]) {
    let split = data.iter().position(|b| *b == b'\n').unwrap_or(0);
    let (kind, rest) = data.split_at(split);
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(kind) {
        headers.insert(CONTENT_TYPE, value);
    }
    drop(decode(&headers, &Bytes::copy_from_slice(rest)));
}

/// A document whose value is written back and read again as what goes out as the same.
pub fn yaml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok((value, _)) = forms::parse(text) else { return };
    let written = forms::to_string(&value);
    let again = forms::parse(&written).unwrap_or_else(|e| panic!("{text:?} became {written:?}: {e}"));
    // Stock writes words such as `oN` plain; the reader takes them for what they stand for in any case of letters.
    if !mentions_words(&value) {
        assert_eq!(again.0.to_string(), value.to_string(), "{text:?} became {written:?}");
    }
}

/// Whether a text in a value is a word of YAML's own but for the case of its letters.
fn mentions_words(value: &ironclad_json::Value) -> bool {
    const WORDS: [&str; 11] = ["y", "yes", "on", "true", "n", "no", "off", "false", "null", ".inf", ".nan"];
    let word = |text: &str| WORDS.iter().any(|w| text.trim().eq_ignore_ascii_case(w));
    match value {
        ironclad_json::Value::String(text) => word(text),
        ironclad_json::Value::Array(items) => items.iter().any(mentions_words),
        ironclad_json::Value::Object(map) => map.iter().any(|(key, value)| word(key) || mentions_words(value)),
        _ => false,
    }
}
