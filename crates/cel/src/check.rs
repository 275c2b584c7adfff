//! The type checker: finds what names stand for, which signatures fit, and the type of every node.

use crate::ast::{Ast, Call, Expr, Fold, Kind};
use crate::decl::Shape;
use crate::decls::{Overload, named_type, overloads};
use crate::env::Environment;
use crate::error::Issue;
use crate::library;
use crate::types::Type;
use crate::unify::Mapping;

/// What the checker found out.
#[derive(Debug)]
pub(crate) struct Checked {
    /// The type of each node.
    pub(crate) types: Vec<Type>,
    /// The argument types of the signatures that fit each call.
    pub(crate) overloads: Vec<Vec<&'static Overload>>,
}

struct Checker<'e> {
    env: &'e Environment,
    mapping: Mapping,
    scopes: Vec<(String, Type)>,
    types: Vec<Type>,
    overloads: Vec<Vec<&'static Overload>>,
    issues: Vec<Issue>,
    /// How many calls around let the parts of a literal differ.
    mixed: usize,
}

/// Checks a tree; names and functions with dots are put together in it.
pub(crate) fn check(env: &Environment, ast: &mut Ast) -> Result<Checked, Vec<Issue>> {
    let mut checker = Checker {
        env,
        mapping: Mapping::default(),
        scopes: Vec::new(),
        types: vec![Type::Dyn; ast.ids],
        overloads: (0..ast.ids).map(|_| Vec::new()).collect(),
        issues: Vec::new(),
        mixed: 0,
    };
    checker.expr(&mut ast.root);
    if !checker.issues.is_empty() {
        return Err(checker.issues);
    }
    let types = checker.types.iter().map(|t| checker.mapping.substitute(t, true)).collect();
    Ok(Checked { types, overloads: checker.overloads })
}

