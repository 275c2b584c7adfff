//! Strategic merge patch: a merge patch that knows by which key the items of a list are told apart.

use crate::bundle::{Bundle, Field, Shape, TypeId};
use ironclad_api::ApiError;
use serde_json::{Map, Value};

const DIRECTIVE: &str = "$patch";
const ORDER: &str = "$setElementOrder/";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const RETAIN: &str = "$retainKeys";

/// Applies `patch` to an object of type `id`.
pub fn strategic(bundle: &Bundle, id: TypeId, target: &Value, patch: &Value) -> Result<Value, ApiError> {
    let Value::Object(patch) = patch else { return Err(bad("the patch must be an object")) };
    let Value::Object(target) = target else { return Err(bad("only an object can be patched")) };
    let merger = Merger { bundle };
    Ok(Value::Object(merger.object(Some(id), target.clone(), patch)?))
}

fn bad(why: impl std::fmt::Display) -> ApiError {
    ApiError::bad_request(format!("invalid strategic merge patch: {why}"))
}

struct Merger<'a> {
    bundle: &'a Bundle,
}

impl Merger<'_> {
    fn field(&self, id: Option<TypeId>, name: &str) -> Option<&Field> {
        self.bundle.get(id?).field(name)
    }

    fn object(
        &self,
        id: Option<TypeId>,
        mut target: Map<String, Value>,
        patch: &Map<String, Value>,
    ) -> Result<Map<String, Value>, ApiError> {
        match patch.get(DIRECTIVE).map(|d| d.as_str().unwrap_or_default()) {
            None | Some("merge") => {}
            Some("replace") => return Ok(without_directives(patch)),
            Some("delete") => return Ok(Map::new()),
            Some(other) => return Err(bad(format!("unknown patch type found: {other}"))),
        }
        if let Some(keep) = patch.get(RETAIN) {
            let keep: Vec<&str> = keep.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            target.retain(|k, _| keep.contains(&k.as_str()));
        }
        for (key, value) in patch {
            if let Some(list) = key.strip_prefix(DELETE_FROM) {
                delete_from(&mut target, list, value);
            }
        }
        for (key, value) in patch.iter().filter(|(k, _)| !k.starts_with('$')) {
            self.key(id, &mut target, key, value)?;
        }
        for (key, order) in patch {
            if let Some(list) = key.strip_prefix(ORDER) {
                self.order(id, &mut target, list, order, patch.get(list))?;
            }
        }
        Ok(target)
    }

    fn key(
        &self,
        id: Option<TypeId>,
        target: &mut Map<String, Value>,
        key: &str,
        value: &Value,
    ) -> Result<(), ApiError> {
        let field = self.field(id, key);
        match value {
            Value::Null => drop(target.remove(key)),
            Value::Object(patch) => {
                let inner = match field.map(|f| &f.shape) {
                    Some(Shape::Object(id)) => Some(*id),
                    _ => None,
                };
                let deleted = patch.get(DIRECTIVE).and_then(Value::as_str) == Some("delete");
                let before = match target.remove(key) {
                    Some(Value::Object(map)) => map,
                    _ => Map::new(),
                };
                let merged = match field.map(|f| &f.shape) {
                    Some(Shape::Map(item)) => self.map(item, before, patch)?,
                    _ => self.object(inner, before, patch)?,
                };
                if !deleted {
                    target.insert(key.to_owned(), Value::Object(merged));
                }
            }
            Value::Array(items) => {
                let before = match target.remove(key) {
                    Some(Value::Array(list)) => list,
                    _ => Vec::new(),
                };
                let merged = self.list(field, before, items)?;
                target.insert(key.to_owned(), Value::Array(merged));
            }
            scalar => drop(target.insert(key.to_owned(), scalar.clone())),
        }
        Ok(())
    }

    /// A map of objects: each value merges on its own.
    fn map(
        &self,
        item: &Shape,
        target: Map<String, Value>,
        patch: &Map<String, Value>,
    ) -> Result<Map<String, Value>, ApiError> {
        let Shape::Object(id) = item else { return self.object(None, target, patch) };
        let mut target = target;
        for (key, value) in patch.iter().filter(|(k, _)| !k.starts_with('$')) {
            match (value, target.remove(key)) {
                (Value::Null, _) => {}
                (Value::Object(p), Some(Value::Object(t))) => {
                    target.insert(key.clone(), Value::Object(self.object(Some(*id), t, p)?));
                }
                (other, _) => drop(target.insert(key.clone(), other.clone())),
            }
        }
        Ok(target)
    }

    fn list(&self, field: Option<&Field>, before: Vec<Value>, patch: &[Value]) -> Result<Vec<Value>, ApiError> {
        let replace = |v: &&Value| v.get(DIRECTIVE).and_then(Value::as_str) == Some("replace");
        if patch.iter().any(|v| replace(&v)) {
            return Ok(patch.iter().filter(|v| !replace(v)).cloned().collect());
        }
        let Some(key) = field.and_then(|f| f.merge_key.as_deref()) else { return Ok(patch.to_vec()) };
        if key.is_empty() {
            let mut merged = before;
            for value in patch {
                if !merged.contains(value) {
                    merged.push(value.clone());
                }
            }
            return Ok(merged);
        }
        let item = match field.map(|f| &f.shape) {
            Some(Shape::List(inner)) => match &**inner {
                Shape::Object(id) => Some(*id),
                _ => None,
            },
            _ => None,
        };
        self.keyed(item, key, before, patch)
    }

    fn keyed(
        &self,
        item: Option<TypeId>,
        key: &str,
        mut before: Vec<Value>,
        patch: &[Value],
    ) -> Result<Vec<Value>, ApiError> {
        for value in patch {
            let Value::Object(change) = value else {
                return Err(bad("a list of objects must be patched with objects"));
            };
            let Some(id) = change.get(key) else {
                return Err(bad(format!("map: {value} does not contain declared merge key: {key}")));
            };
            let place = before.iter().position(|v| v.get(key) == Some(id));
            if change.get(DIRECTIVE).and_then(Value::as_str) == Some("delete") {
                before.retain(|v| v.get(key) != Some(id));
                continue;
            }
            match place {
                Some(place) => {
                    let Value::Object(old) = before[place].take() else { return Err(bad("the list holds no objects")) };
                    before[place] = Value::Object(self.object(item, old, change)?);
                }
                None => before.push(Value::Object(self.object(item, Map::new(), change)?)),
            }
        }
        Ok(before)
    }

    /// Brings a list into the order that the patch asks for. Items that it does not name keep their place relative to
    /// the named ones before them.
    fn order(
        &self,
        id: Option<TypeId>,
        target: &mut Map<String, Value>,
        list: &str,
        order: &Value,
        _: Option<&Value>,
    ) -> Result<(), ApiError> {
        let key = self.field(id, list).and_then(|f| f.merge_key.clone()).unwrap_or_default();
        let Some(Value::Array(items)) = target.get_mut(list) else { return Ok(()) };
        let Value::Array(order) = order else { return Err(bad(format!("{ORDER}{list} must be a list"))) };
        let same = |item: &Value, wanted: &Value| {
            if key.is_empty() { item == wanted } else { item.get(&key).is_some() && item.get(&key) == wanted.get(&key) }
        };
        let rank = |item: &Value| order.iter().position(|w| same(item, w));
        // An unnamed item goes with the named one that stands before it.
        let mut after = 0;
        let mut ranked: Vec<(usize, usize, Value)> = Vec::with_capacity(items.len());
        for (place, item) in std::mem::take(items).into_iter().enumerate() {
            let named = rank(&item);
            if let Some(rank) = named {
                after = rank + 1;
            }
            let sort = named.map_or(after * 2, |rank| rank * 2 + 1);
            ranked.push((sort, place, item));
        }
        ranked.sort_by_key(|r| (r.0, r.1));
        *items = ranked.into_iter().map(|r| r.2).collect();
        Ok(())
    }
}

