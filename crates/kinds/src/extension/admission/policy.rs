//! Validation of admission policies and their bindings: every expression must compile.

use super::rules::{conditions as match_conditions, expression, matching, one_of};
use crate::common::checks::{required, rule};
use crate::common::conditions;
use crate::common::selector;
use crate::read::{has, items, text};
use ironclad_api::{ErrorList, FieldError, Path, names};
use ironclad_cel::Type;
use ironclad_cel::admission::{Scope, environment};
use ironclad_json::{Value, json};

const REASONS: [&str; 3] = ["Forbidden", "Invalid", "RequestEntityTooLarge"];

/// A ValidatingAdmissionPolicy.
pub(super) fn validating(o: &Value) -> ErrorList {
    let at = Path::new("spec");
    let (mut errors, mut scope) = common(o, &at, |_, _| ErrorList::new());
    if items(o, &["spec", "variables"]).is_empty() {
        scope.variables = None;
    }
    let (validations, notes) = (items(o, &["spec", "validations"]), items(o, &["spec", "auditAnnotations"]));
    if validations.is_empty() && notes.is_empty() {
        let detail = "validations or auditAnnotations must contain at least one item";
        errors.push(FieldError::required(&at.child("validations"), detail));
        errors.push(FieldError::required(&at.child("auditAnnotations"), detail));
        return errors;
    }
    for (i, validation) in validations.iter().enumerate() {
        errors.extend(one_validation(validation, &scope, &at.child("validations").index(i)));
    }
    errors.extend(annotations(o, notes, &scope, &at.child("auditAnnotations")));
    errors
}

/// The status of a ValidatingAdmissionPolicy.
pub(super) fn status(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("status");
    let warnings = at.child("typeChecking").child("expressionWarnings");
    for (i, warning) in items(o, &["status", "typeChecking", "expressionWarnings"]).iter().enumerate() {
        required(warning, &warnings.index(i), &["warning", "fieldRef"], &mut errors);
    }
    conditions::all(items(o, &["status", "conditions"]), &at.child("conditions"), &mut errors);
    errors
}

/// What policies of both kinds have, and the scope of their expressions.
fn common(o: &Value, at: &Path, operations: fn(&Value, &Path) -> ErrorList) -> (ErrorList, Scope) {
    let spec = &o["spec"];
    let mut errors = ErrorList::new();
    if spec["failurePolicy"].is_null() {
        errors.push(FieldError::required(&at.child("failurePolicy"), ""));
    }
    errors.extend(one_of(spec, "failurePolicy", at, &["Fail", "Ignore"]));
    let params = has(spec, &["paramKind"]);
    if params {
        errors.extend(param_kind(&spec["paramKind"], &at.child("paramKind")));
    }
    let constraints = at.child("matchConstraints");
    if spec["matchConstraints"].is_null() {
        errors.push(FieldError::required(&constraints, ""));
    } else {
        errors.extend(matching(&spec["matchConstraints"], &constraints));
        if items(spec, &["matchConstraints", "resourceRules"]).is_empty() {
            errors.push(FieldError::required(&constraints.child("resourceRules"), ""));
        }
        errors.extend(operations(&spec["matchConstraints"], &constraints));
    }
    let mut scope = Scope { params, authorizer: true, namespace: true, ..Scope::default() };
    errors.extend(match_conditions(items(spec, &["matchConditions"]), &at.child("matchConditions"), &scope));
    errors.extend(variables(items(spec, &["variables"]), &mut scope, &at.child("variables")));
    (errors, scope)
}

fn param_kind(kind: &Value, at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let version = text(kind, &["apiVersion"]);
    if version.is_empty() {
        errors.push(FieldError::required(&at.child("apiVersion"), ""));
    } else if version.split('/').count() > 2 {
        let detail = format!("unexpected GroupVersion string: {version}");
        errors.push(FieldError::invalid_str(&at.child("apiVersion"), version, detail));
    } else {
        let (group, short) = version.split_once('/').unwrap_or(("", version));
        let at = at.child("apiVersion");
        let mut wrong = |given: &str, found: Vec<String>| {
            if !found.is_empty() {
                errors.push(FieldError::invalid_str(&at, given, found.join(",")));
            }
        };
        if !group.is_empty() {
            wrong(group, names::dns1123_subdomain(group));
        }
        match short.is_empty() {
            true => wrong(version, vec!["version must be specified".to_owned()]),
            false => wrong(short, names::dns1035_label(short)),
        }
    }
    let given = text(kind, &["kind"]);
    let found = names::dns1035_label(&given.to_lowercase());
    if given.is_empty() {
        errors.push(FieldError::required(&at.child("kind"), ""));
    } else if !found.is_empty() {
        let why = format!("may have mixed case, but should otherwise match: {}", found.join(","));
        errors.push(FieldError::invalid_str(&at.child("kind"), given, why));
    }
    errors
}

