//! Jobs: what takes time for a pod, each in a task of its own; the worker hears how they ended.

use super::observe::Observed;
use super::{Shared, Worker};
use crate::backoff::{self, Backoff, go};
use crate::container;
use crate::decide::{Step, Why};
use crate::env::Facts;
use crate::pod::Plan;
use crate::volumes::{Around, Volumes};
use ironclad_client::events::EventType;
use ironclad_cri::{ContainerState, SandboxState};
use k8s_openapi::api::core::v1::PodStatus;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

/// What is being done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Job {
    Sandbox,
    Volumes,
    Start(String),
    Kill(String),
    /// Old containers and sandboxes are removed.
    Collect,
    Status,
    /// Running containers get what they are given.
    Resize,
    End,
}

impl Job {
    /// The container it is about.
    pub(super) fn container(&self) -> Option<&str> {
        match self {
            Self::Start(name) | Self::Kill(name) => Some(name),
            _ => None,
        }
    }
}

/// Why a container does not start: what its status says, and when to try again.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) wait: Duration,
}

/// How a job ended.
pub(super) enum Outcome {
    Plain(Result<(), Duration>),
    Volumes(Box<Volumes>, bool),
    Started(Result<(), Trouble>),
    Resized(Result<(), String>),
    Status(Box<PodStatus>, bool),
    Ended,
}

pub(super) struct Done {
    pub(super) job: Job,
    pub(super) outcome: Outcome,
}

/// What jobs work with.
pub(super) struct Ctx {
    pub(super) shared: Shared,
    pub(super) plan: Arc<Plan>,
    /// The pod must end: nothing new is started.
    pub(super) cancel: CancellationToken,
    pub(super) pulls: Arc<Mutex<Backoff>>,
    pub(super) facts: Facts,
}

impl Ctx {
    pub(super) fn event(&self, container: Option<&str>, kind: EventType, reason: &str, message: impl Into<String>) {
        self.shared.recorder.event_on(self.plan.reference(container), kind, reason, message);
    }
}

