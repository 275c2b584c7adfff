//! Pruning: what a schema does not have is taken away, unless it says that it is to stay.

use crate::schema::{Additional, Schema};
use ironclad_json::Value;

const META: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Takes from an object what the schema does not have; returns the paths of that, sorted. At the root of a resource,
/// kind and metadata stay.
pub fn prune(value: &mut Value, schema: &Schema, root: bool) -> Vec<String> {
    let mut walk = Walk { path: String::new(), unknown: Vec::new() };
    walk.prune(value, Some(schema), root || schema.embedded);
    walk.unknown.sort();
    walk.unknown
}

struct Walk {
    path: String,
    unknown: Vec<String>,
}

impl Walk {
    fn at(&mut self, step: &str, then: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        if !self.path.is_empty() && !step.starts_with('[') {
            self.path.push('.');
        }
        self.path.push_str(step);
        then(self);
        self.path.truncate(length);
    }

    fn prune(&mut self, value: &mut Value, schema: Option<&Schema>, embedded: bool) {
        if let Some(schema) = schema.filter(|s| s.preserve) {
            return self.skip(value, schema, embedded);
        }
        match value {
            Value::Object(map) => {
                map.retain_mut(|key, child| {
                    let meta = META.contains(&key.as_str());
                    if embedded && meta {
                        return true;
                    }
                    let known = schema.and_then(|s| match s.properties.get(key.as_str()) {
                        Some(property) => Some(Some(property)),
                        None => s.additional.as_ref().map(|a| match a {
                            Additional::Like(schema) => Some(&**schema),
                            Additional::Any(_) => None,
                        }),
                    });
                    match known {
                        Some(schema) => {
                            let embedded = schema.is_some_and(|s| s.embedded);
                            self.at(key, |w| w.prune(child, schema, embedded));
                        }
                        None if !meta || !self.path.is_empty() => self.at(key, |w| w.unknown.push(w.path.clone())),
                        None => {}
                    }
                    known.is_some()
                });
            }
            Value::Array(items) => {
                let schema = schema.and_then(|s| s.items.as_deref());
                let embedded = schema.is_some_and(|s| s.embedded);
                for (index, item) in items.iter_mut().enumerate() {
                    self.at(&format!("[{index}]"), |w| w.prune(item, schema, embedded));
                }
            }
            _ => {}
        }
    }

    /// Looks for what is to be pruned inside of what is to stay.
    fn skip(&mut self, value: &mut Value, schema: &Schema, embedded: bool) {
        match value {
            Value::Object(map) => {
                for (key, child) in map.iter_mut() {
                    if embedded && META.contains(&key.as_str()) {
                        continue;
                    }
                    match (schema.properties.get(key.as_str()), &schema.additional) {
                        (Some(property), _) => self.at(key, |w| w.prune(child, Some(property), property.embedded)),
                        (None, Some(Additional::Like(like))) => {
                            self.at(key, |w| w.prune(child, Some(like), like.embedded));
                        }
                        (None, Some(Additional::Any(_))) => self.at(key, |w| w.prune(child, None, false)),
                        (None, None) => {}
                    }
                }
            }
            Value::Array(items) => {
                let Some(schema) = schema.items.as_deref() else { return };
                for (index, item) in items.iter_mut().enumerate() {
                    self.at(&format!("[{index}]"), |w| w.skip(item, schema, schema.embedded));
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    fn pruned(schema: Value, mut value: Value) -> (Value, Vec<String>) {
        let schema = Schema::parse(&schema).unwrap();
        let unknown = prune(&mut value, &schema, true);
        (value, unknown)
    }

    #[test]
    fn what_a_schema_does_not_have_is_taken_and_named() {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "a": {"type": "string"},
            "list": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "integer"}}}},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
                "strict": {"type": "object", "properties": {"k": {"type": "string"}}}}},
            "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"v": {"type": "string"}}}},
        }}}});
        let value = json!({"apiVersion": "a/v1", "kind": "K", "metadata": {"name": "n", "odd": 1}, "other": 1, "spec": {
            "a": "x", "b": 1, "list": [{"x": 1, "y": 2}, 5], "free": {"any": {"thing": 1}, "strict": {"k": "v", "z": 1}},
            "map": {"one": {"v": "x", "w": 1}}}});
        let (value, unknown) = pruned(schema, value);
        assert_eq!(unknown, ["other", "spec.b", "spec.free.strict.z", "spec.list[0].y", "spec.map.one.w"]);
        let want = json!({"apiVersion": "a/v1", "kind": "K", "metadata": {"name": "n", "odd": 1}, "spec": {
            "a": "x", "list": [{"x": 1}, 5], "free": {"any": {"thing": 1}, "strict": {"k": "v"}}, "map": {"one": {"v": "x"}}}});
        assert_eq!(value, want);
    }

    #[test]
    fn embedded_objects_keep_their_heads() {
        let schema = json!({"type": "object", "properties": {"pod": {
            "type": "object", "x-kubernetes-embedded-resource": true, "properties": {"spec": {"type": "object"}}}}});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {}, "status": {}});
        let (value, unknown) = pruned(schema, json!({"pod": pod}));
        assert_eq!(unknown, ["pod.status"]);
        assert_eq!(value["pod"]["kind"], "Pod");
    }
}
