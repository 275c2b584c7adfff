//! Paths to fields and what is wrong at them, worded as `k8s.io/apimachinery/pkg/util/validation/field` words it.

use ironclad_json::Value;
use std::fmt;

/// A path into an object such as `spec.containers[0].name` or `metadata.labels[app]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Path(String);

impl Path {
    /// A path that starts at the field `name`.
    pub fn new(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// The path of the object itself; its children have no leading dot.
    pub fn root() -> Self {
        Self::default()
    }

    /// The field `name` below this path.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Self::new(name) } else { Self(format!("{}.{name}", self.0)) }
    }

    /// The item at `index` of the list at this path.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// The entry `key` of the map at this path.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What sort of mistake it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of field.ErrorType")]
pub enum ErrorKind {
    NotFound,
    Required,
    Duplicate,
    Invalid,
    NotSupported,
    Forbidden,
    TooLong,
    TooMany,
    Internal,
    TypeInvalid,
    /// What was as wrong before and is let through: the client is warned of it.
    Ratcheted,
}

impl ErrorKind {
    /// The reason of the cause in a `Status`.
    pub fn cause(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::Internal => "InternalError",
            Self::Ratcheted => "FieldValueInvalid",
            Self::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::Internal => "Internal error",
            Self::Ratcheted => "",
        }
    }
}

/// One mistake at one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// What sort of mistake.
    pub kind: ErrorKind,
    /// Where.
    pub path: String,
    /// The value as it is shown, or empty where the kind shows none.
    pub value: String,
    /// What would be right.
    pub detail: String,
    /// Whether a rule that is declared with the field's type finds the same, and says it better, or found this.
    pub covered: bool,
    /// Whether the value is written as stock writes it.
    pub as_is: bool,
}

/// Every mistake found, in the order of the fields.
pub type ErrorList = Vec<FieldError>;

/// Several mistakes as one text, as Go's aggregates say them: each once, in brackets when there is more than one.
pub fn aggregate(errors: &[FieldError]) -> String {
    let mut texts: Vec<String> = Vec::new();
    for error in errors.iter().map(ToString::to_string) {
        if !texts.contains(&error) {
            texts.push(error);
        }
    }
    match texts.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

impl FieldError {
    fn build(kind: ErrorKind, path: &Path, value: String, detail: impl Into<String>) -> Self {
        Self { kind, path: path.as_str().to_owned(), value, detail: detail.into(), covered: false, as_is: false }
    }

    /// `spec.a: Required value: detail`.
    pub fn required(path: &Path, detail: impl Into<String>) -> Self {
        Self::build(ErrorKind::Required, path, String::new(), detail)
    }

    /// `spec.a: Invalid value: "x": detail`.
    pub fn invalid(path: &Path, value: &Value, detail: impl Into<String>) -> Self {
        Self::build(ErrorKind::Invalid, path, show(value), detail)
    }

    /// [`FieldError::invalid`] for a text.
    pub fn invalid_str(path: &Path, value: &str, detail: impl Into<String>) -> Self {
        Self::build(ErrorKind::Invalid, path, go_quote(value), detail)
    }

    /// [`FieldError::invalid`] for a value that is written already.
    pub fn invalid_shown(path: &Path, value: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { as_is: true, ..Self::build(ErrorKind::Invalid, path, value.into(), detail) }
    }

    /// `spec.a: Invalid value: "x": detail` with the cause `FieldValueTypeInvalid`.
    pub fn type_invalid(path: &Path, value: &Value, detail: impl Into<String>) -> Self {
        Self::build(ErrorKind::TypeInvalid, path, show(value), detail)
    }

    /// `spec.a: Duplicate value: "x"`.
    pub fn duplicate(path: &Path, value: &Value) -> Self {
        Self::build(ErrorKind::Duplicate, path, show(value), "")
    }

    /// `spec.a: Not found: "x"`.
    pub fn not_found(path: &Path, value: &Value) -> Self {
        Self::build(ErrorKind::NotFound, path, show(value), "")
    }

    /// `spec.a: Unsupported value: "x": supported values: "A", "B"`; the values stand in the order given.
    pub fn not_supported(path: &Path, value: &Value, supported: &[&str]) -> Self {
        let quoted: Vec<String> = supported.iter().map(|s| format!("{s:?}")).collect();
        let detail = if quoted.is_empty() { String::new() } else { format!("supported values: {}", quoted.join(", ")) };
        Self::build(ErrorKind::NotSupported, path, show(value), detail)
    }

    /// `spec.a: Forbidden: detail`.
    pub fn forbidden(path: &Path, detail: impl Into<String>) -> Self {
        Self::build(ErrorKind::Forbidden, path, String::new(), detail)
    }

    /// `spec.a: Too long: may not be more than N bytes`.
    pub fn too_long(path: &Path, max: usize) -> Self {
        let bytes = if max == 1 { "byte" } else { "bytes" };
        Self::build(ErrorKind::TooLong, path, String::new(), format!("may not be more than {max} {bytes}"))
    }

    /// `spec.a: Too long: may not be more than N characters`.
    pub fn too_long_characters(path: &Path, max: usize) -> Self {
        Self::build(ErrorKind::TooLong, path, String::new(), format!("may not be more than {max} characters"))
    }

    /// `spec.a: Too many: 5: must have at most 3 items`.
    pub fn too_many(path: &Path, actual: usize, max: usize) -> Self {
        let items = if max == 1 { "item" } else { "items" };
        Self::build(ErrorKind::TooMany, path, actual.to_string(), format!("must have at most {max} {items}"))
    }

    /// `spec.a: Internal error: detail`.
    pub fn internal(path: &Path, detail: impl Into<String>) -> Self {
        Self::build(ErrorKind::Internal, path, String::new(), detail)
    }

    /// The same mistake as one that was there before.
    #[must_use]
    pub fn ratcheted(self) -> Self {
        let (path, value) = (String::new(), String::new());
        Self { detail: self.to_string(), kind: ErrorKind::Ratcheted, path, value, ..self }
    }

    /// The same mistake, which a declared rule finds too.
    #[must_use]
    pub fn covered(self) -> Self {
        Self { covered: true, ..self }
    }

    /// The message without the path, as a cause shows it.
    pub fn body(&self) -> String {
        let mut text = self.kind.title().to_owned();
        for part in [&self.value, &self.detail] {
            if !part.is_empty() {
                text.push_str(": ");
                text.push_str(part);
            }
        }
        text
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "<nil>" } else { &self.path };
        write!(f, "{path}: {}", self.body())
    }
}

