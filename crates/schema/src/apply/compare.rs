//! What differs between two values of one type.

use super::place::{Form, Place};
use super::set::{PathElement, Set};
use ironclad_json::{Map, Value};

/// The fields that came, changed and went.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub(super) added: Set,
    pub(super) modified: Set,
    pub(super) removed: Set,
}

impl Change {
    /// What came or changed.
    pub(super) fn touched(&self) -> Set {
        self.added.union(&self.modified)
    }

    /// The change without the fields of `ignored` and all below them.
    pub(super) fn without(self, ignored: &Set) -> Self {
        if ignored.is_empty() {
            return self;
        }
        let less = |set: Set| set.without_trees(ignored);
        Self { added: less(self.added), modified: less(self.modified), removed: less(self.removed) }
    }
}

/// What is different in `new`.
pub(super) fn compare(place: Place<'_>, old: &Value, new: &Value) -> Change {
    let mut change = Change::default();
    differ(place, Some(old), Some(new), &mut Vec::new(), &mut change);
    change
}

type Side<'v> = Option<&'v Value>;

fn differ(place: Place<'_>, old: Side<'_>, new: Side<'_>, path: &mut Vec<PathElement>, change: &mut Change) {
    if old == new {
        return;
    }
    let typical = new.filter(|v| !v.is_null()).or(old).unwrap_or(&Value::Null);
    let form = place.form(typical);
    if let (Some(before), Form::Leaf) = (old, form)
        && place.form(before) == Form::Map
        && new.is_some()
    {
        // What had fields of its own is one value now: they are gone.
        fields(place, old, None, path, change);
    }
    let leaf = match form {
        Form::Leaf => true,
        Form::Map => fields(place, old, new, path, change),
        form => items(place, form, old, new, path, change),
    };
    match (old, new) {
        (None, _) => change.added.insert(path),
        (_, None) => change.removed.insert(path),
        _ if leaf => change.modified.insert(path),
        _ => {}
    }
}

/// Compares field by field; true where the two are to be taken as one value each.
fn fields(place: Place<'_>, old: Side<'_>, new: Side<'_>, path: &mut Vec<PathElement>, change: &mut Change) -> bool {
    let (Ok(before), Ok(after)) = (object(old), object(new)) else { return true };
    if before.is_none_or(Map::is_empty) && after.is_none_or(Map::is_empty) {
        return true;
    }
    let names = before.into_iter().flat_map(Map::keys);
    let more = after.into_iter().flat_map(Map::keys).filter(|k| before.is_none_or(|b| !b.contains_key(k)));
    for name in names.chain(more) {
        path.push(PathElement::Field(name.clone()));
        differ(place.child(name).0, before.and_then(|m| m.get(name)), after.and_then(|m| m.get(name)), path, change);
        path.pop();
    }
    false
}

/// `Err` for what is neither an object nor nothing.
fn object(side: Side<'_>) -> Result<Option<&Map>, ()> {
    match side {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(map)) => Ok(Some(map)),
        _ => Err(()),
    }
}

fn list(side: Side<'_>) -> Result<&[Value], ()> {
    match side {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(items)) => Ok(items),
        _ => Err(()),
    }
}

fn items(
    place: Place<'_>,
    form: Form<'_>,
    old: Side<'_>,
    new: Side<'_>,
    path: &mut Vec<PathElement>,
    change: &mut Change,
) -> bool {
    let (Ok(before), Ok(after)) = (list(old), list(new)) else { return true };
    if before.is_empty() && after.is_empty() {
        return true;
    }
    let mut all: Vec<(PathElement, Vec<&Value>, Vec<&Value>)> = Vec::with_capacity(before.len().max(after.len()));
    let mut index = std::collections::BTreeMap::new();
    for (item, is_new) in before.iter().map(|i| (i, false)).chain(after.iter().map(|i| (i, true))) {
        let Ok(element) = place.element(form, item) else { continue };
        let at = *index.entry(element.clone()).or_insert_with(|| {
            all.push((element, Vec::new(), Vec::new()));
            all.len() - 1
        });
        if is_new { all[at].2.push(item) } else { all[at].1.push(item) }
    }
    for (element, before, after) in all {
        path.push(element);
        match (&before[..], &after[..]) {
            ([], [one]) => differ(place.item(), None, Some(one), path, change),
            ([one], []) => differ(place.item(), Some(one), None, path, change),
            ([one], [other]) => differ(place.item(), Some(one), Some(other), path, change),
            // What stands twice is compared as a whole; its parts belong to nobody.
            (many, others) if many == others => {}
            ([_, _, ..], [_, _, ..]) => change.modified.insert(path),
            ([_, _, ..], alone) => {
                if let [one] = alone {
                    differ(place.item(), None, Some(one), path, change);
                }
                change.removed.insert(path);
            }
            (alone, _) => {
                if let [one] = alone {
                    differ(place.item(), Some(one), None, path, change);
                }
                change.added.insert(path);
            }
        }
        path.pop();
    }
    false
}
