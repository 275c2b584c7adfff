//! One pod's life on this node: look, decide, start jobs, report; again when something changed.
//!
//! Invariants: what takes time is a job of its own, so that a pod can be deleted at any moment; a container has one job
//! at a time; a restart of the kubelet loses nothing but back-offs, because all else is seen again.

mod end;
mod image;
mod job;
mod observe;
mod report;
mod resize;
mod start;
mod table;

use crate::Config;
use crate::admit::Admitted;
use crate::backoff::Backoff;
use crate::decide::{self, Seen, Step};
use crate::env::Facts;
use crate::gc::Uses;
use crate::objects::Objects;
use crate::pod::Plan;
use crate::probe::{Counts, Kind, Probes, Surroundings};
use crate::pulls::Pulls;
use crate::statics::Mirrors;
use crate::users::Users;
use crate::volumes::Volumes;
use ironclad_client::Informer;
use ironclad_client::events::{EventType, Recorder};
use ironclad_cri::ContainerState;
use job::{Ctx, Done, Job};
use k8s_openapi::api::core::v1::{Pod, PodStatus, Service};
use observe::Observed;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use table::{Order, Table};

/// What all workers share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) recorder: Recorder,
    pub(crate) services: Arc<Informer<Service>>,
    pub(crate) objects: Arc<Objects>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) admitted: Arc<Admitted>,
    pub(crate) table: Arc<Table>,
    pub(crate) mirrors: Arc<Mirrors>,
    pub(crate) uses: Arc<Uses>,
    pub(crate) pulls: Arc<Pulls>,
    pub(crate) users: Arc<Users>,
    /// Told when the node's status has news.
    pub(crate) node_changed: Arc<Notify>,
}

/// What a worker keeps between its rounds.
#[derive(Default)]
struct Memory {
    restarts: Backoff,
    pulls: Arc<Mutex<Backoff>>,
    /// Failures of a job in a row, and when to try again.
    retries: HashMap<Job, (u32, Instant)>,
    /// Why a container waits: reason and message.
    waiting: HashMap<String, (String, String)>,
    forced: HashSet<String>,
    /// Why the node ended the pod: reason and message.
    failure: Option<(String, String)>,
    /// Last words by container id.
    messages: HashMap<String, String>,
    /// The node ended the pod for the sake of others.
    disrupted: bool,
    /// The node did not take the pod.
    rejected: bool,
    /// Nothing of the pod runs any more.
    ended: bool,
    /// Its volumes are away.
    cleaned: bool,
    reported: Option<PodStatus>,
    /// The object that was told, by its uid.
    told: Option<String>,
    /// What each container is given.
    allocated: Option<resize::Allocated>,
    /// Why the pod cannot have what it asks for: reason and message.
    pending: Option<(String, String)>,
    /// Containers do not have yet what they are given since this generation of the pod.
    resizing: Option<i64>,
    resize_error: Option<String>,
}

pub(crate) struct Worker {
    shared: Shared,
    uid: String,
    input: watch::Receiver<Option<Arc<Pod>>>,
    orders: watch::Receiver<Option<Order>>,
    wake: Arc<Notify>,
    /// Told when a ConfigMap or Secret that the pod refers to changed.
    sources: Arc<Notify>,
    probes: Probes,
    memory: Memory,
    jobs: JoinSet<Done>,
    busy: HashSet<Job>,
    /// Away while a job works on them.
    volumes: Option<Volumes>,
    volumes_ready: bool,
    volumes_dirty: bool,
    cancel: CancellationToken,
    /// When the pod's containers must have ended.
    deadline: watch::Sender<Instant>,
    plan: Option<Arc<Plan>>,
    removed: bool,
    since: Instant,
}

/// How a round ends.
enum Flow {
    /// Look again when something happens, at the latest after this.
    Wait(Option<Duration>),
    /// The pod is gone from this node.
    Gone,
}

fn sooner(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    a.into_iter().chain(b).min()
}

impl Worker {
    pub(crate) fn new(shared: Shared, uid: &str, seat: table::Seat) -> Self {
        let around = Surroundings {
            runtime: shared.config.runtime.clone(),
            recorder: shared.recorder.clone(),
            wake: seat.wake.clone(),
            counts: shared.counts.clone(),
        };
        Self {
            probes: Probes::new(uid, around),
            shared,
            uid: uid.to_owned(),
            input: seat.pods,
            orders: seat.orders,
            wake: seat.wake,
            sources: Arc::default(),
            memory: Memory::default(),
            jobs: JoinSet::new(),
            busy: HashSet::new(),
            volumes: None,
            volumes_ready: false,
            volumes_dirty: true,
            cancel: CancellationToken::new(),
            deadline: watch::Sender::new(Instant::now()),
            plan: None,
            removed: false,
            since: Instant::now(),
        }
    }

