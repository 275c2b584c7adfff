//! Paths that a schema must know: of selectable fields, and of the fields that rules name.

use ironclad_api::Path;
use ironclad_json::Value;

/// The path in its normal form and the schema of what it leads to. `brackets` allows `['name']`.
pub fn valid<'s>(text: &str, schema: &'s Value, brackets: bool) -> Result<(Path, &'s Value), String> {
    let mut here = (Path::root(), schema);
    let mut rest = text;
    let end = || "unexpected end of JSON path".to_owned();
    while !rest.is_empty() {
        let (token, left) = next(rest);
        rest = left;
        match token {
            "." => {
                let (name, left) = Some(next(rest)).filter(|t| !t.0.is_empty()).ok_or_else(end)?;
                rest = left;
                here = step(here, name)?;
            }
            "[" if !brackets => return Err("array notation is not allowed".to_owned()),
            "[" => {
                let (quoted, left) = Some(next(rest)).filter(|t| !t.0.is_empty()).ok_or_else(end)?;
                let name = quoted.strip_prefix('\'').and_then(|q| q.strip_suffix('\'')).filter(|_| quoted.len() > 1);
                let name = name.ok_or_else(|| format!("expected single quoted string but got {quoted}"))?;
                here = step(here, &unescape(name)?)?;
                let (close, left) = Some(next(left)).filter(|t| !t.0.is_empty()).ok_or_else(end)?;
                if close != "]" {
                    return Err(format!("expected ] but got {close}"));
                }
                rest = left;
            }
            other => return Err(format!("expected [ or . but got: {other}")),
        }
    }
    Ok(here)
}

/// The next token: a delimiter, a quoted text, or what stands before the next delimiter.
fn next(text: &str) -> (&str, &str) {
    let bytes = text.as_bytes();
    let end = match bytes.first() {
        None => 0,
        Some(b'.' | b'[' | b']') => 1,
        Some(b'\'') => {
            let close = (1..bytes.len()).find(|i| bytes[*i] == b'\'' && bytes[i - 1] != b'\\');
            close.map_or(text.len(), |i| i + 1)
        }
        Some(_) => text.find(['.', '[', ']']).unwrap_or(text.len()),
    };
    text.split_at(end)
}

fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        out.push(match chars.next() {
            Some('a') => '\u{7}',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('v') => '\u{b}',
            Some(c @ ('\'' | '\\')) => c,
            other => return Err(format!("invalid string literal: invalid escape char \\{}", other.unwrap_or(' '))),
        });
    }
    Ok(out)
}

fn step<'s>((path, schema): (Path, &'s Value), name: &str) -> Result<(Path, &'s Value), String> {
    let missing = || "does not refer to a valid field".to_owned();
    if schema["properties"].is_object() {
        let found = schema["properties"].get(name).ok_or_else(missing)?;
        return Ok((path.child(name), found));
    }
    match &schema["additionalProperties"] {
        like @ Value::Object(_) => Ok((path.key(name), like)),
        _ => Err(missing()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    #[test]
    fn paths_are_found_in_schemas() {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "a.b": {"type": "string"}, "map": {"type": "object", "additionalProperties": {"type": "integer"}}}}}});
        let table = [
            (".spec", Ok("spec")),
            (".spec['a.b']", Ok("spec.a.b")),
            (".spec.map['k']", Ok("spec.map[k]")),
            (".spec.x", Err("does not refer to a valid field")),
            ("spec", Err("expected [ or . but got: spec")),
            (".spec[0]", Err("expected single quoted string but got 0")),
            (".", Err("unexpected end of JSON path")),
        ];
        for (text, want) in table {
            let found = valid(text, &schema, true).map(|(path, _)| path.as_str().to_owned());
            assert_eq!(found.as_deref().map_err(String::as_str), want, "{text}");
        }
        assert_eq!(valid(".spec['a.b']", &schema, false).unwrap_err(), "array notation is not allowed");
    }
}
