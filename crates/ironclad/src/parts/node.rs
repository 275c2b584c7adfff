//! What belongs to a node, each alone: the kubelet with its container runtime, Services, DNS.

use super::bootstrap::{self, Purpose};
use super::serving::{self, Pages};
use super::{begin, client, configured, kubeconfig, read};
use crate::cli::parts::{Dns, Kubelet, Machine, Proxy};
use crate::cluster::{Cluster, default_address, host_name};
use crate::failure::{Context, Failure, Id, Result};
use crate::server::VERSION;
use crate::{component, node, preflight, process};
use http::StatusCode;
use ironclad_auth::pki::{self, Pki, Shown, Subject};
use ironclad_client::{Client, Informers};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

fn node_name(given: Option<&String>) -> Result<String> {
    given.map_or_else(host_name, |name| Ok(name.to_lowercase()))
}

pub(crate) fn kubelet(mut args: Kubelet) -> Result<()> {
    let log = args.common.log.clone();
    crate::server::log(&log);
    let mut health = args.healthz_port;
    if let Some(file) = configured(args.config.as_ref(), component::kubelet)? {
        take(&mut args, &mut health, file)?;
    }
    preflight::root()?;
    preflight::kernel()?;
    let mut cluster = machine(&args)?;
    let _held = process::hold(&cluster)?;
    preflight::port(IpAddr::from([0, 0, 0, 0]), &mut cluster.kubelet_port, "the kubelet", "--port")?;
    cluster.save()?;
    begin(&log, |token| async move {
        let _health = match health.filter(|port| *port != 0) {
            Some(port) => {
                let address = args.healthz_bind_address.unwrap_or(IpAddr::from([127, 0, 0, 1]));
                let pages = Pages {
                    name: "kubelet",
                    group: "kubeletconfig",
                    config: serde_json::Value::Null,
                    checks: &["log", "syncloop"],
                    healthy: Box::new(|| true),
                    own: |path, _| {
                        let told = path.trim_end_matches('/') == "/healthz" || path.starts_with("/healthz/");
                        (!told).then(|| (StatusCode::NOT_FOUND, "text/plain", "404 page not found\n".to_owned()))
                    },
                };
                Some(serving::open(SocketAddr::new(address, port), pages, &token).await?)
            }
            None => None,
        };
        serve_kubelet(&args, &cluster, token).await
    })
}

/// Takes from the file what no flag says.
fn take(args: &mut Kubelet, health: &mut Option<u16>, file: component::Kubelet) -> Result<()> {
    args.pod_manifest_path = args.pod_manifest_path.take().or(file.manifests);
    args.port = args.port.or(file.port);
    if args.tls_cert_file.is_none()
        && let Some((certificate, key)) = file.certificate
    {
        (args.tls_cert_file, args.tls_private_key_file) = (Some(certificate), Some(key));
    }
    args.rotate_certificates = args.rotate_certificates.or(file.rotate);
    args.rotate_server_certificates = args.rotate_server_certificates.or(file.server_bootstrap);
    args.client_ca_file = args.client_ca_file.take().or(file.client_ca);
    args.cluster_domain = args.cluster_domain.take().or(file.domain);
    args.cluster_dns = args.cluster_dns.or(file.dns);
    if args.eviction_hard.is_empty() {
        args.eviction_hard = file.eviction_hard;
    }
    let Some((address, port)) = file.health else { return Ok(()) };
    *health = health.or(Some(port));
    let address = address.parse().context(&format!("cannot use healthzBindAddress {address:?}"))?;
    args.healthz_bind_address = args.healthz_bind_address.or(Some(address));
    Ok(())
}

