//! What is wrong with a FlowSchema.

use super::mandatory::mandatory_flow;
use crate::common::checks::{forbidden, required, rule, same};
use crate::common::conditions;
use crate::read::{count, flag, has, items, text};
use ironclad_api::{ErrorList, FieldError, Path, names, object};
use ironclad_json::{Value, json};

const PRECEDENCE_MAX: i64 = 10_000;
const VERBS: [&str; 9] = ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

/// What holds for each FlowSchema.
pub(super) fn schema(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (spec, at, name) = (&o["spec"], Path::new("spec"), object::name(o));
    precedence(count(spec, &["matchingPrecedence"]), name, &at.child("matchingPrecedence"), &mut errors);
    if has(spec, &["distinguisherMethod"])
        && !matches!(text(spec, &["distinguisherMethod", "type"]), "ByUser" | "ByNamespace")
    {
        let at = at.child("distinguisherMethod").child("type");
        errors.push(FieldError::not_supported(
            &at,
            &json!({"Type": text(spec, &["distinguisherMethod", "type"])}),
            &["ByNamespace", "ByUser"],
        ));
    }
    let level_at = at.child("priorityLevelConfiguration").child("name");
    match text(spec, &["priorityLevelConfiguration", "name"]) {
        "" => errors.push(FieldError::required(&level_at, "must reference a priority level")),
        level => rule(names::dns1123_subdomain(level), level, &level_at, &mut errors),
    }
    for (i, rule) in items(spec, &["rules"]).iter().enumerate() {
        check_rule(rule, &at.child("rules").index(i), &mut errors);
    }
    if mandatory_flow("FlowSchema", name).is_some_and(|fixed| !same(&fixed, spec)) {
        errors.push(FieldError::invalid(&at, spec, format!("spec of '{name}' must equal the fixed value")));
    }
    errors.extend(status(o));
    errors
}

/// What holds for the conditions of either kind.
pub(super) fn status(o: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    conditions::types(items(o, &["status", "conditions"]), &Path::new("status").child("conditions"), &mut errors);
    errors
}

fn precedence(given: i64, name: &str, at: &Path, errors: &mut ErrorList) {
    let mut wrong = |why: &str| errors.push(FieldError::invalid(at, &json!(given), why));
    if given <= 0 {
        wrong("must be a positive value");
    }
    if given > PRECEDENCE_MAX {
        wrong(&format!("must not be greater than {PRECEDENCE_MAX}"));
    }
    if given == 1 && name != "exempt" {
        wrong("only the schema named 'exempt' may have matchingPrecedence 1");
    }
}

fn check_rule(rule: &Value, at: &Path, errors: &mut ErrorList) {
    let subjects = items(rule, &["subjects"]);
    if subjects.is_empty() {
        errors.push(FieldError::required(&at.child("subjects"), "subjects must contain at least one value"));
    }
    for (i, subject) in subjects.iter().enumerate() {
        check_subject(subject, &at.child("subjects").index(i), errors);
    }
    let (resources, others) = (items(rule, &["resourceRules"]), items(rule, &["nonResourceRules"]));
    if resources.is_empty() && others.is_empty() {
        let why = "at least one of resourceRules and nonResourceRules has to be non-empty";
        errors.push(FieldError::required(at, why));
    }
    for (i, rule) in resources.iter().enumerate() {
        resource_rule(rule, &at.child("resourceRules").index(i), errors);
    }
    for (i, rule) in others.iter().enumerate() {
        url_rule(rule, &at.child("nonResourceRules").index(i), errors);
    }
}

