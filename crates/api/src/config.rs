//! Files of configuration in YAML or JSON, read as strictly as stock reads them, with its words for what is wrong.

use crate::shape::{Shapes, sort};
use ironclad_json::Value;

/// Kinds that stand beside the wanted one where stock reads it: a file that holds one of them is known, but no help.
#[derive(Clone, Copy, Debug)]
pub struct Scheme {
    /// What stock calls the place where the kinds are registered.
    pub name: &'static str,
    /// Versions in which the wanted kind is read.
    pub versions: &'static [&'static str],
    /// Other kinds with the version in which they are known.
    pub others: &'static [(&'static str, &'static str)],
}

const HEAD: &str = "couldn't get version/kind; json parse error: json: cannot unmarshal";

/// The value in a text, which says that it is of `kind`, has no key twice, no unknown field and no value of a wrong type.
pub fn decode(text: &str, kind: &str, scheme: &Scheme, shapes: &Shapes) -> Result<Value, String> {
    let (value, twice) = read(text)?;
    match told(&value)? {
        ("", _) => return Err(format!("Object 'Kind' is missing in '{text}'")),
        (_, "") => return Err(format!("Object 'apiVersion' is missing in '{text}'")),
        (found, version) => scheme.knows(kind, found, version)?,
    }
    let (value, odd) = shaped(&value, twice, kind, shapes)?;
    match odd.is_empty() {
        true => Ok(value),
        false => Err(format!("strict decoding error: {}", odd.join(", "))),
    }
}

/// The same, but kind and version need not be told (the version is empty then), and what strict reading would refuse comes
/// beside the value.
pub fn decode_loosely(
    text: &str,
    kind: &str,
    scheme: &Scheme,
    shapes: &Shapes,
) -> Result<(Value, String, Vec<String>), String> {
    let (value, twice) = read(text)?;
    let (found, version) = told(&value)?;
    if !version.is_empty() {
        scheme.knows(kind, if found.is_empty() { kind } else { found }, version)?;
    }
    let (settled, odd) = shaped(&value, twice, kind, shapes)?;
    Ok((settled, version.to_owned(), odd))
}

impl Scheme {
    fn knows(&self, kind: &str, found: &str, version: &str) -> Result<(), String> {
        if found == kind && self.versions.contains(&version) {
            return Ok(());
        }
        Err(match self.others.iter().any(|(k, v)| *k == found && *v == version) {
            true => format!("expected {kind}, got *apiserver.{found}"),
            false => format!("no kind {found:?} is registered for version {version:?} in scheme {:?}", self.name),
        })
    }
}

/// The value with null settled, and what is odd about it.
fn shaped(value: &Value, twice: Vec<String>, kind: &str, shapes: &Shapes) -> Result<(Value, Vec<String>), String> {
    let version = value.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    let package = version.rsplit('/').next().unwrap_or_default();
    let mut odd = match twice.is_empty() {
        true => Vec::new(),
        false => vec![format!("yaml: unmarshal errors:\n  {}", twice.join("\n  "))],
    };
    let unknown = shapes.check(kind, package, value)?;
    odd.extend(unknown.iter().map(|path| format!("unknown field {path:?}")));
    Ok((shapes.settled(kind, value), odd))
}

/// The value and its keys that stand twice.
fn read(text: &str) -> Result<(Value, Vec<String>), String> {
    match crate::yaml::parse(text) {
        // Nothing but comments.
        Err(_) if text.lines().all(|l| l.trim().is_empty() || l.trim_start().starts_with('#')) => {
            Ok((Value::Null, Vec::new()))
        }
        Err(_) if text.trim_start().starts_with('{') && unfinished(text) => {
            Err("couldn't get version/kind; json parse error: unexpected end of JSON input".to_owned())
        }
        read => read,
    }
}

/// Whether a JSON text ends before it is whole.
fn unfinished(text: &str) -> bool {
    let read: Result<Value, _> = serde_json::from_str(text);
    read.is_err_and(|e| e.is_eof())
}

/// Kind and version as the value tells them.
pub fn told(value: &Value) -> Result<(&str, &str), String> {
    if !value.is_null() && !value.is_object() {
        return Err(format!(
            "{HEAD} {} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}",
            sort(value)
        ));
    }
    let field = |name: &str| match value.get(name) {
        None | Some(Value::Null) => Ok(""),
        Some(v) => v.as_str().ok_or_else(|| format!("{HEAD} {} into Go struct field .{name} of type string", sort(v))),
    };
    Ok((field("kind")?, field("apiVersion")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_other_kinds_and_with_mistakes_are_refused() {
        let scheme = Scheme { name: "here.go:1", versions: &["g/v1"], others: &[("Other", "g/v1")] };
        let shapes = Shapes::read("Top name:s\n");
        let read = |text: &str| decode(text, "Top", &scheme, &shapes);
        assert_eq!(read("apiVersion: g/v1\nkind: Top\nname: a\n").unwrap()["name"], "a");
        let table = [
            ("# none\n", "Object 'Kind' is missing in '# none\n'"),
            ("kind: Top", "Object 'apiVersion' is missing in 'kind: Top'"),
            ("{\"kind\": ", "couldn't get version/kind; json parse error: unexpected end of JSON input"),
            (
                "kind: 3",
                "couldn't get version/kind; json parse error: json: cannot unmarshal number into Go struct field .kind of type string",
            ),
            (
                "apiVersion: g/v2\nkind: Top",
                "no kind \"Top\" is registered for version \"g/v2\" in scheme \"here.go:1\"",
            ),
            ("apiVersion: g/v1\nkind: Other", "expected Top, got *apiserver.Other"),
            (
                "apiVersion: g/v1\nkind: Top\nname: [a]",
                "json: cannot unmarshal array into Go struct field Top.name of type string",
            ),
            ("apiVersion: g/v1\nkind: Top\nnmae: a", "strict decoding error: unknown field \"nmae\""),
            (
                "apiVersion: g/v1\nkind: Top\nname: a\nname: b",
                "strict decoding error: yaml: unmarshal errors:\n  line 4: key \"name\" already set in map",
            ),
        ];
        for (text, why) in table {
            assert_eq!(read(text).unwrap_err(), why);
        }
        assert!(read("[]").unwrap_err().contains("cannot unmarshal array into Go value of type struct { APIVersion"));
    }
}
