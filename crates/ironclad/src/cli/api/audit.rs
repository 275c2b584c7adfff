//! What is kept of requests.

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
    #[arg(long, value_parser = ["json"], default_value = "json")]
    pub(crate) audit_log_format: String,
    /// A kubeconfig that names the server to which events go
    #[arg(long, value_name = "FILE")]
    pub(crate) audit_webhook_config_file: Option<PathBuf>,
    /// How events are sent
    #[arg(long, value_enum, default_value = "batch")]
    pub(crate) audit_webhook_mode: Mode,
    /// How long to wait before a failed batch is sent again
    #[arg(long, value_parser = crate::cli::duration, default_value = "10s")]
    pub(crate) audit_webhook_initial_backoff: Duration,
    /// Events that may wait
    #[arg(long, default_value_t = 10_000)]
    pub(crate) audit_webhook_batch_buffer_size: usize,
    /// Events of one batch
    #[arg(long, default_value_t = 400)]
    pub(crate) audit_webhook_batch_max_size: usize,
    /// How long a batch waits for more
    #[arg(long, value_parser = crate::cli::duration, default_value = "30s")]
    pub(crate) audit_webhook_batch_max_wait: Duration,
}
