//! Whether a value is as its schema says, with the messages of the stock validator.
//!
//! Invariant: in an update, what was wrong before and has not changed is not held against the change (ratcheting,
//! KEP-4008), as far as the old value of a field is known.

mod number;

use crate::formats;
use crate::schema::{Additional, Checks, ListType, Schema};
use ironclad_api::field::ErrorKind;
use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_json::Value;
use regex::Regex;
use std::cell::RefCell;
use std::collections::HashMap;

/// What is wrong with a value, below `path`; `old` is the value before, if this is an update.
pub fn validate(path: &Path, schema: &Schema, value: &Value, old: Option<&Value>) -> ErrorList {
    let walk = Walk { base: path.as_str(), patterns: RefCell::default() };
    walk.value("", schema, value, old).errors
}

/// What a part of a schema says of a value.
#[derive(Default)]
struct Found {
    errors: ErrorList,
    /// How much of it fits; tells the best of several schemas.
    matches: usize,
}

impl Found {
    fn merge(&mut self, other: Self) {
        self.errors.extend(other.errors);
        self.matches += other.matches;
    }

    fn note(&mut self, error: Option<FieldError>) {
        self.errors.extend(error);
    }
}

struct Walk<'a> {
    base: &'a str,
    /// Patterns of this schema that were compiled; `None` for one that cannot be.
    patterns: RefCell<HashMap<String, Option<Regex>>>,
}

/// What old value a field or an item goes with.
fn correlated<'v>(schema: &Schema, old: Option<&'v Value>, step: &Step<'_>) -> Option<&'v Value> {
    match (step, old?) {
        (Step::Key(key), Value::Object(old)) => old.get(key),
        (Step::Item(item), Value::Array(old)) => {
            let Some(ListType::Map(keys)) = &schema.list else { return None };
            let same = |o: &&Value| keys.iter().all(|k| o.get(k) == item.get(k));
            old.iter().find(same)
        }
        _ => None,
    }
}

fn too_many(at: &Path, size: i64, max: i64) -> FieldError {
    match usize::try_from(max) {
        Ok(max) => FieldError::too_many(at, size as usize, max),
        Err(_) => FieldError { detail: "has too many items".to_owned(), ..FieldError::too_many(at, size as usize, 0) },
    }
}

