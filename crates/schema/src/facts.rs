//! What the sources of the bundle lack: the keys of server-side apply where they differ from those of a strategic
//! merge patch, and which objects are one value. One table of facts from the API's published OpenAPI.

pub(crate) mod enums;

use crate::bundle::{Field, List, Shape, Type, Zero};
use ironclad_json::json;

/// Definition, field, keys by which server-side apply tells items apart.
const LIST_KEYS: &[(&str, &str, &[&str])] = &[
    ("io.k8s.api.apiserverinternal.v1alpha1.StorageVersionStatus", "storageVersions", &["apiServerID"]),
    ("io.k8s.api.core.v1.Container", "ports", &["containerPort", "protocol"]),
    ("io.k8s.api.core.v1.EphemeralContainer", "ports", &["containerPort", "protocol"]),
    ("io.k8s.api.core.v1.PodSpec", "topologySpreadConstraints", &["topologyKey", "whenUnsatisfiable"]),
    ("io.k8s.api.core.v1.PodVolumeHealth", "healthConditions", &["status", "reason"]),
    ("io.k8s.api.core.v1.ResourceStatus", "resources", &["resourceID"]),
    ("io.k8s.api.core.v1.ServiceSpec", "ports", &["port", "protocol"]),
    ("io.k8s.api.core.v1.VolumeHealthStatus", "healthConditions", &["status", "reason"]),
    ("io.k8s.api.resource.v1.ResourceClaimStatus", "devices", &["driver", "device", "pool", "shareID"]),
    ("io.k8s.api.resource.v1beta1.ResourceClaimStatus", "devices", &["driver", "device", "pool", "shareID"]),
    ("io.k8s.api.resource.v1beta2.ResourceClaimStatus", "devices", &["driver", "device", "pool", "shareID"]),
];

/// Definition and the field of it that is a pointer which Go writes though it points to nothing.
const NULLS: &[(&str, &str)] = &[
    ("io.k8s.api.core.v1.AzureFilePersistentVolumeSource", "secretNamespace"),
    ("io.k8s.api.core.v1.ScaleIOPersistentVolumeSource", "secretRef"),
    ("io.k8s.api.core.v1.ScaleIOVolumeSource", "secretRef"),
    ("io.k8s.api.core.v1.TypedLocalObjectReference", "apiGroup"),
    ("io.k8s.api.core.v1.TypedObjectReference", "apiGroup"),
    ("io.k8s.api.resource.v1.CapacityRequestPolicy", "default"),
    ("io.k8s.api.resource.v1beta1.CapacityRequestPolicy", "default"),
    ("io.k8s.api.resource.v1beta2.CapacityRequestPolicy", "default"),
];

/// Lists that a strategic merge patch merges by a key, but that are one value for server-side apply.
const ATOMIC_LISTS: &[(&str, &str)] = &[
    ("io.k8s.api.apps.v1.StatefulSetSpec", "volumeClaimTemplates"),
    ("io.k8s.api.batch.v1.JobStatus", "conditions"),
    ("io.k8s.api.core.v1.NodeStatus", "images"),
    ("io.k8s.api.core.v1.PodStatus", "hostIPs"),
    ("io.k8s.api.core.v1.ServiceAccount", "imagePullSecrets"),
];

