//! Schemas and objects as operators have them, damaged as trees and as text: parts left out, doubled, exchanged, nested in
//! themselves, made extreme. Whatever becomes of them is refused or works, and what works keeps its laws.

use ironclad_api::Path;
use ironclad_json::{Value, json};
use ironclad_schema::apply::{Manager, Operation, Schema as Owners, apply, track};
use ironclad_schema::patch;
use ironclad_structural::{Rules, Schema, default, definition, embedded, lists, prune, shapes, validate};
use proptest::prelude::*;
use proptest::sample::Index;

fn schema() -> Value {
    json!({"type": "object", "required": ["spec"], "properties": {
        "spec": {"type": "object", "default": {}, "x-kubernetes-validations": [
            {"rule": "self.replicas <= 5 || self.mode == 'big'", "messageExpression": "'is ' + string(self.replicas)"},
            {"rule": "!has(oldSelf.mode) || has(self.mode)", "fieldPath": ".mode", "reason": "FieldValueRequired", "optionalOldSelf": false}],
            "properties": {
                "replicas": {"type": "integer", "format": "int32", "minimum": 0, "maximum": 100, "default": 1},
                "mode": {"type": "string", "enum": ["small", "big"], "maxLength": 5, "nullable": true},
                "size": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}], "pattern": "^[0-9]+%?$"},
                "when": {"type": "string", "format": "date-time"},
                "ports": {"type": "array", "maxItems": 8, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port", "protocol"],
                    "items": {"type": "object", "required": ["port"], "properties": {"port": {"type": "integer"},
                        "protocol": {"type": "string", "default": "TCP"},
                        "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string", "maxLength": 9}}}}},
                "labels": {"type": "object", "maxProperties": 4, "additionalProperties": {"type": "string", "maxLength": 9,
                    "x-kubernetes-validations": [{"rule": "self != 'bad'"}]}},
                "template": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
                "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"a": {"type": "number", "multipleOf": 0.5}}},
                "choice": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
                    "oneOf": [{"required": ["a"]}, {"required": ["b"]}], "not": {"properties": {"a": {"enum": ["never"]}}}}}},
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
}

fn object() -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a", "labels": {"x": "y"}},
        "spec": {"replicas": 3, "mode": "big", "size": "50%", "when": "2026-01-01T00:00:00Z", "labels": {"a": "b"},
            "ports": [{"port": 80, "protocol": "TCP", "tags": ["x", "y"]}, {"port": 81, "protocol": "UDP"}],
            "template": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"free": [1, {"z": null}]}},
            "whole": {"a": 1.5}, "choice": {"a": "x"}},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]}})
}

/// What is done to a tree.
#[derive(Clone, Debug)]
enum Damage {
    Remove(Index),
    Exchange(Index, Index),
    /// Puts the part into itself, so many times.
    Nest(Index, usize, bool),
    Put(Index, Value),
    Rename(Index, Index),
    /// Bytes of the text are changed; a tree only where it is JSON still.
    Bytes(Vec<(Index, u8)>),
}

fn odd() -> impl Strategy<Value = Value> {
    prop::sample::select(vec![
        Value::Null,
        json!(true),
        json!(-1),
        json!(1e308),
        json!(9_223_372_036_854_775_807_i64),
        json!(18_446_744_073_709_551_615_u64),
        json!(""),
        json!("(a+)+$(b|c)*{1000}[\\p{L}]"),
        json!("self.all(x, self.all(y, self.all(z, x == y && y == z)))"),
        json!("object"),
        json!("array"),
        json!([]),
        json!({}),
        json!([null, [null], {"a": null}]),
        json!({"type": "array", "items": {"type": "array", "items": {"type": "string"}}}),
        json!("x".repeat(5_000)),
    ])
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<Index>;
    prop_oneof![
        at().prop_map(Damage::Remove),
        (at(), at()).prop_map(|(a, b)| Damage::Exchange(a, b)),
        (at(), 1..60_usize, any::<bool>()).prop_map(|(a, n, list)| Damage::Nest(a, n, list)),
        (at(), odd()).prop_map(|(a, v)| Damage::Put(a, v)),
        (at(), at()).prop_map(|(a, b)| Damage::Rename(a, b)),
        prop::collection::vec((at(), any::<u8>()), 1..4).prop_map(Damage::Bytes),
    ]
}

/// The places of all parts, as JSON pointers.
fn places(value: &Value, here: &str, out: &mut Vec<String>) {
    let escape = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                let there = format!("{here}/{}", escape(key));
                out.push(there.clone());
                places(inner, &there, out);
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                let there = format!("{here}/{index}");
                out.push(there.clone());
                places(inner, &there, out);
            }
        }
        _ => {}
    }
}

