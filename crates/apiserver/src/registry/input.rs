//! Objects that come in: decoded, checked against their type, defaulted.

use super::Request;
use crate::yaml;
use bytes::Bytes;
use http::HeaderMap;
use ironclad_api::{ApiError, FieldError, GroupVersionKind, Path, Reason, object};
use ironclad_json::Value;
use ironclad_kinds::Kind;
use ironclad_schema::{Empties, Shape, TypeId, bundle, check, json, patch, proto};
use std::convert::Infallible;

const ACCEPTED: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// How it is said of a version that it is none.
const NO_VERSION: &str = "unexpected GroupVersion string:";

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
    if !has_form(kind) {
        return Err(unknown_format());
    }
    let media = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match media.as_str() {
        "application/json" | "" | "*/*" => parse_json(bytes),
        "application/yaml" | "application/apply-patch+yaml" => parse_yaml(bytes),
        "application/vnd.kubernetes.protobuf" => {
            let value = proto::decode(bundle(), bytes).map_err(|e| {
                ApiError::bad_request(match bytes.strip_prefix(b"k8s\0") {
                    Some([]) => "empty body".to_owned(),
                    Some(_) => format!("cannot decode protobuf: {e}"),
                    None if bytes.is_empty() => "empty data".to_owned(),
                    None => "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
                        .to_owned(),
                })
            })?;
            Ok(Input { value, twice: Twice::Nothing })
        }
        m if m.ends_with("+json") => parse_json(bytes),
        _ => Err(unknown_format()),
    }
}

/// Whether what follows a media type are parameters: `; name=value`, and nothing or the end behind the last one.
fn has_form(kind: &str) -> bool {
    let mut parts = kind.split(';').skip(1).map(str::trim).peekable();
    while let Some(part) = parts.next() {
        let named = part.split_once('=').is_some_and(|(name, _)| !name.trim().is_empty());
        if !(named || part.is_empty() && parts.peek().is_none()) {
            return false;
        }
    }
    true
}

fn unknown_format() -> ApiError {
    let message =
        format!("the body of the request was in an unknown format - accepted media types include: {ACCEPTED}");
    ApiError::new(Reason::UnsupportedMediaType, message)
}

/// Decodes a body that is to be of a kind; says of one that says nothing of itself what it is.
pub(crate) fn decode_as(headers: &HeaderMap, bytes: &Bytes, kind: &str) -> Result<Input, ApiError> {
    let decoded = told_type(headers).and_then(|()| decode(headers, bytes)).and_then(|mut input| {
        // Nothing at all is an object without fields.
        if input.value.is_null() {
            input.value = ironclad_json::json!({});
        }
        must_be_object(&input.value)?;
        must_be_texts(&input.value).map(|()| input)
    });
    decoded.map_err(|error| {
        match ["couldn't get version/kind", NO_VERSION, "yaml: ", "provided data", "empty data", "empty body"]
            .iter()
            .any(|s| error.message.starts_with(s))
        {
            true => ApiError::bad_request(format!(
                "the object provided is unrecognized (must be of type {kind}): {} ({})",
                error.message,
                summary(bytes)
            )),
            false => error,
        }
    })
}

/// Refuses forms of patches and of nothing in particular, in which no object is sent.
pub(crate) fn told_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let kind = headers.get(http::header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let media = kind.split(';').next().unwrap_or_default().trim();
    match media == "*/*" || media.ends_with("+json") || media.ends_with("+yaml") {
        true => Err(unknown_format()),
        false => Ok(()),
    }
}

