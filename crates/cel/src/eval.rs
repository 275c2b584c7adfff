//! The evaluator. Costs are counted as cel-go counts them, so that limits mean the same.
//!
//! Invariant: it ends, within the budget; recursion is as deep as the tree, which the parser bounds.

use crate::ast::{Call, Entry, Expr, Fold, Kind};
use crate::cost::call_cost;
use crate::decls::named_type;
use crate::error::Error;
use crate::library::opaque::Opaque;
use crate::library::operators::add_entries;
use crate::program::{Activation, Budget};
use crate::value::{Dict, Struct, Text, Val};
use ironclad_json::Value;
use std::sync::Arc;

/// Most values that one value may hold.
const MAX_WEIGHT: u64 = 500_000;

type Outcome<'a> = Result<Val<'a>, Error>;

pub(crate) fn evaluate<'a>(root: &Expr, activation: &Activation<'a>, budget: &mut Budget) -> Outcome<'a> {
    Evaluator { activation, budget, scopes: Vec::new() }.expr(root)
}

struct Evaluator<'p, 'a, 'b> {
    activation: &'b Activation<'a>,
    budget: &'b mut Budget,
    /// Variables of comprehensions; the one in which it collects can hold an error.
    scopes: Vec<(&'p str, Outcome<'a>)>,
}

