//! A pod as the kubelet works with it: its containers of all sorts in one list, each with its role.
//!
//! Invariant: made once for each change of the pod; everything else only looks at it.

use k8s_openapi::api::core::v1::{Container, ObjectReference, Pod, PodSpec};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Where the pod came from, when it was not the API server.
const SOURCE: &str = "kubernetes.io/config.source";
/// On a mirror pod: the hash of the static pod that it shows.
pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";
/// Priorities from here on are critical to the cluster.
const CRITICAL: i32 = 2_000_000_000;

/// What a container is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Runs to its end before the next one begins.
    Init,
    /// An init container that goes on running.
    Sidecar,
    Main,
    /// Added to the running pod.
    Ephemeral,
}

/// A container with its role.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    pub(crate) spec: Container,
    pub(crate) role: Role,
    /// Whose processes an ephemeral container sees.
    pub(crate) target: Option<String>,
}

impl Unit {
    pub(crate) fn name(&self) -> &str {
        &self.spec.name
    }

    /// The field that describes it, as events name it.
    fn field(&self) -> String {
        let list = match self.role {
            Role::Main => "containers",
            Role::Ephemeral => "ephemeralContainers",
            Role::Init | Role::Sidecar => "initContainers",
        };
        format!("spec.{list}{{{}}}", self.name())
    }
}

/// The name under which what a pod is given as a whole stands among what its containers are given.
pub(crate) const WHOLE: &str = "";

/// A pod and what follows from its specification.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) pod: Arc<Pod>,
    pub(crate) spec: PodSpec,
    /// Init containers and sidecars in their order, then the others.
    pub(crate) units: Vec<Unit>,
    pub(crate) uid: String,
    pub(crate) name: String,
    pub(crate) namespace: String,
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// An ephemeral container has the fields of a container, and one more.
fn ephemeral(value: &impl serde::Serialize) -> Option<Unit> {
    let value = serde_json::to_value(value).ok()?;
    let target = value["targetContainerName"].as_str().filter(|t| !t.is_empty()).map(str::to_owned);
    let spec: Container = serde_json::from_value(value).ok()?;
    Some(Unit { spec, role: Role::Ephemeral, target })
}

impl Plan {
    pub(crate) fn new(pod: Arc<Pod>) -> Arc<Self> {
        let spec = pod.spec.clone().unwrap_or_default();
        let mut units = Vec::new();
        for c in spec.init_containers.iter().flatten() {
            let role = if is_sidecar(c) { Role::Sidecar } else { Role::Init };
            units.push(Unit { spec: c.clone(), role, target: None });
        }
        units.extend(spec.containers.iter().map(|c| Unit { spec: c.clone(), role: Role::Main, target: None }));
        units.extend(spec.ephemeral_containers.iter().flatten().filter_map(ephemeral));
        let meta = &pod.metadata;
        let text = |t: &Option<String>| t.clone().unwrap_or_default();
        let (uid, name, namespace) = (text(&meta.uid), text(&meta.name), text(&meta.namespace));
        Arc::new(Self { pod, spec, units, uid, name, namespace })
    }

    pub(crate) fn unit(&self, name: &str) -> Option<&Unit> {
        self.units.iter().find(|u| u.name() == name)
    }

    pub(crate) fn with(&self, role: Role) -> impl Iterator<Item = &Unit> {
        self.units.iter().filter(move |u| u.role == role)
    }

    /// Init containers and sidecars in their order.
    pub(crate) fn inits(&self) -> impl Iterator<Item = &Unit> {
        self.units.iter().filter(|u| matches!(u.role, Role::Init | Role::Sidecar))
    }

    pub(crate) fn host_network(&self) -> bool {
        self.spec.host_network == Some(true)
    }

    /// `name_namespace(uid)`, as messages name pods.
    pub(crate) fn full_name(&self) -> String {
        format!("{}_{}({})", self.name, self.namespace, self.uid)
    }

    pub(crate) fn deleted(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }

    /// How long its containers may take to end.
    pub(crate) fn grace(&self) -> Duration {
        let given = self.pod.metadata.deletion_grace_period_seconds.or(self.spec.termination_grace_period_seconds);
        Duration::from_secs(given.unwrap_or(30).max(0) as u64)
    }

    /// `Always`, `OnFailure` or `Never`.
    pub(crate) fn restart_policy(&self) -> &str {
        self.spec.restart_policy.as_deref().unwrap_or("Always")
    }