/// This machine as the commands around the runtime know it: `ironclad image` and `ironclad down` work with the same
/// directory and name.
fn machine(args: &Kubelet) -> Result<Cluster> {
    let which = crate::cli::Which { name: args.machine.name.clone(), data_dir: args.root_dir.clone() };
    let layout = crate::cli::Layout {
        node_ip: args.node_ip,
        node_name: Some(node_name(args.machine.hostname_override.as_ref())?),
        kubelet_port: Some(args.port.unwrap_or(10250)),
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

/// The client of the kubelet, and what it shows to those who ask it.
async fn certificates(args: &Kubelet, cluster: &Cluster, token: &CancellationToken) -> Result<(Client, Arc<Shown>)> {
    let dir = args.cert_dir.clone().unwrap_or_else(|| cluster.pki_dir());
    let purpose = Purpose::client(&dir, &cluster.node_name);
    let rotate = args.rotate_certificates.unwrap_or(args.bootstrap_kubeconfig.is_some());
    let (path, first) = (kubeconfig(&args.connection)?, args.bootstrap_kubeconfig.as_deref());
    let client = bootstrap::client(path, first, purpose, rotate, token).await?;
    let shown = Arc::new(Shown::default());
    let names = vec![cluster.node_name.clone(), cluster.node_ip.to_string(), "127.0.0.1".to_owned()];
    let failed = "cannot use the kubelet's certificate";
    if let (Some(certificate), Some(key)) = (&args.tls_cert_file, &args.tls_private_key_file) {
        shown.show(&pki::read_pair(certificate, key).context(failed)?).context(failed)?;
    } else if args.rotate_server_certificates == Some(true) {
        let purpose = Purpose::serving(&dir, &cluster.node_name, names[..2].to_vec());
        let kept = purpose.kept();
        if let Some(pair) = &kept {
            shown.show(pair).context(failed)?;
        }
        let taken = shown.clone();
        let take = move |pair: &pki::Pair| {
            if let Err(error) = taken.show(pair) {
                tracing::error!(%error, "a renewed certificate cannot be used");
            }
        };
        tokio::spawn(purpose.renew(client.clone(), kept, take, token.clone()));
    } else {
        let subject = Subject::server(&format!("system:node:{}", cluster.node_name), "system:nodes", names);
        let pki = Pki::open_or_create(&cluster.pki_dir(), &cluster.node_name);
        let pair = pki.and_then(|p| p.issue("kubelet", &subject)).context(failed)?;
        shown.show(&pair).context(failed)?;
    }
    Ok((client, shown))
}

async fn serve_kubelet(args: &Kubelet, cluster: &Cluster, token: CancellationToken) -> Result<()> {
    let (client, shown) = certificates(args, cluster, &token).await?;
    let clients = args.client_ca_file.as_deref().map(read).transpose()?.unwrap_or_default();
    let informers = Informers::new(client.clone(), token.clone());
    let config = ironclad_kubelet::Config {
        client,
        informers,
        runtime: Arc::new(node::runtime(cluster).await?),
        node_name: cluster.node_name.clone(),
        node_ip: cluster.node_ip,
        port: cluster.kubelet_port,
        tls: pki::shown_tls(shown, &clients).context("cannot set up TLS")?,
        root_dir: cluster.kubelet_dir(),
        cluster_dns: args.cluster_dns.unwrap_or_else(|| cluster.service_ip(10)),
        cluster_domain: args.cluster_domain.clone().unwrap_or_else(|| "cluster.local".to_owned()),
        version: VERSION.to_owned(),
        manifests: cluster.manifests.clone(),
        eviction: cluster.eviction(),
    };
    std::fs::create_dir_all(&config.root_dir).context("cannot make the kubelet's directory")?;
    ironclad_kubelet::run(config, Arc::new(Notify::new()), token).await;
    Ok(())
}

pub(crate) fn proxy(mut args: Proxy) -> Result<()> {
    crate::server::log(&args.common.log);
    if let Some(file) = configured(args.config.as_ref(), component::proxy)? {
        args.connection.kubeconfig = file.kubeconfig.or(args.connection.kubeconfig.take());
        args.machine.hostname_override = args.machine.hostname_override.take().or(file.hostname);
        args.machine.cluster_cidr = file.cluster_cidr.unwrap_or(args.machine.cluster_cidr);
        let (metrics, health) = (([127, 0, 0, 1], 10249).into(), ([0, 0, 0, 0], 10256).into());
        args.metrics_bind_address = file.metrics.or(args.metrics_bind_address).or(Some(metrics));
        args.healthz_bind_address = file.health.or(args.healthz_bind_address).or(Some(health));
    }
    preflight::root()?;
    begin(&args.common.log.clone(), |token| async move {
        let Machine { name, hostname_override, cluster_cidr } = &args.machine;
        let informers = Informers::new(client(&args.connection).await?, token.clone());
        let config = ironclad_network::proxy::Config {
            cluster: name.clone(),
            node_name: node_name(hostname_override.as_ref())?,
            cluster_cidrs: vec![cluster_cidr.trunc().into()],
        };
        let (ready, written) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
        let _pages = proxy_pages(&args, &config.node_name, &written, &token).await?;
        let (first, mark) = (ready.clone(), written.clone());
        tokio::spawn(async move {
            first.notified().await;
            mark.store(true, Ordering::Release);
        });
        ironclad_network::proxy::run(informers, config, ready, token).await.context("Services are not kept any more")
    })
}

/// Health and metrics of the proxy, as far as they are asked for. It is well once Services were written.
async fn proxy_pages(
    args: &Proxy,
    node: &str,
    written: &Arc<AtomicBool>,
    token: &CancellationToken,
) -> Result<Vec<DropGuard>> {
    let config = serde_json::json!({
        "kind": "KubeProxyConfiguration", "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "mode": "nftables",
        "clientConnection": {"kubeconfig": args.connection.kubeconfig}, "hostnameOverride": node,
        "clusterCIDR": args.machine.cluster_cidr.to_string(), "metricsBindAddress": args.metrics_bind_address,
        "healthzBindAddress": args.healthz_bind_address,
    });
    let pages = |own| {
        let (config, written) = (config.clone(), written.clone());
        let healthy = Box::new(move || written.load(Ordering::Acquire));
        Pages { name: "kube-proxy", group: "kubeproxy.config.k8s.io", config, checks: &[], healthy, own }
    };
    let mut guards = Vec::new();
    if let Some(address) = args.metrics_bind_address {
        let own: serving::Own = |path, _| match path {
            "/proxyMode" => Some((StatusCode::OK, "text/plain; charset=utf-8", "nftables".to_owned())),
            _ => None,
        };
        guards.push(serving::open(address, pages(own), token).await?);
    }
    if let Some(address) = args.healthz_bind_address {
        let own: serving::Own = |path, healthy| {
            if !matches!(path, "/healthz" | "/livez") {
                return Some((StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n".to_owned()));
            }
            let now = ironclad_api::time::now();
            let body = serde_json::json!({"lastUpdated": now, "currentTime": now, "healthy": healthy});
            let code = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            Some((code, "application/json", body.to_string()))
        };
        guards.push(serving::open(address, pages(own), token).await?);
    }
    Ok(guards)
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