impl Worker {
    /// Starts a job unless one of its sort runs, or is not due yet; then when it is.
    pub(super) fn spawn<F>(&mut self, job: Job, work: F) -> Option<Duration>
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        if let Some((_, at)) = self.memory.retries.get(&job)
            && let Some(left) = at.checked_duration_since(Instant::now()).filter(|l| !l.is_zero())
        {
            return Some(left);
        }
        if self.busy.insert(job.clone()) {
            self.jobs.spawn(async move { Done { outcome: work.await, job } });
        }
        None
    }

    /// When the first job that failed is due again.
    pub(super) fn next_retry(&self) -> Option<Duration> {
        let now = Instant::now();
        let left = |at: &Instant| at.checked_duration_since(now).filter(|l| !l.is_zero());
        self.memory.retries.values().filter_map(|(_, at)| left(at)).min()
    }

    pub(super) fn retry(&mut self, job: Job, wait: Duration) {
        let failures = self.memory.retries.get(&job).map_or(0, |r| r.0) + 1;
        self.memory.retries.insert(job, (failures, Instant::now() + wait));
    }

    /// A source of volumes or variables changed: who waits for it need not.
    pub(super) fn sources_changed(&mut self) {
        self.volumes_dirty = true;
        let waiting = &self.memory.waiting;
        self.memory.retries.retain(|job, _| match job {
            Job::Volumes => false,
            Job::Start(name) => waiting.get(name).is_none_or(|w| w.0 != "CreateContainerConfigError"),
            _ => true,
        });
    }

    pub(super) fn done(&mut self, done: Result<Done, JoinError>) {
        let done = match done {
            Ok(done) => done,
            // A job that panicked has said so; it is begun anew.
            Err(error) => {
                tracing::error!(pod = self.uid, %error, "a job failed");
                self.busy.clear();
                return;
            }
        };
        self.busy.remove(&done.job);
        match done.outcome {
            Outcome::Plain(Ok(())) => drop(self.memory.retries.remove(&done.job)),
            Outcome::Plain(Err(wait)) => self.retry(done.job, wait),
            Outcome::Volumes(volumes, good) => {
                self.volumes = Some(*volumes);
                self.volumes_ready |= good;
                match good {
                    true => drop(self.memory.retries.remove(&done.job)),
                    false => {
                        let failures = self.memory.retries.get(&done.job).map_or(0, |r| r.0);
                        self.volumes_dirty = true;
                        let wait = Duration::from_millis(500 << failures.min(8)).min(Duration::from_secs(122));
                        self.retry(done.job, wait);
                    }
                }
            }
            Outcome::Started(outcome) => self.started_one(done.job, outcome),
            Outcome::Status(status, good) => match good {
                true => {
                    self.memory.reported = Some(*status);
                    self.memory.retries.remove(&done.job);
                }
                false => {
                    let failures = self.memory.retries.get(&done.job).map_or(0, |r| r.0);
                    self.retry(done.job, Duration::from_millis(200 << failures.min(6)));
                }
            },
            Outcome::Resized(Ok(())) => drop(self.memory.retries.remove(&done.job)),
            Outcome::Resized(Err(why)) => {
                self.resize_failed(why);
                self.retry(done.job, Duration::from_secs(5));
            }
            Outcome::Ended => self.memory.ended = true,
        }
    }

    fn started_one(&mut self, job: Job, outcome: Result<(), Trouble>) {
        let name = job.container().unwrap_or_default().to_owned();
        match outcome {
            Ok(()) => {
                self.memory.retries.remove(&job);
                self.memory.waiting.remove(&name);
                self.memory.forced.remove(&name);
            }
            Err(trouble) => {
                self.memory.waiting.insert(name, (trouble.reason, trouble.message));
                self.retry(job, trouble.wait);
            }
        }
    }

    /// Does one thing; returns when to look again.
    pub(super) fn act(&mut self, plan: &Arc<Plan>, observed: &Observed, step: Step) -> Option<Duration> {
        match step {
            Step::Sandbox => {
                let (ctx, olds) = (self.ctx(plan, observed), observed.sandboxes.iter().map(|s| s.id.clone()).collect());
                self.spawn(Job::Sandbox, async move { Outcome::Plain(sandbox(&ctx, olds).await) })
            }
            Step::Kill { name, id, why } => {
                if matches!(why, Why::Changed | Why::Resized | Why::RestartAll) {
                    self.memory.forced.insert(name.clone());
                }
                let ctx = self.ctx(plan, observed);
                self.spawn(Job::Kill(name.clone()), async move {
                    super::end::kill(&ctx, &name, &id, why).await;
                    Outcome::Plain(Ok(()))
                })
            }
            Step::Start(name) => self.start(plan, observed, name),
            Step::End => None,
        }
    }

    fn start(&mut self, plan: &Arc<Plan>, observed: &Observed, name: String) -> Option<Duration> {
        let sandbox = observed.sandbox.clone()?;
        let before = observed.newest().get(name.as_str()).copied().cloned();
        let now = backoff::now();
        if let Some(ended) = before.as_ref().filter(|b| b.state == ContainerState::Exited) {
            let finished = if ended.finished_at > 0 { ended.finished_at } else { ended.created_at };
            if let Some(left) = self.memory.restarts.left(&name, finished, now) {
                self.crash_loop(plan, &name);
                return Some(left);
            }
        }
        let volumes = self.volumes.as_ref().filter(|_| self.volumes_ready)?;
        // Containers of a pod start one after the other, as they stand in it.
        if self.busy.iter().any(|j| matches!(j, Job::Start(_))) {
            return None;
        }
        let given = super::start::Given {
            sandbox,
            target: plan.unit(&name).and_then(|u| u.target.clone()).and_then(|t| {
                let newest = observed.newest();
                newest.get(t.as_str()).filter(|s| s.state == ContainerState::Running).map(|s| s.id.clone())
            }),
            attempt: before.as_ref().map_or(0, |b| b.config.attempt + 1),
            volumes: volumes.ready.clone(),
            config_maps: volumes.used.config_maps.clone(),
            secrets: volumes.used.secrets.clone(),
            waiting: self.memory.waiting.get(&name).cloned(),
        };
        let ctx = self.ctx(plan, observed);
        let job = Job::Start(name.clone());
        let due = self.memory.retries.get(&job).is_none_or(|(_, at)| *at <= Instant::now());
        if due && before.is_some_and(|b| b.state == ContainerState::Exited) {
            self.memory.restarts.next(&name, now);
        }
        self.spawn(job, async move { Outcome::Started(super::start::start(&ctx, &name, given).await) })
    }

    fn crash_loop(&mut self, plan: &Plan, name: &str) {
        let pod = plan.full_name();
        if self.memory.waiting.get(name).map(|w| w.0.as_str()) != Some("CrashLoopBackOff") {
            let text = format!("Back-off restarting failed container {name} in pod {pod}");
            self.shared.recorder.event_on(plan.reference(Some(name)), EventType::Warning, "BackOff", text);
        }
        let delay = go(self.memory.restarts.delay(name));
        let message = format!("back-off {delay} restarting failed container={name} pod={pod}");
        self.memory.waiting.insert(name.to_owned(), ("CrashLoopBackOff".to_owned(), message));
    }

    /// Prepares or renews the volumes where that is needed; returns when it is needed next.
    pub(super) fn volumes(&mut self, plan: &Arc<Plan>) -> Option<Duration> {
        let due = self.volumes.as_ref().and_then(|v| v.due(Instant::now()));
        if !self.volumes_dirty && due.is_none_or(|d| !d.is_zero()) {
            return due;
        }
        if let Some(left) = self.memory.retries.get(&Job::Volumes).map(|r| r.1)
            && let Some(left) = left.checked_duration_since(Instant::now()).filter(|l| !l.is_zero())
        {
            return Some(left);
        }
        let mut volumes = self.volumes.take()?;
        self.volumes_dirty = false;
        let (plan, shared, cancel) = (plan.clone(), self.shared.clone(), self.cancel.clone());
        let facts =
            Facts { host_ip: shared.config.node_ip.to_string(), allocatable: self.ceiling(&plan), ..Facts::default() };
        self.spawn(Job::Volumes, async move {
            let around = Around { config: &shared.config, plan: &plan, facts: &facts };
            let done = tokio::select! {
                done = volumes.set_up(&around) => done,
                () = cancel.cancelled() => Err(String::new()),
            };
            if let Err(why) = done.as_ref().map_err(String::as_str)
                && !why.is_empty()
            {
                shared.recorder.event_on(plan.reference(None), EventType::Warning, "FailedMount", why);
            }
            Outcome::Volumes(Box::new(volumes), done.is_ok())
        })
    }

    /// Removes containers that nobody will look at: of each name the newest stays, and one before it.
    pub(super) fn collect(&mut self, plan: &Arc<Plan>, observed: &Observed) {
        let mut old: Vec<(String, String, u32)> = Vec::new();
        for (name, all) in observed.by_name() {
            let extra = all.iter().skip(2).filter(|s| s.state != ContainerState::Running);
            old.extend(extra.map(|s| (s.id.clone(), name.to_owned(), s.config.attempt)));
        }
        let dead = observed.sandboxes.iter().skip(1).filter(|s| s.state == SandboxState::NotReady);
        let empty = |s: &&ironclad_cri::SandboxStatus| !observed.containers.iter().any(|c| c.sandbox_id == s.id);
        let sandboxes: Vec<String> = dead.filter(empty).map(|s| s.id.clone()).collect();
        if old.is_empty() && sandboxes.is_empty() {
            return;
        }
        let (config, plan) = (self.shared.config.clone(), plan.clone());
        self.spawn(Job::Collect, async move {
            for (id, name, attempt) in old {
                if let Err(error) = config.runtime.remove_container(&id).await {
                    tracing::warn!(%error, "cannot remove an old container");
                    return Outcome::Plain(Err(Duration::from_secs(30)));
                }
                let logs = config.log_dir(&plan.namespace, &plan.name, &plan.uid).join(&name);
                crate::logs::remove(&logs.join(format!("{attempt}.log")));
                let words = container::termination_file(&config, &plan.uid, &name, attempt);
                drop(std::fs::remove_file(words)); // it has none when its policy says so
            }
            for id in sandboxes {
                if let Err(error) = config.runtime.remove_pod_sandbox(&id).await {
                    tracing::warn!(%error, "cannot remove an old sandbox");
                    return Outcome::Plain(Err(Duration::from_secs(30)));
                }
            }
            Outcome::Plain(Ok(()))
        });
    }
}

