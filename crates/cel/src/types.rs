//! The types of CEL, as the checker knows them.

use crate::decl::Decl;
use std::fmt;
use std::sync::Arc;

/// A type.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names are those of the language")]
pub enum Type {
    /// Anything; operations on it are checked when they run.
    Dyn,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Timestamp,
    Duration,
    /// The type of a type.
    Type,
    List(Arc<Type>),
    Map(Arc<Type>, Arc<Type>),
    /// A value of a library, for example `kubernetes.Quantity`, and `optional_type(T)`.
    Opaque(Arc<str>, Arc<[Type]>),
    /// An object with declared fields.
    Object(Arc<Decl>),
    /// An object made in an expression whose fields are not declared: `Object.spec`.
    Struct(Arc<str>),
    /// A type that is still to be found out.
    Param(u32),
    /// What a mistake has; everything agrees with it.
    Error,
}

impl Type {
    /// `list(item)`.
    pub fn list(item: Self) -> Self {
        Self::List(Arc::new(item))
    }

    /// `map(key, value)`.
    pub fn map(key: Self, value: Self) -> Self {
        Self::Map(Arc::new(key), Arc::new(value))
    }

    /// `optional_type(inner)`.
    pub fn optional(inner: Self) -> Self {
        Self::Opaque("optional_type".into(), Arc::new([inner]))
    }

    /// A value of a library.
    pub fn opaque(name: &str) -> Self {
        Self::Opaque(name.into(), Arc::new([]))
    }

    pub(crate) fn optional_inner(&self) -> Option<&Self> {
        match self {
            Self::Opaque(name, params) if &**name == "optional_type" => params.first(),
            _ => None,
        }
    }

    pub(crate) fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn | Self::Error)
    }

    pub(crate) fn params(&self) -> Vec<Self> {
        match self {
            Self::List(item) => vec![(**item).clone()],
            Self::Map(key, value) => vec![(**key).clone(), (**value).clone()],
            Self::Opaque(_, params) => params.to_vec(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn with_params(&self, params: Vec<Self>) -> Self {
        let mut params = params.into_iter();
        let mut next = || Arc::new(params.next().unwrap_or(Self::Dyn));
        match self {
            Self::List(_) => Self::List(next()),
            Self::Map(..) => Self::Map(next(), next()),
            Self::Opaque(name, _) => Self::Opaque(name.clone(), params.collect()),
            other => other.clone(),
        }
    }

    /// Whether both are the same type, parameters included.
    pub fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::List(a), Self::List(b)) => a.same(b),
            (Self::Map(a, b), Self::Map(c, d)) => a.same(c) && b.same(d),
            (Self::Opaque(a, p), Self::Opaque(b, q)) => {
                a == b && p.len() == q.len() && p.iter().zip(q.iter()).all(|(a, b)| a.same(b))
            }
            (Self::Object(a), Self::Object(b)) => Arc::ptr_eq(a, b) || a.name == b.name,
            (Self::Struct(a), Self::Struct(b)) => a == b,
            (Self::Param(a), Self::Param(b)) => a == b,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }

    /// The name of the type without its parameters, which is what `type()` compares.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::List(_) => "list".into(),
            Self::Map(..) => "map".into(),
            Self::Opaque(name, _) => name.to_string(),
            Self::Null => "null_type".into(),
            Self::Timestamp => "google.protobuf.Timestamp".into(),
            Self::Duration => "google.protobuf.Duration".into(),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Dyn => "dyn",
            Self::Null => "null",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::Timestamp => "timestamp",
            Self::Duration => "duration",
            Self::Type => "type",
            Self::Error => "!error!",
            Self::List(item) => return write!(f, "list({item})"),
            Self::Map(key, value) => return write!(f, "map({key}, {value})"),
            Self::Opaque(name, params) => {
                f.write_str(name)?;
                if let Some((first, rest)) = params.split_first() {
                    write!(f, "({first}")?;
                    rest.iter().try_for_each(|p| write!(f, ", {p}"))?;
                    f.write_str(")")?;
                }
                return Ok(());
            }
            Self::Object(decl) => &decl.name,
            Self::Struct(name) => name,
            Self::Param(n) => return write!(f, "_var{n}"),
        };
        f.write_str(name)
    }
}
