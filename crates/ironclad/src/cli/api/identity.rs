//! Who asks and what they may do.

use super::super::duration;
use clap::{Args, builder::ArgAction};
use std::path::PathBuf;
use std::time::Duration;

/// Authentication.
#[derive(Args, Clone, Debug)]
pub(crate) struct AuthenticationFlags {
    /// An AuthenticationConfiguration; followed when it changes
    #[arg(long, value_name = "FILE", conflicts_with_all = ["oidc_issuer_url", "anonymous_auth"])]
    pub(crate) authentication_config: Option<PathBuf>,
    /// Let requests without credentials in [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pub(crate) anonymous_auth: Option<bool>,
    /// Further authorities (PEM) that sign users' certificates, besides the cluster's own
    #[arg(long, value_name = "FILE")]
    pub(crate) client_ca_file: Option<PathBuf>,
    /// Take bootstrap tokens of kube-system [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pub(crate) enable_bootstrap_token_auth: Option<bool>,
    /// Static tokens: lines of token,user,uid,"group1,group2"
    #[arg(long, value_name = "FILE")]
    pub(crate) token_auth_file: Option<PathBuf>,
    /// A kubeconfig that names the server which knows tokens
    #[arg(long, value_name = "FILE")]
    pub(crate) authentication_token_webhook_config_file: Option<PathBuf>,
    /// How long its answers are kept
    #[arg(long, value_parser = duration, default_value = "2m")]
    pub(crate) authentication_token_webhook_cache_ttl: Duration,
    /// Version of its TokenReviews
    #[arg(long, value_parser = ["v1", "v1beta1"], default_value = "v1beta1")]
    pub(crate) authentication_token_webhook_version: String,
    #[command(flatten)]
    pub(crate) oidc: OidcFlags,
    #[command(flatten)]
    pub(crate) proxies: RequestHeaderFlags,
    #[command(flatten)]
    pub(crate) accounts: AccountFlags,
}

/// OpenID Connect.
#[derive(Args, Clone, Debug)]
pub(crate) struct OidcFlags {
    /// The provider's URL
    #[arg(long, requires = "oidc_client_id")]
    pub(crate) oidc_issuer_url: Option<String>,
    /// The audience that tokens must be for
    #[arg(long)]
    pub(crate) oidc_client_id: Option<String>,
    /// Authorities (PEM) that sign the provider's certificate
    #[arg(long, value_name = "FILE")]
    pub(crate) oidc_ca_file: Option<PathBuf>,
    /// The claim that names the user
    #[arg(long, default_value = "sub")]
    pub(crate) oidc_username_claim: String,
    /// What stands before the name; `-` for nothing [default: the issuer and # for claims other than email]
    #[arg(long)]
    pub(crate) oidc_username_prefix: Option<String>,
    /// The claim that holds groups
    #[arg(long)]
    pub(crate) oidc_groups_claim: Option<String>,
    /// What stands before groups
    #[arg(long, default_value = "")]
    pub(crate) oidc_groups_prefix: String,
    /// A claim that must have a value: CLAIM=VALUE
    #[arg(long, value_name = "CLAIM=VALUE", value_delimiter = ',')]
    pub(crate) oidc_required_claim: Vec<String>,
    /// Ways of signing that count
    #[arg(long, value_delimiter = ',', default_value = "RS256")]
    pub(crate) oidc_signing_algs: Vec<String>,
}

/// Front proxies.
#[derive(Args, Clone, Debug)]
pub(crate) struct RequestHeaderFlags {
    /// Authorities (PEM) of front proxies [default: one that the cluster makes]
    #[arg(long, value_name = "FILE")]
    pub(crate) requestheader_client_ca_file: Option<PathBuf>,
    /// Names of front proxies; empty for any
    #[arg(long, value_delimiter = ',', default_value = "front-proxy-client")]
    pub(crate) requestheader_allowed_names: Vec<String>,
    /// Headers that name the user
    #[arg(long, value_delimiter = ',', default_value = "X-Remote-User")]
    pub(crate) requestheader_username_headers: Vec<String>,
    /// Headers that hold the uid
    #[arg(long, value_delimiter = ',', default_value = "X-Remote-Uid")]
    pub(crate) requestheader_uid_headers: Vec<String>,
    /// Headers that hold groups
    #[arg(long, value_delimiter = ',', default_value = "X-Remote-Group")]
    pub(crate) requestheader_group_headers: Vec<String>,
    /// How headers begin that hold the rest
    #[arg(long, value_delimiter = ',', default_value = "X-Remote-Extra-")]
    pub(crate) requestheader_extra_headers_prefix: Vec<String>,
}

/// Tokens of service accounts.
#[derive(Args, Clone, Debug)]
pub(crate) struct AccountFlags {
    /// Who issues tokens; given again, issuers that count as well [default: https://kubernetes.default.svc.cluster.local]
    #[arg(long, value_name = "URL")]
    pub(crate) service_account_issuer: Vec<String>,
    /// The key (PEM) that signs tokens [default: one that the cluster makes]
    #[arg(long, value_name = "FILE")]
    pub(crate) service_account_signing_key_file: Option<PathBuf>,
    /// Further keys (PEM) whose signatures count
    #[arg(long, value_name = "FILE")]
    pub(crate) service_account_key_file: Vec<PathBuf>,
    /// Where the keys are published, if not below the issuer
    #[arg(long, value_name = "URL")]
    pub(crate) service_account_jwks_uri: Option<String>,
    /// The longest life of a token
    #[arg(long, value_parser = duration)]
    pub(crate) service_account_max_token_expiration: Option<Duration>,
    /// Let the tokens of pods last a year, for programs that do not read them again [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pub(crate) service_account_extend_token_expiration: Option<bool>,
    /// The audiences of the API [default: the first issuer]
    #[arg(long, value_delimiter = ',')]
    pub(crate) api_audiences: Vec<String>,
}

/// Authorization.
#[derive(Args, Clone, Debug)]
pub(crate) struct AuthorizationFlags {
    /// Who decides, in order: Node, RBAC, ABAC, Webhook, AlwaysAllow, AlwaysDeny [default: Node,RBAC]
    #[arg(long, value_delimiter = ',', conflicts_with = "authorization_config",
        value_parser = ["Node", "RBAC", "ABAC", "Webhook", "AlwaysAllow", "AlwaysDeny"])]
    pub(crate) authorization_mode: Vec<String>,
    /// An AuthorizationConfiguration; followed when it changes
    #[arg(long, value_name = "FILE")]
    pub(crate) authorization_config: Option<PathBuf>,
    /// What ABAC allows: a policy a line, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) authorization_policy_file: Option<PathBuf>,
    /// A kubeconfig that names the server which decides
    #[arg(long, value_name = "FILE")]
    pub(crate) authorization_webhook_config_file: Option<PathBuf>,
    /// Version of its SubjectAccessReviews
    #[arg(long, value_parser = ["v1", "v1beta1"], default_value = "v1beta1")]
    pub(crate) authorization_webhook_version: String,
    /// How long a yes is kept
    #[arg(long, value_parser = duration, default_value = "5m")]
    pub(crate) authorization_webhook_cache_authorized_ttl: Duration,
    /// How long a no is kept
    #[arg(long, value_parser = duration, default_value = "30s")]
    pub(crate) authorization_webhook_cache_unauthorized_ttl: Duration,
}
