//! What belongs to a node, each alone: the kubelet with its container runtime, Services, DNS.

use super::{begin, client, read};
use crate::cli::parts::{Dns, Kubelet, Machine, Proxy};
use crate::cluster::{Cluster, default_address, host_name};
use crate::failure::{Context, Failure, Id, Result};
use crate::server::VERSION;
use crate::{node, preflight, process};
use ironclad_auth::pki::{self, Pki, Subject};
use ironclad_client::Informers;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

fn node_name(given: Option<&String>) -> Result<String> {
    given.map_or_else(host_name, |name| Ok(name.to_lowercase()))
}

pub(crate) fn kubelet(args: Kubelet) -> Result<()> {
    preflight::root()?;
    preflight::kernel()?;
    let mut cluster = machine(&args)?;
    let _held = process::hold(&cluster)?;
    preflight::port(IpAddr::from([0, 0, 0, 0]), &mut cluster.kubelet_port, "the kubelet", "--port")?;
    cluster.save()?;
    begin(&args.common.log.clone(), |token| async move { serve_kubelet(&args, &cluster, token).await })
}

/// This machine as the commands around the runtime know it: `ironclad image` and `ironclad down` work with the same
/// directory and name.
fn machine(args: &Kubelet) -> Result<Cluster> {
    let which = crate::cli::Which { name: args.machine.name.clone(), data_dir: args.root_dir.clone() };
    let layout = crate::cli::Layout {
        node_ip: args.node_ip,
        node_name: Some(node_name(args.machine.hostname_override.as_ref())?),
        kubelet_port: Some(args.port),
        pod_cidr: Some(args.machine.cluster_cidr),
        service_cidr: Some(args.service_cluster_ip_range),
        mirrors: args.mirrors.clone(),
        manifests: args.pod_manifest_path.clone(),
        eviction_hard: args.eviction_hard.clone(),
        ..crate::cli::Layout::default()
    };
    let cluster = Cluster::plan(&which, &layout)?;
    cluster.save()?;
    Ok(cluster)
}

async fn serve_kubelet(args: &Kubelet, cluster: &Cluster, token: CancellationToken) -> Result<()> {
    let client = client(&args.connection).await?;
    let serving = match (&args.tls_cert_file, &args.tls_private_key_file) {
        (Some(certificate), Some(key)) => pki::read_pair(certificate, key),
        _ => {
            let names = vec![cluster.node_name.clone(), cluster.node_ip.to_string(), "127.0.0.1".to_owned()];
            let subject = Subject::server(&format!("system:node:{}", cluster.node_name), "system:nodes", names);
            let pki = Pki::open_or_create(&cluster.pki_dir(), &cluster.node_name);
            pki.and_then(|p| p.issue("kubelet", &subject))
        }
    };
    let serving = serving.context("cannot use the kubelet's certificate")?;
    let clients = args.client_ca_file.as_deref().map(read).transpose()?.unwrap_or_default();
    let informers = Informers::new(client.clone(), token.clone());
    let config = ironclad_kubelet::Config {
        client,
        informers,
        runtime: Arc::new(node::runtime(cluster).await?),
        node_name: cluster.node_name.clone(),
        node_ip: cluster.node_ip,
        port: cluster.kubelet_port,
        tls: pki::server_tls(&serving, &clients).context("cannot set up TLS")?,
        root_dir: cluster.kubelet_dir(),
        cluster_dns: args.cluster_dns.unwrap_or_else(|| cluster.service_ip(10)),
        cluster_domain: args.cluster_domain.clone(),
        version: VERSION.to_owned(),
        manifests: cluster.manifests.clone(),
        eviction: cluster.eviction(),
    };
    std::fs::create_dir_all(&config.root_dir).context("cannot make the kubelet's directory")?;
    ironclad_kubelet::run(config, Arc::new(Notify::new()), token).await;
    Ok(())
}

pub(crate) fn proxy(args: Proxy) -> Result<()> {
    preflight::root()?;
    begin(&args.common.log.clone(), |token| async move {
        let Machine { name, hostname_override, cluster_cidr } = &args.machine;
        let informers = Informers::new(client(&args.connection).await?, token.clone());
        let config = ironclad_network::proxy::Config {
            cluster: name.clone(),
            node_name: node_name(hostname_override.as_ref())?,
            cluster_cidrs: vec![cluster_cidr.trunc().into()],
        };
        ironclad_network::proxy::run(informers, config, Arc::new(Notify::new()), token)
            .await
            .context("Services are not kept any more")
    })
}

pub(crate) fn dns(args: Dns) -> Result<()> {
    begin(&args.common.log.clone(), |token| async move {
        let informers = Informers::new(client(&args.connection).await?, token.clone());
        let listen = SocketAddr::new(args.bind_address.unwrap_or_else(default_address).into(), args.port);
        let config = ironclad_dns::Config {
            listen,
            metrics: args.metrics_bind_address,
            domain: args.cluster_domain,
            cluster_ip: args.cluster_dns.into(),
            node_name: node_name(args.hostname_override.as_ref())?,
            resolv_conf: "/etc/resolv.conf".into(),
        };
        let ended = ironclad_dns::run(informers, config, Arc::new(Notify::new()), token).await;
        ended.map_err(|e| Failure::new(Id::Internal, format!("names are not answered any more: {e}"), ""))
    })
}
