//! Expressions in configurations of authentication and authorization (CEL): compiled once, bounded when they run.

use ironclad_cel::{Activation, Budget, Environment, PER_CALL_LIMIT, Program, Type, Val};
use ironclad_json::Value;

/// An expression over one variable.
pub(crate) struct Expression {
    variable: &'static str,
    source: String,
    program: Program,
}

impl Expression {
    /// Compiles; `wanted` is the type that it must have, or anything.
    pub(crate) fn compile(source: &str, variable: &'static str, wanted: Option<&Type>) -> Result<Self, String> {
        let program = Environment::new().with(variable, Type::Dyn).compile(source);
        let program = program.map_err(|e| format!("compilation failed: {e}"))?;
        let found = program.result();
        if wanted.is_some_and(|w| !matches!(found, Type::Dyn) && !found.same(w)) {
            return Err(format!("must evaluate to {wanted:?}, not {found:?}"));
        }
        Ok(Self { variable, source: source.to_owned(), program })
    }

    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// Whether the expression looks at a path such as `claims.email`.
    pub(crate) fn mentions(&self, path: &str) -> bool {
        self.program.mentions(path)
    }

    /// Evaluates to JSON.
    pub(crate) fn eval(&self, value: &Value) -> Result<Value, String> {
        let mut activation = Activation::new();
        activation.set(self.variable, Val::json(value, None));
        let found = self.program.eval(&activation, &mut Budget::new(PER_CALL_LIMIT)).map_err(|e| e.to_string())?;
        found.to_json().ok_or_else(|| "it evaluates to what is no JSON".to_owned())
    }

    /// Evaluates to yes or no.
    pub(crate) fn holds(&self, value: &Value) -> Result<bool, String> {
        self.eval(value)?.as_bool().ok_or_else(|| "it evaluates to neither true nor false".to_owned())
    }
}
