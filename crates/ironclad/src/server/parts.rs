//! Everything that talks to the API server: controllers, scheduler, kubelet, network, DNS.

use super::api::Api;
use crate::cluster::Cluster;
use crate::failure::Result;
use crate::steps::Steps;
use ironclad_client::Informers;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Starts every part; returns when the node is ready.
pub(crate) fn start(cluster: &Cluster, steps: &Steps, api: &Api, token: &CancellationToken) -> Result<JoinSet<()>> {
    let mut parts = JoinSet::new();
    let step = steps.begin("Starting the controllers");
    let client = api.client("system:kube-controller-manager", &[]);
    let informers = Informers::new(client.clone(), token.clone());
    let tokens = api.tokens.clone();
    let context = ironclad_controllers::Context {
        client,
        informers,
        root_ca: api.pki.ca().to_owned(),
        tokens: Arc::new(move |namespace, account, uid, secret| {
            tokens.for_secret(namespace, account, uid, secret).ok()
        }),
        pod_cidr: cluster.pod_cidr,
        node_prefix: 24.max(cluster.pod_cidr.prefix_len()),
    };
    parts.spawn(ironclad_controllers::run(context, token.clone()));
    step.done("Controllers ready");
    let step = steps.begin("Starting the scheduler");
    let client = api.client("system:kube-scheduler", &[]);
    let informers = Informers::new(client.clone(), token.clone());
    let config = ironclad_scheduler::Config { client, informers, name: "default-scheduler".to_owned() };
    parts.spawn(ironclad_scheduler::run(config, token.clone()));
    step.done("Scheduler ready");
    Ok(parts)
}
