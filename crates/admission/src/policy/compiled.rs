//! Policies and bindings as their objects describe them, compiled once.

use crate::expressions::Conditions;
use crate::matching::{Criteria, selector};
use ironclad_api::selector::LabelSelector;
use ironclad_api::{GroupVersionKind, object};
use ironclad_cel::admission::{Scope, environment};
use ironclad_cel::{Environment, Program, Type};
use ironclad_json::Value;
use std::sync::Arc;

/// An expression with its source; one that does not compile says why.
#[derive(Debug)]
pub(super) struct Expression {
    pub(super) source: String,
    pub(super) program: Result<Program, String>,
}

impl Expression {
    fn new(env: &Environment, source: &str) -> Self {
        let program = env.compile(source).map_err(|e| format!("compilation error: compilation failed: {e}"));
        Self { source: source.to_owned(), program }
    }

    /// The expression of an optional field.
    fn optional(env: &Environment, value: &Value, field: &str) -> Option<Self> {
        let source = object::text(value, &[field]);
        (!source.trim().is_empty()).then(|| Self::new(env, source))
    }
}

/// One rule of a validating policy.
#[derive(Debug)]
pub(super) struct Validation {
    pub(super) expression: Expression,
    pub(super) message: String,
    pub(super) formula: Option<Expression>,
    pub(super) reason: String,
}

/// One change of a mutating policy.
#[derive(Debug)]
pub(super) struct Mutation {
    pub(super) expression: Expression,
    /// A JSON patch, not an apply configuration.
    pub(super) patch: bool,
}

/// A policy.
#[derive(Debug)]
pub(super) struct Policy {
    pub(super) name: String,
    pub(super) criteria: Criteria,
    pub(super) conditions: Conditions,
    pub(super) variables: Arc<Vec<(String, Expression)>>,
    pub(super) validations: Vec<Validation>,
    /// Keys and values of audit annotations.
    pub(super) notes: Vec<(String, Expression)>,
    pub(super) mutations: Vec<Mutation>,
    pub(super) param_kind: Option<GroupVersionKind>,
    /// `failurePolicy: Ignore`.
    pub(super) ignores_failure: bool,
    /// `reinvocationPolicy: IfNeeded`.
    pub(super) reinvoked: bool,
}

impl Policy {
    pub(super) fn read(policy: &Value, mutating: bool) -> Self {
        let spec = &policy["spec"];
        let list = |field: &str| spec[field].as_array().into_iter().flatten();
        let kind = &spec["paramKind"];
        let param_kind = (!kind.is_null())
            .then(|| GroupVersionKind::parse(object::text(kind, &["apiVersion"]), object::text(kind, &["kind"])));
        let mut scope = Scope { params: param_kind.is_some(), authorizer: true, namespace: true, ..Scope::default() };
        let conditions = Conditions::read(&spec["matchConditions"], &scope);
        let variables = read_variables(&spec["variables"], &mut scope);
        // Messages are made without asking what anybody may do.
        let telling = environment(&Scope { authorizer: false, ..scope.clone() });
        let env = environment(&Scope { mutations: mutating, ..scope });
        Self {
            name: object::name(policy).to_owned(),
            criteria: Criteria::of_policy(&spec["matchConstraints"]),
            conditions,
            variables: Arc::new(variables),
            validations: list("validations")
                .map(|v| Validation {
                    expression: Expression::new(&env, object::text(v, &["expression"])),
                    message: object::text(v, &["message"]).trim().to_owned(),
                    formula: Expression::optional(&telling, v, "messageExpression"),
                    reason: object::text(v, &["reason"]).to_owned(),
                })
                .collect(),
            notes: list("auditAnnotations")
                .map(|n| {
                    let formula = Expression::new(&env, object::text(n, &["valueExpression"]));
                    (object::text(n, &["key"]).to_owned(), formula)
                })
                .collect(),
            mutations: list("mutations")
                .map(|m| {
                    let patch = m["patchType"] == "JSONPatch";
                    let field = if patch { "jsonPatch" } else { "applyConfiguration" };
                    Mutation { expression: Expression::new(&env, object::text(m, &[field, "expression"])), patch }
                })
                .collect(),
            param_kind,
            ignores_failure: spec["failurePolicy"] == "Ignore",
            reinvoked: spec["reinvocationPolicy"] == "IfNeeded",
        }
    }
}

/// Each variable sees those before it; the scope knows all of them afterwards.
fn read_variables(list: &Value, scope: &mut Scope) -> Vec<(String, Expression)> {
    let mut types: Vec<(String, Type)> = Vec::new();
    let mut out = Vec::new();
    for variable in list.as_array().into_iter().flatten() {
        scope.variables = Some(types.clone());
        let name = object::text(variable, &["name"]).to_owned();
        let expression = Expression::new(&environment(scope), object::text(variable, &["expression"]));
        types.push((name.clone(), expression.program.as_ref().map_or(Type::Dyn, |p| p.result().clone())));
        out.push((name, expression));
    }
    scope.variables = Some(types);
    out
}

/// Which parameters a binding gives to its policy.
#[derive(Clone, Debug)]
pub(super) struct ParamRef {
    pub(super) name: String,
    pub(super) namespace: String,
    pub(super) selector: Result<LabelSelector, String>,
    /// `parameterNotFoundAction: Allow`.
    pub(super) may_miss: bool,
}

/// A binding of a policy.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) name: String,
    pub(super) policy: String,
    pub(super) criteria: Option<Criteria>,
    pub(super) params: Option<ParamRef>,
    /// `Deny`, `Warn`, `Audit`.
    pub(super) actions: Vec<String>,
}

impl Binding {
    pub(super) fn read(binding: &Value) -> Self {
        let spec = &binding["spec"];
        let matching = &spec["matchResources"];
        let reference = &spec["paramRef"];
        let actions = spec["validationActions"].as_array().into_iter().flatten();
        Self {
            name: object::name(binding).to_owned(),
            policy: object::text(spec, &["policyName"]).to_owned(),
            criteria: (!matching.is_null()).then(|| Criteria::of_policy(matching)),
            params: (!reference.is_null()).then(|| ParamRef {
                name: object::text(reference, &["name"]).to_owned(),
                namespace: object::text(reference, &["namespace"]).to_owned(),
                selector: selector(&reference["selector"]),
                may_miss: reference["parameterNotFoundAction"] == "Allow",
            }),
            actions: actions.filter_map(Value::as_str).map(str::to_owned).collect(),
        }
    }
}
