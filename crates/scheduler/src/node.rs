//! A node with what its pods take of it.

use crate::pod::{HostPort, PodInfo};
use crate::resources::Resources;
use ironclad_api::pod_resources;
use k8s_openapi::api::core::v1::{Node, Taint};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

#[derive(Clone, Debug, Default)]
pub(crate) struct NodeInfo {
    pub(crate) name: String,
    /// `None` while only pods of the node are known.
    pub(crate) node: Option<Arc<Node>>,
    pub(crate) allocatable: Resources,
    pub(crate) requested: Resources,
    /// CPU and memory for scoring.
    pub(crate) scored: (i64, i64),
    pub(crate) pods: HashMap<String, Arc<PodInfo>>,
    /// How many pods each controller has here.
    pub(crate) by_owner: HashMap<String, u32>,
    /// Bytes by image name.
    pub(crate) images: HashMap<String, i64>,
}

impl NodeInfo {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    pub(crate) fn set_node(&mut self, node: Arc<Node>) {
        let status = node.status.as_ref();
        let amounts = status.and_then(|s| s.allocatable.as_ref().or(s.capacity.as_ref()));
        self.allocatable = Resources::from_list(&pod_resources::parse(amounts));
        let images = status.and_then(|s| s.images.as_ref()).into_iter().flatten();
        let sized = images.flat_map(|i| {
            let size = i.size_bytes.unwrap_or(0);
            i.names.clone().unwrap_or_default().into_iter().map(move |n| (n, size))
        });
        self.images = sized.collect();
        self.node = Some(node);
    }

    pub(crate) fn add(&mut self, pod: Arc<PodInfo>) {
        self.count(&pod, 1);
        if let Some(owner) = &pod.owner {
            *self.by_owner.entry(owner.clone()).or_default() += 1;
        }
        self.pods.insert(pod.uid.clone(), pod);
    }

    pub(crate) fn remove(&mut self, uid: &str) {
        let Some(pod) = self.pods.remove(uid) else { return };
        self.count(&pod, -1);
        if let Some(count) = pod.owner.as_ref().and_then(|o| self.by_owner.get_mut(o)) {
            *count -= 1;
            if *count == 0 {
                self.by_owner.remove(pod.owner.as_deref().unwrap_or_default());
            }
        }
    }

    fn count(&mut self, pod: &PodInfo, sign: i64) {
        self.requested.add(&pod.requests, sign);
        self.scored.0 += sign * pod.scored.0;
        self.scored.1 += sign * pod.scored.1;
    }

    pub(crate) fn labels(&self) -> Option<&BTreeMap<String, String>> {
        self.node.as_ref()?.metadata.labels.as_ref()
    }

    pub(crate) fn taints(&self) -> &[Taint] {
        let spec = self.node.as_ref().and_then(|n| n.spec.as_ref());
        spec.and_then(|s| s.taints.as_deref()).unwrap_or_default()
    }

    pub(crate) fn is_unschedulable(&self) -> bool {
        self.node.as_ref().and_then(|n| n.spec.as_ref()?.unschedulable).unwrap_or(false)
    }

    /// Whether a pod here takes a port that collides with `port`.
    pub(crate) fn takes(&self, port: &HostPort) -> bool {
        self.pods.values().any(|p| p.ports.iter().any(|taken| taken.collides(port)))
    }
}
