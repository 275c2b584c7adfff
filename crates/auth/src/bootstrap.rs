//! The bootstrap policy: the roles and bindings that every cluster begins with, as one table.
//!
//! A rule is `verbs | groups | resources`, or `verbs | urls` for paths; `*` in a list is everything.

mod controllers;
mod reconcile;
mod roles;

pub use reconcile::reconciled;

use crate::ResourceRule;
use ironclad_json::{Value, json};

/// Cluster role bindings: name, role, subjects (`User:x`, `Group:x`).
const BINDINGS: &[(&str, &str, &[&str])] = &[
    ("cluster-admin", "cluster-admin", &["Group:system:masters"]),
    ("system:monitoring", "system:monitoring", &["Group:system:monitoring"]),
    ("system:discovery", "system:discovery", &["Group:system:authenticated"]),
    ("system:basic-user", "system:basic-user", &["Group:system:authenticated"]),
    (
        "system:public-info-viewer",
        "system:public-info-viewer",
        &["Group:system:authenticated", "Group:system:unauthenticated"],
    ),
    ("system:node-proxier", "system:node-proxier", &["User:system:kube-proxy"]),
    ("system:kube-controller-manager", "system:kube-controller-manager", &["User:system:kube-controller-manager"]),
    ("system:kube-scheduler", "system:kube-scheduler", &["User:system:kube-scheduler"]),
    (
        "system:service-account-issuer-discovery",
        "system:service-account-issuer-discovery",
        &["Group:system:serviceaccounts"],
    ),
    ("system:ironclad-dns", "system:ironclad-dns", &["User:system:ironclad-dns"]),
    ("system:node", "system:node", &[]),
    ("system:kube-dns", "system:kube-dns", &["ServiceAccount:kube-system:kube-dns"]),
    ("system:volume-scheduler", "system:volume-scheduler", &["User:system:kube-scheduler"]),
    (
        "system:cluster-trust-bundle-discovery",
        "system:cluster-trust-bundle-discovery",
        &["Group:system:serviceaccounts"],
    ),
    // Nodes that join with a bootstrap token get their first certificate by it, and later ones by the one they have.
    ("system:ironclad-node-bootstrapper", "system:node-bootstrapper", &["Group:system:bootstrappers"]),
    (
        "system:ironclad-node-autoapprove",
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        &["Group:system:bootstrappers"],
    ),
    (
        "system:ironclad-node-renewal",
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        &["Group:system:nodes"],
    ),
    ("system:ironclad-controllers", "system:ironclad-controllers", &["User:system:kube-controller-manager"]),
    ("system:ironclad-kubelet-client", "system:kubelet-api-admin", &["User:kube-apiserver-kubelet-client"]),
];

/// Who leads writes its Lease, and says in a LeaseCandidate that it would.
const LEADERS: &[&str] = &[
    "create,get,list,update,watch|coordination.k8s.io|leases",
    "create,get,list,update,watch|coordination.k8s.io|leasecandidates",
];

/// Roles of a namespace with their bindings: namespace, role, binding, rules (with a fourth part for object names) and
/// subjects.
type Namespaced = (&'static str, &'static str, &'static str, &'static [&'static str], &'static [&'static str]);

const NAMESPACED: &[Namespaced] = &[
    (
        "kube-system",
        "extension-apiserver-authentication-reader",
        "system::extension-apiserver-authentication-reader",
        &["get,list,watch||configmaps|extension-apiserver-authentication"],
        &["User:system:kube-controller-manager", "User:system:kube-scheduler"],
    ),
    (
        "kube-system",
        "system::leader-locking-kube-controller-manager",
        "system::leader-locking-kube-controller-manager",
        LEADERS,
        &[
            "User:system:kube-controller-manager",
            "ServiceAccount:kube-system:kube-controller-manager",
            "ServiceAccount:kube-system:leader-election-controller",
        ],
    ),
    (
        "kube-system",
        "system::leader-locking-kube-scheduler",
        "system::leader-locking-kube-scheduler",
        LEADERS,
        &["User:system:kube-scheduler", "ServiceAccount:kube-system:kube-scheduler"],
    ),
    // Machines that are not of the cluster yet read what it is, signed with the token that they were given.
    (
        "kube-public",
        "system:ironclad-cluster-info",
        "system:ironclad-cluster-info",
        &["get||configmaps|cluster-info"],
        &["User:system:anonymous"],
    ),
];

/// Priority classes: name, value, description.
const PRIORITIES: &[(&str, i64, &str)] = &[
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
];

fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::to_owned).collect()
}

fn parse(rule: &str) -> ResourceRule {
    let parts: Vec<&str> = rule.split('|').collect();
    match parts.as_slice() {
        [verbs, urls] => ResourceRule { verbs: list(verbs), non_resource_urls: list(urls), ..ResourceRule::default() },
        [verbs, groups, resources] => ResourceRule {
            verbs: list(verbs),
            api_groups: list(groups),
            resources: list(resources),
            ..ResourceRule::default()
        },
        [verbs, groups, resources, names] => ResourceRule {
            verbs: list(verbs),
            api_groups: list(groups),
            resources: list(resources),
            resource_names: list(names),
            ..ResourceRule::default()
        },
        _ => ResourceRule::default(),
    }
}

fn rule_value(rule: &ResourceRule) -> Value {
    if !rule.resource_names.is_empty() {
        json!({"verbs": rule.verbs, "apiGroups": rule.api_groups, "resources": rule.resources, "resourceNames": rule.resource_names})
    } else if rule.non_resource_urls.is_empty() {
        json!({"verbs": rule.verbs, "apiGroups": rule.api_groups, "resources": rule.resources})
    } else {
        json!({"verbs": rule.verbs, "nonResourceURLs": rule.non_resource_urls})
    }
}

/// The rules of the role `system:node`.
pub(crate) fn node_rules() -> Vec<ResourceRule> {
    let of_nodes = roles::ROLES.iter().filter(|(name, _)| *name == "system:node");
    of_nodes.flat_map(|(_, rules)| *rules).map(|r| parse(r)).collect()
}

fn metadata(name: &str, extra: &[(&str, &str)]) -> Value {
    let mut labels = json!({"kubernetes.io/bootstrapping": "rbac-defaults"});
    for (key, value) in extra {
        labels[*key] = json!(value);
    }
    json!({"name": name, "labels": labels, "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"}})
}

