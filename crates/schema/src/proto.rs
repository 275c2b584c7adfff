//! Objects in the protobuf form of Kubernetes: an envelope (`k8s\0` and `runtime.Unknown`) around a message.
//!
//! Invariants: what is written is what Go's generated code writes, byte for byte; reading never panics, and takes memory
//! in proportion to what was read.

mod decode;
mod encode;
mod older;
mod reader;
pub(crate) mod wire;

#[cfg(test)]
mod tests;

use crate::bundle::Bundle;
use bytes::Bytes;
use encode::varint_len;
use ironclad_api::{GroupVersionKind, object};
use ironclad_json::{Value, json};
use reader::{Item, Reader, text};
use wire::wire;

pub use wire::MessageId;

const MAGIC: &[u8; 4] = b"k8s\0";
/// The group of aggregated discovery, whose kinds are no resources.
const DISCOVERY: (&str, &str) = ("apidiscovery.k8s.io", "io.k8s.api.apidiscovery.v2");
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// What a message holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Object(MessageId),
    ListOf(MessageId),
}

/// The message of the objects of a kind; `None` for kinds that have no such form, as custom resources and tables.
pub fn message(bundle: &Bundle, gvk: &GroupVersionKind) -> Option<MessageId> {
    let own = bundle.kind(gvk).and_then(|id| wire().find(&bundle.get(id).definition));
    // Requests and answers that every group has, such as `DeleteOptions` and `Status`.
    own.or_else(|| wire().find(&format!("{META}.{}", gvk.kind)))
        .or_else(|| older::message(gvk))
        .or_else(|| (gvk.group == DISCOVERY.0).then(|| wire().find(&format!("{}.{}", DISCOVERY.1, gvk.kind)))?)
}

fn form(bundle: &Bundle, gvk: &GroupVersionKind) -> Option<Form> {
    message(bundle, gvk).map(Form::Object).or_else(|| {
        let kind = gvk.kind.strip_suffix("List")?;
        message(bundle, &GroupVersionKind { kind: kind.to_owned(), ..gvk.clone() }).map(Form::ListOf)
    })
}

/// Whether bytes are an enveloped object.
pub fn is_envelope(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// An enveloped object as JSON.
pub fn decode(bundle: &Bundle, bytes: &[u8]) -> Result<Value, String> {
    let body = bytes.strip_prefix(MAGIC).ok_or("the object has no protobuf envelope")?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    let mut reader = Reader::new(body);
    while let Some((tag, item)) = reader.next()? {
        match (tag, item) {
            (1, Item::Bytes(meta)) => {
                let mut inner = Reader::new(meta);
                while let Some((tag, item)) = inner.next()? {
                    match (tag, item) {
                        (1, Item::Bytes(b)) => api_version = text(b)?,
                        (2, Item::Bytes(b)) => kind = text(b)?,
                        _ => {}
                    }
                }
            }
            (2, Item::Bytes(b)) => raw = b,
            _ => {}
        }
    }
    let gvk = GroupVersionKind::parse(&api_version, &kind);
    let unknown = || format!("no kind {kind:?} is registered for version {api_version:?} in scheme");
    let mut map = match form(bundle, &gvk).ok_or_else(unknown)? {
        Form::Object(id) => decode::object(id, raw)?,
        Form::ListOf(id) => decode::list(id, raw)?,
    };
    map.insert("apiVersion", json!(api_version));
    map.insert("kind", json!(kind));
    Ok(Value::Object(map))
}

/// An object as a message without an envelope, as lists hold it.
pub fn encode_message(id: MessageId, object: &Value) -> Result<Vec<u8>, String> {
    let Value::Object(map) = object else { return Err("only an object can be encoded".to_owned()) };
    let mut out = Vec::with_capacity(512);
    encode::object(id, map, &mut out)?;
    Ok(out)
}

/// An object or a list with its envelope. `None` where its kind has no such form.
pub fn encode(bundle: &Bundle, object: &Value) -> Option<Result<Vec<u8>, String>> {
    let gvk = object::gvk(object);
    let form = form(bundle, &gvk)?;
    let api_version = object::text(object, &["apiVersion"]);
    let whole = |raw: Vec<u8>| envelope(api_version, &gvk.kind, [raw.into()]).concat();
    Some(match form {
        Form::Object(id) => encode_message(id, object).map(whole),
        Form::ListOf(id) => {
            let items = object["items"].as_array().into_iter().flatten();
            let items: Result<Vec<Bytes>, String> = items.map(|i| encode_message(id, i).map(Bytes::from)).collect();
            items.map(|items| list(api_version, &gvk.kind, &object["metadata"], items).concat())
        }
    })
}

/// Puts an envelope around the pieces of a message.
pub fn envelope(api_version: &str, kind: &str, raw: impl IntoIterator<Item = Bytes>) -> Vec<Bytes> {
    let raw: Vec<Bytes> = raw.into_iter().collect();
    let length: usize = raw.iter().map(Bytes::len).sum();
    let mut meta = Vec::with_capacity(api_version.len() + kind.len() + 4);
    encode::bytes(&mut meta, 1, api_version.as_bytes());
    encode::bytes(&mut meta, 2, kind.as_bytes());
    let mut head = MAGIC.to_vec();
    encode::bytes(&mut head, 1, &meta);
    head.push(2 << 3 | 2);
    encode::varint(&mut head, length as u64);
    let mut out = Vec::with_capacity(raw.len() + 2);
    out.push(Bytes::from(head));
    out.extend(raw);
    // Content encoding and content type, both empty.
    out.push(Bytes::from_static(&[3 << 3 | 2, 0, 4 << 3 | 2, 0]));
    out
}

/// A list of messages, none of which is copied, with its envelope.
pub fn list(api_version: &str, kind: &str, metadata: &Value, items: Vec<Bytes>) -> Vec<Bytes> {
    let meta = wire().find(&format!("{META}.ListMeta")).expect("the table has it");
    let mut head = Vec::new();
    let object = metadata.as_object().cloned().unwrap_or_default();
    // Metadata of a list is made by the server itself, so that it always fits.
    let _ = encode::nested(&mut head, 1, |out| encode::object(meta, &object, out));
    let mut raw = Vec::with_capacity(items.len() * 2 + 1);
    raw.push(Bytes::from(head));
    for item in items {
        let mut prefix = Vec::with_capacity(1 + varint_len(item.len() as u64));
        prefix.push(2 << 3 | 2);
        encode::varint(&mut prefix, item.len() as u64);
        raw.push(Bytes::from(prefix));
        raw.push(item);
    }
    envelope(api_version, kind, raw)
}

/// A watch event around an enveloped object, with the length before it that a stream of events has.
pub fn event(kind: &str, object: &[Bytes]) -> Vec<u8> {
    let length: usize = object.iter().map(Bytes::len).sum();
    let inner = 1 + varint_len(length as u64) + length;
    let mut out = Vec::with_capacity(inner + kind.len() + 16);
    out.extend_from_slice(&[0; 4]);
    encode::bytes(&mut out, 1, kind.as_bytes());
    out.push(2 << 3 | 2);
    encode::varint(&mut out, inner as u64);
    out.push(1 << 3 | 2);
    encode::varint(&mut out, length as u64);
    object.iter().for_each(|b| out.extend_from_slice(b));
    let whole = (out.len() - 4) as u32;
    out[..4].copy_from_slice(&whole.to_be_bytes());
    out
}
