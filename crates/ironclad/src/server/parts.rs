//! Everything that talks to the API server: controllers, scheduler, kubelet, Services, DNS.

use super::api::{Api, Runs, VERSION};
use crate::cli::api::ControllerFlags;
use crate::cluster::Cluster;
use crate::failure::{Context, Failure, Id, Result};
use crate::node;
use crate::parts::{Controllers, Turns};
use crate::steps::Steps;
use ironclad_auth::pki::Subject;
use ironclad_client::Informers;
use ironclad_controllers::Selection;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long a part may take to become ready.
const PATIENCE: Duration = Duration::from_mins(1);

/// Starts every part; returns when all of them are ready.
pub(crate) async fn start(
    cluster: &Cluster,
    flags: &ControllerFlags,
    steps: &Steps,
    api: &Api,
    token: &CancellationToken,
) -> Result<JoinSet<()>> {
    let mut parts = JoinSet::new();
    let step = steps.begin("Starting controllers and scheduler");
    controllers(cluster, flags, api, token, &mut parts);
    scheduler(cluster, api, token, &mut parts);
    step.done("Controllers and scheduler ready");
    let step = steps.begin("Starting the node");
    let ready = kubelet(cluster, api, token, &mut parts).await?;
    within_patience(cluster, "the node does not become ready", ready.notified()).await?;
    step.done(format!("Node {} ready", cluster.node_name));
    let step = steps.begin("Starting Services and DNS");
    let (services, names) = (proxy(cluster, api, token, &mut parts), dns(cluster, api, token, &mut parts));
    services.ready(cluster, "Services do not become ready").await?;
    names.ready(cluster, "DNS does not become ready").await?;
    step.done("Services and DNS ready");
    Ok(parts)
}

async fn within_patience<T>(cluster: &Cluster, otherwise: &str, done: impl Future<Output = T>) -> Result<T> {
    let help = || format!("{} says why.", cluster.log_file().display());
    let late = |_| Failure::new(Id::NotReady, otherwise, help());
    tokio::time::timeout(PATIENCE, done).await.map_err(late)
}

/// A part that was started and says when it is ready, or why it never will be.
struct Started {
    ready: Arc<Notify>,
    failed: oneshot::Receiver<Failure>,
}

impl Started {
    fn spawn<F>(parts: &mut JoinSet<()>, part: impl FnOnce(Arc<Notify>) -> F) -> Self
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let ready = Arc::new(Notify::new());
        let (tell, failed) = oneshot::channel();
        let part = part(ready.clone());
        parts.spawn(async move {
            if let Err(failure) = part.await {
                tracing::error!("{}", failure.cause);
                // After the start nobody waits for it.
                drop(tell.send(failure));
            }
        });
        Self { ready, failed }
    }

    async fn ready(self, cluster: &Cluster, otherwise: &str) -> Result<()> {
        let outcome = async {
            tokio::select! {
                () = self.ready.notified() => Ok(()),
                Ok(failure) = self.failed => Err(failure),
            }
        };
        within_patience(cluster, otherwise, outcome).await?
    }
}

fn controllers(
    cluster: &Cluster,
    flags: &ControllerFlags,
    api: &Api,
    token: &CancellationToken,
    parts: &mut JoinSet<()>,
) {
    let from = Controllers {
        identities: Arc::new(api.identities()),
        root_ca: api.pki.ca().to_owned(),
        tokens: Some(api.tokens.clone()),
        authority: Some(api.pki.clone()),
        pod_cidr: cluster.pod_cidr,
        allocate_node_cidrs: true,
        node_prefix: 24,
        flags: flags.clone(),
        selection: Selection::default(),
    };
    let client = api.client("system:kube-controller-manager", &[]);
    let turns = Turns::of(cluster, api.coordinates, &client, "kube-controller-manager");
    let work = move |informers, token| crate::parts::controllers(from.clone(), client.clone(), informers, token);
    let (token, runs) = (token.clone(), Runs::begin(&api.neighbours.controllers));
    parts.spawn(async move {
        turns.run(token, work).await;
        drop(runs);
    });
}

