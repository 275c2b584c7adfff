//! Arithmetic, comparison, indexes and membership.

use super::Func;
use crate::compare::{identity, key_of};
use crate::decl::Identity;
use crate::error::Error;
use crate::value::{Dict, Val};
use std::cmp::Ordering;
use std::sync::Arc;

pub(super) fn find(name: &str) -> Option<Func> {
    Some(match name {
        "!_" => not,
        "-_" => negate,
        "_+_" => add,
        "_-_" => subtract,
        "_*_" => multiply,
        "_/_" => divide,
        "_%_" => remainder,
        "_==_" => |a| comparable(a).map(|()| Val::Bool(a[0].equals(&a[1]))),
        "_!=_" => |a| comparable(a).map(|()| Val::Bool(!a[0].equals(&a[1]))),
        "_<_" => |a| compare(a, Ordering::is_lt),
        "_<=_" => |a| compare(a, Ordering::is_le),
        "_>_" => |a| compare(a, Ordering::is_gt),
        "_>=_" => |a| compare(a, Ordering::is_ge),
        "_[_]" => index,
        "_[?_]" | "_?._" => optional_index,
        "@in" => within,
        "size" => size,
        "type" => |a| Ok(Val::Type(a[0].type_of())),
        "dyn" => |a| Ok(a[0].clone()),
        "optional.of" => |a| Ok(Val::some(a[0].clone())),
        "optional.none" => |_| Ok(Val::none()),
        "optional.ofNonZeroValue" => |a| Ok(if is_zero(&a[0]) { Val::none() } else { Val::some(a[0].clone()) }),
        "hasValue" => |a| optional(a).map(|o| Val::Bool(o.is_some())),
        "value" => |a| optional(a)?.ok_or_else(|| Error::new("optional.none() dereference")),
        "or" => |a| Ok(if optional(a)?.is_some() { a[0].clone() } else { a[1].clone() }),
        "orValue" => |a| Ok(optional(a)?.unwrap_or_else(|| a[1].clone())),
        "cel.@mapInsert" => insert,
        "jsonpatch.escapeKey" => |a| match &a[0] {
            Val::Text(text) => Ok(Val::text(text.replace('~', "~0").replace('/', "~1"))),
            _ => Err(Error::overload()),
        },
        _ => return None,
    })
}

/// A value of a library is compared with its like alone.
fn comparable(args: &[Val<'_>]) -> Result<(), Error> {
    match (&args[0], &args[1]) {
        (Val::Opaque(a), Val::Opaque(b)) if std::mem::discriminant(a) == std::mem::discriminant(b) => Ok(()),
        (Val::Opaque(_), _) => Err(Error::overload()),
        _ => Ok(()),
    }
}

fn not<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    match &args[0] {
        Val::Bool(b) => Ok(Val::Bool(!b)),
        _ => Err(Error::overload()),
    }
}

fn int_overflow() -> Error {
    Error::new("integer overflow")
}

fn uint_overflow() -> Error {
    Error::new("unsigned integer overflow")
}

fn negate<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    match &args[0] {
        Val::Int(i) => i.checked_neg().map(Val::Int).ok_or_else(int_overflow),
        Val::Double(d) => Ok(Val::Double(-d)),
        _ => Err(Error::overload()),
    }
}

fn add<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    Ok(match (&args[0], &args[1]) {
        (Val::Int(a), Val::Int(b)) => Val::Int(a.checked_add(*b).ok_or_else(int_overflow)?),
        (Val::Uint(a), Val::Uint(b)) => Val::Uint(a.checked_add(*b).ok_or_else(uint_overflow)?),
        (Val::Double(a), Val::Double(b)) => Val::Double(a + b),
        (Val::Text(a), Val::Text(b)) => Val::text(format!("{}{}", &**a, &**b)),
        (Val::Bytes(a), Val::Bytes(b)) => Val::Bytes([&**a, &**b].concat().into()),
        (Val::Duration(a), Val::Duration(b)) => Val::Duration(a.checked_add(*b).ok_or_else(int_overflow)?),
        (Val::Timestamp(t), Val::Duration(d)) | (Val::Duration(d), Val::Timestamp(t)) => super::time::shift(*t, *d)?,
        (a, b) => Val::list(concat(a, b)?),
    })
}

/// Lists that a schema calls sets or maps are joined as server-side apply joins them.
fn concat<'a>(a: &Val<'a>, b: &Val<'a>) -> Result<Vec<Val<'a>>, Error> {
    let (Some(mut x), Some(y)) = (a.items(), b.items()) else { return Err(Error::overload()) };
    match identity(a) {
        Some(Identity::Set) => {
            for item in y {
                if !x.iter().any(|have| have.equals(&item)) {
                    x.push(item);
                }
            }
        }
        Some(Identity::Keys(keys)) => {
            for item in y {
                let key = key_of(&item, keys);
                match x.iter_mut().find(|have| key_of(have, keys) == key) {
                    Some(have) => *have = item,
                    None => x.push(item),
                }
            }
        }
        _ => x.extend(y),
    }
    Ok(x)
}

fn subtract<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    Ok(match (&args[0], &args[1]) {
        (Val::Int(a), Val::Int(b)) => Val::Int(a.checked_sub(*b).ok_or_else(int_overflow)?),
        (Val::Uint(a), Val::Uint(b)) => Val::Uint(a.checked_sub(*b).ok_or_else(uint_overflow)?),
        (Val::Double(a), Val::Double(b)) => Val::Double(a - b),
        (Val::Duration(a), Val::Duration(b)) => Val::Duration(a.checked_sub(*b).ok_or_else(int_overflow)?),
        (Val::Timestamp(t), Val::Duration(d)) => super::time::shift(*t, d.checked_neg().ok_or_else(int_overflow)?)?,
        (Val::Timestamp(a), Val::Timestamp(b)) => super::time::between(*a, *b)?,
        _ => return Err(Error::overload()),
    })
}

