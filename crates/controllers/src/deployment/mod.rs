//! Deployments: one ReplicaSet for each template, the newest grown while the others shrink.

mod rollout;
mod sets;
mod share;
mod status;

use crate::{Context, claim, controller_of};
use ironclad_api::selector::LabelSelector;
use ironclad_client::events::Recorder;
use ironclad_client::{Change, ObjectKey, WorkQueue};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use rollout::{new_size, old_sizes, wanted};
use share::{is_scaling, shared_out};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

pub(crate) async fn run(context: Context, token: CancellationToken) {
    let queue: Arc<WorkQueue<ObjectKey>> = WorkQueue::new();
    let deployments = context.informers.get::<Deployment>();
    let (sets, pods) = (context.informers.get::<ReplicaSet>(), context.informers.get::<Pod>());
    sets.add_index("deployment", |s: &ReplicaSet| {
        controller_of(&s.metadata).map(|o| o.uid.clone()).into_iter().collect()
    });
    sets.add_index(claim::FREE, |s: &ReplicaSet| claim::free(&s.metadata));
    pods.add_index("controller", |p: &Pod| controller_of(&p.metadata).map(|o| o.uid.clone()).into_iter().collect());
    let add = queue.clone();
    deployments.on_change(move |c| add.add(ObjectKey::of(&**c.object())));
    let (add, known) = (queue.clone(), deployments.clone());
    sets.on_change(move |c| {
        let meta = &c.object().metadata;
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        match controller_of(meta) {
            Some(owner) if owner.kind == "Deployment" => add.add(ObjectKey::new(namespace, &owner.name)),
            Some(_) => {}
            // A set without a controller may be one that a deployment can adopt.
            None => {
                let all = known.list_namespace(namespace);
                all.iter().filter(|d| selects(d, c.object())).for_each(|d| add.add(ObjectKey::of(&**d)));
            }
        }
    });
    let (add, known, all) = (queue.clone(), deployments.clone(), sets.clone());
    pods.on_change(move |c| {
        // Who replaces all pods at once waits until the last of the old ones is gone.
        let Change::Deleted(pod) = c else { return };
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let set = controller_of(&pod.metadata).and_then(|o| all.get(namespace, &o.name));
        let owner = set.as_ref().and_then(|s| controller_of(&s.metadata)).filter(|o| o.kind == "Deployment");
        if let Some(deployment) = owner.and_then(|o| known.get(namespace, &o.name))
            && deployment.spec.strategy.as_ref().and_then(|s| s.type_.as_deref()) == Some("Recreate")
        {
            add.add(ObjectKey::of(&*deployment));
        }
    });
    deployments.synced().await;
    sets.synced().await;
    pods.synced().await;
    let recorder = context.recorder("deployment-controller");
    let work = move |key: ObjectKey| {
        let (context, deployments, sets, pods, recorder) =
            (context.clone(), deployments.clone(), sets.clone(), pods.clone(), recorder.clone());
        async move {
            let Some(deployment) = deployments.get_key(&key) else { return Ok(None) };
            if deployment.metadata.deletion_timestamp.is_some() {
                return Ok(None);
            }
            let uid = deployment.metadata.uid.clone().unwrap_or_default();
            let (mine, free) = (sets.by_index("deployment", &uid), sets.by_index(claim::FREE, &key.namespace));
            let mut owned = claim::claim(&context, &*deployment, mine, free, |s| selects(&deployment, s)).await?;
            owned.sort_by_key(|s| s.metadata.creation_timestamp.as_ref().map(|t| t.0));
            let busy =
                |s: &ReplicaSet| !pods.by_index("controller", s.metadata.uid.as_deref().unwrap_or_default()).is_empty();
            let sync = Round { context: &context, recorder: &recorder, deployment: &deployment, sets: &owned };
            sync.run(&busy).await
        }
    };
    queue.run("deployment", 5, token, work).await;
}

struct Round<'a> {
    context: &'a Context,
    recorder: &'a Recorder,
    deployment: &'a Deployment,
    sets: &'a [Arc<ReplicaSet>],
}

fn selects(deployment: &Deployment, set: &ReplicaSet) -> bool {
    LabelSelector::from_meta(Some(&deployment.spec.selector))
        .is_ok_and(|s| !s.is_everything() && s.matches(&set.metadata.labels))
}

impl Round<'_> {
    fn api(&self) -> Api<ReplicaSet> {
        Api::namespaced(self.context.client.clone(), self.deployment.metadata.namespace.as_deref().unwrap_or_default())
    }

    fn replicas(&self) -> i32 {
        self.deployment.spec.replicas.unwrap_or(1)
    }

    fn name(&self) -> String {
        self.deployment.metadata.name.clone().unwrap_or_default()
    }

    fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.context.client.clone(), self.deployment.metadata.namespace.as_deref().unwrap_or_default())
    }

    async fn run(&self, busy: &(dyn Fn(&ReplicaSet) -> bool + Sync)) -> Result<Option<Duration>, kube::Error> {
        let spec = self.deployment.spec.clone();
        let paused = spec.paused.unwrap_or(false);
        let recreate = spec.strategy.as_ref().and_then(|s| s.type_.as_deref()) == Some("Recreate");
        let mut new = self.newest();
        let mut old: Vec<Arc<ReplicaSet>> = self
            .sets
            .iter()
            .filter(|s| new.as_ref().is_none_or(|n| n.metadata.uid != s.metadata.uid))
            .cloned()
            .collect();
        if paused || is_scaling(self.deployment, self.sets) {
            for (set, size) in shared_out(self.deployment, new.as_ref(), &old) {
                self.scale(&set, size).await?;
            }
        } else if recreate {
            let mut waiting = false;
            for set in &old {
                waiting |= busy(set);
                self.scale(set, 0).await?;
            }
            if !waiting {
                let set = self.ensure_new(new.take(), self.replicas()).await?;
                self.scale(&set, self.replicas()).await?;
                new = Some(set);
            }
        } else {
            let total: i32 = old.iter().map(|s| wanted(s)).sum();
            let first = new_size(self.deployment, &ReplicaSet::default(), total);
            let set = self.ensure_new(new.take(), first).await?;
            let size = new_size(self.deployment, &set, total + wanted(&set));
            let grown = self.scale(&set, size).await?;
            if !grown {
                let list: Vec<&ReplicaSet> = old.iter().map(|s| &**s).collect();
                for (old, size) in old.iter().zip(old_sizes(self.deployment, &set, &list)) {
                    self.scale(old, size).await?;
                }
            }
            new = Some(set);
        }
        self.clean(&mut old).await?;
        self.report(new.as_deref(), &old).await
    }
}
