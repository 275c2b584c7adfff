//! Values while an expression runs. JSON is not converted: objects and lists are read where they lie.

use crate::decl::{Decl, Shape};
use crate::error::Error;
use crate::library::opaque::Opaque;
use crate::types::Type;
use ironclad_json::Value;
use jiff::Timestamp;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::Arc;

/// A value.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names are those of the language")]
pub enum Val<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Text<'a>),
    Bytes(Arc<[u8]>),
    Timestamp(Timestamp),
    /// Nanoseconds.
    Duration(i64),
    List(Arc<List<'a>>),
    Map(Arc<Dict<'a>>),
    /// A JSON object or list, with its declaration where it has one.
    Json(&'a Value, Option<&'a Decl>),
    Optional(Option<Arc<Val<'a>>>),
    /// An object made in the expression: `Object.spec{...}`.
    Struct(Arc<Struct<'a>>),
    Type(Type),
    /// A value of a library.
    Opaque(Opaque),
    /// An object whose fields are computed when they are asked for.
    Lazy(Arc<dyn Fields<'a> + 'a>),
}

/// Fields that are computed when they are asked for, for example the `variables` of a policy.
pub trait Fields<'a>: std::fmt::Debug + Send + Sync {
    /// The value of a field, or `None` where there is no such field.
    fn field(&self, name: &str, budget: &mut crate::Budget) -> Option<Result<Val<'a>, Error>>;
}

/// A text, borrowed where it can be.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Text<'a> {
    Borrowed(&'a str),
    Shared(Arc<str>),
}

impl std::ops::Deref for Text<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Shared(text) => text,
        }
    }
}

/// An object made in an expression.
#[derive(Clone, Debug)]
pub struct Struct<'a> {
    /// Its type, for example `Object.spec`.
    pub name: String,
    /// Its fields in their order.
    pub fields: Vec<(String, Val<'a>)>,
}

/// A key as maps find it; numbers of both kinds are one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Key {
    Bool(bool),
    Int(i64),
    Uint(u64),
    Text(String),
}

impl Key {
    pub(crate) fn of(value: &Val<'_>) -> Option<Self> {
        Some(match value {
            Val::Bool(b) => Self::Bool(*b),
            Val::Int(i) => Self::Int(*i),
            Val::Uint(u) => i64::try_from(*u).map_or(Self::Uint(*u), Self::Int),
            Val::Double(d) if d.fract() == 0.0 && d.abs() < 9.0e18 => Self::Int(*d as i64),
            Val::Text(text) => Self::Text(text.to_string()),
            _ => return None,
        })
    }
}

/// A list made in an expression.
#[derive(Clone, Debug, Default)]
pub struct List<'a> {
    pub(crate) items: Vec<Val<'a>>,
    /// How many values it holds with all that is in them; values that stand in it often count each time.
    pub(crate) weight: u64,
}

impl<'a> List<'a> {
    pub(crate) fn push(&mut self, item: Val<'a>) {
        self.weight = self.weight.saturating_add(item.weight());
        self.items.push(item);
    }
}

/// A map made in an expression, in the order in which it was made.
#[derive(Clone, Debug, Default)]
pub struct Dict<'a> {
    pub(crate) entries: Vec<(Val<'a>, Val<'a>)>,
    weight: u64,
    index: HashMap<Key, usize>,
}

impl<'a> Dict<'a> {
    /// Adds an entry; says no where the key is taken or can be no key.
    pub(crate) fn insert(&mut self, key: Val<'a>, value: Val<'a>) -> Result<(), Error> {
        let found = Key::of(&key).filter(|_| !matches!(key, Val::Double(_)));
        let at = found.ok_or_else(|| Error::new(format!("unsupported key type: {}", key.type_name())))?;
        // Of two entries with one key the later counts.
        if let Some(known) = self.index.get(&at) {
            self.entries[*known].1 = value;
            return Ok(());
        }
        self.weight = self.weight.saturating_add(value.weight());
        self.index.insert(at, self.entries.len());
        self.entries.push((key, value));
        Ok(())
    }

