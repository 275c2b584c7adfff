//! What is kept of requests.

use clap::builder::ArgAction;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Whether requests wait for the audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    Batch,
    Blocking,
    BlockingStrict,
}

/// Audit.
#[derive(Args, Clone, Debug)]
pub(crate) struct AuditFlags {
    /// The audit policy; without one nothing is kept
    #[arg(long, value_name = "FILE")]
    pub(crate) audit_policy_file: Option<PathBuf>,
    /// Keep events in this file; `-` is standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) audit_log_path: Option<PathBuf>,
    /// Days after which older log files go; 0 keeps them
    #[arg(long, value_name = "DAYS", default_value_t = 0)]
    pub(crate) audit_log_maxage: u64,
    /// How many older log files stay; 0 keeps all
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub(crate) audit_log_maxbackup: usize,
    /// Megabytes of a log file before it begins anew
    #[arg(long, value_name = "MB", default_value_t = 100)]
    pub(crate) audit_log_maxsize: u64,
    /// Compress older log files
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    pub(crate) audit_log_compress: bool,
    /// How events are written to the log
    #[arg(long, value_enum, default_value = "blocking")]
    pub(crate) audit_log_mode: Mode,
    /// Form of events in the log
    #[arg(long, value_parser = ["json", "legacy"], default_value = "json")]
    pub(crate) audit_log_format: String,
    /// Version of events in the log
    #[arg(long, value_parser = ["audit.k8s.io/v1"], default_value = "audit.k8s.io/v1")]
    pub(crate) audit_log_version: String,
    /// Events that may wait in batch mode
    #[arg(long, default_value_t = 10_000, value_parser = positive)]
    pub(crate) audit_log_batch_buffer_size: usize,
    /// Events of one batch
    #[arg(long, default_value_t = 1, value_parser = positive)]
    pub(crate) audit_log_batch_max_size: usize,
    /// How long a batch waits for more
    #[arg(long, value_parser = crate::cli::duration, default_value = "0s")]
    pub(crate) audit_log_batch_max_wait: Duration,
    /// Whether there is a rate of batches
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = ArgAction::Set)]
    pub(crate) audit_log_batch_throttle_enable: bool,
    /// Batches of a second
    #[arg(long, value_name = "RATE", default_value_t = 0.0)]
    pub(crate) audit_log_batch_throttle_qps: f64,
    /// Batches at once when there were fewer before
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub(crate) audit_log_batch_throttle_burst: u32,
    /// Take what was sent and answered out of events that are too large
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = ArgAction::Set)]
    pub(crate) audit_log_truncate_enabled: bool,
    /// The largest batch, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 10 << 20, value_parser = positive)]
    pub(crate) audit_log_truncate_max_batch_size: usize,
    /// The largest event, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 100 << 10, value_parser = positive)]
    pub(crate) audit_log_truncate_max_event_size: usize,
    /// A kubeconfig that names the server to which events go
    #[arg(long, value_name = "FILE")]
    pub(crate) audit_webhook_config_file: Option<PathBuf>,
    /// How events are sent
    #[arg(long, value_enum, default_value = "batch")]
    pub(crate) audit_webhook_mode: Mode,
    /// How long to wait before a failed batch is sent again
    #[arg(long, alias = "audit-webhook-batch-initial-backoff", value_parser = crate::cli::duration, default_value = "10s")]
    pub(crate) audit_webhook_initial_backoff: Duration,
    /// Version of the events that are sent
    #[arg(long, value_parser = ["audit.k8s.io/v1"], default_value = "audit.k8s.io/v1")]
    pub(crate) audit_webhook_version: String,
    /// Events that may wait in batch mode
    #[arg(long, default_value_t = 10_000, value_parser = positive)]
    pub(crate) audit_webhook_batch_buffer_size: usize,
    /// Events of one batch
    #[arg(long, default_value_t = 400, value_parser = positive)]
    pub(crate) audit_webhook_batch_max_size: usize,
    /// How long a batch waits for more
    #[arg(long, value_parser = crate::cli::duration, default_value = "30s")]
    pub(crate) audit_webhook_batch_max_wait: Duration,
    /// Whether there is a rate of batches
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = true, default_missing_value = "true", action = ArgAction::Set)]
    pub(crate) audit_webhook_batch_throttle_enable: bool,
    /// Batches of a second
    #[arg(long, value_name = "RATE", default_value_t = 10.0)]
    pub(crate) audit_webhook_batch_throttle_qps: f64,
    /// Batches at once when there were fewer before
    #[arg(long, value_name = "COUNT", default_value_t = 15)]
    pub(crate) audit_webhook_batch_throttle_burst: u32,
    /// Take what was sent and answered out of events that are too large
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = ArgAction::Set)]
    pub(crate) audit_webhook_truncate_enabled: bool,
    /// The largest batch, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 10 << 20, value_parser = positive)]
    pub(crate) audit_webhook_truncate_max_batch_size: usize,
    /// The largest event, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 100 << 10, value_parser = positive)]
    pub(crate) audit_webhook_truncate_max_event_size: usize,
}

fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "must be a positive number".to_owned())
}
