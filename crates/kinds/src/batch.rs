//! Jobs, cron jobs and disruption budgets.

pub(crate) mod budget;
pub(crate) mod cron_job;
pub(crate) mod job;
mod job_rules;
mod job_status;
mod job_update;
mod schedule;
