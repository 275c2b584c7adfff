//! What the sources of the bundle lack: the keys of server-side apply where they differ from those of a strategic
//! merge patch, and which objects are one value. One table of facts from the API's published OpenAPI.

use crate::bundle::{List, Type};

/// Definition, field, keys by which server-side apply tells items apart.
const LIST_KEYS: &[(&str, &str, &[&str])] = &[
    ("io.k8s.api.core.v1.Container", "ports", &["containerPort", "protocol"]),
    ("io.k8s.api.core.v1.EphemeralContainer", "ports", &["containerPort", "protocol"]),
    ("io.k8s.api.core.v1.ServiceSpec", "ports", &["port", "protocol"]),
    ("io.k8s.api.core.v1.PodSpec", "topologySpreadConstraints", &["topologyKey", "whenUnsatisfiable"]),
];

/// Lists that a strategic merge patch merges by a key, but that are one value for server-side apply.
const ATOMIC_LISTS: &[(&str, &str)] =
    &[("io.k8s.api.core.v1.NodeStatus", "images"), ("io.k8s.api.core.v1.ServiceAccount", "imagePullSecrets")];

/// Definitions whose objects are one value wherever they stand.
const ATOMIC_TYPES: &[&str] = &[
    "io.k8s.api.core.v1.ConfigMapKeySelector",
    "io.k8s.api.core.v1.ConfigMapNodeConfigSource",
    "io.k8s.api.core.v1.EndpointAddress",
    "io.k8s.api.core.v1.EndpointPort",
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
    "io.k8s.api.networking.v1.IngressClassParametersReference",
    "io.k8s.api.networking.v1.ServiceBackendPort",
    "io.k8s.api.rbac.v1.RoleRef",
    "io.k8s.api.rbac.v1.Subject",
    "io.k8s.api.autoscaling.v1.CrossVersionObjectReference",
    "io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector",
    "io.k8s.apimachinery.pkg.apis.meta.v1.OwnerReference",
];

/// Fields of which a strategic merge patch keeps only the keys that it names.
const RETAIN_KEYS: &[(&str, &str)] = &[
    ("io.k8s.api.apps.v1.DeploymentSpec", "strategy"),
    ("io.k8s.api.core.v1.PodSpec", "resourceClaims"),
    ("io.k8s.api.core.v1.PodSpec", "volumes"),
];

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
        if ty.definition == *definition
            && let Some(f) = ty.fields.iter_mut().find(|f| f.name == *field)
        {
            f.list = List::Map(keys.iter().map(|k| (*k).to_owned()).collect());
        }
    }
    for (definition, field) in ATOMIC_LISTS {
        if ty.definition == *definition
            && let Some(f) = ty.fields.iter_mut().find(|f| f.name == *field)
        {
            f.list = List::Atomic;
        }
    }
    if ty.definition.ends_with("Spec") && ty.definition.starts_with("io.k8s.api.") {
        // The selector of a workload is replaced as a whole.
        if let Some(f) = ty.fields.iter_mut().find(|f| f.name == "selector") {
            f.atomic = true;
        }
    }
}
