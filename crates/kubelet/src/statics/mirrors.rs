//! Mirror pods.

use crate::Config;
use crate::pod::MIRROR;
use crate::worker::Shared;
use ironclad_client::{Informer, ObjectKey};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Who removed a mirror sees that it is gone before it comes again.
const PAUSE: Duration = Duration::from_secs(1);

/// Static pods, and the mirrors that the API server has.
pub(crate) struct Mirrors {
    nodes: Arc<Informer<Node>>,
    wanted: Mutex<HashMap<ObjectKey, Arc<Pod>>>,
    there: Mutex<HashMap<ObjectKey, Arc<Pod>>>,
    /// Mirrors that somebody removed, and when.
    removed: Mutex<HashMap<ObjectKey, Instant>>,
    changed: Notify,
}

fn hash(pod: &Pod, key: &str) -> Option<String> {
    pod.metadata.annotations.as_ref()?.get(key).cloned()
}

impl Mirrors {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            nodes: config.own_node(),
            wanted: Mutex::default(),
            there: Mutex::default(),
            removed: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// The API server's pod for a static one.
    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        self.there.lock().get(&ObjectKey::new(namespace, name)).cloned()
    }

    pub(crate) fn is_static(&self, uid: &str) -> bool {
        self.wanted.lock().values().any(|p| p.metadata.uid.as_deref() == Some(uid))
    }

    /// The API server told of a mirror.
    pub(crate) fn seen(&self, pod: &Arc<Pod>, gone: bool) {
        let key = ObjectKey::of(&**pod);
        match gone {
            true => {
                self.removed.lock().insert(key.clone(), Instant::now());
                self.there.lock().remove(&key);
            }
            false => drop(self.there.lock().insert(key, pod.clone())),
        }
        self.changed.notify_one();
    }

    /// The static pods that there are.
    pub(super) fn want(&self, pods: Vec<Arc<Pod>>) {
        *self.wanted.lock() = pods.into_iter().map(|p| (ObjectKey::of(&*p), p)).collect();
        self.changed.notify_one();
    }

    /// Mirrors to remove, and static pods that have none.
    fn differences(&self) -> (Vec<Arc<Pod>>, Vec<Arc<Pod>>, bool) {
        let (wanted, there) = (self.wanted.lock(), self.there.lock());
        let fits = |mirror: &Pod| {
            let pod = wanted.get(&ObjectKey::of(mirror))?;
            let same = hash(mirror, MIRROR) == hash(pod, "kubernetes.io/config.hash");
            (same && mirror.metadata.deletion_timestamp.is_none()).then_some(())
        };
        let wrong = there.values().filter(|m| fits(m).is_none()).cloned().collect();
        let mut removed = self.removed.lock();
        removed.retain(|_, at| at.elapsed() < PAUSE);
        let missing = wanted.iter().filter(|(key, _)| !there.contains_key(key));
        let (early, missing): (Vec<_>, Vec<_>) = missing.partition(|(key, _)| removed.contains_key(key));
        (wrong, missing.into_iter().map(|(_, p)| p.clone()).collect(), !early.is_empty())
    }
}

/// Makes mirrors what they should be, whenever something changed.
pub(super) async fn keep(shared: Shared, token: CancellationToken) {
    loop {
        let good = level(&shared).await;
        let again = if good { Duration::MAX } else { PAUSE };
        tokio::select! {
            () = token.cancelled() => return,
            () = shared.mirrors.changed.notified() => {}
            () = tokio::time::sleep(again) => {}
        }
        // Workers tell the status of a pod once it has a mirror.
        shared.table.wake_all();
    }
}

async fn level(shared: &Shared) -> bool {
    let (wrong, missing, early) = shared.mirrors.differences();
    let mut good = !early;
    for mirror in wrong {
        let api = api(shared, &mirror);
        let preconditions = Preconditions { uid: mirror.metadata.uid.clone(), resource_version: None };
        let now = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        good &= fine(api.delete(mirror.metadata.name.as_deref().unwrap_or_default(), &now).await.map(drop));
    }
    for pod in missing {
        let Some(mirror) = mirror(shared, &pod) else {
            good = false;
            continue;
        };
        good &= fine(api(shared, &pod).create(&PostParams::default(), &mirror).await.map(drop));
    }
    good
}

fn api(shared: &Shared, pod: &Pod) -> Api<Pod> {
    Api::namespaced(shared.config.client.clone(), pod.metadata.namespace.as_deref().unwrap_or_default())
}

fn fine(outcome: Result<(), kube::Error>) -> bool {
    match outcome {
        Ok(()) => true,
        Err(kube::Error::Api(answer)) if answer.code == 404 => true,
        Err(error) => {
            tracing::warn!(%error, "cannot keep a mirror pod");
            false
        }
    }
}

fn mirror(shared: &Shared, pod: &Pod) -> Option<Pod> {
    let node = shared.mirrors.nodes.get("", &shared.config.node_name)?;
    let mut mirror = pod.clone();
    let hash = hash(pod, "kubernetes.io/config.hash")?;
    mirror.metadata.annotations.get_or_insert_default().insert(MIRROR.to_owned(), hash);
    mirror.metadata.uid = None;
    mirror.metadata.owner_references = Some(vec![OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: shared.config.node_name.clone(),
        uid: node.metadata.uid.clone()?,
        controller: Some(true),
        block_owner_deletion: None,
    }]);
    Some(mirror)
}