/// Lists that server-side apply tells the items of apart, but that a strategic merge patch replaces.
const NOT_MERGED: &[(&str, &[&str])] = &[
    ("io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyStatus", &["conditions"]),
    ("io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyBindingSpec", &["validationActions"]),
    ("io.k8s.api.apiserverinternal.v1alpha1.StorageVersionStatus", &["storageVersions", "conditions"]),
    ("io.k8s.api.apiserverinternal.v1alpha1.ServerStorageVersion", &["decodableVersions", "servedVersions"]),
    ("io.k8s.api.apps.v1.StatefulSetSpec", &["volumeClaimTemplates"]),
    ("io.k8s.api.batch.v1.PodFailurePolicyOnExitCodesRequirement", &["values"]),
    ("io.k8s.api.batch.v1.UncountedTerminatedPods", &["succeeded", "failed"]),
    ("io.k8s.api.certificates.v1.CertificateSigningRequestStatus", &["conditions"]),
    ("io.k8s.api.core.v1.VolumeMount", &["bindMountOptions"]),
    ("io.k8s.api.core.v1.ResourceRequirements", &["claims"]),
    ("io.k8s.api.core.v1.ResourceStatus", &["resources"]),
    ("io.k8s.api.core.v1.ContainerRestartRuleOnExitCodes", &["values"]),
    ("io.k8s.api.core.v1.PodStatus", &["volumeHealth"]),
    ("io.k8s.api.core.v1.NodePodPreemptionPolicy", &["disableResizePreemption"]),
    ("io.k8s.api.core.v1.NodeAllocatableResourceClaimStatus", &["containers"]),
    ("io.k8s.api.discovery.v1.Endpoint", &["addresses"]),
    ("io.k8s.api.flowcontrol.v1.ResourcePolicyRule", &["verbs", "apiGroups", "resources", "namespaces"]),
    ("io.k8s.api.flowcontrol.v1.NonResourcePolicyRule", &["verbs", "nonResourceURLs"]),
    ("io.k8s.api.resource.v1.ResourceSliceSpec", &["skipNodeOperations"]),
    ("io.k8s.api.resource.v1.ResourceClaimStatus", &["devices"]),
    ("io.k8s.api.resource.v1.DeviceRequestAllocationResult", &["skipNodeOperations"]),
    ("io.k8s.api.resource.v1.AllocatedDeviceStatus", &["conditions"]),
    ("io.k8s.api.resource.v1beta1.ResourceSliceSpec", &["skipNodeOperations"]),
    ("io.k8s.api.resource.v1beta1.ResourceClaimStatus", &["devices"]),
    ("io.k8s.api.resource.v1beta1.DeviceRequestAllocationResult", &["skipNodeOperations"]),
    ("io.k8s.api.resource.v1beta1.AllocatedDeviceStatus", &["conditions"]),
    ("io.k8s.api.resource.v1beta2.ResourceSliceSpec", &["skipNodeOperations"]),
    ("io.k8s.api.resource.v1beta2.ResourceClaimStatus", &["devices"]),
    ("io.k8s.api.resource.v1beta2.DeviceRequestAllocationResult", &["skipNodeOperations"]),
    ("io.k8s.api.resource.v1beta2.AllocatedDeviceStatus", &["conditions"]),
    ("io.k8s.api.scheduling.v1alpha3.WorkloadSpec", &["podGroupTemplates", "compositePodGroupTemplates"]),
    ("io.k8s.api.scheduling.v1alpha3.CompositePodGroupTemplate", &["podGroupTemplates", "compositePodGroupTemplates"]),
    ("io.k8s.api.scheduling.v1beta1.WorkloadSpec", &["podGroupTemplates", "compositePodGroupTemplates"]),
    ("io.k8s.api.scheduling.v1beta1.CompositePodGroupTemplate", &["podGroupTemplates", "compositePodGroupTemplates"]),
    ("io.k8s.api.storage.v1.CSIDriverSpec", &["volumeLifecycleModes"]),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinitionStatus", &["conditions"]),
];

