//! What an expression costs at least and at most, from the sizes that declarations allow.
//!
//! The rules are those of cel-go's estimator with the stock server's libraries: whether a schema is accepted depends
//! on them.

use crate::ast::{Ast, Call, Expr, Fold, Kind};
use crate::check::Checked;
use crate::decl::Decl;
use crate::decls::Overload;
use crate::env::Environment;
use crate::macros::ACCUMULATOR;
use crate::types::Type;
use std::collections::HashMap;
use std::sync::Arc;

mod calls;

/// A range of costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// At least.
    pub min: u64,
    /// At most; `u64::MAX` where nothing bounds it.
    pub max: u64,
}

/// A range of sizes.
pub type Size = Cost;

impl Cost {
    pub(crate) const UNKNOWN: Self = Self { min: 0, max: u64::MAX };

    pub(crate) fn fixed(n: u64) -> Self {
        Self { min: n, max: n }
    }

    pub(crate) fn add(self, other: Self) -> Self {
        Self { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    pub(crate) fn times(self, other: Self) -> Self {
        Self { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    pub(crate) fn by(self, factor: f64) -> Self {
        let one = |n: u64| {
            let product = (n as f64 * factor).ceil();
            if product >= u64::MAX as f64 { u64::MAX } else { product as u64 }
        };
        Self { min: one(self.min), max: one(self.max) }
    }

    pub(crate) fn union(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

/// The sizes of the keys and the values of a list or a map.
#[derive(Clone, Copy, Debug)]
struct Entries {
    list: bool,
    key: Size,
    value: Size,
}

/// A variable of a comprehension.
struct Local {
    name: String,
    path: Option<Vec<String>>,
    size: Option<Size>,
    entries: Option<Entries>,
}

struct Estimator<'e> {
    env: &'e Environment,
    checked: &'e Checked,
    paths: HashMap<usize, Vec<String>>,
    sizes: HashMap<usize, Size>,
    entries: HashMap<usize, Entries>,
    locals: Vec<Local>,
}

pub(crate) fn estimate(env: &Environment, ast: &Ast, checked: &Checked) -> Cost {
    let mut estimator = Estimator {
        env,
        checked,
        paths: HashMap::new(),
        sizes: HashMap::new(),
        entries: HashMap::new(),
        locals: Vec::new(),
    };
    estimator.cost(&ast.root)
}

impl<'e> Estimator<'e> {
    fn cost(&mut self, e: &Expr) -> Cost {
        match &e.kind {
            Kind::Ident(name) => {
                let path = self.local(name).map_or_else(|| Some(vec![name.clone()]), |l| l.path.clone());
                if let Some(path) = path {
                    self.paths.insert(e.id, path);
                }
                Cost::fixed(1)
            }
            Kind::Select { operand, field, test } => self.select(e, operand, field, *test),
            Kind::Call(call) => self.call(e, call),
            Kind::List { items, .. } => self.list(e, items),
            Kind::Map(entries) => {
                let pairs: Vec<(&Expr, &Expr)> = entries.iter().map(|e| (&e.key, &e.value)).collect();
                self.map(e, &pairs)
            }
            Kind::Struct { fields, .. } => fields.iter().fold(Cost::fixed(40), |sum, (_, e, _)| sum.add(self.cost(e))),
            Kind::Fold(fold) if fold.is_bind() => self.bind(e, fold),
            Kind::Fold(fold) => self.fold(e, fold),
            _ => Cost::default(),
        }
    }

    fn ty(&self, e: &Expr) -> &'e Type {
        &self.checked.types[e.id]
    }

    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.iter().rev().find(|l| l.name == name)
    }

    fn select(&mut self, e: &Expr, operand: &Expr, field: &str, test: bool) -> Cost {
        let mut sum = self.cost(operand);
        if test {
            return sum;
        }
        if matches!(self.ty(operand), Type::Map(..) | Type::Object(_) | Type::Struct(_) | Type::Param(_)) {
            sum = sum.add(Cost::fixed(1));
        }
        if let Some(mut path) = self.path(operand) {
            path.push(field.to_owned());
            self.paths.insert(e.id, path);
        }
        sum
    }

    fn path(&self, e: &Expr) -> Option<Vec<String>> {
        if let Kind::Ident(name) = &e.kind
            && let Some(local) = self.local(name)
        {
            return local.path.clone();
        }
        self.paths.get(&e.id).cloned()
    }

    /// The declaration at a path.
    fn decl(&self, path: &[String]) -> Option<Arc<Decl>> {
        let (first, rest) = path.split_first()?;
        let start = self.env.decls.get(first)?;
        rest.iter().try_fold(start.clone(), |decl, step| decl.step(step).cloned())
    }

    /// The size that the declaration at a path allows.
    fn declared(&self, path: Option<&[String]>) -> Option<Size> {
        let path = path.filter(|p| !p.is_empty() && p[0] != ACCUMULATOR)?;
        if let Some((_, map)) = path.split_last().filter(|(last, _)| *last == "@keys") {
            // Unless something is said of it, the keys of a map can be as long as the request.
            let max = self.decl(map).map_or(crate::decl::MAX_REQUEST, |d| d.key_max);
            return Some(Size { min: 0, max });
        }
        self.decl(path).map(|d| Size { min: 0, max: d.max })
    }

    fn size(&mut self, e: &Expr) -> Option<Size> {
        if let Some(size) = self.sizes.get(&e.id) {
            return Some(*size);
        }
        let literal = match &e.kind {
            Kind::Text(t) => Some(t.chars().count()),
            Kind::Bytes(b) => Some(b.len()),
            Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Uint(_) | Kind::Double(_) => Some(1),
            Kind::List { items, .. } => Some(items.len()),
            Kind::Map(entries) => Some(entries.len()),
            _ => None,
        };
        if let Some(n) = literal {
            return Some(Size::fixed(n as u64));
        }
        let path = self.path(e);
        if let Some(size) = self.declared(path.as_deref()) {
            self.sizes.insert(e.id, size);
            return Some(size);
        }
        if is_scalar(self.ty(e)) {
            return Some(Size::fixed(1));
        }
        match &e.kind {
            Kind::Ident(name) => self.local(name).and_then(|l| l.size),
            _ => None,
        }
    }

    fn size_or_unknown(&mut self, e: &Expr) -> Size {
        self.size(e).unwrap_or(Size::UNKNOWN)
    }

    fn entry_sizes(&self, e: &Expr) -> Option<Entries> {
        if let Some(found) = self.entries.get(&e.id) {
            return Some(*found);
        }
        match &e.kind {
            Kind::Ident(name) => self.local(name).and_then(|l| l.entries),
            _ => None,
        }
    }

    fn list(&mut self, e: &Expr, items: &[Expr]) -> Cost {
        let mut sum = Cost::fixed(10);
        let mut item_size = Size { min: if items.is_empty() { 0 } else { u64::MAX }, max: 0 };
        for item in items {
            sum = sum.add(self.cost(item));
            item_size = item_size.union(self.size_or_unknown(item));
        }
        self.entries.insert(e.id, Entries { list: true, key: Size::fixed(1), value: item_size });
        sum
    }

    fn map(&mut self, e: &Expr, entries: &[(&Expr, &Expr)]) -> Cost {
        let mut sum = Cost::fixed(30);
        let none = Size { min: if entries.is_empty() { 0 } else { u64::MAX }, max: 0 };
        let (mut keys, mut values) = (none, none);
        for (key, value) in entries {
            sum = sum.add(self.cost(key)).add(self.cost(value));
            keys = keys.union(self.size_or_unknown(key));
            values = values.union(self.size_or_unknown(value));
        }
        self.entries.insert(e.id, Entries { list: false, key: keys, value: values });
        sum
    }

    fn bind(&mut self, e: &Expr, fold: &Fold) -> Cost {
        let sum = Cost::fixed(10).add(self.cost(&fold.init));
        let local = Local {
            name: fold.accu.clone(),
            path: self.path(&fold.init),
            size: self.size(&fold.init),
            entries: self.entry_sizes(&fold.init),
        };
        self.locals.push(local);
        let sum = sum.add(self.cost(&fold.result));
        let (size, entries) = (self.size(&fold.result), self.entry_sizes(&fold.result));
        self.locals.pop();
        self.note(e, size, entries);
        sum
    }

    fn note(&mut self, e: &Expr, size: Option<Size>, entries: Option<Entries>) {
        if let Some(size) = size {
            self.sizes.insert(e.id, size);
        }
        if let Some(entries) = entries {
            self.entries.insert(e.id, entries);
        }
    }

    fn fold(&mut self, e: &Expr, fold: &Fold) -> Cost {
        let mut sum = self.cost(&fold.range).add(self.cost(&fold.init));
        let accu = Local {
            name: fold.accu.clone(),
            path: self.path(&fold.init),
            size: self.size(&fold.init),
            entries: self.entry_sizes(&fold.init),
        };
        self.locals.push(accu);
        let entries = self.entry_sizes(&fold.range);
        let is_list = entries.map_or(matches!(self.ty(&fold.range), Type::List(_)), |e| e.list);
        let step = |suffix: &str, path: &Option<Vec<String>>| {
            path.clone().map(|mut p| {
                p.push(suffix.to_owned());
                p
            })
        };
        let path = self.path(&fold.range);
        let key = (step(if is_list { "@indices" } else { "@keys" }, &path), entries.map(|e| e.key));
        let value = (step(if is_list { "@items" } else { "@values" }, &path), entries.map(|e| e.value));
        let first = if fold.iter2.is_none() && is_list { value.clone() } else { key };
        self.locals.push(Local { name: fold.iter.clone(), path: first.0, size: first.1, entries: None });
        if let Some(second) = &fold.iter2 {
            self.locals.push(Local { name: second.clone(), path: value.0, size: value.1, entries: None });
        }
        let loop_cost = self.cost(&fold.condition).add(self.cost(&fold.step));
        let step_entries = self.entry_sizes(&fold.step);
        self.locals.truncate(self.locals.len() - 1 - usize::from(fold.iter2.is_some()));
        sum = sum.add(self.cost(&fold.result));
        self.locals.pop();
        let count = self.size_or_unknown(&fold.range);
        match &fold.init.kind {
            Kind::List { .. } | Kind::Map(_) => self.note(e, Some(count), step_entries),
            _ => {
                let size = self.size(&fold.init);
                self.note(e, size, None);
            }
        }
        sum.add(count.times(loop_cost))
    }

    fn call(&mut self, e: &Expr, call: &Call) -> Cost {
        if call.function == "dyn" {
            let cost = self.cost(&call.args[0]).add(Cost::fixed(1));
            let (size, entries) = (self.size(&call.args[0]), self.entry_sizes(&call.args[0]));
            self.note(e, size, entries);
            return cost;
        }
        let costs: Vec<Cost> = call.args.iter().map(|a| self.cost(a)).collect();
        let mut sum = Cost::default();
        if let Some(target) = &call.target {
            sum = sum.add(self.cost(target));
        }
        let overloads = &self.checked.overloads[e.id];
        if call.function == "_?._" {
            return sum.add(costs.iter().fold(Cost::fixed(1), |s, c| s.add(*c)));
        }
        if overloads.is_empty() {
            return Cost::default();
        }
        let mut cost = Cost { min: u64::MAX, max: 0 };
        let mut size: Option<Size> = None;
        for overload in overloads {
            let (one, result) = self.function(e, call, overload, &costs);
            cost = cost.union(one);
            if let Some(result) = result {
                size = Some(size.map_or(result, |s| s.union(result)));
            }
            if call.function == "_[_]" {
                size = self.indexed(e, &call.args[0], overload).or(size);
            }
            size = size.or_else(|| self.size(e));
        }
        if let Some(size) = size {
            self.sizes.insert(e.id, size);
        }
        sum.add(cost)
    }

    fn indexed(&mut self, e: &Expr, container: &Expr, overload: &Overload) -> Option<Size> {
        let suffix = match overload.args[0] {
            Type::List(_) => "@items",
            Type::Map(..) => "@values",
            _ => return None,
        };
        if let Some(mut path) = self.path(container) {
            path.push(suffix.to_owned());
            self.paths.insert(e.id, path);
        }
        self.entry_sizes(container).map(|e| e.value)
    }
}

fn is_scalar(t: &Type) -> bool {
    match t {
        Type::Bool | Type::Double | Type::Duration | Type::Int | Type::Timestamp | Type::Uint => true,
        other => other.optional_inner().is_some_and(is_scalar),
    }
}
