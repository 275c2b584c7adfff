//! The conditions of a pod.

use super::Facts;
use crate::pod::{Plan, Role, Unit};
use k8s_openapi::api::core::v1::{ContainerStatus, PodCondition};

/// What keeps a condition from being true: reason and message.
type Obstacle = Option<(String, String)>;

fn condition(plan: &Plan, kind: &str, obstacle: Obstacle) -> PodCondition {
    PodCondition {
        type_: kind.to_owned(),
        status: if obstacle.is_none() { "True" } else { "False" }.to_owned(),
        reason: obstacle.as_ref().map(|o| o.0.clone()).filter(|t| !t.is_empty()),
        message: obstacle.map(|o| o.1).filter(|t| !t.is_empty()),
        observed_generation: plan.pod.metadata.generation,
        ..PodCondition::default()
    }
}

fn listed(what: &str, names: &[&str]) -> String {
    format!("containers with {what} status: [{}]", names.join(" "))
}

pub(super) fn conditions(
    plan: &Plan,
    facts: &Facts<'_>,
    phase: &str,
    inits: &[ContainerStatus],
    mains: &[ContainerStatus],
) -> Vec<PodCondition> {
    let over = matches!(phase, "Succeeded" | "Failed");
    let sandbox = facts.sandbox && !over;
    let mut initialized = condition(plan, "Initialized", initialization(plan, phase, inits, mains));
    if phase == "Succeeded" {
        initialized.reason = Some("PodCompleted".to_owned());
    }
    let unready = unready(plan, phase, inits, mains);
    let gates = unready.clone().or_else(|| gates(plan));
    let mut all = vec![
        condition(plan, "PodReadyToStartContainers", (!sandbox).then(Default::default)),
        initialized,
        condition(plan, "Ready", gates),
        condition(plan, "ContainersReady", unready),
        condition(plan, "PodScheduled", None),
    ];
    for (kind, reason, message) in &facts.conditions {
        let mut more = condition(plan, kind, None);
        (more.reason, more.message) = (Some(reason.clone()).filter(|r| !r.is_empty()), Some(message.clone()));
        more.message = more.message.filter(|m| !m.is_empty());
        all.push(more);
    }
    all
}

fn initialization(plan: &Plan, phase: &str, inits: &[ContainerStatus], mains: &[ContainerStatus]) -> Obstacle {
    let began = mains.iter().any(|s| s.container_id.is_some());
    if began || phase == "Succeeded" {
        return None;
    }
    let done = |unit: &Unit, status: &ContainerStatus| match unit.role {
        Role::Sidecar => status.started == Some(true),
        _ => status.ready,
    };
    let open: Vec<&str> = plan.inits().zip(inits).filter(|(u, s)| !done(u, s)).map(|(_, s)| s.name.as_str()).collect();
    (!open.is_empty()).then(|| ("ContainersNotInitialized".to_owned(), listed("incomplete", &open)))
}

fn unready(plan: &Plan, phase: &str, inits: &[ContainerStatus], mains: &[ContainerStatus]) -> Obstacle {
    match phase {
        "Succeeded" => return Some(("PodCompleted".to_owned(), String::new())),
        "Failed" => return Some(("PodFailed".to_owned(), String::new())),
        _ => {}
    }
    let sidecars = plan.inits().zip(inits).filter(|(u, _)| u.role == Role::Sidecar).map(|(_, s)| s);
    let open: Vec<&str> = sidecars.chain(mains).filter(|s| !s.ready).map(|s| s.name.as_str()).collect();
    (!open.is_empty()).then(|| ("ContainersNotReady".to_owned(), listed("unready", &open)))
}

fn gates(plan: &Plan) -> Obstacle {
    let conditions = plan.pod.status.as_ref().and_then(|s| s.conditions.as_deref()).unwrap_or_default();
    let closed = plan.spec.readiness_gates.iter().flatten().filter_map(|gate| {
        let kind = &gate.condition_type;
        match conditions.iter().find(|c| c.type_ == *kind) {
            None => Some(format!("corresponding condition of pod readiness gate {kind:?} does not exist.")),
            Some(c) if c.status == "True" => None,
            Some(c) => Some(format!("the status of pod readiness gate {kind:?} is not \"True\", but {}", c.status)),
        }
    });
    let closed: Vec<String> = closed.collect();
    (!closed.is_empty()).then(|| ("ReadinessGatesNotReady".to_owned(), closed.join(", ")))
}
