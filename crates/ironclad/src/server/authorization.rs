//! What users may do: the authorizers, as flags or a configuration say; a configuration is followed when it changes.

use super::reloads;
use crate::cli::api::AuthorizationFlags;
use crate::component::text as read_file;
use crate::failure::{Context, Failure, Result, config_failure};
use crate::files::Files;
use arc_swap::ArcSwap;
use async_trait::async_trait;
use ironclad_api::UserInfo;
use ironclad_auth::webhook::{AccessOptions, AccessWebhook};
use ironclad_auth::{
    Abac, Attributes, AuthorizationConfiguration, Authorizer, Authorizers, Counted, Decision, NodeAuthorizer, Rbac,
    Rules,
};
use ironclad_remote::{Remote, Way};
use std::path::Path;
use std::sync::Arc;

/// The two that every cluster has.
#[derive(Clone)]
pub(crate) struct Own {
    pub(crate) node: Arc<NodeAuthorizer>,
    pub(crate) rbac: Arc<Rbac>,
    /// How webhooks are reached.
    pub(crate) way: Way,
}

/// Those that need no server: the cluster's own, and policies of a file.
fn plain(sort: &str, own: &Own, policies: Option<&Path>) -> std::result::Result<Option<Arc<dyn Authorizer>>, String> {
    Ok(Some(match sort {
        "Node" => own.node.clone(),
        "RBAC" => own.rbac.clone(),
        "AlwaysAllow" => Arc::new(Always(true)),
        "AlwaysDeny" => Arc::new(Always(false)),
        "ABAC" => {
            let file = policies.ok_or("authorization-mode ABAC's authorization policy file not passed")?;
            Arc::new(Abac::read(file)?)
        }
        _ => return Ok(None),
    }))
}

/// Says the same to everybody.
struct Always(bool);

#[async_trait]
impl Authorizer for Always {
    async fn authorize(&self, _: &Attributes) -> Decision {
        match self.0 {
            true => Decision::Allow(String::new()),
            false => Decision::NoOpinion("Everything is forbidden.".to_owned()),
        }
    }

    async fn rules(&self, _: &UserInfo, _: &str) -> Rules {
        Rules::default()
    }
}

/// Authorizers that can be replaced.
struct Replaceable(ArcSwap<Authorizers>);

#[async_trait]
impl Authorizer for Replaceable {
    async fn authorize(&self, attributes: &Attributes) -> Decision {
        let now = self.0.load_full();
        now.authorize(attributes).await
    }

    async fn rules(&self, user: &UserInfo, namespace: &str) -> Rules {
        let now = self.0.load_full();
        now.rules(user, namespace).await
    }
}

pub(crate) fn authorizer(flags: &AuthorizationFlags, own: &Own, files: &mut Files) -> Result<Arc<dyn Authorizer>> {
    let Some(path) = &flags.authorization_config else { return Ok(Arc::new(of_flags(flags, own)?)) };
    let policies = flags.authorization_policy_file.clone();
    let first = configured(path, own, policies.as_deref()).map_err(config_failure)?;
    reloads::AUTHORIZATION.used("", &reloads::hash_of(path));
    let replaceable = Arc::new(Replaceable(ArcSwap::from_pointee(first)));
    let (keep, own, file) = (replaceable.clone(), own.clone(), path.clone());
    let mut seen = reloads::Seen::of(path);
    files.on_change(path, move || match configured(&file, &own, policies.as_deref()) {
        _ if !seen.anew(&file) => {}
        Ok(newer) => {
            keep.0.store(Arc::new(newer));
            reloads::AUTHORIZATION.done("", Some(&reloads::hash_of(&file)));
            tracing::info!("the new authorization configuration is used");
        }
        Err(error) => {
            reloads::AUTHORIZATION.done("", None);
            tracing::error!(error, "the new authorization configuration is not used");
        }
    });
    Ok(replaceable)
}

fn of_flags(flags: &AuthorizationFlags, own: &Own) -> Result<Authorizers> {
    let default = ["Node".to_owned(), "RBAC".to_owned()];
    let modes = if flags.authorization_mode.is_empty() { &default[..] } else { &flags.authorization_mode };
    let mut all: Vec<Arc<dyn Authorizer>> = Vec::new();
    for mode in modes {
        let policies = flags.authorization_policy_file.as_deref();
        let one = match plain(mode, own, policies).context("cannot use --authorization-policy-file")? {
            Some(known) => known,
            None => {
                let file = flags.authorization_webhook_config_file.as_deref().ok_or_else(|| {
                    Failure::internal("cannot authorize by webhook", "--authorization-webhook-config-file is missing")
                })?;
                let options = AccessOptions {
                    version: flags.authorization_webhook_version.clone(),
                    allowed: flags.authorization_webhook_cache_authorized_ttl,
                    refused: flags.authorization_webhook_cache_unauthorized_ttl,
                    ..AccessOptions::default()
                };
                webhook(Some(file), options, &own.way).context("cannot use --authorization-webhook-config-file")?
            }
        };
        all.push(Arc::new(Counted::new(mode, &mode.to_lowercase(), one)));
    }
    Ok(Authorizers(all))
}

fn webhook(file: Option<&Path>, options: AccessOptions, way: &Way) -> std::result::Result<Arc<dyn Authorizer>, String> {
    let remote = match file {
        Some(file) => Remote::from_kubeconfig_by(file, way),
        None => Remote::in_cluster(),
    };
    let remote = remote.map_err(|e| e.to_string())?;
    Ok(Arc::new(AccessWebhook::new(remote, options)?))
}

fn configured(path: &Path, own: &Own, policies: Option<&Path>) -> std::result::Result<Authorizers, String> {
    let text = read_file(path)?;
    let configuration = AuthorizationConfiguration::parse(&text)?;
    let mut all: Vec<Arc<dyn Authorizer>> = Vec::new();
    for one in &configuration.authorizers {
        let authorizer: Arc<dyn Authorizer> = match (plain(&one.sort, own, policies)?, &one.webhook) {
            (Some(known), _) => known,
            (None, Some(hook)) => {
                let options = AccessOptions { name: one.name.clone(), ..hook.options() };
                webhook(hook.kubeconfig().as_deref(), options, &own.way)?
            }
            // The configuration was checked: whatever else there is has a webhook.
            (None, None) => Arc::new(Always(false)),
        };
        all.push(Arc::new(Counted::new(&one.sort, &one.name, authorizer)));
    }
    Ok(Authorizers(all))
}
