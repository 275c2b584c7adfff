//! The JSON paths that columns and selectable fields use: `.spec.a`, `['a']`, `[0]`, `[*]`, `[?(@.type=="Ready")]`.

use ironclad_json::Value;
use std::borrow::Cow;

/// A parsed path.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Key(String),
    Index(i64),
    All,
    /// Everything below, at any depth.
    Deep,
    /// Items of which a path has a value, or does not.
    Where {
        path: Vec<Step>,
        operator: Operator,
        value: Value,
    },
    /// Items of which a path exists.
    Has(Vec<Step>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    Different,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// The longest path that is read.
const LONGEST: usize = 4096;
/// Values that one path may find.
const FOUND: usize = 10_000;

impl JsonPath {
    /// Reads a path, with or without braces.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text);
        if text.len() > LONGEST {
            return None;
        }
        steps(text.strip_prefix('$').or_else(|| text.strip_prefix('@')).unwrap_or(text)).map(Self)
    }

    /// The values that the path finds.
    pub fn find<'v>(&self, value: &'v Value) -> Vec<&'v Value> {
        find(&self.0, value)
    }

    /// The first value that the path finds.
    pub fn first<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        self.find(value).into_iter().next()
    }
}

/// A value as a path prints it: texts as they are, anything else as JSON.
pub fn print(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        Value::Null => Cow::Borrowed("<nil>"),
        other => Cow::Owned(other.to_string()),
    }
}

fn steps(text: &str) -> Option<Vec<Step>> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        match first {
            '.' if rest.starts_with("..") => {
                out.push(Step::Deep);
                rest = &rest[1..];
                if rest == "." {
                    return None;
                }
            }
            '.' => {
                let (key, left) = name(&rest[1..])?;
                rest = left;
                match key.as_str() {
                    "" if rest.is_empty() || rest.starts_with('[') => {}
                    "" => return None,
                    "*" => out.push(Step::All),
                    _ => out.push(Step::Key(key)),
                }
            }
            '[' => {
                let end = closing(rest)?;
                out.push(bracket(rest[1..end].trim())?);
                rest = &rest[end + 1..];
            }
            _ => {
                let (key, left) = name(rest)?;
                out.push(Step::Key(key));
                rest = left;
            }
        }
    }
    Some(out)
}

/// A name up to the next `.` or `[`; a backslash takes what follows as it is.
fn name(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => out.push(chars.next()?.1),
            '.' | '[' => return Some((out, &text[at..])),
            ']' | '{' | '}' | '(' | ')' => return None,
            c => out.push(c),
        }
    }
    Some((out, ""))
}

/// Where the bracket closes that opens a text.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

fn unquoted(text: &str) -> Option<&str> {
    ['\'', '"'].iter().find_map(|q| text.strip_prefix(*q)?.strip_suffix(*q))
}

fn bracket(text: &str) -> Option<Step> {
    if text == "*" {
        return Some(Step::All);
    }
    if let Some(key) = unquoted(text) {
        return Some(Step::Key(key.to_owned()));
    }
    if let Some(filter) = text.strip_prefix("?(").and_then(|t| t.strip_suffix(')')) {
        return condition(filter.trim());
    }
    text.parse().ok().map(Step::Index)
}

fn condition(text: &str) -> Option<Step> {
    let operators = [
        ("==", Operator::Equal),
        ("!=", Operator::Different),
        ("<=", Operator::LessOrEqual),
        (">=", Operator::GreaterOrEqual),
        ("<", Operator::Less),
        (">", Operator::Greater),
    ];
    let place = operators.iter().filter_map(|(sign, op)| Some((text.find(sign)?, *sign, *op))).min_by_key(|p| p.0);
    let left = |text: &str| steps(text.trim().strip_prefix('@')?);
    let Some((at, sign, operator)) = place else { return left(text).map(Step::Has) };
    let right = text[at + sign.len()..].trim();
    let value = match unquoted(right) {
        Some(text) => Value::from(text),
        None => serde_json::from_str(right).ok()?,
    };
    Some(Step::Where { path: left(&text[..at])?, operator, value })
}

fn holds(operator: Operator, found: &Value, wanted: &Value) -> bool {
    use std::cmp::Ordering::{Greater, Less};
    let order = match (found, wanted) {
        (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (a, b) => (a == b).then_some(std::cmp::Ordering::Equal),
    };
    match operator {
        Operator::Equal => order == Some(std::cmp::Ordering::Equal),
        Operator::Different => order != Some(std::cmp::Ordering::Equal),
        Operator::Less => order == Some(Less),
        Operator::LessOrEqual => order.is_some_and(|o| o != Greater),
        Operator::Greater => order == Some(Greater),
        Operator::GreaterOrEqual => order.is_some_and(|o| o != Less),
    }
}

fn find<'v>(steps: &[Step], value: &'v Value) -> Vec<&'v Value> {
    let mut found = vec![value];
    for step in steps {
        let mut next = Vec::new();
        for value in found {
            step.take(value, &mut next);
            if next.len() > FOUND {
                return Vec::new();
            }
        }
        found = next;
    }
    found
}

fn children(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value {
        Value::Array(items) => Box::new(items.iter()),
        Value::Object(map) => Box::new(map.values()),
        _ => Box::new(std::iter::empty()),
    }
}

impl Step {
    fn take<'v>(&self, value: &'v Value, out: &mut Vec<&'v Value>) {
        match self {
            Self::Key(key) => out.extend(value.get(key)),
            Self::Index(index) => {
                let Value::Array(items) = value else { return };
                let at = if *index < 0 { items.len() as i64 + index } else { *index };
                out.extend(usize::try_from(at).ok().and_then(|at| items.get(at)));
            }
            Self::All => out.extend(children(value)),
            Self::Deep => {
                out.push(value);
                children(value).for_each(|child| self.take(child, out));
            }
            Self::Has(path) => out.extend(children(value).filter(|item| !find(path, item).is_empty())),
            Self::Where { path, operator, value: wanted } => {
                let fits = |item: &&Value| find(path, item).first().is_some_and(|f| holds(*operator, f, wanted));
                out.extend(children(value).filter(fits));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    #[test]
    fn paths_find_what_kubectl_finds() {
        let value = json!({"spec": {"replicas": 3, "a.b": "dot", "list": [{"n": 1}, {"n": 2}]}, "status": {"conditions": [
            {"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}]}});
        let table = [
            (".spec.replicas", json!([3])),
            ("{.spec.replicas}", json!([3])),
            (r".spec.a\.b", json!(["dot"])),
            (".spec['a.b']", json!(["dot"])),
            (".spec.list[1].n", json!([2])),
            (".spec.list[-1].n", json!([2])),
            (".spec.list[*].n", json!([1, 2])),
            (r#".status.conditions[?(@.type=="Ready")].status"#, json!(["True"])),
            (".status.conditions[?(@.type == 'Other')].status", json!(["False"])),
            (".spec.list[?(@.n>1)].n", json!([2])),
            ("..n", json!([1, 2])),
            (".missing.x", json!([])),
        ];
        for (path, want) in table {
            let found: Vec<Value> = JsonPath::parse(path).unwrap().find(&value).into_iter().cloned().collect();
            assert_eq!(Value::Array(found.into()), want, "{path}");
        }
        for bad in [".a[", ".a[x]", ".."] {
            assert_eq!(JsonPath::parse(bad), None, "{bad}");
        }
    }
}