/// Each variable can refer to those before it.
fn variables(list: &[Value], scope: &mut Scope, at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut known: Vec<(String, Type)> = Vec::new();
    for (i, variable) in list.iter().enumerate() {
        let at = at.index(i);
        let (name, source) = (text(variable, &["name"]), text(variable, &["expression"]));
        let identifier = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !ironclad_cel::RESERVED.contains(&name);
        if name.trim().is_empty() {
            errors.push(FieldError::required(&at.child("name"), "name is not specified"));
        } else if !identifier {
            errors.push(FieldError::invalid_str(&at.child("name"), name, "must be a valid CEL identifier"));
        }
        if source.trim().is_empty() {
            errors.push(FieldError::required(&at.child("expression"), "expression is not specified"));
        } else {
            scope.variables = Some(known.clone());
            let (wrong, found) = expression(&environment(scope), source, &[], &at.child("expression"));
            errors.extend(wrong);
            // Of two of one name the later one counts.
            known.retain(|(n, _)| n != name);
            known.push((name.to_owned(), found.unwrap_or(Type::Dyn)));
        }
    }
    scope.variables = Some(known);
    errors
}

fn one_validation(validation: &Value, scope: &Scope, at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let env = environment(scope);
    let source = text(validation, &["expression"]);
    let (message, formula) = (text(validation, &["message"]), text(validation, &["messageExpression"]));
    if source.trim().is_empty() {
        errors.push(FieldError::required(&at.child("expression"), "expression is not specified"));
    } else {
        errors.extend(expression(&env, source, &[Type::Bool], &at.child("expression")).0);
    }
    if !formula.is_empty() && formula.trim().is_empty() {
        let detail = "must be non-empty if specified";
        errors.push(FieldError::invalid_str(&at.child("messageExpression"), formula, detail));
    } else if !formula.is_empty() {
        let env = environment(&Scope { authorizer: false, ..scope.clone() });
        errors.extend(expression(&env, formula, &[Type::String], &at.child("messageExpression")).0);
    }
    if !message.is_empty() && message.trim().is_empty() {
        errors.push(FieldError::invalid_str(&at.child("message"), message, "must be non-empty if specified"));
    } else if message.trim().contains(['\n', '\r']) {
        errors.push(FieldError::invalid_str(&at.child("message"), message, "must not contain line breaks"));
    }
    errors.extend(one_of(validation, "reason", at, &REASONS));
    errors
}

fn annotations(o: &Value, list: &[Value], scope: &Scope, at: &Path) -> ErrorList {
    const MOST: usize = 20;
    let mut errors = ErrorList::new();
    if list.len() > MOST {
        let why = format!("must not have more than {MOST} auditAnnotations");
        errors.push(FieldError::invalid(at, &json!(list), why));
    }
    let env = environment(scope);
    let mut seen = Vec::new();
    for (i, note) in list.iter().enumerate() {
        let at = at.index(i);
        let (key, source) = (text(note, &["key"]), text(note, &["valueExpression"]));
        let full = format!("{}/{key}", ironclad_api::object::name(o));
        rule(names::qualified_name(&full), &full, &at.child("key"), &mut errors);
        if seen.contains(&key) {
            errors.push(FieldError::duplicate(&at.child("key"), &json!(key)));
        }
        seen.push(key);
        if source.trim().is_empty() {
            errors.push(FieldError::required(&at.child("valueExpression"), "valueExpression is not specified"));
        } else if source.len() > 5 << 10 {
            errors.push(FieldError::required(&at.child("valueExpression"), "must not exceed 5120 bytes in length"));
        } else {
            errors.extend(expression(&env, source, &[Type::String, Type::Null], &at.child("valueExpression")).0);
        }
    }
    errors
}

