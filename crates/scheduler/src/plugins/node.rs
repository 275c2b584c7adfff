//! NodeUnschedulable and NodeName.

use super::Rejection;
use super::taints::tolerates;
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use k8s_openapi::api::core::v1::Taint;

pub(super) fn unschedulable(pod: &PodInfo, node: &NodeInfo) -> Option<Rejection> {
    if !node.is_unschedulable() {
        return None;
    }
    let taint = Taint {
        key: "node.kubernetes.io/unschedulable".to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    };
    if pod.tolerations().iter().any(|t| tolerates(t, &taint)) {
        return None;
    }
    Rejection::new("NodeUnschedulable", "node(s) were unschedulable", true)
}

pub(super) fn name(pod: &PodInfo, node: &NodeInfo) -> Option<Rejection> {
    let wanted = pod.spec()?.node_name.as_deref().filter(|n| !n.is_empty())?;
    if wanted == node.name {
        return None;
    }
    Rejection::new("NodeName", "node(s) didn't match the requested node name", true)
}