    /// Looks after the pod until it is gone.
    pub(crate) async fn run(mut self) {
        loop {
            let wait = match self.round().await {
                Flow::Gone => return self.shared.admitted.forget(&self.uid),
                Flow::Wait(wait) => wait,
            };
            tokio::select! {
                changed = self.input.changed() => if changed.is_err() { return },
                _ = self.orders.changed() => {}
                () = self.wake.notified() => {}
                () = self.sources.notified() => self.sources_changed(),
                Some(done) = self.jobs.join_next() => self.done(done),
                () = tokio::time::sleep(wait.unwrap_or(Duration::MAX)) => {}
            }
        }
    }

    /// Takes over what the API server, or a file, says of the pod.
    fn take(&mut self) {
        let pod = self.input.borrow_and_update().clone();
        match (pod, &self.plan) {
            (None, _) => self.removed = true,
            (Some(pod), Some(plan)) if Arc::ptr_eq(&pod, &plan.pod) => {}
            (Some(pod), _) => {
                let plan = Plan::new(pod);
                match &mut self.volumes {
                    Some(volumes) => volumes.follow(&self.shared.objects, &plan, &self.sources),
                    None if self.plan.is_none() => {
                        self.volumes = Some(Volumes::new(&self.shared.objects, &plan, &self.sources));
                    }
                    None => {}
                }
                self.volumes_dirty = true;
                self.plan = Some(plan);
            }
        }
        if let Some(order) = self.orders.borrow_and_update().clone()
            && self.memory.failure.is_none()
        {
            if order.event
                && let Some(plan) = &self.plan
            {
                let (recorder, object) = (&self.shared.recorder, plan.reference(None));
                recorder.event_on(object, EventType::Warning, &order.reason, order.message.clone());
            }
            self.memory.disrupted = true;
            self.memory.failure = Some((order.reason, order.message));
            self.deadline.send_replace(Instant::now() + order.grace);
        }
    }

    async fn round(&mut self) -> Flow {
        self.take();
        let Some(plan) = self.plan.clone() else {
            // Nobody knows it any more: only what is left of it is taken away.
            return match self.clean().await {
                true => Flow::Gone,
                false => Flow::Wait(Some(Duration::from_secs(5))),
            };
        };
        let observed = match observe::observe(&*self.shared.config.runtime, &self.uid).await {
            Ok(observed) => observed,
            Err(error) => {
                tracing::warn!(pod = plan.name, %error, "cannot look at the containers");
                return Flow::Wait(Some(Duration::from_secs(2)));
            }
        };
        match self.admit(&plan, &observed) {
            Some(true) => {}
            Some(false) => self.memory.ended = true,
            None => return Flow::Wait(Some(Duration::from_millis(50))),
        }
        let wait = match self.must_end(&plan) {
            Ok(wait) => {
                let more = if self.memory.ended { None } else { self.go_on(&plan, &observed) };
                sooner(wait, more)
            }
            Err(grace) => {
                self.end(&plan, &observed, grace);
                None
            }
        };
        let wait = sooner(wait, self.report(&plan, &observed));
        if self.memory.ended {
            return match self.after_end(&plan, &observed).await {
                Flow::Wait(more) => Flow::Wait(sooner(wait, more)),
                Flow::Gone => Flow::Gone,
            };
        }
        Flow::Wait(sooner(wait, self.next_retry()))
    }

    /// Whether the node takes the pod; one that has containers was taken before. Nothing while that may change.
    fn admit(&mut self, plan: &Arc<Plan>, observed: &Observed) -> Option<bool> {
        let known = !observed.sandboxes.is_empty() || plan.ended_phase().is_some() || plan.deleted() || self.removed;
        match self.shared.admitted.admit(plan, known, &self.shared.table) {
            Ok(()) => Some(true),
            // The node's labels may be told after the pod that needs them.
            Err(r) if r.reason == "NodeAffinity" && self.since.elapsed() < Duration::from_secs(1) => None,
            Err(rejection) => {
                let message = format!("Pod was rejected: {}", rejection.message);
                if self.memory.failure.is_none() {
                    let object = plan.reference(None);
                    self.shared.recorder.event_on(object, EventType::Warning, &rejection.reason, rejection.message);
                    self.memory.failure = Some((rejection.reason, message));
                    self.memory.rejected = true;
                }
                Some(false)
            }
        }
    }

