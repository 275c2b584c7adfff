//! Sets of fields, and their form in `metadata.managedFields` (`FieldsV1`).

use super::nodes::Nodes;
use ironclad_json::{Map, Text, Value, json};
use std::cmp::Ordering;
use std::fmt::Write;

/// One step of a path to a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathElement {
    /// A field of an object or a key of a map.
    Field(Text),
    /// An item of a list, by its key fields in the order of their names.
    Key(Vec<(Text, Value)>),
    /// An item of a set, by its value.
    Value(Value),
}

impl PathElement {
    fn rank(&self) -> u8 {
        match self {
            Self::Field(_) => 0,
            Self::Key(_) => 1,
            Self::Value(_) => 2,
        }
    }

    /// As `FieldsV1` writes it: `f:name`, `k:{"name":"a"}`, `v:"x"`.
    pub(super) fn encode(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(keys) => {
                let map: Map = keys.iter().cloned().collect();
                format!("k:{}", Value::Object(map))
            }
            Self::Value(value) => format!("v:{value}"),
        }
    }

    fn decode(text: &str) -> Option<Self> {
        let (sort, rest) = text.split_once(':')?;
        match sort {
            "f" => Some(Self::Field(rest.into())),
            "k" => match serde_json::from_str(rest).ok()? {
                Value::Object(map) => Some(Self::Key(map.into_iter().collect())),
                _ => None,
            },
            "v" => serde_json::from_str(rest).ok().map(Self::Value),
            "i" => rest.parse::<u64>().ok().map(|i| Self::Value(json!(i))),
            _ => None,
        }
    }

    /// As messages write it: `.name`, `[name="a"]`, `[="x"]`.
    fn describe(&self, out: &mut String) {
        // Writing to a string cannot fail.
        let _ = match self {
            Self::Field(name) => write!(out, ".{name}"),
            Self::Key(keys) => {
                let keys: Vec<String> = keys.iter().map(|(k, v)| format!("{k}={v}")).collect();
                write!(out, "[{}]", keys.join(","))
            }
            Self::Value(value) => write!(out, "[={value}]"),
        };
    }
}

impl PartialOrd for PathElement {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PathElement {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Field(a), Self::Field(b)) => a.cmp(b),
            (Self::Key(a), Self::Key(b)) => {
                let one = |a: &(Text, Value), b: &(Text, Value)| a.0.cmp(&b.0).then_with(|| order(&a.1, &b.1));
                let first = a.iter().zip(b).map(|(a, b)| one(a, b)).find(|o| o.is_ne());
                first.unwrap_or_else(|| a.len().cmp(&b.len()))
            }
            (Self::Value(a), Self::Value(b)) => order(a, b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

/// Values in their order: numbers, text, truth, then what is neither, by its JSON.
fn order(a: &Value, b: &Value) -> Ordering {
    let rank = |v: &Value| match v {
        Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Bool(_) => 2,
        _ => 3,
    };
    match (a, b) {
        (Value::String(a), Value::String(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Number(x), Value::Number(y)) => match (x.as_i64(), y.as_i64()) {
            (Some(x), Some(y)) => x.cmp(&y),
            _ => x
                .as_f64()
                .unwrap_or(0.0)
                .total_cmp(&y.as_f64().unwrap_or(0.0))
                .then_with(|| x.to_string().cmp(&y.to_string())),
        },
        _ => rank(a).cmp(&rank(b)).then_with(|| a.to_string().cmp(&b.to_string())),
    }
}

/// A path as messages write it: `.spec.containers[name="a"].image`.
pub(super) fn describe(path: &[PathElement]) -> String {
    let mut out = String::new();
    path.iter().for_each(|e| e.describe(&mut out));
    out
}

/// A set of fields: a tree in which a node may be a member itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    pub(super) nodes: Nodes,
}

/// What a set holds at one element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) member: bool,
    pub(super) below: Set,
}

impl Set {
    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The fields at these paths of names.
    pub fn of(paths: &[&[&str]]) -> Self {
        let mut out = Self::default();
        for path in paths {
            let path: Vec<PathElement> = path.iter().map(|p| PathElement::Field((*p).into())).collect();
            out.insert(&path);
        }
        out
    }

