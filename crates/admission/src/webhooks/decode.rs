//! What a webhook sent back, read as stock's client reads it: JSON or YAML, told from the first bytes and never from the
//! media type, then checked against the type of an `AdmissionReview`
//! or a `ConversionReview`.
//!
//! Invariant: whatever leaves here has the types that the API gives it; the messages are those of Go's readers.

use ironclad_api::object;
use ironclad_json::{Value, json};

/// Where Go's scheme of the client is made; its messages say so.
const SCHEME: &str = "k8s.io/apiserver/pkg/util/webhook/client.go:71";

/// A type of Go, as far as its reader of JSON tells types apart.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Bool,
    Int32,
    /// A text, by the name of its type.
    Text(&'static str),
    Bytes,
    Texts,
    TextMap,
    /// A structure: its package, its name, its fields.
    Struct(&'static str, &'static str, &'static [(&'static str, Shape)]),
    /// Structures in a list.
    Structs(&'static str, &'static str, &'static [(&'static str, Shape)]),
    /// Anything in a list.
    Anythings(&'static str),
}

const STRING: Shape = Shape::Text("string");
const CAUSE: &[(&str, Shape)] = &[("reason", Shape::Text("v1.CauseType")), ("message", STRING), ("field", STRING)];
const DETAILS: &[(&str, Shape)] = &[
    ("name", STRING),
    ("group", STRING),
    ("kind", STRING),
    ("uid", Shape::Text("types.UID")),
    ("causes", Shape::Structs("v1", "StatusCause", CAUSE)),
    ("retryAfterSeconds", Shape::Int32),
];
const LIST_META: &[(&str, Shape)] = &[("selfLink", STRING), ("resourceVersion", STRING), ("continue", STRING)];
const STATUS: &[(&str, Shape)] = &[
    ("kind", STRING),
    ("apiVersion", STRING),
    ("metadata", Shape::Struct("v1", "ListMeta", LIST_META)),
    ("status", STRING),
    ("message", STRING),
    ("reason", Shape::Text("v1.StatusReason")),
    ("details", Shape::Struct("v1", "StatusDetails", DETAILS)),
    ("code", Shape::Int32),
];

/// The fields of a response in a version of the API.
macro_rules! response {
    ($version:literal) => {
        &[
            ("uid", Shape::Text("types.UID")),
            ("allowed", Shape::Bool),
            ("status", Shape::Struct("v1", "Status", STATUS)),
            ("patch", Shape::Bytes),
            ("patchType", Shape::Text(concat!($version, ".PatchType"))),
            ("auditAnnotations", Shape::TextMap),
            ("warnings", Shape::Texts),
        ]
    };
}

const V1: &[(&str, Shape)] = &[("response", Shape::Struct("v1", "AdmissionResponse", response!("v1")))];
const V1BETA1: &[(&str, Shape)] = &[("response", Shape::Struct("v1beta1", "AdmissionResponse", response!("v1beta1")))];

const CONVERTED: &[(&str, Shape)] = &[
    ("uid", Shape::Text("types.UID")),
    ("convertedObjects", Shape::Anythings("[]runtime.RawExtension")),
    ("result", Shape::Struct("v1", "Status", STATUS)),
];
const CONVERSION_V1: &[(&str, Shape)] = &[("response", Shape::Struct("v1", "ConversionResponse", CONVERTED))];
const CONVERSION_V1BETA1: &[(&str, Shape)] = &[("response", Shape::Struct("v1beta1", "ConversionResponse", CONVERTED))];

