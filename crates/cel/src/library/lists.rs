//! Functions over lists, and sets.

use super::{Func, strings};
use crate::error::Error;
use crate::program::PER_CALL_LIMIT;
use crate::value::Val;
use std::cmp::Ordering;
use std::sync::Arc;

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
        "slice" => slice,
        "flatten" => flatten,
        "sort" => |a| sorted(&items(&a[0])?, &items(&a[0])?),
        "@sortByAssociatedKeys" => |a| sorted(&items(&a[0])?, &items(&a[1])?),
        "lists.range" => range,
        "reverse" => |a| items(&a[0]).map(|l| Val::list(l.into_iter().rev().collect())),
        "distinct" => distinct,
        "first" => |a| items(&a[0]).map(|l| Val::Optional(l.into_iter().next().map(Arc::new))),
        "last" => |a| items(&a[0]).map(|l| Val::Optional(l.into_iter().next_back().map(Arc::new))),
        "optional.unwrap" | "unwrapOpt" => unwrap,
        _ => return None,
    })
}

/// Most items that a function makes, and half of the square of most items that are held against one another: more
/// costs more than any call may, so that nobody needs to wait for it.
const MOST: usize = PER_CALL_LIMIT as usize;

fn slice<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    let (list, [_, Val::Int(start), Val::Int(end)]) = (items(&args[0])?, args) else { return Err(Error::overload()) };
    let fail = |why: String| Err(Error::new(format!("cannot slice({start}, {end}), {why}")));
    if *start < 0 || *end < 0 {
        return fail("negative indexes not supported".to_owned());
    }
    if start > end {
        return fail("start index must be less than or equal to end index".to_owned());
    }
    let (from, to) = (*start as usize, *end as usize);
    match list.get(from..to) {
        Some(part) => Ok(Val::list(part.to_vec())),
        None => fail(format!("list is length {}", list.len())),
    }
}

fn flatten<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    let depth = match args.get(1) {
        None => 1,
        Some(Val::Int(depth)) => *depth,
        Some(_) => return Err(Error::overload()),
    };
    if depth < 0 {
        return Err(Error::new("level must be non-negative"));
    }
    let mut out = Vec::new();
    flat(items(&args[0])?, depth, &mut out)?;
    Ok(Val::list(out))
}

fn flat<'a>(list: Vec<Val<'a>>, depth: i64, out: &mut Vec<Val<'a>>) -> Result<(), Error> {
    for item in list {
        match item.items().filter(|_| depth > 0) {
            Some(inner) => flat(inner, depth - 1, out)?,
            None => out.push(item),
        }
        if out.len() > MOST {
            return Err(Error::Cost);
        }
    }
    Ok(())
}

/// The items in the order of their keys.
fn sorted<'a>(list: &[Val<'a>], keys: &[Val<'a>]) -> Result<Val<'a>, Error> {
    if list.len() != keys.len() {
        let (items, keys) = (list.len(), keys.len());
        return Err(Error::new(format!(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list, but got {items} and {keys} elements respectively"
        )));
    }
    if squared(list) {
        return Err(Error::Cost);
    }
    let Some(first) = keys.first() else { return Ok(Val::list(Vec::new())) };
    if first.order(first).is_err() {
        return Err(Error::new("list elements must be comparable"));
    }
    if keys.iter().any(|k| k.type_name() != first.type_name()) {
        return Err(Error::new("list elements must have the same type"));
    }
    let mut pairs: Vec<(&Val<'a>, &Val<'a>)> = keys.iter().zip(list).collect();
    pairs.sort_by(|(a, _), (b, _)| a.order(b).ok().flatten().unwrap_or(Ordering::Equal));
    Ok(Val::list(pairs.into_iter().map(|(_, item)| item.clone()).collect()))
}

/// Whether the items are too many to be held against one another.
fn squared(list: &[Val<'_>]) -> bool {
    list.len().saturating_mul(list.len()) > MOST / 2
}

fn range<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    match args {
        [Val::Int(n)] if *n > MOST as i64 => Err(Error::Cost),
        [Val::Int(n)] => Ok(Val::list((0..*n).map(Val::Int).collect())),
        _ => Err(Error::overload()),
    }
}

fn distinct<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    let list = items(&args[0])?;
    if squared(&list) {
        return Err(Error::Cost);
    }
    let mut out: Vec<Val<'a>> = Vec::with_capacity(list.len());
    for item in list {
        if !has(&out, &item) {
            out.push(item);
        }
    }
    Ok(Val::list(out))
}

/// The values of those that have one.
fn unwrap<'a>(args: &[Val<'a>]) -> Result<Val<'a>, Error> {
    let mut out = Vec::new();
    for item in items(&args[0])? {
        match item {
            Val::Optional(Some(value)) => out.push((*value).clone()),
            Val::Optional(None) => {}
            _ => return Err(Error::overload()),
        }
    }
    Ok(Val::list(out))
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
