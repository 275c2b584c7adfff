//! Small kinds of the cluster: leases, priorities, runtimes.

pub(crate) mod lease;
pub(crate) mod priority;
pub(crate) mod runtime_class;
