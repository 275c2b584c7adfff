//! The end of containers and pods: hooks, signals, grace, in order; then what is left of the pod.

use super::job::{Ctx, Job, Outcome};
use super::observe::{Observed, name_of};
use super::{Flow, Worker};
use crate::decide::Why;
use crate::hooks;
use crate::pod::{Plan, Role, Unit};
use crate::volumes;
use ironclad_client::events::EventType;
use ironclad_cri::{ContainerState, ContainerStatus, SandboxState};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Preconditions};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A container always gets that long, unless it must end at once.
const LEAST: Duration = Duration::from_secs(2);

/// Ends one container of a pod that goes on.
pub(super) async fn kill(ctx: &Ctx, name: &str, id: &str, why: Why) {
    let Some(unit) = ctx.plan.unit(name) else { return };
    let probe = match why {
        Why::Liveness => unit.spec.liveness_probe.as_ref(),
        Why::Startup => unit.spec.startup_probe.as_ref(),
        _ => None,
    };
    let own = probe.and_then(|p| p.termination_grace_period_seconds).map(|s| Duration::from_secs(s.max(0) as u64));
    kill_with(ctx, unit, id, &why.message(name), own.unwrap_or_else(|| ctx.plan.grace())).await;
}

pub(super) async fn kill_with(ctx: &Ctx, unit: &Unit, id: &str, message: &str, grace: Duration) {
    // The sender stays until the container has ended: nobody shortens this.
    let (_keep, deadline) = watch::channel(Instant::now() + grace);
    one(ctx, unit, id, message, deadline, async {}).await;
}

/// Waits until a deadline that may still be moved.
async fn passed(deadline: &mut watch::Receiver<Instant>) {
    loop {
        let at = *deadline.borrow_and_update();
        tokio::select! {
            () = tokio::time::sleep_until(at.into()) => return,
            moved = deadline.changed() => if moved.is_err() {
                return tokio::time::sleep_until(at.into()).await;
            },
        }
    }
}

/// Ends a container: its hook, then, when it is its `turn`, its signal, and at the deadline the end.
async fn one(
    ctx: &Ctx,
    unit: &Unit,
    id: &str,
    message: &str,
    mut deadline: watch::Receiver<Instant>,
    turn: impl Future<Output = ()>,
) {
    ctx.event(Some(unit.name()), EventType::Normal, "Killing", message);
    let runtime = &ctx.shared.config.runtime;
    let at_once = |d: &watch::Receiver<Instant>| d.borrow().saturating_duration_since(Instant::now()).is_zero();
    let patient = !at_once(&deadline);
    if let (Some(hook), true) = (unit.spec.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref()), patient) {
        let ip = ctx.facts.pod_ips.first().map_or("", String::as_str);
        let left = deadline.borrow().saturating_duration_since(Instant::now());
        let mut late = deadline.clone();
        tokio::select! {
            ran = hooks::run(&**runtime, hook, &unit.spec, id, ip, left) => if let Err(why) = ran {
                tracing::warn!(pod = ctx.plan.name, container = unit.name(), why, "a hook failed");
                ctx.event(Some(unit.name()), EventType::Warning, "FailedPreStopHook", "PreStopHook failed");
            },
            () = passed(&mut late) => {}
        }
    }
    let mut late = deadline.clone();
    tokio::select! {
        () = turn => {}
        () = passed(&mut late) => {}
    }
    let mut least = if patient { LEAST } else { Duration::ZERO };
    loop {
        let left = deadline.borrow_and_update().saturating_duration_since(Instant::now()).max(least);
        let stop = runtime.stop_container(id, left);
        tokio::select! {
            stopped = stop => {
                if let Err(error) = stopped {
                    tracing::warn!(container = unit.name(), %error, "cannot stop a container");
                }
                return;
            }
            // A shorter grace: the signal is sent again, and the end comes sooner, or at once.
            Ok(()) = deadline.changed() => if at_once(&deadline) {
                least = Duration::ZERO;
            },
        }
    }
}

/// Ends all containers of a pod: first those that others serve, then sidecars, the last one first.
async fn all(ctx: Ctx, running: Vec<ContainerStatus>, deadline: watch::Receiver<Instant>) {
    let order = |name: &str| ctx.plan.units.iter().position(|u| u.name() == name);
    let (dones, watches): (Vec<_>, Vec<_>) = running.iter().map(|_| watch::channel(false)).unzip();
    let ends = running.iter().zip(dones).map(|(status, done)| {
        let name = name_of(status).to_owned();
        let place = order(&name);
        let unit = place.map_or_else(
            || Unit {
                spec: k8s_openapi::api::core::v1::Container { name: name.clone(), ..Default::default() },
                role: Role::Main,
                target: None,
            },
            |at| ctx.plan.units[at].clone(),
        );
        let later = |other: &str| match (unit.role, ctx.plan.unit(other).map(|u| u.role)) {
            (Role::Sidecar, Some(Role::Sidecar)) => order(other) > place,
            (Role::Sidecar, _) => true,
            _ => false,
        };
        let mut before: Vec<watch::Receiver<bool>> =
            running.iter().zip(&watches).filter(|(s, _)| later(name_of(s))).map(|(_, w)| w.clone()).collect();
        let turn = async move {
            for other in &mut before {
                // One whose sender is gone has ended as well.
                drop(other.wait_for(|done| *done).await);
            }
        };
        let (ctx, deadline) = (&ctx, deadline.clone());
        async move {
            one(ctx, &unit, &status.id, &format!("Stopping container {name}"), deadline, turn).await;
            done.send_replace(true);
        }
    });
    futures::future::join_all(ends).await;
}

