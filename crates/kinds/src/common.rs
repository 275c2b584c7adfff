//! What several kinds share: the pod template, selectors, tables' small cells.

pub(crate) mod affinity_rules;
pub(crate) mod cells;
pub(crate) mod checks;
pub(crate) mod claim;
pub(crate) mod conditions;
pub(crate) mod container_rules;
pub(crate) mod diff;
pub(crate) mod env_rules;
pub(crate) mod inside;
pub(crate) mod ip;
pub(crate) mod mount_rules;
pub(crate) mod numbers;
pub(crate) mod os_rules;
pub(crate) mod pod_defaults;
pub(crate) mod pod_off;
pub(crate) mod pod_rules;
pub(crate) mod pod_warnings;
pub(crate) mod port;
pub(crate) mod probe_rules;
mod projected_rules;
pub(crate) mod qos;
pub(crate) mod resources;
pub(crate) mod security_rules;
pub(crate) mod selector;
pub(crate) mod spread_rules;
pub(crate) mod volume_rules;
pub(crate) mod volume_sources;