/// Makes a sandbox after those before it were stopped.
async fn sandbox(ctx: &Ctx, olds: Vec<String>) -> Result<(), Duration> {
    // A new node waits a moment for its addresses.
    const AGAIN: Duration = Duration::from_secs(2);
    let runtime = &ctx.shared.config.runtime;
    for old in &olds {
        if let Err(error) = runtime.stop_pod_sandbox(old).await {
            tracing::warn!(%error, "cannot stop an old sandbox");
        }
    }
    if !olds.is_empty() {
        ctx.event(None, EventType::Normal, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.");
    }
    let failed = |why: String| {
        ctx.event(None, EventType::Warning, "FailedCreatePodSandBox", format!("Failed to create pod sandbox: {why}"));
        AGAIN
    };
    let kubelet = &ctx.shared.config;
    let (mut config, warnings) = container::sandbox(kubelet, &ctx.plan, olds.len() as u32).map_err(failed)?;
    if ctx.plan.spec.host_users == Some(false) {
        config.namespaces.users = Some(ctx.shared.users.get(kubelet, &ctx.plan.uid).map_err(failed)?);
    }
    for warning in warnings {
        ctx.event(None, EventType::Warning, "DNSConfigForming", warning);
    }
    std::fs::create_dir_all(&config.log_directory)
        .map_err(|e| failed(format!("cannot make the log directory: {e}")))?;
    runtime.run_pod_sandbox(config).await.map(drop).map_err(|e| failed(e.to_string()))
}
