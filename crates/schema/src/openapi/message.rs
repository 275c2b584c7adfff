//! Protobuf messages, written field by field.

use ironclad_json::{Map, Value};

/// A message while it is written.
#[derive(Default)]
pub(super) struct Message {
    pub(super) bytes: Vec<u8>,
}

/// Appends a number as protobuf writes it.
pub fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push((n as u8) | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// The beginning of a field of so many bytes.
pub fn open_bytes(tag: u32, length: u64) -> Vec<u8> {
    let mut out = Vec::new();
    varint(&mut out, u64::from(tag << 3 | 2));
    varint(&mut out, length);
    out
}

impl Message {
    pub(super) fn raw(&mut self, tag: u32, bytes: &[u8]) {
        self.bytes.extend_from_slice(&open_bytes(tag, bytes.len() as u64));
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn text(&mut self, tag: u32, value: &Value) {
        if let Some(text) = value.as_str().filter(|t| !t.is_empty()) {
            self.raw(tag, text.as_bytes());
        }
    }

    pub(super) fn texts(&mut self, tag: u32, values: &Value) {
        values.as_array().into_iter().flatten().for_each(|v| self.text(tag, v));
    }

    pub(super) fn flag(&mut self, tag: u32, value: &Value) {
        if value == &Value::Bool(true) {
            self.number(tag, 1);
        }
    }

    fn number(&mut self, tag: u32, n: u64) {
        varint(&mut self.bytes, u64::from(tag << 3));
        varint(&mut self.bytes, n);
    }

    /// A whole number, if there is one and it is not 0.
    pub(super) fn count(&mut self, tag: u32, value: &Value) {
        if let Some(n) = value.as_i64().filter(|n| *n != 0) {
            self.number(tag, n as u64);
        }
    }

    /// A number, if there is one and it is not 0.
    pub(super) fn double(&mut self, tag: u32, value: &Value) {
        if let Some(n) = value.as_f64().filter(|n| *n != 0.0) {
            varint(&mut self.bytes, u64::from(tag << 3 | 1));
            self.bytes.extend_from_slice(&n.to_le_bytes());
        }
    }

    pub(super) fn message(&mut self, tag: u32, fill: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        fill(&mut inner);
        self.raw(tag, &inner.bytes);
    }

    /// Any value: its JSON, of which YAML is more than enough.
    pub(super) fn any(&mut self, tag: u32, value: &Value) {
        self.message(tag, |m| m.raw(2, value.to_string().as_bytes()));
    }

    /// The entries of an object as pairs of name and message.
    pub(super) fn named(&mut self, tag: u32, values: &Map, fill: fn(&mut Self, &Value)) {
        for (name, value) in values {
            self.message(tag, |m| {
                m.raw(1, name.as_bytes());
                m.message(2, |m| fill(m, value));
            });
        }
    }

    /// [`Self::named`] for a value that may be an object.
    pub(super) fn entries(&mut self, tag: u32, values: &Value, fill: fn(&mut Self, &Value)) {
        if let Value::Object(values) = values {
            self.named(tag, values, fill);
        }
    }

    pub(super) fn extensions(&mut self, tag: u32, object: &Value) {
        for (name, value) in object.as_object().into_iter().flatten().filter(|(k, _)| k.starts_with("x-")) {
            self.message(tag, |m| {
                m.raw(1, name.as_bytes());
                m.any(2, value);
            });
        }
    }
}