/// Definitions whose objects are one value wherever they stand.
const ATOMIC_TYPES: &[&str] = &[
    "io.k8s.api.admissionregistration.v1.MatchResources",
    "io.k8s.api.admissionregistration.v1.NamedRuleWithOperations",
    "io.k8s.api.admissionregistration.v1.ParamKind",
    "io.k8s.api.admissionregistration.v1.ParamRef",
    "io.k8s.api.admissionregistration.v1.Variable",
    "io.k8s.api.admissionregistration.v1alpha1.MatchResources",
    "io.k8s.api.admissionregistration.v1alpha1.NamedRuleWithOperations",
    "io.k8s.api.admissionregistration.v1alpha1.ParamKind",
    "io.k8s.api.admissionregistration.v1alpha1.ParamRef",
    "io.k8s.api.admissionregistration.v1beta1.MatchResources",
    "io.k8s.api.admissionregistration.v1beta1.NamedRuleWithOperations",
    "io.k8s.api.admissionregistration.v1beta1.ParamKind",
    "io.k8s.api.admissionregistration.v1beta1.ParamRef",
    "io.k8s.api.admissionregistration.v1beta1.Variable",
    "io.k8s.api.autoscaling.v1.CrossVersionObjectReference",
    "io.k8s.api.core.v1.ConfigMapKeySelector",
    "io.k8s.api.core.v1.EndpointAddress",
    "io.k8s.api.core.v1.EndpointPort",
    "io.k8s.api.core.v1.EvictionResponder",
    "io.k8s.api.core.v1.FileKeySelector",
    "io.k8s.api.core.v1.LocalObjectReference",
    "io.k8s.api.core.v1.NodeSelector",
    "io.k8s.api.core.v1.NodeSelectorTerm",
    "io.k8s.api.core.v1.ObjectFieldSelector",
    "io.k8s.api.core.v1.ObjectReference",
    "io.k8s.api.core.v1.ResourceFieldSelector",
    "io.k8s.api.core.v1.ScopeSelector",
    "io.k8s.api.core.v1.SecretKeySelector",
    "io.k8s.api.core.v1.SecretReference",
    "io.k8s.api.core.v1.TopologySelectorTerm",
    "io.k8s.api.core.v1.TypedLocalObjectReference",
    "io.k8s.api.discovery.v1.EndpointPort",
    "io.k8s.api.lifecycle.v1alpha1.Requester",
    "io.k8s.api.lifecycle.v1alpha1.TargetResponder",
    "io.k8s.api.networking.v1.ServiceBackendPort",
    "io.k8s.api.rbac.v1.RoleRef",
    "io.k8s.api.rbac.v1.Subject",
    "io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector",
    "io.k8s.apimachinery.pkg.apis.meta.v1.OwnerReference",
];

/// Fields whose objects are told apart field by field although their type is one value elsewhere.
const GRANULAR: &[(&str, &str)] = &[
    ("io.k8s.api.core.v1.PersistentVolumeClaimStatus", "allocatedResourceStatuses"),
    ("io.k8s.api.core.v1.PersistentVolumeSpec", "claimRef"),
];

/// Fields of which the schemas say another list type than their shape does; none where it is empty.
const LIST_TYPES: &[(&str, &str, &str)] = &[
    ("io.k8s.apimachinery.pkg.apis.meta.v1.APIResource", "verbs", ""),
    ("io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIServiceSpec", "caBundle", "atomic"),
];

/// Fields of which the schemas say that a strategic merge patch replaces them.
const REPLACED: &[(&str, &str)] = &[
    ("io.k8s.api.policy.v1.PodDisruptionBudgetSpec", "selector"),
    ("io.k8s.api.policy.v1beta1.PodDisruptionBudgetSpec", "selector"),
];

/// The order of required fields where it is not that of their numbers.
const ORDERS: &[(&str, &[&str])] = &[
    ("io.k8s.api.networking.v1.HTTPIngressPath", &["path", "pathType", "backend"]),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.APIResource", &["name", "singularName", "namespaced", "kind", "verbs"]),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.OwnerReference", &["apiVersion", "kind", "name", "uid"]),
    (
        "io.k8s.apimachinery.pkg.version.Info",
        &[
            "major",
            "minor",
            "gitVersion",
            "gitCommit",
            "gitTreeState",
            "buildDate",
            "goVersion",
            "compiler",
            "platform",
        ],
    ),
];

