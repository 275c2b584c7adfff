//! Jobs and what limits disruption.

pub(crate) mod budget;
pub(crate) mod cron_job;
pub(crate) mod job;