    /// The phase that the API shows, when it is a last one.
    pub(crate) fn ended_phase(&self) -> Option<&str> {
        self.pod.status.as_ref()?.phase.as_deref().filter(|p| matches!(*p, "Succeeded" | "Failed"))
    }

    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        self.pod.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// Made from a file of the node.
    pub(crate) fn is_static(&self) -> bool {
        is_static(&self.pod)
    }

    pub(crate) fn is_critical(&self) -> bool {
        self.is_static() || self.spec.priority.unwrap_or(0) >= CRITICAL
    }

    /// `Guaranteed`, `Burstable` or `BestEffort`.
    pub(crate) fn qos(&self) -> &str {
        match self.pod.status.as_ref().and_then(|s| s.qos_class.as_deref()) {
            Some(class) if !class.is_empty() => class,
            _ => qos(&self.spec),
        }
    }

    /// The pod, or one of its containers, as the object of an event.
    pub(crate) fn reference(&self, container: Option<&str>) -> ObjectReference {
        let mut reference = ironclad_client::events::reference(&*self.pod);
        reference.field_path = container.and_then(|c| self.unit(c)).map(Unit::field);
        if let (true, Some(hash)) = (self.is_static(), self.annotation("kubernetes.io/config.hash")) {
            reference.uid = Some(hash.to_owned());
        }
        reference
    }
}

pub(crate) fn is_static(pod: &Pod) -> bool {
    let source = pod.metadata.annotations.as_ref().and_then(|a| a.get(SOURCE));
    source.is_some_and(|s| s != "api")
}

/// Marks a pod as made from a file.
pub(crate) fn mark_static(annotations: &mut BTreeMap<String, String>, hash: &str) {
    annotations.insert(SOURCE.to_owned(), "file".to_owned());
    annotations.insert("kubernetes.io/config.hash".to_owned(), hash.to_owned());
    annotations.insert("kubernetes.io/config.seen".to_owned(), ironclad_api::time::now());
}

/// The quality of service that follows from requests and limits (KEP-2837 for those of the whole pod).
pub(crate) fn qos(spec: &PodSpec) -> &'static str {
    let lists = |r: &Value, which: &str| -> Vec<(String, String)> {
        let entry = |n: &str| Some((n.to_owned(), r[which][n].as_str().filter(|v| *v != "0")?.to_owned()));
        ["cpu", "memory"].into_iter().filter_map(entry).collect()
    };
    let all: Vec<Value> = match &spec.resources {
        Some(own) => vec![serde_json::json!(own)],
        None => {
            let both = spec.containers.iter().chain(spec.init_containers.iter().flatten());
            both.map(|c| serde_json::json!(c.resources)).collect()
        }
    };
    if all.iter().all(|r| lists(r, "requests").is_empty() && lists(r, "limits").is_empty()) {
        return "BestEffort";
    }
    let same = |r: &Value| {
        let (limits, requests) = (lists(r, "limits"), lists(r, "requests"));
        limits.len() == 2 && requests.iter().all(|q| limits.contains(q))
    };
    if all.iter().all(same) { "Guaranteed" } else { "Burstable" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn spec(containers: Value) -> PodSpec {
        serde_json::from_value(json!({"containers": containers})).unwrap()
    }

    #[test]
    fn quality_of_service_follows_from_requests_and_limits() {
        let both = json!({"cpu": "1", "memory": "1Gi"});
        assert_eq!(qos(&spec(json!([{"name": "a"}]))), "BestEffort");
        assert_eq!(qos(&spec(json!([{"name": "a", "resources": {"limits": both, "requests": both}}]))), "Guaranteed");
        let mixed = json!([{"name": "a", "resources": {"limits": both, "requests": both}}, {"name": "b"}]);
        assert_eq!(qos(&spec(mixed)), "Burstable");
        assert_eq!(qos(&spec(json!([{"name": "a", "resources": {"requests": {"cpu": "1"}}}]))), "Burstable");
    }

    #[test]
    fn an_ephemeral_container_is_a_container_with_a_target() {
        let pod = json!({"spec": {"containers": [{"name": "a"}],
            "ephemeralContainers": [{"name": "d", "image": "i", "targetContainerName": "a"}]}});
        let plan = Plan::new(Arc::new(serde_json::from_value(pod).unwrap()));
        let debug = plan.unit("d").unwrap();
        assert_eq!((debug.role, debug.target.as_deref()), (Role::Ephemeral, Some("a")));
        assert_eq!(debug.field(), "spec.ephemeralContainers{d}");
    }
}
