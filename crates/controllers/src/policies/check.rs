//! The expressions of a policy, checked against the types of each kind that it is about.

use ironclad_api::{GroupVersionKind, GroupVersionResource, object};
use ironclad_cel::admission::{Scope, environment};
use ironclad_cel::{Decl, Type};
use ironclad_json::Value;
use std::sync::Arc;

/// Most kinds that are checked.
const MAX_KINDS: usize = 10;

/// The kinds that a policy is about, with their declarations.
#[derive(Default)]
pub(super) struct Kinds {
    pub(super) objects: Vec<(GroupVersionKind, Arc<Decl>)>,
    pub(super) params: Option<Arc<Decl>>,
}

/// The resources that the rules name without a wildcard.
pub(super) fn targets(spec: &Value) -> Vec<GroupVersionResource> {
    let mut out: Vec<GroupVersionResource> = Vec::new();
    for rule in spec["matchConstraints"]["resourceRules"].as_array().into_iter().flatten() {
        let texts = |field: &str| rule[field].as_array().into_iter().flatten().filter_map(Value::as_str);
        for group in texts("apiGroups") {
            for version in texts("apiVersions") {
                for resource in texts("resources") {
                    let found = GroupVersionResource::new(group, version, resource);
                    let plain = ![group, version].contains(&"*") && !resource.contains(['*', '/']);
                    if plain && !out.contains(&found) {
                        out.push(found);
                    }
                }
            }
        }
    }
    out.truncate(MAX_KINDS);
    out
}

/// What is wrong, by the field of the expression.
pub(super) fn check(spec: &Value, kinds: &Kinds) -> Vec<(String, String)> {
    let mut out: Vec<(String, String)> = Vec::new();
    let mut named: Vec<(String, &Arc<Decl>)> = kinds.objects.iter().map(|(k, decl)| (k.to_string(), decl)).collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    for (kind, decl) in named {
        for (at, why) in one(spec, decl, kinds.params.as_ref()) {
            let text = format!("{kind}: {why}\n");
            match out.iter_mut().find(|(a, _)| *a == at) {
                Some((_, texts)) => {
                    texts.push('\n');
                    texts.push_str(&text);
                }
                None => out.push((at, text)),
            }
        }
    }
    // In the order of the policy, whichever kind complained first.
    out.sort_by(|a, b| a.0.cmp(&b.0));
    out
}

fn one(spec: &Value, decl: &Arc<Decl>, params: Option<&Arc<Decl>>) -> Vec<(String, String)> {
    let mut scope = Scope {
        params: !spec["paramKind"].is_null(),
        authorizer: true,
        namespace: true,
        types: (Some(decl.clone()), params.cloned()),
        ..Scope::default()
    };
    let mut out = Vec::new();
    let mut known: Vec<(String, Type)> = Vec::new();
    let list = |field: &str| spec[field].as_array().cloned().unwrap_or_default();
    for variable in &list("variables") {
        scope.variables = Some(known.clone());
        let compiled = environment(&scope).compile(object::text(variable, &["expression"]));
        // Of a variable itself stock tells nothing; it can be anything then.
        let ty = compiled.map_or(Type::Dyn, |program| program.result().clone());
        known.push((object::text(variable, &["name"]).to_owned(), ty));
    }
    scope.variables = Some(known);
    let env = environment(&scope);
    for (i, validation) in list("validations").iter().enumerate() {
        for field in ["expression", "messageExpression"] {
            let source = object::text(validation, &[field]);
            if !source.trim().is_empty()
                && let Err(error) = env.compile(source)
            {
                out.push((format!("spec.validations[{i}].{field}"), error.to_string()));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    #[test]
    fn what_does_not_fit_the_types_is_told_kind_by_kind() {
        let schema = json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {"replicas": {"type": "integer"}}}}});
        let decl = Decl::from_schema(&schema, true).unwrap();
        let kind = GroupVersionKind::new("apps", "v1", "Deployment");
        let kinds = Kinds { objects: vec![(kind, decl)], params: None };
        let spec = json!({"validations": [
            {"expression": "object.spec.replicas > '1'"},
            {"expression": "object.spec.maxRetries < 10"},
            {"expression": "object.spec.replicas > 1"}]});
        let warnings = check(&spec, &kinds);
        assert_eq!(warnings.len(), 2);
        assert_eq!(warnings[0].0, "spec.validations[0].expression");
        let want = "apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'";
        assert!(warnings[0].1.starts_with(want), "{}", warnings[0].1);
        assert!(warnings[1].1.contains("undefined field 'maxRetries'"));
        let decl = kinds.objects[0].1.clone();
        let two = ["StatefulSet", "DaemonSet"].map(|k| (GroupVersionKind::new("apps", "v1", k), decl.clone()));
        let kinds = Kinds { objects: two.into(), params: None };
        let spec = json!({"variables": [{"name": "v", "expression": "object.x"}], "validations": [{"expression": "object.x"}]});
        let warnings = check(&spec, &kinds);
        assert_eq!(warnings.len(), 1);
        let (first, second) = warnings[0].1.split_once("\n\n").unwrap();
        assert!(first.starts_with("apps/v1, Kind=DaemonSet: ") && second.starts_with("apps/v1, Kind=StatefulSet: "));
    }

    #[test]
    fn wildcards_are_not_checked() {
        let spec = json!({"matchConstraints": {"resourceRules": [
            {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments", "deployments/status", "*"]},
            {"apiGroups": ["*"], "apiVersions": ["v1"], "resources": ["pods"]}]}});
        assert_eq!(targets(&spec), [GroupVersionResource::new("apps", "v1", "deployments")]);
    }
}
