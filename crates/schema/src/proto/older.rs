//! Messages that are in stores and that nobody is served: what servers keep for themselves, and objects in versions that
//! older servers stored. Most of those have the message of the version that followed them, field by field.

use super::wire::{MessageId, wire};
use ironclad_api::GroupVersionKind;

/// Group, version and kind of what may be stored, and the message that it has.
const STORED: &[(&str, &str, &str, &str)] = &[
    ("", "v1", "RangeAllocation", "core.v1"),
    ("admissionregistration.k8s.io", "v1beta1", "MutatingWebhookConfiguration", "admissionregistration.v1"),
    ("admissionregistration.k8s.io", "v1beta1", "ValidatingWebhookConfiguration", "admissionregistration.v1"),
    ("batch", "v1beta1", "CronJob", "batch.v1"),
    ("certificates.k8s.io", "v1beta1", "CertificateSigningRequest", "certificates.v1"),
    ("coordination.k8s.io", "v1beta1", "Lease", "coordination.v1"),
    ("discovery.k8s.io", "v1beta1", "EndpointSlice", "discovery.v1beta1"),
    ("extensions", "v1beta1", "Ingress", "networking.v1beta1"),
    ("flowcontrol.apiserver.k8s.io", "v1beta1", "FlowSchema", "flowcontrol.v1"),
    ("flowcontrol.apiserver.k8s.io", "v1beta1", "PriorityLevelConfiguration", "flowcontrol.v1beta1"),
    ("flowcontrol.apiserver.k8s.io", "v1beta2", "FlowSchema", "flowcontrol.v1"),
    ("flowcontrol.apiserver.k8s.io", "v1beta2", "PriorityLevelConfiguration", "flowcontrol.v1beta2"),
    ("flowcontrol.apiserver.k8s.io", "v1beta3", "FlowSchema", "flowcontrol.v1"),
    ("flowcontrol.apiserver.k8s.io", "v1beta3", "PriorityLevelConfiguration", "flowcontrol.v1"),
    ("networking.k8s.io", "v1beta1", "Ingress", "networking.v1beta1"),
    ("networking.k8s.io", "v1beta1", "IngressClass", "networking.v1"),
    ("node.k8s.io", "v1beta1", "RuntimeClass", "node.v1"),
    ("policy", "v1beta1", "PodDisruptionBudget", "policy.v1"),
    ("rbac.authorization.k8s.io", "v1beta1", "ClusterRole", "rbac.v1"),
    ("rbac.authorization.k8s.io", "v1beta1", "ClusterRoleBinding", "rbac.v1"),
    ("rbac.authorization.k8s.io", "v1beta1", "Role", "rbac.v1"),
    ("rbac.authorization.k8s.io", "v1beta1", "RoleBinding", "rbac.v1"),
    ("scheduling.k8s.io", "v1beta1", "PriorityClass", "scheduling.v1"),
    ("storage.k8s.io", "v1beta1", "CSIDriver", "storage.v1"),
    ("storage.k8s.io", "v1beta1", "CSINode", "storage.v1"),
    ("storage.k8s.io", "v1beta1", "CSIStorageCapacity", "storage.v1"),
    ("storage.k8s.io", "v1beta1", "StorageClass", "storage.v1"),
    ("storage.k8s.io", "v1beta1", "VolumeAttachment", "storage.v1"),
];

pub(super) fn message(gvk: &GroupVersionKind) -> Option<MessageId> {
    let found = STORED.iter().find(|(g, v, k, _)| *g == &*gvk.group && *v == &*gvk.version && *k == &*gvk.kind)?;
    wire().find(&format!("io.k8s.api.{}.{}", found.3, gvk.kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stored_message_is_known() {
        for (group, version, kind, package) in STORED {
            assert!(message(&GroupVersionKind::new(group, version, kind)).is_some(), "{package}.{kind}");
        }
    }
}
