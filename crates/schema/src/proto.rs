//! Objects in the protobuf form of Kubernetes: an envelope (`k8s\0` and `runtime.Unknown`) around a message.
//!
//! Typed clients send this form. It is turned into JSON by the messages' field numbers; what JSON leaves out because it
//! is empty is left out here too.

mod newer;

use crate::bundle::{Bundle, Shape, Type, TypeId, inflate};
use base64::Engine;
use ironclad_api::GroupVersionKind;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::LazyLock;

static MESSAGES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/proto.bin"));
const MAGIC: &[u8; 4] = b"k8s\0";
const DEPTH: u32 = 64;

/// Fields that are pointers in the stock types: empty means something there.
const POINTERS: &[&str] = &[
    "activeDeadlineSeconds",
    "allocateLoadBalancerNodePorts",
    "allowPrivilegeEscalation",
    "allowVolumeExpansion",
    "automountServiceAccountToken",
    "backoffLimit",
    "blockOwnerDeletion",
    "completions",
    "controller",
    "defaultMode",
    "defaultUser",
    "enableServiceLinks",
    "expirationSeconds",
    "failedJobsHistoryLimit",
    "fsGroup",
    "gracePeriodSeconds",
    "hostUsers",
    "immutable",
    "leaseDurationSeconds",
    "leaseTransitions",
    "minReplicas",
    "mode",
    "optional",
    "orphanDependents",
    "parallelism",
    "partition",
    "priority",
    "privileged",
    "progressDeadlineSeconds",
    "readOnlyRootFilesystem",
    "ready",
    "replicas",
    "revisionHistoryLimit",
    "runAsGroup",
    "runAsNonRoot",
    "runAsUser",
    "serving",
    "setHostnameAsFQDN",
    "shareProcessNamespace",
    "started",
    "startingDeadlineSeconds",
    "storageClassName",
    "successfulJobsHistoryLimit",
    "suspend",
    "terminating",
    "terminationGracePeriodSeconds",
    "tolerationSeconds",
    "ttlSecondsAfterFinished",
];

#[derive(Clone)]
struct Wire {
    name: String,
    kind: String,
    message: String,
}

type Messages = HashMap<String, HashMap<u32, Wire>>;

fn messages() -> &'static Messages {
    static TABLE: LazyLock<Messages> = LazyLock::new(|| {
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let field = |f: &Value| {
            let wire = Wire { name: text(&f[1]), kind: text(&f[2]), message: text(&f[3]) };
            (f[0].as_u64().unwrap_or(0) as u32, wire)
        };
        let message = |m: &Value| (text(&m[0]), m[1].as_array().into_iter().flatten().map(field).collect());
        let mut messages: Messages = inflate(MESSAGES).as_array().into_iter().flatten().map(message).collect();
        newer::add(&mut messages);
        messages
    });
    &TABLE
}

/// Whether bytes are an enveloped object.
pub fn is_envelope(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// An enveloped object as JSON.
pub fn decode(bundle: &Bundle, bytes: &[u8]) -> Result<Value, String> {
    let body = bytes.strip_prefix(MAGIC).ok_or("the object has no protobuf envelope")?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    let mut reader = Reader { bytes: body };
    while let Some((number, field)) = reader.next()? {
        match (number, field) {
            (1, Field::Bytes(meta)) => {
                let mut inner = Reader { bytes: meta };
                while let Some((number, field)) = inner.next()? {
                    match (number, field) {
                        (1, Field::Bytes(b)) => api_version = text(b)?,
                        (2, Field::Bytes(b)) => kind = text(b)?,
                        _ => {}
                    }
                }
            }
            (2, Field::Bytes(b)) => raw = b,
            _ => {}
        }
    }
    let gvk = GroupVersionKind::parse(&api_version, &kind);
    let known = bundle.kind(&gvk).or_else(|| by_name(bundle, &kind));
    let id = known.ok_or_else(|| format!("no kind {kind:?} is registered for version {api_version:?}"))?;
    let mut map = Map::new();
    let ty = bundle.get(id);
    Decoder { bundle }.message(&ty.path, Some(ty), raw, &mut map, 0)?;
    map.insert("apiVersion".into(), json!(api_version));
    map.insert("kind".into(), json!(kind));
    Ok(Value::Object(map))
}

/// Types of requests such as `DeleteOptions`, which every group has.
fn by_name(bundle: &Bundle, kind: &str) -> Option<TypeId> {
    bundle.definition(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}"))
}

fn text(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "a text is no UTF-8".to_owned())
}

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed(u64),
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.bytes.split_first().ok_or("unexpected EOF")?;
            self.bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number is too long".to_owned())
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let (front, rest) = self.bytes.split_at_checked(n).ok_or("unexpected EOF")?;
        self.bytes = rest;
        Ok(front)
    }

    fn next(&mut self) -> Result<Option<(u32, Field<'a>)>, String> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let fixed = |b: &[u8]| b.iter().rev().fold(0u64, |v, x| v << 8 | u64::from(*x));
        let field = match key & 7 {
            0 => Field::Number(self.varint()?),
            1 => Field::Fixed(fixed(self.take(8)?)),
            2 => {
                let length = self.varint()?;
                Field::Bytes(self.take(usize::try_from(length).map_err(|_| "unexpected EOF")?)?)
            }
            5 => Field::Fixed(fixed(self.take(4)?)),
            other => return Err(format!("illegal wireType {other}")),
        };
        Ok(Some(((key >> 3) as u32, field)))
    }
}

