//! Small kinds of the cluster: leases, priorities, groups of pods, runtimes, evictions.

pub(crate) mod eviction;
pub(crate) mod group;
pub(crate) mod lease;
pub(crate) mod priority;
pub(crate) mod runtime_class;
