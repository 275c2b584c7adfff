//! Rules that are declared with a type instead of written out: a tree of steps for each kind, and the walk through it.
//!
//! Invariants: what an update leaves as it was is not looked at again; steps that can end the look at a value stand
//! first. What these rules find replaces what the same rules written by hand find, and stands behind all else.

pub(crate) mod format;

use crate::common::checks::{IMMUTABLE, same};
use crate::read::{items, text};
use format::Format;
use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_json::{Value, json};
use std::collections::HashSet;

/// One step in the look at a value.
#[derive(Clone, Copy)]
pub(crate) enum Step {
    /// There must be something: no null, nothing empty, no zero.
    Required,
    /// There must be something; what is empty is something.
    RequiredPointer,
    /// Nothing, the empty and zero are not looked at further.
    Optional,
    /// Nothing is not looked at further.
    OptionalPointer,
    /// An update must leave it as it was.
    Immutable,
    /// An update may set and unset it, but not change it.
    NoModify,
    /// An update may not give it where nothing was.
    NoSet,
    /// An update may not take it away.
    NoUnset,
    /// An update may neither add nor remove an item of a list, which is told apart by its values at the keys.
    KeepItems(&'static [&'static str]),
    /// A list has no more items.
    MaxItems(usize),
    /// A text has a form.
    Is(Format),
    /// Every key of a map has a form.
    Keys(Format),
    /// A text is one of these, which are in order.
    OneOf(&'static [&'static str]),
    /// A text has no more characters.
    MaxLength(usize),
    /// A text has no more bytes.
    MaxBytes(usize),
    /// A number is no less.
    Min(i64),
    /// A number is no more.
    Max(i64),
    /// No two items of a list have the same values at these keys; without keys no two items are the same.
    Unique(&'static [&'static str]),
    /// Exactly one of these is given.
    Union(&'static [&'static str]),
    /// What the first key's value says of the second key.
    When(&'static str, &'static str, &'static [Case], Given),
    /// No two items of a list stand for a decision: their types.
    AtMostOne(&'static [&'static str]),
    /// Steps for a field.
    Field(&'static str, &'static [Step]),
    /// A step that stands elsewhere, for what goes on below itself.
    Again(&'static Step),
    /// Steps for each item of a list, which is told apart by its values at the keys.
    Items(&'static [&'static str], &'static [Step]),
    /// Steps for each value of a map.
    Values(&'static [Step]),
}

/// What a discriminator's value asks of a field.
pub(crate) type Case = (&'static str, Given);

/// Whether a field is to be given.
#[derive(Clone, Copy)]
pub(crate) enum Given {
    Must,
    May,
    Never,
}

/// The mistakes of an object: those found by hand, each once and without those that a declared rule covers, and those
/// against the declared rules. `old` is the object before an update.
pub(crate) fn settle(by_hand: ErrorList, steps: &[Step], new: &Value, old: Option<&Value>) -> ErrorList {
    let mut errors = once(by_hand.into_iter().filter(|e| !e.covered).collect());
    let look = Look { update: old.is_some() };
    look.at(steps, new, old, &Path::root(), &mut errors);
    errors
}

/// Each mistake once.
pub(crate) fn once(errors: ErrorList) -> ErrorList {
    let mut seen = HashSet::new();
    errors.into_iter().filter(|e| seen.insert(e.to_string())).collect()
}

/// What `check` finds is found by declared rules too.
pub(crate) fn covered(errors: &mut ErrorList, check: impl FnOnce(&mut ErrorList)) {
    let before = errors.len();
    check(errors);
    errors[before..].iter_mut().for_each(|e| e.covered = true);
}

fn nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Number(n) => n.as_i64() == Some(0),
        Value::Bool(_) => false,
    }
}

struct Look {
    update: bool,
}

impl Look {
    /// `old` is what the value was, where it is known which one it was.
    fn at(&self, steps: &[Step], new: &Value, old: Option<&Value>, at: &Path, errors: &mut ErrorList) {
        let mut end = false;
        for step in steps {
            match self.gate(*step, new, old, at, errors) {
                Some(open) => end |= !open,
                None if end => return,
                None => self.step(*step, new, old, at, errors),
            }
        }
    }

