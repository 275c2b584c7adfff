//! The `variables` of a policy: each is evaluated when an expression first asks for it, and then remembered.

use super::compiled::Expression;
use ironclad_cel::{Activation, Budget, Error, Fields, Val};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

type Memory<'a> = Arc<Mutex<HashMap<String, Result<Val<'a>, Error>>>>;

/// The variables before a certain one.
#[derive(Debug)]
struct Variables<'a> {
    all: Arc<Vec<(String, Expression)>>,
    /// How many of them can be seen.
    seen: usize,
    /// What they are evaluated with, `variables` apart.
    base: Activation<'a>,
    memory: Memory<'a>,
}

impl<'a> Fields<'a> for Variables<'a> {
    fn field(&self, name: &str, budget: &mut Budget) -> Option<Result<Val<'a>, Error>> {
        let at = self.all[..self.seen].iter().rposition(|(n, _)| n == name)?;
        if let Some(known) = self.memory.lock().get(name) {
            return Some(known.clone());
        }
        let expression = &self.all[at].1;
        let value = match &expression.program {
            Ok(program) => {
                let mut activation = self.base.clone();
                activation.set("variables", self.before(at));
                program.eval(&activation, budget)
            }
            Err(why) => Err(Error::Eval(format!("composited variable {name:?} fails to compile: {why}"))),
        };
        let value = value.map_err(|error| match error {
            Error::Eval(why) if !why.starts_with("composited variable") => {
                Error::Eval(format!("composited variable {name:?} fails to evaluate: {why}"))
            }
            other => other,
        });
        // What waits for an answer is tried again; what cost too much ends the evaluation anyway.
        if matches!(value, Ok(_) | Err(Error::Eval(_))) {
            self.memory.lock().insert(name.to_owned(), value.clone());
        }
        Some(value)
    }
}

impl<'a> Variables<'a> {
    fn before(&self, seen: usize) -> Val<'a> {
        let (all, base, memory) = (self.all.clone(), self.base.clone(), self.memory.clone());
        Val::Lazy(Arc::new(Self { all, seen, base, memory }))
    }
}

/// Adds `variables` to an activation.
pub(super) fn add(activation: &mut Activation<'_>, all: &Arc<Vec<(String, Expression)>>) {
    let base = activation.clone();
    let variables = Variables { all: all.clone(), seen: all.len(), base, memory: Memory::default() };
    activation.set("variables", Val::Lazy(Arc::new(variables)));
}
