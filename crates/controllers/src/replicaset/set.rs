//! The kinds that ask for a number of equal pods: `ReplicaSet`, and the older `ReplicationController`.

use ironclad_api::selector::LabelSelector;
use ironclad_json::{Value, json};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{
    Pod, PodTemplateSpec, ReplicationController, ReplicationControllerCondition, ReplicationControllerStatus,
};
use kube::Resource;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// An object that asks for a number of equal pods. The words of its status are those of a `ReplicaSet`.
pub(crate) trait Replicated:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
    /// Who reports events.
    const COMPONENT: &'static str;

    fn replicas(&self) -> Option<i32>;
    fn min_ready_seconds(&self) -> i32;
    fn selector(&self) -> LabelSelector;
    fn template(&self) -> Option<&PodTemplateSpec>;
    fn status(&self) -> ReplicaSetStatus;
    /// This status in the kind's own form.
    fn status_value(status: ReplicaSetStatus) -> Value;

    fn wanted(&self) -> usize {
        usize::try_from(self.replicas().unwrap_or(1)).unwrap_or(0)
    }

    fn selects(&self, pod: &Pod) -> bool {
        let selector = self.selector();
        !selector.is_everything() && selector.matches(&pod.metadata.labels)
    }
}

impl Replicated for ReplicaSet {
    const COMPONENT: &'static str = "replicaset-controller";

    fn replicas(&self) -> Option<i32> {
        self.spec.replicas
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.min_ready_seconds.unwrap_or(0)
    }

    fn selector(&self) -> LabelSelector {
        LabelSelector::from_meta(Some(&self.spec.selector)).unwrap_or_else(|_| LabelSelector::nothing())
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.template.as_ref()
    }

    fn status(&self) -> ReplicaSetStatus {
        self.status.clone().unwrap_or_default()
    }

    fn status_value(status: ReplicaSetStatus) -> Value {
        json!(status)
    }
}

impl Replicated for ReplicationController {
    const COMPONENT: &'static str = "replication-controller";

    fn replicas(&self) -> Option<i32> {
        self.spec.as_ref()?.replicas
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.as_ref().and_then(|s| s.min_ready_seconds).unwrap_or(0)
    }

    fn selector(&self) -> LabelSelector {
        let labels = self.spec.as_ref().and_then(|s| s.selector.as_ref());
        labels.map_or_else(LabelSelector::nothing, LabelSelector::from_map)
    }

    fn template(&self) -> Option<&PodTemplateSpec> {
        self.spec.as_ref()?.template.as_ref()
    }

    fn status(&self) -> ReplicaSetStatus {
        let status = self.status.clone().unwrap_or_default();
        let condition = |c: ReplicationControllerCondition| ReplicaSetCondition {
            last_transition_time: c.last_transition_time,
            message: c.message,
            reason: c.reason,
            status: Some(c.status),
            type_: Some(c.type_),
        };
        ReplicaSetStatus {
            available_replicas: status.available_replicas,
            conditions: status.conditions.map(|all| all.into_iter().map(condition).collect()),
            fully_labeled_replicas: status.fully_labeled_replicas,
            observed_generation: status.observed_generation,
            ready_replicas: status.ready_replicas,
            replicas: status.replicas,
            terminating_replicas: None,
        }
    }

    fn status_value(status: ReplicaSetStatus) -> Value {
        let condition = |c: ReplicaSetCondition| ReplicationControllerCondition {
            last_transition_time: c.last_transition_time,
            message: c.message,
            reason: c.reason,
            status: c.status.unwrap_or_default(),
            type_: c.type_.unwrap_or_default(),
        };
        json!(ReplicationControllerStatus {
            available_replicas: status.available_replicas,
            conditions: status.conditions.map(|all| all.into_iter().map(condition).collect()),
            fully_labeled_replicas: status.fully_labeled_replicas,
            observed_generation: status.observed_generation,
            ready_replicas: status.ready_replicas,
            replicas: status.replicas,
        })
    }
}