    /// Whether the look goes on behind a step that can end it; `None` for the others.
    fn gate(&self, step: Step, new: &Value, old: Option<&Value>, at: &Path, errors: &mut ErrorList) -> Option<bool> {
        let list = new.as_array().map_or(0, Vec::len);
        let modified = old.is_some_and(|old| !old.is_null()) && !new.is_null();
        let mistake = match step {
            Step::Optional => return Some(!nothing(new)),
            Step::OptionalPointer => return Some(!new.is_null()),
            Step::Required if nothing(new) => FieldError::required(at, ""),
            Step::RequiredPointer if new.is_null() => FieldError::required(at, ""),
            Step::Immutable if self.update => FieldError::invalid(at, &Value::Null, IMMUTABLE),
            Step::NoModify if self.update && modified => {
                FieldError::invalid(at, &Value::Null, "field cannot be modified once set")
            }
            Step::NoSet if self.update && old.is_some_and(Value::is_null) && !new.is_null() => {
                FieldError::invalid(at, &Value::Null, "field cannot be set once created")
            }
            Step::NoUnset if self.update && old.is_some_and(|old| !old.is_null()) && new.is_null() => {
                FieldError::invalid(at, &Value::Null, "field cannot be cleared once set")
            }
            Step::KeepItems(keys) => {
                let before = errors.len();
                if let Some(old) = old.filter(|_| self.update) {
                    kept(items(new, &[]), items(old, &[]), keys, at, errors);
                }
                return Some(errors.len() == before);
            }
            Step::MaxItems(max) if list > max => FieldError::too_many(at, list, max),
            Step::Required
            | Step::RequiredPointer
            | Step::Immutable
            | Step::NoModify
            | Step::NoSet
            | Step::NoUnset
            | Step::MaxItems(_) => return Some(true),
            _ => return None,
        };
        errors.push(mistake);
        Some(false)
    }

    fn step(&self, step: Step, new: &Value, old: Option<&Value>, at: &Path, errors: &mut ErrorList) {
        let given = new.as_str().unwrap_or_default();
        match step {
            Step::Is(format) => format(given, at, errors),
            Step::Keys(format) => {
                let known = |key: &str| self.update && old.is_some_and(|old| old.get(key).is_some());
                let keys = new.as_object().into_iter().flatten().map(|(key, _)| key);
                keys.filter(|key| !known(key)).for_each(|key| format(key, at, errors));
            }
            Step::OneOf(known) if !known.contains(&given) => {
                errors.push(FieldError::not_supported(at, &json!(given), known));
            }
            Step::MaxLength(max) if given.chars().count() > max => {
                errors.push(FieldError::too_long_characters(at, max));
            }
            Step::MaxBytes(max) if given.len() > max => errors.push(FieldError::too_long(at, max)),
            Step::Min(min) if new.as_i64().is_some_and(|n| n < min) => {
                errors.push(FieldError::invalid(at, new, format!("must be greater than or equal to {min}")));
            }
            Step::Max(max) if new.as_i64().is_some_and(|n| n > max) => {
                errors.push(FieldError::invalid(at, new, format!("must be less than or equal to {max}")));
            }
            Step::Unique(keys) => unique(items(new, &[]), keys, at, errors),
            Step::Union(members) => self.union(members, new, old, at, errors),
            Step::When(by, key, cases, otherwise) => {
                let is = |v: &Value| (text(v, &[by]).to_owned(), v[key].clone());
                if old.is_some_and(|old| self.update && is(old) == is(new)) {
                    return;
                }
                let case = cases.iter().find(|(value, _)| *value == text(new, &[by]));
                given_or_not(case.map_or(otherwise, |(_, given)| *given), &new[key], &at.child(key), errors);
            }
            Step::AtMostOne(kinds) => self.at_most_one(kinds, new, old, at, errors),
            Step::Again(step) => self.step(*step, new, old, at, errors),
            Step::Field(name, steps) => {
                let was = old.map(|old| &old[name]);
                if !(self.update && was.is_some_and(|was| same(was, &new[name]))) {
                    self.at(steps, &new[name], was, &at.child(name), errors);
                }
            }
            Step::Items(keys, steps) => {
                for (i, item) in items(new, &[]).iter().enumerate() {
                    let before = old.filter(|_| !keys.is_empty()).map_or(&[][..], |old| items(old, &[]));
                    let was = before.iter().find(|was| keys.iter().all(|key| was[*key] == item[*key]));
                    if !(self.update && was.is_some_and(|was| same(was, item))) {
                        self.at(steps, item, was, &at.index(i), errors);
                    }
                }
            }
            Step::Values(steps) => {
                for (key, value) in new.as_object().into_iter().flatten() {
                    let was = old.and_then(|old| old.get(key));
                    if !(self.update && was.is_some_and(|was| same(was, value))) {
                        self.at(steps, value, was, &at.key(key), errors);
                    }
                }
            }
            _ => {}
        }
    }

