//! The controllers: in one process with the API server, or alone in the place of kube-controller-manager.

use super::serving::{self, Pages};
use super::{begin, client, kubeconfig, lead, read};
use crate::cli::api::ControllerFlags;
use crate::cli::parts::ControllerManager;
use crate::failure::{Context, Failure, Result};
use ipnet::Ipv4Net;
use ironclad_api::GroupResource;
use ironclad_api::source::Source;
use ironclad_auth::pki::{self, Pki};
use ironclad_auth::tokens::{Options, Tokens};
use ironclad_client::accounts::Accounts;
use ironclad_client::{Client, Informers};
use ironclad_controllers::certificates::{Asked, Authority};
use ironclad_controllers::{Identities, SecretTokens, Selection};
use ironclad_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const NAME: &str = "kube-controller-manager";
pub(crate) const PORT: u16 = 10257;

/// The cluster's authority, for the controllers.
struct Signing(Option<Arc<Pki>>);

impl Authority for Signing {
    fn read(&self, request: &[u8]) -> std::result::Result<Asked, String> {
        let asked = pki::requested(request).map_err(|e| e.to_string())?;
        Ok(Asked {
            common_name: asked.common_name,
            organizations: asked.organizations,
            dns_names: asked.dns_names.len(),
            ip_addresses: asked.ip_addresses,
            emails: asked.emails,
            uris: asked.uris,
        })
    }

    fn sign(&self, request: &[u8], usages: &[String], life: Duration) -> std::result::Result<String, String> {
        let pki = self.0.as_ref().ok_or("--cluster-signing-cert-file is not given")?;
        pki.sign_request(request, usages, life).map_err(|e| e.to_string())
    }
}

/// What the controllers are made from.
#[derive(Clone)]
pub(crate) struct Controllers {
    /// As whom each of them acts.
    pub(crate) identities: Identities,
    pub(crate) root_ca: String,
    /// Signs tokens of Secrets.
    pub(crate) tokens: Option<Arc<Tokens>>,
    /// Signs certificates.
    pub(crate) authority: Option<Arc<Pki>>,
    pub(crate) pod_cidr: Ipv4Net,
    pub(crate) allocate_node_cidrs: bool,
    pub(crate) node_prefix: u8,
    pub(crate) flags: ControllerFlags,
    pub(crate) selection: Selection,
}

/// Runs the controllers until `token` is cancelled.
pub(crate) async fn controllers(from: Controllers, client: Client, informers: Informers, token: CancellationToken) {
    let keys = from.tokens;
    let tokens: SecretTokens = Arc::new(move |namespace, account, uid, secret| {
        keys.as_ref().and_then(|k| k.for_secret(namespace, account, uid, secret).ok())
    });
    let context = ironclad_controllers::Context {
        client,
        identities: from.identities,
        informers,
        root_ca: from.root_ca,
        tokens,
        authority: Arc::new(Signing(from.authority)),
        pod_cidr: from.pod_cidr,
        allocate_node_cidrs: from.allocate_node_cidrs,
        node_prefix: from.node_prefix.max(from.pod_cidr.prefix_len()),
        signing_duration: from.flags.cluster_signing_duration,
        token_clean_up_period: from.flags.legacy_service_account_token_clean_up_period,
        selection: from.selection,
    };
    ironclad_controllers::run(context, token).await;
}

pub(crate) fn run(args: ControllerManager) -> Result<()> {
    begin(&args.common.log.clone(), |token| async move { serve(args, token).await })
}

