//! What a patch made of an object, as stock writes it in its messages: parts that the patch went through stand in the
//! order of their names, all others in the order of Go's types.

use super::operations::tokens;
use crate::bundle::{Bundle, Shape};
use crate::proto::wire::wire;
use ironclad_json::{Map, Text, Value, json};
use std::collections::BTreeMap;

/// The sorts of plain patches.
#[derive(Clone, Copy)]
pub enum Plain<'a> {
    /// Operations (RFC 6902).
    Operations(&'a Value),
    /// A merge patch (RFC 7386).
    Merge(&'a Value),
}

/// Parts of a document that a patch went through.
#[derive(Default)]
struct Opened {
    parts: BTreeMap<String, Opened>,
    /// Whether it went through all that is below.
    whole: bool,
}

impl Opened {
    fn by(patch: Plain<'_>, before: &Value) -> Self {
        let mut opened = Self::default();
        match patch {
            Plain::Merge(patch) => opened.merge(patch, before),
            Plain::Operations(patch) => patch.as_array().into_iter().flatten().for_each(|o| opened.operation(o)),
        }
        opened
    }

    fn merge(&mut self, patch: &Value, before: &Value) {
        for (key, value) in patch.as_object().into_iter().flatten() {
            if value.is_object() && before[key.as_str()].is_object() {
                self.parts.entry(key.to_string()).or_default().merge(value, &before[key.as_str()]);
            }
        }
    }

    fn operation(&mut self, operation: &Value) {
        for field in ["path", "from"] {
            let Some((way, last)) = operation[field].as_str().and_then(tokens) else { continue };
            let mut at = &mut *self;
            for token in way {
                at = at.parts.entry(token.to_string()).or_default();
            }
            // What is compared is gone through.
            if operation["op"] == json!("test") {
                at.parts.entry(last.to_string()).or_default().whole = true;
            }
        }
    }
}

/// `after`, which `patch` made of `before`. Without a shape there is no order but that of the names.
pub fn written(bundle: &Bundle, shape: Option<&Shape>, before: &Value, after: &Value, patch: Plain<'_>) -> String {
    let sorted = matches!(patch, Plain::Merge(_));
    let mut out = String::new();
    Writer { bundle, sorted, out: &mut out }.opened(shape, Some(before), after, &Opened::by(patch, before));
    out.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

struct Writer<'a> {
    bundle: &'a Bundle,
    /// Whether what the patch brings stands in the order of its names.
    sorted: bool,
    out: &'a mut String,
}

impl Writer<'_> {
    fn list(&mut self, items: &[Value], mut write: impl FnMut(&mut Self, usize, &Value)) {
        self.out.push('[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            write(self, index, item);
        }
        self.out.push(']');
    }

    fn members<'v>(
        &mut self,
        members: impl Iterator<Item = (&'v Text, &'v Value)>,
        mut write: impl FnMut(&mut Self, &str, &Value),
    ) {
        self.out.push('{');
        for (index, (key, value)) in members.enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            self.out.push_str(&json!(key.as_str()).to_string());
            self.out.push(':');
            write(self, key, value);
        }
        self.out.push('}');
    }

    fn opened(&mut self, shape: Option<&Shape>, before: Option<&Value>, value: &Value, opened: &Opened) {
        let below = |writer: &mut Self, shape: Option<&Shape>, key: &str, before: Option<&Value>, value: &Value| {
            let none = Opened { whole: true, ..Opened::default() };
            match opened.parts.get(key).or(opened.whole.then_some(&none)) {
                Some(opened) => writer.opened(shape, before, value, opened),
                None => writer.closed(shape, before, value),
            }
        };
        match value {
            Value::Object(map) => {
                let mut members: Vec<_> = map.iter().collect();
                members.sort_by_key(|(key, _)| *key);
                self.members(members.into_iter(), |writer, key, value| {
                    let shape = writer.child(shape, key);
                    below(writer, shape.as_ref(), key, before.and_then(|b| b.get(key)), value);
                });
            }
            Value::Array(list) => self.list(list, |writer, index, value| {
                let item = match shape {
                    Some(Shape::List(item, _)) => Some(&**item),
                    _ => None,
                };
                below(writer, item, &index.to_string(), before.and_then(|b| b.get(index)), value);
            }),
            other => self.out.push_str(&other.to_string()),
        }
    }

    fn child(&self, shape: Option<&Shape>, key: &str) -> Option<Shape> {
        match shape? {
            Shape::Object(id) => self.bundle.get(*id).field(key).map(|f| f.shape.clone()),
            Shape::Map(item, _) => Some((**item).clone()),
            _ => None,
        }
    }

    fn closed(&mut self, shape: Option<&Shape>, before: Option<&Value>, value: &Value) {
        match value {
            _ if before == Some(value) => self.typed(shape, value),
            Value::Object(_) if self.sorted => self.typed(None, value),
            other => self.out.push_str(&other.to_string()),
        }
    }

    fn typed(&mut self, shape: Option<&Shape>, value: &Value) {
        match (shape, value) {
            (Some(Shape::Object(id)), Value::Object(map)) => {
                let ty = self.bundle.get(*id);
                let members = in_order(map, &wire().order(&ty.definition));
                self.members(members.into_iter(), |writer, key, value| {
                    writer.typed(ty.field(key).map(|f| &f.shape), value);
                });
            }
            (shape, Value::Object(map)) => {
                let item = match shape {
                    Some(Shape::Map(item, _)) => Some(&**item),
                    _ => None,
                };
                self.members(in_order(map, &[]).into_iter(), |writer, _, value| writer.typed(item, value));
            }
            (shape, Value::Array(list)) => {
                let item = match shape {
                    Some(Shape::List(item, _)) => Some(&**item),
                    _ => None,
                };
                self.list(list, |writer, _, value| writer.typed(item, value));
            }
            (_, other) => self.out.push_str(&other.to_string()),
        }
    }
}

