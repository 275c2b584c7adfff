//! Workloads that keep pods running: Deployments, ReplicaSets, ReplicationControllers, StatefulSets, DaemonSets.

mod daemon_set;
mod deployment;
mod replicas;
mod stateful_set;
mod template;

pub(crate) use daemon_set::DAEMON_SET;
pub(crate) use deployment::DEPLOYMENT;
pub(crate) use replicas::{REPLICA_SET, REPLICATION_CONTROLLER};
pub(crate) use stateful_set::STATEFUL_SET;
pub(crate) use template::{POD_NAMES, check as check_template, name_warning, warnings as template_warnings};
