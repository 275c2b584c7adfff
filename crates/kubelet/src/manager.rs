//! The pods of this node, each with its worker, and what the whole node does.

use crate::admit::Admitted;
use crate::checkpoint;
use crate::objects::Objects;
use crate::pod::{MIRROR, is_static};
use crate::pulls::Pulls;
use crate::signers::Signers;
use crate::statics::{self, Mirrors};
use crate::users::Users;
use crate::worker::{Shared, Table, Worker};
use crate::{Config, container, evict, gc, node, server};
use ironclad_client::events::Recorder;
use ironclad_client::informer::Filter;
use ironclad_client::{Change, Informer};
use k8s_openapi::api::core::v1::{Pod, Service};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, broadcast::error::RecvError};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long the start waits for the API server before the node begins with what it knows from disk.
const PATIENCE: Duration = Duration::from_secs(5);

fn uid(pod: &Pod) -> String {
    pod.metadata.uid.clone().unwrap_or_default()
}

/// Tells a pod's worker, starting one where there is none.
fn put(shared: &Shared, runtime: &tokio::runtime::Handle, uid: &str, pod: Option<Arc<Pod>>) {
    if pod.is_none() && !shared.table.contains(uid) {
        return;
    }
    let Some(mut seat) = shared.table.put(uid, pod) else { return };
    let (shared, uid) = (shared.clone(), uid.to_owned());
    runtime.spawn(async move {
        loop {
            Worker::new(shared.clone(), &uid, seat).run().await;
            let Some(again) = shared.table.leave(&uid) else { return };
            let Some(next) = shared.table.put(&uid, Some(again)) else { return };
            seat = next;
        }
    });
}

/// Runs the kubelet until `token` is cancelled. `ready` is told once the node is registered.
pub async fn run(config: Config, ready: Arc<Notify>, token: CancellationToken) {
    let recorder = Recorder::new(config.client.clone(), "kubelet", &config.node_name);
    let services = config.informers.get::<Service>();
    let filter = Filter { fields: format!("spec.nodeName={}", config.node_name), ..Filter::default() };
    let pods = config.informers.filtered::<Pod>(filter);
    let signers = Signers::new(config.informers.clone(), &config.node_name);
    let shared = Shared {
        recorder: recorder.clone(),
        services: services.clone(),
        objects: Objects::new(config.client.clone(), signers),
        counts: Arc::default(),
        admitted: Arc::new(Admitted::default()),
        table: Arc::new(Table::default()),
        mirrors: Arc::new(Mirrors::new(&config)),
        uses: Arc::default(),
        pulls: Arc::new(Pulls::new(&config.root_dir)),
        users: Arc::new(Users::load(&config)),
        node_changed: Arc::default(),
        config: config.clone(),
    };
    shared.pulls.recover(&*config.runtime).await;
    node::measure(&shared);
    let mut tasks = JoinSet::new();
    tasks.spawn(server::serve(shared.clone(), token.clone()));
    tasks.spawn(node::run(shared.clone(), ready, token.clone()));
    tasks.spawn(evict::run(shared.clone(), token.clone()));
    tasks.spawn(gc::run(shared.clone(), token.clone()));
    let synced = async { tokio::join!(services.synced(), pods.synced()) };
    let online = tokio::time::timeout(PATIENCE, synced).await.is_ok();
    let handle = tokio::runtime::Handle::current();
    let mut known = HashSet::new();
    if !online {
        for pod in checkpoint::load(&config) {
            known.insert(uid(&pod));
            put(&shared, &handle, &uid(&pod), Some(Arc::new(pod)));
        }
    }
    follow(&shared, &handle, &pods);
    tasks.spawn(statics::run(shared.clone(), handle.clone(), token.clone()));
    tasks.spawn(settle(shared.clone(), pods, known));
    dispatch(&shared, &token).await;
}

/// Hands every change of a pod on to its worker.
fn follow(shared: &Shared, handle: &tokio::runtime::Handle, pods: &Informer<Pod>) {
    let (shared, handle) = (shared.clone(), handle.clone());
    pods.on_change(move |change| {
        let pod = change.object();
        let gone = matches!(change, Change::Deleted(_));
        if pod.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(MIRROR)) {
            shared.mirrors.seen(pod, gone);
            return;
        }
        // What is on its way out needs no memory, and its directory may be gone already.
        if !gone && pod.metadata.deletion_timestamp.is_none() {
            checkpoint::save(&shared.config, pod);
        }
        put(&shared, &handle, &uid(pod), (!gone).then(|| pod.clone()));
    });
}

/// Once the API server has told all pods: ends those that it no longer has, and removes what is left of others.
async fn settle(shared: Shared, pods: Arc<Informer<Pod>>, known: HashSet<String>) {
    pods.synced().await;
    let handle = tokio::runtime::Handle::current();
    let there: HashSet<String> = pods.list().iter().map(|p| uid(p)).collect();
    for gone in known.difference(&there) {
        put(&shared, &handle, gone, None);
    }
    let sandboxes = shared.config.runtime.list_pod_sandboxes(None).await.unwrap_or_default();
    let mut left: HashSet<String> = sandboxes
        .iter()
        .map(|s| s.config.labels.get(container::POD_UID).cloned().unwrap_or_else(|| s.config.uid.clone()))
        .collect();
    left.extend(checkpoint::uids(&shared.config));
    for orphan in left {
        if shared.table.contains(&orphan) || there.contains(&orphan) || shared.mirrors.is_static(&orphan) {
            continue;
        }
        if let Some(seat) = shared.table.put(&orphan, None) {
            let shared = shared.clone();
            tokio::spawn(async move {
                Worker::new(shared.clone(), &orphan, seat).run().await;
                shared.table.leave(&orphan);
            });
        }
    }
}

/// Wakes the worker of each pod whose containers changed.
async fn dispatch(shared: &Shared, token: &CancellationToken) {
    let mut events = shared.config.runtime.events();
    loop {
        let event = tokio::select! {
            () = token.cancelled() => return,
            event = events.recv() => event,
        };
        match event {
            Ok(event) => shared.table.wake(&event.pod_uid),
            // Events were lost: everybody looks.
            Err(RecvError::Lagged(_)) => shared.table.wake_all(),
            Err(RecvError::Closed) => return,
        }
    }
}

/// Runs a static pod, or ends it.
pub(crate) fn put_static(shared: &Shared, handle: &tokio::runtime::Handle, uid: &str, pod: Option<Arc<Pod>>) {
    debug_assert!(pod.as_ref().is_none_or(|p| is_static(p)), "only static pods come this way");
    put(shared, handle, uid, pod);
}
