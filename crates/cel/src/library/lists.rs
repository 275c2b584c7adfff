//! Functions over lists, and sets.

use super::{Func, strings};
use crate::error::Error;
use crate::value::Val;
use std::cmp::Ordering;

pub(super) fn find(name: &str) -> Option<Func> {
    Some(match name {
        "indexOf" => |a| if matches!(a[0], Val::Text(_)) { strings::index_of(a) } else { place(a, false) },
        "lastIndexOf" => |a| if matches!(a[0], Val::Text(_)) { strings::last_index_of(a) } else { place(a, true) },
        "isSorted" => is_sorted,
        "sum" => sum,
        "min" => |a| extreme(a, "min", Ordering::Less),
        "max" => |a| extreme(a, "max", Ordering::Greater),
        "sets.contains" => |a| sets(a).map(|(x, y)| Val::Bool(y.iter().all(|i| has(&x, i)))),
        "sets.intersects" => |a| sets(a).map(|(x, y)| Val::Bool(y.iter().any(|i| has(&x, i)))),
        "sets.equivalent" => {
            |a| sets(a).map(|(x, y)| Val::Bool(y.iter().all(|i| has(&x, i)) && x.iter().all(|i| has(&y, i))))
        }
        _ => return None,
    })
}

fn items<'a>(value: &Val<'a>) -> Result<Vec<Val<'a>>, Error> {
    value.items().ok_or_else(Error::overload)
}

fn place<'a>(args: &[Val<'a>], last: bool) -> Result<Val<'a>, Error> {
    let items = items(&args[0])?;
    let wanted = |i: &Val<'a>| i.equals(&args[1]);
    let found = if last { items.iter().rposition(wanted) } else { items.iter().position(wanted) };
    Ok(Val::Int(found.map_or(-1, |i| i as i64)))
}

fn is_sorted<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    for pair in items(&args[0])?.windows(2) {
        if pair[0].order(&pair[1])? == Some(Ordering::Greater) {
            return Ok(Val::Bool(false));
        }
    }
    Ok(Val::Bool(true))
}

fn sum<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    let add = super::find("_+_").ok_or_else(Error::overload)?;
    let items = items(&args[0])?;
    // The sum of nothing is an int: nothing says what it would be otherwise.
    let mut items = items.into_iter();
    let Some(first) = items.next() else { return Ok(Val::Int(0)) };
    items.try_fold(first, |total, item| add(&[total, item]))
}

fn extreme<'a>(args: &[Val<'a>], name: &str, wanted: Ordering) -> Result<Val<'a>, Error> {
    let mut items = items(&args[0])?.into_iter();
    let mut best = items.next().ok_or_else(|| Error::new(format!("{name} called on empty list")))?;
    for item in items {
        if item.order(&best)? == Some(wanted) {
            best = item;
        }
    }
    Ok(best)
}

fn sets<'a>(args: &[Val<'a>]) -> Result<(Vec<Val<'a>>, Vec<Val<'a>>), Error> {
    Ok((items(&args[0])?, items(&args[1])?))
}

fn has<'a>(list: &[Val<'a>], wanted: &Val<'a>) -> bool {
    list.iter().any(|i| i.equals(wanted))
}
