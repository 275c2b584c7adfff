//! The status of a pod: a pure function of its specification and of what the runtime shows.

use crate::decide::is_sidecar;
use ironclad_cri::{ContainerState as Runs, ContainerStatus as Seen};
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    HostIP, Pod, PodCondition, PodIP, PodSpec, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use std::collections::{HashMap, HashSet};

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
}

fn time(nanos: i64) -> Option<Time> {
    (nanos > 0).then(|| Time(Timestamp::from_nanosecond(i128::from(nanos)).unwrap_or(Timestamp::UNIX_EPOCH)))
}

fn terminated(seen: &Seen, facts: &Facts<'_>) -> ContainerState {
    let message = facts.messages.get(seen.id.as_str()).cloned().filter(|m| !m.is_empty());
    let own = (!seen.message.is_empty()).then(|| seen.message.clone());
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            container_id: Some(format!("ironclad://{}", seen.id)),
            exit_code: seen.exit_code,
            reason: Some(seen.reason.clone()).filter(|r| !r.is_empty()),
            message: message.or(own),
            started_at: time(seen.started_at),
            finished_at: time(seen.finished_at),
            signal: None,
        }),
        ..ContainerState::default()
    }
}

fn waiting(reason: &str, message: &str) -> ContainerState {
    let some = |t: &str| (!t.is_empty()).then(|| t.to_owned());
    ContainerState {
        waiting: Some(ContainerStateWaiting { reason: some(reason), message: some(message) }),
        ..ContainerState::default()
    }
}

fn container(c: &Container, init: bool, spec: &PodSpec, facts: &Facts<'_>) -> ContainerStatus {
    let all = facts.containers.get(c.name.as_str()).map(Vec::as_slice).unwrap_or_default();
    let newest = all.first().copied();
    let mut last = ContainerState::default();
    let name = c.name.as_str();
    let state = match newest {
        None => match facts.waiting.get(name) {
            Some((reason, message)) => waiting(reason, message),
            None if spec.init_containers.as_ref().is_some_and(|i| !i.is_empty()) => waiting("PodInitializing", ""),
            None => waiting("ContainerCreating", ""),
        },
        Some(seen) if seen.state == Runs::Running => {
            if let Some(before) = all.get(1) {
                last = terminated(before, facts);
            }
            ContainerState {
                running: Some(ContainerStateRunning { started_at: time(seen.started_at) }),
                ..ContainerState::default()
            }
        }
        Some(seen) if seen.state == Runs::Exited => match facts.waiting.get(name) {
            Some((reason, message)) => {
                last = terminated(seen, facts);
                waiting(reason, message)
            }
            None => {
                if let Some(before) = all.get(1) {
                    last = terminated(before, facts);
                }
                terminated(seen, facts)
            }
        },
        Some(_) => waiting("ContainerCreating", ""),
    };
    let running = state.running.is_some();
    let done = state.terminated.as_ref().is_some_and(|t| t.exit_code == 0);
    let ready = if init && !is_sidecar(c) { done } else { running && facts.ready.contains(name) };
    ContainerStatus {
        name: c.name.clone(),
        image: c.image.clone().unwrap_or_default(),
        image_id: newest.map(|n| n.image_ref.clone()).unwrap_or_default(),
        container_id: newest.map(|n| format!("ironclad://{}", n.id)),
        restart_count: newest.map_or(0, |n| n.config.attempt as i32),
        ready,
        started: Some(running && (facts.started.contains(name) || (init && !is_sidecar(c)))),
        state: Some(state),
        last_state: Some(last),
        resources: c.resources.clone().filter(|r| r.limits.is_some() || r.requests.is_some()),
        ..ContainerStatus::default()
    }
}

/// The phase that follows from the containers' states.
fn phase(spec: &PodSpec, inits: &[ContainerStatus], mains: &[ContainerStatus]) -> &'static str {
    let policy = spec.restart_policy.as_deref().unwrap_or("Always");
    let ended = |s: &ContainerStatus| s.state.as_ref().and_then(|s| s.terminated.as_ref()).map(|t| t.exit_code);
    let running = |s: &ContainerStatus| s.state.as_ref().is_some_and(|s| s.running.is_some());
    let crashed = |s: &ContainerStatus| s.last_state.as_ref().is_some_and(|l| l.terminated.is_some());
    let steps: Vec<(&ContainerStatus, &Container)> =
        inits.iter().zip(spec.init_containers.iter().flatten()).filter(|(_, c)| !is_sidecar(c)).collect();
    if policy == "Never" && steps.iter().any(|(s, _)| ended(s).is_some_and(|c| c != 0)) {
        return "Failed";
    }
    let began = mains.iter().any(|s| running(s) || ended(s).is_some() || crashed(s));
    if !began && steps.iter().any(|(s, _)| ended(s) != Some(0)) {
        return "Pending";
    }
    let all_ended = mains.iter().all(|s| ended(s).is_some());
    if mains.iter().any(|s| !running(s) && ended(s).is_none() && !crashed(s)) {
        return "Pending";
    }
    match (all_ended, policy) {
        (false, _) | (true, "Always") => "Running",
        (true, _) if mains.iter().all(|s| ended(s) == Some(0)) => "Succeeded",
        (true, "Never") => "Failed",
        (true, _) => "Running",
    }
}

