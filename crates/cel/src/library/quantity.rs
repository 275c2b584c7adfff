//! Resource quantities.

use super::Func;
use super::opaque::Opaque;
use super::strings::one;
use crate::error::Error;
use crate::value::Val;
use ironclad_api::quantity::Quantity;
use std::cmp::Ordering;

pub(super) fn find(name: &str) -> Option<Func> {
    Some(match name {
        "quantity" => |a| {
            let parsed: Quantity = one(a)?.parse().map_err(|e| Error::new(format!("{e}")))?;
            Ok(Val::Opaque(Opaque::Quantity(parsed)))
        },
        "isQuantity" => |a| Ok(Val::Bool(one(a)?.parse::<Quantity>().is_ok())),
        "sign" => |a| of(a).map(|q| Val::Int(q.cmp(&Quantity::ZERO) as i64)),
        "isInteger" => |a| of(a).map(|q| Val::Bool(q.is_integer())),
        "asInteger" => |a| match of(a)? {
            q if q.is_integer() => Ok(Val::Int(q.value())),
            _ => Err(Error::new("cannot convert value to integer")),
        },
        "asApproximateFloat" => |a| of(a).map(|q| Val::Double(approximate(q))),
        "add" => |a| both(a).map(|(x, y)| Val::Opaque(Opaque::Quantity(x + y))),
        "sub" => |a| both(a).map(|(x, y)| Val::Opaque(Opaque::Quantity(x - y))),
        "isLessThan" => |a| order(a).map(|o| Val::Bool(o.is_lt())),
        "isGreaterThan" => |a| order(a).map(|o| Val::Bool(o.is_gt())),
        "compareTo" => |a| order(a).map(|o| Val::Int(o as i64)),
        _ => return None,
    })
}

fn of(args: &[Val<'_>]) -> Result<Quantity, Error> {
    match args.first() {
        Some(Val::Opaque(Opaque::Quantity(q))) => Ok(*q),
        _ => Err(Error::overload()),
    }
}

fn both(args: &[Val<'_>]) -> Result<(Quantity, Quantity), Error> {
    let other = match args.get(1) {
        Some(Val::Int(i)) => Quantity::units(*i),
        Some(Val::Opaque(Opaque::Quantity(q))) => *q,
        _ => return Err(Error::overload()),
    };
    Ok((of(args)?, other))
}

/// How two quantities or two versions are ordered.
fn order(args: &[Val<'_>]) -> Result<Ordering, Error> {
    match args {
        [Val::Opaque(Opaque::Semver(a)), Val::Opaque(Opaque::Semver(b))] => Ok(a.order(b)),
        [Val::Opaque(Opaque::Quantity(a)), Val::Opaque(Opaque::Quantity(b))] => Ok(a.cmp(b)),
        _ => Err(Error::overload()),
    }
}

fn approximate(q: Quantity) -> f64 {
    if q.is_integer() { q.value() as f64 } else { q.milli_value() as f64 / 1000.0 }
}
