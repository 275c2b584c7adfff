//! The node agent: pod workers, volumes, status, probes and the kubelet's HTTP API.
//!
//! Invariants: containers are known only through [`ironclad_cri::Runtime`]; what to do next is a pure function of the
//! pod and of what the runtime shows, so that a restart changes nothing; one task looks after each pod.

mod admit;
mod backoff;
mod checkpoint;
mod container;
mod decide;
mod env;
mod evict;
mod gc;
mod hooks;
mod keyring;
mod logs;
mod manager;
mod node;
mod objects;
mod pod;
mod probe;
mod pulls;
mod server;
mod signers;
mod statics;
mod stats;
mod status;
mod streams;
mod users;
mod volumes;
mod worker;

use ironclad_client::informer::Filter;
use ironclad_client::{Client, Informer, Informers};
use ironclad_cri::Runtime;
use k8s_openapi::api::core::v1::Node;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

pub use evict::{Limit, Signal, Threshold, defaults as default_eviction};
pub use manager::run;

/// Unmounts all volumes of pods below a kubelet's directory, when no kubelet runs there any more.
pub fn release(root_dir: &std::path::Path) -> std::io::Result<()> {
    volumes::unmount_below(root_dir)
}

/// What a kubelet needs.
#[derive(Clone)]
pub struct Config {
    /// The API server, as `system:node:<name>`.
    pub client: Client,
    /// Shared informers.
    pub informers: Informers,
    /// What runs containers.
    pub runtime: Arc<dyn Runtime>,
    /// The node's name.
    pub node_name: String,
    /// The node's address.
    pub node_ip: Ipv4Addr,
    /// The port of the kubelet's own API.
    pub port: u16,
    /// TLS of that API; clients must show a certificate of the cluster.
    pub tls: Arc<rustls::ServerConfig>,
    /// Where pods' volumes and logs live.
    pub root_dir: PathBuf,
    /// The address of the cluster's DNS.
    pub cluster_dns: Ipv4Addr,
    /// The cluster's domain, for example `cluster.local`.
    pub cluster_domain: String,
    /// The version that the node shows.
    pub version: String,
    /// Directory with the manifests of static pods.
    pub manifests: Option<PathBuf>,
    /// Pods go when less than this is left.
    pub eviction: Vec<Threshold>,
}

impl Config {
    /// The node's own object: a kubelet may read no other.
    fn own_node(&self) -> Arc<Informer<Node>> {
        let filter = Filter { fields: format!("metadata.name={}", self.node_name), ..Filter::default() };
        self.informers.filtered(filter)
    }

    fn pod_dir(&self, uid: &str) -> PathBuf {
        self.root_dir.join("pods").join(uid)
    }

    fn log_dir(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.root_dir.join("logs").join(format!("{namespace}_{name}_{uid}"))
    }
}
