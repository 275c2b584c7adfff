//! A configuration laid over a value, and fields taken out of one.

use super::place::{Form, Place};
use super::set::{PathElement, Set};
use ironclad_json::{Map, Text, Value};
use std::collections::{BTreeMap, BTreeSet};

/// `config` over `live`. Lists that both have follow the order of the configuration.
pub(super) fn merge(place: Place<'_>, live: &Value, config: &Value) -> Value {
    match (place.form(config), live, config) {
        (Form::Map, Value::Object(live), Value::Object(config)) => {
            let merged = |(name, value): (&Text, &Value)| {
                let merged = match live.get(name) {
                    Some(old) => merge(place.child(name).0, old, value),
                    None => value.clone(),
                };
                (name.clone(), Some(merged))
            };
            let mut out = live.clone();
            out.set_all(config.iter().map(merged).collect());
            Value::Object(out)
        }
        (form @ (Form::Keyed(_) | Form::Set), Value::Array(live), Value::Array(config)) => {
            merge_items(place, form, live, config)
        }
        // Null says nothing of what is told apart by its parts.
        (_, live, Value::Null) if has_parts(place, live) => live.clone(),
        _ => config.clone(),
    }
}

/// Whether the parts of a value are told apart, and it has any.
fn has_parts(place: Place<'_>, value: &Value) -> bool {
    match (place.form(value), value) {
        (Form::Map, Value::Object(map)) => !map.is_empty(),
        (Form::Keyed(_) | Form::Set, Value::Array(items)) => !items.is_empty(),
        _ => false,
    }
}

fn elements(place: Place<'_>, form: Form<'_>, items: &[Value]) -> Vec<Option<PathElement>> {
    items.iter().map(|i| place.element(form, i).ok()).collect()
}

/// Both lists are walked side by side: items of the live list alone keep their place between the shared ones, and the
/// shared ones come in the order of the configuration.
fn merge_items(place: Place<'_>, form: Form<'_>, live: &[Value], config: &[Value]) -> Value {
    let (left, right) = (elements(place, form, live), elements(place, form, config));
    let mut by_element: BTreeMap<&PathElement, Option<&Value>> = BTreeMap::new();
    for (element, item) in left.iter().zip(live).filter_map(|(e, i)| Some((e.as_ref()?, i))) {
        // What stands twice is not merged with anything.
        by_element.entry(element).and_modify(|v| *v = None).or_insert(Some(item));
    }
    let wanted: BTreeSet<&PathElement> = right.iter().flatten().collect();
    let mut shared = right.iter().flatten().filter(|e| by_element.contains_key(e)).peekable();
    let mut merged: BTreeSet<&PathElement> = BTreeSet::new();
    let join = |element: &PathElement, item: &Value| match by_element.get(element) {
        Some(Some(old)) => merge(place.item(), old, item),
        _ => item.clone(),
    };
    let (mut out, mut l, mut r) = (Vec::with_capacity(live.len().max(config.len())), 0, 0);
    while l < live.len() || r < config.len() {
        let mine = left.get(l).and_then(Option::as_ref);
        let theirs = right.get(r).and_then(Option::as_ref);
        if let (Some(mine), Some(theirs)) = (mine, theirs) {
            if mine == theirs {
                out.push(join(theirs, &config[r]));
                merged.insert(theirs);
                (l, r) = (l + 1, r + 1);
                shared.next();
                continue;
            }
            if wanted.contains(mine) && shared.peek().is_some_and(|next| *next != mine) {
                l += 1;
                continue;
            }
        }
        if l < live.len() {
            match mine {
                Some(mine) if wanted.contains(mine) => {
                    if merged.contains(mine) {
                        l += 1;
                    }
                }
                _ => {
                    out.push(live[l].clone());
                    l += 1;
                    continue;
                }
            }
        }
        if r < config.len() {
            match theirs {
                Some(theirs) => {
                    out.push(join(theirs, &config[r]));
                    merged.insert(theirs);
                    shared.next_if(|next| *next == theirs);
                }
                None => out.push(config[r].clone()),
            }
            r += 1;
        }
    }
    Value::Array(out.into())
}

/// `value` without the members of `set` and all below them. What has become empty stays, and is empty.
pub(super) fn remove(place: Place<'_>, value: &Value, set: &Set) -> Value {
    match (place.form(value), value) {
        (Form::Map, Value::Object(map)) => {
            let mut out = Map::new();
            for (name, value) in map {
                let kept = match set.nodes.get(&PathElement::Field(name.clone())) {
                    None => Some(value.clone()),
                    Some(node) if node.member => None,
                    Some(node) => Some(remove(place.child(name).0, value, &node.below)),
                };
                if let Some(kept) = kept {
                    out.insert(name.clone(), kept);
                }
            }
            Value::Object(out)
        }
        (form @ (Form::Keyed(_) | Form::Set), Value::Array(items)) => {
            let keep = |item: &Value| match place.element(form, item).ok().and_then(|e| set.nodes.get(&e)) {
                None => Some(item.clone()),
                Some(node) if node.member => None,
                Some(node) => Some(remove(place.item(), item, &node.below)),
            };
            Value::Array(items.iter().filter_map(keep).collect())
        }
        _ => value.clone(),
    }
}

/// The set with every declared field in it that has anything below it.
pub(super) fn with_fields(place: Place<'_>, set: &Set) -> Set {
    let mut out = Set::default();
    for (element, node) in &set.nodes {
        let (inner, declared) = match element {
            PathElement::Field(name) => place.child(name),
            _ => (place.item(), false),
        };
        let mut node = super::set::Node { member: node.member, below: with_fields(inner, &node.below) };
        node.member |= declared && !node.below.is_empty();
        out.nodes.insert(element.clone(), node);
    }
    out
}
