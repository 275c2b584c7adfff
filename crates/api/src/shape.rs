//! Whether a value has a shape, told as Go's strict reader tells it: a file of shapes has a line for each struct, its name
//! and its fields with their types: `s` text, `y` bytes, `b` a flag, `i32` and `i64` numbers, `f32` and `f64`, `d` a
//! duration, `any`, the name of a struct; `[]` and `{}` before a type are lists and maps of it. Texts and what may be
//! anything have Go's name of their type behind a slash, as in `s/Name`. A name with a dot tells its package.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ironclad_json::{Value, json};
use std::collections::HashMap;

type Fields = HashMap<&'static str, &'static str>;

/// Shapes by their names.
pub struct Shapes(HashMap<&'static str, Fields>);

impl Shapes {
    /// From the lines of a file.
    pub fn read(text: &'static str) -> Self {
        let shape = |line: &'static str| {
            let mut words = line.split_whitespace();
            Some((words.next()?, words.filter_map(|w| w.split_once(':')).collect()))
        };
        let shapes = Self(text.lines().filter_map(shape).collect());
        debug_assert!(shapes.dangling().is_empty(), "{:?}", shapes.dangling());
        shapes
    }

    /// The fields that the shape of `kind` does not know; an error where a value has the wrong type. `package` is where
    /// Go has the types: the last part of the version.
    pub fn check(&self, kind: &str, package: &str, value: &Value) -> Result<Vec<String>, String> {
        let mut walk = Walk { shapes: self, package, unknown: Vec::new() };
        walk.check(&At { shape: kind, owner: kind, path: "", plain: "" }, value)?;
        Ok(walk.unknown)
    }

    /// The value as Go reads it: null is what is not there, an item of a list that is null is an empty one, and bytes
    /// are base64.
    pub fn settled(&self, shape: &str, value: &Value) -> Value {
        let inner = shape.strip_prefix("[]").or_else(|| shape.strip_prefix("{}")).unwrap_or("any");
        match value {
            value if shape == "y" => bytes(value).map_or_else(|_| value.clone(), |b| json!(STANDARD.encode(b))),
            Value::Array(items) => items
                .iter()
                .map(|item| match item {
                    Value::Null if matches!(inner, "s" | "d") || inner.starts_with("s/") => Value::String("".into()),
                    Value::Null if self.0.contains_key(inner) => json!({}),
                    item => self.settled(inner, item),
                })
                .collect(),
            Value::Object(fields) => {
                let of = |name: &str| self.0.get(shape).and_then(|s| s.get(name).copied()).unwrap_or(inner);
                let entry = fields.iter().filter_map(|(name, value)| match value {
                    // In a map of texts it is the empty one.
                    Value::Null if inner == "s" => Some((name.clone(), Value::String("".into()))),
                    Value::Null => None,
                    value => Some((name.clone(), self.settled(of(name), value))),
                });
                Value::Object(entry.collect())
            }
            other => other.clone(),
        }
    }

    /// Types of fields that are none.
    fn dangling(&self) -> Vec<String> {
        let known = |ty: &str| {
            let ty = ty.trim_start_matches("[]").trim_start_matches("{}").trim_start_matches("[]");
            let plain = ty.split_once('/').map_or(ty, |(plain, _)| plain);
            matches!(plain, "s" | "y" | "b" | "i32" | "i64" | "f32" | "f64" | "d" | "any") || self.0.contains_key(ty)
        };
        let each = self.0.iter().flat_map(|(name, fields)| fields.iter().map(move |(f, ty)| (name, f, ty)));
        each.filter(|(_, _, ty)| !known(ty)).map(|(name, field, ty)| format!("{name}.{field} is a {ty}")).collect()
    }
}

/// Where a walk is: the type that is wanted, the struct that has the field, and the field's path with and without places
/// in lists.
struct At<'a> {
    shape: &'a str,
    owner: &'a str,
    path: &'a str,
    plain: &'a str,
}