fn without_directives(patch: &Map<String, Value>) -> Map<String, Value> {
    patch.iter().filter(|(k, _)| !k.starts_with('$')).map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn delete_from(target: &mut Map<String, Value>, list: &str, values: &Value) {
    let Value::Array(values) = values else { return };
    if let Some(Value::Array(items)) = target.get_mut(list) {
        items.retain(|i| !values.contains(i));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle;
    use ironclad_api::GroupVersionKind;
    use serde_json::json;

    fn pod(target: Value, patch: Value) -> Value {
        let id = bundle().kind(&GroupVersionKind::new("", "v1", "Pod")).unwrap();
        let wrap = |spec: Value| json!({"spec": spec});
        strategic(bundle(), id, &wrap(target), &wrap(patch)).unwrap()["spec"].clone()
    }

    #[test]
    fn containers_merge_by_name() {
        let target = json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]});
        let patch = json!({"containers": [{"name": "b", "image": "2"}, {"name": "c"}]});
        assert_eq!(
            pod(target, patch),
            json!({"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}, {"name": "c"}]})
        );
    }

    #[test]
    fn directives_delete_replace_retain_and_order() {
        let list = || json!({"containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}]});
        assert_eq!(
            pod(list(), json!({"containers": [{"$patch": "delete", "name": "b"}]})),
            json!({"containers": [{"name": "a"}, {"name": "c"}]})
        );
        assert_eq!(
            pod(list(), json!({"containers": [{"$patch": "replace"}, {"name": "z"}]})),
            json!({"containers": [{"name": "z"}]})
        );
        assert_eq!(
            pod(list(), json!({"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}]})),
            json!({"containers": [{"name": "c"}, {"name": "a"}, {"name": "b"}]})
        );
        let volumes = json!({"volumes": [{"name": "v", "emptyDir": {}}]});
        let patch =
            json!({"volumes": [{"$retainKeys": ["name", "hostPath"], "name": "v", "hostPath": {"path": "/x"}}]});
        assert_eq!(pod(volumes, patch), json!({"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}));
    }

    #[test]
    fn lists_without_a_key_are_replaced_and_null_removes() {
        assert_eq!(
            pod(
                json!({"tolerations": [{"key": "a"}], "hostname": "x"}),
                json!({"tolerations": [{"key": "b"}], "hostname": null})
            ),
            json!({"tolerations": [{"key": "b"}]})
        );
    }
}
