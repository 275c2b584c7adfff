//! Small kinds of the cluster: leases, priorities, groups of pods, runtimes, evictions, versions of what is stored.

pub(crate) mod eviction;
pub(crate) mod group;
pub(crate) mod lease;
pub(crate) mod migration;
pub(crate) mod priority;
pub(crate) mod runtime_class;
pub(crate) mod storage_version;
