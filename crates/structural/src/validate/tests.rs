use super::*;
use ironclad_json::json;

fn errors(schema: Value, value: &Value, old: Option<&Value>) -> Vec<String> {
    let schema = Schema::parse(&schema).unwrap();
    validate(&Path::root(), &schema, value, old).iter().map(ToString::to_string).collect()
}

/// Holds what is said of values of `spec.x` against a table of schemas, values and words; no words for a good value.
fn says<const N: usize>(table: [(Value, Value, &str); N]) {
    for (x, value, want) in table {
        let schema =
            json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"x": x.clone()}}}});
        assert_eq!(errors(schema, &json!({"spec": {"x": value}}), None).join("; "), want, "{x}");
    }
}

#[test]
fn mistakes_in_scalars_have_the_stock_wording() {
    says([
        (
            json!({"type": "integer"}),
            json!("a"),
            r#"spec.x: Invalid value: "string": spec.x in body must be of type integer: "string""#,
        ),
        (
            json!({"type": "string"}),
            json!(null),
            r#"spec.x: Invalid value: "null": spec.x in body must be of type string: "null""#,
        ),
        (json!({"type": "string", "nullable": true}), json!(null), ""),
        (
            json!({"type": "integer"}),
            json!(1.5),
            r#"spec.x: Invalid value: "number": spec.x in body must be of type integer: "number"; <nil>: Invalid value: "": Checked value must be of type integer (default format) in spec.x"#,
        ),
        (json!({"type": "integer"}), json!(2.0), ""),
        (json!({"type": "number"}), json!(2), ""),
        (
            json!({"type": "integer", "minimum": 1}),
            json!(0),
            "spec.x: Invalid value: 0: spec.x in body should be greater than or equal to 1",
        ),
        (
            json!({"type": "integer", "maximum": 10, "exclusiveMaximum": true}),
            json!(10),
            "spec.x: Invalid value: 10: spec.x in body should be less than 10",
        ),
        (
            json!({"type": "integer", "multipleOf": 5}),
            json!(7),
            "spec.x: Invalid value: 7: spec.x in body should be a multiple of 5",
        ),
        (json!({"type": "string", "maxLength": 2}), json!("abc"), "spec.x: Too long: may not be more than 2 bytes"),
        (
            json!({"type": "string", "minLength": 2}),
            json!("a"),
            r#"spec.x: Invalid value: "a": spec.x in body should be at least 2 chars long"#,
        ),
        (
            json!({"type": "string", "pattern": "^a+$"}),
            json!("b"),
            r#"spec.x: Invalid value: "b": spec.x in body should match '^a+$'"#,
        ),
        (
            json!({"type": "string", "enum": ["b", "a"]}),
            json!("c"),
            r#"spec.x: Unsupported value: "c": supported values: "b", "a""#,
        ),
        (
            json!({"type": "string", "format": "ipv4"}),
            json!("1.2.3"),
            r#"spec.x: Invalid value: "1.2.3": spec.x in body must be of type ipv4: "1.2.3""#,
        ),
        (json!({"type": "string", "format": "nonsense"}), json!("1.2.3"), ""),
        (
            json!({"x-kubernetes-int-or-string": true}),
            json!(true),
            r#"spec.x: Invalid value: "boolean": spec.x in body must be of type integer,string: "boolean""#,
        ),
        (json!({"x-kubernetes-int-or-string": true}), json!("50%"), ""),
    ]);
}