/// The objects of the policy: group, plural, object.
pub fn objects() -> Vec<(&'static str, &'static str, Value)> {
    const RBAC: &str = "rbac.authorization.k8s.io";
    let mut out = Vec::new();
    for (name, rules) in roles::ROLES {
        let rules: Vec<Value> = rules.iter().map(|r| rule_value(&parse(r))).collect();
        out.push((RBAC, "clusterroles", json!({"metadata": metadata(name, &[]), "rules": rules})));
    }
    for role in user_roles().into_iter().chain([whole_manager()]) {
        out.push((RBAC, "clusterroles", role));
    }
    let subject = |s: &&str| {
        let (kind, name) = s.split_once(':').unwrap_or(("User", s));
        match name.split_once(':').filter(|_| kind == "ServiceAccount") {
            Some((namespace, name)) => json!({"kind": kind, "namespace": namespace, "name": name}),
            None => json!({"kind": kind, "name": name, "apiGroup": RBAC}),
        }
    };
    for (namespace, name, binding, rules, subjects) in NAMESPACED {
        let rules: Vec<Value> = rules.iter().map(|r| rule_value(&parse(r))).collect();
        let subjects: Vec<Value> = subjects.iter().map(subject).collect();
        let placed = |name: &str| {
            let mut metadata = metadata(name, &[]);
            metadata["namespace"] = json!(namespace);
            metadata
        };
        let role = json!({"apiGroup": RBAC, "kind": "Role", "name": name});
        out.push((RBAC, "roles", json!({"metadata": placed(name), "rules": rules})));
        out.push((RBAC, "rolebindings", json!({"metadata": placed(binding), "roleRef": role, "subjects": subjects})));
    }
    for (name, role, subjects) in BINDINGS {
        let mut binding = json!({"metadata": metadata(name, &[])});
        binding["roleRef"] = json!({"apiGroup": RBAC, "kind": "ClusterRole", "name": role});
        if !subjects.is_empty() {
            binding["subjects"] = subjects.iter().map(subject).collect();
        }
        out.push((RBAC, "clusterrolebindings", binding));
    }
    out.extend(controller_objects());
    for (name, value, description) in PRIORITIES {
        let class = json!({"metadata": {"name": name}, "value": value, "description": description, "preemptionPolicy": "PreemptLowerPriority"});
        out.push(("scheduling.k8s.io", "priorityclasses", class));
    }
    out
}

/// The roles of stock's controllers with their bindings, and what ours need besides.
fn controller_objects() -> Vec<(&'static str, &'static str, Value)> {
    const RBAC: &str = "rbac.authorization.k8s.io";
    let mut out = Vec::new();
    let subject = |name: &str| json!([{"kind": "ServiceAccount", "namespace": "kube-system", "name": name}]);
    let values = |rules: &mut dyn Iterator<Item = &&str>| rules.map(|r| rule_value(&parse(r))).collect::<Vec<_>>();
    let stock = controllers::CONTROLLERS.iter().map(|(short, rules)| ("system:controller:", short, rules));
    let ours = controllers::PATCHES.iter().map(|(short, rules)| ("system:ironclad:controller:", short, rules));
    for (prefix, short, rules) in stock.chain(ours) {
        let name = format!("{prefix}{short}");
        let rules = values(&mut rules.iter());
        let role = json!({"apiGroup": RBAC, "kind": "ClusterRole", "name": name});
        out.push((RBAC, "clusterroles", json!({"metadata": metadata(&name, &[]), "rules": rules})));
        let binding = json!({"metadata": metadata(&name, &[]), "roleRef": role, "subjects": subject(short)});
        out.push((RBAC, "clusterrolebindings", binding));
    }
    let stock = controllers::NAMESPACED.iter().map(|one| ("system:controller:", one));
    let ours = controllers::NAMESPACED_PATCHES.iter().map(|one| ("system:ironclad:controller:", one));
    for (prefix, (namespace, short, rules)) in stock.chain(ours) {
        let name = format!("{prefix}{short}");
        let mut metadata = metadata(&name, &[]);
        metadata["namespace"] = json!(namespace);
        let role = json!({"apiGroup": RBAC, "kind": "Role", "name": name});
        out.push((RBAC, "roles", json!({"metadata": metadata, "rules": values(&mut rules.iter())})));
        out.push((RBAC, "rolebindings", json!({"metadata": metadata, "roleRef": role, "subjects": subject(short)})));
    }
    out
}

