//! NodeAffinity: node selectors, required and preferred node affinity.

use super::Rejection;
use crate::cache::Cache;
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm};

pub(super) fn filter(pod: &PodInfo, node: &NodeInfo) -> Option<Rejection> {
    let labels = node.labels();
    let wanted = pod.spec().and_then(|s| s.node_selector.as_ref()).into_iter().flatten();
    let mut selected = true;
    for (key, value) in wanted {
        selected &= labels.and_then(|l| l.get(key)) == Some(value);
    }
    let affine = pod.required_nodes().is_none_or(|s| s.node_selector_terms.iter().any(|t| matches(t, node)));
    if selected && affine {
        return None;
    }
    Rejection::new("NodeAffinity", "node(s) didn't match Pod's node affinity/selector", true)
}

pub(super) fn score(pod: &PodInfo, cache: &Cache, nodes: &[usize]) -> Vec<i64> {
    let preferred = pod.preferred_nodes();
    let weigh = |index: &usize| {
        let node = &cache.nodes()[*index];
        preferred.iter().filter(|p| matches(&p.preference, node)).map(|p| i64::from(p.weight)).sum()
    };
    nodes.iter().map(weigh).collect()
}

/// Whether a node meets a term; an empty term matches nothing.
fn matches(term: &NodeSelectorTerm, node: &NodeInfo) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    let label = |key: &str| node.labels().and_then(|l| l.get(key)).map(String::as_str);
    let field = |key: &str| (key == "metadata.name").then_some(node.name.as_str());
    expressions.iter().all(|r| holds(r, label(&r.key))) && fields.iter().all(|r| holds(r, field(&r.key)))
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = || value.is_some_and(|v| values.iter().any(|x| x == v));
    let numbers = || Some((value?.parse::<i64>().ok()?, values.first()?.parse::<i64>().ok()?));
    match requirement.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => numbers().is_some_and(|(a, b)| a > b),
        "Lt" => numbers().is_some_and(|(a, b)| a < b),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_hold_as_stock() {
        let table = [
            ("In", vec!["a", "b"], Some("a"), true),
            ("In", vec!["a"], None, false),
            ("NotIn", vec!["a"], None, true),
            ("NotIn", vec!["a"], Some("a"), false),
            ("Exists", vec![], Some(""), true),
            ("DoesNotExist", vec![], Some(""), false),
            ("Gt", vec!["3"], Some("4"), true),
            ("Lt", vec!["3"], Some("4"), false),
            ("Gt", vec!["3"], Some("x"), false),
        ];
        for (operator, values, value, want) in table {
            let requirement = NodeSelectorRequirement {
                key: "k".into(),
                operator: operator.into(),
                values: Some(values.iter().map(|v| (*v).to_owned()).collect()),
            };
            assert_eq!(holds(&requirement, value), want, "{requirement:?} {value:?}");
        }
    }
}
