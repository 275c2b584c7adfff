//! Schemas and objects that nobody means well with: deep, large, odd. Nothing panics, and laws hold.

use ironclad_api::{FieldError, Path};
use ironclad_json::{Map, Value, json};
use ironclad_structural::{
    JsonPath, Rules, Schema, check, default, definition, embedded, lists, paths, prune, shapes, validate,
};
use proptest::prelude::*;

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e9..1e9f64).prop_map(Value::from),
        "[a-z~.\\[\\]'*()]{0,6}".prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 32, 4, |inner| {
        let key = "[abc]|metadata|kind|type|items|properties|default|allOf|enum|pattern|x-kubernetes-validations";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..4).prop_map(|m| Value::Object(m.into_iter().collect::<Map>())),
        ]
    })
}

/// Schemas that are mostly right.
fn schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!({"type": "string", "maxLength": 3})),
        Just(json!({"type": "string", "default": "x"})),
        Just(json!({"type": "integer", "minimum": 0, "nullable": true})),
        Just(json!({"type": "boolean", "default": true})),
        Just(json!({"x-kubernetes-int-or-string": true})),
        Just(json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})),
        Just(json!({"type": "string", "x-kubernetes-validations": [{"rule": "self != 'bad'"}]})),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|i| json!({"type": "array", "items": i})),
            inner.clone().prop_map(|i| json!({"type": "object", "additionalProperties": i})),
            prop::collection::btree_map("[abc]", inner, 0..3)
                .prop_map(|p| json!({"type": "object", "properties": Value::Object(p.into_iter().collect::<Map>())})),
        ]
    })
}

fn object(inner: &Value) -> Value {
    json!({"type": "object", "properties": {"a": inner}})
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn anything_can_be_read_as_a_schema(raw in value()) {
        let at = Path::new("s");
        check::structural(&at, &raw);
        definition::validate(&at, &raw, true, false);
        if let Ok(schema) = Schema::parse(&raw) {
            let mut object = raw.clone();
            prune::prune(&mut object, &schema, true);
            shapes::shape(&schema);
            validate::validate(&Path::root(), &schema, &raw, Some(&raw));
        }
    }

    #[test]
    fn pruning_and_defaulting_twice_is_doing_it_once(raw in schema(), value in value()) {
        let raw = object(&raw);
        let schema = Schema::parse(&raw).unwrap();
        let mut once = json!({"a": value});
        let settle = |v: &mut Value| {
            prune::prune(v, &schema, true);
            default::drop_nulls(v, &schema);
            default::default(v, &schema);
        };
        settle(&mut once);
        let mut twice = once.clone();
        settle(&mut twice);
        prop_assert_eq!(&once, &twice);
        prop_assert!(prune::prune(&mut twice, &schema, true).is_empty());
    }

    #[test]
    fn what_has_not_changed_is_never_held_against_a_change(raw in schema(), value in value()) {
        let raw = object(&raw);
        let schema = Schema::parse(&raw).unwrap();
        let value = json!({"a": value});
        prop_assert!(validate::validate(&Path::root(), &schema, &value, Some(&value)).is_empty());
        lists::validate(&Path::root(), &schema, &value);
        embedded::validate(&Path::root(), &value, &schema, true);
        if let Some(rules) = Rules::of(&schema, &raw, true) {
            let failed = |errors: Vec<FieldError>| errors.iter().filter(|e| e.detail.starts_with("failed rule")).count();
            prop_assert_eq!(failed(rules.validate(&Path::root(), &value, Some(&value))), 0);
        }
    }

    #[test]
    fn paths_of_all_sorts_are_read(text in "[.\\[\\]a-z'?()@=\\\\*\"0-9-]{0,24}", value in value()) {
        if let Some(path) = JsonPath::parse(&text) {
            path.find(&value);
        }
        let schema = json!({"properties": {"a": {"additionalProperties": {"type": "string"}}}});
        if let Ok((path, _)) = paths::valid(&text, &schema, true) {
            prop_assert!(text.is_empty() || path.as_str().starts_with('a'));
        }
    }
}

#[test]
fn depth_is_bounded_by_the_reader_of_json() {
    let mut raw = json!({"type": "string"});
    for _ in 0..40 {
        raw = json!({"type": "object", "properties": {"a": raw}});
    }
    assert!(definition::validate(&Path::new("s"), &raw, false, false).is_empty());
    let deep = format!("{}1{}", "{\"properties\":{\"a\":".repeat(100), "}}".repeat(100));
    assert!(serde_json::from_str::<Value>(&deep).is_err(), "what is too deep is refused before it gets here");
}

#[test]
fn a_wide_schema_costs_no_more_than_its_size() {
    let field = || json!({"type": "string", "default": "x", "pattern": "^[a-z]+$"});
    let fields: Map = (0..20_000).map(|i| (format!("f{i}"), field())).collect();
    let spec = json!({"type": "object", "default": {}, "properties": fields});
    let raw = json!({"type": "object", "properties": {"spec": spec}});
    let schema = Schema::parse(&raw).unwrap();
    let mut object = json!({});
    default::default(&mut object, &schema);
    assert_eq!(object["spec"].as_object().map(Map::len), Some(20_000));
    assert!(validate::validate(&Path::root(), &schema, &object, None).is_empty());
}
