//! Whether a value has a shape: `shapes.txt` has a line for each struct, its name and its fields with their types: `s`
//! text, `b` a flag, `i32` and `i64` numbers, `f32` and `f64`, `d` a duration, `any`, the name of a struct; `[]` and `{}`
//! before a type are lists and maps of it.

use ironclad_json::Value;
use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

type Fields = HashMap<&'static str, &'static str>;

static SHAPES: LazyLock<HashMap<&'static str, Fields>> = LazyLock::new(|| {
    let lines = include_str!("shapes.txt").lines();
    let shape = |line: &'static str| {
        let mut words = line.split_whitespace();
        Some((words.next()?, words.filter_map(|w| w.split_once(':')).collect()))
    };
    lines.filter_map(shape).collect()
});

/// The fields that the shape does not know; an error where a value has the wrong type.
pub(super) fn check(kind: &str, value: &Value) -> Result<Vec<String>, String> {
    let mut walk = Walk { kind, unknown: Vec::new() };
    walk.check(kind, value, "")?;
    Ok(walk.unknown)
}

struct Walk<'a> {
    kind: &'a str,
    unknown: Vec<String>,
}

impl Walk<'_> {
    fn check(&mut self, shape: &str, value: &Value, path: &str) -> Result<(), String> {
        if value.is_null() || shape == "any" {
            return Ok(());
        }
        if let Some(inner) = shape.strip_prefix("[]") {
            let items = value.as_array().ok_or_else(|| self.wrong(shape, value, path))?;
            return items.iter().enumerate().try_for_each(|(i, v)| self.check(inner, v, &format!("{path}[{i}]")));
        }
        if let Some(inner) = shape.strip_prefix("{}") {
            let fields = value.as_object().ok_or_else(|| self.wrong(shape, value, path))?;
            return fields.iter().try_for_each(|(name, v)| self.check(inner, v, &format!("{path}.{name}")));
        }
        let number = |low: i64, high: i64| value.as_i64().is_some_and(|n| (low..=high).contains(&n));
        let right = match shape {
            "s" => value.as_str().is_some(),
            "b" => value.as_bool().is_some(),
            "i32" => number(i32::MIN.into(), i32::MAX.into()),
            "i64" => number(i64::MIN, i64::MAX),
            "f32" | "f64" => value.as_f64().is_some(),
            "d" => {
                let text = value.as_str().ok_or_else(|| self.wrong("s", value, ""))?;
                return duration(text).map(drop);
            }
            name => return self.fields(name, value, path),
        };
        if right { Ok(()) } else { Err(self.wrong(shape, value, path)) }
    }

    fn fields(&mut self, shape: &str, value: &Value, path: &str) -> Result<(), String> {
        let fields = value.as_object().ok_or_else(|| self.wrong(shape, value, path))?;
        let known = &SHAPES[shape];
        for (name, value) in fields {
            let name: &str = name;
            let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            match known.get(name) {
                Some(shape) => self.check(shape, value, &path)?,
                None if matches!(path.as_str(), "kind" | "apiVersion") => {}
                None => self.unknown.push(path),
            }
        }
        Ok(())
    }

    /// As Go's decoder words it.
    fn wrong(&self, shape: &str, value: &Value, path: &str) -> String {
        let got = match value {
            v if v.as_str().is_some() => "string".to_owned(),
            v if v.as_bool().is_some() => "bool".to_owned(),
            v if v.as_array().is_some() => "array".to_owned(),
            v if v.as_object().is_some() => "object".to_owned(),
            v if shape.starts_with('i') => format!("number {v}"),
            _ => "number".to_owned(),
        };
        let want = go_type(shape);
        let plain: String =
            path.split('.').map(|p| p.split('[').next().unwrap_or_default()).collect::<Vec<_>>().join(".");
        match plain.is_empty() {
            true => format!("json: cannot unmarshal {got} into Go value of type {want}"),
            false => format!("json: cannot unmarshal {got} into Go struct field {}.{plain} of type {want}", self.kind),
        }
    }
}

fn go_type(shape: &str) -> String {
    if let Some(inner) = shape.strip_prefix("[]") {
        return format!("[]{}", go_type(inner));
    }
    if let Some(inner) = shape.strip_prefix("{}") {
        return format!("map[string]{}", go_type(inner));
    }
    match shape {
        "s" => "string".to_owned(),
        "b" => "bool".to_owned(),
        "i32" => "int32".to_owned(),
        "i64" => "int64".to_owned(),
        "f32" => "float32".to_owned(),
        "f64" => "float64".to_owned(),
        name => name.to_owned(),
    }
}

/// A duration as Go writes it; the error is worded as Go words it.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut sum = 0.0;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let count: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let seconds = match &rest[..end] {
            "" => return Err(format!("time: missing unit in duration {text:?}")),
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            unit => return Err(format!("time: unknown unit {unit:?} in duration {text:?}")),
        };
        sum += count * seconds;
        rest = &rest[end..];
    }
    if text.starts_with('-') { Ok(Duration::ZERO) } else { Duration::try_from_secs_f64(sum).map_err(|_| invalid()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    #[test]
    fn every_type_of_the_shapes_is_known() {
        for (name, fields) in SHAPES.iter() {
            for (field, shape) in fields {
                let plain = shape.replace("[]", "").replace("{}", "");
                let known = ["s", "b", "i32", "i64", "f32", "f64", "d", "any"].contains(&plain.as_str());
                assert!(known || SHAPES.contains_key(plain.as_str()), "{name}.{field} is a {shape}");
            }
        }
    }

    #[test]
    fn unknown_fields_are_named_by_their_paths() {
        let value = json!({"foo": 1, "profiles": [{"schedulerName": "a", "bar": 2}], "kind": "x", "apiVersion": "y"});
        assert_eq!(check("KubeSchedulerConfiguration", &value).unwrap(), ["foo", "profiles[0].bar"]);
    }

    #[test]
    fn wrong_types_and_durations_are_told_as_stock_tells_them() {
        let of = |value| check("KubeletConfiguration", &value).unwrap_err();
        assert_eq!(
            of(json!({"maxPods": "x"})),
            "json: cannot unmarshal string into Go struct field KubeletConfiguration.maxPods of type int32"
        );
        assert_eq!(of(json!({"syncFrequency": "1x"})), "time: unknown unit \"x\" in duration \"1x\"");
        assert_eq!(of(json!({"syncFrequency": "5"})), "time: missing unit in duration \"5\"");
        assert_eq!(duration("1h0m30.5s").unwrap(), Duration::from_millis(3_630_500));
    }
}
