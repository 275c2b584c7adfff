//! Documents of version 2 as the protobuf message that clients ask for (`openapi.v2.Document`). Extensions travel as
//! YAML text, of which JSON is a part.

use super::message::Message;
use ironclad_json::{Map, Value};

/// The field of a document that holds its paths.
pub const PATHS: u32 = 8;
/// The field that holds its definitions.
pub const DEFINITIONS: u32 = 9;
/// The field that holds its shared parameters.
pub const PARAMETERS: u32 = 10;

/// All that stands beside paths, definitions and parameters; see [`super::v2_head`].
pub fn head(head: &Map) -> Vec<u8> {
    let of = |key: &str| head.get(key).unwrap_or(&Value::Null);
    let mut out = Message::default();
    out.text(1, of("swagger"));
    out.message(2, |m| {
        m.text(1, &of("info")["title"]);
        m.text(2, &of("info")["version"]);
    });
    for requirement in of("security").as_array().into_iter().flatten() {
        out.message(12, |m| m.entries(1, requirement, |m, scopes| m.texts(1, scopes)));
    }
    out.message(13, |m| {
        m.entries(1, of("securityDefinitions"), |m, s| {
            m.message(2, |m| {
                m.text(1, &s["type"]);
                m.text(2, &s["name"]);
                m.text(3, &s["in"]);
                m.text(4, &s["description"]);
            });
        });
    });
    out.bytes
}

/// The inside of the field of paths.
pub fn paths(paths: &Map) -> Vec<u8> {
    let mut out = Message::default();
    out.named(2, paths, path_item);
    out.bytes
}

/// The inside of the field of definitions.
pub fn definitions(definitions: &Map) -> Vec<u8> {
    let mut out = Message::default();
    out.named(1, definitions, schema);
    out.bytes
}

/// The inside of the field of shared parameters.
pub fn parameters(parameters: &Map) -> Vec<u8> {
    let mut out = Message::default();
    out.named(1, parameters, parameter);
    out.bytes
}

const METHODS: [(u32, &str); 7] =
    [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (6, "options"), (7, "head"), (8, "patch")];

fn path_item(m: &mut Message, item: &Value) {
    for (tag, method) in METHODS {
        if let Some(op) = item.get(method) {
            m.message(tag, |m| operation(m, op));
        }
    }
    list(m, 9, &item["parameters"]);
}

/// Parameters, or references to shared ones.
fn list(m: &mut Message, tag: u32, parameters: &Value) {
    for p in parameters.as_array().into_iter().flatten() {
        m.message(tag, |m| match p.get("$ref") {
            Some(reference) => m.message(2, |m| m.text(1, reference)),
            None => m.message(1, |m| parameter(m, p)),
        });
    }
}

fn operation(m: &mut Message, op: &Value) {
    m.texts(1, &op["tags"]);
    m.text(3, &op["description"]);
    m.text(5, &op["operationId"]);
    m.texts(6, &op["produces"]);
    m.texts(7, &op["consumes"]);
    list(m, 8, &op["parameters"]);
    m.message(9, |m| m.entries(1, &op["responses"], |m, r| m.message(1, |m| response(m, r))));
    m.texts(10, &op["schemes"]);
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
    m.text(3, &s["title"]);
    m.text(4, &s["description"]);
    if let Some(default) = s.get("default") {
        m.any(5, default);
    }
    m.double(6, &s["multipleOf"]);
    m.double(7, &s["maximum"]);
    m.flag(8, &s["exclusiveMaximum"]);
    m.double(9, &s["minimum"]);
    m.flag(10, &s["exclusiveMinimum"]);
    for (tag, key) in [
        (11, "maxLength"),
        (12, "minLength"),
        (14, "maxItems"),
        (15, "minItems"),
        (17, "maxProperties"),
        (18, "minProperties"),
    ] {
        m.count(tag, &s[key]);
    }
    m.text(13, &s["pattern"]);
    m.flag(16, &s["uniqueItems"]);
    m.texts(19, &s["required"]);
    s["enum"].as_array().into_iter().flatten().for_each(|v| m.any(20, v));
    match s.get("additionalProperties") {
        Some(Value::Bool(allowed)) => m.message(21, |m| m.flag(2, &Value::Bool(*allowed))),
        Some(values) => m.message(21, |m| m.message(1, |m| schema(m, values))),
        None => {}
    }
    if s["type"].is_string() {
        m.message(22, |m| m.text(1, &s["type"]));
    }
    if let Some(items) = s.get("items") {
        m.message(23, |m| m.message(1, |m| schema(m, items)));
    }
    if s["properties"].is_object() {
        m.message(25, |m| m.entries(1, &s["properties"], schema));
    }
    m.extensions(31, s);
}
