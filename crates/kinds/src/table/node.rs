//! Nodes and what they offer: storage, scheduling, leases, runtime classes, devices, evictions.

use super::build::{Row, row};
use crate::Kind;

fn storage(kind: &'static str, plural: &'static str) -> Kind {
    row("storage.k8s.io", "v1", kind, plural)
}

fn candidate(version: &'static str) -> Kind {
    row("coordination.k8s.io", version, "LeaseCandidate", "leasecandidates").stored("v1beta1")
}

fn scheduling(version: &'static str, kind: &'static str, plural: &'static str) -> Kind {
    row("scheduling.k8s.io", version, kind, plural)
}

fn devices(rows: &mut Vec<Kind>, version: &'static str) {
    let kind = |kind, plural| row("resource.k8s.io", version, kind, plural).stored("v1");
    rows.push(kind("DeviceClass", "deviceclasses").cluster().counted());
    rows.push(kind("ResourceClaim", "resourceclaims").status());
    rows.push(kind("ResourceClaimTemplate", "resourceclaimtemplates"));
    rows.push(kind("ResourceSlice", "resourceslices").cluster().select(&["spec.nodeName", "spec.driver"]).counted());
}

fn taint_rule(version: &'static str) -> Kind {
    row("resource.k8s.io", version, "DeviceTaintRule", "devicetaintrules").cluster().status().stored("v1").counted()
}

fn storages() -> Vec<Kind> {
    vec![
        storage("CSIDriver", "csidrivers").cluster().counted(),
        storage("CSINode", "csinodes").cluster(),
        storage("CSIStorageCapacity", "csistoragecapacities"),
        storage("StorageClass", "storageclasses").cluster().short(&["sc"]),
        storage("VolumeAttachment", "volumeattachments").cluster().status(),
        storage("VolumeAttributesClass", "volumeattributesclasses").cluster().short(&["vac"]),
    ]
}

pub(super) fn rows() -> Vec<Kind> {
    let mut rows = storages();
    rows.extend([
        scheduling("v1", "PriorityClass", "priorityclasses").cluster().short(&["pc"]).counted(),
        scheduling("v1beta1", "PodGroup", "podgroups").status(),
        scheduling("v1alpha3", "PodGroup", "podgroups").status().stored("v1beta1"),
        scheduling("v1beta1", "Workload", "workloads"),
        scheduling("v1alpha3", "Workload", "workloads").stored("v1beta1"),
        scheduling("v1alpha3", "CompositePodGroup", "compositepodgroups").status(),
        row("coordination.k8s.io", "v1", "Lease", "leases").upsert(),
        candidate("v1beta1"),
        candidate("v1alpha2"),
        row("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses").cluster(),
    ]);
    devices(&mut rows, "v1");
    devices(&mut rows, "v1beta2");
    devices(&mut rows, "v1beta1");
    rows.extend([
        taint_rule("v1"),
        taint_rule("v1beta2"),
        taint_rule("v1alpha3"),
        row("resource.k8s.io", "v1alpha3", "ResourcePoolStatusRequest", "resourcepoolstatusrequests")
            .cluster()
            .status(),
        row("lifecycle.k8s.io", "v1alpha1", "Eviction", "evictions").status(),
        row("lifecycle.k8s.io", "v1alpha1", "EvictionRequest", "evictionrequests").status(),
    ]);
    rows
}
