//! All nodes with their pods, pods that are assumed to be bound included. Plain data; the driver locks it.

use crate::node::NodeInfo;
use crate::pod::PodInfo;
use k8s_openapi::api::core::v1::Node;
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Debug, Default)]
pub(crate) struct Cache {
    nodes: Vec<NodeInfo>,
    by_name: HashMap<String, usize>,
    /// The node on which each pod counts.
    placed: HashMap<String, String>,
    /// Where the search for feasible nodes goes on, so that all nodes get their turn.
    pub(crate) next: usize,
}

impl Cache {
    pub(crate) fn nodes(&self) -> &[NodeInfo] {
        &self.nodes
    }

    /// How many nodes and pods there are.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.nodes.len(), self.placed.len())
    }

    #[cfg(test)]
    pub(crate) fn node(&self, name: &str) -> Option<&NodeInfo> {
        self.by_name.get(name).map(|i| &self.nodes[*i])
    }

    fn node_mut(&mut self, name: &str) -> &mut NodeInfo {
        let index = *self.by_name.entry(name.to_owned()).or_insert_with(|| {
            self.nodes.push(NodeInfo::new(name));
            self.nodes.len() - 1
        });
        &mut self.nodes[index]
    }

    pub(crate) fn put_node(&mut self, node: Arc<Node>) {
        let name = node.metadata.name.clone().unwrap_or_default();
        self.node_mut(&name).set_node(node);
    }

    pub(crate) fn remove_node(&mut self, name: &str) {
        if self.by_name.contains_key(name) {
            self.node_mut(name).node = None;
            self.drop_if_empty(name);
        }
    }

    /// Counts a pod on a node; moves it if it counted elsewhere.
    pub(crate) fn place(&mut self, pod: Arc<PodInfo>, node: &str) {
        let before = self.placed.insert(pod.uid.clone(), node.to_owned());
        if let Some(before) = before {
            self.node_mut(&before).remove(&pod.uid);
            if before != node {
                self.drop_if_empty(&before);
            }
        }
        self.node_mut(node).add(pod);
    }

    /// No longer counts a pod; returns its node.
    pub(crate) fn remove_pod(&mut self, uid: &str) -> Option<String> {
        let node = self.placed.remove(uid)?;
        self.node_mut(&node).remove(uid);
        self.drop_if_empty(&node);
        Some(node)
    }

    fn drop_if_empty(&mut self, name: &str) {
        let Some(&index) = self.by_name.get(name) else { return };
        if self.nodes[index].node.is_some() || !self.nodes[index].pods.is_empty() {
            return;
        }
        self.by_name.remove(name);
        self.nodes.swap_remove(index);
        if let Some(moved) = self.nodes.get(index) {
            self.by_name.insert(moved.name.clone(), index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Pod;

    fn pod(uid: &str) -> Arc<PodInfo> {
        let mut pod = Pod::default();
        pod.metadata.uid = Some(uid.into());
        Arc::new(PodInfo::new(Arc::new(pod)))
    }

    fn node(name: &str) -> Arc<Node> {
        let mut node = Node::default();
        node.metadata.name = Some(name.into());
        Arc::new(node)
    }

    #[test]
    fn a_pod_counts_on_one_node_only() {
        let mut cache = Cache::default();
        cache.put_node(node("a"));
        cache.put_node(node("b"));
        cache.place(pod("1"), "a");
        cache.place(pod("1"), "b");
        assert_eq!(cache.node("a").unwrap().requested.pods, 0);
        assert_eq!(cache.node("b").unwrap().requested.pods, 1);
        assert_eq!(cache.remove_pod("1").as_deref(), Some("b"));
        assert_eq!(cache.node("b").unwrap().requested.pods, 0);
    }

    #[test]
    fn a_node_without_object_and_pods_is_forgotten() {
        let mut cache = Cache::default();
        for name in ["a", "b", "c"] {
            cache.put_node(node(name));
        }
        cache.place(pod("1"), "a");
        cache.remove_node("a");
        assert!(cache.node("a").unwrap().node.is_none());
        cache.remove_pod("1");
        assert_eq!(cache.nodes().len(), 2);
        assert!(cache.node("c").is_some() && cache.node("b").is_some());
    }
}
