//! Services, as nftables maps.
//!
//! Invariants: what a Service needs in the kernel is a pure function of the Service, its EndpointSlices and the node; a
//! change costs a batch of that Service's size; at start the whole table is replaced in one transaction, so that
//! established connections and traffic keep going.

pub mod applier;
mod layout;
mod metrics;
pub mod model;
mod numbers;
mod programme;
mod ways;

use crate::Result;
use applier::Applier;
use ipnet::IpNet;
use ironclad_client::{Change, Informer, Informers, ObjectKey};
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::sync::{Arc, mpsc};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The label that names an EndpointSlice's Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
const BY_SERVICE: &str = "service";

/// The name of a cluster's table.
pub fn table(cluster: &str) -> String {
    format!("ironclad-{cluster}")
}

/// What the proxy is made from.
#[derive(Clone, Debug)]
pub struct Config {
    /// The cluster's name.
    pub cluster: String,
    /// The node on which it runs.
    pub node_name: String,
    /// All pods of the cluster: other senders are masqueraded.
    pub cluster_cidrs: Vec<IpNet>,
}

enum Signal {
    Changed(ObjectKey),
    Everything,
    Stop,
}

struct Sources {
    services: Arc<Informer<Service>>,
    slices: Arc<Informer<EndpointSlice>>,
    nodes: Arc<Informer<Node>>,
    config: Config,
}

impl Sources {
    fn new(informers: &Informers, config: Config) -> Self {
        let slices = informers.get::<EndpointSlice>();
        slices.add_index(BY_SERVICE, |slice| service_of(slice).map(|k| k.to_string()).into_iter().collect());
        Self { services: informers.get(), slices, nodes: informers.get(), config }
    }

    fn place(&self) -> model::Place {
        let node = self.nodes.get("", &self.config.node_name);
        let labels = node.and_then(|n| n.metadata.labels.clone()).unwrap_or_default();
        model::Place {
            node: self.config.node_name.clone(),
            zone: labels.get("topology.kubernetes.io/zone").cloned().unwrap_or_default(),
            pod_cidrs: self.config.cluster_cidrs.clone(),
        }
    }

    fn wanted(&self, key: &ObjectKey, place: &model::Place) -> Vec<model::ServicePort> {
        let Some(service) = self.services.get_key(key) else { return Vec::new() };
        let slices = self.slices.by_index(BY_SERVICE, &key.to_string());
        model::service_ports(&service, &slices, place)
    }
}

fn service_of(slice: &EndpointSlice) -> Option<ObjectKey> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    Some(ObjectKey::new(slice.metadata.namespace.as_deref().unwrap_or_default(), name))
}

/// Keeps the node's table as the Services are, until the token is cancelled; tells `ready` when it first is. The table
/// stays.
pub async fn run(informers: Informers, config: Config, ready: Arc<Notify>, token: CancellationToken) -> Result<()> {
    let mut applier = Applier::open(&config.cluster)?;
    let sources = Arc::new(Sources::new(&informers, config));
    tokio::select! {
        () = token.cancelled() => return Ok(()),
        () = async { tokio::join!(sources.services.synced(), sources.slices.synced(), sources.nodes.synced()); } => (),
    }
    let (signals, queue) = mpsc::channel();
    follow(&sources, &signals);
    let (done, ended) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("service-proxy".to_owned());
    let spawned = thread.spawn(move || {
        // The receiver is only gone when the caller gave up.
        let _ = done.send(work(&sources, &mut applier, &queue, &ready));
    });
    spawned.map_err(crate::Error::kernel("start the service proxy"))?;
    let mut ended = ended;
    tokio::select! {
        result = &mut ended => return result.unwrap_or(Err(crate::Error::Stopped)),
        () = token.cancelled() => (),
    }
    // A worker that ended already needs no signal.
    let _ = signals.send(Signal::Stop);
    ended.await.unwrap_or(Err(crate::Error::Stopped))
}

fn follow(sources: &Arc<Sources>, signals: &mpsc::Sender<Signal>) {
    // Sending fails only after the end, when changes matter no more.
    let send = signals.clone();
    sources.services.on_change(move |change| {
        metrics::SERVICES.add(metrics::FAMILY, 1);
        let _ = send.send(Signal::Changed(ObjectKey::of(change.object().as_ref())));
    });
    let send = signals.clone();
    sources.slices.on_change(move |change| {
        metrics::ENDPOINTS.add(metrics::FAMILY, 1);
        let mut keys: Vec<_> = service_of(change.object()).into_iter().collect();
        if let Change::Modified { old, .. } = change {
            keys.extend(service_of(old));
        }
        keys.dedup();
        for key in keys {
            let _ = send.send(Signal::Changed(key));
        }
    });
    let (send, name) = (signals.clone(), sources.config.node_name.clone());
    sources.nodes.on_change(move |change| {
        if let Change::Modified { old, new } = change
            && new.metadata.name.as_deref() == Some(&name)
            && old.metadata.labels != new.metadata.labels
        {
            let _ = send.send(Signal::Everything);
        }
    });
}

fn work(sources: &Sources, applier: &mut Applier, queue: &mpsc::Receiver<Signal>, ready: &Notify) -> Result<()> {
    let mut place = sources.place();
    let everything = |sources: &Sources, place: &model::Place| {
        let keys = sources.services.list().into_iter().map(|s| ObjectKey::of(s.as_ref()));
        keys.map(|key| (key.clone(), sources.wanted(&key, place))).collect::<Vec<_>>()
    };
    let begun = std::time::Instant::now();
    applier.replace(everything(sources, &place), &place)?;
    metrics::synced(begun.elapsed(), true);
    tracing::info!(services = sources.services.len(), "service proxy ready");
    ready.notify_one();
    while let Ok(first) = queue.recv() {
        let mut keys = std::collections::BTreeSet::new();
        let mut all = false;
        for signal in std::iter::once(first).chain(queue.try_iter()) {
            match signal {
                Signal::Stop => return Ok(()),
                Signal::Everything => all = true,
                Signal::Changed(key) => {
                    keys.insert(key);
                }
            }
        }
        if all {
            place = sources.place();
            keys.extend(sources.services.list().iter().map(|s| ObjectKey::of(s.as_ref())));
        }
        let begun = std::time::Instant::now();
        let wanted = keys.into_iter().map(|key| (key.clone(), sources.wanted(&key, &place))).collect();
        if let Err(error) = applier.update(wanted, &place) {
            // Somebody changed the table behind us: put the whole of it back.
            tracing::warn!(%error, "the service table differs from what was written; replacing it");
            metrics::FAILED.add(metrics::FAMILY, 1);
            applier.replace(everything(sources, &place), &place)?;
        }
        metrics::synced(begun.elapsed(), all);
    }
    Ok(())
}
