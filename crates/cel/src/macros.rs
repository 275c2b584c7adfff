//! The macros: `has`, the comprehensions over one and two variables, `optMap`, `optFlatMap` and `sortBy`.
//!
//! Each becomes what cel-go makes of it, because costs are counted on the expansion.

use crate::ast::{Expr, Fold, Kind};
use crate::parser::{Parser, Stop};

type Expanded = Result<Expr, Stop>;

/// The variable in which a comprehension collects; no expression can name it.
pub(crate) const ACCUMULATOR: &str = "@result";

/// `name(args)`.
pub(crate) fn global(p: &mut Parser, at: usize, name: &str, mut args: Vec<Expr>) -> Expanded {
    if name != "has" || args.len() != 1 {
        return Ok(p.call(at, name, None, args));
    }
    let arg = args.remove(0);
    match arg.kind {
        Kind::Select { operand, field, test: false } => Ok(p.node(at, Kind::Select { operand, field, test: true })),
        _ => p.fail(arg.at, "invalid argument to has() macro"),
    }
}

/// `target.name(args)`.
pub(crate) fn member(p: &mut Parser, at: usize, target: Expr, name: &str, args: Vec<Expr>) -> Expanded {
    match (name, args.len()) {
        ("bind", 3) if p.bindings && matches!(&target.kind, Kind::Ident(name) if name == "cel") => bind(p, at, args),
        ("all" | "exists" | "exists_one" | "existsOne" | "filter", 2)
        | ("map" | "optMap" | "optFlatMap" | "sortBy", 2)
        | ("map", 3)
        | ("all" | "exists" | "existsOne" | "exists_one", 3)
        | ("transformList" | "transformMap" | "transformMapEntry", 3 | 4) => expand(p, at, target, name, args),
        _ => Ok(p.call(at, name, Some(target), args)),
    }
}

/// `cel.bind(name, value, result)`.
fn bind(p: &mut Parser, at: usize, args: Vec<Expr>) -> Expanded {
    let Ok([name, value, result]) = <[Expr; 3]>::try_from(args) else { unreachable!("the caller counted them") };
    match name.kind {
        Kind::Ident(text) => Ok(bound(p, at, text, value, result)),
        _ => p.fail(name.at, "cel.bind() variable names must be simple identifiers"),
    }
}

fn variable(p: &mut Parser, e: &Expr) -> Result<String, Stop> {
    match &e.kind {
        Kind::Ident(name) => Ok(name.clone()),
        _ => p.fail(e.at, "argument must be a simple name"),
    }
}

/// The variable of a macro that has words of its own for what is none.
fn plain_variable(p: &mut Parser, name: &str, e: &Expr) -> Result<String, Stop> {
    match (&e.kind, name) {
        (Kind::Ident(_), _) => variable(p, e),
        (_, "map" | "filter") => p.fail(e.at, "argument is not an identifier"),
        _ => variable(p, e),
    }
}

fn expand(p: &mut Parser, at: usize, target: Expr, name: &str, args: Vec<Expr>) -> Expanded {
    let two = matches!((name, args.len()), ("all" | "exists" | "existsOne" | "exists_one", 3))
        || name.starts_with("transform");
    let mut args = args.into_iter();
    let mut arg = || args.next().expect("the caller counted the arguments");
    let first = arg();
    let iter = plain_variable(p, name, &first)?;
    let iter2 = if two { Some(variable(p, &arg())?) } else { None };
    if iter2.as_ref() == Some(&iter) {
        return p.fail(first.at, format!("duplicate variable name: {iter}"));
    }
    if name == "sortBy" {
        let rest = std::iter::once(first).chain(args).collect();
        return sort_by(p, at, target, rest);
    }
    let (next, after) = (arg(), args.next());
    if name.starts_with("opt") {
        return optional(p, at, target, name, iter, next);
    }
    // `map` and the transforms take a filter before what they make.
    let (filter, body) = match (name, after) {
        ("map" | "transformList" | "transformMap" | "transformMapEntry", Some(last)) => (Some(next), last),
        _ => (None, next),
    };
    let (init, condition, step, result) = parts(p, at, name, &iter, filter, body);
    let fold = Fold { range: target, iter, iter2, accu: ACCUMULATOR.to_owned(), init, condition, step, result };
    Ok(p.node(at, Kind::Fold(Box::new(fold))))
}