/// A value as it is quoted in an error: scalars as JSON, anything larger as compact JSON.
fn show(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::String(text) => go_quote(text),
        Value::Number(number) if number.as_i64().is_none() => go_float(number.as_f64().unwrap_or_default()),
        other => other.to_string(),
    }
}

/// A number as Go prints it (`%v`): with an exponent where it is far from one.
pub fn go_float(number: f64) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..6).contains(&exponent) {
        return number.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// A text in quotes as Go prints it (`%q`).
pub fn go_quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            c if (c as u32) < 0x20 || c == '\u{7f}' => quoted.push_str(&format!("\\x{:02x}", c as u32)),
            c if !is_print(c) => match c as u32 {
                n @ 0..=0xffff => quoted.push_str(&format!("\\u{n:04x}")),
                n => quoted.push_str(&format!("\\U{n:08x}")),
            },
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Whether Go takes a character for one that can be printed: letters, marks, numbers, signs and the plain space.
pub fn is_print(c: char) -> bool {
    // Rust escapes the same ones, and marks that would join a quote before them.
    matches!(c, '\'' | '"' | '\\') || c.escape_debug().len() == 1 || format!("a{c}").escape_debug().count() == 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    #[test]
    fn texts_are_quoted_as_in_go() {
        let table = [
            ("a\u{7}b", "\"a\\ab\""),
            ("\u{1}\u{7f}", "\"\\x01\\x7f\""),
            ("it's \"\\\n", "\"it's \\\"\\\\\\n\""),
            ("\u{e9}\u{200b}\u{a0}", "\"\u{e9}\\u200b\\u00a0\""),
            ("e\u{301}", "\"e\u{301}\""),
        ];
        for (text, want) in table {
            assert_eq!(go_quote(text), want);
        }
    }

    #[test]
    fn numbers_are_printed_as_go_prints_them() {
        let table = [
            (0.0, "0"),
            (2.5, "2.5"),
            (100_000.0, "100000"),
            (1e6, "1e+06"),
            (23_456_789.5, "2.34567895e+07"),
            (1e-5, "1e-05"),
        ];
        for (number, want) in table {
            assert_eq!(go_float(number), want);
        }
    }

    #[test]
    fn paths_and_errors_read_as_stock() {
        let path = Path::new("spec").child("containers").index(0).child("image");
        assert_eq!(FieldError::required(&path, "").to_string(), "spec.containers[0].image: Required value");
        assert_eq!(
            FieldError::not_supported(&Path::new("spec").child("type"), &json!("X"), &["ClusterIP", "NodePort"])
                .to_string(),
            "spec.type: Unsupported value: \"X\": supported values: \"ClusterIP\", \"NodePort\""
        );
        assert_eq!(
            FieldError::too_many(&Path::new("spec"), 5, 1).to_string(),
            "spec: Too many: 5: must have at most 1 item"
        );
    }
}