fn condition(kind: &str, good: bool, reason: &str, message: &str, generation: Option<i64>) -> PodCondition {
    let some = |t: &str| (!t.is_empty() && !good).then(|| t.to_owned());
    PodCondition {
        type_: kind.to_owned(),
        status: if good { "True" } else { "False" }.to_owned(),
        reason: some(reason),
        message: some(message),
        observed_generation: generation,
        ..PodCondition::default()
    }
}

fn names(list: &[&ContainerStatus]) -> String {
    format!("[{}]", list.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(" "))
}

/// The status of a pod now. What others set in the old one stays.
pub(crate) fn status(pod: &Pod, facts: &Facts<'_>) -> PodStatus {
    let spec = pod.spec.clone().unwrap_or_default();
    let old = pod.status.clone().unwrap_or_default();
    let inits: Vec<ContainerStatus> =
        spec.init_containers.iter().flatten().map(|c| container(c, true, &spec, facts)).collect();
    let mains: Vec<ContainerStatus> = spec.containers.iter().map(|c| container(c, false, &spec, facts)).collect();
    let phase = match old.phase.as_deref() {
        // What has ended stays ended.
        Some(ended @ ("Succeeded" | "Failed")) => ended,
        _ => phase(&spec, &inits, &mains),
    };
    let over = matches!(phase, "Succeeded" | "Failed");
    let generation = pod.metadata.generation;
    let unfinished: Vec<&ContainerStatus> = inits
        .iter()
        .zip(spec.init_containers.iter().flatten())
        .filter(|(s, c)| {
            let done = s.state.as_ref().and_then(|s| s.terminated.as_ref()).is_some_and(|t| t.exit_code == 0);
            if is_sidecar(c) { s.started != Some(true) } else { !done }
        })
        .map(|(s, _)| s)
        .collect();
    let began = mains.iter().any(|s| s.container_id.is_some());
    let initialized = unfinished.is_empty() || began;
    let unready: Vec<&ContainerStatus> = mains.iter().filter(|s| !s.ready).collect();
    let reason = if phase == "Succeeded" {
        "PodCompleted"
    } else if over {
        "PodFailed"
    } else {
        "ContainersNotReady"
    };
    let text = if over { String::new() } else { format!("containers with unready status: {}", names(&unready)) };
    let ready = unready.is_empty() && !over;
    let gates_open = spec
        .readiness_gates
        .iter()
        .flatten()
        .all(|g| old.conditions.iter().flatten().any(|c| c.type_ == g.condition_type && c.status == "True"));
    let mut fresh = vec![
        condition("PodReadyToStartContainers", facts.sandbox && !over, "", "", generation),
        condition(
            "Initialized",
            initialized,
            "ContainersNotInitialized",
            &format!("containers with incomplete status: {}", names(&unfinished)),
            generation,
        ),
        condition(
            "Ready",
            ready && gates_open,
            if ready { "ReadinessGatesNotReady" } else { reason },
            &text,
            generation,
        ),
        condition("ContainersReady", ready, reason, &text, generation),
        condition("PodScheduled", true, "", "", generation),
    ];
    if phase == "Succeeded" {
        fresh[1].reason = Some("PodCompleted".to_owned());
    }
    let now = Time(Timestamp::now());
    for c in &mut fresh {
        let before = old.conditions.iter().flatten().find(|o| o.type_ == c.type_);
        c.last_transition_time = match before {
            Some(o) if o.status == c.status => o.last_transition_time.clone(),
            _ => Some(now.clone()),
        };
    }
    let others = old.conditions.iter().flatten().filter(|o| !fresh.iter().any(|c| c.type_ == o.type_)).cloned();
    let others: Vec<PodCondition> = others.collect();
    fresh.extend(others);
    let ips: Vec<PodIP> = facts.ips.iter().map(|ip| PodIP { ip: ip.clone() }).collect();
    PodStatus {
        phase: Some(phase.to_owned()),
        conditions: Some(fresh),
        container_statuses: Some(mains),
        init_container_statuses: (!inits.is_empty()).then_some(inits),
        host_ip: Some(facts.host_ip.clone()),
        host_ips: Some(vec![HostIP { ip: facts.host_ip.clone() }]),
        pod_ip: facts.ips.first().cloned().or(old.pod_ip.clone()),
        pod_ips: if ips.is_empty() { old.pod_ips.clone() } else { Some(ips) },
        start_time: old.start_time.clone().or(Some(now)),
        observed_generation: generation,
        ..old
    }
}
