//! Who asks: the authenticators, in stock's order, as flags or a configuration say; a configuration is followed when it
//! changes.

use super::reloads;
use crate::cli::api::{AuthenticationFlags, OidcFlags};
use crate::component::text as read_file;
use crate::failure::{Context, Result, config_failure};
use crate::files::Files;
use arc_swap::ArcSwap;
use ironclad_api::ErrorList;
use ironclad_api::field;
use ironclad_api::source::Source;
use ironclad_auth::oidc::{
    ALGORITHMS, AuthenticationConfiguration, ClaimMappings, ClaimValidationRule, Issuer, Jwt, Oidc, PrefixedClaim,
};
use ironclad_auth::pki::{self, Pki};
use ironclad_auth::tokens::{Options, Tokens, Used};
use ironclad_auth::webhook::TokenWebhook;
use ironclad_auth::{
    Anonymous, Authenticator, Bearer, BootstrapTokens, Certificates, ForApi, FrontProxy, OrElse, RemoteHeaders,
    Replaceable, StaticTokens, Union,
};
use ironclad_json::{Value, json};
use ironclad_remote::{Egress, Remote};
use std::path::Path;
use std::sync::Arc;

type Shared = Arc<dyn Authenticator>;

/// What authenticators are made from.
pub(crate) struct Makings<'a> {
    pub(crate) flags: &'a AuthenticationFlags,
    pub(crate) pki: &'a Pki,
    pub(crate) source: Arc<dyn Source>,
    pub(crate) tokens: Arc<Tokens>,
    /// Ways to other servers, where there is a configuration of them.
    pub(crate) egress: Option<Egress>,
}

/// The authenticator, and the authorities that clients are told of.
pub(crate) struct Authentication {
    pub(crate) authenticator: Shared,
    pub(crate) clients: String,
    pub(crate) proxies: String,
}

pub(super) fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).context(&format!("cannot read {}", path.display()))
}

/// How tokens of service accounts are made and which ones count.
pub(crate) fn tokens(flags: &AuthenticationFlags, pki: &Pki, issuer: &str, used: Used) -> Result<Options> {
    let accounts = &flags.accounts;
    let signing_key = match &accounts.service_account_signing_key_file {
        Some(path) => read(path)?,
        None => pki.token_key().context("cannot make the key of tokens")?,
    };
    let mut issuers = accounts.service_account_issuer.clone();
    if issuers.is_empty() {
        issuers.push(issuer.to_owned());
    }
    Ok(Options {
        audiences: if accounts.api_audiences.is_empty() {
            vec![issuers[0].clone()]
        } else {
            accounts.api_audiences.clone()
        },
        issuers,
        signing_key,
        keys: accounts.service_account_key_file.iter().map(|p| read(p)).collect::<Result<_>>()?,
        max_expiration: accounts.service_account_max_token_expiration.map(|d| d.as_secs() as i64),
        extend: accounts.service_account_extend_token_expiration.unwrap_or(true),
        jwks_uri: accounts.service_account_jwks_uri.clone(),
        used: Some(used),
    })
}

/// Front proxies, certificates, tokens, and at last nobody.
pub(crate) fn start(makings: &Makings<'_>, files: &mut Files) -> Result<Authentication> {
    let (flags, pki) = (makings.flags, makings.pki);
    let authority = |pem: &str| pki::verifier(pem).context("cannot set up TLS");
    let proxies = match &flags.proxies.requestheader_client_ca_file {
        Some(path) => read(path)?,
        None => pki.front_proxy().context("cannot make certificates")?.0,
    };
    let mut clients = pki.ca().to_owned();
    if let Some(path) = &flags.client_ca_file {
        clients.push_str(&read(path)?);
    }
    let lower = |names: &[String]| names.iter().map(|n| n.to_lowercase()).collect();
    let headers = RemoteHeaders {
        user: lower(&flags.proxies.requestheader_username_headers),
        uid: lower(&flags.proxies.requestheader_uid_headers),
        group: lower(&flags.proxies.requestheader_group_headers),
        extra: lower(&flags.proxies.requestheader_extra_headers_prefix),
    };
    let allowed = flags.proxies.requestheader_allowed_names.iter().filter(|n| !n.is_empty()).cloned().collect();
    let (issuers, anonymous) = configured(flags, files, makings)?;
    let bearer = Bearer(token_sources(makings, issuers)?);
    let all: Vec<Shared> = vec![
        Arc::new(FrontProxy::new(authority(&proxies)?, allowed, headers)),
        Arc::new(Certificates::new(authority(&clients)?)),
        Arc::new(bearer),
    ];
    let known: Shared = Arc::new(Union(all));
    let authenticator = Arc::new(OrElse { known, otherwise: anonymous });
    Ok(Authentication { authenticator, clients, proxies })
}

