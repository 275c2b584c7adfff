//! The phase that follows from the containers' states.

use crate::decide::again;
use crate::pod::{Plan, Role};
use k8s_openapi::api::core::v1::ContainerStatus;

#[derive(Default)]
struct Count {
    running: u32,
    waiting: u32,
    stopped: u32,
    succeeded: u32,
    restarting: u32,
    pending_init: u32,
    failed_init: u32,
}

fn code(status: &ContainerStatus) -> Option<i32> {
    status.state.as_ref()?.terminated.as_ref().map(|t| t.exit_code)
}

fn last_code(status: &ContainerStatus) -> Option<i32> {
    status.last_state.as_ref()?.terminated.as_ref().map(|t| t.exit_code)
}

fn runs(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|s| s.running.is_some())
}

/// `ended`: nothing of the pod runs any more, or will.
pub(super) fn phase(plan: &Plan, inits: &[ContainerStatus], mains: &[ContainerStatus], ended: bool) -> &'static str {
    let mut n = Count::default();
    let began = mains.iter().any(|s| s.container_id.is_some());
    for (unit, status) in plan.inits().zip(inits) {
        match unit.role {
            Role::Sidecar if runs(status) => {
                n.pending_init += u32::from(!began && status.started != Some(true));
                n.running += 1;
            }
            Role::Sidecar if code(status).is_some() || last_code(status).is_some() => {}
            Role::Sidecar => n.pending_init += u32::from(!began),
            _ if began => {}
            _ => match code(status) {
                Some(0) => {}
                Some(c) if ended || !again(plan, unit, c) => n.failed_init += 1,
                _ => n.pending_init += 1,
            },
        }
    }
    for (unit, status) in plan.with(Role::Main).zip(mains) {
        match (runs(status), code(status).or_else(|| last_code(status))) {
            (true, _) => n.running += 1,
            // One that starts again is as good as running.
            (_, Some(code)) if !ended && again(plan, unit, code) => n.restarting += 1,
            (_, Some(code)) => {
                n.stopped += 1;
                n.succeeded += u32::from(code == 0);
            }
            _ => n.waiting += 1,
        }
    }
    if n.failed_init > 0 {
        return "Failed";
    }
    if ended && n.running == 0 {
        return if n.stopped > 0 && n.stopped == n.succeeded && n.waiting == 0 { "Succeeded" } else { "Failed" };
    }
    if n.pending_init > 0 || n.waiting > 0 {
        return "Pending";
    }
    match n.running + n.restarting {
        0 if n.stopped == n.succeeded => "Succeeded",
        0 => "Failed",
        _ => "Running",
    }
}