    fn union(&self, members: &[&str], new: &Value, old: Option<&Value>, at: &Path, errors: &mut ErrorList) {
        let set = |o: &Value| -> Vec<String> {
            let given = |m: &&&str| !o[**m].is_null() && o[**m].as_array().is_none_or(|list| !list.is_empty());
            members.iter().filter(given).map(|m| (*m).to_owned()).collect()
        };
        let given = set(new);
        if !(self.update && old.is_some_and(|old| set(old) == given)) {
            one_of(&given, members, false, at, errors);
        }
    }

    /// Conditions of types that exclude one another, named as items are named.
    fn at_most_one(&self, kinds: &[&str], new: &Value, old: Option<&Value>, at: &Path, errors: &mut ErrorList) {
        let named = |kind: &str| format!("conditions[{{\"type\": \"{kind}\"}}]");
        let set = |list: &Value| -> Vec<String> {
            let has = |kind: &&&str| items(list, &[]).iter().any(|c| text(c, &["type"]) == **kind);
            kinds.iter().filter(has).map(|kind| named(kind)).collect()
        };
        let (given, all) = (set(new), kinds.iter().map(|kind| named(kind)).collect::<Vec<_>>());
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        if !(self.update && old.is_some_and(|old| set(old) == given)) {
            one_of(&given, &all, true, at, errors);
        }
    }
}

/// One of some members is given, or perhaps none.
fn one_of(given: &[String], all: &[&str], none: bool, at: &Path, errors: &mut ErrorList) {
    let all = all.iter().map(|m| format!("`{m}`")).collect::<Vec<_>>().join(", ");
    let how = if none { "at most" } else { "exactly" };
    match given {
        [] if !none => errors.push(FieldError::invalid_str(at, "", format!("must specify one of: {all}"))),
        [] | [_] => {}
        many => {
            let why = format!("must specify {how} one of: {all}");
            errors.push(FieldError::invalid_str(at, &format!("{{{}}}", many.join(", ")), why));
        }
    }
}

fn given_or_not(given: Given, value: &Value, at: &Path, errors: &mut ErrorList) {
    match given {
        Given::Must if value.is_null() => errors.push(FieldError::required(at, "")),
        Given::Never if !value.is_null() => errors.push(FieldError::forbidden(at, "")),
        _ => {}
    }
}

/// Items come and go by none but those who may.
fn kept(now: &[Value], was: &[Value], keys: &[&str], at: &Path, errors: &mut ErrorList) {
    let among =
        |list: &[Value], item: &Value| list.iter().any(|other| keys.iter().all(|key| other[*key] == item[*key]));
    for (i, _) in now.iter().enumerate().filter(|(_, item)| !among(was, item)) {
        errors.push(FieldError::forbidden(&at.index(i), "item may not be added"));
    }
    for _ in was.iter().filter(|item| !among(now, item)) {
        errors.push(FieldError::forbidden(at, "item may not be removed"));
    }
}

fn unique(list: &[Value], keys: &[&str], at: &Path, errors: &mut ErrorList) {
    let alike = |a: &Value, b: &Value| match keys {
        [] => a == b,
        keys => keys.iter().all(|key| a[*key] == b[*key]),
    };
    for (i, item) in list.iter().enumerate().filter(|(i, item)| list[..*i].iter().any(|before| alike(before, item))) {
        errors.push(FieldError::duplicate(&at.index(i), item).covered());
    }
}

#[cfg(test)]
mod tests;
