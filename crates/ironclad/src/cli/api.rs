//! Options of the API server, named as its stock counterpart names them.

use clap::{Args, builder::ArgAction};
use std::path::PathBuf;

/// Who may do what, and what is kept of it.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "API server")]
pub(crate) struct ApiFlags {
    #[command(flatten)]
    pub(crate) encryption: EncryptionFlags,
}

/// Encryption at rest.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct EncryptionFlags {
    /// An EncryptionConfiguration [default: one that the cluster makes, which seals Secrets]
    #[arg(long, value_name = "FILE")]
    pub(crate) encryption_provider_config: Option<PathBuf>,
    /// Go on with the file's new content when it changes
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pub(crate) encryption_provider_config_automatic_reload: Option<bool>,
}
