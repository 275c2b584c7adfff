//! Options of the API server, named as its stock counterpart names them.

mod admission;
mod audit;
mod controllers;
mod identity;

use admission::AdmissionFlags;
pub(crate) use audit::{AuditFlags, Delivery, Mode};
pub(crate) use controllers::ControllerFlags;
pub(crate) use identity::{AuthenticationFlags, AuthorizationFlags, OidcFlags};

use clap::{Args, builder::ArgAction};
use ironclad_api::features::FeatureGates;
use ironclad_apiserver::{Load, RuntimeConfig};
use std::path::PathBuf;
use std::time::Duration;

/// Who may do what, and what is kept of it. What is given is kept for later starts.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "API server")]
pub(crate) struct ApiFlags {
    #[command(flatten)]
    pub(crate) encryption: EncryptionFlags,
    #[command(flatten)]
    pub(crate) authentication: AuthenticationFlags,
    #[command(flatten)]
    pub(crate) authorization: AuthorizationFlags,
    #[command(flatten)]
    pub(crate) admission: AdmissionFlags,
    #[command(flatten)]
    pub(crate) audit: AuditFlags,
    #[command(flatten)]
    pub(crate) load: LoadFlags,
    #[command(flatten)]
    pub(crate) served: ServedFlags,
    #[command(flatten)]
    pub(crate) election: ElectionFlags,
    /// An EgressSelectorConfiguration: through which proxies the server reaches others
    #[arg(long, value_name = "FILE")]
    pub(crate) egress_selector_config_file: Option<PathBuf>,
}

/// What the server lets in, and how long it may take.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct LoadFlags {
    /// Reads served at once; with the writes these are the seats of priority and fairness [default: 400]
    #[arg(long, value_name = "COUNT")]
    pub(crate) max_requests_inflight: Option<u32>,
    /// Writes served at once [default: 200]
    #[arg(long, value_name = "COUNT")]
    pub(crate) max_mutating_requests_inflight: Option<u32>,
    /// Serve requests by FlowSchemas and PriorityLevelConfigurations [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pub(crate) enable_priority_and_fairness: Option<bool>,
    /// The longest that a request may take that is no watch or stream [default: 1m]
    #[arg(long, value_name = "DURATION", value_parser = super::duration)]
    pub(crate) request_timeout: Option<Duration>,
    /// The shortest that a watch without a time of its own lasts, in seconds [default: 1800]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) min_request_timeout: Option<u64>,
    /// How likely an HTTP/2 client is told to connect anew, 0 to 0.02 [default: 0]
    #[arg(long, value_name = "CHANCE", value_parser = chance)]
    pub(crate) goaway_chance: Option<f64>,
    /// How long the server goes on serving when it has said that it ends [default: 0s]
    #[arg(long, value_name = "DURATION", value_parser = super::duration)]
    pub(crate) shutdown_delay_duration: Option<Duration>,
    /// How long the store may take to answer for /livez and /healthz [default: 2s]
    #[arg(long, value_name = "DURATION", value_parser = super::duration)]
    pub(crate) etcd_healthcheck_timeout: Option<Duration>,
    /// How long the store may take to answer for /readyz [default: 2s]
    #[arg(long, value_name = "DURATION", value_parser = super::duration)]
    pub(crate) etcd_readycheck_timeout: Option<Duration>,
    /// Streams of one HTTP/2 connection [default: 1000]
    #[arg(long, value_name = "COUNT")]
    pub(crate) http2_max_streams_per_connection: Option<u32>,
}

impl LoadFlags {
    /// The limits, with the defaults for what is not given.
    pub(crate) fn load(&self) -> Load {
        let default = Load::default();
        let seconds = self.min_request_timeout.map(Duration::from_secs);
        Load {
            max_requests_inflight: self.max_requests_inflight.unwrap_or(default.max_requests_inflight),
            max_mutating_requests_inflight: self
                .max_mutating_requests_inflight
                .unwrap_or(default.max_mutating_requests_inflight),
            priority_and_fairness: self.enable_priority_and_fairness.unwrap_or(default.priority_and_fairness),
            request_timeout: self.request_timeout.unwrap_or(default.request_timeout),
            min_request_timeout: seconds.unwrap_or(default.min_request_timeout),
            goaway_chance: self.goaway_chance.unwrap_or(default.goaway_chance),
            shutdown_delay: self.shutdown_delay_duration.unwrap_or(default.shutdown_delay),
            healthcheck_timeout: self.etcd_healthcheck_timeout.unwrap_or(default.healthcheck_timeout),
            readycheck_timeout: self.etcd_readycheck_timeout.unwrap_or(default.readycheck_timeout),
            http2_max_streams: self.http2_max_streams_per_connection.unwrap_or(default.http2_max_streams),
            ..default
        }
    }
}

/// Which versions are served, and which features are on.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ServedFlags {
    /// Versions to serve or not: api/all, api/ga, api/beta, api/alpha, group/version or group/version/resource, each
    /// with =true or =false
    #[arg(long, value_name = "KEY=BOOL,...", value_parser = runtime_config)]
    pub(crate) runtime_config: Option<RuntimeConfig>,
    /// Features to switch on or off
    #[arg(long, value_name = "KEY=BOOL,...", value_parser = FeatureGates::parse)]
    pub(crate) feature_gates: Option<FeatureGates>,
}

/// The election of who elects the leaders of others, behind `CoordinatedLeaderElection`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ElectionFlags {
    /// So long other API servers wait for an elector that is silent
    #[arg(long, hide = true, value_name = "DURATION", value_parser = super::duration, default_value = "15s")]
    pub(crate) coordinated_leadership_lease_duration: Duration,
    /// So long the elector tries to renew
    #[arg(long, hide = true, value_name = "DURATION", value_parser = super::duration, default_value = "10s")]
    pub(crate) coordinated_leadership_renew_deadline: Duration,
    /// Between two tries
    #[arg(long, hide = true, value_name = "DURATION", value_parser = super::duration, default_value = "2s")]
    pub(crate) coordinated_leadership_retry_period: Duration,
}

/// Reads it, and refuses what no server could serve.
fn runtime_config(text: &str) -> Result<RuntimeConfig, String> {
    let config = RuntimeConfig::parse(text);
    config.select(ironclad_kinds::all(), &FeatureGates::default()).map(|_| config)
}

fn chance(text: &str) -> Result<f64, String> {
    let chance = text.parse::<f64>().ok().filter(|c| (0.0..=0.02).contains(c));
    chance.ok_or_else(|| "must be from 0 to 0.02".to_owned())
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
