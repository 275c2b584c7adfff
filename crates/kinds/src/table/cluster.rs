//! The cluster as a whole: events, scheduling, leases, runtimes, devices.

use super::{Row, cl, ns};
use crate::{cluster, core, device, optional};
use std::sync::Arc;

pub(super) const COORD: &str = "coordination.k8s.io";
const DRA: &str = "resource.k8s.io";
pub(super) const SCHED: &str = "scheduling.k8s.io";

/// The fields of core events by the names of this group, each in the place of the other: both read one cache. The
/// source, before the type, cannot be selected here.
const EVENT_FIELDS: &[&str] = &[
    "regarding.kind",
    "regarding.namespace",
    "regarding.name",
    "regarding.uid",
    "regarding.apiVersion",
    "regarding.resourceVersion",
    "regarding.fieldPath",
    "reason",
    "reportingController",
    "",
    "type",
];

pub(super) const EVENTS: &[Row] = &[ns("events.k8s.io", "v1", "Event", "events")
    .short(&["ev"])
    .upsert()
    .stored_as("v1")
    .fields(EVENT_FIELDS)
    .with(|| Arc::new(core::EventsEvent))];

pub(super) const SCHEDULING: &[Row] = &[
    cl(SCHED, "v1", "PriorityClass", "priorityclasses").short(&["pc"]).with(|| Arc::new(cluster::priority::STRATEGY)),
    ns(SCHED, "v1beta1", "PodGroup", "podgroups").status().opt_in(),
    ns(SCHED, "v1beta1", "Workload", "workloads").opt_in(),
];

pub(super) const COORDINATION: &[Row] = &[
    ns(COORD, "v1", "Lease", "leases").upsert().with(|| Arc::new(cluster::lease::STRATEGY)),
    ns(COORD, "v1beta1", "LeaseCandidate", "leasecandidates").opt_in().with(|| Arc::new(optional::LEASE_CANDIDATE)),
];

pub(super) const RUNTIMES: &[Row] = &[cl("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses")
    .upsert()
    .with(|| Arc::new(cluster::runtime_class::STRATEGY))];

pub(super) const DEVICES: &[Row] = &[
    cl(DRA, "v1", "DeviceClass", "deviceclasses").with(|| Arc::new(device::CLASS)).counted(),
    ns(DRA, "v1", "ResourceClaim", "resourceclaims").with(|| Arc::new(device::CLAIM)).status(),
    ns(DRA, "v1", "ResourceClaimTemplate", "resourceclaimtemplates").with(|| Arc::new(device::TEMPLATE)),
    cl(DRA, "v1", "ResourceSlice", "resourceslices")
        .with(|| Arc::new(device::SLICE))
        .fields(&["spec.nodeName", "spec.driver"])
        .counted(),
    cl(DRA, "v1", "DeviceTaintRule", "devicetaintrules").status().opt_in().with(|| Arc::new(device::TAINT)),
];
