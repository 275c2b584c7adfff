//! TaintToleration.

use super::Rejection;
use crate::cache::Cache;
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use k8s_openapi::api::core::v1::{Taint, Toleration};

pub(super) fn filter(pod: &PodInfo, node: &NodeInfo) -> Option<Rejection> {
    let hard = node.taints().iter().filter(|t| matches!(t.effect.as_str(), "NoSchedule" | "NoExecute"));
    let bad = hard.into_iter().find(|taint| !pod.tolerations().iter().any(|t| tolerates(t, taint)))?;
    let value = bad.value.as_deref().unwrap_or_default();
    Rejection::new("TaintToleration", format!("node(s) had untolerated taint {{{}: {value}}}", bad.key), true)
}

/// How many soft taints the pod does not tolerate.
pub(super) fn score(pod: &PodInfo, cache: &Cache, nodes: &[usize]) -> Vec<i64> {
    let soft = |t: &&Toleration| t.effect.as_deref().is_none_or(|e| e.is_empty() || e == "PreferNoSchedule");
    let tolerations: Vec<_> = pod.tolerations().iter().filter(soft).collect();
    let count = |index: &usize| {
        let taints = cache.nodes()[*index].taints().iter().filter(|t| t.effect == "PreferNoSchedule");
        taints.filter(|taint| !tolerations.iter().any(|t| tolerates(t, taint))).count() as i64
    };
    nodes.iter().map(count).collect()
}

/// Whether a toleration covers a taint.
pub(super) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let text = |t: &Option<String>| t.clone().unwrap_or_default();
    let (effect, key) = (text(&toleration.effect), text(&toleration.key));
    if !effect.is_empty() && effect != taint.effect {
        return false;
    }
    if !key.is_empty() && key != taint.key {
        return false;
    }
    let (mine, theirs) = (text(&toleration.value), text(&taint.value));
    match toleration.operator.as_deref().unwrap_or_default() {
        "" | "Equal" => mine == theirs,
        "Exists" => true,
        "Lt" | "Gt" => compare(toleration.operator.as_deref(), &mine, &theirs),
        _ => false,
    }
}

/// Numeric tolerations (KEP-5471): the taint's number is below or above the toleration's.
fn compare(operator: Option<&str>, toleration: &str, taint: &str) -> bool {
    match (toleration.parse::<i64>(), taint.parse::<i64>()) {
        (Ok(limit), Ok(value)) if operator == Some("Lt") => value < limit,
        (Ok(limit), Ok(value)) => value > limit,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerations_cover_taints_as_stock() {
        let taint = Taint { key: "k".into(), value: Some("v".into()), effect: "NoSchedule".into(), time_added: None };
        let table = [
            ("k", "Equal", "v", "NoSchedule", true),
            ("k", "", "v", "", true),
            ("k", "Equal", "w", "NoSchedule", false),
            ("k", "Exists", "", "", true),
            ("", "Exists", "", "", true),
            ("k", "Exists", "", "NoExecute", false),
            ("other", "Exists", "", "", false),
        ];
        for (key, operator, value, effect, want) in table {
            let some = |s: &str| (!s.is_empty()).then(|| s.to_owned());
            let toleration = Toleration {
                key: some(key),
                operator: some(operator),
                value: some(value),
                effect: some(effect),
                toleration_seconds: None,
            };
            assert_eq!(tolerates(&toleration, &taint), want, "{toleration:?}");
        }
    }
}
