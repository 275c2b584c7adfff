//! Role-based access control: roles and bindings kept as an index, so that a decision looks only at what concerns the
//! user.

use crate::{Attributes, Authorizer, Decision, ResourceRule, Rules, follow};
use async_trait::async_trait;
use ironclad_api::source::{Change, Source};
use ironclad_api::{GroupResource, UserInfo, object};
use ironclad_json::Value;
use parking_lot::RwLock;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const GROUP: &str = "rbac.authorization.k8s.io";

/// Namespace (empty for the cluster) and name of a role or binding.
type Key = (String, String);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Binding {
    role: Key,
    subjects: Vec<String>,
}

#[derive(Default)]
struct Index {
    roles: HashMap<Key, Vec<ResourceRule>>,
    bindings: HashMap<Key, Binding>,
    /// Bindings by namespace and subject: `u:name`, `g:group`.
    by_subject: HashMap<Key, BTreeSet<String>>,
}

/// The authorizer.
pub struct Rbac {
    index: RwLock<Index>,
    synced: watch::Sender<usize>,
}

impl Rbac {
    /// Keeps an index of `source` until `token` is cancelled.
    pub fn start(source: &dyn Source, token: &CancellationToken) -> Arc<Self> {
        let rbac = Arc::new(Self { index: RwLock::default(), synced: watch::Sender::new(0) });
        for plural in ["roles", "clusterroles", "rolebindings", "clusterrolebindings"] {
            let rbac = rbac.clone();
            let binds = plural.ends_with("bindings");
            follow(source, &GroupResource::new(GROUP, plural), token, move |change| match change {
                Change::Put(object) => rbac.index.write().put(binds, &object),
                Change::Delete(object) => rbac.index.write().delete(binds, &object),
                Change::Synced => rbac.synced.send_modify(|n| *n += 1),
            });
        }
        rbac
    }

    /// Waits until everything that existed at the start is known.
    pub async fn synced(&self) {
        let mut receiver = self.synced.subscribe();
        // The sender lives as long as `self`.
        let _ = receiver.wait_for(|n| *n >= 4).await;
    }
}

fn key(object: &Value) -> Key {
    (object::namespace(object).to_owned(), object::name(object).to_owned())
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

fn rule(value: &Value) -> ResourceRule {
    ResourceRule {
        verbs: texts(&value["verbs"]),
        api_groups: texts(&value["apiGroups"]),
        resources: texts(&value["resources"]),
        resource_names: texts(&value["resourceNames"]),
        non_resource_urls: texts(&value["nonResourceURLs"]),
    }
}

impl Index {
    fn put(&mut self, binding: bool, object: &Value) {
        self.delete(binding, object);
        let key = key(object);
        if !binding {
            self.roles.insert(key, rules_of_role(object));
            return;
        }
        let subjects: Vec<String> =
            object["subjects"].as_array().into_iter().flatten().filter_map(|s| subject(s, &key.0)).collect();
        let cluster = object["roleRef"]["kind"] == "ClusterRole";
        let role = (
            if cluster { String::new() } else { key.0.clone() },
            object::text(object, &["roleRef", "name"]).to_owned(),
        );
        for subject in &subjects {
            self.by_subject.entry((key.0.clone(), subject.clone())).or_default().insert(key.1.clone());
        }
        self.bindings.insert(key, Binding { role, subjects });
    }

    fn delete(&mut self, binding: bool, object: &Value) {
        let key = key(object);
        if !binding {
            self.roles.remove(&key);
            return;
        }
        for subject in self.bindings.remove(&key).map(|b| b.subjects).unwrap_or_default() {
            let at = (key.0.clone(), subject);
            if let Some(set) = self.by_subject.get_mut(&at) {
                set.remove(&key.1);
                if set.is_empty() {
                    self.by_subject.remove(&at);
                }
            }
        }
    }

    /// Every binding that concerns the user, cluster-wide first, then in the namespace.
    fn bindings_of<'a>(&'a self, user: &UserInfo, namespace: &str) -> Vec<Granted<'a>> {
        let subjects: Vec<String> =
            std::iter::once(format!("u:{}", user.name)).chain(user.groups.iter().map(|g| format!("g:{g}"))).collect();
        let places: &[&str] = if namespace.is_empty() { &[""] } else { &["", namespace] };
        let mut out = Vec::new();
        for place in places {
            for subject in &subjects {
                for name in self.by_subject.get(&((*place).to_owned(), subject.clone())).into_iter().flatten() {
                    let key = ((*place).to_owned(), name.clone());
                    let Some(binding) = self.bindings.get(&key) else { continue };
                    let rules = self.roles.get(&binding.role).map(|r| r.as_slice());
                    out.push(Granted { binding: key, role: &binding.role, subject: subject.clone(), rules });
                }
            }
        }
        out
    }

    fn decide(&self, a: &Attributes) -> Decision {
        let granted = self.bindings_of(&a.user, &a.namespace);
        let allowing = |g: &&Granted<'_>| g.rules.is_some_and(|rules| rules.iter().any(|r| allows(r, a)));
        if let Some(found) = granted.iter().find(allowing) {
            return Decision::Allow(found.reason());
        }
        Decision::NoOpinion(together(&granted).map_or_else(String::new, |why| format!("RBAC: {why}")))
    }
}