/// Everybody who knows tokens, in stock's order.
fn token_sources(makings: &Makings<'_>, issuers: Shared) -> Result<Vec<Shared>> {
    let flags = makings.flags;
    let audiences = makings.tokens.audiences().to_vec();
    let for_api = |inner: Shared| -> Shared { Arc::new(ForApi { inner, audiences: audiences.clone() }) };
    let mut sources: Vec<Shared> = Vec::new();
    if let Some(path) = &flags.token_auth_file {
        let tokens = StaticTokens::parse(&read(path)?).context("cannot use --token-auth-file")?;
        sources.push(for_api(Arc::new(tokens)));
    }
    sources.push(makings.tokens.clone());
    if flags.enable_bootstrap_token_auth.unwrap_or(true) {
        sources.push(for_api(Arc::new(BootstrapTokens(makings.source.clone()))));
    }
    sources.push(for_api(issuers));
    if let Some(path) = &flags.authentication_token_webhook_config_file {
        let way = makings.egress.as_ref().map(|e| e.control_plane.clone()).unwrap_or_default();
        let remote = Remote::from_kubeconfig_by(path, &way);
        let remote = remote.context("cannot use --authentication-token-webhook-config-file")?;
        let version = &flags.authentication_token_webhook_version;
        let life = flags.authentication_token_webhook_cache_ttl;
        sources.push(Arc::new(TokenWebhook::new(remote, version, audiences.clone(), life)));
    }
    Ok(sources)
}

/// Issuers of tokens and who comes in without one, from flags or from a file that is followed.
fn configured(flags: &AuthenticationFlags, files: &mut Files, makings: &Makings<'_>) -> Result<(Shared, Shared)> {
    let Some(path) = &flags.authentication_config else {
        let jwt = of_flags(&flags.oidc)?;
        let algorithms: Vec<&str> = flags.oidc.oidc_signing_algs.iter().map(String::as_str).collect();
        let issuers = jwt
            .iter()
            .map(|j| Ok(Arc::new(Oidc::new(j, &algorithms)?) as Shared))
            .collect::<std::result::Result<_, String>>();
        let issuers = Arc::new(Union(issuers.context("cannot use the --oidc flags")?));
        let nobody: Shared = match flags.anonymous_auth.unwrap_or(true) {
            true => Arc::new(Anonymous::default()),
            false => Arc::new(Union(Vec::new())),
        };
        return Ok((issuers, nobody));
    };
    let (own, egress) = (makings.tokens.issuers().to_vec(), makings.egress.clone());
    let (issuers, nobody) = of_file(path, &own, egress.as_ref()).map_err(config_failure)?;
    reloads::AUTHENTICATION.used("", &reloads::hash_of(path));
    let replaceable = |one: Shared| Arc::new(Replaceable(ArcSwap::from_pointee(one)));
    let (issuers, nobody) = (replaceable(issuers), replaceable(nobody));
    let (keep, file) = ((issuers.clone(), nobody.clone()), path.clone());
    let mut seen = reloads::Seen::of(path);
    files.on_change(path, move || match of_file(&file, &own, egress.as_ref()) {
        _ if !seen.anew(&file) => {}
        Ok((issuers, nobody)) => {
            keep.0.0.store(Arc::new(issuers));
            keep.1.0.store(Arc::new(nobody));
            reloads::AUTHENTICATION.done("", Some(&reloads::hash_of(&file)));
            tracing::info!("the new authentication configuration is used");
        }
        Err(error) => {
            reloads::AUTHENTICATION.done("", None);
            tracing::error!(error, "the new authentication configuration is not used");
        }
    });
    Ok((issuers, nobody))
}