struct Walk<'a> {
    shapes: &'a Shapes,
    package: &'a str,
    unknown: Vec<String>,
}

impl Walk<'_> {
    fn check(&mut self, at: &At<'_>, value: &Value) -> Result<(), String> {
        if value.is_null() && at.shape == "d" {
            return crate::time::duration("").map(drop);
        }
        if value.is_null() || at.shape == "any" || at.shape.starts_with("any/") {
            return Ok(());
        }
        let wrong = |walk: &Self| Err(walk.wrong(at, value));
        if let Some(shape) = at.shape.strip_prefix("[]") {
            let Some(items) = value.as_array() else { return wrong(self) };
            return items
                .iter()
                .enumerate()
                .try_for_each(|(i, v)| self.check(&At { shape, path: &format!("{}[{i}]", at.path), ..*at }, v));
        }
        if let Some(shape) = at.shape.strip_prefix("{}") {
            let Some(fields) = value.as_object() else { return wrong(self) };
            return fields
                .iter()
                .try_for_each(|(name, v)| self.check(&At { shape, path: &format!("{}.{name}", at.path), ..*at }, v));
        }
        let number = |low: i64, high: i64| value.as_i64().is_some_and(|n| (low..=high).contains(&n));
        let right = match at.shape {
            "s" => value.as_str().is_some(),
            named if named.starts_with("s/") => value.as_str().is_some(),
            "b" => value.as_bool().is_some(),
            "y" => match bytes(value) {
                Ok(_) => true,
                Err(Unread::Text(why)) => return Err(why),
                Err(Unread::Item) => return Err(self.wrong(&At { shape: "u8", ..*at }, value)),
                Err(Unread::Sort) => false,
            },
            "i32" => number(i32::MIN.into(), i32::MAX.into()),
            "i64" => number(i64::MIN, i64::MAX),
            "f32" | "f64" => value.as_f64().is_some(),
            "d" => {
                let Some(text) = value.as_str() else {
                    return Err(self.wrong(&At { shape: "s", ..*at }, value));
                };
                return crate::time::duration(text).map(drop);
            }
            _ => return self.fields(at, value),
        };
        if right { Ok(()) } else { wrong(self) }
    }

    fn fields(&mut self, at: &At<'_>, value: &Value) -> Result<(), String> {
        let Some(fields) = value.as_object() else { return Err(self.wrong(at, value)) };
        let known = &self.shapes.0[at.shape];
        for (name, value) in fields {
            let name: &str = name;
            let below = |path: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            let (path, plain) = (below(at.path), below(at.plain));
            match known.get(name) {
                Some(shape) => self.check(&At { shape, owner: at.shape, path: &path, plain: &plain }, value)?,
                None if matches!(path.as_str(), "kind" | "apiVersion") => {}
                None => self.unknown.push(path),
            }
        }
        Ok(())
    }

    /// As Go's decoder words it.
    fn wrong(&self, at: &At<'_>, value: &Value) -> String {
        let got = match value {
            Value::Number(number) if at.shape.starts_with('i') => format!("number {number}"),
            value => sort(value).to_owned(),
        };
        let want = self.go_type(at.shape);
        match at.plain.is_empty() {
            true => format!("json: cannot unmarshal {got} into Go value of type {want}"),
            false => {
                let owner = at.owner.rsplit('.').next().unwrap_or_default();
                format!("json: cannot unmarshal {got} into Go struct field {owner}.{} of type {want}", at.plain)
            }
        }
    }

    fn go_type(&self, shape: &str) -> String {
        if let Some(inner) = shape.strip_prefix("[]") {
            return format!("[]{}", self.go_type(inner));
        }
        if let Some(inner) = shape.strip_prefix("{}") {
            return format!("map[string]{}", self.go_type(inner));
        }
        match shape {
            "s" => "string".to_owned(),
            "b" => "bool".to_owned(),
            "i32" => "int32".to_owned(),
            "i64" => "int64".to_owned(),
            "f32" => "float32".to_owned(),
            "f64" => "float64".to_owned(),
            "u8" => "uint8".to_owned(),
            "y" => "[]uint8".to_owned(),
            name => match name.split_once('/').map_or(name, |(_, name)| name) {
                name if name.contains('.') => name.to_owned(),
                name => format!("{}.{name}", self.package),
            },
        }
    }
}