impl Worker {
    /// Begins to end the pod, or gives it less time than before.
    pub(super) fn end(&mut self, plan: &Arc<Plan>, observed: &Observed, grace: Duration) {
        if self.memory.ended {
            return;
        }
        let until = Instant::now() + grace;
        if self.busy.contains(&Job::End) {
            self.deadline.send_if_modified(|at| {
                let sooner = until + Duration::from_secs(1) < *at;
                if sooner {
                    *at = until;
                }
                sooner
            });
            return;
        }
        self.cancel.cancel();
        self.probes.only_readiness();
        // What is being started must be there before it can be ended.
        if self.busy.iter().any(|j| matches!(j, Job::Sandbox | Job::Volumes | Job::Start(_))) {
            return;
        }
        let running: Vec<ContainerStatus> =
            observed.containers.iter().filter(|c| c.state == ContainerState::Running).cloned().collect();
        if running.is_empty() {
            self.memory.ended = true;
            return;
        }
        self.deadline.send_replace(until);
        let (ctx, deadline) = (self.ctx(plan, observed), self.deadline.subscribe());
        self.memory.retries.clear();
        self.spawn(Job::End, async move {
            all(ctx, running, deadline).await;
            Outcome::Ended
        });
    }

    /// What is to do when nothing of the pod runs any more.
    pub(super) async fn after_end(&mut self, plan: &Arc<Plan>, observed: &Observed) -> Flow {
        let again = |after| Flow::Wait(Some(Duration::from_secs(after)));
        self.shared.admitted.release(&self.uid, &self.shared.table);
        for sandbox in observed.sandboxes.iter().filter(|s| s.state == SandboxState::Ready) {
            if let Err(error) = self.shared.config.runtime.stop_pod_sandbox(&sandbox.id).await {
                tracing::warn!(%error, "cannot stop a sandbox");
                return again(2);
            }
        }
        let told = !self.busy.contains(&Job::Status) && !self.memory.retries.contains_key(&Job::Status);
        if !told && !self.removed {
            return Flow::Wait(self.next_retry());
        }
        if !self.memory.cleaned {
            let dir = self.shared.config.pod_dir(&self.uid);
            let cleaned = tokio::task::spawn_blocking(move || volumes::tear_down(&dir)).await;
            match cleaned.map_err(std::io::Error::other).and_then(|r| r) {
                Ok(()) => self.memory.cleaned = true,
                Err(error) => {
                    tracing::warn!(pod = plan.name, %error, "cannot remove the volumes");
                    return again(5);
                }
            }
        }
        if !self.removed && !plan.deleted() {
            return Flow::Wait(None);
        }
        if !self.clean().await {
            return again(5);
        }
        if self.removed || plan.is_static() || self.farewell(plan).await { Flow::Gone } else { again(1) }
    }

    /// Removes the pod's object.
    async fn farewell(&self, plan: &Plan) -> bool {
        let api: Api<Pod> = Api::namespaced(self.shared.config.client.clone(), &plan.namespace);
        let preconditions = Preconditions { uid: Some(plan.uid.clone()), resource_version: None };
        let now = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        match api.delete(&plan.name, &now).await {
            Ok(_) => true,
            Err(kube::Error::Api(answer)) if answer.code == 404 || answer.code == 409 => true,
            Err(error) => {
                tracing::warn!(pod = plan.name, %error, "cannot remove the pod's object, will try again");
                false
            }
        }
    }

    /// Removes everything of the pod from this node.
    pub(super) async fn clean(&self) -> bool {
        let config = &self.shared.config;
        let runtime = &config.runtime;
        let Ok(sandboxes) = runtime.list_pod_sandboxes(Some(&self.uid)).await else { return false };
        for sandbox in sandboxes {
            let stopped = runtime.stop_pod_sandbox(&sandbox.id).await;
            if let Err(error) = stopped.and(runtime.remove_pod_sandbox(&sandbox.id).await) {
                tracing::warn!(%error, "cannot remove a sandbox");
                return false;
            }
            if let Err(error) = std::fs::remove_dir_all(&sandbox.config.log_directory) {
                tracing::debug!(%error, "no logs to remove");
            }
        }
        let dir = config.pod_dir(&self.uid);
        let removed = tokio::task::spawn_blocking(move || volumes::remove(&dir)).await;
        if let Err(error) = removed.map_err(std::io::Error::other).and_then(|r| r) {
            tracing::warn!(%error, "cannot remove a pod's directory");
            return false;
        }
        self.shared.users.release(&self.uid);
        true
    }
}
