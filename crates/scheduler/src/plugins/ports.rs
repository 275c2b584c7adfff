//! NodePorts: ports of the host that are taken already.

use super::Rejection;
use crate::node::NodeInfo;
use crate::pod::PodInfo;

pub(super) fn filter(pod: &PodInfo, node: &NodeInfo) -> Option<Rejection> {
    if !pod.ports.iter().any(|p| node.takes(p)) {
        return None;
    }
    Rejection::new("NodePorts", "node(s) didn't have free ports for the requested pod ports", false)
}