/// The review in an answer to one of a kind in a version of its group, such as `admission.k8s.io/v1`.
pub(super) fn review(body: &[u8], version: &str, kind: &str) -> Result<Value, String> {
    let mut value = parsed(body)?;
    named(&mut value, version, kind)?;
    let (fields, name) = match (version, kind) {
        ("admission.k8s.io/v1", _) => (V1, "AdmissionReview"),
        (_, "AdmissionReview") => (V1BETA1, "AdmissionReview"),
        ("apiextensions.k8s.io/v1", _) => (CONVERSION_V1, "ConversionReview"),
        _ => (CONVERSION_V1BETA1, "ConversionReview"),
    };
    let mut read = Reader::default();
    read.fields(&mut value, name, fields);
    read.wrong.map_or(Ok(value), Err)
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
fn named(value: &mut Value, asked: &str, wanted: &str) -> Result<(), String> {
    let failed = |why: String| Err(format!("couldn't get version/kind; json parse error: json: {why}"));
    if value.is_null() {
        *value = json!({});
    }
    if !value.is_object() {
        return failed(format!(
            r#"cannot unmarshal {} into Go value of type struct {{ APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }}"#,
            sort(value)
        ));
    }
    for field in ["apiVersion", "kind"] {
        if !value[field].is_null() && !value[field].is_string() {
            let got = sort(&value[field]);
            return failed(format!("cannot unmarshal {got} into Go struct field .{field} of type string"));
        }
    }
    let (sent, kind) = (object::text(value, &["apiVersion"]), object::text(value, &["kind"]));
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

/// What Go's reader calls a value.
fn sort(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
    }
}

/// Goes through a value beside its type. Like Go's reader it goes on behind a mistake, and tells of the first one.
#[derive(Default)]
struct Reader {
    path: Vec<&'static str>,
    wrong: Option<String>,
}

impl Reader {
    fn mistake(&mut self, of: &str, got: &str, want: &str) {
        let path = self.path.join(".");
        let why = format!("json: cannot unmarshal {got} into Go struct field {of}.{path} of type {want}");
        self.wrong.get_or_insert(why);
    }

    fn fields(&mut self, value: &mut Value, of: &str, fields: &'static [(&'static str, Shape)]) {
        for (field, shape) in fields {
            if value[*field].is_null() {
                continue;
            }
            self.path.push(field);
            self.value(&mut value[*field], of, *shape);
            self.path.pop();
        }
    }

    /// A value of a shape in a field of `of`; what Go reads otherwise is written as it reads it.
    fn value(&mut self, value: &mut Value, of: &str, shape: Shape) {
        match (shape, &mut *value) {
            (Shape::Bool, Value::Bool(_))
            | (Shape::Text(_), Value::String(_))
            | (Shape::Anythings(_), Value::Array(_)) => {}
            (Shape::Int32, Value::Number(n)) => {
                if n.as_i64().is_none_or(|n| i32::try_from(n).is_err()) {
                    let got = format!("number {n}");
                    self.mistake(of, &got, "int32");
                }
            }
            (Shape::Bytes, _) => self.bytes(value, of),
            (Shape::Texts, Value::Array(list)) => {
                for item in list.iter_mut() {
                    self.text(item, of);
                }
            }
            (Shape::TextMap, Value::Object(map)) => {
                for (_, item) in map.iter_mut() {
                    self.text(item, of);
                }
            }
            (Shape::Struct(_, name, fields), Value::Object(_)) => self.fields(value, name, fields),
            (Shape::Structs(_, name, fields), Value::Array(list)) => {
                for item in list.iter_mut().filter(|item| item.is_object()) {
                    self.fields(item, name, fields);
                }
            }
            (shape, value) => {
                let got = sort(value);
                self.mistake(of, &got, &name(shape));
            }
        }
    }

    /// A text in a list or a map, where nothing is the empty one.
    fn text(&mut self, item: &mut Value, of: &str) {
        match item {
            Value::String(_) => {}
            Value::Null => *item = json!(""),
            other => {
                let got = sort(other);
                self.mistake(of, &got, "string");
            }
        }
    }

    /// Bytes stand in base64, or as a list of numbers.
    fn bytes(&mut self, value: &mut Value, of: &str) {
        use base64::Engine;
        let engine = base64::engine::general_purpose::STANDARD;
        match &*value {
            // Line ends are nothing.
            Value::String(text) => match engine.decode(text.replace(['\n', '\r'], "")) {
                Ok(bytes) => *value = json!(engine.encode(bytes)),
                Err(error) => {
                    let at = match error {
                        base64::DecodeError::InvalidByte(at, _) => at,
                        base64::DecodeError::InvalidLastSymbol { offset, .. } => offset,
                        base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => {
                            text.len() / 4 * 4
                        }
                    };
                    self.wrong.get_or_insert(format!("illegal base64 data at input byte {at}"));
                }
            },
            Value::Array(list) => {
                let bytes: Option<Vec<u8>> =
                    list.iter().map(|n| n.as_u64().and_then(|n| u8::try_from(n).ok())).collect();
                match bytes {
                    Some(bytes) => *value = json!(engine.encode(bytes)),
                    None => self.mistake(of, "array", "uint8"),
                }
            }
            other => {
                let got = sort(other);
                self.mistake(of, &got, "[]uint8");
            }
        }
    }
}

/// What Go calls a type.
fn name(shape: Shape) -> String {
    match shape {
        Shape::Bool => "bool".to_owned(),
        Shape::Int32 => "int32".to_owned(),
        Shape::Text(name) | Shape::Anythings(name) => name.to_owned(),
        Shape::Bytes => "[]uint8".to_owned(),
        Shape::Texts => "[]string".to_owned(),
        Shape::TextMap => "map[string]string".to_owned(),
        Shape::Struct(package, name, _) => format!("{package}.{name}"),
        Shape::Structs(package, name, _) => format!("[]{package}.{name}"),
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
