//! Whether somebody who holds some rules may hand out others: nobody grants what they do not have.

use crate::{ResourceRule, Rules};
use ironclad_api::UserInfo;
use std::collections::{BTreeMap, BTreeSet};

fn holds(owned: &[String], wanted: &str) -> bool {
    owned.iter().any(|o| o == "*" || o == wanted)
}

fn holds_resource(owned: &[String], wanted: &str) -> bool {
    let sub = wanted.split_once('/').map(|(_, s)| s);
    holds(owned, wanted) || sub.is_some_and(|s| owned.iter().any(|o| o.strip_prefix("*/") == Some(s)))
}

fn holds_path(owned: &[String], wanted: &str) -> bool {
    owned.iter().any(|o| o == wanted || o.strip_suffix('*').is_some_and(|prefix| wanted.starts_with(prefix)))
}

/// One verb on one thing: group, resource and name, or a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    Resource { group: String, resource: String, name: Option<String> },
    Path(String),
}

/// What a rule grants, thing by thing and verb by verb.
fn single(rule: &ResourceRule) -> Vec<(Thing, &str)> {
    let names: Vec<Option<String>> = match rule.resource_names.as_slice() {
        [] => vec![None],
        names => names.iter().cloned().map(Some).collect(),
    };
    let mut out = Vec::new();
    for (group, resource) in rule.api_groups.iter().flat_map(|g| rule.resources.iter().map(move |r| (g, r))) {
        for (verb, name) in rule.verbs.iter().flat_map(|v| names.iter().map(move |n| (v, n))) {
            let (group, resource, name) = (group.clone(), resource.clone(), name.clone());
            out.push((Thing::Resource { group, resource, name }, verb.as_str()));
        }
    }
    for path in &rule.non_resource_urls {
        out.extend(rule.verbs.iter().map(|verb| (Thing::Path(path.clone()), verb.as_str())));
    }
    out
}

fn owns(rule: &ResourceRule, verb: &str, thing: &Thing) -> bool {
    holds(&rule.verbs, verb)
        && match thing {
            Thing::Path(path) => holds_path(&rule.non_resource_urls, path),
            Thing::Resource { group, resource, name } => {
                let named =
                    rule.resource_names.is_empty() || name.as_ref().is_some_and(|n| rule.resource_names.contains(n));
                holds(&rule.api_groups, group) && holds_resource(&rule.resources, resource) && named
            }
        }
}

/// What of `wanted` is not in `owned`, one line each in stock's notation, sorted; empty when all of it is. The verbs of
/// one resource stand together in the order in which they are wanted, those of a path each alone.
pub fn missing(owned: &[ResourceRule], wanted: &[ResourceRule]) -> Vec<String> {
    let mut together: BTreeMap<Thing, Vec<&str>> = BTreeMap::new();
    let mut lines = BTreeSet::new();
    let all = wanted.iter().flat_map(single);
    for (thing, verb) in all.filter(|(thing, verb)| !owned.iter().any(|o| owns(o, verb, thing))) {
        match thing {
            Thing::Path(_) => drop(lines.insert(describe(&thing, &[verb]))),
            thing @ Thing::Resource { .. } => together.entry(thing).or_default().push(verb),
        }
    }
    lines.extend(together.iter().map(|(thing, verbs)| describe(thing, verbs)));
    lines.into_iter().collect()
}

fn describe(thing: &Thing, verbs: &[&str]) -> String {
    let verbs: Vec<String> = verbs.iter().map(|v| format!("{v:?}")).collect();
    let verbs = verbs.join(" ");
    match thing {
        Thing::Path(path) => format!("{{NonResourceURLs:[{path:?}], Verbs:[{verbs}]}}"),
        Thing::Resource { group, resource, name: None } => {
            format!("{{APIGroups:[{group:?}], Resources:[{resource:?}], Verbs:[{verbs}]}}")
        }
        Thing::Resource { group, resource, name: Some(name) } => {
            format!("{{APIGroups:[{group:?}], Resources:[{resource:?}], ResourceNames:[{name:?}], Verbs:[{verbs}]}}")
        }
    }
}

/// Why `user`, who holds `owned`, may not grant `wanted`; `None` when they may.
pub fn escalation(user: &UserInfo, owned: &Rules, wanted: &[ResourceRule]) -> Option<String> {
    let lines = missing(&owned.rules, wanted);
    if lines.is_empty() {
        return None;
    }
    let groups: Vec<String> = user.groups.iter().map(|g| format!("{g:?}")).collect();
    let errors = match owned.errors.as_slice() {
        [] => String::new(),
        errors => format!("; resolution errors: [{}]", errors.join(" ")),
    };
    Some(format!(
        "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}{errors}",
        user.name,
        groups.join(" "),
        lines.join("\n")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(verbs: &str, groups: &str, resources: &str, names: &[&str]) -> ResourceRule {
        let list = |t: &str| t.split(',').map(str::to_owned).collect();
        ResourceRule {
            verbs: list(verbs),
            api_groups: list(groups),
            resources: list(resources),
            resource_names: names.iter().map(|n| (*n).to_owned()).collect(),
            non_resource_urls: Vec::new(),
        }
    }

    #[test]
    fn only_what_is_held_can_be_given() {
        let all = rule("*", "*", "*", &[]);
        let pods = rule("get,list", "", "pods,*/status", &[]);
        let one = rule("get", "", "secrets", &["a"]);
        let table: &[(&[&ResourceRule], ResourceRule, &[&str])] = &[
            (&[&all], rule("*", "*", "*", &[]), &[]),
            (&[&pods], rule("get", "", "pods", &[]), &[]),
            (&[&pods], rule("get", "", "nodes/status", &["x"]), &[]),
            (
                &[&pods],
                rule("watch,get,delete", "", "pods", &[]),
                &[r#"{APIGroups:[""], Resources:["pods"], Verbs:["watch" "delete"]}"#],
            ),
            (&[&pods], rule("*", "", "pods", &[]), &[r#"{APIGroups:[""], Resources:["pods"], Verbs:["*"]}"#]),
            (&[&one], rule("get", "", "secrets", &["a"]), &[]),
            (&[&one], rule("get", "", "secrets", &[]), &[r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get"]}"#]),
            (
                &[&one],
                rule("get", "", "secrets", &["b"]),
                &[r#"{APIGroups:[""], Resources:["secrets"], ResourceNames:["b"], Verbs:["get"]}"#],
            ),
        ];
        for (owned, wanted, lacking) in table {
            let owned: Vec<ResourceRule> = owned.iter().map(|r| (*r).clone()).collect();
            assert_eq!(missing(&owned, std::slice::from_ref(wanted)), *lacking, "{wanted:?}");
        }
    }
}
