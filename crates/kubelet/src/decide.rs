//! What to do next for a pod: a pure function of its specification and of what the runtime and the probes show.

use crate::pod::{Plan, Role, Unit};
use ironclad_cri::{ContainerState, ContainerStatus};
use std::collections::{HashMap, HashSet};

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Make a sandbox; there is none that works.
    Sandbox,
    /// Start a container.
    Start(String),
    /// Stop a container.
    Kill { name: String, id: String, why: Why },
    /// Nothing of the pod will run again: end what still runs.
    End,
}

/// Why a running container must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    Liveness,
    Startup,
    /// Its image was changed.
    Changed,
    /// New amounts take effect only at its start.
    Resized,
    /// A rule of a container says that all start anew.
    RestartAll,
}

impl Why {
    /// What the event says.
    pub(crate) fn message(self, name: &str) -> String {
        match self {
            Self::Liveness => format!("Container {name} failed liveness probe, will be restarted"),
            Self::Startup => format!("Container {name} failed startup probe, will be restarted"),
            Self::Changed => format!("Container {name} definition changed, will be restarted"),
            Self::Resized => format!("Container {name} resize requires restart"),
            Self::RestartAll => format!("Container {name} will be restarted because of a restart rule"),
        }
    }
}

/// What is known about the pod besides its specification.
#[derive(Debug, Default)]
pub(crate) struct Seen<'a> {
    /// The sandbox that is ready.
    pub(crate) sandbox: Option<&'a str>,
    /// The newest container of each name.
    pub(crate) newest: HashMap<&'a str, &'a ContainerStatus>,
    /// Running containers that must end.
    pub(crate) unhealthy: HashMap<&'a str, Why>,
    /// Running containers whose startup probe has succeeded, or that have none.
    pub(crate) started: HashSet<&'a str>,
    /// Containers that are being started or stopped.
    pub(crate) busy: HashSet<&'a str>,
    /// Containers that must start again whatever their policy says.
    pub(crate) forced: HashSet<&'a str>,
}

impl Seen<'_> {
    fn ended(&self, unit: &Unit) -> Option<&ContainerStatus> {
        let newest = self.newest.get(unit.name()).copied();
        newest.filter(|s| s.state == ContainerState::Exited)
    }

    fn runs(&self, unit: &Unit) -> Option<&ContainerStatus> {
        self.newest.get(unit.name()).copied().filter(|s| s.state == ContainerState::Running)
    }
}

/// What the rules of a container say of an exit code (KEP-5307); nothing when none fits.
fn rule(unit: &Unit, code: i32) -> Option<&str> {
    let fits = |r: &&k8s_openapi::api::core::v1::ContainerRestartRule| {
        r.exit_codes.as_ref().is_some_and(|codes| {
            let named = codes.values.iter().flatten().any(|v| *v == code);
            if codes.operator == "NotIn" { !named } else { named }
        })
    };
    unit.spec.restart_policy_rules.iter().flatten().find(fits).map(|r| r.action.as_str())
}

/// Whether a container that has ended must be started again.
pub(crate) fn again(plan: &Plan, unit: &Unit, code: i32) -> bool {
    if rule(unit, code).is_some_and(|action| action.starts_with("Restart")) {
        return true;
    }
    let policy = unit.spec.restart_policy.as_deref().unwrap_or_else(|| plan.restart_policy());
    match (unit.role, policy) {
        (Role::Sidecar, _) => true,
        (Role::Ephemeral, _) => false,
        (Role::Init, "Always") => code != 0,
        (_, "Always") => true,
        (_, "OnFailure") => code != 0,
        _ => false,
    }
}

/// Whether nothing of the pod will ever run again.
pub(crate) fn is_over(plan: &Plan, seen: &Seen<'_>) -> bool {
    if plan.ended_phase().is_some() {
        return true;
    }
    let final_end = |unit: &Unit| {
        !seen.forced.contains(unit.name()) && seen.ended(unit).is_some_and(|s| !again(plan, unit, s.exit_code))
    };
    let failed_init = |unit: &Unit| seen.ended(unit).is_some_and(|s| s.exit_code != 0) && final_end(unit);
    plan.with(Role::Init).any(failed_init) || plan.with(Role::Main).all(final_end)
}