    /// Whether the pod must end, and how much time it has; else when to look at that again.
    fn must_end(&mut self, plan: &Arc<Plan>) -> Result<Option<Duration>, Duration> {
        if self.removed || plan.deleted() {
            return Err(plan.grace().max(Duration::from_secs(u64::from(self.removed))));
        }
        if self.memory.failure.is_some() {
            return Err(self.deadline.borrow().saturating_duration_since(Instant::now()));
        }
        let started = plan.pod.status.as_ref().and_then(|s| s.start_time.clone());
        let (Some(limit), Some(started)) = (plan.spec.active_deadline_seconds, started) else { return Ok(None) };
        let active = crate::backoff::now() - i64::try_from(started.0.as_nanosecond()).unwrap_or(0);
        let left = Duration::from_secs(limit.max(0) as u64).checked_sub(Duration::from_nanos(active.max(0) as u64));
        match left.filter(|l| !l.is_zero()) {
            _ if plan.ended_phase().is_some() => Ok(None),
            Some(left) => Ok(Some(left)),
            None => {
                let text = "Pod was active on the node longer than the specified deadline";
                self.shared.recorder.event_on(plan.reference(None), EventType::Normal, "DeadlineExceeded", text);
                self.memory.failure = Some(("DeadlineExceeded".to_owned(), text.to_owned()));
                self.deadline.send_replace(Instant::now() + plan.grace());
                Err(plan.grace())
            }
        }
    }

    /// Starts the jobs that the pod needs now; when to look again.
    fn go_on(&mut self, plan: &Arc<Plan>, observed: &Observed) -> Option<Duration> {
        self.probe(plan, observed);
        let room = self.allocate(plan);
        let resized = self.resize(plan, observed);
        let busy: HashSet<String> = self.busy.iter().filter_map(Job::container).map(str::to_owned).collect();
        let newest = observed.newest();
        let memory = &self.memory;
        let seen = Seen {
            sandbox: observed.sandbox.as_ref().map(|s| s.id.as_str()),
            unhealthy: {
                let mut unhealthy = self.unhealthy(plan, observed);
                for name in newest.keys().filter(|n| resized.iter().any(|r| r == **n)) {
                    unhealthy.entry(name).or_insert(decide::Why::Resized);
                }
                unhealthy
            },
            started: self.started(plan, observed),
            busy: busy.iter().map(String::as_str).collect(),
            forced: memory.forced.iter().map(String::as_str).collect(),
            newest,
        };
        let steps = decide::steps(plan, &seen);
        if steps == [Step::End] {
            self.end(plan, observed, plan.grace());
            return None;
        }
        let due = self.volumes(plan);
        self.collect(plan, observed);
        let mut wait = sooner(due, room);
        for step in steps {
            wait = sooner(wait, self.act(plan, observed, step));
        }
        wait
    }

    fn probe(&mut self, plan: &Arc<Plan>, observed: &Observed) {
        let ip = self.ips(plan, observed).into_iter().next().unwrap_or_default();
        let running: Vec<_> = observed.containers.iter().filter(|c| c.state == ContainerState::Running).collect();
        for status in &running {
            if let Some(unit) = plan.unit(observe::name_of(status)) {
                self.probes.watch(plan, unit, &status.id, status.started_at, &ip);
            }
        }
        self.probes.keep(&running.iter().map(|s| s.id.as_str()).collect::<Vec<_>>());
    }

    fn started<'a>(&self, plan: &Plan, observed: &'a Observed) -> HashSet<&'a str> {
        let begun = |(name, status): &(&'a str, &ironclad_cri::ContainerStatus)| {
            let probe = plan.unit(name).is_some_and(|u| u.spec.startup_probe.is_some());
            status.state == ContainerState::Running
                && (!probe || self.probes.result(&status.id, Kind::Startup) == Some(true))
        };
        // A sidecar has started when its hook has run as well.
        let idle = |name: &str| !self.busy.contains(&Job::Start(name.to_owned()));
        observed.newest().into_iter().filter(begun).map(|(n, _)| n).filter(|n| idle(n)).collect()
    }

    fn unhealthy<'a>(&self, plan: &Plan, observed: &'a Observed) -> HashMap<&'a str, decide::Why> {
        let mut out = HashMap::new();
        for (name, status) in observed.newest() {
            for (kind, why) in [(Kind::Liveness, decide::Why::Liveness), (Kind::Startup, decide::Why::Startup)] {
                if self.probes.result(&status.id, kind) == Some(false) && plan.unit(name).is_some() {
                    out.insert(name, why);
                }
            }
        }
        out
    }

    fn ips(&self, plan: &Plan, observed: &Observed) -> Vec<String> {
        if plan.host_network() {
            return vec![self.shared.config.node_ip.to_string()];
        }
        observed.sandbox.as_ref().map(|s| s.ips.clone()).unwrap_or_default()
    }

    fn facts(&self, plan: &Plan, observed: &Observed) -> Facts {
        Facts {
            host_ip: self.shared.config.node_ip.to_string(),
            pod_ips: self.ips(plan, observed),
            allocatable: self.ceiling(plan),
            allocated: self.all_given(plan),
        }
    }

    fn ctx(&self, plan: &Arc<Plan>, observed: &Observed) -> Ctx {
        Ctx {
            shared: self.shared.clone(),
            plan: plan.clone(),
            cancel: self.cancel.clone(),
            pulls: self.memory.pulls.clone(),
            facts: self.facts(plan, observed),
        }
    }
}
