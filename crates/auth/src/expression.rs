//! Expressions in configurations of authentication and authorization (CEL): compiled once, bounded when they run.

use ironclad_cel::{Activation, Budget, Decl, Environment, Identity, PER_CALL_LIMIT, Program, Shape, Type, Val};
use ironclad_json::Value;
use std::sync::Arc;

/// What an expression is about, and so its variable and what it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// Any value from `claims`.
    Claims,
    /// Yes or no about `claims`.
    ClaimRule,
    /// Yes or no about `user`.
    UserRule,
    /// Yes or no about the `request` that is to be authorized.
    Request,
}

impl Over {
    fn variable(self) -> &'static str {
        match self {
            Self::Claims | Self::ClaimRule => "claims",
            Self::UserRule => "user",
            Self::Request => "request",
        }
    }

    fn decl(self) -> Arc<Decl> {
        match self {
            Self::Claims | Self::ClaimRule => Arc::new(Decl::map(Decl::dynamic(), None)),
            Self::UserRule => object(
                "kubernetes.UserInfo",
                &[("username", text()), ("uid", text()), ("groups", texts()), ("extra", extra())],
            ),
            Self::Request => request(),
        }
    }
}

fn text() -> Arc<Decl> {
    Arc::new(Decl::scalar(Shape::String, None))
}

fn texts() -> Arc<Decl> {
    Arc::new(Decl::list(text(), Identity::Position, None))
}

fn extra() -> Arc<Decl> {
    Arc::new(Decl::map(texts(), None))
}

fn object(name: &str, fields: &[(&str, Arc<Decl>)]) -> Arc<Decl> {
    Arc::new(Decl::record(name, fields.iter().map(|(k, d)| ((*k).to_owned(), d.clone()))))
}

/// The spec of a SubjectAccessReview.
fn request() -> Arc<Decl> {
    let all = |names: &[&'static str]| names.iter().map(|name| (*name, text())).collect::<Vec<_>>();
    let requirement =
        object("kubernetes.SelectorRequirement", &[("key", text()), ("operator", text()), ("values", texts())]);
    let requirements = Arc::new(Decl::list(requirement, Identity::Position, None));
    let selector = |name: &str| object(name, &[("rawSelector", text()), ("requirements", requirements.clone())]);
    let mut resource = all(&["namespace", "verb", "group", "version", "resource", "subresource", "name"]);
    resource.push(("fieldSelector", selector("kubernetes.FieldSelectorAttributes")));
    resource.push(("labelSelector", selector("kubernetes.LabelSelectorAttributes")));
    let mut spec = all(&["user", "uid"]);
    spec.push(("resourceAttributes", object("kubernetes.ResourceAttributes", &resource)));
    spec.push(("nonResourceAttributes", object("kubernetes.NonResourceAttributes", &all(&["path", "verb"]))));
    spec.push(("groups", texts()));
    spec.push(("extra", extra()));
    object("kubernetes.SubjectAccessReviewSpec", &spec)
}

/// An expression over one variable.
pub(crate) struct Expression {
    over: Over,
    decl: Arc<Decl>,
    source: String,
    program: Program,
}

impl Expression {
    /// Compiles; the error is worded as stock words it.
    pub(crate) fn compile(source: &str, over: Over) -> Result<Self, String> {
        let decl = over.decl();
        let program = Environment::new().with_decl(over.variable(), decl.clone()).compile(source);
        let program = program.map_err(|e| format!("compilation failed: {e}"))?;
        let found = program.result();
        match over {
            Over::Claims => {}
            _ if matches!(found, Type::Bool) => {}
            Over::Request => return Err(format!("must evaluate to bool but got {found}")),
            Over::ClaimRule | Over::UserRule => return Err("must evaluate to bool".to_owned()),
        }
        Ok(Self { over, decl, source: source.to_owned(), program })
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
        activation.set(self.over.variable(), Val::json(value, Some(&self.decl)));
        let found = self.program.eval(&activation, &mut Budget::new(PER_CALL_LIMIT)).map_err(|e| e.to_string())?;
        found.to_json().ok_or_else(|| "it evaluates to what is no JSON".to_owned())
    }

    /// Evaluates to yes or no.
    pub(crate) fn holds(&self, value: &Value) -> Result<bool, String> {
        self.eval(value)?.as_bool().ok_or_else(|| "it evaluates to neither true nor false".to_owned())
    }
}
