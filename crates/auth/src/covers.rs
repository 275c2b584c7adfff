//! Whether somebody who holds some rules may hand out others: nobody grants what they do not have.

use crate::ResourceRule;
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

fn things(rule: &ResourceRule) -> Vec<Thing> {
    let names: Vec<Option<String>> = match rule.resource_names.as_slice() {
        [] => vec![None],
        names => names.iter().cloned().map(Some).collect(),
    };
    let mut out: Vec<Thing> = rule.non_resource_urls.iter().cloned().map(Thing::Path).collect();
    for group in &rule.api_groups {
        for resource in &rule.resources {
            out.extend(names.iter().map(|name| Thing::Resource {
                group: group.clone(),
                resource: resource.clone(),
                name: name.clone(),
            }));
        }
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

/// What of `wanted` is not in `owned`, one line each in stock's notation, sorted; empty when all of it is.
pub fn missing(owned: &[ResourceRule], wanted: &[ResourceRule]) -> Vec<String> {
    let mut lacking: BTreeMap<Thing, BTreeSet<&str>> = BTreeMap::new();
    for rule in wanted {
        for thing in things(rule) {
            for verb in rule.verbs.iter().filter(|v| !owned.iter().any(|o| owns(o, v, &thing))) {
                lacking.entry(thing.clone()).or_default().insert(verb);
            }
        }
    }
    let mut lines: Vec<String> = lacking.into_iter().map(|(thing, verbs)| describe(&thing, &verbs)).collect();
    lines.sort();
    lines
}

fn describe(thing: &Thing, verbs: &BTreeSet<&str>) -> String {
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
pub fn escalation(user: &UserInfo, owned: &[ResourceRule], wanted: &[ResourceRule]) -> Option<String> {
    let lines = missing(owned, wanted);
    if lines.is_empty() {
        return None;
    }
    let groups: Vec<String> = user.groups.iter().map(|g| format!("{g:?}")).collect();
    Some(format!(
        "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
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
                &[r#"{APIGroups:[""], Resources:["pods"], Verbs:["delete" "watch"]}"#],
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
