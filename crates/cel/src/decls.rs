//! The signatures of all functions, read once from `functions.txt`, and the names of types.

use crate::types::Type;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// One signature of a function.
#[derive(Debug)]
pub(crate) struct Overload {
    /// Whether the first argument stands before the dot.
    pub(crate) member: bool,
    pub(crate) args: Vec<Type>,
    pub(crate) result: Type,
}

static TABLE: LazyLock<HashMap<&'static str, Vec<Overload>>> = LazyLock::new(|| {
    let mut table: HashMap<&'static str, Vec<Overload>> = HashMap::new();
    for line in include_str!("functions.txt").lines().filter(|l| !l.starts_with('#') && !l.is_empty()) {
        let (name, signature) = line.split_once(' ').expect("each line has a name and a signature");
        table.entry(name).or_default().push(overload(signature));
    }
    table
});

/// The signatures of a function; none means that there is no such function.
pub(crate) fn overloads(name: &str) -> &'static [Overload] {
    TABLE.get(name).map_or(&[], Vec::as_slice)
}

/// The place of a signature's opening parenthesis: the one that closes at its end of the arguments.
fn overload(signature: &str) -> Overload {
    let (left, result) = signature.rsplit_once(' ').expect("a result stands last");
    let (receiver, args) = match left.rsplit_once(".(") {
        Some((receiver, args)) => (Some(receiver), args),
        None => (None, &left[1..]),
    };
    let args = args.strip_suffix(')').expect("arguments end with a parenthesis");
    let mut types: Vec<Type> = receiver.into_iter().map(ty).collect();
    types.extend(split(args).into_iter().map(ty));
    Overload { member: receiver.is_some(), args: types, result: ty(result) }
}

/// Splits at the commas that stand outside parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut out) = (0, 0, Vec::new());
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                out.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    if start < text.len() {
        out.push(&text[start..]);
    }
    out
}

fn ty(text: &str) -> Type {
    if let Some((name, rest)) = text.split_once('(') {
        let mut params = split(&rest[..rest.len() - 1]).into_iter().map(|p| Arc::new(ty(p)));
        let mut next = || params.next().expect("the table gives each parameter");
        return match name {
            "list" => Type::List(next()),
            "map" => Type::Map(next(), next()),
            _ => Type::optional((*next()).clone()),
        };
    }
    match text {
        "A" => Type::Param(0),
        "B" => Type::Param(1),
        other => scalar(other).unwrap_or_else(|| Type::opaque(other)),
    }
}

fn scalar(name: &str) -> Option<Type> {
    Some(match name {
        "dyn" => Type::Dyn,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "timestamp" | "google.protobuf.Timestamp" => Type::Timestamp,
        "duration" | "google.protobuf.Duration" => Type::Duration,
        "type" => Type::Type,
        _ => return None,
    })
}

/// The type that a name in an expression stands for, as in `type(x) == int`.
pub(crate) fn named_type(name: &str) -> Option<Type> {
    const OPAQUE: [&str; 7] = [
        "net.IP",
        "net.CIDR",
        "kubernetes.URL",
        "kubernetes.Quantity",
        "kubernetes.Semver",
        "kubernetes.Image",
        "kubernetes.NamedFormat",
    ];
    match name {
        "list" => Some(Type::list(Type::Dyn)),
        "map" => Some(Type::map(Type::Dyn, Type::Dyn)),
        "null_type" => Some(Type::Null),
        "optional_type" => Some(Type::optional(Type::Dyn)),
        // Functions of these names exist; as values only the short names are types.
        "timestamp" | "duration" | "dyn" => None,
        other => scalar(other).or_else(|| OPAQUE.contains(&other).then(|| Type::opaque(other))),
    }
}
