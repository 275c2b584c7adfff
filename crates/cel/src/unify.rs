//! Whether types agree, and what the unknown ones among them must then be.

use crate::types::Type;
use std::collections::HashMap;

/// What is known about unknown types.
///
/// A trial that fails is undone by a trail, so that checking costs no copies.
#[derive(Debug, Default)]
pub(crate) struct Mapping {
    known: HashMap<u32, Type>,
    trail: Vec<(u32, Option<Type>)>,
    fresh: u32,
}

impl Mapping {
    /// An unknown type. The first numbers are those of signatures.
    pub(crate) fn fresh(&mut self) -> Type {
        self.fresh += 1;
        Type::Param(self.fresh + 15)
    }

    /// A signature's types with unknown types of this call.
    pub(crate) fn instantiate(&mut self, types: &[Type]) -> Vec<Type> {
        let mut own: HashMap<u32, Type> = HashMap::new();
        types.iter().map(|t| self.rename(t, &mut own)).collect()
    }

    fn rename(&mut self, t: &Type, own: &mut HashMap<u32, Type>) -> Type {
        if let Type::Param(n) = t {
            if let Some(found) = own.get(n) {
                return found.clone();
            }
            let fresh = self.fresh();
            own.insert(*n, fresh.clone());
            return fresh;
        }
        let params = t.params().iter().map(|p| self.rename(p, own)).collect();
        t.with_params(params)
    }

    /// The type with what is known filled in; what stays unknown becomes `dyn` where `settle` is set.
    pub(crate) fn substitute(&self, t: &Type, settle: bool) -> Type {
        match t {
            Type::Param(n) => match self.known.get(n) {
                Some(found) => self.substitute(found, settle),
                None if settle => Type::Dyn,
                None => t.clone(),
            },
            other => other.with_params(other.params().iter().map(|p| self.substitute(p, settle)).collect()),
        }
    }

    /// Whether values of `b` can be given where those of `a` are wanted; remembers what that says about unknown types.
    pub(crate) fn assignable(&mut self, a: &Type, b: &Type) -> bool {
        self.all_assignable(std::slice::from_ref(a), std::slice::from_ref(b))
    }

    /// [`Self::assignable`] for each pair, all or none.
    pub(crate) fn all_assignable(&mut self, a: &[Type], b: &[Type]) -> bool {
        if a.len() != b.len() {
            return false;
        }
        let ok = a.iter().zip(b).all(|(a, b)| self.agree(a, b));
        for (n, before) in self.trail.drain(..).rev() {
            match before {
                _ if ok => {}
                Some(t) => drop(self.known.insert(n, t)),
                None => drop(self.known.remove(&n)),
            }
        }
        ok
    }

    fn learn(&mut self, n: u32, t: Type) {
        let before = self.known.insert(n, t);
        self.trail.push((n, before));
    }

    fn agree(&mut self, a: &Type, b: &Type) -> bool {
        if let Type::Param(n) = b {
            let (valid, had) = self.stands_for(a, *n);
            if valid {
                return true;
            }
            if had {
                return false;
            }
        }
        if let Type::Param(n) = a {
            return self.stands_for(b, *n).0;
        }
        if a.is_dyn() || b.is_dyn() {
            return true;
        }
        match (a, b) {
            (Type::Null, other) | (other, Type::Null) => matches!(
                other,
                Type::Null | Type::Object(_) | Type::Struct(_) | Type::Opaque(..) | Type::Timestamp | Type::Duration
            ),
            (Type::List(_), Type::List(_)) | (Type::Map(..), Type::Map(..)) => {
                let (x, y) = (a.params(), b.params());
                x.iter().zip(&y).all(|(x, y)| self.agree(x, y))
            }
            (Type::Opaque(x, p), Type::Opaque(y, q)) => {
                x == y && p.len() == q.len() && p.iter().zip(q.iter()).all(|(x, y)| self.agree(x, y))
            }
            _ => a.same(b),
        }
    }

    /// Whether the unknown type `n` can be `t`, and whether something was known about it before.
    fn stands_for(&mut self, t: &Type, n: u32) -> (bool, bool) {
        if matches!(t, Type::Param(m) if *m == n) {
            return (true, true);
        }
        if let Some(known) = self.known.get(&n).cloned() {
            if t.same(&known) {
                return (true, true);
            }
            if self.agree(t, &known) {
                let general = if more_general(t, &known) { t.clone() } else { known };
                if !self.mentions(&general, n) {
                    self.learn(n, general);
                }
                return (true, true);
            }
            return (false, true);
        }
        if self.mentions(t, n) {
            return (false, false);
        }
        self.learn(n, t.clone());
        (true, false)
    }

    fn mentions(&self, t: &Type, n: u32) -> bool {
        match t {
            Type::Param(m) => *m == n || self.known.get(m).is_some_and(|k| self.mentions(k, n)),
            other => other.params().iter().any(|p| self.mentions(p, n)),
        }
    }
}

/// Whether `a` takes in everything that `b` does.
fn more_general(a: &Type, b: &Type) -> bool {
    if a.is_dyn() || matches!(a, Type::Param(_)) {
        return true;
    }
    if b.is_dyn() || matches!(b, Type::Param(_)) {
        return false;
    }
    if matches!(b, Type::Null) {
        return true;
    }
    let (x, y) = (a.params(), b.params());
    !x.is_empty() && x.len() == y.len() && x.iter().zip(&y).all(|(x, y)| more_general(x, y))
}
