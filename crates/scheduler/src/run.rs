//! The loop: changes come in from informers, decisions go out as bindings, conditions and events.

use crate::algorithm::{FitError, schedule};
use crate::cache::Cache;
use crate::metrics;
use crate::pod::{PodInfo, bound_to, has_ended};
use crate::queue::{Hint, Queue};
use ironclad_client::events::{EventType, Recorder};
use ironclad_client::{Change, Client, Informers};
use k8s_openapi::api::core::v1::{Binding, Node, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, Patch, PatchParams, PostParams};
use parking_lot::Mutex;
use serde_json::json;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

/// Requests to the API server at once.
const REQUESTS: usize = 64;
const COMPONENT: &str = "default-scheduler";

/// What the scheduler needs.
pub struct Config {
    /// The API server.
    pub client: Client,
    /// Shared informers.
    pub informers: Informers,
    /// Pods that name this scheduler are its own; usually `default-scheduler`.
    pub name: String,
}

struct State {
    cache: Cache,
    queue: Queue,
    /// Pods that were given a node and whose binding is not confirmed yet.
    assumed: HashSet<String>,
}

/// An attempt: when it began, and how often and since when the pod was tried.
struct Tried {
    begun: Instant,
    history: Option<(u32, Instant)>,
}

struct Scheduler {
    config: Config,
    recorder: Recorder,
    state: Mutex<State>,
    wake: Notify,
    requests: Semaphore,
}

/// Schedules pods until `token` is cancelled.
pub async fn run(config: Config, token: CancellationToken) {
    let recorder = Recorder::new(config.client.clone(), COMPONENT, "");
    let (nodes, pods) = (config.informers.get::<Node>(), config.informers.get::<Pod>());
    let state = State { cache: Cache::default(), queue: Queue::default(), assumed: HashSet::new() };
    let scheduler = Arc::new(Scheduler {
        config,
        recorder,
        state: Mutex::new(state),
        wake: Notify::new(),
        requests: Semaphore::new(REQUESTS),
    });
    let (on_node, on_pod) = (Arc::downgrade(&scheduler), Arc::downgrade(&scheduler));
    nodes.on_change(move |change| {
        if let Some(s) = on_node.upgrade() {
            s.node_changed(change);
        }
    });
    pods.on_change(move |change| {
        if let Some(s) = on_pod.upgrade() {
            s.pod_changed(change);
        }
    });
    nodes.synced().await;
    pods.synced().await;
    tokio::select! {
        () = token.cancelled() => {}
        () = scheduler.decide() => {}
    }
}

impl Scheduler {
    fn node_changed(&self, change: &Change<Node>) {
        let mut state = self.state.lock();
        match change {
            Change::Deleted(node) => state.cache.remove_node(node.metadata.name.as_deref().unwrap_or_default()),
            Change::Modified { old, new } if !matters(old, new) => state.cache.put_node(new.clone()),
            Change::Added(node) | Change::Modified { new: node, .. } => {
                state.cache.put_node(node.clone());
                if state.queue.hint(Hint::Node, Instant::now()) {
                    self.wake.notify_one();
                }
            }
        }
    }

    fn pod_changed(&self, change: &Change<Pod>) {
        let pod = change.object();
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let mut state = self.state.lock();
        let gone = matches!(change, Change::Deleted(_)) || has_ended(pod);
        if gone {
            state.queue.remove(&uid);
            state.assumed.remove(&uid);
            if state.cache.remove_pod(&uid).is_some() && state.queue.hint(Hint::PodGone, Instant::now()) {
                self.wake.notify_one();
            }
            return;
        }
        if let Some(node) = bound_to(pod) {
            let node = node.to_owned();
            state.queue.remove(&uid);
            state.assumed.remove(&uid);
            state.cache.place(Arc::new(PodInfo::new(pod.clone())), &node);
            return;
        }
        if state.assumed.contains(&uid) || !self.is_mine(pod) {
            return;
        }
        if pod.metadata.deletion_timestamp.is_some() {
            state.queue.remove(&uid);
            return;
        }
        let info = Arc::new(PodInfo::new(pod.clone()));
        if let Change::Modified { old, new } = change
            && old.spec == new.spec
            && old.metadata.labels == new.metadata.labels
        {
            state.queue.refresh(info);
            return;
        }
        state.queue.put(info, Instant::now());
        self.wake.notify_one();
    }

    fn is_mine(&self, pod: &Pod) -> bool {
        pod.spec.as_ref().and_then(|s| s.scheduler_name.as_deref()).unwrap_or(COMPONENT) == self.config.name
    }

    /// Takes one pod after the other and decides; what follows from a decision runs beside.
    async fn decide(self: &Arc<Self>) {
        loop {
            let deadline = {
                let mut state = self.state.lock();
                if self.decide_next(&mut state) { None } else { Some(state.queue.deadline()) }
            };
            match deadline {
                // Others get their turn between two decisions.
                None => tokio::task::yield_now().await,
                Some(None) => self.wake.notified().await,
                Some(Some(at)) => drop(tokio::time::timeout_at(at.into(), self.wake.notified()).await),
            }
        }
    }