impl Checker<'_> {
    fn issue(&mut self, at: usize, message: impl Into<String>) -> Type {
        self.issues.push(Issue { at, message: message.into() });
        Type::Error
    }

    fn expr(&mut self, e: &mut Expr) -> Type {
        let t = match &mut e.kind {
            Kind::Null => Type::Null,
            Kind::Bool(_) => Type::Bool,
            Kind::Int(_) => Type::Int,
            Kind::Uint(_) => Type::Uint,
            Kind::Double(_) => Type::Double,
            Kind::Text(_) => Type::String,
            Kind::Bytes(_) => Type::Bytes,
            Kind::Ident(_) => self.ident(e),
            Kind::Select { .. } => self.select(e),
            Kind::Call(_) => self.call(e),
            Kind::List { .. } => self.list(e),
            Kind::Map(_) => self.map(e),
            Kind::Struct { .. } => self.structure(e),
            Kind::Fold(_) => self.fold(e),
        };
        self.types[e.id] = t.clone();
        t
    }

    /// What a name stands for: a variable of a comprehension, a declared variable, or a type.
    fn lookup(&self, name: &str) -> Option<Type> {
        let local = self.scopes.iter().rev().find(|(n, _)| n == name).map(|(_, t)| t.clone());
        local.or_else(|| self.env.variable(name).cloned()).or_else(|| named_type(name).map(|_| Type::Type))
    }

    fn ident(&mut self, e: &Expr) -> Type {
        let Kind::Ident(name) = &e.kind else { return Type::Error };
        match self.lookup(name) {
            Some(t) => t,
            None => self.issue(e.at, format!("undeclared reference to '{name}' (in container '')")),
        }
    }

    fn select(&mut self, e: &mut Expr) -> Type {
        // A variable or a type can have dots in its name.
        if let Some(name) = e.qualified()
            && !self.is_local(&name)
            && let Some(t) = self.lookup(&name)
        {
            e.kind = Kind::Ident(name);
            return t;
        }
        let at = e.at;
        let Kind::Select { operand, field, test } = &mut e.kind else { return Type::Error };
        let operand_type = self.expr(operand);
        let (field, test) = (field.clone(), *test);
        let t = self.field(at, &operand_type, &field);
        if test { Type::Bool } else { t }
    }

    /// Whether the first part of a dotted name is a variable of a comprehension, which hides declared names.
    fn is_local(&self, name: &str) -> bool {
        let first = name.split('.').next().unwrap_or(name);
        self.scopes.iter().any(|(n, _)| n == first)
    }

    fn field(&mut self, at: usize, operand: &Type, field: &str) -> Type {
        let operand = self.mapping.substitute(operand, false);
        if let Some(inner) = operand.optional_inner() {
            let inner = inner.clone();
            let found = self.field(at, &inner, field);
            return if found.optional_inner().is_some() { found } else { Type::optional(found) };
        }
        match &operand {
            Type::Dyn | Type::Error | Type::Struct(_) => Type::Dyn,
            Type::Map(_, value) => (**value).clone(),
            Type::Object(decl) => match &decl.shape {
                Shape::Object { fields } => match fields.get(field) {
                    Some((_, inner)) => inner.ty(),
                    None => self.issue(at, format!("undefined field '{field}'")),
                },
                _ => Type::Dyn,
            },
            Type::Param(_) => {
                self.mapping.assignable(&Type::Dyn, &operand);
                Type::Dyn
            }
            other => {
                let message = format!("type '{other}' does not support field selection");
                self.issue(at, message)
            }
        }
    }

    fn call(&mut self, e: &mut Expr) -> Type {
        let (id, at) = (e.id, e.at);
        let Kind::Call(call) = &mut e.kind else { return Type::Error };
        self.namespace(call);
        if call.function == "_?._" {
            return self.optional_select(at, call);
        }
        let known = self.env.knows(&call.function);
        if !known || overloads(&call.function).is_empty() {
            call.target.iter_mut().chain(&mut call.args).for_each(|a| drop(self.expr(a)));
            return self.issue(at, format!("undeclared reference to '{}' (in container '')", call.function));
        }
        let member = call.target.is_some();
        let mixed = usize::from(call.function == "format");
        self.mixed += mixed;
        let args: Vec<Type> = call.target.iter_mut().chain(&mut call.args).map(|a| self.expr(a)).collect();
        self.mixed -= mixed;
        self.literals(call);
        self.clauses(at, call);
        self.resolve(id, at, &call.function, member, &args)
    }

    /// `a.b.f(x)` is a call of the function `a.b.f` where there is one.
    fn namespace(&self, call: &mut Call) {
        let Some(prefix) = call.target.as_ref().and_then(Expr::qualified) else { return };
        let name = format!("{prefix}.{}", call.function);
        if !self.is_local(&prefix) && self.env.knows(&name) && overloads(&name).iter().any(|o| !o.member) {
            call.target = None;
            call.func = library::find(&name);
            call.function = name;
        }
    }

    fn optional_select(&mut self, at: usize, call: &mut Call) -> Type {
        let operand = self.expr(&mut call.args[0]);
        self.types[call.args[1].id] = Type::String;
        let Kind::Text(field) = call.args[1].kind.clone() else { return Type::Error };
        let found = self.field(at, &operand, &field);
        if found.optional_inner().is_some() { found } else { Type::optional(found) }
    }

    fn resolve(&mut self, id: usize, at: usize, function: &str, member: bool, args: &[Type]) -> Type {
        let mut result: Option<Type> = None;
        for overload in overloads(function).iter().filter(|o| o.member == member) {
            let mut types = overload.args.clone();
            types.push(overload.result.clone());
            let mut types = self.mapping.instantiate(&types);
            let own = types.pop().unwrap_or(Type::Dyn);
            if !self.mapping.all_assignable(args, &types) {
                continue;
            }
            self.overloads[id].push(overload);
            let own = self.mapping.substitute(&own, false);
            result = Some(match result {
                None => own,
                Some(first) if first.is_dyn() || first.same(&own) => first,
                Some(_) => Type::Dyn,
            });
        }
        result.unwrap_or_else(|| {
            let shown: Vec<String> = args.iter().map(|t| self.mapping.substitute(t, true).to_string()).collect();
            let applied = match (member, shown.split_first()) {
                (true, Some((target, rest))) => format!("{target}.({})", rest.join(", ")),
                _ => format!("({})", shown.join(", ")),
            };
            self.issue(at, format!("found no matching overload for '{function}' applied to '{applied}'"))
        })
    }

    /// Mistakes in the clauses of a text and the list that it is formatted with.
    fn clauses(&mut self, at: usize, call: &Call) {
        let (Some(target), [args]) = (&call.target, call.args.as_slice()) else { return };
        let (Kind::Text(text), Kind::List { items, .. }) = (&target.kind, &args.kind) else { return };
        if call.function == "format" {
            let types: Vec<Type> = items.iter().map(|i| self.mapping.substitute(&self.types[i.id], false)).collect();
            if let Some((item, why)) = crate::clauses::mistake(text, &types) {
                self.issue(item.map_or(at, |i| items[i].at), why);
            }
        }
    }

    /// Mistakes in literals that would fail whenever they run.
    fn literals(&mut self, call: &Call) {
        let last = call.args.last().map(|a| (a.at, &a.kind));
        let Some((at, Kind::Text(text))) = last else { return };
        let message = match (call.function.as_str(), call.args.len()) {
            ("duration", 1) if library::time::parse_duration(text).is_none() => Some("invalid duration argument"),
            ("timestamp", 1) if text.parse::<jiff::Timestamp>().is_err() => Some("invalid timestamp argument"),
            ("matches", _) if !library::regex::is_valid(text) => Some("invalid matches argument"),
            ("find" | "findAll", 1) if !library::regex::is_valid(text) => Some("invalid matches argument"),
            _ => None,
        };
        if let Some(message) = message {
            self.issue(at, message);
        }
    }

    /// The type that a literal's parts share.
    fn join(&mut self, at: usize, have: Option<Type>, next: Type) -> Type {
        let Some(have) = have else { return next };
        if self.mapping.assignable(&have, &next) {
            let (a, b) = (self.mapping.substitute(&have, false), self.mapping.substitute(&next, false));
            return if b.is_dyn() && !a.is_dyn() { b } else { a };
        }
        if self.mixed > 0 {
            return Type::Dyn;
        }
        self.issue(at, format!("expected type '{have}' but found '{next}'"));
        have
    }

    fn list(&mut self, e: &mut Expr) -> Type {
        let Kind::List { items, optional } = &mut e.kind else { return Type::Error };
        let mut item: Option<Type> = None;
        for (e, optional) in items.iter_mut().zip(optional.iter()) {
            let mut t = self.expr(e);
            if *optional {
                t = self.unwrap(e.at, t);
            }
            item = Some(self.join(e.at, item, t));
        }
        Type::list(item.unwrap_or_else(|| self.mapping.fresh()))
    }

    fn unwrap(&mut self, at: usize, t: Type) -> Type {
        let t = self.mapping.substitute(&t, false);
        match t.optional_inner() {
            Some(inner) => inner.clone(),
            None if t.is_dyn() => Type::Dyn,
            None => self.issue(at, format!("expected type 'optional_type({t})' but found '{t}'")),
        }
    }

    fn map(&mut self, e: &mut Expr) -> Type {
        let Kind::Map(entries) = &mut e.kind else { return Type::Error };
        let (mut key, mut value): (Option<Type>, Option<Type>) = (None, None);
        for entry in entries {
            let k = self.expr(&mut entry.key);
            key = Some(self.join(entry.key.at, key, k));
            let mut v = self.expr(&mut entry.value);
            if entry.optional {
                v = self.unwrap(entry.value.at, v);
            }
            value = Some(self.join(entry.value.at, value, v));
        }
        let key = key.unwrap_or_else(|| self.mapping.fresh());
        Type::map(key, value.unwrap_or_else(|| self.mapping.fresh()))
    }

    fn structure(&mut self, e: &mut Expr) -> Type {
        let at = e.at;
        let Kind::Struct { name, fields } = &mut e.kind else { return Type::Error };
        let name = name.clone();
        let known = self.env.structure(&name);
        for (field, e, optional) in fields.iter_mut() {
            let mut t = self.expr(e);
            if *optional {
                t = self.unwrap(e.at, t);
            }
            let allowed = match (name.as_str(), known) {
                ("JSONPatch", true) => match field.as_str() {
                    "op" | "path" | "from" => Some(Type::String),
                    "value" => Some(Type::Dyn),
                    _ => None,
                },
                _ => Some(Type::Dyn),
            };
            match allowed {
                None => drop(self.issue(e.at, format!("undefined field '{field}'"))),
                Some(want) if !self.mapping.assignable(&want, &t) => {
                    let message = format!("expected type of field '{field}' is '{want}' but provided type is '{t}'");
                    self.issue(e.at, message);
                }
                Some(_) => {}
            }
        }
        if !known {
            return self.issue(at, format!("undeclared reference to '{name}' (in container '')"));
        }
        Type::Struct(name.into())
    }

    fn fold(&mut self, e: &mut Expr) -> Type {
        let Kind::Fold(fold) = &mut e.kind else { return Type::Error };
        let at = fold.range.at;
        let range = self.expr(&mut fold.range);
        let init = self.expr(&mut fold.init);
        let (first, second) = self.iterated(at, &range, fold);
        self.scopes.push((fold.accu.clone(), init.clone()));
        self.scopes.push((fold.iter.clone(), first));
        let two = fold.iter2.clone().map(|name| self.scopes.push((name, second))).is_some();
        let condition = self.expr(&mut fold.condition);
        if !self.mapping.assignable(&Type::Bool, &condition) {
            self.issue(fold.condition.at, format!("expected type 'bool' but found '{condition}'"));
        }
        let step = self.expr(&mut fold.step);
        if !self.mapping.assignable(&init, &step) {
            let (init, step) = (self.mapping.substitute(&init, false), self.mapping.substitute(&step, false));
            self.issue(fold.step.at, format!("expected type '{init}' but found '{step}'"));
        }
        self.scopes.truncate(self.scopes.len() - 1 - usize::from(two));
        let result = self.expr(&mut fold.result);
        self.scopes.pop();
        self.mapping.substitute(&result, false)
    }

    /// The types of the variables of a comprehension over `range`.
    fn iterated(&mut self, at: usize, range: &Type, fold: &Fold) -> (Type, Type) {
        let two = fold.iter2.is_some();
        match self.mapping.substitute(range, false) {
            Type::List(item) if two => (Type::Int, (*item).clone()),
            Type::List(item) => ((*item).clone(), Type::Dyn),
            Type::Map(key, value) => ((*key).clone(), (*value).clone()),
            Type::Dyn | Type::Error => (Type::Dyn, Type::Dyn),
            param @ Type::Param(_) => {
                self.mapping.assignable(&Type::Dyn, &param);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                (self.issue(at, message), Type::Error)
            }
        }
    }
}
