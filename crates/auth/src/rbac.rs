//! Role-based access control: roles and bindings kept as an index, so that a decision looks only at what concerns the
//! user.

use crate::{Attributes, Authorizer, Decision, ResourceRule, Rules};
use async_trait::async_trait;
use futures::StreamExt;
use ironclad_api::source::{Change, Source};
use ironclad_api::{GroupResource, UserInfo, object};
use parking_lot::RwLock;
use serde_json::Value;
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
    roles: HashMap<Key, Arc<Vec<ResourceRule>>>,
    bindings: HashMap<Key, Binding>,
    /// Bindings by subject: `u:name`, `g:group`.
    by_subject: HashMap<String, BTreeSet<Key>>,
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
            let mut changes = source.subscribe(&GroupResource::new(GROUP, plural));
            let (rbac, token) = (rbac.clone(), token.clone());
            tokio::spawn(async move {
                loop {
                    let change = tokio::select! {
                        () = token.cancelled() => return,
                        change = changes.next() => change,
                    };
                    match change {
                        Some(Change::Put(object)) => rbac.index.write().put(plural.ends_with("bindings"), &object),
                        Some(Change::Delete(object)) => {
                            rbac.index.write().delete(plural.ends_with("bindings"), &object)
                        }
                        Some(Change::Synced) => rbac.synced.send_modify(|n| *n += 1),
                        None => return,
                    }
                }
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
            let rules = object["rules"].as_array().into_iter().flatten().map(rule).collect();
            self.roles.insert(key, Arc::new(rules));
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
            self.by_subject.entry(subject.clone()).or_default().insert(key.clone());
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
            if let Some(set) = self.by_subject.get_mut(&subject) {
                set.remove(&key);
            }
        }
    }

    /// The rules of every binding that concerns the user, cluster-wide or in the namespace, with a description.
    fn rules_of(&self, user: &UserInfo, namespace: &str) -> Vec<(Arc<Vec<ResourceRule>>, String)> {
        let subjects = std::iter::once(format!("u:{}", user.name)).chain(user.groups.iter().map(|g| format!("g:{g}")));
        let mut out = Vec::new();
        for subject in subjects {
            let bindings = self.by_subject.get(&subject).into_iter().flatten();
            for key in bindings.filter(|k| k.0.is_empty() || (!namespace.is_empty() && k.0 == namespace)) {
                let Some(binding) = self.bindings.get(key) else { continue };
                let Some(rules) = self.roles.get(&binding.role) else { continue };
                out.push((rules.clone(), format!("RBAC: allowed by {:?} of {:?}", key.1, binding.role.1)));
            }
        }
        out
    }
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
        let found = self.index.read().rules_of(&a.user, &a.namespace);
        match found.into_iter().find(|(rules, _)| rules.iter().any(|r| allows(r, a))) {
            Some((_, reason)) => Decision::Allow(reason),
            None => Decision::NoOpinion(String::new()),
        }
    }

    async fn rules(&self, user: &UserInfo, namespace: &str) -> Rules {
        let found = self.index.read().rules_of(user, namespace);
        Rules { rules: found.iter().flat_map(|(rules, _)| rules.iter().cloned()).collect(), incomplete: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
        index.rules_of(user, namespace).iter().any(|(rules, _)| rules.iter().any(|r| allows(r, &a)))
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