async fn serve(args: ControllerManager, token: CancellationToken) -> Result<()> {
    let client = client(&args.connection).await?;
    let pages = Pages {
        name: NAME,
        group: "kubecontrollermanager.config.k8s.io",
        config: shown(&args),
        checks: &["leaderElection"],
        healthy: Box::new(|| true),
        own: |_, _| None,
    };
    let health = serving::start(&args.health, PORT, pages, &token).await?;
    let identities = identities(&args, &client).await?;
    let from = Controllers {
        identities,
        root_ca: root_ca(&args)?,
        tokens: args.service_account_private_key_file.as_deref().map(tokens).transpose()?,
        authority: authority(&args)?,
        pod_cidr: args.cluster_cidr.trunc(),
        allocate_node_cidrs: args.allocate_node_cidrs,
        node_prefix: args.node_cidr_mask_size,
        flags: args.lasting.clone(),
        selection: Selection::new(args.controllers.clone()),
    };
    let own = client.clone();
    let work = |informers, token| controllers(from, own, informers, token);
    let outcome = lead((&client, &args.connection), &args.leader, NAME, &token, work).await;
    drop(health);
    outcome
}

/// As whom controllers act: each as its service account, or all as whoever the kubeconfig names.
async fn identities(args: &ControllerManager, client: &Client) -> Result<Identities> {
    let all = client.clone();
    if !args.use_service_account_credentials {
        return Ok(Arc::new(move |_| all.clone()));
    }
    let accounts =
        Accounts::from_kubeconfig(kubeconfig(&args.connection)?).await.context("cannot use the kubeconfig")?;
    Ok(Arc::new(move |name| accounts.client(name)))
}

/// The configuration that is in force.
fn shown(args: &ControllerManager) -> serde_json::Value {
    serde_json::json!({
        "kind": "KubeControllerManagerConfiguration", "apiVersion": "kubecontrollermanager.config.k8s.io/v1alpha1",
        "Generic": {
            "ClientConnection": {"kubeconfig": args.connection.kubeconfig, "contentType": "application/json"},
            "LeaderElection": super::shown_election(&args.leader, NAME),
            "Controllers": args.controllers,
        },
        "KubeCloudShared": {
            "UseServiceAccountCredentials": args.use_service_account_credentials,
            "AllocateNodeCIDRs": args.allocate_node_cidrs, "ClusterCIDR": args.cluster_cidr.to_string(),
        },
        "NodeIPAMController": {"NodeCIDRMaskSizeIPv4": args.node_cidr_mask_size},
    })
}

/// The authorities of the API server: those that are given, else those that this part itself trusts.
fn root_ca(args: &ControllerManager) -> Result<String> {
    if let Some(path) = &args.root_ca_file {
        return read(path);
    }
    ironclad_client::authorities(kubeconfig(&args.connection)?).context("cannot use the kubeconfig")
}

/// Nobody: the tokens that are only signed here are checked elsewhere.
struct Nothing;

impl Source for Nothing {
    fn get(&self, _: &GroupResource, _: &str, _: &str) -> Option<Arc<Value>> {
        None
    }

    fn list(&self, _: &GroupResource, _: &str) -> Vec<Arc<Value>> {
        Vec::new()
    }

    fn subscribe(&self, _: &GroupResource) -> futures::stream::BoxStream<'static, ironclad_api::source::Change> {
        Box::pin(futures::stream::empty())
    }
}

fn tokens(key: &Path) -> Result<Arc<Tokens>> {
    let options = Options {
        issuers: vec!["kubernetes/serviceaccount".to_owned()],
        audiences: vec!["kubernetes/serviceaccount".to_owned()],
        signing_key: read(key)?,
        keys: Vec::new(),
        max_expiration: None,
        extend: true,
        jwks_uri: None,
        used: None,
    };
    Tokens::with(options, Arc::new(Nothing)).map(Arc::new).context("cannot use --service-account-private-key-file")
}

fn authority(args: &ControllerManager) -> Result<Option<Arc<Pki>>> {
    let (Some(certificate), Some(key)) = (&args.cluster_signing_cert_file, &args.cluster_signing_key_file) else {
        return Ok(None);
    };
    let pair = pki::read_pair(certificate, key).map_err(|e| Failure::internal("cannot sign certificates", e))?;
    Ok(Some(Arc::new(Pki::of_authority(pair))))
}