fn of_file(path: &Path, own: &[String], egress: Option<&Egress>) -> std::result::Result<(Shared, Shared), String> {
    let configuration = read_file(path).and_then(|text| AuthenticationConfiguration::decode(&text)).map_err(|why| {
        format!("failed to load authentication configuration from file {:?}: {why}", path.display().to_string())
    })?;
    invalid(&configuration.errors())?;
    let mut issuers: Vec<Shared> = Vec::new();
    for jwt in &configuration.jwt {
        if own.contains(&jwt.issuer.url) {
            return Err(format!(
                "issuer.url: Invalid value: {:?}: URL must not overlap with disallowed issuers: [{}]",
                jwt.issuer.url,
                own.join(" ")
            ));
        }
        issuers.push(Arc::new(Oidc::by(jwt, ALGORITHMS, egress)?));
    }
    let nobody: Shared = match &configuration.anonymous {
        Some(anonymous) if !anonymous.enabled => Arc::new(Union(Vec::new())),
        Some(anonymous) => Arc::new(Anonymous { paths: anonymous.conditions.iter().map(|c| c.path.clone()).collect() }),
        None => Arc::new(Anonymous::default()),
    };
    Ok((Arc::new(Union(issuers)), nobody))
}

fn invalid(errors: &ErrorList) -> std::result::Result<(), String> {
    match errors.is_empty() {
        true => Ok(()),
        false => Err(format!("invalid authentication configuration: {}", field::aggregate(errors))),
    }
}

/// The issuer that the flags name.
fn of_flags(flags: &OidcFlags) -> Result<Option<Jwt>> {
    let Some(url) = &flags.oidc_issuer_url else { return Ok(None) };
    let prefix = match flags.oidc_username_prefix.as_deref() {
        Some("-") => String::new(),
        Some(prefix) => prefix.to_owned(),
        None if flags.oidc_username_claim == "email" => String::new(),
        None => format!("{url}#"),
    };
    let required = flags.oidc_required_claim.iter().filter_map(|c| c.split_once('='));
    let jwt = Jwt {
        issuer: Issuer {
            url: url.clone(),
            certificate_authority: flags.oidc_ca_file.as_deref().map(read).transpose()?,
            audiences: flags.oidc_client_id.iter().cloned().collect(),
            ..Issuer::default()
        },
        claim_mappings: ClaimMappings {
            username: PrefixedClaim {
                claim: flags.oidc_username_claim.clone(),
                prefix: Some(prefix),
                expression: String::new(),
            },
            groups: PrefixedClaim {
                claim: flags.oidc_groups_claim.clone().unwrap_or_default(),
                prefix: flags.oidc_groups_claim.as_ref().map(|_| flags.oidc_groups_prefix.clone()),
                expression: String::new(),
            },
            ..ClaimMappings::default()
        },
        claim_validation_rules: required
            .map(|(claim, value)| ClaimValidationRule {
                claim: claim.to_owned(),
                required_value: value.to_owned(),
                ..ClaimValidationRule::default()
            })
            .collect(),
        ..Jwt::default()
    };
    invalid(&jwt.errors(&field::Path::new("jwt").index(0))).map_err(config_failure)?;
    Ok(Some(jwt))
}

/// What servers behind this one must know to tell who asks them.
pub(crate) fn published(flags: &AuthenticationFlags, clients: &str, front: &str) -> Value {
    let proxies = &flags.proxies;
    let list = |names: &[String]| json!(names).to_string();
    json!({
        "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
        "data": {
            "client-ca-file": clients,
            "requestheader-allowed-names": list(&proxies.requestheader_allowed_names),
            "requestheader-client-ca-file": front,
            "requestheader-extra-headers-prefix": list(&proxies.requestheader_extra_headers_prefix),
            "requestheader-group-headers": list(&proxies.requestheader_group_headers),
            "requestheader-uid-headers": list(&proxies.requestheader_uid_headers),
            "requestheader-username-headers": list(&proxies.requestheader_username_headers),
        },
    })
}
