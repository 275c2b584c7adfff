//! ResourceQuota: nothing is made beyond what a namespace's quotas allow.
//!
//! Invariant: between the check and the moment when the new object can be read, what was granted stays reserved, so
//! that requests at the same time cannot exceed a quota together.

mod usage;

use crate::{Operation, Plugin, Request};
use async_trait::async_trait;
use ironclad_api::error::Result;
use ironclad_api::source::Source;
use ironclad_api::{ApiError, GroupResource, object};
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use usage::{Amounts, amounts, in_scope, unsaid, usage};

/// A write that was granted and is still not to be seen after this time has failed.
const PATIENCE: Duration = Duration::from_secs(5);

/// Granted, and perhaps not to be seen yet.
struct Pending {
    object: Value,
    at: Instant,
}

/// Namespace and resource, and there the names of the objects.
type Reserved = HashMap<(String, GroupResource), HashMap<String, Pending>>;

pub(super) struct ResourceQuota {
    source: Arc<dyn Source>,
    reserved: Mutex<Reserved>,
}

impl ResourceQuota {
    pub(super) fn new(source: Arc<dyn Source>) -> Self {
        Self { source, reserved: Mutex::default() }
    }

    /// Grants `new` or says why not.
    fn grant(&self, request: &Request, quotas: &[Arc<Value>], new: &Value) -> std::result::Result<(), String> {
        let resource = request.resource.group_resource();
        let at = (request.namespace.clone(), resource.clone());
        let mut reserved = self.reserved.lock();
        let mut others = self.source.list(&resource, &request.namespace);
        let pending = reserved.entry(at.clone()).or_default();
        pending.retain(|_, p| p.at.elapsed() < PATIENCE);
        for seen in &others {
            pending.remove(object::name(seen));
        }
        pending.remove(&request.name);
        others.retain(|o| object::name(o) != request.name);
        others.extend(pending.values().map(|p| Arc::new(p.object.clone())));
        let old = request.old.as_deref();
        let judged = quotas.iter().try_for_each(|quota| check(quota, &resource, new, old, &others));
        if judged.is_ok() && !request.dry_run && request.operation == Operation::Create {
            pending.insert(request.name.clone(), Pending { object: new.clone(), at: Instant::now() });
        }
        if pending.is_empty() {
            reserved.remove(&at);
        }
        judged
    }
}

fn total(quota: &Value, resource: &GroupResource, objects: &[Arc<Value>]) -> Amounts {
    let mut sum = Amounts::new();
    for object in objects.iter().filter(|o| in_scope(quota, resource, o)) {
        for (name, amount) in usage(resource, object) {
            sum.entry(name).and_modify(|s| *s += amount).or_insert(amount);
        }
    }
    sum
}

fn print(amounts: &Amounts) -> String {
    amounts.iter().map(|(name, amount)| format!("{name}={amount}")).collect::<Vec<_>>().join(",")
}

/// Whether one quota has room for `new` in the place of `old`, beside the others.
fn check(
    quota: &Value,
    resource: &GroupResource,
    new: &Value,
    old: Option<&Value>,
    others: &[Arc<Value>],
) -> std::result::Result<(), String> {
    if !in_scope(quota, resource, new) {
        return Ok(());
    }
    let hard = amounts(&quota["spec"]["hard"]);
    let name = object::name(quota);
    if resource.group.is_empty() && resource.resource == "pods" && old.is_none() {
        let unsaid = unsaid(&hard, new);
        if !unsaid.is_empty() {
            return Err(format!("failed quota: {name}: must specify {unsaid}"));
        }
    }
    let wanted = usage(resource, new);
    if !wanted.keys().any(|k| hard.contains_key(k)) {
        return Ok(());
    }
    let before = old.filter(|o| in_scope(quota, resource, o)).map(|o| usage(resource, o)).unwrap_or_default();
    let others = total(quota, resource, others);
    let (mut requested, mut used, mut limited) = (Amounts::new(), Amounts::new(), Amounts::new());
    for (key, amount) in wanted {
        let Some(limit) = hard.get(&key) else { continue };
        let zero = ironclad_api::quantity::Quantity::ZERO;
        let had = before.get(&key).copied().unwrap_or(zero);
        let beside = others.get(&key).copied().unwrap_or(zero);
        // What does not grow is let be, even beyond a limit that was lowered.
        if amount > had && beside + amount > *limit {
            requested.insert(key.clone(), amount - had);
            used.insert(key.clone(), beside + had);
            limited.insert(key, *limit);
        }
    }
    if requested.is_empty() {
        return Ok(());
    }
    Err(format!(
        "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
        print(&requested),
        print(&used),
        print(&limited)
    ))
}