/// What is said of roles that are missing.
fn together(granted: &[Granted<'_>]) -> Option<String> {
    let lost: BTreeSet<String> = granted.iter().filter(|g| g.rules.is_none()).map(Granted::lost).collect();
    match lost.into_iter().collect::<Vec<_>>().as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(format!("[{}]", many.join(", "))),
    }
}

/// A binding that concerns a user, with the rules of its role if there is such a role.
struct Granted<'a> {
    binding: Key,
    role: &'a Key,
    subject: String,
    rules: Option<&'a [ResourceRule]>,
}

impl Granted<'_> {
    fn reason(&self) -> String {
        let (namespace, name) = &self.binding;
        let (kind, at) = match namespace.as_str() {
            "" => ("ClusterRoleBinding", name.clone()),
            namespace => ("RoleBinding", format!("{name}/{namespace}")),
        };
        let role = if self.role.0.is_empty() { "ClusterRole" } else { "Role" };
        let whom = match self.subject.split_at(2) {
            ("g:", group) => format!("Group {group:?}"),
            (_, user) => match user.strip_prefix("system:serviceaccount:").and_then(|u| u.split_once(':')) {
                Some((namespace, name)) => format!("ServiceAccount {:?}", format!("{name}/{namespace}")),
                None => format!("User {user:?}"),
            },
        };
        format!("RBAC: allowed by {kind} {at:?} of {role} {:?} to {whom}", self.role.1)
    }

    fn lost(&self) -> String {
        let kind = if self.role.0.is_empty() { "clusterrole" } else { "role" };
        format!("{kind}.{GROUP} {:?} not found", self.role.1)
    }
}

/// The rules that a Role or ClusterRole holds.
pub fn rules_of_role(role: &Value) -> Vec<ResourceRule> {
    role["rules"].as_array().into_iter().flatten().map(rule).collect()
}

fn subject(subject: &Value, namespace: &str) -> Option<String> {
    let name = object::text(subject, &["name"]);
    match object::text(subject, &["kind"]) {
        "User" => Some(format!("u:{name}")),
        "Group" => Some(format!("g:{name}")),
        "ServiceAccount" => {
            let of = match object::text(subject, &["namespace"]) {
                "" => namespace,
                of => of,
            };
            Some(format!("u:system:serviceaccount:{of}:{name}"))
        }
        _ => None,
    }
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|x| x == "*" || x == wanted)
}

/// Whether a rule allows what is asked.
pub(crate) fn allows(rule: &ResourceRule, a: &Attributes) -> bool {
    if !has(&rule.verbs, &a.verb) {
        return false;
    }
    if !a.is_resource {
        return rule.non_resource_urls.iter().any(|url| match url.strip_suffix('*') {
            Some(prefix) => a.path.starts_with(prefix),
            None => *url == a.path,
        });
    }
    let resource =
        if a.subresource.is_empty() { a.resource.clone() } else { format!("{}/{}", a.resource, a.subresource) };
    let wild = |r: &String| !a.subresource.is_empty() && r.strip_prefix("*/") == Some(a.subresource.as_str());
    let named = rule.resource_names.is_empty() || rule.resource_names.contains(&a.name);
    has(&rule.api_groups, &a.group) && (has(&rule.resources, &resource) || rule.resources.iter().any(wild)) && named
}

#[async_trait]
impl Authorizer for Rbac {
    async fn authorize(&self, a: &Attributes) -> Decision {
        self.index.read().decide(a)
    }

    async fn rules(&self, user: &UserInfo, namespace: &str) -> Rules {
        let index = self.index.read();
        let granted = index.bindings_of(user, namespace);
        let rules = granted.iter().filter_map(|g| g.rules).flatten().cloned().collect();
        Rules { rules, incomplete: false, errors: together(&granted).into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    fn ask(index: &Index, user: &UserInfo, verb: &str, namespace: &str, resource: &str) -> bool {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let a = Attributes {
            user: user.clone(),
            verb: verb.into(),
            namespace: namespace.into(),
            resource: resource.into(),
            subresource: subresource.into(),
            is_resource: true,
            ..Attributes::default()
        };
        matches!(index.decide(&a), Decision::Allow(_))
    }

    #[test]
    fn bindings_grant_in_their_namespace_and_end_when_they_go() {
        let mut index = Index::default();
        index.put(false, &json!({"metadata": {"name": "view"}, "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "pods/log"]}]}));
        let binding = json!({"metadata": {"name": "b", "namespace": "a"}, "roleRef": {"kind": "ClusterRole", "name": "view"},
            "subjects": [{"kind": "User", "name": "bob"}, {"kind": "ServiceAccount", "name": "web"}]});
        index.put(true, &binding);
        let bob = UserInfo::new("bob", &[]);
        assert!(ask(&index, &bob, "get", "a", "pods"));
        assert!(ask(&index, &bob, "get", "a", "pods/log"));
        assert!(!ask(&index, &bob, "get", "a", "pods/exec"));
        assert!(!ask(&index, &bob, "get", "b", "pods"));
        assert!(!ask(&index, &bob, "list", "a", "pods"));
        assert!(ask(&index, &UserInfo::new("system:serviceaccount:a:web", &[]), "get", "a", "pods"));
        index.delete(true, &binding);
        assert!(!ask(&index, &bob, "get", "a", "pods"));
    }
}
