//! Parts of a definition as errors show them: as the types that stock validates, written as JSON. Those stand for all
//! versions of the API, so that their fields have the names of Go, each is there, in the order of its type.

use ironclad_json::{Map, Value};

/// How a field is shown that is not set.
#[derive(Clone, Copy)]
enum Unset {
    Null,
    Text,
    False,
    Zero,
}

/// What stands in a field that is set.
#[derive(Clone, Copy)]
enum Inside {
    /// A value as it is.
    Plain,
    One(Shape),
    Many(Shape),
    Keyed(Shape),
    /// A schema or a list of schemas.
    Items,
    /// A schema or a truth.
    Additional,
}

type Field = (&'static str, &'static str, Unset, Inside);
type Shape = &'static [Field];

use Inside::{Additional, Items, Keyed, Many, One, Plain};
use Unset::{False, Null, Text, Zero};

const RULE: Shape = &[
    ("rule", "Rule", Text, Plain),
    ("message", "Message", Text, Plain),
    ("messageExpression", "MessageExpression", Text, Plain),
    ("reason", "Reason", Null, Plain),
    ("fieldPath", "FieldPath", Text, Plain),
    ("optionalOldSelf", "OptionalOldSelf", Null, Plain),
];

const DOCS: Shape = &[("description", "Description", Text, Plain), ("url", "URL", Text, Plain)];

static SCHEMA: [Field; 44] = [
    ("id", "ID", Text, Plain),
    ("$schema", "Schema", Text, Plain),
    ("$ref", "Ref", Null, Plain),
    ("description", "Description", Text, Plain),
    ("type", "Type", Text, Plain),
    ("nullable", "Nullable", False, Plain),
    ("format", "Format", Text, Plain),
    ("title", "Title", Text, Plain),
    ("default", "Default", Null, Plain),
    ("maximum", "Maximum", Null, Plain),
    ("exclusiveMaximum", "ExclusiveMaximum", False, Plain),
    ("minimum", "Minimum", Null, Plain),
    ("exclusiveMinimum", "ExclusiveMinimum", False, Plain),
    ("maxLength", "MaxLength", Null, Plain),
    ("minLength", "MinLength", Null, Plain),
    ("pattern", "Pattern", Text, Plain),
    ("maxItems", "MaxItems", Null, Plain),
    ("minItems", "MinItems", Null, Plain),
    ("uniqueItems", "UniqueItems", False, Plain),
    ("multipleOf", "MultipleOf", Null, Plain),
    ("enum", "Enum", Null, Plain),
    ("maxProperties", "MaxProperties", Null, Plain),
    ("minProperties", "MinProperties", Null, Plain),
    ("required", "Required", Null, Plain),
    ("items", "Items", Null, Items),
    ("allOf", "AllOf", Null, Many(&SCHEMA)),
    ("oneOf", "OneOf", Null, Many(&SCHEMA)),
    ("anyOf", "AnyOf", Null, Many(&SCHEMA)),
    ("not", "Not", Null, One(&SCHEMA)),
    ("properties", "Properties", Null, Keyed(&SCHEMA)),
    ("additionalProperties", "AdditionalProperties", Null, Additional),
    ("patternProperties", "PatternProperties", Null, Keyed(&SCHEMA)),
    ("dependencies", "Dependencies", Null, Plain),
    ("additionalItems", "AdditionalItems", Null, Additional),
    ("definitions", "Definitions", Null, Keyed(&SCHEMA)),
    ("externalDocs", "ExternalDocs", Null, One(DOCS)),
    ("example", "Example", Null, Plain),
    ("x-kubernetes-preserve-unknown-fields", "XPreserveUnknownFields", Null, Plain),
    ("x-kubernetes-embedded-resource", "XEmbeddedResource", False, Plain),
    ("x-kubernetes-int-or-string", "XIntOrString", False, Plain),
    ("x-kubernetes-list-map-keys", "XListMapKeys", Null, Plain),
    ("x-kubernetes-list-type", "XListType", Null, Plain),
    ("x-kubernetes-map-type", "XMapType", Null, Plain),
    ("x-kubernetes-validations", "XValidations", Null, Many(RULE)),
];

const SCALE: Shape = &[
    ("specReplicasPath", "SpecReplicasPath", Text, Plain),
    ("statusReplicasPath", "StatusReplicasPath", Text, Plain),
    ("labelSelectorPath", "LabelSelectorPath", Null, Plain),
];

const COLUMN: Shape = &[
    ("name", "Name", Text, Plain),
    ("type", "Type", Text, Plain),
    ("format", "Format", Text, Plain),
    ("description", "Description", Text, Plain),
    ("priority", "Priority", Zero, Plain),
    ("jsonPath", "JSONPath", Text, Plain),
];

const VERSION: Shape = &[
    ("name", "Name", Text, Plain),
    ("served", "Served", False, Plain),
    ("storage", "Storage", False, Plain),
    ("deprecated", "Deprecated", False, Plain),
    ("deprecationWarning", "DeprecationWarning", Null, Plain),
    ("schema", "Schema", Null, One(&[("openAPIV3Schema", "OpenAPIV3Schema", Null, One(&SCHEMA))])),
    (
        "subresources",
        "Subresources",
        Null,
        One(&[("status", "Status", Null, One(&[])), ("scale", "Scale", Null, One(SCALE))]),
    ),
    ("additionalPrinterColumns", "AdditionalPrinterColumns", Null, Many(COLUMN)),
    ("selectableFields", "SelectableFields", Null, Many(&[("jsonPath", "JSONPath", Text, Plain)])),
];

/// A schema.
pub fn schema(raw: &Value) -> String {
    shown(One(&SCHEMA), raw)
}