/// What Go's reader calls a value.
pub fn sort(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Why bytes cannot be read.
enum Unread {
    /// The text is no base64.
    Text(String),
    /// A number in the list is no byte.
    Item,
    /// It is neither text nor list.
    Sort,
}

/// Bytes stand in base64, in which the ends of lines are nothing, or as a list of numbers.
fn bytes(value: &Value) -> Result<Vec<u8>, Unread> {
    use base64::DecodeError as E;
    match value {
        Value::String(text) => STANDARD.decode(text.replace(['\n', '\r'], "")).map_err(|error| {
            let at = match error {
                E::InvalidByte(at, _) | E::InvalidLastSymbol { offset: at, .. } => at,
                E::InvalidLength(_) | E::InvalidPadding => text.len() / 4 * 4,
            };
            Unread::Text(format!("illegal base64 data at input byte {at}"))
        }),
        Value::Array(list) => {
            let byte = |n: &Value| n.as_u64().and_then(|n| u8::try_from(n).ok()).ok_or(Unread::Item);
            list.iter().map(byte).collect()
        }
        _ => Err(Unread::Sort),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shapes() -> Shapes {
        Shapes::read("Top items:[]Item wait:d count:i32 by:{}s\nItem name:s level:s/Level inner:Top\n")
    }

    #[test]
    fn unknown_fields_are_named_by_their_paths() {
        let value = json!({"foo": 1, "items": [{"name": "a", "bar": 2}], "kind": "x", "apiVersion": "y"});
        assert_eq!(shapes().check("Top", "v1", &value).unwrap(), ["foo", "items[0].bar"]);
    }

    #[test]
    #[should_panic(expected = "A.b is a []B")]
    fn types_that_are_none_are_found() {
        Shapes::read("A b:[]B");
    }

    #[test]
    fn null_is_what_is_not_there() {
        let shapes = Shapes::read("Top items:[]Item names:[]s one:Item\nItem name:s\n");
        let value = json!({"items": [null, {"name": null}], "names": [null, "a"], "one": null});
        assert_eq!(shapes.settled("Top", &value), json!({"items": [{}, {}], "names": ["", "a"]}));
        let shapes = Shapes::read("Top by:{}s data:y\n");
        let value = json!({"by": {"a": null}, "data": [91, 93]});
        assert_eq!(shapes.settled("Top", &value), json!({"by": {"a": ""}, "data": "W10="}));
    }

    #[test]
    fn wrong_types_are_told_as_go_tells_them() {
        let table = [
            (json!({"count": "x"}), "string into Go struct field Top.count of type int32"),
            (json!({"count": 1.5}), "number 1.5 into Go struct field Top.count of type int32"),
            (json!({"items": {}}), "object into Go struct field Top.items of type []v1.Item"),
            (json!({"items": [1]}), "number into Go struct field Top.items of type v1.Item"),
            (json!({"items": [{"level": 1}]}), "number into Go struct field Item.items.level of type v1.Level"),
            (
                json!({"items": [{"inner": {"by": 1}}]}),
                "number into Go struct field Top.items.inner.by of type map[string]string",
            ),
            (json!({"wait": 5}), "number into Go struct field Top.wait of type string"),
        ];
        for (value, want) in table {
            let want = format!("json: cannot unmarshal {want}");
            assert_eq!(shapes().check("Top", "v1", &value).unwrap_err(), want, "{value}");
        }
        assert_eq!(
            shapes().check("Top", "v1", &json!({"wait": "5"})).unwrap_err(),
            "time: missing unit in duration \"5\""
        );
    }
}
