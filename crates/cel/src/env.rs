//! What an expression may refer to: the declared variables and the types that it may make.

use crate::check::check;
use crate::error::{CompileError, Issue};
use crate::metrics;
use crate::parser::parse;
use crate::program::Program;
use crate::stack;
use crate::types::Type;
use std::collections::HashMap;
use std::time::Instant;

/// Sources of so few bytes cannot nest deeply.
const SHORT: usize = 64;

/// Declared variables, and whether objects may be made.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: HashMap<String, Type>,
    mutations: bool,
    bindings: bool,
    /// The declarations by whose sizes costs are estimated, by the names of variables.
    pub(crate) decls: HashMap<String, std::sync::Arc<crate::Decl>>,
}

impl Environment {
    /// Without any variable.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more variable; its name may have dots.
    #[must_use]
    pub fn with(mut self, name: &str, ty: Type) -> Self {
        self.variables.insert(name.to_owned(), ty);
        self
    }

    /// With a variable whose declaration also bounds its size.
    #[must_use]
    pub fn with_decl(mut self, name: &str, decl: std::sync::Arc<crate::Decl>) -> Self {
        self.variables.insert(name.to_owned(), decl.ty());
        self.decls.insert(name.to_owned(), decl);
        self
    }

    /// With the types that mutations make: `Object` and what is below it, and `JSONPatch`.
    #[must_use]
    pub fn with_mutations(mut self) -> Self {
        self.mutations = true;
        self
    }

    /// With `cel.bind`, by which an expression names a part of it.
    #[must_use]
    pub fn with_bindings(mut self) -> Self {
        self.bindings = true;
        self
    }

    pub(crate) fn variable(&self, name: &str) -> Option<&Type> {
        self.variables.get(name)
    }

    /// Whether a function is there: some are for mutations alone.
    pub(crate) fn knows(&self, function: &str) -> bool {
        self.mutations || function != "jsonpatch.escapeKey"
    }

    /// Whether objects of a type can be made.
    pub(crate) fn structure(&self, name: &str) -> bool {
        self.mutations && (name == "JSONPatch" || name == "Object" || name.starts_with("Object."))
    }

    /// Parses and checks an expression.
    pub fn compile(&self, source: &str) -> Result<Program, CompileError> {
        let began = Instant::now();
        let compiled = stack::run(source.len() <= SHORT, || {
            let mut ast = parse(source, self.bindings)?;
            let checked = check(self, &mut ast).map_err(|issues| CompileError::new(source, issues))?;
            Ok(Program::new(self, ast, checked))
        });
        metrics::COMPILED.took(began.elapsed());
        compiled.unwrap_or_else(|| {
            let message = "internal error: no thread for a long expression".to_owned();
            Err(CompileError::new(source, vec![Issue { at: 0, message }]))
        })
    }
}