    pub(crate) fn get(&self, key: &Val<'_>) -> Option<&Val<'a>> {
        self.index.get(&Key::of(key)?).map(|i| &self.entries[*i].1)
    }
}

impl<'a> Val<'a> {
    /// A text of one's own.
    pub fn text(text: impl Into<Arc<str>>) -> Self {
        Self::Text(Text::Shared(text.into()))
    }

    pub(crate) fn list(items: Vec<Self>) -> Self {
        let weight = items.iter().fold(1, |w: u64, i| w.saturating_add(i.weight()));
        Self::List(Arc::new(List { items, weight }))
    }

    /// How many values it holds, itself included.
    pub(crate) fn weight(&self) -> u64 {
        match self {
            Self::List(list) => list.weight,
            Self::Map(map) => map.weight.saturating_add(1),
            Self::Struct(s) => s.fields.iter().fold(1, |w, (_, v)| w.saturating_add(v.weight())),
            Self::Optional(Some(inner)) => inner.weight(),
            _ => 1,
        }
    }

    pub(crate) fn none() -> Self {
        Self::Optional(None)
    }

    pub(crate) fn some(value: Self) -> Self {
        Self::Optional(Some(Arc::new(value)))
    }

    /// JSON as a value, read as its declaration says.
    pub fn json(value: &'a Value, decl: Option<&'a Decl>) -> Self {
        match (value, decl.map(|d| &d.shape)) {
            (Value::Null, _) => Self::Null,
            (Value::Bool(b), _) => Self::Bool(*b),
            (Value::Number(n), Some(Shape::Double)) => Self::Double(n.as_f64().unwrap_or_default()),
            (Value::Number(n), _) => match (n.as_i64(), n.as_u64()) {
                (Some(i), _) => Self::Int(i),
                (_, Some(u)) => Self::Uint(u),
                _ => Self::Double(n.as_f64().unwrap_or_default()),
            },
            (Value::String(text), shape) => Self::json_text(text, shape),
            (Value::Array(_) | Value::Object(_), _) => Self::Json(value, decl),
        }
    }

    fn json_text(text: &'a str, shape: Option<&Shape>) -> Self {
        let plain = Self::Text(Text::Borrowed(text));
        match shape {
            Some(Shape::Bytes) => {
                use base64::Engine;
                let bytes = base64::engine::general_purpose::STANDARD.decode(text);
                bytes.map_or(plain, |b| Self::Bytes(b.into()))
            }
            Some(Shape::Timestamp { date }) => {
                let full = if *date { format!("{text}T00:00:00Z") } else { text.to_owned() };
                full.parse().map_or(plain, Self::Timestamp)
            }
            Some(Shape::Duration) => crate::library::time::parse_duration(text).map_or(plain, Self::Duration),
            _ => plain,
        }
    }

    /// The type as `type()` gives it.
    pub fn type_of(&self) -> Type {
        match self {
            Self::Null => Type::Null,
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Uint(_) => Type::Uint,
            Self::Double(_) => Type::Double,
            Self::Text(_) => Type::String,
            Self::Bytes(_) => Type::Bytes,
            Self::Timestamp(_) => Type::Timestamp,
            Self::Duration(_) => Type::Duration,
            Self::List(_) | Self::Json(Value::Array(_), _) => Type::list(Type::Dyn),
            Self::Json(_, Some(Decl { shape: Shape::Object { .. }, name, .. })) => Type::Struct(name.as_str().into()),
            Self::Map(_) | Self::Json(..) | Self::Lazy(_) => Type::map(Type::Dyn, Type::Dyn),
            Self::Optional(_) => Type::optional(Type::Dyn),
            Self::Struct(s) => Type::Struct(s.name.as_str().into()),
            Self::Type(_) => Type::Type,
            Self::Opaque(value) => Type::opaque(value.type_name()),
        }
    }

    pub(crate) fn type_name(&self) -> String {
        self.type_of().name()
    }

