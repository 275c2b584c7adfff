//! Telling the API server how the pod is.

use super::Worker;
use super::job::{Job, Outcome};
use super::observe::{Observed, name_of};
use crate::container;
use crate::logs;
use crate::pod::{Plan, Role};
use crate::probe::Kind;
use crate::status::{self, Facts, OWNED};
use ironclad_cri::{ContainerState, ContainerStatus};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// Longest message of a container, in bytes.
const MAX_MESSAGE: usize = 4096;
/// Longest message that is taken from the log: lines and bytes.
const LOG_TAIL: (usize, usize) = (80, 2048);

/// How long a container that is exchanged for another is not told as ended.
const EXCHANGE: Duration = Duration::from_secs(1);

/// How long the end of containers that the kubelet ended to start them anew is not worth telling: their pod would seem
/// to fail for a moment each time that its image changes.
fn exchange(
    forced: &HashSet<String>,
    waiting: &HashMap<String, (String, String)>,
    observed: &Observed,
) -> Option<Duration> {
    let newest = observed.newest();
    let ended = |name: &&String| newest.get(name.as_str()).filter(|s| s.state == ContainerState::Exited);
    let ends = forced.iter().filter(|n| !waiting.contains_key(*n)).filter_map(|n| ended(&n));
    let left = ends.map(|s| {
        let age = u64::try_from(crate::backoff::now() - s.finished_at).unwrap_or(0);
        EXCHANGE.saturating_sub(Duration::from_nanos(age))
    });
    left.min().filter(|l| !l.is_zero())
}

impl Worker {
    /// Sends the status where it differs from what was sent before; returns when to look again if it held back.
    pub(super) fn report(&mut self, plan: &Arc<Plan>, observed: &Observed) -> Option<Duration> {
        let ends = self.memory.failure.is_some() || self.memory.ended || plan.deleted();
        if let (false, Some(left)) = (ends, exchange(&self.memory.forced, &self.memory.waiting, observed)) {
            return Some(left);
        }
        self.send(plan, observed);
        None
    }

    fn send(&mut self, plan: &Arc<Plan>, observed: &Observed) {
        if self.removed || self.busy.contains(&Job::Status) {
            return;
        }
        // What ended before this kubelet saw it is known better by the server than by us.
        if plan.ended_phase().is_some() && observed.containers.is_empty() {
            return;
        }
        self.listen(plan, observed);
        let Some((namespace, name, uid)) = self.shown_as(plan) else { return };
        // A new mirror of a static pod knows nothing of what the one before was told.
        if self.memory.told.as_ref() != Some(&uid) {
            self.memory.reported = None;
            self.memory.told = Some(uid.clone());
        }
        let old = self.base(plan);
        let new = {
            let facts = self.status_facts(plan, observed);
            status::status(plan, &facts, &old)
        };
        let patch = status::patch(&old, &new);
        if patch.as_object().is_some_and(serde_json::Map::is_empty) {
            self.memory.retries.remove(&Job::Status);
            return;
        }
        let api: Api<Pod> = Api::namespaced(self.shared.config.client.clone(), &namespace);
        self.spawn(Job::Status, async move {
            let body = json!({"metadata": {"uid": uid}, "status": patch});
            let good = match api.patch_status(&name, &PatchParams::default(), &Patch::Strategic(body)).await {
                Ok(_) => true,
                Err(kube::Error::Api(answer)) if answer.code == 404 || answer.code == 409 => true,
                Err(error) => {
                    tracing::warn!(pod = name, %error, "cannot report the status");
                    false
                }
            };
            Outcome::Status(Box::new(new), good)
        });
    }

    /// The object that shows the pod: itself, or the mirror of a static one.
    fn shown_as(&self, plan: &Plan) -> Option<(String, String, String)> {
        if !plan.is_static() {
            return Some((plan.namespace.clone(), plan.name.clone(), plan.uid.clone()));
        }
        let mirror = self.shared.mirrors.get(&plan.namespace, &plan.name)?;
        Some((plan.namespace.clone(), plan.name.clone(), mirror.metadata.uid.clone()?))
    }

