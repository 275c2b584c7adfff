//! What a webhook sent back, read as stock's client reads it: JSON or YAML, told from the first bytes and never from the
//! media type, then checked against the type of an `AdmissionReview`
//! or a `ConversionReview`.
//!
//! Invariant: whatever leaves here has the types that the API gives it; the messages are those of Go's readers.

use ironclad_api::config::told;
use ironclad_api::shape::Shapes;
use ironclad_json::{Value, json};
use std::sync::LazyLock;

/// Where Go's scheme of the client is made; its messages say so.
const SCHEME: &str = "k8s.io/apiserver/pkg/util/webhook/client.go:71";

/// The types of what webhooks send back.
static SHAPES: LazyLock<Shapes> = LazyLock::new(|| Shapes::read(include_str!("shapes.txt")));

/// The review in an answer to one of a kind in a version of its group, such as `admission.k8s.io/v1`.
pub(super) fn review(body: &[u8], version: &str, kind: &str) -> Result<Value, String> {
    let value = parsed(body)?;
    named(told(&value)?, version, kind)?;
    let package = version.rsplit('/').next().unwrap_or_default();
    SHAPES.check(kind, package, &value)?;
    Ok(match value {
        Value::Null => json!({}),
        value => SHAPES.settled(kind, &value),
    })
}

fn parsed(body: &[u8]) -> Result<Value, String> {
    let failed = |why: String| format!("couldn't get version/kind; json parse error: {why}");
    if body.trim_ascii_start().starts_with(b"{") {
        return serde_json::from_slice(body).map_err(|e| failed(ironclad_schema::json::in_go(&e, body)));
    }
    let text = std::str::from_utf8(body).map_err(|_| failed("yaml: invalid leading UTF-8 octet".to_owned()))?;
    ironclad_api::yaml::read(text.trim_start_matches('\u{feff}')).map_err(|e| failed(format!("yaml: {e}")))
}

/// Whether it is a review of this version; one that does not say what it is, is.
fn named((kind, sent): (&str, &str), asked: &str, wanted: &str) -> Result<(), String> {
    if sent.matches('/').count() > 1 {
        return Err(format!("unexpected GroupVersion string: {sent}"));
    }
    let (group, version) = asked.split_once('/').unwrap_or_default();
    let got = match sent.split_once('/') {
        _ if sent.is_empty() || kind.is_empty() => return Ok(()),
        Some((own, got @ ("v1" | "v1beta1"))) if own == group && kind == wanted => got,
        None if sent == "v1" && kind == "Status" => "v1",
        _ => return Err(format!("no kind {kind:?} is registered for version {sent:?} in scheme {SCHEME:?}")),
    };
    match got == version && kind == wanted {
        true => Ok(()),
        false => Err(format!("converting ({got}.{kind}) to ({version}.{wanted}): unknown conversion")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION: &str = "admission.k8s.io/v1";
    const KIND: &str = "AdmissionReview";

    #[test]
    fn nonsense_is_told_in_the_words_of_go() {
        let of = |response: &str| {
            format!(r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{response}}}"#)
        };
        let parse = |why: &str| format!("couldn't get version/kind; json parse error: {why}");
        let typed = |why: &str| format!("json: cannot unmarshal {why}");
        let table = [
            ("{\"kind\"".to_owned(), parse("unexpected end of JSON input")),
            ("{} x".to_owned(), parse("invalid character 'x' after top-level value")),
            (
                r#"{"kind":7}"#.to_owned(),
                parse("json: cannot unmarshal number into Go struct field .kind of type string"),
            ),
            (
                r#"{"kind":"AdmissionReview","apiVersion":"a/b/c"}"#.to_owned(),
                "unexpected GroupVersion string: a/b/c".to_owned(),
            ),
            (
                r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1beta1"}"#.to_owned(),
                "converting (v1beta1.AdmissionReview) to (v1.AdmissionReview): unknown conversion".to_owned(),
            ),
            (
                r#"{"kind":"Status","apiVersion":"v1"}"#.to_owned(),
                "converting (v1.Status) to (v1.AdmissionReview): unknown conversion".to_owned(),
            ),
            (of("[]"), typed("array into Go struct field AdmissionReview.response of type v1.AdmissionResponse")),
            (
                of(r#"{"allowed":"true"}"#),
                typed("string into Go struct field AdmissionResponse.response.allowed of type bool"),
            ),
            (of(r#"{"uid":7}"#), typed("number into Go struct field AdmissionResponse.response.uid of type types.UID")),
            (of(r#"{"patch":"%%%"}"#), "illegal base64 data at input byte 0".to_owned()),
            (
                of(r#"{"warnings":[7]}"#),
                typed("number into Go struct field AdmissionResponse.response.warnings of type string"),
            ),
            (
                of(r#"{"auditAnnotations":[]}"#),
                typed(
                    "array into Go struct field AdmissionResponse.response.auditAnnotations of type map[string]string",
                ),
            ),
            (
                of(r#"{"status":{"code":"403"}}"#),
                typed("string into Go struct field Status.response.status.code of type int32"),
            ),
        ];
        for (body, want) in table {
            assert_eq!(review(body.as_bytes(), VERSION, KIND).unwrap_err(), want, "{body}");
        }
    }

    #[test]
    fn an_answer_may_be_yaml_and_need_not_say_what_it_is() {
        for body in ["response: {allowed: true, uid: u}", "\u{feff}{\"response\": {\"allowed\": true}}"] {
            assert_eq!(review(body.as_bytes(), VERSION, KIND).unwrap()["response"]["allowed"], true, "{body}");
        }
        assert_eq!(review(b"null", VERSION, KIND).unwrap(), json!({}));
        let patch = review(br#"{"response": {"patch": [91, 93]}}"#, VERSION, KIND).unwrap();
        assert_eq!(patch["response"]["patch"], "W10=");
    }
}