fn scheduler(cluster: &Cluster, api: &Api, token: &CancellationToken, parts: &mut JoinSet<()>) {
    let client = api.client("system:kube-scheduler", &[]);
    let turns = Turns::of(cluster, api.coordinates, &client, "kube-scheduler");
    let work = move |informers, token| {
        let (client, name) = (client.clone(), "default-scheduler".to_owned());
        ironclad_scheduler::run(ironclad_scheduler::Config { client, informers, name }, token)
    };
    let (token, runs) = (token.clone(), Runs::begin(&api.neighbours.scheduler));
    parts.spawn(async move {
        turns.run(token, work).await;
        drop(runs);
    });
}

fn proxy(cluster: &Cluster, api: &Api, token: &CancellationToken, parts: &mut JoinSet<()>) -> Started {
    let client = api.client("system:kube-proxy", &[]);
    let informers = Informers::new(client, token.clone());
    let config = ironclad_network::proxy::Config {
        cluster: cluster.name.clone(),
        node_name: cluster.node_name.clone(),
        cluster_cidrs: vec![cluster.pod_cidr.into()],
    };
    let token = token.clone();
    Started::spawn(parts, |ready| async move {
        let kept = ironclad_network::proxy::run(informers, config, ready, token).await;
        kept.map_err(|e| node::network_failure("cannot keep Services", &e))
    })
}

fn dns(cluster: &Cluster, api: &Api, token: &CancellationToken, parts: &mut JoinSet<()>) -> Started {
    let client = api.client("system:ironclad-dns", &[]);
    let informers = Informers::new(client, token.clone());
    let config = ironclad_dns::Config {
        listen: SocketAddr::new(cluster.node_ip.into(), cluster.dns_port),
        metrics: None,
        domain: "cluster.local".to_owned(),
        cluster_ip: cluster.service_ip(10).into(),
        node_name: cluster.node_name.clone(),
        resolv_conf: "/etc/resolv.conf".into(),
    };
    let token = token.clone();
    Started::spawn(parts, |ready| async move {
        ironclad_dns::run(informers, config, ready, token).await.context("cannot answer names")
    })
}

async fn kubelet(
    cluster: &Cluster,
    api: &Api,
    token: &CancellationToken,
    parts: &mut JoinSet<()>,
) -> Result<Arc<Notify>> {
    let runtime = node::runtime(cluster).await?;
    let names = vec![cluster.node_name.clone(), cluster.node_ip.to_string(), "127.0.0.1".to_owned()];
    let user = format!("system:node:{}", cluster.node_name);
    let serving = api.pki.issue("kubelet", &Subject::server(&user, "system:nodes", names));
    let serving = serving.context("cannot make the kubelet's certificate")?;
    let client = api.client(&user, &["system:nodes"]);
    let informers = Informers::new(client.clone(), token.clone());
    let config = ironclad_kubelet::Config {
        client,
        informers,
        runtime: Arc::new(runtime),
        node_name: cluster.node_name.clone(),
        node_ip: cluster.node_ip,
        port: cluster.kubelet_port,
        tls: api.pki.server_tls(&serving).context("cannot set up TLS")?,
        root_dir: cluster.kubelet_dir(),
        cluster_dns: cluster.service_ip(10),
        cluster_domain: "cluster.local".to_owned(),
        version: VERSION.to_owned(),
        manifests: cluster.manifests.clone(),
        eviction: cluster.eviction(),
    };
    std::fs::create_dir_all(&config.root_dir).context("cannot make the kubelet's directory")?;
    let ready = Arc::new(Notify::new());
    parts.spawn(ironclad_kubelet::run(config, ready.clone(), token.clone()));
    Ok(ready)
}
