//! A pod as the scheduler sees it: everything that plugins ask for, worked out once.

use crate::resources::Resources;
use ironclad_api::pod_resources;
use ironclad_client::ObjectKey;
use k8s_openapi::api::core::v1::{NodeSelector, Pod, PodSpec, PreferredSchedulingTerm, Toleration};
use std::sync::Arc;

/// A port of the node that a pod takes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct HostPort {
    pub(crate) ip: String,
    pub(crate) protocol: String,
    pub(crate) port: i32,
}

impl HostPort {
    /// Whether both cannot be had on one node.
    pub(crate) fn collides(&self, other: &Self) -> bool {
        let any = |ip: &str| ip.is_empty() || ip == "0.0.0.0" || ip == "::";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || any(&self.ip) || any(&other.ip))
    }
}

#[derive(Debug)]
pub(crate) struct PodInfo {
    pub(crate) pod: Arc<Pod>,
    pub(crate) key: ObjectKey,
    pub(crate) uid: String,
    pub(crate) priority: i32,
    pub(crate) requests: Resources,
    /// CPU and memory for scoring.
    pub(crate) scored: (i64, i64),
    pub(crate) ports: Vec<HostPort>,
    /// The uid of the controller, by which pods are spread.
    pub(crate) owner: Option<String>,
}

impl PodInfo {
    pub(crate) fn new(pod: Arc<Pod>) -> Self {
        let spec = pod.spec.as_ref();
        let mut requests = spec.map(|s| Resources::from_list(&pod_resources::requests(s))).unwrap_or_default();
        requests.pods = 1;
        Self {
            key: ObjectKey::of(&*pod),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            priority: spec.and_then(|s| s.priority).unwrap_or(0),
            scored: requests.or_default(),
            ports: spec.map(host_ports).unwrap_or_default(),
            owner: owner(&pod),
            requests,
            pod,
        }
    }

    pub(crate) fn spec(&self) -> Option<&PodSpec> {
        self.pod.spec.as_ref()
    }

    pub(crate) fn tolerations(&self) -> &[Toleration] {
        self.spec().and_then(|s| s.tolerations.as_deref()).unwrap_or_default()
    }

    pub(crate) fn required_nodes(&self) -> Option<&NodeSelector> {
        let affinity = self.spec()?.affinity.as_ref()?.node_affinity.as_ref()?;
        affinity.required_during_scheduling_ignored_during_execution.as_ref()
    }

    pub(crate) fn preferred_nodes(&self) -> &[PreferredSchedulingTerm] {
        let affinity = self.spec().and_then(|s| s.affinity.as_ref()?.node_affinity.as_ref());
        affinity.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_deref()).unwrap_or_default()
    }

    /// Whether the pod waits for its gates to be lifted.
    pub(crate) fn is_gated(&self) -> bool {
        self.spec().and_then(|s| s.scheduling_gates.as_ref()).is_some_and(|g| !g.is_empty())
    }
}

fn owner(pod: &Pod) -> Option<String> {
    let owners = pod.metadata.owner_references.iter().flatten();
    owners.into_iter().find(|o| o.controller == Some(true)).map(|o| o.uid.clone())
}

fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
    let taken = ports.filter_map(|p| {
        let port = p.host_port.filter(|n| *n > 0)?;
        let protocol = p.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
        Some(HostPort { ip: p.host_ip.clone().unwrap_or_default(), protocol, port })
    });
    taken.collect()
}

/// Whether a pod has ended, so that it takes nothing of its node any more.
pub(crate) fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// The node that a pod is bound to.
pub(crate) fn bound_to(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|n| !n.is_empty())
}