fn check_subject(subject: &Value, at: &Path, errors: &mut ErrorList) {
    let kinds = [("ServiceAccount", "serviceAccount"), ("User", "user"), ("Group", "group")];
    let given = text(subject, &["kind"]);
    let Some((kind, own)) = kinds.iter().find(|(kind, _)| *kind == given) else {
        let known = ["Group", "ServiceAccount", "User"];
        errors.push(FieldError::not_supported(&at.child("kind"), &json!(given), &known));
        return;
    };
    let (who, own_at) = (&subject[*own], at.child(own));
    if who.is_null() {
        errors.push(FieldError::required(&own_at, format!("{own} is required when subject kind is '{kind}'")));
    } else {
        required(who, &own_at, &["name"], errors);
        if *kind == "ServiceAccount" {
            account(who, &own_at, errors);
        }
    }
    for (kind, key) in kinds.iter().filter(|(_, key)| key != own) {
        let why = format!("{key} is forbidden when subject kind is not '{kind}'");
        forbidden(subject, at, &[key], &why, errors);
    }
}

fn account(who: &Value, at: &Path, errors: &mut ErrorList) {
    let (name, space) = (text(who, &["name"]), text(who, &["namespace"]));
    if !name.is_empty() && name != "*" {
        rule(names::dns1123_subdomain(name), name, &at.child("name"), errors);
    }
    if space.is_empty() {
        let why = "must specify namespace for service account";
        errors.push(FieldError::required(&at.child("namespace"), why));
    } else {
        rule(names::dns1123_label(space), space, &at.child("namespace"), errors);
    }
}

/// A list that has something in it, and nothing besides `*`; gives whether it is `*`.
fn wildcard(o: &Value, at: &Path, key: &str, words: [&str; 2], errors: &mut ErrorList) -> bool {
    let list = items(o, &[key]);
    let all = list.iter().any(|v| v == "*");
    if list.is_empty() {
        errors.push(FieldError::required(&at.child(key), words[0]));
    } else if all && list.len() > 1 {
        let why = format!("if '*' is present, must not specify other {}", words[1]);
        errors.push(FieldError::invalid(&at.child(key), &json!(list), why));
    }
    all
}

fn verbs(o: &Value, at: &Path, errors: &mut ErrorList) {
    let all = wildcard(o, at, "verbs", ["verbs must contain at least one value", "verbs"], errors);
    let list = items(o, &["verbs"]);
    if !all && list.iter().any(|v| !VERBS.contains(&v.as_str().unwrap_or_default())) {
        errors.push(FieldError::not_supported(&at.child("verbs"), &json!(list), &VERBS));
    }
}

fn resource_rule(o: &Value, at: &Path, errors: &mut ErrorList) {
    verbs(o, at, errors);
    wildcard(o, at, "apiGroups", ["resource rules must supply at least one api group", "api groups"], errors);
    wildcard(o, at, "resources", ["resource rules must supply at least one resource", "resources"], errors);
    let spaces = items(o, &["namespaces"]);
    if spaces.is_empty() && flag(o, &["clusterScope"]) {
        return;
    }
    let why = "resource rules that are not cluster scoped must supply at least one namespace";
    if wildcard(o, at, "namespaces", [why, "namespaces"], errors) {
        return;
    }
    for (i, space) in spaces.iter().enumerate() {
        let space = space.as_str().unwrap_or_default();
        let found = names::dns1123_label(space).into_iter();
        let found = found.map(|why| format!("each member of this list must be '*' or a DNS-1123 label; {why}"));
        rule(found.collect(), space, &at.child("namespaces").index(i), errors);
    }
}

fn url_rule(o: &Value, at: &Path, errors: &mut ErrorList) {
    verbs(o, at, errors);
    let words = ["nonResourceURLs must contain at least one value", "non-resource URLs"];
    if wildcard(o, at, "nonResourceURLs", words, errors) {
        return;
    }
    for (i, url) in items(o, &["nonResourceURLs"]).iter().enumerate() {
        let url = url.as_str().unwrap_or_default();
        let stars = url.matches('*').count();
        let wrong = match url {
            "" => "must not be empty",
            "/" => continue,
            _ if !url.starts_with('/') => "must start with slash",
            _ if url.contains(' ') => "must not contain white-space",
            _ if url.contains("//") => "must not contain double slash",
            _ if stars > 1 || stars == 1 && !url.ends_with("/*") => "wildcard can only do suffix matching",
            _ => continue,
        };
        errors.push(FieldError::invalid_str(&at.child("nonResourceURLs").index(i), url, wrong));
    }
}
