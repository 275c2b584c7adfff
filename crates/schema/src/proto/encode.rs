//! JSON to messages, byte for byte as Go's generated code writes them: fields by their tags, values also when they are
//! zero, map entries by their keys.

use super::wire::{Field, MessageId, Number, Presence, Sort, wire};
use base64::Engine;
use ironclad_json::{Map, Value};

/// An object as a message, without its kind and version.
pub(super) fn object(id: MessageId, object: &Map, out: &mut Vec<u8>) -> Result<(), String> {
    for field in &wire().get(id).fields {
        if let (true, Sort::Message(inner)) = (field.name.is_empty(), field.sort) {
            nested(out, field.tag, |out| self::object(inner, object, out))?;
            continue;
        }
        let value = object.get(&field.name).filter(|v| !v.is_null());
        match (field.number, value) {
            (Number::One, Some(value)) => one(out, field.tag, field, value)?,
            (Number::One, None) if field.presence == Presence::Pointer => {}
            (Number::One, None) => zero(out, field)?,
            (Number::Many, Some(Value::Array(items))) => {
                items.iter().try_for_each(|item| one(out, field.tag, field, item))?;
            }
            (Number::Map, Some(Value::Object(entries))) => map(out, field, entries)?,
            (_, None) => {}
            (_, Some(_)) => return Err(wrong(field)),
        }
    }
    Ok(())
}

fn wrong(field: &Field) -> String {
    format!("field {} has a value that the wire format cannot hold", field.name)
}

