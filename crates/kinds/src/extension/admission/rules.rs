//! Validation of what webhooks and policies are about: rules, selectors, match conditions.

use crate::common::selector;
use crate::read::{items, text};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_cel::admission::{Scope, environment};
use ironclad_cel::{Environment, Type};
use ironclad_json::{Value, json};

/// Most match conditions.
const CONDITIONS: usize = 64;
const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];

/// Rules with operations, of a webhook or of a policy.
pub(super) fn rules(rules: &[Value], at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    for (i, rule) in rules.iter().enumerate() {
        errors.extend(rule_with_operations(rule, &at.index(i)));
    }
    errors
}

fn rule_with_operations(rule: &Value, at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    errors.extend(stars(rule, "operations", at, "operations"));
    for (j, o) in items(rule, &["operations"]).iter().enumerate() {
        if !OPERATIONS.contains(&o.as_str().unwrap_or_default()) {
            errors.push(FieldError::not_supported(&at.child("operations").index(j), o, &OPERATIONS));
        }
    }
    errors.extend(stars(rule, "apiGroups", at, "API groups"));
    errors.extend(stars(rule, "apiVersions", at, "API versions"));
    for (j, _) in items(rule, &["apiVersions"]).iter().enumerate().filter(|(_, v)| *v == "") {
        errors.push(FieldError::required(&at.child("apiVersions").index(j), ""));
    }
    errors.extend(resources(&rule["resources"], &at.child("resources")));
    let scope = text(rule, &["scope"]);
    if !rule["scope"].is_null() && !["*", "Cluster", "Namespaced"].contains(&scope) {
        errors.push(FieldError::not_supported(&at.child("scope"), &json!(scope), &["*", "Cluster", "Namespaced"]));
    }
    errors
}

/// A list that must not be empty, and in which a star stands alone.
fn stars(rule: &Value, field: &str, at: &Path, noun: &str) -> ErrorList {
    let (list, at) = (items(rule, &[field]), at.child(field));
    if list.is_empty() {
        return vec![FieldError::required(&at, "")];
    }
    if list.len() > 1 && list.iter().any(|v| v == "*") {
        let detail = format!("if '*' is present, must not specify other {noun}");
        return vec![FieldError::invalid(&at, &rule[field], detail)];
    }
    ErrorList::new()
}

fn resources(value: &Value, at: &Path) -> ErrorList {
    let list: Vec<&str> = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if list.is_empty() {
        return vec![FieldError::required(at, "")];
    }
    let mut errors = ErrorList::new();
    for (i, resource) in list.iter().enumerate() {
        let (name, sub) = resource.split_once('/').unwrap_or((resource, ""));
        if resource.is_empty() {
            errors.push(FieldError::required(&at.index(i), ""));
        } else if sub == "*" && name != "*" && list.iter().any(|r| r.starts_with(&format!("{name}/")) && r != resource)
        {
            let other = list.iter().find(|r| r.starts_with(&format!("{name}/")) && *r != resource).unwrap_or(resource);
            let detail = format!("if '{name}/*' is present, must not specify {other}");
            errors.push(FieldError::invalid_str(&at.index(i), other, detail));
        } else if name == "*"
            && !sub.is_empty()
            && sub != "*"
            && list.iter().any(|r| r.ends_with(&format!("/{sub}")) && r != resource)
        {
            let other = list.iter().find(|r| r.ends_with(&format!("/{sub}")) && *r != resource).unwrap_or(resource);
            let detail = format!("if '*/{sub}' is present, must not specify {other}");
            errors.push(FieldError::invalid_str(&at.index(i), other, detail));
        }
    }
    if list.len() > 1 && list.contains(&"*/*") {
        errors.push(FieldError::invalid(at, value, "if '*/*' is present, must not specify other resources"));
    }
    // Stock remembers the last resource without a subresource alone.
    let last = list.iter().rfind(|r| !r.is_empty() && !r.contains('/'));
    if list.contains(&"*") && last.is_some_and(|r| *r != "*") {
        let detail = "if '*' is present, must not specify other resources without subresources";
        errors.push(FieldError::invalid(at, value, detail));
    }
    errors
}