    /// The status that was told last, with what others have set meanwhile.
    fn base(&self, plan: &Plan) -> PodStatus {
        let shown = if plan.is_static() {
            let mirror = self.shared.mirrors.get(&plan.namespace, &plan.name);
            mirror.and_then(|m| m.status.clone()).unwrap_or_default()
        } else {
            plan.pod.status.clone().unwrap_or_default()
        };
        let Some(mut base) = self.memory.reported.clone() else { return shown };
        let owned = |c: &k8s_openapi::api::core::v1::PodCondition| OWNED.contains(&c.type_.as_str());
        let mut conditions: Vec<_> = base.conditions.take().unwrap_or_default().into_iter().filter(owned).collect();
        conditions.extend(shown.conditions.into_iter().flatten().filter(|c| !owned(c)));
        base.conditions = Some(conditions);
        base
    }

    fn status_facts<'a>(&'a self, plan: &'a Plan, observed: &'a Observed) -> Facts<'a> {
        let (mut ready, mut begun) = (HashSet::new(), HashSet::new());
        for status in observed.containers.iter().filter(|s| s.state == ContainerState::Running) {
            let Some(unit) = plan.unit(name_of(status)) else { continue };
            let result = |kind| self.probes.result(&status.id, kind);
            if unit.spec.startup_probe.is_some() && result(Kind::Startup) != Some(true) {
                continue;
            }
            let hook = unit.spec.lifecycle.as_ref().is_some_and(|l| l.post_start.is_some());
            if hook && unit.role == Role::Sidecar && self.busy.contains(&Job::Start(unit.name().to_owned())) {
                continue;
            }
            begun.insert(unit.name());
            if unit.spec.readiness_probe.is_none() || result(Kind::Readiness) == Some(true) {
                ready.insert(unit.name());
            }
        }
        Facts {
            containers: observed.by_name(),
            sandbox: observed.sandbox.is_some(),
            ips: self.ips(plan, observed),
            host_ip: self.shared.config.node_ip.to_string(),
            waiting: self.memory.waiting.iter().map(|(k, v)| (k.as_str(), v.clone())).collect(),
            ready,
            started: begun,
            messages: self.memory.messages.iter().map(|(k, v)| (k.as_str(), v.clone())).collect(),
            failure: self.memory.failure.clone(),
            ended: self.memory.ended,
            rejected: self.memory.rejected,
            allocated: self.all_given(plan),
            whole: self.whole(plan, observed),
            actual: self.actual(plan, observed),
            conditions: self.more_conditions(),
        }
    }

    fn more_conditions(&self) -> Vec<(&'static str, String, String)> {
        let mut all = self.resize_conditions();
        if let (true, Some((_, message))) = (self.memory.disrupted, &self.memory.failure) {
            all.push((status::DISRUPTED, "TerminationByKubelet".to_owned(), message.clone()));
        }
        all
    }

    /// Takes the last words of containers that have ended, once.
    fn listen(&mut self, plan: &Plan, observed: &Observed) {
        let known = |id: &String| observed.containers.iter().any(|c| c.id == *id);
        self.memory.messages.retain(|id, _| known(id));
        for status in observed.containers.iter().filter(|s| s.state == ContainerState::Exited) {
            if !self.memory.messages.contains_key(&status.id) {
                self.memory.messages.insert(status.id.clone(), self.last_words(plan, status));
            }
        }
    }

    fn last_words(&self, plan: &Plan, status: &ContainerStatus) -> String {
        let Some(unit) = plan.unit(name_of(status)) else { return String::new() };
        let file = container::termination_file(&self.shared.config, &plan.uid, unit.name(), status.config.attempt);
        let text = logs::tail_bytes(&file, MAX_MESSAGE).unwrap_or_default();
        let fall_back = unit.spec.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
        if !text.is_empty() || !fall_back || status.exit_code == 0 {
            return text;
        }
        logs::tail_lines(std::path::Path::new(&status.log_path), LOG_TAIL.0, LOG_TAIL.1)
    }
}
