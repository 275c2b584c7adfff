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

/// How events get to one place.
pub(crate) struct Delivery {
    pub(crate) plugin: &'static str,
    pub(crate) mode: Mode,
    /// Events that may wait, and those of one batch.
    pub(crate) sizes: (usize, usize),
    pub(crate) wait: Duration,
    /// Whether there is a rate of batches, the rate, and how many go at once.
    pub(crate) throttle: (bool, f64, u32),
    /// Whether what is too large is cut, the largest event and the largest batch.
    pub(crate) truncate: (bool, usize, usize),
}

/// The flags that the log and the webhook have alike, with the defaults of each.
macro_rules! delivery {
    ($flags:ident, $plugin:literal, $mode:literal, $size:literal, $wait:literal, $throttle:literal, $qps:literal, $burst:literal) => {
        #[derive(Args, Clone, Debug)]
        pub(crate) struct $flags {
            /// Whether requests wait for their events
            #[arg(id = concat!($plugin, "_mode"), long = concat!("audit-", $plugin, "-mode"), value_enum, value_name = "MODE", default_value = $mode)]
            mode: Mode,
            /// Events that may wait in batch mode
            #[arg(id = concat!($plugin, "_buffer"), long = concat!("audit-", $plugin, "-batch-buffer-size"), value_name = "COUNT", default_value_t = 10_000, value_parser = positive)]
            buffer: usize,
            /// Events of one batch
            #[arg(id = concat!($plugin, "_size"), long = concat!("audit-", $plugin, "-batch-max-size"), value_name = "COUNT", default_value_t = $size, value_parser = positive)]
            size: usize,
            /// How long a batch waits for more
            #[arg(id = concat!($plugin, "_wait"), long = concat!("audit-", $plugin, "-batch-max-wait"), value_name = "DURATION", value_parser = crate::cli::duration, default_value = $wait)]
            wait: Duration,
            /// Whether there is a rate of batches
            #[arg(id = concat!($plugin, "_throttle"), long = concat!("audit-", $plugin, "-batch-throttle-enable"), value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = $throttle, default_missing_value = "true", action = ArgAction::Set)]
            throttle: bool,
            /// Batches of a second
            #[arg(id = concat!($plugin, "_qps"), long = concat!("audit-", $plugin, "-batch-throttle-qps"), value_name = "RATE", default_value_t = $qps)]
            qps: f64,
            /// Batches at once when there were fewer before
            #[arg(id = concat!($plugin, "_burst"), long = concat!("audit-", $plugin, "-batch-throttle-burst"), value_name = "COUNT", default_value_t = $burst)]
            burst: u32,
            /// Take what was sent and answered out of events that are too large
            #[arg(id = concat!($plugin, "_truncate"), long = concat!("audit-", $plugin, "-truncate-enabled"), value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", action = ArgAction::Set)]
            truncate: bool,
            /// The largest batch, in bytes
            #[arg(id = concat!($plugin, "_batch_bytes"), long = concat!("audit-", $plugin, "-truncate-max-batch-size"), value_name = "BYTES", default_value_t = 10 << 20, value_parser = positive)]
            batch_bytes: usize,
            /// The largest event, in bytes
            #[arg(id = concat!($plugin, "_event_bytes"), long = concat!("audit-", $plugin, "-truncate-max-event-size"), value_name = "BYTES", default_value_t = 100 << 10, value_parser = positive)]
            event_bytes: usize,
        }

        impl $flags {
            pub(crate) fn delivery(&self) -> Delivery {
                Delivery {
                    plugin: $plugin,
                    mode: self.mode,
                    sizes: (self.buffer, self.size),
                    wait: self.wait,
                    throttle: (self.throttle, self.qps, self.burst),
                    truncate: (self.truncate, self.event_bytes, self.batch_bytes),
                }
            }
        }
    };
}

delivery!(ToLog, "log", "blocking", 1, "0s", false, 0.0, 0);
delivery!(ToWebhook, "webhook", "batch", 400, "30s", true, 10.0, 15);

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
    /// Form of events in the log
    #[arg(long, value_parser = ["json", "legacy"], default_value = "json")]
    pub(crate) audit_log_format: String,
    /// Version of events in the log
    #[arg(long, value_parser = ["audit.k8s.io/v1"], default_value = "audit.k8s.io/v1")]
    pub(crate) audit_log_version: String,
    #[command(flatten)]
    pub(crate) log: ToLog,
    /// A kubeconfig that names the server to which events go
    #[arg(long, value_name = "FILE")]
    pub(crate) audit_webhook_config_file: Option<PathBuf>,
    /// How long to wait before a failed batch is sent again
    #[arg(long, alias = "audit-webhook-batch-initial-backoff", value_parser = crate::cli::duration, default_value = "10s")]
    pub(crate) audit_webhook_initial_backoff: Duration,
    /// Version of the events that are sent
    #[arg(long, value_parser = ["audit.k8s.io/v1"], default_value = "audit.k8s.io/v1")]
    pub(crate) audit_webhook_version: String,
    #[command(flatten)]
    pub(crate) webhook: ToWebhook,
}

fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "must be a positive number".to_owned())
}
