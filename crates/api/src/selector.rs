//! Label and field selectors: parsed once at the edge, matched many times.

mod parse;

use crate::labels::Labels;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use std::collections::BTreeMap;
use std::fmt;

/// One requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    key: String,
    op: Op,
    values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    In,
    NotIn,
    Exists,
    NotExists,
    Greater,
    Less,
}

/// A conjunction of requirements; without any it matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

impl LabelSelector {
    /// Matches every object.
    pub fn everything() -> Self {
        Self::default()
    }

    /// Matches no object.
    pub fn nothing() -> Self {
        Self { nothing: true, ..Self::default() }
    }

    /// The requirements as reviews of access show them: key, operator, values; those that compare numbers are left out.
    pub fn requirements(&self) -> Vec<(String, &'static str, Vec<String>)> {
        let operator = |op: Op| match op {
            Op::In => Some("In"),
            Op::NotIn => Some("NotIn"),
            Op::Exists => Some("Exists"),
            Op::NotExists => Some("DoesNotExist"),
            Op::Greater | Op::Less => None,
        };
        self.requirements.iter().filter_map(|r| Some((r.key.clone(), operator(r.op)?, r.values.clone()))).collect()
    }

    /// Whether it matches every object.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty() && !self.nothing
    }

    /// From a `map[string]string` such as a Service's selector.
    pub fn from_map<'a>(map: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        let requirements =
            map.into_iter().map(|(k, v)| Requirement { key: k.clone(), op: Op::In, values: vec![v.clone()] }).collect();
        Self { requirements, nothing: false }
    }

    /// From `metav1.LabelSelector`; a missing selector matches nothing, an empty one everything.
    pub fn from_meta(selector: Option<&meta::LabelSelector>) -> Result<Self, String> {
        let Some(selector) = selector else { return Ok(Self::nothing()) };
        let mut out = selector.match_labels.as_ref().map(Self::from_map).unwrap_or_default();
        for e in selector.match_expressions.iter().flatten() {
            let values = e.values.clone().unwrap_or_default();
            let op = match (e.operator.as_str(), values.is_empty()) {
                ("In", false) => Op::In,
                ("NotIn", false) => Op::NotIn,
                ("In" | "NotIn", true) => return Err("for 'in', 'notin' operators, values set can't be empty".into()),
                ("Exists", true) => Op::Exists,
                ("DoesNotExist", true) => Op::NotExists,
                ("Exists" | "DoesNotExist", false) => {
                    return Err("values set must be empty for exists and does not exist".into());
                }
                (other, _) => return Err(format!("{other:?} is not a valid label selector operator")),
            };
            out.requirements.push(Requirement { key: e.key.clone(), op, values });
        }
        Ok(out)
    }

    /// From text: `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1`.
    pub fn parse(text: &str) -> Result<Self, String> {
        parse::selector(text)
    }

    /// Whether the labels meet every requirement.
    pub fn matches<L: Labels + ?Sized>(&self, labels: &L) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.matches(labels.get_label(&r.key)))
    }

    /// The value that `key` must have, where the selector pins it to one.
    pub fn exact(&self, key: &str) -> Option<&str> {
        self.requirements.iter().find(|r| r.key == key && r.op == Op::In && r.values.len() == 1).map(|r| &*r.values[0])
    }
}

impl Requirement {
    fn matches(&self, value: Option<&str>) -> bool {
        let listed = |v: &str| self.values.iter().any(|x| x == v);
        let number = |v: &str| v.parse::<i64>().ok();
        match self.op {
            Op::In => value.is_some_and(listed),
            Op::NotIn => !value.is_some_and(listed),
            Op::Exists => value.is_some(),
            Op::NotExists => value.is_none(),
            Op::Greater | Op::Less => match (value.and_then(number), self.values.first().and_then(|v| number(v))) {
                (Some(a), Some(b)) if self.op == Op::Greater => a > b,
                (Some(a), Some(b)) => a < b,
                _ => false,
            },
        }
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, r) in self.requirements.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            let values = r.values.join(",");
            match r.op {
                Op::In if r.values.len() == 1 => write!(f, "{}={values}", r.key)?,
                Op::In => write!(f, "{} in ({values})", r.key)?,
                Op::NotIn if r.values.len() == 1 => write!(f, "{}!={values}", r.key)?,
                Op::NotIn => write!(f, "{} notin ({values})", r.key)?,
                Op::Exists => f.write_str(&r.key)?,
                Op::NotExists => write!(f, "!{}", r.key)?,
                Op::Greater => write!(f, "{}>{values}", r.key)?,
                Op::Less => write!(f, "{}<{values}", r.key)?,
            }
        }
        Ok(())
    }
}

