//! A compiled expression, what it is given when it runs, and what it may cost.

use crate::ast::{Ast, Kind};
use crate::check::Checked;
use crate::env::Environment;
use crate::error::Error;
use crate::estimate::{Cost, estimate};
use crate::eval::evaluate;
use crate::library::authorizer::{Builder, Check, Decision};
use crate::library::opaque::Opaque;
use crate::metrics;
use crate::stack;
use crate::types::Type;
use crate::value::Val;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Most that one evaluation may cost.
pub const PER_CALL_LIMIT: u64 = 1_000_000;
/// Most that all evaluations for one object may cost.
pub const TOTAL_LIMIT: u64 = 10_000_000;

/// What an evaluation may still cost.
#[derive(Clone, Debug)]
pub struct Budget {
    limit: u64,
    used: u64,
    /// Work that costs nothing by the language's rules, but time.
    work: u64,
}

/// Most of the work that costs nothing.
const MAX_WORK: u64 = 20_000_000;

impl Budget {
    /// A budget of so many units.
    pub fn new(limit: u64) -> Self {
        Self { limit, used: 0, work: 0 }
    }

    /// Part of this budget for one evaluation; what it uses is to be charged with [`Self::spend`].
    pub fn one_call(&self) -> Self {
        Self::new(self.left().min(PER_CALL_LIMIT))
    }

    /// Charges what a part of it used; says no when nothing is left.
    pub fn spend(&mut self, part: &Self) -> Result<(), Error> {
        self.charge(part.used)
    }

    /// What was used.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// What is left.
    pub fn left(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }

    pub(crate) fn charge(&mut self, cost: u64) -> Result<(), Error> {
        self.used = self.used.saturating_add(cost);
        if self.used > self.limit { Err(Error::Cost) } else { Ok(()) }
    }

    pub(crate) fn labour(&mut self, work: u64) -> Result<(), Error> {
        self.work = self.work.saturating_add(work);
        if self.work > MAX_WORK { Err(Error::Cost) } else { Ok(()) }
    }
}

/// The values of variables, and the answers to authorization checks.
#[derive(Clone, Debug, Default)]
pub struct Activation<'a> {
    values: HashMap<&'a str, Val<'a>>,
    decisions: Arc<Mutex<HashMap<Check, Arc<Decision>>>>,
}

impl<'a> Activation<'a> {
    /// Without any value.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a variable.
    pub fn set(&mut self, name: &'a str, value: Val<'a>) {
        self.values.insert(name, value);
    }

    /// Answers a check that an evaluation asked for by [`Error::Pending`]. Clones of the activation know it as well.
    pub fn decide(&self, check: Check, decision: Decision) {
        self.decisions.lock().unwrap_or_else(PoisonError::into_inner).insert(check, Arc::new(decision));
    }

    pub(crate) fn value(&self, name: &str) -> Option<&Val<'a>> {
        self.values.get(name)
    }

    pub(crate) fn decision(&self, check: &Check) -> Option<Arc<Decision>> {
        self.decisions.lock().unwrap_or_else(PoisonError::into_inner).get(check).cloned()
    }
}

/// The variable `authorizer`.
pub fn authorizer<'a>() -> Val<'a> {
    Val::Opaque(Opaque::Builder(Arc::new(Builder::default())))
}

/// A check of a resource that only lacks its verb: the variable `authorizer.requestResource`.
pub fn resource_check<'a>(check: Check) -> Val<'a> {
    Val::Opaque(Opaque::Check(Arc::new(check)))
}

/// A compiled expression.
#[derive(Debug)]
pub struct Program {
    pub(crate) ast: Ast,
    result: Type,
    cost: Cost,
    paths: BTreeSet<String>,
    /// Whether the tree is no deeper than any caller's stack allows.
    shallow: bool,
}

/// How deep a tree may be to be walked on the caller's stack.
const SHALLOW: usize = 40;

impl Program {
    pub(crate) fn new(env: &Environment, ast: Ast, checked: Checked) -> Self {
        let result = checked.types[ast.root.id].clone();
        let cost = estimate(env, &ast, &checked);
        let mut paths = BTreeSet::new();
        ast.root.walk(&mut |e| {
            match &e.kind {
                Kind::Ident(_) | Kind::Select { .. } => paths.extend(e.qualified()),
                // An optional field: `claims.?email`.
                Kind::Call(call) if call.function == "_?._" => {
                    if let [of, field] = call.args.as_slice()
                        && let (Some(of), Kind::Text(field)) = (of.qualified(), &field.kind)
                    {
                        paths.insert(format!("{of}.{field}"));
                    }
                }
                _ => {}
            }
        });
        let shallow = ast.root.depth() <= SHALLOW;
        Self { ast, result, cost, paths, shallow }
    }

    /// Why a conversion of a constant fails, which is found before anything runs.
    pub fn constant_mistake(&self) -> Option<Error> {
        let mut found = None;
        self.ast.root.walk(&mut |e| {
            let Kind::Call(call) = &e.kind else { return };
            let converts = matches!(&*call.function, "bool" | "bytes" | "double" | "int" | "string" | "uint");
            let literal = |e: &crate::ast::Expr| {
                use Kind::{Bool, Bytes, Double, Int, Text, Uint};
                matches!(e.kind, Bool(_) | Bytes(_) | Double(_) | Int(_) | Text(_) | Uint(_))
            };
            if converts && call.target.is_none() && matches!(call.args.as_slice(), [one] if literal(one)) {
                let outcome = evaluate(e, &Activation::new(), &mut Budget::new(PER_CALL_LIMIT));
                found = found.take().or(outcome.err());
            }
        });
        found
    }

    /// The type of what it evaluates to.
    pub fn result(&self) -> &Type {
        &self.result
    }

    /// What it costs at least and at most, for values within their declarations.
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// Whether the expression mentions a variable or a dotted path such as `oldSelf` or `variables.x`.
    pub fn mentions(&self, path: &str) -> bool {
        self.paths.contains(path)
    }

    /// Evaluates. The budget is charged also where the evaluation fails.
    pub fn eval<'a>(&self, activation: &Activation<'a>, budget: &mut Budget) -> Result<Val<'a>, Error> {
        let began = Instant::now();
        let evaluated = stack::run(self.shallow, || evaluate(&self.ast.root, activation, budget));
        metrics::EVALUATED.took(began.elapsed());
        evaluated.unwrap_or_else(|| Err(Error::new("internal error: no thread for a deep expression")))
    }
}