pub(super) fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push((n as u8) | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// How many bytes [`varint`] writes.
pub(super) fn varint_len(n: u64) -> usize {
    (64 - (n | 1).leading_zeros() as usize).div_ceil(7)
}

fn key(out: &mut Vec<u8>, tag: u32, wire: u32) {
    varint(out, u64::from(tag << 3 | wire));
}

fn number(out: &mut Vec<u8>, tag: u32, n: u64) {
    key(out, tag, 0);
    varint(out, n);
}

pub(super) fn bytes(out: &mut Vec<u8>, tag: u32, bytes: &[u8]) {
    key(out, tag, 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A message of which the first field is all.
fn wrapped(out: &mut Vec<u8>, tag: u32, inner: &[u8]) {
    key(out, tag, 2);
    varint(out, (1 + varint_len(inner.len() as u64) + inner.len()) as u64);
    bytes(out, 1, inner);
}

/// A message within a message: its length goes before it when it is known.
pub(super) fn nested(
    out: &mut Vec<u8>,
    tag: u32,
    fill: impl FnOnce(&mut Vec<u8>) -> Result<(), String>,
) -> Result<(), String> {
    key(out, tag, 2);
    let start = out.len();
    out.push(0);
    fill(out)?;
    let length = out.len() - start - 1;
    match varint_len(length as u64) {
        1 => out[start] = length as u8,
        more => {
            let end = out.len();
            out.resize(end + more - 1, 0);
            out.copy_within(start + 1..end, start + more);
            let mut prefix = Vec::with_capacity(more);
            varint(&mut prefix, length as u64);
            out[start..start + more].copy_from_slice(&prefix);
        }
    }
    Ok(())
}

fn map(out: &mut Vec<u8>, field: &Field, entries: &Map) -> Result<(), String> {
    let mut sorted: Vec<(&ironclad_json::Text, &Value)> = entries.iter().collect();
    sorted.sort_by_key(|e| e.0);
    for (name, value) in sorted {
        nested(out, field.tag, |out| {
            bytes(out, 1, name.as_bytes());
            if value.is_null() { zero_of(out, 2, field.sort) } else { one(out, 2, field, value) }
        })?;
    }
    Ok(())
}

fn zero(out: &mut Vec<u8>, field: &Field) -> Result<(), String> {
    match field.sort {
        // No bytes are not empty bytes.
        Sort::Bytes => Ok(()),
        sort => zero_of(out, field.tag, sort),
    }
}

fn zero_of(out: &mut Vec<u8>, tag: u32, sort: Sort) -> Result<(), String> {
    match sort {
        Sort::String | Sort::Bytes => bytes(out, tag, b""),
        Sort::Int32 | Sort::Int64 | Sort::Bool => number(out, tag, 0),
        Sort::Double => fixed(out, tag, 0.0),
        Sort::Time | Sort::MicroTime | Sort::Raw | Sort::Items => bytes(out, tag, b""),
        Sort::Quantity => wrapped(out, tag, b"0"),
        Sort::IntOrString => return int_or_string(out, tag, 0, None),
        Sort::Message(id) => return nested(out, tag, |out| object(id, &Map::new(), out)),
        Sort::SchemaOrArray | Sort::SchemaOrBool | Sort::SchemaOrStrings => {}
    }
    Ok(())
}

fn fixed(out: &mut Vec<u8>, tag: u32, n: f64) {
    key(out, tag, 1);
    out.extend_from_slice(&n.to_bits().to_le_bytes());
}

fn one(out: &mut Vec<u8>, tag: u32, field: &Field, value: &Value) -> Result<(), String> {
    match (field.sort, value) {
        (Sort::String, Value::String(s)) => bytes(out, tag, s.as_bytes()),
        (Sort::Bytes, Value::String(s)) => {
            let decoded = base64::engine::general_purpose::STANDARD.decode(s);
            bytes(out, tag, &decoded.map_err(|_| wrong(field))?);
        }
        (Sort::Int32 | Sort::Int64, Value::Number(n)) => {
            number(out, tag, whole(n).ok_or_else(|| wrong(field))? as u64);
        }
        (Sort::Bool, Value::Bool(b)) => number(out, tag, u64::from(*b)),
        (Sort::Double, Value::Number(n)) => fixed(out, tag, n.as_f64().unwrap_or(0.0)),
        (Sort::Time, Value::String(s)) => return time(out, tag, s, false),
        (Sort::MicroTime, Value::String(s)) => return time(out, tag, s, true),
        (Sort::Quantity, Value::String(s)) => wrapped(out, tag, s.as_bytes()),
        (Sort::Quantity, Value::Number(n)) => wrapped(out, tag, n.to_string().as_bytes()),
        (Sort::IntOrString, Value::Number(n)) => {
            return int_or_string(out, tag, whole(n).ok_or_else(|| wrong(field))?, None);
        }
        (Sort::IntOrString, Value::String(s)) => return int_or_string(out, tag, 0, Some(s)),
        (Sort::Raw, raw) => {
            let json = serde_json::to_vec(raw).map_err(|e| e.to_string())?;
            wrapped(out, tag, &json);
        }
        (Sort::Items, Value::Array(items)) => return nested(out, tag, |out| strings(out, 1, field, items)),
        (Sort::SchemaOrArray | Sort::SchemaOrBool | Sort::SchemaOrStrings, value) => {
            return nested(out, tag, |out| schema_or(out, field, value));
        }
        (Sort::Message(id), Value::Object(map)) => return nested(out, tag, |out| object(id, map, out)),
        _ => return Err(wrong(field)),
    }
    Ok(())
}

fn whole(n: &serde_json::Number) -> Option<i64> {
    n.as_i64().or_else(|| n.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < 9e15).map(|f| f as i64))
}

fn strings(out: &mut Vec<u8>, tag: u32, field: &Field, items: &[Value]) -> Result<(), String> {
    for item in items {
        bytes(out, tag, item.as_str().ok_or_else(|| wrong(field))?.as_bytes());
    }
    Ok(())
}

fn schema_or(out: &mut Vec<u8>, field: &Field, value: &Value) -> Result<(), String> {
    let schema = wire().schema;
    let is_bool = field.sort == Sort::SchemaOrBool;
    match value {
        Value::Bool(allows) if is_bool => number(out, 1, u64::from(*allows)),
        Value::Object(map) if is_bool => {
            number(out, 1, 1);
            nested(out, 2, |out| object(schema, map, out))?;
        }
        Value::Object(map) => nested(out, 1, |out| object(schema, map, out))?,
        Value::Array(items) if field.sort == Sort::SchemaOrStrings => strings(out, 2, field, items)?,
        Value::Array(items) if field.sort == Sort::SchemaOrArray => {
            for item in items {
                let Value::Object(map) = item else { return Err(wrong(field)) };
                nested(out, 2, |out| object(schema, map, out))?;
            }
        }
        _ => return Err(wrong(field)),
    }
    Ok(())
}

/// An empty text is Go's time that is none.
fn time(out: &mut Vec<u8>, tag: u32, text: &str, micro: bool) -> Result<(), String> {
    if text.is_empty() {
        bytes(out, tag, b"");
        return Ok(());
    }
    let stamp: jiff::Timestamp = text.parse().map_err(|_| format!("{text:?} is no time"))?;
    let nanos = stamp.as_nanosecond().rem_euclid(1_000_000_000);
    let nanos = if micro { nanos / 1000 * 1000 } else { 0 };
    let seconds = stamp.as_nanosecond().div_euclid(1_000_000_000) as i64;
    nested(out, tag, |out| {
        number(out, 1, seconds as u64);
        number(out, 2, nanos as u64);
        Ok(())
    })
}

fn int_or_string(out: &mut Vec<u8>, tag: u32, n: i64, text: Option<&str>) -> Result<(), String> {
    nested(out, tag, |out| {
        number(out, 1, u64::from(text.is_some()));
        number(out, 2, n as u64);
        bytes(out, 3, text.unwrap_or_default().as_bytes());
        Ok(())
    })
}
