use super::*;

fn errors(properties: Value) -> String {
    let raw = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}});
    let found: Vec<String> = validate(&Path::new("s"), &raw, false, false).iter().map(ToString::to_string).collect();
    found.join("; ").replace("s.properties[spec].properties", "..")
}

#[test]
fn mistakes_in_schemas_have_the_stock_wording() {
    let table = [
        (json!({"a": {"type": "string", "default": "x"}}), ""),
        (
            json!({"a": {"type": "integer", "default": "x"}}),
            r#"..[a].default: Invalid value: "string":  in body must be of type integer: "string""#,
        ),
        (
            json!({"a": {"type": "object", "default": {"b": 1}}}),
            r#"..[a].default: Invalid value: {"b":1}: must not have unknown fields"#,
        ),
        (
            json!({"a": {"type": "array", "uniqueItems": true, "items": {"type": "string"}}}),
            "..[a].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        ),
        (
            json!({"a": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": {"type": "object", "properties": {"k": {"type": "string"}}}}}),
            "..[a].items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
        ),
        (
            json!({"a": {"type": "string", "x-kubernetes-list-type": "set"}}),
            r#"..[a].type: Invalid value: "string": must be array if x-kubernetes-list-type is specified"#,
        ),
        (
            json!({"a": {"type": "object", "properties": {"b": {"type": "string"}}, "additionalProperties": {"type": "string"}}}),
            "..[a].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
        ),
    ];
    for (properties, want) in table {
        assert_eq!(errors(properties.clone()), want, "{properties}");
    }
}

#[test]
fn mistakes_in_rules_have_the_stock_wording() {
    let with = |schema: Value, rule: Value| {
        let mut schema = schema;
        schema["x-kubernetes-validations"] = json!([rule]);
        errors(json!({"a": schema}))
    };
    let text = || json!({"type": "string", "maxLength": 10});
    assert_eq!(with(text(), json!({"rule": "self == 'x'"})), "");
    let at = "..[a].x-kubernetes-validations[0]";
    assert_eq!(with(text(), json!({"rule": " "})), format!("{at}.rule: Required value: rule is not specified"));
    assert!(
        with(text(), json!({"rule": "self.b"}))
            .contains("compilation failed: ERROR: <input>:1:5: type 'string' does not support field selection")
    );
    assert!(with(text(), json!({"rule": "self"})).ends_with("cel expression must evaluate to a bool"));
    assert!(
        with(text(), json!({"rule": "true", "messageExpression": "1"}))
            .ends_with("messageExpression must evaluate to a string")
    );
    assert!(with(text(), json!({"rule": "true", "reason": "x"})).contains(r#"reason: Unsupported value: "x""#));
    assert!(
        with(text(), json!({"rule": "true", "optionalOldSelf": true}))
            .ends_with("may not be set if oldSelf is not used in rule")
    );
    let costly = json!({"type": "array", "items": {"type": "array", "items": {"type": "string"}}});
    let found = with(costly, json!({"rule": "self.all(x, x.all(y, self.all(z, z.all(w, w == y))))"}));
    assert!(found.contains("estimated rule cost exceeds budget by factor of more than 100x"), "{found}");
    let inside = json!({"a": {"type": "array", "items": {"type": "string", "maxLength": 5, "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}, "maxItems": 3}});
    assert!(
        errors(inside).ends_with("oldSelf cannot be used on the uncorrelatable portion of the schema within ..[a]")
    );
}