impl<'p, 'a> Evaluator<'p, 'a, '_> {
    fn expr(&mut self, e: &'p Expr) -> Outcome<'a> {
        match &e.kind {
            Kind::Null => Ok(Val::Null),
            Kind::Bool(b) => Ok(Val::Bool(*b)),
            Kind::Int(i) => Ok(Val::Int(*i)),
            Kind::Uint(u) => Ok(Val::Uint(*u)),
            Kind::Double(d) => Ok(Val::Double(*d)),
            Kind::Text(t) => Ok(Val::Text(Text::Shared(t.clone()))),
            Kind::Bytes(b) => Ok(Val::Bytes(b.clone())),
            Kind::Ident(name) => self.ident(name),
            Kind::Select { operand, field, test } => self.select(operand, field, *test),
            Kind::Call(call) => self.call(call),
            Kind::List { items, optional } => self.list(items, optional),
            Kind::Map(entries) => self.map(entries),
            Kind::Struct { name, fields } => self.structure(name, fields),
            Kind::Fold(fold) => self.fold(fold),
        }
    }

    #[inline(never)]
    fn ident(&mut self, name: &str) -> Outcome<'a> {
        self.budget.charge(1)?;
        if let Some((_, value)) = self.scopes.iter().rev().find(|(n, _)| *n == name) {
            return value.clone();
        }
        if let Some(value) = self.activation.value(name) {
            return Ok(value.clone());
        }
        named_type(name).map(Val::Type).ok_or_else(|| Error::new(format!("no such attribute(s): {name}")))
    }

    #[inline(never)]
    fn select(&mut self, operand: &'p Expr, field: &'p str, test: bool) -> Outcome<'a> {
        let value = self.expr(operand)?;
        if !test {
            // What is no variable's field starts an attribute of its own.
            let attribute = matches!(operand.kind, Kind::Ident(_) | Kind::Select { test: false, .. })
                || matches!(&operand.kind, Kind::Call(c) if c.function == "_[_]");
            self.budget.charge(if attribute { 1 } else { 2 })?;
        }
        let key = Val::text(field);
        if let Val::Optional(inner) = &value {
            let found = match inner {
                Some(inner) => inner.get(&key, self.budget)?,
                None => None,
            };
            return Ok(if test { Val::Bool(found.is_some()) } else { found.map_or_else(Val::none, Val::some) });
        }
        // What has no fields at all lacks this one.
        let found = match &value {
            Val::List(_) | Val::Json(ironclad_json::Value::Array(_), _) => return Err(Error::overload()),
            Val::Map(_) | Val::Json(ironclad_json::Value::Object(_), _) | Val::Struct(_) | Val::Lazy(_) => {
                value.get(&key, self.budget)?
            }
            _ => None,
        };
        if test {
            // A field that is declared and null is not there; an entry of a map is.
            let present = match (&value, &found) {
                (Val::Json(_, Some(_)), Some(Val::Null)) => false,
                (_, found) => found.is_some(),
            };
            return Ok(Val::Bool(present));
        }
        found.ok_or_else(|| Error::key(field))
    }

    fn truth(&mut self, e: &'p Expr) -> Result<bool, Error> {
        match self.expr(e)? {
            Val::Bool(b) => Ok(b),
            _ => Err(Error::overload()),
        }
    }

    fn call(&mut self, call: &'p Call) -> Outcome<'a> {
        match call.function.as_str() {
            "_&&_" => self.logic(call, false),
            "_||_" => self.logic(call, true),
            "_?_:_" => {
                let branch = if self.truth(&call.args[0])? { 1 } else { 2 };
                self.expr(&call.args[branch])
            }
            "@not_strictly_false" => self.not_false(call),
            _ => self.function(call),
        }
    }

    /// `&&` and `||`: an error on one side does not matter where the other side decides.
    #[inline(never)]
    fn logic(&mut self, call: &'p Call, decides: bool) -> Outcome<'a> {
        let left = self.truth(&call.args[0]);
        match &left {
            Ok(value) if *value == decides => return Ok(Val::Bool(decides)),
            Err(error) if error.is_final() => return left.map(Val::Bool),
            _ => {}
        }
        let right = self.truth(&call.args[1]);
        match (left, right) {
            (_, Err(error)) if error.is_final() => Err(error),
            (_, Ok(value)) if value == decides => Ok(Val::Bool(decides)),
            (Err(error), _) | (_, Err(error)) => Err(error),
            _ => Ok(Val::Bool(!decides)),
        }
    }

    #[inline(never)]
    fn not_false(&mut self, call: &'p Call) -> Outcome<'a> {
        let value = self.expr(&call.args[0]);
        self.budget.charge(1)?;
        match value {
            Ok(Val::Bool(b)) => Ok(Val::Bool(b)),
            Err(error) if error.is_final() => Err(error),
            _ => Ok(Val::Bool(true)),
        }
    }

    #[inline(never)]
    fn function(&mut self, call: &'p Call) -> Outcome<'a> {
        let mut args = Vec::with_capacity(call.args.len() + 1);
        for arg in call.target.iter().chain(&call.args) {
            args.push(self.expr(arg)?);
        }
        let func = call.func.ok_or_else(Error::overload)?;
        self.labour(call, &args)?;
        let result = match func(&args) {
            Err(Error::Pending(check)) => {
                let pending = || Error::Pending(check.clone());
                let decision = self.activation.decision(&check).ok_or_else(pending)?;
                Ok(Val::Opaque(Opaque::Decision(decision)))
            }
            other => other,
        };
        self.budget.charge(call_cost(&call.function, &args, result.as_ref().ok()))?;
        self.weigh(result?)
    }

    /// Work that grows with values, but not in what it costs.
    fn labour(&mut self, call: &Call, args: &[Val<'a>]) -> Result<(), Error> {
        match call.function.as_str() {
            "_+_" if matches!(args[0], Val::List(_) | Val::Json(Value::Array(_), _)) => {
                let size = |v: &Val<'a>| v.size().unwrap_or(1) as u64;
                self.budget.labour(size(&args[0]) + size(&args[1]))
            }
            "_==_" | "_!=_" | "@in" => self.budget.labour(args[0].weight().min(args[1].weight())),
            _ => Ok(()),
        }
    }

    /// Refuses values that hold too much.
    fn weigh(&self, value: Val<'a>) -> Outcome<'a> {
        if value.weight() > MAX_WEIGHT { Err(Error::Cost) } else { Ok(value) }
    }

    #[inline(never)]
    fn list(&mut self, items: &'p [Expr], optional: &[bool]) -> Outcome<'a> {
        let mut out = Vec::with_capacity(items.len());
        for (e, optional) in items.iter().zip(optional) {
            match (self.expr(e)?, optional) {
                (Val::Optional(inner), true) => out.extend(inner.map(|i| (*i).clone())),
                (_, true) => return Err(Error::overload()),
                (value, false) => out.push(value),
            }
        }
        self.budget.charge(10)?;
        self.weigh(Val::list(out))
    }

    #[inline(never)]
    fn map(&mut self, entries: &'p [Entry]) -> Outcome<'a> {
        let mut out = Dict::default();
        for entry in entries {
            let key = self.expr(&entry.key)?;
            match (self.expr(&entry.value)?, entry.optional) {
                (Val::Optional(Some(inner)), true) => out.insert(key, (*inner).clone())?,
                (Val::Optional(None), true) => {}
                (_, true) => return Err(Error::overload()),
                (value, false) => out.insert(key, value)?,
            }
        }
        self.budget.charge(30)?;
        self.weigh(Val::Map(Arc::new(out)))
    }

    #[inline(never)]
    fn structure(&mut self, name: &str, fields: &'p [(String, Expr, bool)]) -> Outcome<'a> {
        let mut out = Vec::with_capacity(fields.len());
        for (field, e, optional) in fields {
            match (self.expr(e)?, optional) {
                (Val::Optional(Some(inner)), true) => out.push((field.clone(), (*inner).clone())),
                (Val::Optional(None), true) => {}
                (_, true) => return Err(Error::overload()),
                (value, false) => out.push((field.clone(), value)),
            }
        }
        self.budget.charge(40)?;
        self.weigh(Val::Struct(Arc::new(Struct { name: name.to_owned(), fields: out })))
    }

    #[inline(never)]
    fn fold(&mut self, fold: &'p Fold) -> Outcome<'a> {
        let range = self.expr(&fold.range)?;
        let items = iterate(range, fold.iter2.is_some())?;
        let init = self.expr(&fold.init);
        if matches!(&init, Err(e) if e.is_final()) {
            return init;
        }
        let depth = self.scopes.len();
        self.scopes.push((&fold.accu, init));
        for (first, second) in items {
            self.scopes.push((&fold.iter, Ok(first)));
            if let (Some(name), Some(second)) = (&fold.iter2, second) {
                self.scopes.push((name, Ok(second)));
            }
            let go_on = self.truth(&fold.condition);
            if !matches!(go_on, Ok(true)) {
                go_on?;
                break;
            }
            let next = self.step(&fold.step, &fold.accu, depth);
            if matches!(&next, Err(e) if e.is_final()) {
                return next;
            }
            self.scopes.truncate(depth + 1);
            self.scopes[depth].1 = next;
        }
        self.scopes.truncate(depth + 1);
        let result = self.expr(&fold.result);
        self.scopes.truncate(depth);
        result
    }

    /// One step of a comprehension. What is collected grows in place instead of being copied at each step.
    fn step(&mut self, e: &'p Expr, accu: &str, slot: usize) -> Outcome<'a> {
        let Kind::Call(call) = &e.kind else { return self.expr(e) };
        let collects = matches!(call.args.first().map(|a| &a.kind), Some(Kind::Ident(n)) if n == accu);
        match (call.function.as_str(), &call.args[..]) {
            ("_?_:_", [condition, yes, no]) => {
                let branch = if self.truth(condition)? { yes } else { no };
                self.step(branch, accu, slot)
            }
            ("_+_", [_, Expr { kind: Kind::List { items, .. }, .. }]) if collects && items.len() == 1 => {
                let item = self.expr(&items[0])?;
                // The variable, the list of one, and the concatenation.
                self.budget.charge(12)?;
                let mut have = std::mem::replace(&mut self.scopes[slot].1, Ok(Val::Null))?;
                let Val::List(list) = &mut have else { return Err(Error::overload()) };
                Arc::make_mut(list).push(item);
                self.weigh(have)
            }
            ("cel.@mapInsert", [_, rest @ ..]) if collects => {
                let mut args = Vec::with_capacity(rest.len());
                for arg in rest {
                    args.push(self.expr(arg)?);
                }
                self.budget.charge(2)?;
                let mut have = std::mem::replace(&mut self.scopes[slot].1, Ok(Val::Null))?;
                let Val::Map(map) = &mut have else { return Err(Error::overload()) };
                add_entries(Arc::make_mut(map), &args)?;
                self.weigh(have)
            }
            _ => self.expr(e),
        }
    }
}

/// What a comprehension runs over: items or keys; with two variables positions and items, or keys and values.
fn iterate<'a>(range: Val<'a>, two: bool) -> Result<Vec<(Val<'a>, Option<Val<'a>>)>, Error> {
    if let Some(items) = range.items() {
        let pair = |(i, v): (usize, Val<'a>)| if two { (Val::Int(i as i64), Some(v)) } else { (v, None) };
        return Ok(items.into_iter().enumerate().map(pair).collect());
    }
    let entries = range.entries().ok_or_else(Error::overload)?;
    Ok(entries.into_iter().map(|(k, v)| (k, two.then_some(v))).collect())
}