struct Decoder<'a> {
    bundle: &'a Bundle,
}

impl Decoder<'_> {
    /// Decodes the fields of a message into `out`. `ty` gives them their names in JSON.
    fn message(
        &self,
        path: &str,
        ty: Option<&Type>,
        bytes: &[u8],
        out: &mut Map<String, Value>,
        depth: u32,
    ) -> Result<(), String> {
        if depth > DEPTH {
            return Err("the object is nested too deeply".to_owned());
        }
        let Some(fields) = messages().get(path) else { return Err(format!("no message {path}")) };
        let mut reader = Reader { bytes };
        while let Some((number, field)) = reader.next()? {
            // A field that is newer than the table.
            let Some(wire) = fields.get(&number) else { continue };
            let known = ty.and_then(|t| t.fields.iter().find(|f| f.name.to_lowercase() == wire.name));
            let Some(known) = known else {
                // A message that has no name of its own in JSON: its fields stand beside the others.
                if wire.kind == "message"
                    && let Field::Bytes(inner) = field
                {
                    self.message(&wire.message, ty, inner, out, depth + 1)?;
                }
                continue;
            };
            self.field(wire, known, field, out, depth)?;
        }
        Ok(())
    }

    fn field(
        &self,
        wire: &Wire,
        known: &crate::bundle::Field,
        field: Field<'_>,
        out: &mut Map<String, Value>,
        depth: u32,
    ) -> Result<(), String> {
        let name = known.name.clone();
        match (wire.kind.as_bytes().first(), field) {
            (Some(b'['), Field::Bytes(bytes)) if matches!(&wire.kind[1..], "int32" | "int64" | "bool") => {
                // Packed numbers.
                let mut reader = Reader { bytes };
                while !reader.bytes.is_empty() {
                    let number = Field::Number(reader.varint()?);
                    let value = self.value(&wire.kind[1..], wire, &known.shape, number, depth)?;
                    push(out, &name, value);
                }
            }
            (Some(b'['), field) => {
                let inner = match &known.shape {
                    Shape::List(inner) => inner,
                    other => other,
                };
                let value = self.value(&wire.kind[1..], wire, inner, field, depth)?;
                push(out, &name, value);
            }
            (Some(b'{'), Field::Bytes(entry)) => {
                let inner = match &known.shape {
                    Shape::Map(inner) => inner,
                    other => other,
                };
                let (mut key, mut value) = (String::new(), None);
                let mut reader = Reader { bytes: entry };
                while let Some((number, field)) = reader.next()? {
                    match (number, field) {
                        (1, Field::Bytes(b)) => key = text(b)?,
                        (2, field) => value = Some(self.value(&wire.kind[1..], wire, inner, field, depth)?),
                        _ => {}
                    }
                }
                let value = value.unwrap_or_else(|| json!(""));
                if let Value::Object(map) = out.entry(name).or_insert_with(|| json!({})) {
                    map.insert(key, value);
                }
            }
            (_, field) => {
                let value = self.value(&wire.kind, wire, &known.shape, field, depth)?;
                let empty = value == json!("") || value == json!(0) || value == json!(false) || value.is_null();
                let meant = known.required || POINTERS.contains(&name.as_str());
                if !empty || (meant && !value.is_null()) {
                    out.insert(name, value);
                }
            }
        }
        Ok(())
    }

    fn value(&self, kind: &str, wire: &Wire, shape: &Shape, field: Field<'_>, depth: u32) -> Result<Value, String> {
        Ok(match (kind, field) {
            ("string", Field::Bytes(b)) => json!(text(b)?),
            ("bytes", Field::Bytes(b)) => json!(base64::engine::general_purpose::STANDARD.encode(b)),
            ("int32", Field::Number(n)) => json!(n as i32),
            ("int64", Field::Number(n)) => json!(n as i64),
            ("bool", Field::Number(n)) => json!(n != 0),
            ("double", Field::Fixed(n)) => json!(f64::from_bits(n)),
            ("message", Field::Bytes(b)) => self.nested(wire, shape, b, depth)?,
            _ => return Err(format!("wrong wireType for field {}", wire.name)),
        })
    }

    fn nested(&self, wire: &Wire, shape: &Shape, bytes: &[u8], depth: u32) -> Result<Value, String> {
        match wire.message.rsplit("::").next().unwrap_or_default() {
            "Time" => time(bytes, ironclad_api::time::rfc3339),
            "MicroTime" => time(bytes, ironclad_api::time::rfc3339_micro),
            "Quantity" => Ok(first(bytes, 1)?.map_or(Value::Null, |b| json!(String::from_utf8_lossy(b)))),
            "FieldsV1" | "RawExtension" | "JSON" => {
                let raw = first(bytes, 1)?.unwrap_or(b"null");
                serde_json::from_slice(raw).map_err(|e| format!("raw JSON: {e}"))
            }
            "IntOrString" => int_or_string(bytes),
            "ExtraValue" | "Verbs" | "Optional" => {
                let mut items = Vec::new();
                let mut reader = Reader { bytes };
                while let Some((_, field)) = reader.next()? {
                    if let Field::Bytes(b) = field {
                        items.push(json!(text(b)?));
                    }
                }
                Ok(Value::Array(items))
            }
            name if name.starts_with("JSONSchemaPropsOr") => {
                Err("custom resource definitions must be sent as JSON or YAML".to_owned())
            }
            _ => {
                let ty = match shape {
                    Shape::Object(id) => Some(self.bundle.get(*id)),
                    _ => None,
                };
                let mut map = Map::new();
                self.message(&wire.message, ty, bytes, &mut map, depth + 1)?;
                Ok(Value::Object(map))
            }
        }
    }
}