/// What to do now, in order.
pub(crate) fn steps(plan: &Plan, seen: &Seen<'_>) -> Vec<Step> {
    if is_over(plan, seen) {
        return vec![Step::End];
    }
    let Some(sandbox) = seen.sandbox else { return vec![Step::Sandbox] };
    let mut out = Vec::new();
    for unit in plan.with(Role::Ephemeral).filter(|u| !seen.busy.contains(u.name())) {
        if !seen.newest.contains_key(unit.name()) {
            out.push(Step::Start(unit.name().to_owned()));
        }
    }
    kills(plan, seen, &mut out);
    let here = |u: &Unit| seen.newest.get(u.name()).copied().filter(|s| s.sandbox_id == sandbox);
    let began = plan.with(Role::Main).any(|u| here(u).is_some());
    if !inits(plan, seen, &here, began, &mut out) {
        return out;
    }
    for unit in plan.with(Role::Main).filter(|u| !seen.busy.contains(u.name())) {
        let start = match seen.newest.get(unit.name()).copied() {
            None => true,
            Some(s) => match s.state {
                ContainerState::Running => false,
                ContainerState::Exited => seen.forced.contains(unit.name()) || again(plan, unit, s.exit_code),
                ContainerState::Created | ContainerState::Unknown => true,
            },
        };
        if start {
            out.push(Step::Start(unit.name().to_owned()));
        }
    }
    out
}

/// Ends containers that are not well, or not what they should be.
fn kills(plan: &Plan, seen: &Seen<'_>, out: &mut Vec<Step>) {
    let all = restart_all(plan, seen);
    for unit in plan.units.iter().filter(|u| u.role != Role::Ephemeral && !seen.busy.contains(u.name())) {
        let Some(status) = seen.runs(unit) else { continue };
        let image = unit.spec.image.as_deref().unwrap_or_default();
        let why = match seen.unhealthy.get(unit.name()) {
            Some(why) => Some(*why),
            None if image != status.config.user_specified_image => Some(Why::Changed),
            None => all.then_some(Why::RestartAll),
        };
        if let Some(why) = why {
            out.push(Step::Kill { name: unit.name().to_owned(), id: status.id.clone(), why });
        }
    }
}

/// Whether the end of a container asks for a new start of all.
fn restart_all(plan: &Plan, seen: &Seen<'_>) -> bool {
    let asks = |u: &Unit| seen.ended(u).is_some_and(|s| rule(u, s.exit_code) == Some("RestartAllContainers"));
    plan.units.iter().any(asks)
}

/// Starts init containers one after the other; whether the main containers may start.
fn inits<'a>(
    plan: &Plan,
    seen: &Seen<'_>,
    here: &impl Fn(&Unit) -> Option<&'a ContainerStatus>,
    began: bool,
    out: &mut Vec<Step>,
) -> bool {
    for unit in plan.inits() {
        let newest = here(unit);
        let state = newest.map(|s| s.state);
        let start = Step::Start(unit.name().to_owned());
        let busy = seen.busy.contains(unit.name());
        match (unit.role, state) {
            (Role::Sidecar, Some(ContainerState::Running)) => {
                if !began && !seen.started.contains(unit.name()) {
                    return false;
                }
            }
            (Role::Sidecar, _) => {
                if !busy {
                    out.push(start);
                }
                if !began {
                    return false;
                }
            }
            _ if began => {}
            (_, Some(ContainerState::Exited)) if newest.is_some_and(|s| s.exit_code == 0) => {}
            (_, Some(ContainerState::Running)) => return false,
            _ => {
                if !busy {
                    out.push(start);
                }
                return false;
            }
        }
    }
    true
}

#[cfg(test)]
mod tests;
