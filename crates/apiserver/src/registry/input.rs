//! Objects that come in: decoded, checked against their type, defaulted.

use super::Request;
use crate::yaml;
use bytes::Bytes;
use http::HeaderMap;
use ironclad_api::{ApiError, FieldError, GroupVersionKind, Path, Reason, object};
use ironclad_json::Value;
use ironclad_kinds::Kind;
use ironclad_schema::{TypeId, bundle, check, json, patch, proto};

const ACCEPTED: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// What a body held.
#[derive(Default)]
pub(crate) struct Input {
    pub(crate) value: Value,
    pub(crate) twice: Twice,
}

/// Keys that stood twice in a body.
#[derive(Default)]
pub(crate) enum Twice {
    /// None, or the body had a form that says nothing of them.
    #[default]
    Nothing,
    /// Their paths, and the document, whose order is that in which mistakes are told.
    Json(Vec<String>, Bytes),
    /// What the reader said.
    Yaml(Vec<String>),
}

/// Decodes a body by its content type.
pub(crate) fn decode(headers: &HeaderMap, bytes: &Bytes) -> Result<Input, ApiError> {
    let kind = headers.get(http::header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("application/json");
    let media = kind.split(';').next().unwrap_or_default().trim();
    match media {
        "application/json" | "" | "*/*" => parse_json(bytes),
        "application/yaml" | "application/apply-patch+yaml" => parse_yaml(bytes),
        "application/vnd.kubernetes.protobuf" => {
            let value = proto::decode(bundle(), bytes)
                .map_err(|e| ApiError::bad_request(format!("cannot decode protobuf: {e}")))?;
            Ok(Input { value, twice: Twice::Nothing })
        }
        m if m.ends_with("+json") => parse_json(bytes),
        _ => {
            let message =
                format!("the body of the request was in an unknown format - accepted media types include: {ACCEPTED}");
            Err(ApiError::new(Reason::UnsupportedMediaType, message))
        }
    }
}

fn parse_json(bytes: &Bytes) -> Result<Input, ApiError> {
    match json::parse(bytes) {
        Ok(parsed) => Ok(Input { value: parsed.value, twice: Twice::Json(parsed.duplicates, bytes.clone()) }),
        Err(e) => {
            let why = json::in_go(&e, bytes);
            Err(ApiError::bad_request(format!("couldn't get version/kind; json parse error: {why}")))
        }
    }
}

/// Reads YAML, of which JSON is a part.
fn parse_yaml(bytes: &Bytes) -> Result<Input, ApiError> {
    // The JSON reader says more about mistakes.
    if bytes.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{') {
        return parse_json(bytes);
    }
    let bad = |e: &dyn std::fmt::Display| ApiError::bad_request(format!("error converting YAML to JSON: {e}"));
    let text = std::str::from_utf8(bytes).map_err(|e| bad(&e))?;
    let (value, duplicates) = yaml::parse(text).map_err(|e| bad(&e))?;
    Ok(Input { value, twice: Twice::Yaml(duplicates) })
}

/// Reads a configuration to be applied: YAML in every case, so that what stands twice is told by its lines.
pub(super) fn configuration(bytes: &Bytes) -> Result<Input, ApiError> {
    // JSON is YAML too, and read sooner; what it says of keys that stand twice is no line.
    if bytes.first() == Some(&b'{')
        && let Ok(parsed) = json::parse(bytes)
        && parsed.duplicates.is_empty()
    {
        return Ok(Input { value: parsed.value, twice: Twice::Nothing });
    }
    let bad = |e: &dyn std::fmt::Display| ApiError::bad_request(format!("error decoding YAML: {e}"));
    let text = std::str::from_utf8(bytes).map_err(|e| bad(&e))?;
    let (value, duplicates) = yaml::parse(text).map_err(|e| bad(&e))?;
    Ok(Input { value, twice: Twice::Yaml(duplicates) })
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

/// What an object was made of.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    /// An object with a patch of plain JSON, and the notes about the patch.
    Patched(&'a [String]),
    /// An object with a strategic merge patch.
    Strategic(&'a [String], &'a Value),
}

impl Request<'_> {
    /// Tells the audit what was sent as it was understood: with its type and its defaults. A patch stays as it came.
    pub(super) fn tell_sent(&self, object: &Value) {
        if &*self.info.verb == "patch" {
            return;
        }
        ironclad_audit::note(|current| {
            current.request(|| {
                let mut sent = object.clone();
                sent["apiVersion"] = self.kind.api_version().into();
                sent["kind"] = self.kind.kind.to_string().into();
                ironclad_api::object::metadata_mut(&mut sent).remove("managedFields");
                Some(sent)
            });
        });
    }

    /// Checks an object of this request's kind, or of `kind` where a subresource has another: its type, then its
    /// fields. Returns warnings.
    pub(crate) fn check(&self, kind: &Kind, input: Input) -> Result<(Value, Vec<String>), ApiError> {
        let Input { mut value, twice } = input;
        must_be_object(&value)?;
        self.check_type(kind, &mut value)?;
        let (name, version) = (&kind.kind, &kind.version);
        let refused = |why: &str| {
            ApiError::bad_request(format!("{name} in version {version:?} cannot be handled as a {name}: {why}"))
        };
        let unknown = match &kind.custom {
            Some(custom) => custom.check(&mut value).map_err(|why| refused(&why.to_string()))?,
            None => check::object(bundle(), type_of(kind)?, &mut value).map_err(|why| refused(&why))?.unknown,
        };
        let (warnings, strict) = notes(&unknown, &twice);
        self.judge(warnings, |_| refused(&strict)).map(|warnings| (value, warnings))
    }

    /// Checks a body that is no object of the request's kind: options, a scale, a binding. Of its version only the
    /// group's own forms differ, which are the same in all.
    pub(crate) fn check_body(&self, gvk: &GroupVersionKind, input: Input) -> Result<(Value, Vec<String>), ApiError> {
        let Input { mut value, twice } = input;
        must_be_object(&value)?;
        let sent = object::text(&value, &["kind"]);
        if !sent.is_empty() && sent != gvk.kind {
            let message = format!("the kind in the data ({sent}) does not match the expected kind ({})", gvk.kind);
            return Err(ApiError::bad_request(message));
        }
        let meta = || bundle().definition(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{}", gvk.kind));
        let id = bundle().kind(gvk).or_else(meta).ok_or_else(|| ApiError::internal(format!("no type for {gvk}")))?;
        let GroupVersionKind { kind, version, .. } = gvk;
        let refused = |why: &str| {
            ApiError::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {why}"))
        };
        let unknown = check::object(bundle(), id, &mut value).map_err(|why| refused(&why))?.unknown;
        let (warnings, strict) = notes(&unknown, &twice);
        self.judge(warnings, |_| refused(&strict)).map(|warnings| (value, warnings))
    }

    /// Checks what a patch made.
    pub(crate) fn check_patched(
        &self,
        mut value: Value,
        before: &Value,
        from: Source<'_>,
    ) -> Result<(Value, Vec<String>), ApiError> {
        must_be_object(&value)?;
        self.check_type(self.kind, &mut value)?;
        let whole = value.clone();
        let noted = match from {
            Source::Strategic(notes, _) | Source::Patched(notes) => notes,
        };
        let checked = match (&self.kind.custom, from) {
            (Some(custom), _) => custom.check(&mut value).map_err(|why| why.to_string()),
            (None, Source::Strategic(..)) => {
                check::patched(bundle(), type_of(self.kind)?, &mut value, before).map(|n| n.unknown)
            }
            (None, Source::Patched(_)) => {
                check::changed(bundle(), type_of(self.kind)?, &mut value, before).map(|n| n.unknown)
            }
        };
        let refused = |why: String| {
            let shown = match from {
                Source::Strategic(_, patch) => patch::go_value(patch),
                Source::Patched(_) => whole.to_string(),
            };
            ApiError::invalid("", "", "", &[FieldError::invalid_str(&Path::new("patch"), &shown, why)])
        };
        let unknown = checked.map_err(&refused)?;
        let unknown = unknown.iter().map(|u| format!("unknown field {u:?}"));
        let notes: Vec<String> = noted.iter().cloned().chain(unknown).collect();
        let warnings = self.judge(notes, |notes| refused(format!("strict decoding error: {}", notes.join(", "))))?;
        Ok((value, warnings))
    }

    /// Checks a configuration to be applied: only that it is of this kind, and what stood twice in it. Its fields are
    /// checked where it is applied.
    pub(crate) fn check_config(&self, input: Input) -> Result<(Value, Vec<String>), ApiError> {
        let Input { mut value, twice } = input;
        must_be_object(&value)?;
        self.check_type(self.kind, &mut value)?;
        let lines = match twice {
            Twice::Yaml(lines) => lines,
            _ => Vec::new(),
        };
        let warnings = self.judge(lines, |lines| {
            let head = "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:";
            ApiError::bad_request(format!("{head}\n  {}", lines.join("\n  ")))
        })?;
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

    /// What becomes of notes about fields: nothing, warnings or an error.
    fn judge(&self, notes: Vec<String>, refused: impl Fn(&[String]) -> ApiError) -> Result<Vec<String>, ApiError> {
        let validation = match self.query().get("fieldValidation") {
            "Ignore" => Validation::Ignore,
            "Strict" => Validation::Strict,
            // What else there is was refused before.
            _ => Validation::Warn,
        };
        match validation {
            Validation::Ignore => Ok(Vec::new()),
            Validation::Strict if !notes.is_empty() => Err(refused(&notes)),
            _ => Ok(notes),
        }
    }

    /// The namespace of the object and of the path must agree; an object without one gets the path's.
    pub(crate) fn settle_namespace(&self, value: &mut Value) -> Result<(), ApiError> {
        if !self.kind.namespaced {
            return Ok(());
        }
        let given = object::namespace(value).to_owned();
        if given.is_empty() {
            object::metadata_mut(value).insert("namespace", self.info.namespace.clone().into());
        } else if given != self.info.namespace {
            let message = "the namespace of the provided object does not match the namespace sent on the request";
            return Err(ApiError::bad_request(message));
        }
        Ok(())
    }
}

fn type_of(kind: &Kind) -> Result<TypeId, ApiError> {
    bundle().kind(&kind.gvk()).ok_or_else(|| ApiError::internal(format!("no type for {kind:?}")))
}

/// Notes about fields in the order in which stock tells them, and all of them as one error.
fn notes(unknown: &[String], twice: &Twice) -> (Vec<String>, String) {
    let unknown_note = |path: &String| format!("unknown field {path:?}");
    let error = |notes: &[String]| format!("strict decoding error: {}", notes.join(", "));
    match twice {
        Twice::Json(duplicates, document) if !(unknown.is_empty() && duplicates.is_empty()) => {
            // A field that is unknown and stands twice is only unknown.
            let twice = duplicates.iter().filter(|d| !unknown.contains(d));
            let paths: Vec<String> = unknown.iter().chain(twice).cloned().collect();
            let places = json::places(document, &paths);
            let mut ordered: Vec<(usize, usize)> = places.into_iter().zip(0..).collect();
            ordered.sort_unstable();
            let note = |index: usize| match index < unknown.len() {
                true => unknown_note(&paths[index]),
                false => format!("duplicate field {:?}", paths[index]),
            };
            let notes: Vec<String> = ordered.into_iter().map(|(_, index)| note(index)).collect();
            let all = error(&notes);
            (notes, all)
        }
        Twice::Yaml(lines) if !lines.is_empty() => {
            let mut all = vec![format!("yaml: unmarshal errors:\n  {}", lines.join("\n  "))];
            all.extend(unknown.iter().map(unknown_note));
            (lines.iter().cloned().chain(unknown.iter().map(unknown_note)).collect(), error(&all))
        }
        _ => {
            let notes: Vec<String> = unknown.iter().map(unknown_note).collect();
            let all = error(&notes);
            (notes, all)
        }
    }
}