    pub(super) fn insert(&mut self, path: &[PathElement]) {
        let Some((first, rest)) = path.split_first() else { return };
        let node = self.nodes.at(first);
        if rest.is_empty() {
            node.member = true;
        } else {
            node.below.insert(rest);
        }
    }

    /// Takes one member out, what is below it stays.
    pub(super) fn remove_member(&mut self, path: &[PathElement]) {
        let Some((first, rest)) = path.split_first() else { return };
        let Some(node) = self.nodes.get_mut(first) else { return };
        if rest.is_empty() {
            node.member = false;
        } else {
            node.below.remove_member(rest);
        }
        if !node.member && node.below.is_empty() {
            self.nodes.remove(first);
        }
    }

    /// What is in either.
    pub fn union(&self, other: &Self) -> Self {
        let mut out = self.clone();
        for (element, node) in &other.nodes {
            let mine = out.nodes.at(element);
            mine.member |= node.member;
            mine.below = mine.below.union(&node.below);
        }
        out
    }

    /// What is in both.
    pub fn intersection(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a && b)
    }

    /// Whether anything is in both.
    pub(super) fn meets(&self, other: &Self) -> bool {
        let (few, many) = if self.nodes.len() <= other.nodes.len() { (self, other) } else { (other, self) };
        few.nodes.iter().any(|(element, node)| {
            many.nodes.get(element).is_some_and(|n| (n.member && node.member) || node.below.meets(&n.below))
        })
    }

    /// What is in this and not in the other.
    pub fn minus(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a && !b)
    }

    fn combine(&self, other: &Self, keep: fn(bool, bool) -> bool) -> Self {
        let empty = Node::default();
        let mut out = Self::default();
        for (element, node) in &self.nodes {
            let theirs = other.nodes.get(element).unwrap_or(&empty);
            let member = keep(node.member, theirs.member);
            let below = node.below.combine(&theirs.below, keep);
            if member || !below.is_empty() {
                out.nodes.insert(element.clone(), Node { member, below });
            }
        }
        out
    }

    /// This set without `removed` and without anything below a member of it.
    pub(super) fn without_trees(&self, removed: &Self) -> Self {
        let mut out = Self::default();
        for (element, node) in &self.nodes {
            let Some(gone) = removed.nodes.get(element) else {
                out.nodes.insert(element.clone(), node.clone());
                continue;
            };
            if gone.member {
                continue;
            }
            let below = node.below.without_trees(&gone.below);
            if node.member || !below.is_empty() {
                out.nodes.insert(element.clone(), Node { member: node.member, below });
            }
        }
        out
    }

    /// The members as messages write them, such as `.spec.replicas`: those of a level before those below it.
    pub fn describe(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.describe_into(&mut String::new(), &mut out);
        out
    }

    fn describe_into(&self, prefix: &mut String, out: &mut Vec<String>) {
        let length = prefix.len();
        for (element, _) in self.nodes.iter().filter(|(_, node)| node.member) {
            element.describe(prefix);
            out.push(prefix.clone());
            prefix.truncate(length);
        }
        for (element, node) in &self.nodes {
            element.describe(prefix);
            node.below.describe_into(prefix, out);
            prefix.truncate(length);
        }
    }

    /// As `FieldsV1`.
    pub fn to_value(&self) -> Value {
        let encode = |(element, node): (&PathElement, &Node)| {
            let mut below = node.below.to_value();
            if node.member
                && !node.below.is_empty()
                && let Value::Object(map) = &mut below
            {
                map.insert(".", json!({}));
            }
            (element.encode(), below)
        };
        Value::Object(self.nodes.iter().map(encode).collect())
    }

    /// From `FieldsV1`; what cannot be understood is an error.
    pub fn from_value(value: &Value) -> Result<Self, String> {
        let Value::Object(map) = value else { return Err("fields must be an object".to_owned()) };
        let mut out = Self::default();
        for (text, below) in map.iter().filter(|(k, _)| *k != ".") {
            let element = PathElement::decode(text).ok_or_else(|| format!("unable to parse path element {text:?}"))?;
            let member = below.as_object().is_some_and(|m| m.is_empty() || m.contains_key("."));
            out.nodes.insert(element, Node { member, below: Self::from_value(below)? });
        }
        Ok(out)
    }
}