enum Step<'a> {
    Key(&'a str),
    Item(&'a Value),
}

/// What was wanted of a value whose type is not `wanted`, and what it is instead.
pub(crate) fn mistaken(wanted: &[&str], format: &str, value: &Value) -> Option<(String, &'static str)> {
    let (has, inner) = match value {
        Value::Null => return Some((wanted.join(","), "null")),
        Value::Bool(_) => ("boolean", ""),
        Value::String(_) => ("string", ""),
        Value::Array(_) => ("array", ""),
        Value::Object(_) => ("object", ""),
        // What no integer of 64 bits holds is no integer.
        Value::Number(n) if n.as_i64().is_none() => ("number", "double"),
        Value::Number(_) => ("integer", "int64"),
    };
    let is = |ty: &str| wanted.contains(&ty);
    let whole = matches!(value, Value::Number(n) if number::is_whole(n));
    let fits = is(has) || has == "number" && whole && is("integer") || has == "integer" && is("number");
    let plain = matches!(value, Value::String(_) | Value::Array(_));
    if fits || plain && !format.is_empty() && !is("number") && !is("integer") {
        return None;
    }
    if !plain && !format.is_empty() {
        // Stock names the format instead.
        return (format != inner).then(|| (format.to_owned(), inner));
    }
    Some((wanted.join(","), has))
}

impl Walk<'_> {
    /// The path that an error at `name` has.
    fn at(&self, name: &str) -> Path {
        let name = name.trim_start_matches('.');
        match (self.base, name) {
            ("", name) => Path::new(name),
            (base, "") => Path::new(base),
            (base, name) => Path::new(base).child(name),
        }
    }

    fn invalid(&self, name: &str, value: &Value, why: impl std::fmt::Display) -> FieldError {
        FieldError::invalid(&self.at(name), value, format!("{name} in body {why}"))
    }

    /// An error about several schemas, which stock puts at no field.
    fn several(&self, name: &str, why: &str) -> FieldError {
        let path = if self.base.is_empty() { Path::new("<nil>") } else { Path::new(self.base) };
        FieldError::invalid_str(&path, "", format!("{name:?} {why}"))
    }

    /// An error about the range of a number's format, which stock puts at no field either.
    fn out_of_range(&self, why: &str) -> FieldError {
        let path = if self.base.is_empty() { Path::new("<nil>") } else { Path::new(self.base) };
        FieldError::invalid_str(&path, "", why)
    }

    fn value(&self, name: &str, schema: &Schema, value: &Value, old: Option<&Value>) -> Found {
        let mut found = Found { errors: Vec::new(), matches: 1 };
        let checks = schema.checks();
        match self.of_type(name, schema, value) {
            Some(error) => found.errors.push(error),
            None => found.matches += 1,
        }
        if !value.is_null() {
            found.merge(self.junctors(name, checks, value, old));
            found.matches += 1;
            match value {
                Value::String(text) => self.text(name, schema, checks, text, &mut found),
                Value::Number(number) => {
                    let out_of_range = |why: String| self.out_of_range(&format!("{why} in {name}"));
                    let error = |why: number::Why| match why {
                        number::Why::Value(why) => self.invalid(name, value, why),
                        number::Why::Factor(factor) => {
                            let why = format!("factor MultipleOf declared for {name} must be positive: {factor}");
                            FieldError::invalid_shown(&self.at(name), factor, why)
                        }
                    };
                    let errors = number::check(schema.ty, checks, number, out_of_range, error);
                    found.errors.extend(errors);
                }
                Value::Array(items) => self.list(name, schema, items, old, &mut found),
                _ => {}
            }
            found.matches += 1;
        }
        found.note(self.choice(name, checks, value));
        if let Value::Object(map) = value {
            self.object(name, schema, map, old, &mut found);
        }
        if !found.errors.is_empty() && old == Some(value) {
            found.errors.clear();
        }
        found
    }

    fn of_type(&self, name: &str, schema: &Schema, value: &Value) -> Option<FieldError> {
        let wanted: &[&str] = match (schema.ty, schema.int_or_string) {
            (Some(ty), _) => &[ty.name()],
            (None, true) => &["integer", "string"],
            (None, false) => return None,
        };
        if value.is_null() && schema.nullable {
            return None;
        }
        let format = schema.checks().format.as_str();
        let format = if formats::recognized(schema.ty.map_or("", |t| t.name()), format) { format } else { "" };
        let (wanted, has) = mistaken(wanted, format, value)?;
        let detail = format!("{name} in body must be of type {wanted}: {has:?}");
        Some(FieldError::type_invalid(&self.at(name), &Value::from(has), detail))
    }

    /// `anyOf`, `oneOf`, `allOf`, `not`.
    fn junctors(&self, name: &str, checks: &Checks, value: &Value, old: Option<&Value>) -> Found {
        let mut found = Found { errors: Vec::new(), matches: 1 };
        let run = |schemas: &[Schema]| -> (usize, Option<Found>, Option<Found>) {
            let (mut good, mut first, mut best): (usize, Option<Found>, Option<Found>) = (0, None, None);
            for schema in schemas {
                let one = self.value(name, schema, value, old);
                if one.errors.is_empty() {
                    good += 1;
                    first.get_or_insert(one);
                } else if best.as_ref().is_none_or(|b| one.matches > b.matches) {
                    best = Some(one);
                }
            }
            (good, first, best)
        };
        if !checks.any_of.is_empty() {
            let (good, first, best) = run(&checks.any_of);
            if good == 0 {
                found.errors.push(self.several(name, "must validate at least one schema (anyOf)"));
            }
            found.merge(if good == 0 { best } else { first }.unwrap_or_default());
        }
        if !checks.one_of.is_empty() {
            let (good, first, best) = run(&checks.one_of);
            let why = match good {
                1 => None,
                0 => Some("Found none valid".to_owned()),
                n => Some(format!("Found {n} valid alternatives")),
            };
            if let Some(why) = why {
                let message = format!("must validate one and only one schema (oneOf). {why}");
                found.errors.push(self.several(name, &message));
            }
            match good {
                0 => found.merge(best.unwrap_or_default()),
                1 => found.merge(first.unwrap_or_default()),
                _ => {}
            }
        }
        if !checks.all_of.is_empty() {
            let mut good = 0;
            for schema in &checks.all_of {
                let one = self.value(name, schema, value, old);
                good += usize::from(one.errors.is_empty());
                found.merge(one);
            }
            if good != checks.all_of.len() {
                let none = if good == 0 { ". None validated" } else { "" };
                found.errors.push(self.several(name, &format!("must validate all the schemas (allOf){none}")));
            }
        }
        if let Some(not) = &checks.not
            && self.value(name, not, value, old).errors.is_empty()
        {
            found.errors.push(self.several(name, "must not validate the schema (not)"));
        }
        found
    }

    fn text(&self, name: &str, schema: &Schema, checks: &Checks, text: &str, found: &mut Found) {
        let value = Value::from(text);
        found.note(self.measure(name, checks, text, &value));
        let format = formats::supported(schema.ty, &checks.format);
        if format.is_some_and(|f| !formats::valid(f, text)) {
            let detail = format!("{name} in body must be of type {}: {text:?}", checks.format);
            found.errors.push(FieldError::type_invalid(&self.at(name), &value, detail));
        }
    }

    /// The first thing that is wrong with the length or the letters of a text.
    fn measure(&self, name: &str, checks: &Checks, text: &str, value: &Value) -> Option<FieldError> {
        let length = text.chars().count() as i64;
        if let Some(max) = checks.max_length.filter(|max| length > *max) {
            let at = self.at(name);
            return Some(match usize::try_from(max) {
                Ok(max) => FieldError::too_long(&at, max),
                Err(_) => FieldError { detail: "value is too long".to_owned(), ..FieldError::too_long(&at, 0) },
            });
        }
        if let Some(min) = checks.min_length.filter(|min| length < *min) {
            return Some(self.invalid(name, value, format!("should be at least {min} chars long")));
        }
        let good = checks.pattern.is_empty() || self.matches(&checks.pattern, text);
        (!good).then(|| self.invalid(name, value, format!("should match '{}'", checks.pattern)))
    }

    fn matches(&self, pattern: &str, text: &str) -> bool {
        let mut patterns = self.patterns.borrow_mut();
        let compiled = patterns.entry(pattern.to_owned()).or_insert_with(|| crate::pattern(pattern).ok());
        compiled.as_ref().is_some_and(|p| p.is_match(text))
    }

    fn list(&self, name: &str, schema: &Schema, items: &[Value], old: Option<&Value>, found: &mut Found) {
        let checks = schema.checks();
        if let Some(item_schema) = schema.items.as_deref() {
            for (index, item) in items.iter().enumerate() {
                let before = correlated(schema, old, &Step::Item(item));
                found.merge(self.value(&format!("{name}[{index}]"), item_schema, item, before));
            }
        }
        let size = items.len() as i64;
        if let Some(min) = checks.min_items.filter(|min| size < *min) {
            found.errors.push(self.invalid(name, &size.into(), format!("should have at least {min} items")));
        }
        if let Some(max) = checks.max_items.filter(|max| size > *max) {
            found.errors.push(too_many(&self.at(name), size, max));
        }
        if checks.unique_items && items.iter().enumerate().any(|(i, v)| items[..i].contains(v)) {
            found.errors.push(self.invalid(name, &"".into(), "shouldn't contain duplicates"));
        }
    }

    fn choice(&self, name: &str, checks: &Checks, value: &Value) -> Option<FieldError> {
        let same = |choice: &Value| match (choice, value) {
            // A fraction is lost where the choice is an integer.
            (Value::Number(a), Value::Number(b)) if b.is_f64() && !a.is_f64() => {
                a.as_f64() == b.as_f64().map(f64::trunc)
            }
            (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
            (a, b) => a == b,
        };
        if checks.choices.is_empty() || checks.choices.iter().any(same) {
            return None;
        }
        let show = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
        let allowed: Vec<String> = checks.choices.iter().map(|c| format!("{:?}", show(c))).collect();
        // In the order of the schema, unlike the lists of built-in kinds.
        Some(FieldError {
            kind: ErrorKind::NotSupported,
            path: self.at(name).as_str().to_owned(),
            value: value.to_string(),
            detail: format!("supported values: {}", allowed.join(", ")),
            covered: false,
            as_is: false,
        })
    }

    fn object(&self, name: &str, schema: &Schema, map: &ironclad_json::Map, old: Option<&Value>, found: &mut Found) {
        let checks = schema.checks();
        let size = map.len() as i64;
        if let Some(min) = checks.min_properties.filter(|min| size < *min) {
            found.errors.push(self.invalid(name, &size.into(), format!("should have at least {min} properties")));
        }
        if let Some(max) = checks.max_properties.filter(|max| size > *max) {
            found.errors.push(too_many(&self.at(name), size, max));
        }
        for (key, value) in map {
            let path = if name.is_empty() { key.to_string() } else { format!("{name}.{key}") };
            // Both versions of an object have the kind that they are read as.
            let head = name.is_empty() && matches!(key.as_str(), "kind" | "apiVersion");
            let before = if head { None } else { correlated(schema, old, &Step::Key(key)) };
            match (schema.properties.get(key.as_str()), &schema.additional) {
                (Some(property), _) => found.merge(self.value(&path, property, value, before)),
                (None, Some(Additional::Like(like))) => found.merge(self.value(&path, like, value, before)),
                (None, Some(Additional::Any(false))) => {
                    let detail = format!("{name}.{key} in body is a forbidden property");
                    found.errors.push(FieldError::invalid_str(&self.at(name), key, detail));
                }
                _ => {}
            }
        }
        for required in checks.required.iter().filter(|r| !map.contains_key(r)) {
            found.errors.push(FieldError::required(&self.at(&format!("{name}.{required}")), ""));
        }
    }
}

#[cfg(test)]
mod tests;