fn damaged(mut value: Value, all: &[Damage]) -> Value {
    for one in all {
        let mut found = Vec::new();
        places(&value, "", &mut found);
        if found.is_empty() {
            return value;
        }
        match one {
            Damage::Remove(at) => {
                let (parent, key) = at.get(&found).rsplit_once('/').unwrap();
                if let Some(Value::Object(map)) = value.pointer_mut(parent) {
                    map.remove(key);
                }
            }
            Damage::Exchange(a, b) => {
                let part = value.pointer(b.get(&found).as_str()).cloned().unwrap_or_default();
                if let Some(place) = value.pointer_mut(a.get(&found).as_str()) {
                    *place = part;
                }
            }
            Damage::Nest(at, times, list) => {
                let Some(place) = value.pointer_mut(at.get(&found).as_str()) else { continue };
                for _ in 0..*times {
                    let inner = place.clone();
                    *place = if *list { json!([inner]) } else { json!({"type": "object", "properties": {"a": inner}}) };
                }
            }
            Damage::Put(at, odd) => {
                if let Some(place) = value.pointer_mut(at.get(&found).as_str()) {
                    *place = odd.clone();
                }
            }
            Damage::Rename(a, b) => {
                let name = b.get(&found).rsplit('/').next().unwrap().to_owned();
                let (parent, key) = a.get(&found).rsplit_once('/').unwrap();
                if let Some(Value::Object(map)) = value.pointer_mut(parent)
                    && let Some(part) = map.remove(key)
                {
                    map.insert(name, part);
                }
            }
            Damage::Bytes(changes) => {
                let mut text = value.to_string().into_bytes();
                for (at, byte) in changes {
                    let at = at.index(text.len());
                    text[at] = *byte;
                }
                value = serde_json::from_slice(&text).unwrap_or(value);
            }
        }
    }
    value
}

fn manager(name: &str, operation: Operation) -> Manager {
    let (api_version, time) = ("example.com/v1".to_owned(), "2026-01-01T00:00:00Z".to_owned());
    Manager { name: name.into(), operation, api_version, subresource: String::new(), time }
}

/// Everything that a server does with a schema and an object of it.
fn live(raw: &Value, object: &Value, old: &Value) {
    let Ok(schema) = Schema::parse(raw) else { return };
    let mut object = object.clone();
    let root = Path::root();
    if embedded::coerce(&root, &mut object, &schema, true, false).is_err() {
        return;
    }
    prune::prune(&mut object, &schema, true);
    default::drop_nulls(&mut object, &schema);
    default::default(&mut object, &schema);
    let first = validate::validate(&root, &schema, &object, Some(old));
    assert_eq!(validate::validate(&root, &schema, &object, Some(&object)), Vec::new(), "{first:?}");
    lists::validate(&root, &schema, &object);
    embedded::validate(&root, &object, &schema, true);
    if let Some(rules) = Rules::of(&schema, raw, true) {
        rules.validate(&root, &object, Some(old));
    }
    let (bundle, shape) = shapes::shape(&schema);
    let owners = Owners::new(&bundle, shape);
    let mut new = object.clone();
    track(&owners, old, &mut new, &manager("one", Operation::Update));
    let Ok(once) = apply(&owners, &new, &object, &manager("two", Operation::Apply), true) else { return };
    if once["metadata"]["managedFields"].is_array() {
        let again = apply(&owners, &once, &object, &manager("two", Operation::Apply), false);
        assert_eq!(again.map_err(|e| e.message), Ok(once));
    }
}

/// More cases than usual where they are asked for (`PROPTEST_CASES`).
fn config() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: usual.cases.max(400), failure_persistence: None, ..usual }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn damaged_schemas_are_refused_or_work(all in prop::collection::vec(damage(), 0..4)) {
        let raw = damaged(schema(), &all);
        definition::validate(&Path::new("s"), &raw, true, false);
        live(&raw, &object(), &object());
    }

    #[test]
    fn damaged_objects_are_refused_or_work(all in prop::collection::vec(damage(), 0..5)) {
        live(&schema(), &damaged(object(), &all), &object());
    }

    #[test]
    fn damaged_patches_are_refused_or_work(all in prop::collection::vec(damage(), 0..5), operations in prop::collection::vec(damage(), 0..4)) {
        let change = damaged(object(), &all);
        let mut merged = object();
        if patch::merge(&mut merged, &change).is_ok() {
            live(&schema(), &merged, &object());
        }
        let list = json!([{"op": "test", "path": "/spec/replicas", "value": 3}, {"op": "copy", "from": "/spec", "path": "/spec/template/spec"},
            {"op": "move", "from": "/spec/ports/0", "path": "/spec/ports/-"}, {"op": "remove", "path": "/spec/labels/a"}]);
        let mut patched = object();
        if patch::json(&mut patched, &damaged(list, &operations)).is_ok() {
            live(&schema(), &patched, &object());
        }
    }
}
