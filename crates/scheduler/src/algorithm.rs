//! The decision: which node for this pod, or why none. Pure.

use crate::cache::Cache;
use crate::plugins::{FILTERS, Rejection, SCORES};
use crate::pod::PodInfo;
use std::collections::{BTreeMap, BTreeSet};

/// Below so many nodes all are looked at.
const MIN_FEASIBLE: usize = 100;

/// Why a pod fits nowhere.
#[derive(Debug, Default)]
pub(crate) struct FitError {
    pub(crate) nodes: usize,
    pub(crate) reasons: BTreeMap<String, usize>,
    pub(crate) plugins: BTreeSet<&'static str>,
    /// On how many nodes evicting pods could not help.
    pub(crate) unresolvable: usize,
}

impl FitError {
    fn add(&mut self, rejection: Rejection) {
        self.plugins.insert(rejection.plugin);
        self.unresolvable += usize::from(rejection.unresolvable);
        for reason in rejection.reasons {
            *self.reasons.entry(reason).or_default() += 1;
        }
    }

    /// The message of the event and the condition, as stock words it.
    pub(crate) fn message(&self) -> String {
        if self.nodes == 0 {
            return "no nodes available to schedule pods".to_owned();
        }
        let counted: BTreeSet<String> =
            self.reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        let counted: Vec<String> = counted.into_iter().collect();
        let preemption = self.preemption();
        format!("0/{} nodes are available: {}. {preemption}", self.nodes, counted.join(", "))
    }

    fn preemption(&self) -> String {
        let mut parts = Vec::new();
        if self.nodes > self.unresolvable {
            parts.push(format!("{} No preemption victims found for incoming pod", self.nodes - self.unresolvable));
        }
        if self.unresolvable > 0 {
            parts.push(format!("{} Preemption is not helpful for scheduling", self.unresolvable));
        }
        parts.sort();
        format!("preemption: 0/{} nodes are available: {}.", self.nodes, parts.join(", "))
    }
}

/// The name of the best node for `pod`.
pub(crate) fn schedule(pod: &PodInfo, cache: &mut Cache) -> Result<String, FitError> {
    let total = cache.nodes().len();
    let enough = feasible_to_find(total);
    let (mut feasible, mut error) = (Vec::new(), FitError::default());
    let start = if total == 0 { 0 } else { cache.next % total };
    let mut looked = 0;
    for offset in 0..total {
        let index = (start + offset) % total;
        looked = offset + 1;
        let node = &cache.nodes()[index];
        if node.node.is_none() {
            continue;
        }
        error.nodes += 1;
        match FILTERS.iter().find_map(|f| f(pod, node)) {
            Some(rejection) => error.add(rejection),
            None => feasible.push(index),
        }
        if feasible.len() >= enough {
            break;
        }
    }
    cache.next = start + looked;
    match feasible.as_slice() {
        [] => Err(error),
        [only] => Ok(cache.nodes()[*only].name.clone()),
        many => Ok(cache.nodes()[best(pod, cache, many)].name.clone()),
    }
}

/// How many feasible nodes are enough: all of a small cluster, a falling share of a large one, as in stock.
fn feasible_to_find(nodes: usize) -> usize {
    if nodes < MIN_FEASIBLE {
        return nodes.max(1);
    }
    let percent = 50usize.saturating_sub(nodes / 125).max(5);
    (nodes * percent / 100).max(MIN_FEASIBLE)
}

/// The node with the highest weighted score; one of the best at random.
fn best(pod: &PodInfo, cache: &Cache, nodes: &[usize]) -> usize {
    let mut totals = vec![0i64; nodes.len()];
    for score in SCORES {
        let mut scores = (score.raw)(pod, cache, nodes);
        score.normalize.apply(&mut scores);
        totals.iter_mut().zip(scores).for_each(|(total, s)| *total += score.weight * s);
    }
    let highest = totals.iter().copied().max().unwrap_or(0);
    let best: Vec<usize> = nodes.iter().zip(&totals).filter(|(_, t)| **t == highest).map(|(n, _)| *n).collect();
    best[fastrand::usize(..best.len())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{Node, Pod};
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn node(name: &str, extra: Value) -> Arc<Node> {
        let mut value = json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "10"}},
        });
        value["spec"] = extra;
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn pod(uid: &str, spec: Value) -> Arc<PodInfo> {
        let mut value = json!({"metadata": {"uid": uid, "name": uid, "ownerReferences": [
            {"uid": "rs", "controller": true, "kind": "ReplicaSet", "apiVersion": "apps/v1", "name": "rs"}]}});
        value["spec"] = spec;
        value["spec"].as_object_mut().unwrap().entry("containers").or_insert(json!([{"name": "c"}]));
        let pod: Pod = serde_json::from_value(value).unwrap();
        Arc::new(PodInfo::new(Arc::new(pod)))
    }

    fn cpu(amount: &str) -> Value {
        json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": amount}}}]})
    }

    #[test]
    fn a_pod_that_fits_nowhere_says_why_in_the_stock_words() {
        let mut cache = Cache::default();
        assert_eq!(
            schedule(&pod("p", json!({})), &mut cache).unwrap_err().message(),
            "no nodes available to schedule pods"
        );
        cache.put_node(node("a", json!({})));
        cache.put_node(node("b", json!({"taints": [{"key": "k", "effect": "NoSchedule"}]})));
        cache.put_node(node("c", json!({"unschedulable": true})));
        assert_eq!(
            schedule(&pod("p", cpu("3")), &mut cache).unwrap_err().message(),
            "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {k: }, 1 node(s) were \
             unschedulable. preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
        );
        cache.place(pod("q", cpu("1500m")), "a");
        let message = schedule(&pod("p", cpu("1")), &mut cache).unwrap_err().message();
        assert!(
            message.ends_with(
                "1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling."
            ),
            "{message}"
        );
    }

    #[test]
    fn selectors_and_ports_filter() {
        let mut cache = Cache::default();
        cache.put_node(node("a", json!({})));
        cache.put_node(node("b", json!({})));
        let selected = json!({"nodeSelector": {"kubernetes.io/hostname": "b"}});
        assert_eq!(schedule(&pod("p", selected), &mut cache).unwrap(), "b");
        let port = json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]});
        cache.place(pod("q", port.clone()), "a");
        assert_eq!(schedule(&pod("p", port.clone()), &mut cache).unwrap(), "b");
        cache.place(pod("r", port.clone()), "b");
        let error = schedule(&pod("p", port), &mut cache).unwrap_err();
        assert_eq!(error.reasons.keys().next().unwrap(), "node(s) didn't have free ports for the requested pod ports");
    }

    #[test]
    fn the_pods_of_one_controller_spread() {
        let mut cache = Cache::default();
        for name in ["a", "b", "c"] {
            cache.put_node(node(name, json!({})));
        }
        for i in 0..9 {
            let p = pod(&i.to_string(), json!({}));
            let chosen = schedule(&p, &mut cache).unwrap();
            cache.place(p, &chosen);
        }
        for name in ["a", "b", "c"] {
            assert_eq!(cache.node(name).unwrap().pods.len(), 3, "{name}");
        }
    }

    #[test]
    fn large_clusters_are_sampled() {
        assert_eq!(feasible_to_find(10), 10);
        assert_eq!(feasible_to_find(1000), 420);
        assert_eq!(feasible_to_find(5000), 500);
    }
}