/// The members of a map in an order; those that it does not have come last, by their names, but for those that say what
/// an object is.
fn in_order<'v>(map: &'v Map, order: &[&str]) -> Vec<(&'v Text, &'v Value)> {
    let mut members: Vec<_> = map.iter().collect();
    let place = |key: &str| match (order.iter().position(|o| *o == key), key) {
        (Some(place), _) => place + 2,
        (None, "kind") if !order.is_empty() => 0,
        (None, "apiVersion") if !order.is_empty() => 1,
        (None, _) => order.len() + 2,
    };
    members.sort_by(|a, b| (place(a.0), a.0).cmp(&(place(b.0), b.0)));
    members
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle;
    use ironclad_api::GroupVersionKind;

    #[test]
    fn only_what_a_patch_went_through_stands_in_the_order_of_names() {
        let id = bundle().kind(&GroupVersionKind::new("", "v1", "ConfigMap")).unwrap();
        let shape = Shape::Object(id);
        let before = json!({"metadata": {"labels": {"a": "b"}, "name": "x"}, "kind": "ConfigMap", "data": {"k": "<"}});
        let table = [
            (
                Plain::Merge(&json!({"data": {"k": 1}})),
                json!({"metadata": before["metadata"], "kind": "ConfigMap", "data": {"k": 1}}),
                r#"{"data":{"k":1},"kind":"ConfigMap","metadata":{"name":"x","labels":{"a":"b"}}}"#,
            ),
            (
                Plain::Operations(&json!([{"op": "add", "path": "/metadata/labels/z", "value": {"b": 2, "q": 1}}])),
                json!({"metadata": {"name": "x", "labels": {"a": "b", "z": {"b": 2, "q": 1}}}, "data": {"k": "<"}}),
                r#"{"data":{"k":"\u003c"},"metadata":{"labels":{"a":"b","z":{"b":2,"q":1}},"name":"x"}}"#,
            ),
        ];
        for (patch, after, want) in table {
            assert_eq!(written(bundle(), Some(&shape), &before, &after, patch), want);
        }
    }
}
