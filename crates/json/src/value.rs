//! The value itself, and ways to look into it.

use crate::index::Index;
use crate::{List, Map, Text};
use serde_json::Number;
use std::fmt;

/// A JSON value.
#[derive(Clone, Default)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Value {
    #[default]
    Null,
    Bool(bool),
    Number(Number),
    String(Text),
    Array(List),
    Object(Map),
}

impl Value {
    /// The member of an object or the item of a list.
    pub fn get<I: Index>(&self, index: I) -> Option<&Self> {
        index.find(self)
    }

    /// The same, to change it.
    pub fn get_mut<I: Index>(&mut self, index: I) -> Option<&mut Self> {
        index.find_mut(self)
    }

    /// The value, and null in its place.
    #[must_use]
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// The value at a JSON pointer (RFC 6901).
    pub fn pointer(&self, pointer: &str) -> Option<&Self> {
        if pointer.is_empty() {
            return Some(self);
        }
        let tokens = pointer.strip_prefix('/')?.split('/').map(|t| t.replace("~1", "/").replace("~0", "~"));
        tokens.into_iter().try_fold(self, |value, token| match value {
            Self::Object(map) => map.get(&token),
            Self::Array(list) => list.get(place(&token)?),
            _ => None,
        })
    }

    /// [`Self::pointer`], to change what is there.
    pub fn pointer_mut(&mut self, pointer: &str) -> Option<&mut Self> {
        if pointer.is_empty() {
            return Some(self);
        }
        let tokens = pointer.strip_prefix('/')?.split('/').map(|t| t.replace("~1", "/").replace("~0", "~"));
        tokens.into_iter().try_fold(self, |value, token| match value {
            Self::Object(map) => map.get_mut(&token),
            Self::Array(list) => list.get_mut(place(&token)?),
            _ => None,
        })
    }

    /// Whether both are one: equal, and found so without looking into them. Equal values may be two.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Array(a), Self::Array(b)) => a.is_same(b),
            (Self::Object(a), Self::Object(b)) => a.is_same(b),
            (Self::Array(_) | Self::Object(_), _) => false,
            (a, b) => a == b,
        }
    }
}

/// The place that a token of a pointer names in a list.
fn place(token: &str) -> Option<usize> {
    let plain = !token.starts_with('+') && (token == "0" || !token.starts_with('0'));
    token.parse().ok().filter(|_| plain)
}

/// What a value is, and as what it can be read.
impl Value {
    #[allow(missing_docs, reason = "the name says it")]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    #[allow(missing_docs, reason = "the name says it")]
    pub fn is_boolean(&self) -> bool {
        matches!(self, Self::Bool(_))
    }

    #[allow(missing_docs, reason = "the name says it")]
    pub fn is_number(&self) -> bool {
        matches!(self, Self::Number(_))
    }

    #[allow(missing_docs, reason = "the name says it")]
    pub fn is_string(&self) -> bool {
        matches!(self, Self::String(_))
    }

    #[allow(missing_docs, reason = "the name says it")]
    pub fn is_array(&self) -> bool {
        matches!(self, Self::Array(_))
    }

    #[allow(missing_docs, reason = "the name says it")]
    pub fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }

    /// Whether it is a number without a fraction that fits.
    pub fn is_i64(&self) -> bool {
        matches!(self, Self::Number(n) if n.is_i64())
    }

    /// Whether it is a number without a fraction and a sign that fits.
    pub fn is_u64(&self) -> bool {
        matches!(self, Self::Number(n) if n.is_u64())
    }

    /// Whether it is a number that is written with a fraction or an exponent.
    pub fn is_f64(&self) -> bool {
        matches!(self, Self::Number(n) if n.is_f64())
    }

    /// What it is, if it is true or false.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(b) => Some(*b),
            _ => None,
        }
    }

    /// The number, if it is one.
    pub fn as_number(&self) -> Option<&Number> {
        match self {
            Self::Number(n) => Some(n),
            _ => None,
        }
    }

    /// The number, if it is a whole one that fits.
    pub fn as_i64(&self) -> Option<i64> {
        self.as_number().and_then(Number::as_i64)
    }

    /// The number, if it is a whole one that fits.
    pub fn as_u64(&self) -> Option<u64> {
        self.as_number().and_then(Number::as_u64)
    }

    /// The number, whole or not.
    pub fn as_f64(&self) -> Option<f64> {
        self.as_number().and_then(Number::as_f64)
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The list, if it is one.
    pub fn as_array(&self) -> Option<&Vec<Self>> {
        match self {
            Self::Array(list) => Some(list),
            _ => None,
        }
    }

    /// The list, to change it.
    pub fn as_array_mut(&mut self) -> Option<&mut Vec<Self>> {
        match self {
            Self::Array(list) => Some(list),
            _ => None,
        }
    }

    /// The object, if it is one.
    pub fn as_object(&self) -> Option<&Map> {
        match self {
            Self::Object(map) => Some(map),
            _ => None,
        }
    }

    /// The object, to change it.
    pub fn as_object_mut(&mut self) -> Option<&mut Map> {
        match self {
            Self::Object(map) => Some(map),
            _ => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = if f.alternate() { serde_json::to_string_pretty(self) } else { serde_json::to_string(self) };
        f.write_str(&text.map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("Null"),
            Self::Bool(b) => write!(f, "Bool({b})"),
            Self::Number(n) => write!(f, "Number({n})"),
            Self::String(text) => write!(f, "String({text:?})"),
            Self::Array(list) => f.debug_tuple("Array").field(&**list).finish(),
            Self::Object(map) => map.fmt(f),
        }
    }
}

impl std::str::FromStr for Value {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(text)
    }
}
