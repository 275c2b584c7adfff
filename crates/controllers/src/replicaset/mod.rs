//! ReplicaSets and ReplicationControllers: as many pods as are wanted, no more and no less.

mod expected;
mod pods;
mod set;
mod status;

use crate::{Context, claim, controller_of};
use expected::{Expectations, observe, settled};
use ironclad_client::{Change, ObjectKey, WorkQueue};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use pods::manage;
pub(crate) use set::Replicated;
use status::report;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

pub(crate) async fn run<K: Replicated>(context: Context, token: CancellationToken) {
    let queue: Arc<WorkQueue<ObjectKey>> = WorkQueue::new();
    let (sets, pods) = (context.informers.get::<K>(), context.informers.get::<Pod>());
    pods.add_index("controller", |p: &Pod| controller_of(&p.metadata).map(|o| o.uid.clone()).into_iter().collect());
    pods.add_index(claim::FREE, |p: &Pod| claim::free(&p.metadata));
    let expectations = Expectations::default();
    let add = queue.clone();
    sets.on_change(move |c| add.add(ObjectKey::of(&**c.object())));
    let (add, seen, known) = (queue.clone(), expectations.clone(), sets.clone());
    pods.on_change(move |change| {
        let pod = change.object();
        // A pod that changed hands concerns the one that had it as well.
        if let Change::Modified { old, .. } = change
            && let Some(owner) = controller_of(&old.metadata).filter(|o| is_of::<K>(o))
        {
            add.add(ObjectKey::new(old.metadata.namespace.as_deref().unwrap_or_default(), &owner.name));
        }
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        match controller_of(&pod.metadata).filter(|o| is_of::<K>(o)) {
            Some(owner) => {
                let key = ObjectKey::new(&namespace, &owner.name);
                observe(&seen, &key, change);
                add.add(key);
            }
            // A pod without a controller may be one that a set can adopt.
            None if controller_of(&pod.metadata).is_none() => {
                known
                    .list_namespace(&namespace)
                    .iter()
                    .filter(|s| s.selects(pod))
                    .for_each(|s| add.add(ObjectKey::of(&**s)));
            }
            None => {}
        }
    });
    sets.synced().await;
    pods.synced().await;
    let recorder = context.recorder(K::COMPONENT);
    let work = move |key: ObjectKey| {
        let (context, sets, pods) = (context.clone(), sets.clone(), pods.clone());
        let (expectations, recorder) = (expectations.clone(), recorder.clone());
        async move {
            let Some(found) = sets.get_key(&key) else {
                expectations.lock().remove(&key);
                return Ok(None);
            };
            let set: &K = &found;
            let uid = set.meta().uid.clone().unwrap_or_default();
            let mut free = pods.by_index(claim::FREE, &key.namespace);
            free.retain(|p| is_active(p));
            let mine = pods.by_index("controller", &uid);
            let mut owned = claim::claim(&context, set, mine, free, |p| set.selects(p)).await?;
            let terminating = owned.iter().filter(|p| is_terminating(p)).count() as i32;
            owned.retain(|p| is_active(p));
            let settled = settled(&expectations, &key);
            let mut failure = None;
            if settled && set.meta().deletion_timestamp.is_none() {
                failure = manage(&context, set, &owned, &expectations, &recorder).await.err();
            }
            let again = report(&context, set, &owned, terminating, failure.as_ref()).await?;
            failure.map_or(Ok(again), Err)
        }
    };
    queue.run(K::COMPONENT, 5, token, work).await;
}

fn is_of<K: Replicated>(owner: &OwnerReference) -> bool {
    owner.kind == K::kind(&()) && owner.api_version == K::api_version(&())
}

/// A pod that still counts: it has not ended and is not going away.
pub(crate) fn is_active(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    !matches!(phase, Some("Succeeded" | "Failed")) && pod.metadata.deletion_timestamp.is_none()
}

/// A pod that is going away and has not ended yet.
fn is_terminating(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    !matches!(phase, Some("Succeeded" | "Failed")) && pod.metadata.deletion_timestamp.is_some()
}

/// Since when a pod is ready; `None` when it is not.
pub(crate) fn is_ready(pod: &Pod) -> Option<Time> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|c| c.type_ == "Ready" && c.status == "True")?;
    Some(ready.last_transition_time.clone().unwrap_or(Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH)))
}
