//! The status of one container.

use super::{Facts, time};
use crate::pod::{Plan, Role, Unit};
use ironclad_cri::{ContainerState as Runs, ContainerStatus as Seen};
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    ContainerUser, LinuxContainerUser, VolumeMountStatus,
};

/// How container ids are shown.
fn shown(id: &str) -> String {
    format!("ironclad://{id}")
}

fn terminated(seen: &Seen, facts: &Facts<'_>) -> ContainerState {
    let message = facts.messages.get(seen.id.as_str()).cloned().filter(|m| !m.is_empty());
    let own = (!seen.message.is_empty()).then(|| seen.message.clone());
    let known = Some(seen.reason.clone()).filter(|r| !r.is_empty());
    let reason = known.unwrap_or_else(|| if seen.exit_code == 0 { "Completed" } else { "Error" }.to_owned());
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            container_id: Some(shown(&seen.id)),
            exit_code: seen.exit_code,
            reason: Some(reason),
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

/// State now, and the state before.
fn states(plan: &Plan, unit: &Unit, all: &[&Seen], facts: &Facts<'_>) -> (ContainerState, ContainerState) {
    let begins = || match plan.inits().next() {
        Some(_) => waiting("PodInitializing", ""),
        None => waiting("ContainerCreating", ""),
    };
    let pause = facts.waiting.get(unit.name()).map(|(reason, message)| waiting(reason, message));
    let ends: Vec<&Seen> = all.iter().copied().filter(|s| s.state == Runs::Exited).collect();
    let ended = |n: usize| ends.get(n).map_or_else(ContainerState::default, |s| terminated(s, facts));
    match all.first() {
        None => (pause.unwrap_or_else(begins), ContainerState::default()),
        Some(seen) if seen.state == Runs::Running => {
            let running = ContainerStateRunning { started_at: time(seen.started_at) };
            (ContainerState { running: Some(running), ..ContainerState::default() }, ended(0))
        }
        Some(seen) if seen.state == Runs::Exited => match pause {
            Some(pause) if !facts.ended => (pause, ended(0)),
            _ => (ended(0), ended(1)),
        },
        Some(_) => (pause.unwrap_or_else(begins), ended(0)),
    }
}

fn mounts(unit: &Unit) -> Option<Vec<VolumeMountStatus>> {
    let one = |m: &k8s_openapi::api::core::v1::VolumeMount| {
        let read_only = m.read_only == Some(true);
        let recursive =
            if m.recursive_read_only.as_deref().is_some_and(|r| r != "Disabled") { "Enabled" } else { "Disabled" };
        VolumeMountStatus {
            name: m.name.clone(),
            mount_path: m.mount_path.clone(),
            read_only: read_only.then_some(true),
            recursive_read_only: read_only.then(|| recursive.to_owned()),
            ..VolumeMountStatus::default()
        }
    };
    let all: Vec<_> = unit.spec.volume_mounts.iter().flatten().map(one).collect();
    (!all.is_empty()).then_some(all)
}

pub(super) fn status(plan: &Plan, unit: &Unit, facts: &Facts<'_>) -> ContainerStatus {
    let all = facts.containers.get(unit.name()).map(Vec::as_slice).unwrap_or_default();
    let newest = all.first().copied();
    let (state, last) = states(plan, unit, all, facts);
    let running = state.running.is_some();
    let done = state.terminated.as_ref().is_some_and(|t| t.exit_code == 0);
    let ready = match unit.role {
        Role::Init => done,
        Role::Ephemeral => false,
        _ => running && facts.ready.contains(unit.name()),
    };
    let started = running && unit.role != Role::Init && facts.started.contains(unit.name());
    let image = newest.map(|n| n.config.user_specified_image.clone()).filter(|i| !i.is_empty());
    let user = newest.and_then(|n| n.user.clone()).filter(|_| running).map(|(uid, gid, groups)| ContainerUser {
        linux: Some(LinuxContainerUser { uid, gid, supplemental_groups: (!groups.is_empty()).then_some(groups) }),
    });
    let allocated = facts.allocated.get(unit.name()).or(unit.spec.resources.as_ref());
    let actual = facts.actual.get(unit.name()).cloned();
    let plain = unit.role != Role::Ephemeral && newest.is_some();
    ContainerStatus {
        name: unit.name().to_owned(),
        image: image.or_else(|| unit.spec.image.clone()).unwrap_or_default(),
        image_id: newest.map(|n| n.image_ref.clone()).unwrap_or_default(),
        container_id: newest.map(|n| shown(&n.id)),
        restart_count: newest.map_or(0, |n| n.config.attempt as i32),
        ready,
        started: (unit.role != Role::Ephemeral).then_some(started),
        state: Some(state),
        last_state: Some(last),
        allocated_resources: allocated.filter(|_| plain).and_then(|r| r.requests.clone()),
        resources: plain.then(|| actual.or_else(|| allocated.cloned()).unwrap_or_default()).map(|mut r| {
            r.claims = None;
            r
        }),
        user,
        volume_mounts: mounts(unit),
        ..ContainerStatus::default()
    }
}