    /// A short form for messages.
    pub(crate) fn show(&self) -> String {
        match self {
            Self::Text(text) => text.to_string(),
            other => other.to_json().map_or_else(|| other.type_name(), |v| v.to_string()),
        }
    }

    /// The number of characters, items or entries; `None` for values without a size.
    pub fn size(&self) -> Option<usize> {
        Some(match self {
            Self::Text(text) => text.chars().count(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(list) => list.items.len(),
            Self::Map(map) => map.entries.len(),
            Self::Json(Value::Array(items), _) => items.len(),
            Self::Json(Value::Object(map), _) => map.len(),
            Self::Opaque(value) => return value.size(),
            _ => return None,
        })
    }

    /// The items, if it is a list.
    pub fn items(&self) -> Option<Vec<Self>> {
        match self {
            Self::List(list) => Some(list.items.clone()),
            Self::Json(Value::Array(items), decl) => {
                let item = decl.and_then(|d| d.step("@items")).map(|d| &**d);
                Some(items.iter().map(|v| Self::json(v, item)).collect())
            }
            _ => None,
        }
    }

    /// The item at a position, if it is a list that has it.
    pub(crate) fn item(&self, index: usize) -> Option<Self> {
        match self {
            Self::List(list) => list.items.get(index).cloned(),
            Self::Json(Value::Array(items), decl) => {
                let item = decl.and_then(|d| d.step("@items")).map(|d| &**d);
                items.get(index).map(|v| Self::json(v, item))
            }
            _ => None,
        }
    }

    /// The entries, if it is a map or an object.
    pub fn entries(&self) -> Option<Vec<(Self, Self)>> {
        match self {
            Self::Map(map) => Some(map.entries.clone()),
            Self::Json(Value::Object(map), decl) => {
                let one = |(k, v): (&'a ironclad_json::Text, &'a Value)| {
                    (Self::Text(Text::Borrowed(k)), Self::json(v, decl.and_then(|d| field_decl(d, k))))
                };
                Some(map.iter().map(one).collect())
            }
            Self::Struct(s) => Some(s.fields.iter().map(|(k, v)| (Self::text(k.as_str()), v.clone())).collect()),
            _ => None,
        }
    }

    /// The value of a field or an entry; `None` where it is missing. An error where there can be no fields.
    pub(crate) fn get(&self, key: &Self, budget: &mut crate::Budget) -> Result<Option<Self>, Error> {
        match (self, key) {
            (Self::Map(map), key) => Ok(map.get(key).cloned()),
            (Self::Json(Value::Object(map), decl), Self::Text(key)) => {
                let (json, inner) = match decl.map(|d| &d.shape) {
                    Some(Shape::Object { fields }) => match fields.get(&**key) {
                        Some((json, inner)) => (json.as_str(), Some(&**inner)),
                        None => return Ok(None),
                    },
                    Some(Shape::Map { value }) => (&**key, Some(&**value)),
                    _ => (&**key, None),
                };
                Ok(map.get(json).map(|v| Self::json(v, inner)))
            }
            (Self::Json(Value::Object(_), _), _) => Ok(None),
            (Self::Struct(s), Self::Text(key)) => {
                Ok(s.fields.iter().find(|(k, _)| **k == **key).map(|(_, v)| v.clone()))
            }
            (Self::Lazy(fields), Self::Text(key)) => fields.field(key, budget).transpose(),
            (Self::Optional(None), _) => Ok(None),
            (Self::Optional(Some(inner)), key) => inner.get(key, budget),
            _ => Err(Error::overload()),
        }
    }

    /// The value as JSON; `None` for what JSON cannot hold.
    pub fn to_json(&self) -> Option<Value> {
        Some(match self {
            Self::Null => Value::Null,
            Self::Bool(b) => (*b).into(),
            Self::Int(i) => (*i).into(),
            Self::Uint(u) => (*u).into(),
            Self::Double(d) => serde_json::Number::from_f64(*d).map(Value::Number)?,
            Self::Text(text) => (**text).into(),
            Self::Bytes(bytes) => {
                use base64::Engine;
                base64::engine::general_purpose::STANDARD.encode(bytes).into()
            }
            Self::Timestamp(t) => t.to_string().into(),
            Self::Duration(d) => crate::library::time::show_duration(*d).into(),
            Self::List(list) => list.items.iter().map(Self::to_json).collect::<Option<Vec<_>>>()?.into(),
            Self::Map(_) | Self::Struct(_) => {
                let entries = self.entries()?;
                let one = |(k, v): (Self, Self)| Some((k.show(), v.to_json()?));
                Value::Object(entries.into_iter().map(one).collect::<Option<_>>()?)
            }
            Self::Json(value, _) => (*value).clone(),
            Self::Optional(Some(inner)) => inner.to_json()?,
            Self::Optional(None) => Value::Null,
            Self::Type(ty) => ty.name().into(),
            Self::Opaque(value) => value.to_string().into(),
            Self::Lazy(_) => return None,
        })
    }

    /// Whether two values are equal; values of different types are not.
    pub(crate) fn equals(&self, other: &Self) -> bool {
        if let Some(order) = numbers(self, other) {
            return order == Some(Ordering::Equal);
        }
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => **a == **b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Timestamp(a), Self::Timestamp(b)) => a == b,
            (Self::Duration(a), Self::Duration(b)) => a == b,
            (Self::Type(a), Self::Type(b)) => a.name() == b.name(),
            (Self::Opaque(a), Self::Opaque(b)) => a == b,
            (Self::Optional(a), Self::Optional(b)) => match (a, b) {
                (Some(a), Some(b)) => a.equals(b),
                (None, None) => true,
                _ => false,
            },
            _ => crate::compare::collections_equal(self, other),
        }
    }