fn multiply<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    Ok(match (&args[0], &args[1]) {
        (Val::Int(a), Val::Int(b)) => Val::Int(a.checked_mul(*b).ok_or_else(int_overflow)?),
        (Val::Uint(a), Val::Uint(b)) => Val::Uint(a.checked_mul(*b).ok_or_else(uint_overflow)?),
        (Val::Double(a), Val::Double(b)) => Val::Double(a * b),
        _ => return Err(Error::overload()),
    })
}

fn divide<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    Ok(match (&args[0], &args[1]) {
        (Val::Int(_), Val::Int(0)) | (Val::Uint(_), Val::Uint(0)) => return Err(Error::new("division by zero")),
        (Val::Int(a), Val::Int(b)) => Val::Int(a.checked_div(*b).ok_or_else(int_overflow)?),
        (Val::Uint(a), Val::Uint(b)) => Val::Uint(a / b),
        (Val::Double(a), Val::Double(b)) => Val::Double(a / b),
        _ => return Err(Error::overload()),
    })
}

fn remainder<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    Ok(match (&args[0], &args[1]) {
        (Val::Int(_), Val::Int(0)) | (Val::Uint(_), Val::Uint(0)) => return Err(Error::new("modulus by zero")),
        (Val::Int(a), Val::Int(b)) => Val::Int(a.checked_rem(*b).ok_or_else(int_overflow)?),
        (Val::Uint(a), Val::Uint(b)) => Val::Uint(a % b),
        _ => return Err(Error::overload()),
    })
}

fn compare<'a>(args: &[Val<'a>], holds: fn(Ordering) -> bool) -> Result<Val<'a>, Error> {
    Ok(Val::Bool(args[0].order(&args[1])?.is_some_and(holds)))
}

/// The position that a key names.
fn position(key: &Val<'_>) -> Option<i64> {
    match key {
        Val::Int(i) => Some(*i),
        Val::Uint(u) => i64::try_from(*u).ok(),
        Val::Double(d) if d.fract() == 0.0 => Some(*d as i64),
        _ => None,
    }
}

/// The item or entry, if there is one.
fn look_up<'a>(container: &Val<'a>, key: &Val<'a>) -> Result<Option<Val<'a>>, Error> {
    if matches!(container, Val::List(_) | Val::Json(ironclad_json::Value::Array(_), _)) {
        let at = position(key).ok_or_else(Error::overload)?;
        return Ok(usize::try_from(at).ok().and_then(|i| container.item(i)));
    }
    container.get(key, &mut crate::Budget::new(0))
}

fn index<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    let (container, key) = (&args[0], &args[1]);
    if let Val::Optional(inner) = container {
        let Some(inner) = inner else { return Ok(Val::none()) };
        return Ok(look_up(inner, key)?.map_or_else(Val::none, Val::some));
    }
    let missing = || match container {
        Val::List(_) | Val::Json(ironclad_json::Value::Array(_), _) => {
            Error::new(format!("index out of bounds: {}", key.show()))
        }
        _ => Error::key(key.show()),
    };
    look_up(container, key)?.ok_or_else(missing)
}

fn optional_index<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    let found = match &args[0] {
        Val::Optional(None) => None,
        Val::Optional(Some(inner)) => look_up(inner, &args[1])?,
        other => look_up(other, &args[1])?,
    };
    Ok(match found {
        Some(Val::Optional(inner)) => Val::Optional(inner),
        Some(value) => Val::some(value),
        None => Val::none(),
    })
}

fn within<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    let (wanted, container) = (&args[0], &args[1]);
    if let Some(items) = container.items() {
        return Ok(Val::Bool(items.iter().any(|item| item.equals(wanted))));
    }
    Ok(Val::Bool(container.get(wanted, &mut crate::Budget::new(0))?.is_some()))
}

fn size<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    args[0].size().map(|n| Val::Int(n as i64)).ok_or_else(Error::overload)
}

fn optional<'a>(args: &[Val<'a>]) -> Result<Option<Val<'a>>, Error> {
    match &args[0] {
        Val::Optional(inner) => Ok(inner.as_deref().cloned()),
        _ => Err(Error::overload()),
    }
}

fn is_zero(value: &Val<'_>) -> bool {
    match value {
        Val::Null | Val::Bool(false) | Val::Int(0) | Val::Uint(0) | Val::Duration(0) | Val::Optional(None) => true,
        Val::Double(d) => *d == 0.0,
        other => other.size() == Some(0),
    }
}

fn insert<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    let Val::Map(map) = &args[0] else { return Err(Error::overload()) };
    let mut map: Dict<'a> = (**map).clone();
    add_entries(&mut map, &args[1..])?;
    Ok(Val::Map(Arc::new(map)))
}

/// Adds a key and a value, or all entries of another map.
pub(crate) fn add_entries<'a>(map: &mut Dict<'a>, args: &[Val<'a>]) -> Result<(), Error> {
    let taken = |key: &Val<'_>| Error::new(format!("insert failed: key {} already exists", key.show()));
    let entries = match args {
        [key, value] => vec![(key.clone(), value.clone())],
        [other] => other.entries().ok_or_else(Error::overload)?,
        _ => return Err(Error::overload()),
    };
    for (key, value) in entries {
        if map.get(&key).is_some() {
            return Err(taken(&key));
        }
        map.insert(key, value)?;
    }
    Ok(())
}
