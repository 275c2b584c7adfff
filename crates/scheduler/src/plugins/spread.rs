//! Spreading by default: of one controller's pods, few on one node and few in one zone.

use crate::cache::Cache;
use crate::pod::PodInfo;
use std::collections::HashMap;

const ZONE: &str = "topology.kubernetes.io/zone";

/// Pods of the same controller on the node, and half as much for each one in the zone.
pub(super) fn score(pod: &PodInfo, cache: &Cache, nodes: &[usize]) -> Vec<i64> {
    let explicit = pod.spec().and_then(|s| s.topology_spread_constraints.as_ref()).is_some_and(|c| !c.is_empty());
    let Some(owner) = pod.owner.as_deref().filter(|_| !explicit) else { return vec![0; nodes.len()] };
    let mut zones: HashMap<&str, i64> = HashMap::new();
    let here = |index: usize| i64::from(cache.nodes()[index].by_owner.get(owner).copied().unwrap_or(0));
    let zone = |index: usize| cache.nodes()[index].labels().and_then(|l| l.get(ZONE)).map(String::as_str);
    for &index in nodes {
        if let Some(zone) = zone(index) {
            *zones.entry(zone).or_default() += here(index);
        }
    }
    let score = |&index: &usize| here(index) * 2 + zone(index).map_or(0, |z| zones[z]);
    nodes.iter().map(score).collect()
}
