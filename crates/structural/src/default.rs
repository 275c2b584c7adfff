//! Defaults: what stands where nothing is given, or null where null is no value.

use crate::schema::Schema;
use ironclad_json::Value;

/// Whether a value is null where null is no value.
fn wrong_null(value: &Value, schema: &Schema) -> bool {
    value.is_null() && !schema.nullable
}

/// Fills in the defaults of a schema. Call [`drop_nulls`] first.
pub fn default(value: &mut Value, schema: &Schema) {
    match value {
        Value::Object(map) => {
            for (key, property) in &schema.properties {
                let Some(default) = &property.default else { continue };
                if map.get(key).is_none_or(|v| wrong_null(v, property)) {
                    map.insert(key.clone(), default.clone());
                }
            }
            for (key, child) in map.iter_mut() {
                if let Some(property) = schema.properties.get(key.as_str()) {
                    self::default(child, property);
                } else if let Some(like) = schema.like() {
                    item(child, like);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = schema.items.as_deref() {
                items.iter_mut().for_each(|i| item(i, schema));
            }
        }
        _ => {}
    }
}

fn item(value: &mut Value, schema: &Schema) {
    if wrong_null(value, schema)
        && let Some(default) = &schema.default
    {
        *value = default.clone();
    }
    default(value, schema);
}

/// Takes away null where it is no value and has no default.
pub fn drop_nulls(value: &mut Value, schema: &Schema) {
    match value {
        Value::Object(map) => {
            map.retain_mut(|key, child| {
                let Some(schema) = schema.child(key) else { return true };
                if wrong_null(child, schema) && schema.default.is_none() {
                    return false;
                }
                drop_nulls(child, schema);
                true
            });
        }
        Value::Array(items) => {
            if let Some(schema) = schema.items.as_deref() {
                items.iter_mut().for_each(|i| drop_nulls(i, schema));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    #[test]
    fn defaults_stand_where_nothing_is_given() {
        let schema = Schema::parse(&json!({"type": "object", "properties": {
            "a": {"type": "string", "default": "A"},
            "n": {"type": "string", "nullable": true, "default": "N"},
            "gone": {"type": "string"},
            "deep": {"type": "object", "default": {}, "properties": {"b": {"type": "integer", "default": 7}}},
            "list": {"type": "array", "items": {"type": "object", "properties": {"c": {"type": "boolean", "default": true}}}},
        }}))
        .unwrap();
        let table = [
            (json!({}), json!({"a": "A", "n": "N", "deep": {"b": 7}})),
            (json!({"a": null, "n": null, "gone": null}), json!({"a": "A", "n": null, "deep": {"b": 7}})),
            (
                json!({"a": "x", "n": "y", "deep": {"b": 1}, "list": [{}, {"c": false}]}),
                json!({"a": "x", "n": "y", "deep": {"b": 1}, "list": [{"c": true}, {"c": false}]}),
            ),
        ];
        for (mut value, want) in table {
            drop_nulls(&mut value, &schema);
            default(&mut value, &schema);
            assert_eq!(value, want);
        }
    }
}
