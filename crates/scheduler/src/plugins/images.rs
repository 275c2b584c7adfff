//! ImageLocality: nodes that have the pod's images already.

use super::MAX_SCORE;
use crate::cache::Cache;
use crate::pod::PodInfo;

const MIN: i64 = 23 << 20;
const MAX_PER_CONTAINER: i64 = 1000 << 20;

pub(super) fn score(pod: &PodInfo, cache: &Cache, nodes: &[usize]) -> Vec<i64> {
    let containers = pod.spec().map(|s| s.containers.as_slice()).unwrap_or_default();
    let names: Vec<String> = containers.iter().filter_map(|c| c.image.as_deref()).map(with_tag).collect();
    let max = MAX_PER_CONTAINER * names.len().max(1) as i64;
    let score = |index: &usize| {
        let images = &cache.nodes()[*index].images;
        let there: i64 = names.iter().filter_map(|n| images.get(n)).sum();
        (there.clamp(MIN, max) - MIN) * MAX_SCORE / (max - MIN)
    };
    nodes.iter().map(score).collect()
}

/// The name with `:latest` where it has no tag.
fn with_tag(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains(':') || last.contains('@') { image.to_owned() } else { format!("{image}:latest") }
}
