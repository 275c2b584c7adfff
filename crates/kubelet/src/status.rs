//! The status of a pod: a pure function of its specification and of what the runtime and the probes show.

mod conditions;
mod containers;
mod phase;

use crate::pod::{Plan, Role};
use ironclad_cri::ContainerStatus as Seen;
use k8s_openapi::api::core::v1::{HostIP, PodCondition, PodIP, PodStatus, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};

/// Conditions that the kubelet owns; others in the status are not touched.
pub(crate) const OWNED: [&str; 7] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
    "PodResizePending",
    "PodResizeInProgress",
];

/// A condition that the kubelet adds, but that others may have set before.
pub(crate) const DISRUPTED: &str = "DisruptionTarget";

/// What is known besides the specification.
#[derive(Debug, Default)]
pub(crate) struct Facts<'a> {
    /// The containers of each name, newest first.
    pub(crate) containers: HashMap<&'a str, Vec<&'a Seen>>,
    pub(crate) sandbox: bool,
    pub(crate) ips: Vec<String>,
    pub(crate) host_ip: String,
    /// Why a container waits: reason and message.
    pub(crate) waiting: HashMap<&'a str, (String, String)>,
    /// Containers whose readiness probe succeeds, or that have none.
    pub(crate) ready: HashSet<&'a str>,
    /// Containers whose startup probe has succeeded, or that have none.
    pub(crate) started: HashSet<&'a str>,
    /// Last words by container id.
    pub(crate) messages: HashMap<&'a str, String>,
    /// Why the node ended the pod: reason and message.
    pub(crate) failure: Option<(String, String)>,
    /// The node did not take the pod.
    pub(crate) rejected: bool,
    /// Nothing of the pod runs any more, or will.
    pub(crate) ended: bool,
    /// What the node gives each container, and the pod as a whole.
    pub(crate) allocated: HashMap<String, ResourceRequirements>,
    /// What the node gives the pod in all, and what it has.
    pub(crate) whole: Whole,
    /// What each running container has.
    pub(crate) actual: HashMap<String, ResourceRequirements>,
    /// More conditions: type, reason, message.
    pub(crate) conditions: Vec<(&'static str, String, String)>,
}

/// The resources of a pod as a whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Whole {
    /// What it is given: the sum over its containers unless it says it itself.
    pub(crate) given: ResourceRequirements,
    /// What its cgroup has, while there is one.
    pub(crate) has: Option<ResourceRequirements>,
}

pub(crate) fn time(nanos: i64) -> Option<Time> {
    (nanos > 0).then(|| Time(Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or(Timestamp::UNIX_EPOCH)))
}

/// The status of a pod now. What others set in the old one stays.
pub(crate) fn status(plan: &Plan, facts: &Facts<'_>, old: &PodStatus) -> PodStatus {
    let old = old.clone();
    if facts.rejected {
        return rejected(plan, facts, old);
    }
    let list = |roles: &[Role]| -> Vec<_> {
        plan.units.iter().filter(|u| roles.contains(&u.role)).map(|u| containers::status(plan, u, facts)).collect()
    };
    let inits = list(&[Role::Init, Role::Sidecar]);
    let (mains, ephemerals) = (list(&[Role::Main]), list(&[Role::Ephemeral]));
    let phase = match (old.phase.as_deref(), &facts.failure) {
        // What has ended stays ended.
        (Some(ended @ ("Succeeded" | "Failed")), _) => ended,
        (_, Some(_)) if facts.ended => "Failed",
        _ => phase::phase(plan, &inits, &mains, facts.ended),
    };
    let now = Time(Timestamp::now());
    let mut fresh = conditions::conditions(plan, facts, phase, &inits, &mains);
    for condition in &mut fresh {
        let before = old.conditions.iter().flatten().find(|o| o.type_ == condition.type_);
        condition.last_transition_time = match before {
            Some(o) if o.status == condition.status => o.last_transition_time.clone(),
            _ => Some(now.clone()),
        };
    }
    let others = old.conditions.iter().flatten().filter(|o| !OWNED.contains(&o.type_.as_str()));
    let others: Vec<PodCondition> = others.filter(|o| !fresh.iter().any(|c| c.type_ == o.type_)).cloned().collect();
    fresh.extend(others);
    let ips: Vec<PodIP> = facts.ips.iter().map(|ip| PodIP { ip: ip.clone() }).collect();
    let failure = facts.failure.clone().filter(|_| phase == "Failed");
    PodStatus {
        phase: Some(phase.to_owned()),
        reason: failure.as_ref().map(|f| f.0.clone()).or(old.reason.clone()),
        message: failure.map(|f| f.1).or(old.message.clone()),
        conditions: Some(fresh),
        container_statuses: Some(mains),
        init_container_statuses: (!inits.is_empty()).then_some(inits),
        ephemeral_container_statuses: (!ephemerals.is_empty()).then_some(ephemerals),
        host_ip: Some(facts.host_ip.clone()),
        host_ips: Some(vec![HostIP { ip: facts.host_ip.clone() }]),
        pod_ip: facts.ips.first().cloned().or(old.pod_ip.clone()),
        pod_ips: if ips.is_empty() { old.pod_ips.clone() } else { Some(ips) },
        start_time: old.start_time.clone().or(Some(now)),
        observed_generation: plan.pod.metadata.generation,
        allocated_resources: facts.whole.given.requests.clone().filter(|r| !r.is_empty()),
        resources: Some(match &facts.whole.has {
            Some(has) if phase == "Running" => has.clone(),
            _ => facts.whole.given.clone(),
        }),
        qos_class: old.qos_class.clone().or_else(|| Some(plan.qos().to_owned())),
        ..old
    }
}