#[async_trait]
impl Plugin for ResourceQuota {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }

    fn handles(&self, operation: Operation) -> bool {
        operation != Operation::Connect
    }

    async fn validate(&self, request: &mut Request) -> Result<()> {
        if request.namespace.is_empty() || !request.subresource.is_empty() {
            return Ok(());
        }
        let resource = request.resource.group_resource();
        if request.operation == Operation::Delete {
            if let Some(of) = self.reserved.lock().get_mut(&(request.namespace.clone(), resource)) {
                of.remove(&request.name);
            }
            return Ok(());
        }
        let quotas = self.source.list(&GroupResource::new("", "resourcequotas"), &request.namespace);
        let Some(new) = request.object.as_ref().filter(|_| !quotas.is_empty()) else { return Ok(()) };
        self.grant(request, &quotas, new).map_err(|why| ApiError::forbidden(&resource, &request.name, why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, cpu: &str) -> Value {
        json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}})
    }

    #[test]
    fn quotas_refuse_in_the_stock_wording() {
        let pods = GroupResource::new("", "pods");
        let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"requests.cpu": "1", "pods": "2"}}});
        let one = [Arc::new(pod("a", "700m"))];
        let two = [Arc::new(pod("a", "100m")), Arc::new(pod("b", "100m"))];
        let bare = json!({"metadata": {"name": "x"}, "spec": {"containers": [{"name": "c"}]}});
        let table: &[(&[Arc<Value>], Value, &str)] = &[
            (&one, pod("x", "300m"), ""),
            (
                &one,
                pod("x", "400m"),
                "exceeded quota: q, requested: requests.cpu=400m, used: requests.cpu=700m, limited: requests.cpu=1",
            ),
            (&two, pod("x", "100m"), "exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2"),
            (&one, bare, "failed quota: q: must specify requests.cpu for: c"),
        ];
        for (others, new, why) in table {
            let judged = check(&quota, &pods, new, None, others);
            assert_eq!(judged.err().unwrap_or_default(), *why);
        }
    }

    #[test]
    fn ended_pods_and_other_scopes_do_not_count() {
        let pods = GroupResource::new("", "pods");
        let mut ended = pod("a", "1");
        ended["status"] = json!({"phase": "Succeeded"});
        assert_eq!(usage(&pods, &ended).get("pods"), None);
        let quota = json!({"spec": {"scopes": ["BestEffort"], "hard": {"pods": "0"}}});
        assert_eq!(check(&quota, &pods, &pod("x", "1"), None, &[]), Ok(()));
        let priority = json!({"spec": {"scopeSelector": {"matchExpressions": [
            {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}]}}});
        let mut high = pod("h", "1");
        assert!(!in_scope(&priority, &pods, &high));
        high["spec"]["priorityClassName"] = json!("high");
        assert!(in_scope(&priority, &pods, &high));
    }

    #[test]
    fn what_is_granted_stays_reserved() {
        struct Empty(Value);
        impl Source for Empty {
            fn get(&self, _: &GroupResource, _: &str, _: &str) -> Option<Arc<Value>> {
                None
            }
            fn list(&self, resource: &GroupResource, _: &str) -> Vec<Arc<Value>> {
                if resource.resource == "resourcequotas" { vec![Arc::new(self.0.clone())] } else { Vec::new() }
            }
            fn subscribe(&self, _: &GroupResource) -> ironclad_api::source::Changes {
                Box::pin(futures::stream::empty())
            }
        }
        let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"configmaps": "1"}}});
        let plugin = ResourceQuota::new(Arc::new(Empty(quota.clone())));
        let request = |name: &str, operation| Request {
            operation,
            kind: ironclad_api::GroupVersionKind::new("", "v1", "ConfigMap"),
            resource: ironclad_api::GroupVersionResource::new("", "v1", "configmaps"),
            subresource: String::new(),
            namespace: "a".into(),
            name: name.into(),
            user: ironclad_api::UserInfo::default(),
            object: Some(json!({"metadata": {"name": name}})),
            old: None,
            options: Value::Null,
            dry_run: false,
            warnings: Vec::new(),
            annotations: crate::Annotations::default(),
            reinvocation: crate::Reinvocation::default(),
        };
        let ask = |name: &str, operation| {
            let mut request = request(name, operation);
            futures::executor::block_on(plugin.validate(&mut request)).map_err(|e| e.message)
        };
        assert_eq!(ask("one", Operation::Create), Ok(()));
        assert_eq!(
            ask("two", Operation::Create).unwrap_err(),
            "configmaps \"two\" is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=1, limited: configmaps=1"
        );
        assert_eq!(ask("one", Operation::Delete), Ok(()));
        assert_eq!(ask("two", Operation::Create), Ok(()));
    }
}
