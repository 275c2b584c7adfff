//! NodeResourcesFit with the strategy LeastAllocated, and NodeResourcesBalancedAllocation.

use super::{MAX_SCORE, Rejection};
use crate::cache::Cache;
use crate::node::NodeInfo;
use crate::pod::PodInfo;

pub(super) fn filter(pod: &PodInfo, node: &NodeInfo) -> Option<Rejection> {
    let mut reasons = Vec::new();
    if node.requested.pods + 1 > node.allocatable.pods {
        reasons.push("Too many pods".to_owned());
    }
    let lacking = node.allocatable.lacking(&node.requested, &pod.requests);
    reasons.extend(lacking.into_iter().map(|name| format!("Insufficient {name}")));
    if reasons.is_empty() {
        return None;
    }
    // More than an empty node has cannot be freed by evicting pods.
    let unresolvable = !node.allocatable.lacking(&crate::resources::Resources::default(), &pod.requests).is_empty();
    Some(Rejection { plugin: "NodeResourcesFit", reasons, unresolvable })
}

/// The share of CPU and memory that would be free, on average.
pub(super) fn least_allocated(pod: &PodInfo, cache: &Cache, nodes: &[usize]) -> Vec<i64> {
    let free = |used: i64, of: i64| if of == 0 || used > of { 0 } else { (of - used) * MAX_SCORE / of };
    let score = |index: &usize| {
        let node = &cache.nodes()[*index];
        let cpu = free(node.scored.0 + pod.scored.0, node.allocatable.milli_cpu);
        let memory = free(node.scored.1 + pod.scored.1, node.allocatable.memory);
        i64::midpoint(cpu, memory)
    };
    nodes.iter().map(score).collect()
}

/// How alike the used shares of CPU and memory would be.
pub(super) fn balanced(pod: &PodInfo, cache: &Cache, nodes: &[usize]) -> Vec<i64> {
    let share = |used: i64, of: i64| if of == 0 { 1.0 } else { (used as f64 / of as f64).min(1.0) };
    let score = |index: &usize| {
        let node = &cache.nodes()[*index];
        let cpu = share(node.requested.milli_cpu + pod.requests.milli_cpu, node.allocatable.milli_cpu);
        let memory = share(node.requested.memory + pod.requests.memory, node.allocatable.memory);
        // The standard deviation of two values is half their distance.
        ((1.0 - (cpu - memory).abs() / 2.0) * MAX_SCORE as f64) as i64
    };
    nodes.iter().map(score).collect()
}
