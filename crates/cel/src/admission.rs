//! What expressions in admission may refer to: the request, the objects, the namespace, parameters and variables.

use crate::{Decl, Environment, Identity, Shape, Type};
use std::sync::{Arc, LazyLock};

/// The type of `authorizer`.
pub const AUTHORIZER: &str = "kubernetes.authorization.Authorizer";

fn text() -> Arc<Decl> {
    Arc::new(Decl::scalar(Shape::String, None))
}

fn texts() -> Arc<Decl> {
    Arc::new(Decl::list(text(), Identity::Position, None))
}

fn object<const N: usize>(name: &str, fields: [(&str, Arc<Decl>); N]) -> Arc<Decl> {
    Arc::new(Decl::record(name, fields.map(|(k, d)| (k.to_owned(), d))))
}

/// The type of `request`.
pub static REQUEST: LazyLock<Arc<Decl>> = LazyLock::new(|| {
    let kind = object("kubernetes.GroupVersionKind", [("group", text()), ("version", text()), ("kind", text())]);
    let resource =
        object("kubernetes.GroupVersionResource", [("group", text()), ("version", text()), ("resource", text())]);
    let user = object(
        "kubernetes.UserInfo",
        [("username", text()), ("uid", text()), ("groups", texts()), ("extra", Arc::new(Decl::map(texts(), None)))],
    );
    object(
        "kubernetes.AdmissionRequest",
        [
            ("kind", kind.clone()),
            ("resource", resource.clone()),
            ("subResource", text()),
            ("requestKind", kind),
            ("requestResource", resource),
            ("requestSubResource", text()),
            ("name", text()),
            ("namespace", text()),
            ("operation", text()),
            ("userInfo", user),
            ("dryRun", Arc::new(Decl::scalar(Shape::Bool, None))),
            ("options", Decl::dynamic()),
        ],
    )
});

/// The type of `namespaceObject`.
pub static NAMESPACE: LazyLock<Arc<Decl>> = LazyLock::new(|| {
    let time = || Arc::new(Decl::scalar(Shape::Timestamp { date: false }, None));
    let int = || Arc::new(Decl::scalar(Shape::Int, None));
    let map = || Arc::new(Decl::map(text(), None));
    let metadata = object(
        "kubernetes.NamespaceMetadata",
        [
            ("name", text()),
            ("generateName", text()),
            ("namespace", text()),
            ("labels", map()),
            ("annotations", map()),
            ("UID", text()),
            ("creationTimestamp", time()),
            ("deletionGracePeriodSeconds", int()),
            ("deletionTimestamp", time()),
            ("generation", int()),
            ("resourceVersion", text()),
            ("finalizers", texts()),
        ],
    );
    object(
        "kubernetes.Namespace",
        [
            ("metadata", metadata),
            ("spec", object("kubernetes.NamespaceSpec", [("finalizers", texts())])),
            ("status", object("kubernetes.NamespaceStatus", [("phase", text())])),
        ],
    )
});

/// What there is besides the request and its objects.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// `params`, for policies with parameters.
    pub params: bool,
    /// `authorizer`.
    pub authorizer: bool,
    /// `namespaceObject`, for policies.
    pub namespace: bool,
    /// `variables`, for policies, with their types in their order.
    pub variables: Option<Vec<(String, Type)>>,
    /// Whether the expression makes objects or patches.
    pub mutations: bool,
    /// The declarations of `object` and `oldObject` and of `params`, where types are to be checked.
    pub types: (Option<Arc<Decl>>, Option<Arc<Decl>>),
}

/// The environment of a scope.
pub fn environment(scope: &Scope) -> Environment {
    let of = |decl: &Option<Arc<Decl>>| decl.as_ref().map_or(Type::Dyn, Decl::ty);
    let mut env = Environment::new()
        .with("object", of(&scope.types.0))
        .with("oldObject", of(&scope.types.0))
        .with("request", REQUEST.ty());
    if scope.params {
        env = env.with("params", of(&scope.types.1));
    }
    if scope.namespace {
        env = env.with("namespaceObject", NAMESPACE.ty());
    }
    if scope.authorizer {
        env = env
            .with("authorizer", Type::opaque(AUTHORIZER))
            .with("authorizer.requestResource", Type::opaque("kubernetes.authorization.ResourceCheck"));
    }
    if let Some(variables) = &scope.variables {
        let fields = variables.iter().map(|(name, ty)| (name.clone(), Decl::of(ty.clone())));
        env = env.with("variables", Arc::new(Decl::object("kubernetes.variables", fields, 2)).ty());
    }
    if scope.mutations {
        env = env.with_mutations();
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Activation, Budget, TOTAL_LIMIT, Val};
    use ironclad_json::{Value, json};

    fn of(source: &str) -> Result<String, String> {
        let scope = Scope { namespace: true, ..Scope::default() };
        let program = environment(&scope).compile(source).map_err(|e| e.to_string())?;
        let request = json!({"namespace": "n", "operation": "CREATE"});
        let mut activation = Activation::new();
        activation.set("request", Val::json(&request, Some(&REQUEST)));
        activation.set("oldObject", Val::json(&Value::Null, None));
        let value = program.eval(&activation, &mut Budget::new(TOTAL_LIMIT)).map_err(|e| e.to_string());
        value.map(|v| format!("{v:?}"))
    }

    #[test]
    fn fields_are_spelled_as_they_are_and_missing_ones_are_missing() {
        assert!(of("request.namespace == 'n' && !has(request.subResource)").unwrap().contains("true"));
        assert_eq!(of("request.subResource == ''").unwrap_err(), "no such key: subResource");
        assert!(of("request.__namespace__ == 'n'").is_err());
    }

    #[test]
    fn nothing_has_no_fields() {
        assert!(of("has(oldObject.data)").unwrap().contains("false"));
        assert_eq!(of("oldObject.data == 1").unwrap_err(), "no such key: data");
    }
}