/// What says of which type an object is must be texts.
fn must_be_texts(value: &Value) -> Result<(), ApiError> {
    for field in ["apiVersion", "kind"] {
        let kind = match &value[field] {
            Value::Null | Value::String(_) => continue,
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        return Err(ApiError::bad_request(format!(
            "couldn't get version/kind; json parse error: json: cannot unmarshal {kind} into Go struct field .{field} of type string"
        )));
    }
    match value["apiVersion"].as_str().filter(|version| version.matches('/').count() > 1) {
        Some(version) => Err(ApiError::bad_request(format!("{NO_VERSION} {version}"))),
        None => Ok(()),
    }
}

/// The beginning of a body, as stock shows it.
fn summary(bytes: &[u8]) -> String {
    const SHOWN: usize = 30;
    let head = &bytes[..bytes.len().min(SHOWN)];
    let more = if bytes.len() > SHOWN { " ..." } else { "" };
    match bytes.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(head)),
        Some(_) => format!("{}{more}", hex::encode(head)),
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
    // JSON is read sooner, where there is nothing to say of it.
    if bytes.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{')
        && let Ok(parsed) = json::parse(bytes)
        && parsed.duplicates.is_empty()
    {
        return Ok(Input { value: in_whole(parsed.value), twice: Twice::Nothing });
    }
    let bad = |e: &dyn std::fmt::Display| ApiError::bad_request(e.to_string());
    let text = std::str::from_utf8(bytes).map_err(|e| bad(&e))?;
    let (value, duplicates) = yaml::parse(text).map_err(|e| bad(&e))?;
    Ok(Input { value: in_whole(value), twice: Twice::Yaml(duplicates) })
}

/// What came as YAML with its whole numbers as such, however they were written.
fn in_whole(value: Value) -> Value {
    // Larger ones are written with an exponent.
    const MOST: f64 = 9.2e18;
    fn whole(value: &Value) -> Option<Value> {
        match value {
            Value::Number(n) if n.is_f64() => {
                n.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < MOST).map(|f| (f as i64).into())
            }
            Value::Array(list) => {
                let mut list = list.clone();
                let Ok(changed) = list.rewrite(|_, v| Ok::<_, Infallible>(whole(v)));
                changed.then_some(Value::Array(list))
            }
            Value::Object(map) => {
                let mut out = map.clone();
                let Ok(_) = out.rewrite(|_, v| Ok::<_, Infallible>(whole(v).into()));
                (!out.is_same(map)).then_some(Value::Object(out))
            }
            _ => None,
        }
    }
    whole(&value).unwrap_or(value)
}

/// Reads a configuration to be applied: YAML in every case, so that what stands twice is told by its lines.
pub(super) fn configuration(bytes: &Bytes) -> Result<Input, ApiError> {
    // JSON is YAML too, and read sooner; what it says of keys that stand twice is no line.
    if bytes.first() == Some(&b'{')
        && let Ok(parsed) = json::parse(bytes)
        && parsed.duplicates.is_empty()
    {
        return Ok(Input { value: in_whole(parsed.value), twice: Twice::Nothing });
    }
    let bad = |e: &dyn std::fmt::Display| {
        ApiError::bad_request(format!("error decoding YAML: error converting YAML to JSON: {e}"))
    };
    let text = std::str::from_utf8(bytes).map_err(|e| bad(&e))?;
    let (mut value, duplicates) = yaml::parse(text).map_err(|e| bad(&e))?;
    patch::must_be_map(&value).map_err(|why| {
        let why = format!("error decoding YAML: error unmarshaling JSON: while decoding JSON: {why}");
        ApiError::bad_request(why)
    })?;
    if value.is_null() {
        value = ironclad_json::json!({});
    }
    Ok(Input { value: in_whole(value), twice: Twice::Yaml(duplicates) })
}

fn must_be_object(value: &Value) -> Result<(), ApiError> {
    if value.is_object() {
        return Ok(());
    }
    let kind = match value {
        Value::String(_) => "string",
        Value::Number(_) => "number",
        Value::Bool(_) => "bool",
        _ => "array",
    };
    Err(ApiError::bad_request(format!(
        "couldn't get version/kind; json parse error: json: cannot unmarshal {kind} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}"
    )))
}

/// An object whose types are right.
pub(crate) struct Checked {
    pub(crate) object: Value,
    /// What of it was sent empty.
    pub(crate) empties: Empties,
    pub(crate) warnings: Vec<String>,
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
    Patched(&'a [String], patch::Plain<'a>),
    /// An object with a strategic merge patch.
    Strategic(&'a [String], &'a Value),
}

