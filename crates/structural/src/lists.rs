//! Lists whose items stand once: sets and maps.

use crate::schema::{ListType, Schema};
use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_json::{Map, Value};
use std::collections::HashMap;

/// What stands more than once in sets and maps.
pub fn validate(path: &Path, schema: &Schema, value: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    walk(path, schema, value, &mut errors);
    errors
}

fn walk(path: &Path, schema: &Schema, value: &Value, errors: &mut ErrorList) {
    match value {
        Value::Object(map) => {
            for (key, child) in map {
                if let Some(like) = schema.like() {
                    walk(&path.key(key), like, child, errors);
                }
                if let Some(property) = schema.properties.get(key.as_str()) {
                    walk(&path.child(key), property, child, errors);
                }
            }
        }
        Value::Array(items) => {
            match &schema.list {
                Some(ListType::Set) => {
                    let twice = repeated(items);
                    errors.extend(twice.into_iter().map(|i| FieldError::duplicate(&path.index(i), &items[i])));
                }
                Some(ListType::Map(keys)) => map(path, keys, items, errors),
                _ => {}
            }
            if let Some(schema) = schema.items.as_deref() {
                for (index, item) in items.iter().enumerate() {
                    walk(&path.index(index), schema, item, errors);
                }
            }
        }
        _ => {}
    }
}

fn map(path: &Path, keys: &[String], items: &[Value], errors: &mut ErrorList) {
    if let Some((index, odd)) = items.iter().enumerate().find(|(_, v)| !v.is_null() && !v.is_object()) {
        errors.push(FieldError::invalid(&path.index(index), odd, "must be an object for an array of list-type map"));
        return;
    }
    let key = |item: &Value| -> Value {
        let found = keys.iter().filter_map(|k| Some((k.clone(), item.get(k)?.clone())));
        Value::Object(found.collect::<Map>())
    };
    let found: Vec<Value> = items.iter().map(key).collect();
    errors.extend(repeated(&found).into_iter().map(|i| FieldError::duplicate(&path.index(i), &found[i])));
}

/// The place at which each value that stands more than once stands for the second time.
fn repeated(items: &[Value]) -> Vec<usize> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut out = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let times = seen.entry(item.to_string()).or_default();
        *times += 1;
        if *times == 2 {
            out.push(index);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    #[test]
    fn what_stands_twice_is_named() {
        let schema = Schema::parse(&json!({"type": "object", "properties": {
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a", "b"],
                "items": {"type": "object"}},
        }}))
        .unwrap();
        let value = json!({"set": ["x", "y", "x", "x"], "map": [{"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 2}, {"a": 1}]});
        let errors: Vec<String> = validate(&Path::root(), &schema, &value).iter().map(ToString::to_string).collect();
        assert_eq!(errors, [r#"map[1]: Duplicate value: {"a":1,"b":2}"#, r#"set[2]: Duplicate value: "x""#]);
    }
}
