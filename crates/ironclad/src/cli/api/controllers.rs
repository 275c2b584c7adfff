//! What the controllers do, and for how long.

use clap::Args;
use std::time::Duration;

/// Controllers.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Controllers")]
pub(crate) struct ControllerFlags {
    /// The longest life of certificates that the cluster signs; requests may ask for less
    #[arg(long, value_name = "DURATION", value_parser = lasting, default_value = "8760h")]
    pub(crate) cluster_signing_duration: Duration,
    /// How long tokens of Secrets that the cluster once made by itself stay although nobody uses them
    #[arg(long, value_name = "DURATION", value_parser = lasting, default_value = "8760h")]
    pub(crate) legacy_service_account_token_clean_up_period: Duration,
}

fn lasting(text: &str) -> Result<Duration, String> {
    let parsed = crate::cli::duration(text)?;
    if parsed.is_zero() { Err("must be longer than nothing".to_owned()) } else { Ok(parsed) }
}