    fn decide_next(self: &Arc<Self>, state: &mut State) -> bool {
        let begun = Instant::now();
        let Some(pod) = state.queue.pop(begun) else {
            self.show(state);
            return false;
        };
        let decision = schedule(&pod, &mut state.cache);
        metrics::ALGORITHM.took(&[], begun.elapsed());
        match decision {
            Ok(node) => {
                state.cache.place(pod.clone(), &node);
                state.assumed.insert(pod.uid.clone());
                let tried = Tried { begun, history: state.queue.history(&pod.uid) };
                let scheduler = self.clone();
                tokio::spawn(async move { scheduler.bind(pod, node, tried).await });
            }
            Err(error) => {
                self.attempted("unschedulable", begun);
                state.queue.wait(&pod.uid, error.plugins.clone());
                let scheduler = self.clone();
                tokio::spawn(async move { scheduler.report(pod, error).await });
            }
        }
        true
    }

    /// Counts an attempt and its result.
    fn attempted(&self, result: &str, begun: Instant) {
        let labels = [("profile", self.config.name.as_str()), ("result", result)];
        metrics::ATTEMPTS.add(&labels, 1);
        metrics::ATTEMPT_TIMES.took(&labels, begun.elapsed());
    }

    /// Shows how many pods and nodes there are; called when there is nothing left to decide.
    fn show(&self, state: &State) {
        let counts = state.queue.counts();
        let unschedulable = counts.rest.saturating_sub(state.assumed.len());
        for (queue, count) in [
            ("active", counts.active),
            ("backoff", counts.backoff),
            ("gated", counts.gated),
            ("unschedulable", unschedulable),
        ] {
            metrics::PENDING.set(&[("queue", queue)], count as f64);
        }
        let (nodes, pods) = state.cache.size();
        for (kind, count) in [("nodes", nodes), ("pods", pods), ("assumed_pods", state.assumed.len())] {
            metrics::CACHE.set(&[("type", kind)], count as f64);
        }
    }

    async fn bind(&self, pod: Arc<PodInfo>, node: String, tried: Tried) {
        let Ok(_permit) = self.requests.acquire().await else { return };
        let api: Api<Pod> = Api::namespaced(self.config.client.clone(), &pod.key.namespace);
        let target =
            ObjectReference { kind: Some("Node".into()), name: Some(node.clone()), ..ObjectReference::default() };
        let metadata = ObjectMeta {
            name: Some(pod.key.name.clone()),
            namespace: Some(pod.key.namespace.clone()),
            uid: Some(pod.uid.clone()),
            ..ObjectMeta::default()
        };
        let body = Binding { metadata, target };
        let answer: Result<serde_json::Value, _> =
            api.create_subresource("binding", &pod.key.name, &PostParams::default(), &body).await;
        match answer {
            Ok(_) => {
                self.bound(&tried);
                let message = format!("Successfully assigned {} to {node}", pod.key);
                self.recorder.event(&*pod.pod, EventType::Normal, "Scheduled", message);
            }
            Err(error) => {
                self.attempted("error", tried.begun);
                self.bind_failed(&pod, &error);
            }
        }
    }

    /// Counts a pod that has its node now.
    fn bound(&self, tried: &Tried) {
        self.attempted("scheduled", tried.begun);
        if let Some((attempts, since)) = tried.history {
            metrics::POD_ATTEMPTS.observe(&[], f64::from(attempts));
            metrics::POD_TIMES.took(&[("attempts", &attempts.to_string())], since.elapsed());
        }
    }

    fn bind_failed(&self, pod: &PodInfo, error: &kube::Error) {
        tracing::warn!(pod = %pod.key, %error, "cannot bind");
        let mut state = self.state.lock();
        // Confirmed or deleted meanwhile: the informer has said all there is to say.
        if !state.assumed.remove(&pod.uid) {
            return;
        }
        state.cache.remove_pod(&pod.uid);
        match error {
            kube::Error::Api(status) if status.code == 404 => state.queue.remove(&pod.uid),
            _ => {
                state.queue.retry(&pod.uid, Instant::now());
                let message = format!("binding rejected: {error}");
                self.recorder.event(&*pod.pod, EventType::Warning, "FailedScheduling", message);
            }
        }
        self.wake.notify_one();
    }

    async fn report(&self, pod: Arc<PodInfo>, error: FitError) {
        let message = error.message();
        self.recorder.event(&*pod.pod, EventType::Warning, "FailedScheduling", message.clone());
        if has_condition(&pod.pod, &message) {
            return;
        }
        let Ok(_permit) = self.requests.acquire().await else { return };
        let api: Api<Pod> = Api::namespaced(self.config.client.clone(), &pod.key.namespace);
        let now = ironclad_api::time::now();
        let status = json!({"metadata": {"uid": pod.uid}, "status": {"conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
            "lastTransitionTime": now, "observedGeneration": pod.pod.metadata.generation,
        }]}});
        if let Err(error) = api.patch_status(&pod.key.name, &PatchParams::default(), &Patch::Strategic(status)).await {
            tracing::debug!(pod = %pod.key, %error, "cannot set the condition PodScheduled");
        }
    }
}

/// Whether a node changed in a way that can make a pod fit.
fn matters(old: &Node, new: &Node) -> bool {
    let allocatable = |n: &Node| n.status.as_ref().and_then(|s| s.allocatable.clone());
    old.spec != new.spec || old.metadata.labels != new.metadata.labels || allocatable(old) != allocatable(new)
}

fn has_condition(pod: &Pod, message: &str) -> bool {
    let conditions = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
    let found: BTreeSet<&str> = conditions
        .filter(|c| c.type_ == "PodScheduled" && c.status == "False")
        .filter_map(|c| c.message.as_deref())
        .collect();
    found.contains(message)
}