/// A rule.
pub fn rule(raw: &Value) -> String {
    shown(One(RULE), raw)
}

/// The versions of a definition.
pub fn versions(raw: &Value) -> String {
    shown(Many(VERSION), raw)
}

/// Brings the schema of a version into the form in which it goes out: with what a schema can have, without what says
/// nothing. What stands under `items` and its like is read leniently, so that nothing else does this.
pub fn tidy(raw: &mut Value) {
    clean(One(&SCHEMA), raw);
}

fn clean(inside: Inside, raw: &mut Value) {
    match (inside, raw) {
        (One(shape), Value::Object(map)) => map.retain_mut(|key, value| {
            let Some((_, _, unset, inside)) = shape.iter().find(|(name, ..)| *name == key.as_str()) else {
                return false;
            };
            clean(*inside, value);
            let said = match unset {
                Text => *value != "",
                False => *value != false,
                Zero => *value != 0,
                Null => !value.as_array().is_some_and(Vec::is_empty) || matches!(key.as_str(), "default" | "example"),
            };
            said && !value.is_null() && !(matches!(inside, Keyed(_)) && value.as_object().is_some_and(Map::is_empty))
        }),
        (Many(shape), Value::Array(list)) => list.iter_mut().for_each(|v| clean(One(shape), v)),
        (Keyed(shape), Value::Object(map)) => map.iter_mut().for_each(|(_, v)| {
            if v.is_null() {
                *v = Value::Object(Map::new());
            }
            clean(One(shape), v);
        }),
        (Items, Value::Array(list)) => list.iter_mut().for_each(|v| clean(One(&SCHEMA), v)),
        (Items | Additional, value @ Value::Object(_)) => clean(One(&SCHEMA), value),
        _ => {}
    }
}

/// A text as Go writes it in JSON, which is safe inside of HTML.
fn escaped(text: &str) -> String {
    let text = text.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e");
    text.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

fn shown(inside: Inside, raw: &Value) -> String {
    let mut out = String::new();
    write(inside, raw, &mut out);
    out
}

fn write(inside: Inside, raw: &Value, out: &mut String) {
    match (inside, raw) {
        (_, Value::Null) => out.push_str("null"),
        (One(shape), Value::Object(map)) => fields(shape, map, out),
        (Many(shape), Value::Array(list)) => joined(list.iter(), ('[', ']'), out, |v, out| write(One(shape), v, out)),
        (Keyed(shape), Value::Object(map)) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by(|a, b| a.0.as_str().cmp(b.0.as_str()));
            joined(entries.into_iter(), ('{', '}'), out, |(key, v), out| {
                out.push_str(&escaped(&Value::from(key.as_str()).to_string()));
                out.push(':');
                write(One(shape), v, out);
            });
        }
        (Items, Value::Array(_)) => {
            out.push_str("{\"Schema\":null,\"JSONSchemas\":");
            write(Many(&SCHEMA), raw, out);
            out.push('}');
        }
        (Items, _) => {
            out.push_str("{\"Schema\":");
            write(One(&SCHEMA), raw, out);
            out.push_str(",\"JSONSchemas\":null}");
        }
        (Additional, Value::Bool(allows)) => out.push_str(&format!("{{\"Allows\":{allows},\"Schema\":null}}")),
        (Additional, _) => {
            out.push_str("{\"Allows\":true,\"Schema\":");
            write(One(&SCHEMA), raw, out);
            out.push('}');
        }
        (_, value) => out.push_str(&escaped(&value.to_string())),
    }
}

fn fields(shape: Shape, map: &Map, out: &mut String) {
    joined(shape.iter(), ('{', '}'), out, |(key, name, unset, inside), out| {
        out.push_str(&format!("\"{name}\":"));
        match (map.get(key).filter(|v| !v.is_null()), unset) {
            (Some(value), _) => write(*inside, value, out),
            (None, Null) => out.push_str("null"),
            (None, Text) => out.push_str("\"\""),
            (None, False) => out.push_str("false"),
            (None, Zero) => out.push('0'),
        }
    });
}

fn joined<T>(items: impl Iterator<Item = T>, ends: (char, char), out: &mut String, one: impl Fn(T, &mut String)) {
    out.push(ends.0);
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(',');
        }
        one(item, out);
    }
    out.push(ends.1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    #[test]
    fn parts_are_shown_under_the_names_of_go() {
        assert_eq!(
            rule(&json!({"rule": "self > 1", "reason": "FieldValueInvalid"})),
            r#"{"Rule":"self \u003e 1","Message":"","MessageExpression":"","Reason":"FieldValueInvalid","FieldPath":"","OptionalOldSelf":null}"#
        );
        assert_eq!(
            versions(&json!([{"name": "v1", "served": true, "subresources": {"status": {}}}])),
            r#"[{"Name":"v1","Served":true,"Storage":false,"Deprecated":false,"DeprecationWarning":null,"Schema":null,"Subresources":{"Status":{},"Scale":null},"AdditionalPrinterColumns":null,"SelectableFields":null}]"#
        );
        let shown = schema(&json!({"items": {"type": "string"}, "additionalProperties": false, "maximum": 1}));
        let mut raw = json!({"x": 1, "items": {"x": 1, "nullable": false, "properties": {"a": null}, "required": []},
            "additionalProperties": null, "default": [], "maximum": 0});
        tidy(&mut raw);
        assert_eq!(raw, json!({"items": {"properties": {"a": {}}}, "default": [], "maximum": 0}));
        for part in [
            r#""Maximum":1,"ExclusiveMaximum":false"#,
            r#""Items":{"Schema":{"ID":"""#,
            r#""JSONSchemas":null},"AllOf":null"#,
            r#""AdditionalProperties":{"Allows":false,"Schema":null}"#,
        ] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
    }
}
