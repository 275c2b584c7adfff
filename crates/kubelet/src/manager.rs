//! The pods of this node, each with its worker, and what the whole node does.

use crate::worker::{Shared, Worker};
use crate::{Config, container, node, server};
use ironclad_client::events::Recorder;
use ironclad_client::informer::Filter;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::Api;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::{Notify, broadcast::error::RecvError, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

struct Entry {
    pods: watch::Sender<Option<Arc<Pod>>>,
    wake: Arc<Notify>,
}

type Workers = Arc<Mutex<HashMap<String, Entry>>>;

/// Runs the kubelet until `token` is cancelled. `ready` is told once the node is registered.
pub async fn run(config: Config, ready: Arc<Notify>, token: CancellationToken) {
    let recorder = Recorder::new(config.client.clone(), "kubelet", &config.node_name);
    let mut tasks = JoinSet::new();
    tasks.spawn(server::serve(config.clone(), token.clone()));
    let Some(memory) = node::register(&config, &recorder, &token).await else { return };
    tasks.spawn(node::keep(config.clone(), recorder.clone(), ready, token.clone()));
    let services = config.informers.get::<Service>();
    let filter = Filter { fields: format!("spec.nodeName={}", config.node_name), ..Filter::default() };
    let pods = config.informers.filtered::<Pod>(filter, Api::all(config.client.clone()));
    let workers = Workers::default();
    services.synced().await;
    let shared = Shared { config: config.clone(), recorder, services, memory };
    let known = workers.clone();
    let spawn_with = shared.clone();
    pods.synced().await;
    let runtime = tokio::runtime::Handle::current();
    pods.on_change(move |change| {
        let pod = change.object();
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let gone = matches!(change, ironclad_client::Change::Deleted(_));
        let mut workers = known.lock();
        if let Some(entry) = workers.get(&uid) {
            entry.pods.send_replace((!gone).then(|| pod.clone()));
            return;
        }
        if gone {
            return;
        }
        let (sender, receiver) = watch::channel(Some(pod.clone()));
        let wake = Arc::new(Notify::new());
        workers.insert(uid.clone(), Entry { pods: sender, wake: wake.clone() });
        let (worker, done) = (Worker::new(spawn_with.clone(), receiver, wake), known.clone());
        runtime.spawn(async move {
            worker.run(uid.clone()).await;
            done.lock().remove(&uid);
        });
    });
    sweep(&shared, &workers).await;
    let mut events = config.runtime.events();
    loop {
        let event = tokio::select! {
            () = token.cancelled() => return,
            event = events.recv() => event,
        };
        match event {
            Ok(event) => {
                if let Some(entry) = workers.lock().get(&event.pod_uid) {
                    entry.wake.notify_one();
                }
            }
            // Events were lost: everybody looks.
            Err(RecvError::Lagged(_)) => workers.lock().values().for_each(|e| e.wake.notify_one()),
            Err(RecvError::Closed) => return,
        }
    }
}

/// Removes what is left of pods that the API no longer has.
async fn sweep(shared: &Shared, workers: &Workers) {
    let sandboxes = shared.config.runtime.list_pod_sandboxes(None).await.unwrap_or_default();
    for sandbox in sandboxes {
        let uid = sandbox.config.labels.get(container::POD_UID).cloned().unwrap_or(sandbox.config.uid.clone());
        let known = workers.lock().contains_key(&uid);
        if !known {
            let (_sender, receiver) = watch::channel(None);
            tokio::spawn(Worker::new(shared.clone(), receiver, Arc::new(Notify::new())).run(uid));
        }
    }
}
