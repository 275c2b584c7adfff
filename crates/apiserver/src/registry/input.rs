//! Objects that come in: decoded, checked against their type, defaulted.

use super::Request;
use http::HeaderMap;
use ironclad_api::{ApiError, Reason, object};
use ironclad_kinds::Kind;
use ironclad_schema::{bundle, check, json, proto};
use serde_json::Value;

const ACCEPTED: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// What a body held.
pub(crate) struct Input {
    pub(crate) value: Value,
    /// Keys that stood twice.
    pub(crate) duplicates: Vec<String>,
}

/// Decodes a body by its content type.
pub(crate) fn decode(headers: &HeaderMap, bytes: &[u8]) -> Result<Input, ApiError> {
    let kind = headers.get(http::header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("application/json");
    let media = kind.split(';').next().unwrap_or_default().trim();
    match media {
        "application/json" | "" | "*/*" => parse_json(bytes),
        "application/yaml" | "application/apply-patch+yaml" => parse_yaml(bytes),
        "application/vnd.kubernetes.protobuf" => {
            let value = proto::decode(bundle(), bytes)
                .map_err(|e| ApiError::bad_request(format!("cannot decode protobuf: {e}")))?;
            Ok(Input { value, duplicates: Vec::new() })
        }
        m if m.ends_with("+json") => parse_json(bytes),
        _ => {
            let message =
                format!("the body of the request was in an unknown format - accepted media types include: {ACCEPTED}");
            Err(ApiError::new(Reason::UnsupportedMediaType, message))
        }
    }
}

fn parse_json(bytes: &[u8]) -> Result<Input, ApiError> {
    match json::parse(bytes) {
        Ok(parsed) => Ok(Input { value: parsed.value, duplicates: parsed.duplicates }),
        Err(e) => Err(ApiError::bad_request(format!("couldn't get version/kind; json parse error: {e}"))),
    }
}

/// Reads YAML 1.1, bounded so that aliases cannot grow without end.
pub(crate) fn parse_yaml(bytes: &[u8]) -> Result<Input, ApiError> {
    // JSON is YAML; the JSON reader says more about mistakes.
    if bytes.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{') {
        return parse_json(bytes);
    }
    let bad = |e: &dyn std::fmt::Display| ApiError::bad_request(format!("error converting YAML to JSON: {e}"));
    let text = std::str::from_utf8(bytes).map_err(|e| bad(&e))?;
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    let value = serde_saphyr::from_str_with_options(text, options).map_err(|e| bad(&e))?;
    Ok(Input { value, duplicates: Vec::new() })
}

fn must_be_object(value: &Value) -> Result<(), ApiError> {
    if value.is_object() {
        return Ok(());
    }
    let message = "couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }";
    Err(ApiError::bad_request(message))
}

/// What to do about fields that a type does not have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Validation {
    Ignore,
    Warn,
    Strict,
}

impl Request<'_> {
    /// Checks an object of this request's kind, or of `kind` where a subresource has another: its type, then its
    /// fields. Returns warnings.
    pub(crate) fn check(&self, kind: &Kind, input: Input) -> Result<(Value, Vec<String>), ApiError> {
        let Input { mut value, duplicates } = input;
        must_be_object(&value)?;
        self.check_type(kind, &mut value)?;
        let refused = |why: &dyn std::fmt::Display| {
            let (version, name) = (&kind.version, &kind.kind);
            ApiError::bad_request(format!("{name} in version {version:?} cannot be handled as a {name}: {why}"))
        };
        if let Some(custom) = &kind.custom {
            let unknown = custom.check(&mut value).map_err(|why| refused(&why))?;
            let warnings = self.judge(kind, &unknown, &duplicates)?;
            return Ok((value, warnings));
        }
        let id = bundle().kind(&kind.gvk()).ok_or_else(|| ApiError::internal(format!("no type for {kind:?}")))?;
        let noticed = check::object(bundle(), id, &mut value).map_err(|why| refused(&why))?;
        let warnings = self.judge(kind, &noticed.unknown, &duplicates)?;
        Ok((value, warnings))
    }

    /// Checks a configuration to be applied: only that it is of this kind, and what stood twice in it. Its fields are
    /// checked where it is applied.
    pub(crate) fn check_config(&self, input: Input) -> Result<(Value, Vec<String>), ApiError> {
        let Input { mut value, duplicates } = input;
        must_be_object(&value)?;
        self.check_type(self.kind, &mut value)?;
        let warnings = self.judge(self.kind, &[], &duplicates)?;
        Ok((value, warnings))
    }

    fn check_type(&self, kind: &Kind, value: &mut Value) -> Result<(), ApiError> {
        let (version, name) =
            (object::text(value, &["apiVersion"]).to_owned(), object::text(value, &["kind"]).to_owned());
        let (want_version, want_name) = (kind.api_version(), kind.kind.to_string());
        if !version.is_empty() && version != want_version {
            let message = format!(
                "the API version in the data ({version}) does not match the expected API version ({want_version})"
            );
            return Err(ApiError::bad_request(message));
        }
        if !name.is_empty() && name != want_name {
            let message = format!("the kind in the data ({name}) does not match the expected kind ({want_name})");
            return Err(ApiError::bad_request(message));
        }
        value["apiVersion"] = want_version.into();
        value["kind"] = want_name.into();
        Ok(())
    }

    fn judge(&self, kind: &Kind, unknown: &[String], duplicates: &[String]) -> Result<Vec<String>, ApiError> {
        let validation = match self.query().get("fieldValidation") {
            "Ignore" => Validation::Ignore,
            "Strict" => Validation::Strict,
            // What else there is was refused before.
            _ => Validation::Warn,
        };
        let mut notes: Vec<String> = duplicates.iter().map(|d| format!("duplicate field {d:?}")).collect();
        notes.extend(unknown.iter().map(|u| format!("unknown field {u:?}")));
        match validation {
            Validation::Ignore => Ok(Vec::new()),
            _ if notes.is_empty() => Ok(Vec::new()),
            Validation::Warn => Ok(notes),
            Validation::Strict => {
                let (name, version) = (&kind.kind, &kind.version);
                let message = format!(
                    "{name} in version {version:?} cannot be handled as a {name}: strict decoding error: {}",
                    notes.join(", ")
                );
                Err(ApiError::bad_request(message))
            }
        }
    }

    /// The namespace of the object and of the path must agree; an object without one gets the path's.
    pub(crate) fn settle_namespace(&self, value: &mut Value) -> Result<(), ApiError> {
        if !self.kind.namespaced {
            return Ok(());
        }
        let given = object::namespace(value).to_owned();
        if given.is_empty() {
            object::metadata_mut(value).insert("namespace".into(), self.info.namespace.clone().into());
        } else if given != self.info.namespace {
            let message = "the namespace of the provided object does not match the namespace sent on the request";
            return Err(ApiError::bad_request(message));
        }
        Ok(())
    }
}
