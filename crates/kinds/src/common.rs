//! What several kinds share: the pod template, selectors, tables' small cells.

pub(crate) mod affinity_rules;
pub(crate) mod cells;
pub(crate) mod claim;
pub(crate) mod container_rules;
pub(crate) mod numbers;
pub(crate) mod pod_defaults;
pub(crate) mod pod_rules;
pub(crate) mod port;
pub(crate) mod qos;
pub(crate) mod resources;
pub(crate) mod selector;
pub(crate) mod volume_rules;