/// Definition, field, what the published schemas say of it where it is not given, as JSON.
const DEFAULTS: &[(&str, &str, &str)] = &[
    ("io.k8s.api.autoscaling.v1.ScaleSpec", "replicas", "0"),
    ("io.k8s.api.core.v1.AzureDiskVolumeSource", "cachingMode", "\"ReadWrite\""),
    ("io.k8s.api.core.v1.AzureDiskVolumeSource", "fsType", "\"ext4\""),
    ("io.k8s.api.core.v1.AzureDiskVolumeSource", "kind", "\"Shared\""),
    ("io.k8s.api.core.v1.AzureDiskVolumeSource", "readOnly", "false"),
    ("io.k8s.api.core.v1.FileKeySelector", "optional", "false"),
    ("io.k8s.api.core.v1.GRPCAction", "service", "\"\""),
    ("io.k8s.api.core.v1.ISCSIPersistentVolumeSource", "iscsiInterface", "\"default\""),
    ("io.k8s.api.core.v1.ISCSIVolumeSource", "iscsiInterface", "\"default\""),
    ("io.k8s.api.core.v1.RBDPersistentVolumeSource", "keyring", "\"/etc/ceph/keyring\""),
    ("io.k8s.api.core.v1.RBDPersistentVolumeSource", "pool", "\"rbd\""),
    ("io.k8s.api.core.v1.RBDPersistentVolumeSource", "user", "\"admin\""),
    ("io.k8s.api.core.v1.RBDVolumeSource", "keyring", "\"/etc/ceph/keyring\""),
    ("io.k8s.api.core.v1.RBDVolumeSource", "pool", "\"rbd\""),
    ("io.k8s.api.core.v1.RBDVolumeSource", "user", "\"admin\""),
    ("io.k8s.api.core.v1.ReplicationControllerSpec", "minReadySeconds", "0"),
    ("io.k8s.api.core.v1.ReplicationControllerSpec", "replicas", "1"),
    ("io.k8s.api.core.v1.ScaleIOPersistentVolumeSource", "fsType", "\"xfs\""),
    ("io.k8s.api.core.v1.ScaleIOPersistentVolumeSource", "storageMode", "\"ThinProvisioned\""),
    ("io.k8s.api.core.v1.ScaleIOVolumeSource", "fsType", "\"xfs\""),
    ("io.k8s.api.core.v1.ScaleIOVolumeSource", "storageMode", "\"ThinProvisioned\""),
    ("io.k8s.api.resource.v1.DeviceToleration", "operator", "\"Equal\""),
    ("io.k8s.api.core.v1.ConfigMapEnvSource", "name", "\"\""),
    ("io.k8s.api.core.v1.ConfigMapKeySelector", "name", "\"\""),
    ("io.k8s.api.core.v1.ConfigMapProjection", "name", "\"\""),
    ("io.k8s.api.core.v1.ConfigMapVolumeSource", "name", "\"\""),
    ("io.k8s.api.core.v1.LocalObjectReference", "name", "\"\""),
    ("io.k8s.api.core.v1.SecretEnvSource", "name", "\"\""),
    ("io.k8s.api.core.v1.SecretKeySelector", "name", "\"\""),
    ("io.k8s.api.core.v1.SecretProjection", "name", "\"\""),
    ("io.k8s.api.core.v1.ContainerPort", "protocol", "\"TCP\""),
    ("io.k8s.api.core.v1.ServicePort", "protocol", "\"TCP\""),
];

/// Fields of which a strategic merge patch keeps only the keys that it names.
const RETAIN_KEYS: &[(&str, &str)] = &[
    ("io.k8s.api.apps.v1.DeploymentSpec", "strategy"),
    ("io.k8s.api.core.v1.PodSpec", "resourceClaims"),
    ("io.k8s.api.core.v1.PodSpec", "volumes"),
    ("io.k8s.api.core.v1.PodStatus", "resourceClaimStatuses"),
    ("io.k8s.api.scheduling.v1alpha3.PodGroupSpec", "resourceClaims"),
    ("io.k8s.api.scheduling.v1alpha3.PodGroupStatus", "resourceClaimStatuses"),
    ("io.k8s.api.scheduling.v1alpha3.PodGroupTemplate", "resourceClaims"),
    ("io.k8s.api.scheduling.v1beta1.PodGroupSpec", "resourceClaims"),
    ("io.k8s.api.scheduling.v1beta1.PodGroupStatus", "resourceClaimStatuses"),
    ("io.k8s.api.scheduling.v1beta1.PodGroupTemplate", "resourceClaims"),
];

/// Definition, the field that says which of the others counts (if there is one), those with the value that each stands for.
const UNIONS: &[(&str, &str, &[(&str, &str)])] = &[
    ("io.k8s.api.core.v1.AppArmorProfile", "type", &[("localhostProfile", "LocalhostProfile")]),
    ("io.k8s.api.core.v1.PodSchedulingGroup", "", &[("podGroupName", "PodGroupName")]),
    ("io.k8s.api.core.v1.SeccompProfile", "type", &[("localhostProfile", "LocalhostProfile")]),
    ("io.k8s.api.flowcontrol.v1.LimitResponse", "type", &[("queuing", "Queuing")]),
    (
        "io.k8s.api.flowcontrol.v1.PriorityLevelConfigurationSpec",
        "type",
        &[("exempt", "Exempt"), ("limited", "Limited")],
    ),
    (
        "io.k8s.api.flowcontrol.v1.Subject",
        "kind",
        &[("group", "Group"), ("serviceAccount", "ServiceAccount"), ("user", "User")],
    ),
];

