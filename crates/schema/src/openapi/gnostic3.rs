//! Documents of version 3 as the protobuf message that clients ask for (`openapi.v3.Document`). What may be anything
//! travels as YAML text, of which JSON is a part.

use super::message::Message;
use ironclad_json::Value;

/// Encodes a document of version 3.
pub fn encode(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, &document["openapi"]);
    out.message(2, |m| {
        m.text(1, &document["info"]["title"]);
        m.text(2, &document["info"]["description"]);
        m.text(6, &document["info"]["version"]);
    });
    out.message(4, |m| m.entries(1, &document["paths"], path_item));
    out.message(5, |m| {
        let components = &document["components"];
        m.message(1, |m| m.entries(1, &components["schemas"], schema));
        if components["securitySchemes"].is_object() {
            m.message(7, |m| m.entries(1, &components["securitySchemes"], security_scheme));
        }
    });
    out.bytes
}

const METHODS: [(u32, &str); 7] =
    [(4, "get"), (5, "put"), (6, "post"), (7, "delete"), (8, "options"), (9, "head"), (10, "patch")];

fn path_item(m: &mut Message, item: &Value) {
    for (tag, method) in METHODS {
        if let Some(op) = item.get(method) {
            m.message(tag, |m| operation(m, op));
        }
    }
    parameters(m, 13, &item["parameters"]);
}

fn parameters(m: &mut Message, tag: u32, list: &Value) {
    for p in list.as_array().into_iter().flatten() {
        m.message(tag, |m| {
            m.message(1, |m| {
                m.text(1, &p["name"]);
                m.text(2, &p["in"]);
                m.text(3, &p["description"]);
                m.flag(4, &p["required"]);
                m.message(10, |m| schema(m, &p["schema"]));
            });
        });
    }
}

fn operation(m: &mut Message, op: &Value) {
    m.texts(1, &op["tags"]);
    m.text(3, &op["description"]);
    m.text(5, &op["operationId"]);
    parameters(m, 6, &op["parameters"]);
    if let Some(body) = op.get("requestBody") {
        m.message(7, |m| {
            m.message(1, |m| {
                content(m, 2, &body["content"]);
                m.flag(3, &body["required"]);
            });
        });
    }
    m.message(8, |m| {
        m.entries(2, &op["responses"], |m, r| {
            m.message(1, |m| {
                m.text(1, &r["description"]);
                content(m, 3, &r["content"]);
            });
        });
    });
    m.extensions(13, op);
}

fn content(m: &mut Message, tag: u32, content: &Value) {
    if content.is_object() {
        m.message(tag, |m| m.entries(1, content, |m, media| m.message(1, |m| schema(m, &media["schema"]))));
    }
}

fn security_scheme(m: &mut Message, s: &Value) {
    m.message(1, |m| {
        m.text(1, &s["type"]);
        m.text(2, &s["description"]);
        m.text(3, &s["name"]);
        m.text(4, &s["in"]);
    });
}

/// A schema, or a reference to one.
fn schema(m: &mut Message, s: &Value) {
    match s.get("$ref") {
        Some(reference) => m.message(2, |m| m.text(1, reference)),
        None => m.message(1, |m| plain(m, s)),
    }
}

fn plain(m: &mut Message, s: &Value) {
    m.flag(1, &s["nullable"]);
    m.text(9, &s["title"]);
    m.double(10, &s["multipleOf"]);
    m.double(11, &s["maximum"]);
    m.flag(12, &s["exclusiveMaximum"]);
    m.double(13, &s["minimum"]);
    m.flag(14, &s["exclusiveMinimum"]);
    for (tag, key) in [
        (15, "maxLength"),
        (16, "minLength"),
        (18, "maxItems"),
        (19, "minItems"),
        (21, "maxProperties"),
        (22, "minProperties"),
    ] {
        m.count(tag, &s[key]);
    }
    m.text(17, &s["pattern"]);
    m.flag(20, &s["uniqueItems"]);
    m.texts(23, &s["required"]);
    s["enum"].as_array().into_iter().flatten().for_each(|v| m.any(24, v));
    m.text(25, &s["type"]);
    for (tag, key) in [(26, "allOf"), (27, "oneOf"), (28, "anyOf")] {
        for inner in s[key].as_array().into_iter().flatten() {
            m.message(tag, |m| schema(m, inner));
        }
    }
    if s["not"].is_object() {
        m.message(29, |m| plain(m, &s["not"]));
    }
    if let Some(items) = s.get("items") {
        m.message(30, |m| m.message(1, |m| schema(m, items)));
    }
    if s["properties"].is_object() {
        m.message(31, |m| m.entries(1, &s["properties"], schema));
    }
    match s.get("additionalProperties") {
        Some(Value::Bool(allowed)) => m.message(32, |m| m.flag(2, &Value::Bool(*allowed))),
        Some(values) => m.message(32, |m| m.message(1, |m| schema(m, values))),
        None => {}
    }
    // The message has no place for defaults that are objects or lists.
    match s.get("default") {
        Some(Value::Bool(_)) => m.message(33, |m| m.flag(2, &s["default"])),
        Some(Value::String(text)) => m.message(33, |m| m.raw(3, text.as_bytes())),
        Some(Value::Number(_)) => m.message(33, |m| m.double(1, &s["default"])),
        _ => {}
    }
    m.text(34, &s["description"]);
    m.text(35, &s["format"]);
    m.extensions(36, s);
}
