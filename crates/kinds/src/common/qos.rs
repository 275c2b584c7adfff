//! The quality-of-service class of a pod.

use crate::read::{items, map};
use ironclad_api::quantity::Quantity;
use ironclad_json::{Map, Value};

const COMPUTE: [&str; 2] = ["cpu", "memory"];

/// `Guaranteed`, `Burstable` or `BestEffort`. Resources of the pod as a whole decide where they are given.
pub(crate) fn class(pod: &Value) -> &'static str {
    let whole = &pod["spec"]["resources"];
    if whole.is_object() {
        let given = sets(whole, "requests") || sets(whole, "limits");
        return match (given, given && guaranteed(whole)) {
            (false, _) => "BestEffort",
            (true, true) => "Guaranteed",
            (true, false) => "Burstable",
        };
    }
    let all: Vec<&Value> = ["containers", "initContainers"]
        .into_iter()
        .flat_map(|list| items(pod, &["spec", list]))
        .map(|c| &c["resources"])
        .collect();
    if !all.iter().any(|r| sets(r, "requests") || sets(r, "limits")) {
        "BestEffort"
    } else if all.iter().all(|r| guaranteed(r)) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

fn amount(of: Option<&Map>, name: &str) -> Option<Quantity> {
    let q: Quantity = of?.get(name)?.as_str()?.parse().ok()?;
    (!q.is_zero()).then_some(q)
}

fn sets(resources: &Value, part: &str) -> bool {
    COMPUTE.iter().any(|name| amount(map(resources, &[part]), name).is_some())
}

fn guaranteed(resources: &Value) -> bool {
    COMPUTE.iter().all(|name| {
        let limit = amount(map(resources, &["limits"]), name);
        let request = amount(map(resources, &["requests"]), name);
        limit.is_some() && (request.is_none() || request == limit)
    })
}
