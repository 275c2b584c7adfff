//! Walks over values and their shapes: which fields a value sets, what differs between two, how one goes over another.

use super::set::{PathElement, Set};
use crate::bundle::{Bundle, Field, List, Scalar, Shape};
use crate::facts;
use serde_json::{Map, Value, json};

pub(super) struct Typed<'a> {
    pub(super) bundle: &'a Bundle,
}

/// What differs between two values.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub(super) added: Set,
    pub(super) modified: Set,
    pub(super) removed: Set,
}

impl Change {
    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }
}

/// A value as its owners see it.
enum View<'a> {
    /// One value.
    Leaf,
    /// Fields or keys, each with the shape of its value.
    Children(Vec<(PathElement, Child<'a>)>),
}

#[derive(Clone)]
struct Child<'a> {
    shape: &'a Shape,
    field: Option<&'a Field>,
    value: &'a Value,
}

const ANY: &Shape = &Shape::Scalar(Scalar::Any);

impl<'a> Typed<'a> {
    fn view<'b>(&self, shape: &'b Shape, field: Option<&'b Field>, value: &'b Value) -> View<'b>
    where
        'a: 'b,
    {
        if field.is_some_and(|f| f.atomic) {
            return View::Leaf;
        }
        match (shape, value) {
            (Shape::Object(id), Value::Object(map)) => {
                let ty = self.bundle.get(*id);
                if facts::is_atomic(&ty.definition) {
                    return View::Leaf;
                }
                let child = |(k, value): (&String, &'b Value)| {
                    let field = ty.field(k);
                    (PathElement::Field(k.clone()), Child { shape: field.map_or(ANY, |f| &f.shape), field, value })
                };
                View::Children(map.iter().map(child).collect())
            }
            (Shape::Map(item), Value::Object(map)) => {
                let child = |(k, value): (&String, &'b Value)| {
                    (PathElement::Field(k.clone()), Child { shape: item, field: None, value })
                };
                View::Children(map.iter().map(child).collect())
            }
            (Shape::List(item), Value::Array(items)) => match field.map(|f| &f.list) {
                Some(List::Map(keys)) => {
                    let child = |value: &'b Value| (list_key(keys, value), Child { shape: item, field: None, value });
                    View::Children(items.iter().map(child).collect())
                }
                Some(List::Set) => {
                    let child = |value: &'b Value| {
                        (PathElement::Value(value.clone()), Child { shape: item, field: None, value })
                    };
                    View::Children(items.iter().map(child).collect())
                }
                _ => View::Leaf,
            },
            _ => View::Leaf,
        }
    }

    /// The fields that a value sets.
    pub(super) fn field_set(&self, shape: &Shape, value: &Value) -> Set {
        let mut out = Set::default();
        if value.is_object() {
            self.collect(shape, None, value, &mut Vec::new(), &mut out);
        }
        out
    }

    fn collect(&self, shape: &Shape, field: Option<&Field>, value: &Value, path: &mut Vec<PathElement>, out: &mut Set) {
        match self.view(shape, field, value) {
            View::Leaf => out.insert(path),
            View::Children(children) if children.is_empty() => out.insert(path),
            View::Children(children) => {
                for (element, child) in children {
                    let item = !matches!(element, PathElement::Field(_));
                    path.push(element);
                    if item {
                        out.insert(path);
                    }
                    if !matches!(path.last(), Some(PathElement::Value(_))) {
                        self.collect(child.shape, child.field, child.value, path, out);
                    }
                    path.pop();
                }
            }
        }
    }

    /// What differs between `old` and `new`.
    pub(super) fn compare(&self, shape: &Shape, old: &Value, new: &Value) -> Change {
        let empty = json!({});
        let (old, new) = (if old.is_null() { &empty } else { old }, if new.is_null() { &empty } else { new });
        let mut change = Change::default();
        self.differ(shape, None, old, new, &mut Vec::new(), &mut change);
        change
    }

    fn differ(
        &self,
        shape: &Shape,
        field: Option<&Field>,
        old: &Value,
        new: &Value,
        path: &mut Vec<PathElement>,
        change: &mut Change,
    ) {
        if old == new {
            return;
        }
        let (View::Children(before), View::Children(after)) =
            (self.view(shape, field, old), self.view(shape, field, new))
        else {
            change.modified.insert(path);
            return;
        };
        for (element, child) in &before {
            path.push(element.clone());
            match after.iter().find(|(e, _)| e == element) {
                Some((_, now)) => self.differ(child.shape, child.field, child.value, now.value, path, change),
                None => self.whole(child, path, &mut change.removed),
            }
            path.pop();
        }
        for (element, child) in &after {
            if !before.iter().any(|(e, _)| e == element) {
                path.push(element.clone());
                self.whole(child, path, &mut change.added);
                path.pop();
            }
        }
    }

    /// Everything at and below a place that came or went.
    fn whole(&self, child: &Child<'_>, path: &mut Vec<PathElement>, out: &mut Set) {
        let container = matches!(self.view(child.shape, child.field, child.value), View::Children(c) if !c.is_empty());
        if container && !matches!(child.shape, Shape::Object(_)) || matches!(path.last(), Some(PathElement::Key(_))) {
            out.insert(path);
        }
        if !matches!(path.last(), Some(PathElement::Value(_))) {
            self.descend(child, path, out);
        } else {
            out.insert(path);
        }
    }

    fn descend(&self, child: &Child<'_>, path: &mut Vec<PathElement>, out: &mut Set) {
        match self.view(child.shape, child.field, child.value) {
            View::Children(children) if !children.is_empty() => {
                for (element, child) in children {
                    path.push(element);
                    self.whole(&child, path, out);
                    path.pop();
                }
            }
            _ => out.insert(path),
        }
    }

    /// `config` laid over `live`.
    pub(super) fn merge(&self, shape: &Shape, live: &Value, config: &Value) -> Value {
        if live.is_null() { config.clone() } else { self.over(shape, None, live, config) }
    }

    fn over(&self, shape: &Shape, field: Option<&Field>, live: &Value, config: &Value) -> Value {
        let (View::Children(before), View::Children(after)) =
            (self.view(shape, field, live), self.view(shape, field, config))
        else {
            return config.clone();
        };
        let merged = |element: &PathElement, child: &Child<'_>| match before.iter().find(|(e, _)| e == element) {
            Some((_, old)) => self.over(child.shape, child.field, old.value, child.value),
            None => child.value.clone(),
        };
        match live {
            Value::Object(live) => {
                let mut out: Map<String, Value> = live.clone();
                for (element, child) in &after {
                    if let PathElement::Field(name) = element {
                        out.insert(name.clone(), merged(element, child));
                    }
                }
                Value::Object(out)
            }
            _ => {
                // The live items keep their order; what the configuration adds comes behind.
                let mut out = Vec::new();
                for (element, old) in &before {
                    let changed = after.iter().find(|(e, _)| e == element);
                    out.push(changed.map_or_else(|| old.value.clone(), |(e, c)| merged(e, c)));
                }
                let added = after.iter().filter(|(e, _)| !before.iter().any(|(b, _)| b == e));
                out.extend(added.map(|(_, c)| c.value.clone()));
                Value::Array(out)
            }
        }
    }

    /// Takes the members of `set` out of a value.
    pub(super) fn remove(&self, shape: &Shape, value: &mut Value, set: &Set) {
        if !set.is_empty() {
            self.take(shape, None, value, set);
        }
    }

    fn take(&self, shape: &Shape, field: Option<&Field>, value: &mut Value, set: &Set) {
        match value {
            Value::Object(map) => {
                let fields: Vec<String> = map.keys().cloned().collect();
                for name in fields {
                    let Some(node) = set.nodes.get(&PathElement::Field(name.clone())) else { continue };
                    let (inner, field) = self.inside(shape, &name);
                    if node.below.is_empty() {
                        map.remove(&name);
                        continue;
                    }
                    let Some(child) = map.get_mut(&name) else { continue };
                    self.take(inner, field, child, &node.below);
                    let emptied =
                        child.as_object().is_some_and(Map::is_empty) || child.as_array().is_some_and(Vec::is_empty);
                    if emptied {
                        map.remove(&name);
                    }
                }
            }
            Value::Array(items) => {
                let Shape::List(item) = shape else { return };
                items.retain_mut(|v| {
                    let element = match field.map(|f| &f.list) {
                        Some(List::Map(keys)) => list_key(keys, v),
                        _ => PathElement::Value(v.clone()),
                    };
                    let Some(node) = set.nodes.get(&element) else { return true };
                    if node.member {
                        return false;
                    }
                    self.take(item, None, v, &node.below);
                    true
                });
            }
            _ => {}
        }
    }

    fn inside<'b>(&'b self, shape: &'b Shape, name: &str) -> (&'b Shape, Option<&'b Field>) {
        match shape {
            Shape::Object(id) => {
                let field = self.bundle.get(*id).field(name);
                (field.map_or(ANY, |f| &f.shape), field)
            }
            Shape::Map(item) => (item, None),
            _ => (ANY, None),
        }
    }
}

/// The key of a list's item; a missing protocol is TCP, the only default that a key has.
fn list_key(keys: &[String], item: &Value) -> PathElement {
    let mut found: Vec<(String, Value)> = keys
        .iter()
        .filter_map(|k| {
            let default = (k == "protocol").then(|| json!("TCP"));
            Some((k.clone(), item.get(k).cloned().or(default)?))
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    PathElement::Key(found)
}