    /// How two values are ordered, where they can be.
    pub(crate) fn order(&self, other: &Self) -> Result<Option<Ordering>, Error> {
        if let Some(order) = numbers(self, other) {
            return Ok(order);
        }
        Ok(Some(match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) => (**a).cmp(&**b),
            (Self::Bytes(a), Self::Bytes(b)) => a.cmp(b),
            (Self::Timestamp(a), Self::Timestamp(b)) => a.cmp(b),
            (Self::Duration(a), Self::Duration(b)) => a.cmp(b),
            _ => return Err(Error::overload()),
        }))
    }
}

/// The declaration of a field by its name in JSON.
fn field_decl<'a>(decl: &'a Decl, json: &str) -> Option<&'a Decl> {
    match &decl.shape {
        Shape::Map { value } => Some(value),
        Shape::Object { fields } => fields.values().find(|(name, _)| name == json).map(|(_, d)| &**d),
        _ => None,
    }
}

#[allow(clippy::option_option, reason = "no order because of NaN is not the same as no numbers")]
/// The order of two numbers of any kinds; the outer `None` says that one is no number, the inner that one is NaN.
fn numbers(a: &Val<'_>, b: &Val<'_>) -> Option<Option<Ordering>> {
    let wide = |v: &Val<'_>| match v {
        Val::Int(i) => Some(i128::from(*i)),
        Val::Uint(u) => Some(i128::from(*u)),
        _ => None,
    };
    match (wide(a), wide(b), a, b) {
        (Some(a), Some(b), _, _) => Some(Some(a.cmp(&b))),
        (_, _, Val::Double(a), Val::Double(b)) => Some(a.partial_cmp(b)),
        (Some(a), _, _, Val::Double(b)) => Some(with_double(a, *b)),
        (_, Some(b), Val::Double(a), _) => Some(with_double(b, *a).map(Ordering::reverse)),
        _ => None,
    }
}

/// The order of a whole number and a double, without losing digits.
fn with_double(a: i128, b: f64) -> Option<Ordering> {
    if b.is_nan() {
        return None;
    }
    if b.abs() >= 2f64.powi(65) {
        return Some(if b > 0.0 { Ordering::Less } else { Ordering::Greater });
    }
    let whole = b.trunc() as i128;
    Some(a.cmp(&whole).then_with(|| 0.0f64.partial_cmp(&b.fract()).unwrap_or(Ordering::Equal)))
}