fn push(out: &mut Map<String, Value>, name: &str, value: Value) {
    if let Value::Array(items) = out.entry(name).or_insert_with(|| json!([])) {
        items.push(value);
    }
}

fn first(bytes: &[u8], wanted: u32) -> Result<Option<&[u8]>, String> {
    let mut reader = Reader { bytes };
    while let Some((number, field)) = reader.next()? {
        if let Field::Bytes(b) = field
            && number == wanted
        {
            return Ok(Some(b));
        }
    }
    Ok(None)
}

fn time(bytes: &[u8], write: fn(jiff::Timestamp) -> String) -> Result<Value, String> {
    let (mut seconds, mut nanos) = (None, 0);
    let mut reader = Reader { bytes };
    while let Some((number, field)) = reader.next()? {
        match (number, field) {
            (1, Field::Number(n)) => seconds = Some(n as i64),
            (2, Field::Number(n)) => nanos = n as i32,
            _ => {}
        }
    }
    // The year 1 is Go's way to say that there is no time.
    let Some(seconds) = seconds.filter(|s| *s != -62_135_596_800) else { return Ok(Value::Null) };
    let stamp = jiff::Timestamp::new(seconds, nanos).map_err(|e| e.to_string())?;
    Ok(json!(write(stamp)))
}

fn int_or_string(bytes: &[u8]) -> Result<Value, String> {
    let (mut is_text, mut number, mut string) = (false, 0, String::new());
    let mut reader = Reader { bytes };
    while let Some((field, value)) = reader.next()? {
        match (field, value) {
            (1, Field::Number(n)) => is_text = n == 1,
            (2, Field::Number(n)) => number = n as i32,
            (3, Field::Bytes(b)) => string = text(b)?,
            _ => {}
        }
    }
    Ok(if is_text { json!(string) } else { json!(number) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bundle, check};

    /// The fixtures of the upstream API library, beside the checkout; without them there is nothing to compare.
    #[test]
    fn upstream_objects_decode_to_their_json() {
        let dir =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/api-roundtrip/v1.37-dev");
        let Ok(entries) = std::fs::read_dir(dir) else { return eprintln!("no fixtures: nothing was compared") };
        let (mut same, mut other) = (0, Vec::new());
        for entry in entries.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "pb")) {
            let json: Value = serde_json::from_slice(&std::fs::read(entry.with_extension("json")).unwrap()).unwrap();
            let gvk = ironclad_api::object::gvk(&json);
            let Some(id) = bundle().kind(&gvk) else { continue };
            let decoded = decode(bundle(), &std::fs::read(&entry).unwrap());
            let normal = |mut v: Value| {
                let noticed = check::object(bundle(), id, &mut v);
                noticed.map(|_| v)
            };
            match decoded.and_then(normal) {
                Ok(v) if Ok(&v) == normal(json.clone()).as_ref() => same += 1,
                result => other.push(format!("{gvk}: {:?}", result.map(|v| first_difference(&v, &json)))),
            }
        }
        eprintln!("{same} objects are the same, others: {other:#?}");
        assert!(same >= 80, "{same}");
    }

    fn first_difference(a: &Value, b: &Value) -> String {
        let keys = a.as_object().into_iter().flatten().chain(b.as_object().into_iter().flatten()).map(|(k, _)| k);
        match (a, b) {
            (Value::Object(x), Value::Object(y)) => keys
                .filter(|k| x.get(*k) != y.get(*k))
                .map(|k| format!(".{k}{}", first_difference(&a[k], &b[k])))
                .next()
                .unwrap_or_default(),
            (Value::Array(x), Value::Array(y)) if x.len() == y.len() => {
                let place = (0..x.len()).find(|i| x[*i] != y[*i]).unwrap_or(0);
                format!("[{place}]{}", first_difference(&x[place], &y[place]))
            }
            _ => format!(": {a} != {b}"),
        }
    }

    #[test]
    fn cut_off_and_foreign_bytes_are_refused() {
        assert!(decode(bundle(), b"{}").is_err());
        assert!(decode(bundle(), b"k8s\0\x0a\xff").is_err());
        assert!(decode(bundle(), b"k8s\0\x0a\x08\x0a\x02v1\x12\x02No").is_err());
    }
}
