//! The container runtime and the pod network of this machine, as every command of the binary opens them.

use crate::cluster::Cluster;
use crate::failure::{Context, Failure, Id, Result};
use ironclad_network::pod::{Config as NetworkConfig, PodNetwork};
use ironclad_runtime::{Config, Embedded, ImageStore, RegistryConfig};
use std::sync::Arc;

/// Opens the runtime with its network.
pub(crate) async fn runtime(cluster: &Cluster) -> Result<Embedded> {
    let network = NetworkConfig {
        cluster: cluster.name.clone(),
        directory: cluster.dir.join("network"),
        cluster_cidrs: vec![cluster.pod_cidr.into(), cluster.service_cidr.into()],
        mtu: None,
    };
    let network = PodNetwork::new(network).map_err(|e| network_failure("cannot set up the pod network", &e))?;
    let config = Config {
        cluster: cluster.name.clone(),
        data_dir: cluster.dir.join("runtime"),
        run_dir: cluster.run_dir(),
        shim: std::env::current_exe().context("cannot find this program")?,
        network: Arc::new(network),
        registries: registries(cluster),
    };
    Embedded::open(config).await.context("cannot open the container runtime")
}

/// Removes everything that the cluster made in the kernel and on disk for its containers.
pub(crate) async fn purge(cluster: &Cluster) -> Result<()> {
    runtime(cluster).await?.purge().await.context("cannot remove the containers")?;
    ironclad_network::pod::purge(&cluster.name, &cluster.dir.join("network")).context("cannot remove the pod network")
}

/// A failure of the network, which is often a kernel that lacks what Services and pods need.
pub(crate) fn network_failure(what: &str, error: &ironclad_network::Error) -> Failure {
    if !error.is_unsupported() {
        return Failure::internal(what, error);
    }
    let help = "Use a kernel with, or load its modules: veth nf_tables nft_ct nft_masq nft_nat nft_fib_inet nft_numgen \
                nft_reject_inet.";
    Failure::new(Id::KernelFeature, format!("{what}: {error}"), help)
}

/// How registries are reached.
fn registries(cluster: &Cluster) -> RegistryConfig {
    let mut registries = RegistryConfig::default();
    for (registry, url) in &cluster.mirrors {
        let host = url.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
        registries.mirrors.entry(registry.clone()).or_default().push(host.to_owned());
        if url.starts_with("http://") {
            registries.plain_http.push(host.to_owned());
        }
    }
    registries
}

/// The images alone, beside a server that runs or without one.
pub(crate) fn images(cluster: &Cluster) -> Result<ImageStore> {
    ImageStore::open(&cluster.dir.join("runtime"), registries(cluster)).context("cannot open the images")
}