/// The status of a pod that the node does not take.
fn rejected(plan: &Plan, facts: &Facts<'_>, old: PodStatus) -> PodStatus {
    let (reason, message) = facts.failure.clone().unwrap_or_default();
    PodStatus {
        phase: Some("Failed".to_owned()),
        reason: Some(reason),
        message: Some(message),
        start_time: old.start_time.clone().or(Some(Time(Timestamp::now()))),
        observed_generation: plan.pod.metadata.generation,
        ..old
    }
}

/// A strategic merge patch from one status to another. Conditions of others are not in it, so that they stay.
pub(crate) fn patch(old: &PodStatus, new: &PodStatus) -> Value {
    let (old, mut new) = (json!(old), json!(new));
    let known: Vec<String> = old.as_object().into_iter().flatten().map(|(k, _)| k.clone()).collect();
    let mut changed = serde_json::Map::new();
    let before = |kind: &Value| old["conditions"].as_array().into_iter().flatten().find(|c| c["type"] == *kind);
    let mut conditions = Vec::new();
    for condition in new["conditions"].as_array_mut().into_iter().flatten() {
        let owned = condition["type"] == DISRUPTED || OWNED.iter().any(|o| condition["type"] == *o);
        if !owned || before(&condition["type"]) == Some(&*condition) {
            continue;
        }
        for field in ["reason", "message"] {
            if before(&condition["type"]).is_some_and(|b| b.get(field).is_some()) && condition.get(field).is_none() {
                condition[field] = Value::Null;
            }
        }
        conditions.push(condition.clone());
    }
    for gone in old["conditions"].as_array().into_iter().flatten() {
        let kind = &gone["type"];
        let stays = new["conditions"].as_array().into_iter().flatten().any(|c| c["type"] == *kind);
        if !stays && OWNED.iter().any(|o| kind == o) {
            conditions.push(json!({"type": kind, "$patch": "delete"}));
        }
    }
    for (key, value) in new.as_object().into_iter().flatten() {
        if key != "conditions" && old.get(key) != Some(value) {
            let mut value = value.clone();
            // These lists would be merged by address: a pod never keeps an old one.
            if let (true, Some(list)) = (key.ends_with("IPs"), value.as_array_mut()) {
                list.push(json!({"$patch": "replace"}));
            }
            changed.insert(key.clone(), value);
        }
    }
    for key in known.iter().filter(|k| new.get(k.as_str()).is_none()) {
        changed.insert(key.clone(), Value::Null);
    }
    if !conditions.is_empty() {
        changed.insert("conditions".to_owned(), Value::Array(conditions));
    }
    Value::Object(changed)
}

#[cfg(test)]
mod tests;
