//! What a call costs when it runs, as cel-go and the stock server's libraries count it.

use crate::library::opaque::Opaque;
use crate::value::Val;

/// Cost of going through one character.
pub(crate) const TRAVERSAL: f64 = 0.1;
/// Cost of one character of a regular expression.
pub(crate) const REGEX: f64 = 0.25;
/// Cost of making a list.
pub(crate) const LIST: u64 = 10;
/// Cost of an authorization check.
pub(crate) const CHECK: u64 = 350_000;

fn size(args: &[Val<'_>], i: usize) -> u64 {
    args.get(i).and_then(Val::size).unwrap_or(1) as u64
}

fn times(size: u64, factor: f64) -> u64 {
    (size as f64 * factor).ceil() as u64
}

pub(crate) fn call_cost(function: &str, args: &[Val<'_>], result: Option<&Val<'_>>) -> u64 {
    let (first, second) = (size(args, 0), size(args, 1));
    let text = |i: usize| matches!(args.get(i), Some(Val::Text(_) | Val::Bytes(_)));
    match function {
        "check" => CHECK,
        "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" => args.first().map_or(0, traversal),
        "slice" | "lists.range" | "reverse" => made(1.0, result.and_then(Val::size).unwrap_or(1) as u64),
        "flatten" => made(if let Some(Val::Int(depth)) = args.get(1) { *depth as f64 } else { 1.0 }, first),
        "distinct" | "sort" => compared(&args[0]),
        "@sortByAssociatedKeys" => compared(&args[1]),
        "url" | "lowerAscii" | "upperAscii" | "substring" | "trim" => times(first, TRAVERSAL),
        "replace" | "split" => times(first, 2.0 * TRAVERSAL),
        "join" => times(result.and_then(Val::size).unwrap_or(1) as u64, 2.0 * TRAVERSAL),
        "find" | "findAll" | "matches" => times(first + 1, TRAVERSAL) * times(second, REGEX),
        "cidr" | "isIP" | "isCIDR" | "quantity" | "isQuantity" => times(first, TRAVERSAL),
        "ip" if matches!(args[0], Val::Opaque(_)) => 1,
        "ip" => times(first, TRAVERSAL),
        "ip.isCanonical" => times(first, 2.0 * TRAVERSAL),
        "containsIP" => times(2 * first, TRAVERSAL) + if text(1) { times(second, TRAVERSAL) } else { 0 },
        "containsCIDR" => {
            let parse = if text(1) { times(second, TRAVERSAL) } else { 0 };
            times(2 * first, TRAVERSAL) + times(first, TRAVERSAL) + 1 + parse
        }
        "sets.contains" | "sets.intersects" => 1 + first * second,
        "sets.equivalent" => 1 + 2 * first * second,
        "startsWith" | "endsWith" | "strings.quote" | "format" => times(first, TRAVERSAL),
        "bytes" | "string"
            if text(0) && !matches!((function, &args[0]), ("string", Val::Text(_)) | ("bytes", Val::Bytes(_))) =>
        {
            times(first, TRAVERSAL)
        }
        "@in" if args[1].items().is_some() => second,
        "_==_" | "_!=_" => times(first.min(second), TRAVERSAL),
        "_<_" | "_<=_" | "_>_" | "_>=_" if text(0) => times(first.min(second), TRAVERSAL),
        "_+_" if text(0) => times(first + second, TRAVERSAL),
        "contains" => times(first, TRAVERSAL) * times(second, TRAVERSAL),
        _ => 1,
    }
}

/// What it costs to make a list.
fn made(factor: f64, size: u64) -> u64 {
    ((size as f64 * factor) as u64).saturating_add(1 + LIST)
}

/// What it costs to hold the items of a list against one another.
fn compared(list: &Val<'_>) -> u64 {
    let size = list.size().unwrap_or(1) as u64;
    let texts = matches!(list.item(0), Some(Val::Text(_) | Val::Bytes(_)));
    made(if texts { 2.0 + TRAVERSAL } else { 2.0 }, size.saturating_mul(size))
}

/// The cost of going through a value with all that is in it.
fn traversal(value: &Val<'_>) -> u64 {
    match value {
        Val::Text(text) => (text.len() as f64 * TRAVERSAL) as u64,
        Val::Bytes(bytes) => (bytes.len() as f64 * TRAVERSAL) as u64,
        Val::Opaque(Opaque::Ip(_) | Opaque::Cidr(_)) => 1,
        other => match (other.items(), other.entries()) {
            (Some(items), _) => items.iter().map(traversal).sum(),
            (_, Some(entries)) => entries.iter().map(|(k, v)| traversal(k) + traversal(v)).sum(),
            _ => 1,
        },
    }
}
