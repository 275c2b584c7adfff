//! The tree of an expression, macros already expanded.
//!
//! Invariant: every node has an id below [`Ast::ids`]; its depth is bounded by the parser.

use crate::library::Func;
use std::sync::Arc;

/// A parsed expression.
#[derive(Debug)]
pub(crate) struct Ast {
    pub(crate) root: Expr,
    /// How many ids were given out.
    pub(crate) ids: usize,
}

/// One node: where it stands in the source (in characters) and what it is.
#[derive(Clone, Debug)]
pub(crate) struct Expr {
    pub(crate) id: usize,
    pub(crate) at: usize,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Arc<str>),
    Bytes(Arc<[u8]>),
    Ident(String),
    Select {
        operand: Box<Expr>,
        field: String,
        /// `has(operand.field)`.
        test: bool,
    },
    Call(Box<Call>),
    List {
        items: Vec<Expr>,
        /// Which items are left out where they are none: `[?x]`.
        optional: Vec<bool>,
    },
    Map(Vec<Entry>),
    Struct {
        name: String,
        fields: Vec<(String, Expr, bool)>,
    },
    Fold(Box<Fold>),
}

/// A call of a function, of a member function (with a target) or of an operator.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) function: String,
    pub(crate) target: Option<Expr>,
    pub(crate) args: Vec<Expr>,
    /// What carries it out; none for operators that decide which arguments to evaluate.
    pub(crate) func: Option<Func>,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Expr,
    pub(crate) value: Expr,
    pub(crate) optional: bool,
}

/// A comprehension: what `all`, `map` and the other macros become.
#[derive(Clone, Debug)]
pub(crate) struct Fold {
    pub(crate) range: Expr,
    pub(crate) iter: String,
    pub(crate) iter2: Option<String>,
    pub(crate) accu: String,
    pub(crate) init: Expr,
    pub(crate) condition: Expr,
    pub(crate) step: Expr,
    pub(crate) result: Expr,
}

impl Fold {
    /// Whether it only names a value.
    pub(crate) fn is_bind(&self) -> bool {
        matches!(&self.range.kind, Kind::List { items, .. } if items.is_empty())
            && matches!(self.condition.kind, Kind::Bool(false))
    }
}

impl Expr {
    /// The dotted name that identifiers and selections spell, if they spell one.
    pub(crate) fn qualified(&self) -> Option<String> {
        match &self.kind {
            Kind::Ident(name) => Some(name.clone()),
            Kind::Select { operand, field, test: false } => Some(format!("{}.{field}", operand.qualified()?)),
            _ => None,
        }
    }

    /// The nodes directly below this one.
    pub(crate) fn below(&self) -> Vec<&Self> {
        match &self.kind {
            Kind::Select { operand, .. } => vec![operand],
            Kind::Call(call) => call.target.iter().chain(&call.args).collect(),
            Kind::List { items, .. } => items.iter().collect(),
            Kind::Map(entries) => entries.iter().flat_map(|e| [&e.key, &e.value]).collect(),
            Kind::Struct { fields, .. } => fields.iter().map(|(_, e, _)| e).collect(),
            Kind::Fold(f) => vec![&f.range, &f.init, &f.condition, &f.step, &f.result],
            _ => Vec::new(),
        }
    }

    /// How many levels the tree below this node has.
    pub(crate) fn depth(&self) -> usize {
        1 + self.below().into_iter().map(Self::depth).max().unwrap_or(0)
    }

    /// Calls `f` for this node and everything below it.
    pub(crate) fn walk<'a>(&'a self, f: &mut impl FnMut(&'a Self)) {
        f(self);
        self.below().into_iter().for_each(|e| e.walk(f));
    }
}