/// What a comprehension starts with, while what it goes on, what it does at each item, and what it gives.
fn parts(
    p: &mut Parser,
    at: usize,
    name: &str,
    iter: &str,
    filter: Option<Expr>,
    body: Expr,
) -> (Expr, Expr, Expr, Expr) {
    let accu = |p: &mut Parser| p.ident(at, ACCUMULATOR);
    match name {
        "all" | "exists" => {
            let all = name == "all";
            let (init, mut while_) = (p.node(at, Kind::Bool(all)), accu(p));
            if !all {
                while_ = p.call(at, "!_", None, vec![while_]);
            }
            let condition = p.call(at, "@not_strictly_false", None, vec![while_]);
            let have = accu(p);
            let step = p.call(at, if all { "_&&_" } else { "_||_" }, None, vec![have, body]);
            let result = accu(p);
            (init, condition, step, result)
        }
        "exists_one" | "existsOne" => {
            let (init, condition) = (p.node(at, Kind::Int(0)), p.node(at, Kind::Bool(true)));
            let (have, one, otherwise) = (accu(p), p.node(at, Kind::Int(1)), accu(p));
            let more = p.call(at, "_+_", None, vec![have, one]);
            let step = p.call(at, "_?_:_", None, vec![body, more, otherwise]);
            let (count, one) = (accu(p), p.node(at, Kind::Int(1)));
            let result = p.call(at, "_==_", None, vec![count, one]);
            (init, condition, step, result)
        }
        "transformMap" | "transformMapEntry" => {
            let (init, condition) = (p.node(at, Kind::Map(Vec::new())), p.node(at, Kind::Bool(true)));
            let have = accu(p);
            let step = if name == "transformMap" {
                let key = p.ident(at, iter);
                p.call(at, "cel.@mapInsert", None, vec![have, key, body])
            } else {
                p.call(at, "cel.@mapInsert", None, vec![have, body])
            };
            let step = only_if(p, at, filter, step);
            let result = accu(p);
            (init, condition, step, result)
        }
        _ => {
            let (init, condition) =
                (p.node(at, Kind::List { items: Vec::new(), optional: Vec::new() }), p.node(at, Kind::Bool(true)));
            let have = accu(p);
            let (filter, item) = if name == "filter" { (Some(body), None) } else { (filter, Some(body)) };
            // What `filter` keeps is the variable itself.
            let item = item.unwrap_or_else(|| p.ident(at, iter));
            let one = p.node(at, Kind::List { items: vec![item], optional: vec![false] });
            let step = p.call(at, "_+_", None, vec![have, one]);
            let step = only_if(p, at, filter, step);
            let result = accu(p);
            (init, condition, step, result)
        }
    }
}

fn only_if(p: &mut Parser, at: usize, filter: Option<Expr>, step: Expr) -> Expr {
    let Some(filter) = filter else { return step };
    let otherwise = p.ident(at, ACCUMULATOR);
    p.call(at, "_?_:_", None, vec![filter, step, otherwise])
}

fn nothing(p: &mut Parser, at: usize) -> Expr {
    p.node(at, Kind::List { items: Vec::new(), optional: Vec::new() })
}

fn bound(p: &mut Parser, at: usize, name: String, value: Expr, result: Expr) -> Expr {
    let (range, condition) = (nothing(p, at), p.node(at, Kind::Bool(false)));
    let step = p.ident(at, &name);
    let fold = Fold { range, iter: "#unused".into(), iter2: None, accu: name, init: value, condition, step, result };
    p.node(at, Kind::Fold(Box::new(fold)))
}

/// `target.sortBy(v, e)` binds the target and sorts it by what the expression makes of its items.
fn sort_by(p: &mut Parser, at: usize, target: Expr, args: Vec<Expr>) -> Expanded {
    const INPUT: &str = "@__sortBy_input__";
    let sortable =
        matches!(target.kind, Kind::List { .. } | Kind::Select { .. } | Kind::Ident(_) | Kind::Fold(_) | Kind::Call(_));
    if !sortable {
        let why = "sortBy can only be applied to a list, identifier, comprehension, call or select expression";
        return p.fail(target.at, why);
    }
    let input = p.ident(at, INPUT);
    let keys = expand(p, at, input, "map", args)?;
    let input = p.ident(at, INPUT);
    let sorted = p.call(at, "@sortByAssociatedKeys", Some(input), vec![keys]);
    Ok(bound(p, at, INPUT.to_owned(), target, sorted))
}

/// `target.optMap(v, e)` is `target.hasValue() ? optional.of(e) : optional.none()` with `v` bound to `target.value()`.
fn optional(p: &mut Parser, at: usize, target: Expr, name: &str, variable: String, body: Expr) -> Expanded {
    let again = p.copy(&target);
    let has = p.call(at, "hasValue", Some(target), Vec::new());
    let value = p.call(at, "value", Some(again), Vec::new());
    let mut yes = bound(p, at, variable, value, body);
    if name == "optMap" {
        yes = p.call(at, "optional.of", None, vec![yes]);
    }
    let no = p.call(at, "optional.none", None, Vec::new());
    Ok(p.call(at, "_?_:_", None, vec![has, yes, no]))
}