/// The union that a definition is: the field that decides, and the others with their values.
pub(crate) fn union(definition: &str) -> Option<(&'static str, &'static [(&'static str, &'static str)])> {
    UNIONS.iter().find(|u| u.0 == definition).map(|u| (u.1, u.2))
}

/// The list type that the schemas say a field has, if it is not that of its shape.
pub(crate) fn list_type(definition: &str, field: &str) -> Option<&'static str> {
    LIST_TYPES.iter().find(|l| (l.0, l.1) == (definition, field)).map(|l| l.2)
}

/// Whether the schemas say that a strategic merge patch replaces a field.
pub(crate) fn is_replaced(definition: &str, field: &str) -> bool {
    REPLACED.contains(&(definition, field))
}

/// The order of required fields where it is not that of their numbers.
pub(crate) fn order(definition: &str) -> Option<&'static [&'static str]> {
    ORDERS.iter().find(|o| o.0 == definition).map(|o| o.1)
}

/// Whether a field's object is told apart field by field whatever its type says.
pub(crate) fn is_granular(definition: &str, field: &str) -> bool {
    GRANULAR.contains(&(definition, field))
}

/// Whether a strategic merge patch of a field keeps only the keys that it names.
pub(crate) fn retains_keys(definition: &str, field: &str) -> bool {
    RETAIN_KEYS.contains(&(definition, field))
}

/// Whether objects of a definition are one value for server-side apply.
pub(crate) fn is_atomic(definition: &str) -> bool {
    ATOMIC_TYPES.contains(&definition)
}

/// Puts the facts into a type.
pub(crate) fn correct(ty: &mut Type) {
    for (definition, field, keys) in LIST_KEYS {
        if ty.definition == *definition {
            tell(ty, field, List::Map(keys.iter().map(|k| (*k).to_owned()).collect()));
        }
    }
    for (definition, field) in ATOMIC_LISTS {
        if ty.definition == *definition {
            tell(ty, field, List::Atomic);
        }
    }
    if let Some((_, fields)) = NOT_MERGED.iter().find(|n| n.0 == ty.definition) {
        ty.fields.iter_mut().filter(|f| fields.contains(&f.name.as_str())).for_each(|f| f.merge_key = None);
    }
    if ty.definition.ends_with("Spec") && ty.definition.starts_with("io.k8s.api.") {
        // The selector of a workload is replaced as a whole.
        if let Some(Shape::Map(_, atomic)) = ty.fields.iter_mut().find(|f| f.name == "selector").map(|f| &mut f.shape) {
            *atomic = true;
        }
    }
}

/// Says how the items of a list are told apart.
fn tell(ty: &mut Type, field: &str, how: List) {
    if let Some(Shape::List(_, told)) = ty.fields.iter_mut().find(|f| f.name == field).map(|f| &mut f.shape) {
        *told = how;
    }
}

/// Pointers that Go writes though they point to nothing.
pub(crate) fn nulls(definition: &str) -> Option<&'static str> {
    NULLS.iter().find(|n| n.0 == definition).map(|n| n.1)
}

/// What the published schemas say of fields that are not given: what Go's types always write, and a few of their own.
pub(crate) fn defaults(definition: &str, fields: &mut [Field], always: &[(String, Zero)]) {
    for (name, zero) in always {
        let Some(field) = fields.iter_mut().find(|f| f.name == *name) else { continue };
        field.default = match zero {
            Zero::Text => Some(json!("")),
            Zero::Number => Some(json!(0)),
            Zero::False => Some(json!(false)),
            Zero::Object(_) => Some(json!({})),
            Zero::Quantity | Zero::Null => None,
        }
        .map(Box::new);
    }
    for (_, name, value) in DEFAULTS.iter().filter(|d| d.0 == definition) {
        if let Some(field) = fields.iter_mut().find(|f| f.name == *name) {
            field.default = serde_json::from_str(value).ok().map(Box::new);
            field.required = false;
        }
    }
}