impl Request<'_> {
    /// Tells the audit what was sent as it was understood: with its type and its defaults. A patch stays as it came.
    pub(crate) fn tell_sent(&self, object: &Value) {
        if &*self.info.verb == "patch" {
            return;
        }
        ironclad_audit::note(|current| {
            current.request(|| {
                let mut sent = object.clone();
                sent["apiVersion"] = self.kind.api_version().into();
                sent["kind"] = self.kind.kind.to_string().into();
                ironclad_api::object::metadata_mut(&mut sent).remove("managedFields");
                // The fields that Go's types always write.
                if let Some(id) = bundle().kind(&self.kind.gvk()) {
                    bundle().complete_all(id, &mut sent);
                }
                Some(sent)
            });
        });
    }

    /// Checks an object of this request's kind, or of `kind` where a subresource has another: its type, then its
    /// fields.
    pub(crate) fn check(&self, kind: &Kind, input: Input) -> Result<Checked, ApiError> {
        let Input { mut value, twice } = input;
        must_be_object(&value)?;
        self.check_type(kind, &mut value)?;
        let (name, version) = (&kind.kind, &kind.version);
        let refused = |why: &str| {
            ApiError::bad_request(format!("{name} in version {version:?} cannot be handled as a {name}: {why}"))
        };
        let (unknown, empties) = match &kind.custom {
            Some(custom) => (custom.check(&mut value).map_err(|why| refused(&why.to_string()))?, Empties::default()),
            None => {
                let noticed = check::object(bundle(), type_of(kind)?, &mut value).map_err(|why| refused(&why))?;
                (noticed.unknown, noticed.empties)
            }
        };
        let (warnings, strict) = notes(&unknown, &twice);
        let warnings = self.judge(warnings, |_| refused(&strict))?;
        Ok(Checked { object: value, empties, warnings })
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
    ) -> Result<Checked, ApiError> {
        must_be_object(&value)?;
        let whole = value.clone();
        if matches!(from, Source::Strategic(..)) {
            // Its type says what an object is, whatever the patch made of these.
            value["kind"] = self.kind.kind.to_string().into();
            value["apiVersion"] = self.kind.api_version().into();
        }
        if let Err(mut error) = self.check_type(self.kind, &mut value) {
            // Stock reads what a patch made without saying what it was to be.
            if let Some((_, why)) = error.message.split_once(&format!(" cannot be handled as a {}: ", self.kind.kind)) {
                let shown = match from {
                    Source::Strategic(_, patch) => patch::go_value(patch),
                    Source::Patched(_, patch) => self.written(before, &whole, patch),
                };
                let why = FieldError::invalid_str(&Path::new("patch"), &shown, why);
                error = ApiError::invalid("", "", "", &[why]);
            }
            return Err(error);
        }
        let noted = match from {
            Source::Strategic(notes, _) | Source::Patched(notes, _) => notes,
        };
        let checked = match (&self.kind.custom, from) {
            (Some(custom), _) => {
                custom.check(&mut value).map_err(|why| why.to_string()).map(|unknown| (unknown, Empties::default()))
            }
            (None, Source::Strategic(..)) => {
                check::patched(bundle(), type_of(self.kind)?, &mut value, before).map(|n| (n.unknown, n.empties))
            }
            (None, Source::Patched(..)) => {
                check::changed(bundle(), type_of(self.kind)?, &mut value, before).map(|n| (n.unknown, n.empties))
            }
        };
        let refused = |why: String| {
            let shown = match from {
                Source::Strategic(_, patch) => patch::go_value(patch),
                Source::Patched(_, patch) => self.written(before, &whole, patch),
            };
            ApiError::invalid("", "", "", &[FieldError::invalid_str(&Path::new("patch"), &shown, why)])
        };
        let (unknown, empties) = checked.map_err(&refused)?;
        let unknown = unknown.iter().map(|u| format!("unknown field {u:?}"));
        let notes: Vec<String> = noted.iter().cloned().chain(unknown).collect();
        let warnings = self.judge(notes, |notes| refused(format!("strict decoding error: {}", notes.join(", "))))?;
        Ok(Checked { object: value, empties, warnings })
    }

    /// What a plain patch made, as messages show it.
    fn written(&self, before: &Value, after: &Value, patch: patch::Plain<'_>) -> String {
        let shape = bundle().kind(&self.kind.gvk()).map(Shape::Object);
        patch::written(bundle(), shape.as_ref(), before, after, patch)
    }

    /// Checks a configuration to be applied: only that it is of this kind, and what stood twice in it. Its fields are
    /// checked where it is applied.
    ///
    /// What stood twice is only told behind what is wrong with the rest.
    pub(crate) fn check_config(&self, input: Input) -> Result<(Value, Result<Vec<String>, ApiError>), ApiError> {
        let Input { value, twice } = input;
        let gvk = object::gvk(&value);
        if gvk != self.kind.gvk() {
            let GroupVersionKind { group, version, kind } = gvk;
            return Err(ApiError::bad_request(format!("invalid object type: {group}/{version}, Kind={kind}")));
        }
        let lines = match twice {
            Twice::Yaml(lines) => lines,
            _ => Vec::new(),
        };
        let warnings = self.judge(lines, |lines| {
            let head = "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:";
            ApiError::bad_request(format!("{head}\n  {}", lines.join("\n  ")))
        });
        Ok((value, warnings))
    }

    fn check_type(&self, kind: &Kind, value: &mut Value) -> Result<(), ApiError> {
        let (version, name) =
            (object::text(value, &["apiVersion"]).to_owned(), object::text(value, &["kind"]).to_owned());
        let (want_version, want_name) = (kind.api_version(), kind.kind.to_string());
        let sent = |text: String, want: &String| if text.is_empty() { want.clone() } else { text };
        let (version, name) = (sent(version, &want_version), sent(name, &want_name));
        if (&version, &name) != (&want_version, &want_name) {
            let gvk = GroupVersionKind::parse(&version, &name);
            if let Some(why) = other_type(kind, &gvk) {
                let asked = &gvk.version;
                return Err(ApiError::bad_request(format!(
                    "{name} in version {asked:?} cannot be handled as a {want_name}: {why}"
                )));
            }
            let (what, sent, want) = match version == want_version {
                false => ("API version", &version, &want_version),
                true => ("kind", &name, &want_name),
            };
            return Err(ApiError::bad_request(format!(
                "the {what} in the data ({sent}) does not match the expected {what} ({want})"
            )));
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

    /// What a patch made must have the name of the path.
    pub(crate) fn must_be_named(&self, value: &Value) -> Result<(), ApiError> {
        let (sent, path) = (object::name(value), &self.info.name);
        match sent {
            "" => Err(ApiError::bad_request(format!(
                "the name of the object ({path} based on URL) was undeterminable: name must be provided"
            ))),
            sent if sent != path => Err(ApiError::bad_request(format!(
                "the name of the object ({sent}) does not match the name on the URL ({path})"
            ))),
            _ => Ok(()),
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

/// The package of the forms that stock itself works on: named after the first part of the group.
fn package(kind: &Kind) -> &str {
    match kind.group.split('.').next() {
        Some("") | None => "core",
        Some(first) => first,
    }
}

/// The type of a kind's objects in stock, or of lists of them.
pub(crate) fn in_go(kind: &Kind, list: bool) -> String {
    match (&kind.custom, list) {
        (Some(_), true) => "*unstructured.UnstructuredList".to_owned(),
        (Some(_), false) => "*unstructured.Unstructured".to_owned(),
        (None, true) => format!("*{}.{}", package(kind), kind.list_kind),
        (None, false) => format!("*{}.{}", package(kind), kind.kind),
    }
}

/// Why an object of another type is not read as one of a built-in kind; `None` where it is, and only its version is
/// another.
fn other_type(kind: &Kind, sent: &GroupVersionKind) -> Option<String> {
    if kind.custom.is_some() {
        return None;
    }
    // Options belong to every group.
    let options = matches!(
        &*sent.kind,
        "DeleteOptions" | "ListOptions" | "CreateOptions" | "UpdateOptions" | "PatchOptions" | "GetOptions"
    );
    let everywhere = options
        && bundle()
            .types()
            .any(|(_, t)| t.gvk.as_ref().is_some_and(|g| (&g.group, &g.version) == (&sent.group, &sent.version)));
    // Of every kind there are lists, and lists of anything.
    let item = sent.kind.strip_suffix("List").map(|item| GroupVersionKind::new(&sent.group, &sent.version, item));
    let list = item.is_some_and(|item| item.kind.is_empty() && sent.group.is_empty() || bundle().kind(&item).is_some());
    if bundle().kind(sent).is_none() && !everywhere && !list {
        let (name, version) = (&sent.kind, sent.api_version());
        let scheme = "pkg/api/legacyscheme/scheme.go:30";
        return Some(format!("no kind {name:?} is registered for version {version:?} in scheme {scheme:?}"));
    }
    if *sent.kind == *kind.kind && *sent.group == *kind.group {
        return None;
    }
    let (from, to) = (format!("{}.{}", sent.version, sent.kind), format!("{}.{}", package(kind), kind.kind));
    Some(format!("converting ({from}) to ({to}): unknown conversion"))
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