/// A field that must hold one of these words, where it is set.
pub(super) fn one_of(value: &Value, field: &str, at: &Path, words: &[&str]) -> Option<FieldError> {
    let word = text(value, &[field]);
    (!value[field].is_null() && !words.contains(&word))
        .then(|| FieldError::not_supported(&at.child(field), &json!(word), words))
}

/// `matchConstraints` or `matchResources`.
pub(super) fn matching(value: &Value, at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    errors.extend(one_of(value, "matchPolicy", at, &["Equivalent", "Exact"]));
    errors.extend(selectors(value, at));
    for key in ["resourceRules", "excludeResourceRules"] {
        for (i, rule) in items(value, &[key]).iter().enumerate() {
            let at = at.child(key).index(i);
            let names = items(rule, &["resourceNames"]);
            for (j, name) in names.iter().enumerate() {
                let at = at.child("resourceNames").index(j);
                let wrong = names::path_segment(name.as_str().unwrap_or_default());
                errors.extend(wrong.into_iter().map(|why| FieldError::invalid(&at, name, why)));
                if names[..j].contains(name) {
                    errors.push(FieldError::duplicate(&at, name));
                }
            }
            errors.extend(rule_with_operations(rule, &at));
        }
    }
    errors
}

/// The namespace and object selectors, where they are set.
pub(super) fn selectors(value: &Value, at: &Path) -> ErrorList {
    let each = ["namespaceSelector", "objectSelector"].into_iter().filter(|f| !value[*f].is_null());
    each.flat_map(|f| selector::validate(&value[f], &at.child(f))).collect()
}

/// What an expression must evaluate to.
pub(super) fn expression(env: &Environment, source: &str, wanted: &[Type], at: &Path) -> (ErrorList, Option<Type>) {
    let source = source.trim();
    let name = |t: &Type| if matches!(t, Type::Null) { "null_type".to_owned() } else { t.to_string() };
    let invalid = |why: String| (vec![FieldError::invalid_str(at, source, why)], None);
    match env.compile(source) {
        Err(error) => invalid(format!("compilation failed: {error}")),
        Ok(program) => {
            let found = program.result();
            let fits = wanted.is_empty() || wanted.iter().any(|w| w.same(found));
            match wanted {
                _ if fits => (ErrorList::new(), Some(found.clone())),
                [one] => invalid(format!("must evaluate to {one} but got {}", name(found))),
                many => {
                    let names: Vec<String> = many.iter().map(name).collect();
                    invalid(format!("must evaluate to one of [{}] but got {}", names.join(" "), name(found)))
                }
            }
        }
    }
}

/// Match conditions.
pub(super) fn conditions(list: &[Value], at: &Path, scope: &Scope) -> ErrorList {
    let mut errors = ErrorList::new();
    if list.len() > CONDITIONS {
        errors.push(FieldError::too_many(at, list.len(), CONDITIONS));
    }
    let env = environment(scope);
    let mut seen = Vec::new();
    for (i, condition) in list.iter().enumerate() {
        let at = at.index(i);
        let (name, source) = (text(condition, &["name"]), text(condition, &["expression"]));
        if source.trim().is_empty() {
            errors.push(FieldError::required(&at.child("expression"), ""));
        } else {
            errors.extend(expression(&env, source, &[Type::Bool], &at.child("expression")).0);
        }
        if name.is_empty() {
            errors.push(FieldError::required(&at.child("name"), ""));
        } else if seen.contains(&name) {
            errors.push(FieldError::duplicate(&at.child("name"), &json!(name)));
        } else {
            let wrong = names::qualified_name(name);
            errors.extend(wrong.into_iter().map(|why| FieldError::invalid_str(&at.child("name"), name, why)));
        }
        seen.push(name);
    }
    errors
}