/// What a controller manager needs that does the work of all controllers under its own name.
fn whole_manager() -> Value {
    let all = controllers::CONTROLLERS.iter().chain(controllers::PATCHES);
    let mut rules: Vec<&str> = all.flat_map(|(_, rules)| rules.iter().copied()).collect();
    rules.extend(controllers::MANAGER);
    let mut seen = std::collections::HashSet::new();
    rules.retain(|rule| seen.insert(*rule));
    let rules: Vec<Value> = rules.into_iter().map(|r| rule_value(&parse(r))).collect();
    json!({"metadata": metadata("system:ironclad-controllers", &[]), "rules": rules})
}

/// The roles for people, each the sum of what is labelled for it: `view`, `edit`, `admin`, and what they begin with.
fn user_roles() -> Vec<Value> {
    let values = |rules: &[&str]| -> Vec<Value> { rules.iter().map(|r| rule_value(&parse(r))).collect() };
    let parts: Vec<(&str, Vec<Value>)> = roles::PEOPLE.iter().map(|(name, rules)| (*name, values(rules))).collect();
    let label = |to: &str| format!("rbac.authorization.k8s.io/aggregate-to-{to}");
    let mut out = Vec::new();
    for (at, (name, _)) in parts.iter().enumerate() {
        // What the sum is at first; a controller keeps it.
        let sum: Vec<&Value> = parts[at..].iter().flat_map(|(_, rules)| rules).collect();
        let above = at.checked_sub(1).map(|above| label(parts[above].0));
        let labels: Vec<(&str, &str)> = above.iter().map(|l| (l.as_str(), "true")).collect();
        out.push(json!({
            "metadata": metadata(name, &labels), "rules": sum,
            "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {label(name): "true"}}]},
        }));
    }
    for (name, rules) in &parts {
        let label = label(name);
        let name = format!("system:aggregate-to-{name}");
        out.push(json!({"metadata": metadata(&name, &[(&label, "true")]), "rules": rules}));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Attributes;
    use crate::rbac::allows;

    fn may(role: &str, verb: &str, group: &str, resource: &str) -> bool {
        let found =
            objects().into_iter().find(|(_, p, o)| *p == "clusterroles" && o["metadata"]["name"] == role).unwrap().2;
        let texts = |v: &Value| -> Vec<String> {
            v.as_array().into_iter().flatten().map(|x| x.as_str().unwrap().to_owned()).collect()
        };
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let a = Attributes {
            verb: verb.into(),
            group: group.into(),
            resource: resource.into(),
            subresource: subresource.into(),
            is_resource: true,
            ..Attributes::default()
        };
        found["rules"].as_array().unwrap().iter().any(|r| {
            let rule = ResourceRule {
                verbs: texts(&r["verbs"]),
                api_groups: texts(&r["apiGroups"]),
                resources: texts(&r["resources"]),
                ..ResourceRule::default()
            };
            allows(&rule, &a)
        })
    }

    #[test]
    fn the_roles_for_people_grow_from_view_to_admin() {
        assert!(may("view", "list", "", "pods"));
        assert!(!may("view", "get", "", "secrets"));
        assert!(!may("view", "create", "", "pods"));
        assert!(may("edit", "get", "", "secrets"));
        assert!(may("edit", "create", "apps", "deployments"));
        assert!(!may("edit", "create", "rbac.authorization.k8s.io", "roles"));
        assert!(may("admin", "create", "rbac.authorization.k8s.io", "roles"));
        assert!(!may("admin", "create", "", "namespaces"));
    }

    /// Who edits a namespace could send the traffic of others to addresses of other namespaces.
    #[test]
    fn cve_2021_25740_editors_do_not_write_endpoints() {
        for verb in ["create", "update", "patch", "delete"] {
            for (group, resource) in [("", "endpoints"), ("discovery.k8s.io", "endpointslices")] {
                assert!(
                    !may("edit", verb, group, resource) && !may("admin", verb, group, resource),
                    "{verb} {resource}"
                );
            }
        }
    }

    #[test]
    fn every_rule_of_the_table_can_be_read() {
        for (_, rules) in roles::ROLES.iter().chain(controllers::CONTROLLERS) {
            assert!(rules.iter().all(|r| !parse(r).verbs.is_empty()), "{rules:?}");
        }
    }
}
