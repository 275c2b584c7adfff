//! A v2 document as the protobuf message that kubectl asks for (`openapi.v2.Document`). Extensions travel as YAML text,
//! of which JSON is a part.

use ironclad_json::{Map, Value};

/// Encodes a document made by [`super::v2`].
pub fn encode(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, &document["swagger"]);
    out.message(2, |m| {
        m.text(1, &document["info"]["title"]);
        m.text(2, &document["info"]["version"]);
    });
    out.message(8, |m| m.named(2, &document["paths"], path_item));
    out.message(9, |m| m.named(1, &document["definitions"], schema));
    out.bytes
}

#[derive(Default)]
struct Message {
    bytes: Vec<u8>,
}

impl Message {
    fn varint(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.bytes.push((n as u8) | 0x80);
            n >>= 7;
        }
        self.bytes.push(n as u8);
    }

    fn raw(&mut self, tag: u32, bytes: &[u8]) {
        self.varint(u64::from(tag << 3 | 2));
        self.varint(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    fn text(&mut self, tag: u32, value: &Value) {
        if let Some(text) = value.as_str().filter(|t| !t.is_empty()) {
            self.raw(tag, text.as_bytes());
        }
    }

    fn texts(&mut self, tag: u32, values: &Value) {
        values.as_array().into_iter().flatten().for_each(|v| self.text(tag, v));
    }

    fn flag(&mut self, tag: u32, value: &Value) {
        if value == &Value::Bool(true) {
            self.varint(u64::from(tag << 3));
            self.varint(1);
        }
    }

    fn message(&mut self, tag: u32, fill: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        fill(&mut inner);
        self.raw(tag, &inner.bytes);
    }

    /// The entries of an object as pairs of name and message.
    fn named(&mut self, tag: u32, values: &Value, fill: fn(&mut Self, &Value)) {
        for (name, value) in values.as_object().into_iter().flatten() {
            self.message(tag, |m| {
                m.raw(1, name.as_bytes());
                m.message(2, |m| fill(m, value));
            });
        }
    }

    fn extensions(&mut self, tag: u32, object: &Value) {
        let all = object.as_object().into_iter().flatten();
        let mine: Map = all.filter(|(k, _)| k.starts_with("x-")).map(|(k, v)| (k.clone(), v.clone())).collect();
        self.named(tag, &Value::Object(mine), |m, value| m.raw(2, value.to_string().as_bytes()));
    }
}

fn path_item(m: &mut Message, item: &Value) {
    for (tag, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        if let Some(op) = item.get(method) {
            m.message(tag, |m| operation(m, op));
        }
    }
}

fn operation(m: &mut Message, op: &Value) {
    m.texts(1, &op["tags"]);
    m.text(3, &op["description"]);
    m.text(5, &op["operationId"]);
    m.texts(6, &op["produces"]);
    m.texts(7, &op["consumes"]);
    for p in op["parameters"].as_array().into_iter().flatten() {
        m.message(8, |m| m.message(1, |m| parameter(m, p)));
    }
    m.message(9, |m| m.named(1, &op["responses"], |m, r| m.message(1, |m| response(m, r))));
    m.extensions(13, op);
}

fn parameter(m: &mut Message, p: &Value) {
    if p["in"] == "body" {
        return m.message(1, |m| {
            m.text(1, &p["description"]);
            m.text(2, &p["name"]);
            m.text(3, &p["in"]);
            m.flag(4, &p["required"]);
            m.message(5, |m| schema(m, &p["schema"]));
        });
    }
    // The numbers of a query parameter's fields and of a path parameter's differ after the name.
    let (place, ty, unique) = if p["in"] == "path" { (4, 5, 19) } else { (3, 6, 20) };
    m.message(2, |m| {
        m.message(place, |m| {
            m.flag(1, &p["required"]);
            m.text(2, &p["in"]);
            m.text(3, &p["description"]);
            m.text(4, &p["name"]);
            m.text(ty, &p["type"]);
            m.flag(unique, &p["uniqueItems"]);
        });
    });
}

fn response(m: &mut Message, r: &Value) {
    m.text(1, &r["description"]);
    if let Some(s) = r.get("schema") {
        m.message(2, |m| m.message(1, |m| schema(m, s)));
    }
}

fn schema(m: &mut Message, s: &Value) {
    m.text(1, &s["$ref"]);
    m.text(2, &s["format"]);
    m.text(4, &s["description"]);
    m.texts(19, &s["required"]);
    if let Some(values) = s.get("additionalProperties") {
        m.message(21, |m| m.message(1, |m| schema(m, values)));
    }
    if s["type"].is_string() {
        m.message(22, |m| m.text(1, &s["type"]));
    }
    if let Some(items) = s.get("items") {
        m.message(23, |m| m.message(1, |m| schema(m, items)));
    }
    if s["properties"].is_object() {
        m.message(25, |m| m.named(1, &s["properties"], schema));
    }
    m.extensions(31, s);
}