/// Requirements on fields: `metadata.name=a,status.phase!=Running`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    /// Field, whether it must be equal, value.
    pub terms: Vec<(String, bool, String)>,
}

impl FieldSelector {
    /// From text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut terms = Vec::new();
        let mut parts = split_unescaped(text);
        parts.sort_unstable();
        for term in parts {
            if term.is_empty() {
                continue;
            }
            let (field, equal, value) =
                split_term(term).ok_or_else(|| format!("invalid selector: '{text}'; can't understand '{term}'"))?;
            terms.push((field.to_owned(), equal, unescape(value)?));
        }
        Ok(Self { terms })
    }

    /// The terms as reviews of access show them: field, operator, values.
    pub fn requirements(&self) -> Vec<(String, &'static str, Vec<String>)> {
        let term = |(field, equal, value): &(String, bool, String)| {
            (field.clone(), if *equal { "In" } else { "NotIn" }, vec![value.clone()])
        };
        self.terms.iter().map(term).collect()
    }

    /// Whether it matches every object.
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether every term holds; `field` looks a field's value up.
    pub fn matches<'a>(&self, mut field: impl FnMut(&str) -> Option<&'a str>) -> bool {
        self.terms.iter().all(|(f, equal, value)| (field(f).unwrap_or_default() == value) == *equal)
    }

    /// The value that `field` must have, where the selector pins it.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|(f, equal, _)| f == field && *equal).map(|(_, _, v)| v.as_str())
    }

    /// The terms as a map, of those that require equality.
    pub fn equalities(&self) -> BTreeMap<&str, &str> {
        self.terms.iter().filter(|(_, equal, _)| *equal).map(|(f, _, v)| (f.as_str(), v.as_str())).collect()
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (field, equal, value)) in self.terms.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            let op = if *equal { "=" } else { "!=" };
            write!(f, "{comma}{field}{op}{}", value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\="))?;
        }
        Ok(())
    }
}

/// Field, whether it must be equal, and value: the first operator counts.
fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    let operators = ["!=", "==", "="];
    let places = term.char_indices().map(|(i, _)| i);
    places.into_iter().find_map(|i| {
        let found = operators.iter().find(|op| term[i..].starts_with(**op))?;
        Some((&term[..i], *found != "!=", &term[i + found.len()..]))
    })
}

fn split_unescaped(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (i, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                parts.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn unescape(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(e @ ('\\' | ',' | '=')) => out.push(e),
                other => {
                    return Err(format!(
                        "invalid field selector: invalid escape sequence: \\{}",
                        other.map(String::from).unwrap_or_default()
                    ));
                }
            },
            // Stock prints the number.
            '=' => return Err("invalid field selector: unescaped character in value: 61".to_owned()),
            c => out.push(c),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn selectors_match_as_stock() {
        let l = labels(&[("app", "web"), ("tier", "front"), ("n", "5")]);
        let table = [
            ("", true),
            ("app=web", true),
            ("app==web,tier=front", true),
            ("app!=web", false),
            ("missing!=x", true),
            ("app in (web, db)", true),
            ("app notin (web)", false),
            ("missing notin (web)", true),
            ("app", true),
            ("!app", false),
            ("!missing", true),
            ("n>4", true),
            ("n<5", false),
            ("app = web , tier in (front)", true),
            ("app=", false),
        ];
        for (text, want) in table {
            assert_eq!(LabelSelector::parse(text).unwrap().matches(&l), want, "{text}");
        }
    }

    #[test]
    fn broken_selectors_are_refused() {
        for text in ["a in", "a in (", "a in (b", "=b", "a=b c", "a,", "a b", "-a=b", "a=b/c", "a>b"] {
            assert!(LabelSelector::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_parsed_selector_prints_and_parses_back() {
        for text in ["a=b", "a!=b", "a in (b,c)", "a notin (b,c)", "a", "!a", "a>1", "a=b,c=d"] {
            let selector = LabelSelector::parse(text).unwrap();
            assert_eq!(selector.to_string(), text);
        }
    }

    #[test]
    fn field_selectors_know_escapes() {
        let s = FieldSelector::parse(r"metadata.name=a\,b,spec.x!=c").unwrap();
        assert_eq!(s.exact("metadata.name"), Some("a,b"));
        assert!(s.matches(|f| if f == "metadata.name" { Some("a,b") } else { Some("d") }));
        assert!(FieldSelector::parse("nonsense").is_err());
    }
}