#[test]
fn mistakes_in_lists_objects_and_combinations_have_the_stock_wording() {
    says([
        (
            json!({"type": "array", "items": {"type": "string"}, "maxItems": 1}),
            json!(["a", "b"]),
            "spec.x: Too many: 2: must have at most 1 item",
        ),
        (
            json!({"type": "array", "items": {"type": "string"}}),
            json!([1]),
            r#"spec.x[0]: Invalid value: "integer": spec.x[0] in body must be of type string: "integer""#,
        ),
        (json!({"type": "object", "required": ["a"]}), json!({}), "spec.x.a: Required value"),
        (
            json!({"type": "object", "minProperties": 1}),
            json!({}),
            "spec.x: Invalid value: 0: spec.x in body should have at least 1 properties",
        ),
        (
            json!({"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}),
            json!({"a": 1, "b": 1}),
            r#"<nil>: Invalid value: "": "spec.x" must validate one and only one schema (oneOf). Found 2 valid alternatives"#,
        ),
        (
            json!({"type": "integer", "not": {"minimum": 3}}),
            json!(4),
            r#"<nil>: Invalid value: "": "spec.x" must not validate the schema (not)"#,
        ),
    ]);
}

#[test]
fn the_best_of_several_schemas_says_what_is_wrong() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}, "anyOf": [
        {"required": ["c"]}, {"required": ["d"], "properties": {"b": {"minimum": 1}}}]});
    let found = errors(schema, &json!({"a": "x", "b": 5}), None);
    assert_eq!(
        found,
        [r#"<nil>: Invalid value: "": "" must validate at least one schema (anyOf)"#, "d: Required value"]
    );
}

#[test]
fn what_was_wrong_before_may_stay() {
    let schema = json!({"type": "object", "properties": {
        "a": {"type": "string", "maxLength": 1}, "b": {"type": "string"},
        "atomic": {"type": "array", "items": {"type": "string", "maxLength": 1}},
        "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": {
            "type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "string", "maxLength": 1}}}}}});
    let old = json!({"a": "long", "b": "x", "atomic": ["long"], "map": [{"k": "1", "v": "long"}]});
    let mut new = old.clone();
    new["b"] = json!("y");
    assert!(errors(schema.clone(), &new, Some(&old)).is_empty());
    assert_eq!(errors(schema.clone(), &new, None).len(), 3);
    new["map"] = json!([{"k": "2", "v": "long"}, {"k": "1", "v": "long"}]);
    assert_eq!(errors(schema.clone(), &new, Some(&old)), ["map[0].v: Too long: may not be more than 1 byte"]);
    new["atomic"] = json!(["long", "x"]);
    assert_eq!(errors(schema, &new, Some(&old)).len(), 2);
}

#[test]
fn numbers_keep_to_their_formats() {
    let of = |schema: Value| json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {"x": schema}}}});
    let table = [
        (
            json!({"type": "integer", "format": "int32"}),
            json!(2_147_483_648_u64),
            r#"<nil>: Invalid value: "": Checked value must be of type integer with format int32 in spec.x"#,
        ),
        (json!({"type": "integer", "format": "int32"}), json!(-2_147_483_648_i64), ""),
        (json!({"type": "integer", "format": "int32"}), json!(7.0), ""),
        (
            json!({"type": "integer", "format": "int64"}),
            json!(1e20),
            r#"spec.x: Invalid value: "double": spec.x in body must be of type int64: "double"; <nil>: Invalid value: "": Checked value must be of type integer with format int64 in spec.x"#,
        ),
        (
            json!({"type": "number", "format": "float"}),
            json!(1e39),
            r#"<nil>: Invalid value: "": Checked value must be of type number with format float in spec.x"#,
        ),
        (json!({"type": "number", "format": "double"}), json!(1e300), ""),
        (json!({"type": "number", "format": "int32"}), json!(3e9), ""),
        (
            json!({"type": "integer", "maximum": 1.5}),
            json!(1),
            r#"<nil>: Invalid value: "": Maximum boundary value must be of type integer (default format) in spec.x"#,
        ),
        (
            json!({"type": "string", "format": "date-time"}),
            json!("soon"),
            r#"spec.x: Invalid value: "soon": spec.x in body must be of type date-time: "soon""#,
        ),
    ];
    for (schema, value, want) in table {
        let found = errors(of(schema.clone()), &json!({"spec": {"x": value}}), None);
        assert_eq!(found.join("; "), want, "{schema}");
    }
}
