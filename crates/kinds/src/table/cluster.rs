//! The cluster as a whole: events, scheduling, leases, runtimes, devices.

use super::{Row, cl, ns};
use crate::row::Dependents;
use crate::{cluster, core, device, optional};
use ironclad_api::features;
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
    .dependents(Dependents::None)
    .stored_as("v1")
    .fields(EVENT_FIELDS)
    .with(|| Arc::new(core::EventsEvent))];

const POD_GROUP: Row = ns(SCHED, "v1beta1", "PodGroup", "podgroups")
    .status()
    .opt_in()
    .gated(features::GENERIC_WORKLOAD)
    .with(|| Arc::new(cluster::group::GROUP));
const WORKLOAD: Row = ns(SCHED, "v1beta1", "Workload", "workloads")
    .opt_in()
    .gated(features::GENERIC_WORKLOAD)
    .with(|| Arc::new(cluster::group::WORKLOAD));

pub(super) const SCHEDULING: &[Row] = &[
    cl(SCHED, "v1", "PriorityClass", "priorityclasses")
        .short(&["pc"])
        .counted()
        .with(|| Arc::new(cluster::priority::STRATEGY)),
    POD_GROUP,
    WORKLOAD,
    ns(SCHED, "v1alpha3", "CompositePodGroup", "compositepodgroups")
        .status()
        .opt_in()
        .gated(features::COMPOSITE_POD_GROUP)
        .with(|| Arc::new(cluster::group::COMPOSITE)),
    POD_GROUP.of("v1alpha3", "v1beta1"),
    WORKLOAD.of("v1alpha3", "v1beta1"),
];

const CANDIDATE: Row = ns(COORD, "v1beta1", "LeaseCandidate", "leasecandidates")
    .opt_in()
    .gated(features::COORDINATED_LEADER_ELECTION)
    .with(|| Arc::new(optional::LEASE_CANDIDATE));

pub(super) const COORDINATION: &[Row] = &[
    ns(COORD, "v1", "Lease", "leases").upsert().with(|| Arc::new(cluster::lease::STRATEGY)),
    CANDIDATE.until(36, 39),
    CANDIDATE.of("v1alpha2", "v1beta1").until(35, 38),
];

pub(super) const RUNTIMES: &[Row] = &[cl("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses")
    .upsert()
    .with(|| Arc::new(cluster::runtime_class::STRATEGY))];

const CLASS: Row = cl(DRA, "v1", "DeviceClass", "deviceclasses").with(|| Arc::new(device::CLASS)).counted();
const CLAIM: Row = ns(DRA, "v1", "ResourceClaim", "resourceclaims").with(|| Arc::new(device::CLAIM)).status();
const CLAIM_TEMPLATE: Row =
    ns(DRA, "v1", "ResourceClaimTemplate", "resourceclaimtemplates").with(|| Arc::new(device::TEMPLATE));
const SLICE: Row = cl(DRA, "v1", "ResourceSlice", "resourceslices")
    .with(|| Arc::new(device::SLICE))
    .fields(&["spec.nodeName", "spec.driver"])
    .counted();
const TAINT: Row = cl(DRA, "v1", "DeviceTaintRule", "devicetaintrules")
    .counted()
    .status()
    .gated(features::DRA_DEVICE_TAINT_RULES)
    .with(|| Arc::new(device::TAINT));

/// A version that v1 has taken the place of.
const fn old(row: Row) -> Row {
    row.opt_in().until(36, 39)
}

pub(super) const DEVICES: &[Row] = &[
    CLASS,
    TAINT,
    CLAIM,
    CLAIM_TEMPLATE,
    SLICE,
    old(CLASS.of("v1beta2", "v1")),
    TAINT.of("v1beta2", "v1").opt_in(),
    old(CLAIM.of("v1beta2", "v1")),
    old(CLAIM_TEMPLATE.of("v1beta2", "v1")),
    old(SLICE.of("v1beta2", "v1")),
    old(CLASS.of("v1beta1", "v1")),
    old(CLAIM.of("v1beta1", "v1")).with(|| Arc::new(device::OLD_CLAIM)),
    old(CLAIM_TEMPLATE.of("v1beta1", "v1")).with(|| Arc::new(device::OLD_TEMPLATE)),
    old(SLICE.of("v1beta1", "v1")).with(|| Arc::new(device::OLD_SLICE)),
    old(TAINT.of("v1alpha3", "v1")),
    cl(DRA, "v1alpha3", "ResourcePoolStatusRequest", "resourcepoolstatusrequests")
        .status()
        .opt_in()
        .gated(features::DRA_RESOURCE_POOL_STATUS)
        .with(|| Arc::new(device::POOLS)),
];
