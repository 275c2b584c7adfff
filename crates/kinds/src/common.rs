//! What several kinds share: the pod template, selectors, tables' small cells.

pub(crate) mod cells;
pub(crate) mod pod_defaults;
pub(crate) mod pod_spec;
pub(crate) mod selector;