/// A MutatingAdmissionPolicy.
pub(super) fn mutating(o: &Value) -> ErrorList {
    let at = Path::new("spec");
    let (mut errors, scope) = common(o, &at, changing);
    let spec = &o["spec"];
    let list = items(spec, &["mutations"]);
    if list.is_empty() {
        errors.push(FieldError::required(&at.child("mutations"), "mutations must contain at least one item"));
    }
    let env = environment(&Scope { mutations: true, ..scope });
    for (i, mutation) in list.iter().enumerate() {
        let at = at.child("mutations").index(i);
        let (field, wanted) = match text(mutation, &["patchType"]) {
            "ApplyConfiguration" => ("applyConfiguration", Type::Struct("Object".into())),
            "JSONPatch" => ("jsonPatch", Type::list(Type::Struct("JSONPatch".into()))),
            "" => {
                errors.push(FieldError::required(&at.child("patchType"), ""));
                continue;
            }
            other => {
                let words = ["ApplyConfiguration", "JSONPatch"];
                errors.push(FieldError::not_supported(&at.child("patchType"), &json!(other), &words));
                continue;
            }
        };
        let other = if field == "jsonPatch" { "applyConfiguration" } else { "jsonPatch" };
        let source = text(mutation, &[field, "expression"]);
        let (at_other, at) = (at.child(other), at.child(field));
        if mutation[field].is_null() {
            let detail = format!("must be specified when patchType is {}", text(mutation, &["patchType"]));
            errors.push(FieldError::required(&at, detail));
        } else if source.trim().is_empty() {
            errors.push(FieldError::required(&at.child("expression"), ""));
        } else {
            errors.extend(expression(&env, source, &[wanted], &at.child("expression")).0);
        }
        if has(mutation, &[other]) {
            let detail = format!("must not be specified when patchType is {}", text(mutation, &["patchType"]));
            errors.push(FieldError::invalid_str(&at_other, &format!("{{{other}}}"), detail));
        }
    }
    match text(spec, &["reinvocationPolicy"]) {
        "" => errors.push(FieldError::required(&at.child("reinvocationPolicy"), "")),
        _ => errors.extend(one_of(spec, "reinvocationPolicy", &at, &["IfNeeded", "Never"])),
    }
    errors
}

/// Only what creates and updates can be mutated.
fn changing(constraints: &Value, at: &Path) -> ErrorList {
    const KNOWN: [&str; 4] = ["*", "CONNECT", "CREATE", "UPDATE"];
    let at = at.child("resourceRules").child("operations");
    let rules = items(constraints, &["resourceRules"]).iter();
    let other = rules.flat_map(|rule| items(rule, &["operations"])).filter(|o| !KNOWN.iter().any(|k| *o == k));
    other.map(|operation| FieldError::not_supported(&at, operation, &KNOWN)).collect()
}

/// A binding of either kind.
pub(super) fn binding(o: &Value, validating: bool) -> ErrorList {
    let (at, spec) = (Path::new("spec"), &o["spec"]);
    let mut errors = ErrorList::new();
    let policy = text(spec, &["policyName"]);
    if policy.is_empty() {
        errors.push(FieldError::required(&at.child("policyName"), "").covered());
    }
    let wrong = if policy.is_empty() { Vec::new() } else { names::dns1123_subdomain(policy) };
    errors.extend(wrong.into_iter().map(|why| FieldError::invalid_str(&at.child("policyName"), policy, why)));
    if has(spec, &["paramRef"]) {
        errors.extend(param_ref(&spec["paramRef"], &at.child("paramRef")));
    }
    if has(spec, &["matchResources"]) {
        errors.extend(matching(&spec["matchResources"], &at.child("matchResources")));
        if !validating {
            errors.extend(changing(&spec["matchResources"], &at.child("matchResources")));
        }
    }
    if validating {
        errors.extend(actions(&spec["validationActions"], &at.child("validationActions")));
    }
    errors
}

fn param_ref(reference: &Value, at: &Path) -> ErrorList {
    let mut errors = ErrorList::new();
    let (name, selects) = (text(reference, &["name"]), has(reference, &["selector"]));
    let exclusive = "name and selector are mutually exclusive";
    if !name.is_empty() {
        let wrong = names::path_segment(name);
        errors.extend(wrong.into_iter().map(|why| FieldError::invalid_str(&at.child("name"), name, why)));
        if selects {
            errors.push(FieldError::forbidden(&at.child("name"), exclusive));
        }
    }
    if selects {
        errors.extend(selector::validate(&reference["selector"], &at.child("selector")));
        if !name.is_empty() {
            errors.push(FieldError::forbidden(&at.child("selector"), exclusive));
        }
    }
    if name.is_empty() && !selects {
        errors.push(FieldError::required(at, "one of name or selector must be specified"));
    }
    match text(reference, &["parameterNotFoundAction"]) {
        "" => errors.push(FieldError::required(&at.child("parameterNotFoundAction"), "")),
        _ => errors.extend(one_of(reference, "parameterNotFoundAction", at, &["Deny", "Allow"])),
    }
    errors
}

fn actions(value: &Value, at: &Path) -> ErrorList {
    let list: Vec<&str> = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut errors = ErrorList::new();
    for (i, action) in list.iter().enumerate() {
        if !["Audit", "Deny", "Warn"].contains(action) {
            errors.push(FieldError::not_supported(&at.index(i), &json!(action), &["Audit", "Deny", "Warn"]));
        }
        if list[..i].contains(action) {
            errors.push(FieldError::duplicate(&at.index(i), &json!(action)));
        }
    }
    if list.contains(&"Deny") && list.contains(&"Warn") {
        let detail = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        errors.push(FieldError::invalid(at, value, detail));
    }
    if list.is_empty() {
        errors.push(FieldError::required(at, "at least one validation action is required").covered());
    }
    errors
}
