//! One part alone: options named as its stock counterpart names them.
//!
//! What stock's usual manifests pass and what has no meaning here is taken too, and not shown.

use super::api::ApiFlags;
use super::{Etcd, duration, name, port_range};
use clap::{Args, builder::ArgAction};
use ipnet::Ipv4Net;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

/// What every part has.
#[derive(Args, Clone, Debug)]
pub(crate) struct Common {
    /// What to log, for example `info,ironclad_kubelet=debug`
    #[arg(long, default_value = "info,kube_runtime=error", env = "IRONCLAD_LOG")]
    pub(crate) log: String,
    #[arg(short, long, hide = true, value_name = "LEVEL")]
    v: Option<String>,
    #[arg(long, hide = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    profiling: Option<bool>,
    #[arg(long, hide = true, value_parser = ["text", "json"])]
    logging_format: Option<String>,
    #[arg(long, hide = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    contention_profiling: Option<bool>,
    #[arg(long, hide = true, value_name = "LIST")]
    vmodule: Option<String>,
}

/// Where the API server is and who the part is.
#[derive(Args, Clone, Debug)]
pub(crate) struct Connection {
    /// The kubeconfig that says where the API server is and who the part is
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    #[arg(long, hide = true, value_name = "NAME=BOOL", value_delimiter = ',')]
    pub(crate) feature_gates: Vec<String>,
    #[arg(long, hide = true, value_name = "COUNT")]
    kube_api_qps: Option<f64>,
    #[arg(long, hide = true, value_name = "COUNT")]
    kube_api_burst: Option<u32>,
    #[arg(long, hide = true, value_name = "TYPE")]
    kube_api_content_type: Option<String>,
}

/// Of several processes the one that holds a Lease works.
#[derive(Args, Clone, Debug)]
pub(crate) struct LeaderFlags {
    /// Work only while holding the Lease
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set, default_value = "true")]
    pub(crate) leader_elect: bool,
    /// So long others wait for a leader that is silent
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "15s")]
    pub(crate) leader_elect_lease_duration: Duration,
    /// So long the leader tries to renew
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10s")]
    pub(crate) leader_elect_renew_deadline: Duration,
    /// Between two tries
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "2s")]
    pub(crate) leader_elect_retry_period: Duration,
    /// The Lease's name [default: that of the stock part]
    #[arg(long, value_name = "NAME")]
    pub(crate) leader_elect_resource_name: Option<String>,
    /// The Lease's namespace
    #[arg(long, value_name = "NAMESPACE", default_value = "kube-system")]
    pub(crate) leader_elect_resource_namespace: String,
    #[arg(long, hide = true, value_parser = ["leases"])]
    leader_elect_resource_lock: Option<String>,
}

/// Health and readiness over HTTPS.
#[derive(Args, Clone, Debug)]
pub(crate) struct HealthFlags {
    /// The address of health and readiness
    #[arg(long, value_name = "IP", default_value = "0.0.0.0")]
    pub(crate) bind_address: IpAddr,
    /// Their port; 0 for none [default: that of the stock part]
    #[arg(long, value_name = "PORT")]
    pub(crate) secure_port: Option<u16>,
    /// Their certificate [default: one that the process makes]
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    pub(crate) tls_cert_file: Option<PathBuf>,
    /// The key of that certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    pub(crate) tls_private_key_file: Option<PathBuf>,
    /// The kubeconfig by which it is asked whose tokens are shown
    #[arg(long, value_name = "FILE")]
    pub(crate) authentication_kubeconfig: Option<PathBuf>,
    /// The kubeconfig by which it is asked who may read metrics and the configuration
    #[arg(long, value_name = "FILE")]
    pub(crate) authorization_kubeconfig: Option<PathBuf>,
    /// The authorities (PEM) whose certificates clients may show
    #[arg(long, value_name = "FILE")]
    pub(crate) client_ca_file: Option<PathBuf>,
    #[arg(long, hide = true, value_name = "FILE")]
    pub(crate) requestheader_client_ca_file: Option<PathBuf>,
    #[arg(long, hide = true, value_name = "NAME", value_delimiter = ',')]
    pub(crate) requestheader_allowed_names: Vec<String>,
    #[arg(long, hide = true, value_name = "NAME", value_delimiter = ',')]
    pub(crate) requestheader_username_headers: Vec<String>,
    #[arg(long, hide = true, value_name = "NAME", value_delimiter = ',')]
    pub(crate) requestheader_group_headers: Vec<String>,
    #[arg(long, hide = true, value_name = "NAME", value_delimiter = ',')]
    pub(crate) requestheader_extra_headers_prefix: Vec<String>,
}

/// `ironclad controller-manager`.
#[derive(Args)]
pub(crate) struct ControllerManager {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// The controllers to run: `*` for all, NAME for one, `-NAME` for all but one
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_value = "*", allow_hyphen_values = true)]
    pub(crate) controllers: Vec<String>,
    /// Addresses of pods, of which every node gets a part
    #[arg(long, value_name = "CIDR", default_value = "10.244.0.0/16")]
    pub(crate) cluster_cidr: Ipv4Net,
    /// The prefix length of a node's part
    #[arg(long, value_name = "BITS", default_value_t = 24, alias = "node-cidr-mask-size-ipv4")]
    pub(crate) node_cidr_mask_size: u8,
    /// The authorities (PEM) of the API server, for `kube-root-ca.crt` and tokens [default: those of the kubeconfig]
    #[arg(long, value_name = "FILE")]
    pub(crate) root_ca_file: Option<PathBuf>,
    /// The key (PEM) that signs tokens of Secrets; without it they get none
    #[arg(long, value_name = "FILE")]
    pub(crate) service_account_private_key_file: Option<PathBuf>,
    /// The authority that signs certificates; without it none are signed
    #[arg(long, value_name = "FILE", requires = "cluster_signing_key_file")]
    pub(crate) cluster_signing_cert_file: Option<PathBuf>,
    /// The key of that authority
    #[arg(long, value_name = "FILE", requires = "cluster_signing_cert_file")]
    pub(crate) cluster_signing_key_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) lasting: super::api::ControllerFlags,
    /// Give nodes their parts of the addresses of pods
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set, default_value = "true")]
    pub(crate) allocate_node_cidrs: bool,
    /// Let each controller act as the service account of its own
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set, default_value = "false")]
    pub(crate) use_service_account_credentials: bool,
    #[arg(long, hide = true, value_name = "CIDR")]
    service_cluster_ip_range: Option<String>,
    #[arg(long, hide = true, value_name = "NAME")]
    cluster_name: Option<String>,
    #[command(flatten)]
    pub(crate) leader: LeaderFlags,
    #[command(flatten)]
    pub(crate) health: HealthFlags,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// `ironclad scheduler`.
#[derive(Args)]
pub(crate) struct Scheduler {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// A KubeSchedulerConfiguration, which counts before the flags for what it says
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Schedule the pods whose `schedulerName` this is
    #[arg(long, value_name = "NAME", default_value = "default-scheduler")]
    pub(crate) scheduler_name: String,
    #[command(flatten)]
    pub(crate) leader: LeaderFlags,
    #[command(flatten)]
    pub(crate) health: HealthFlags,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// A part that belongs to a machine.
#[derive(Args, Clone, Debug)]
pub(crate) struct Machine {
    /// The cluster's name, which is part of everything that is made on this machine
    #[arg(long, default_value = "ironclad", env = "IRONCLAD_NAME", value_parser = name)]
    pub(crate) name: String,
    /// The node's name [default: the host name]
    #[arg(long, value_name = "NAME")]
    pub(crate) hostname_override: Option<String>,
    /// Addresses of pods: other senders and receivers are masqueraded
    #[arg(long, value_name = "CIDR", default_value = "10.244.0.0/16")]
    pub(crate) cluster_cidr: Ipv4Net,
}

/// `ironclad kubelet`.
#[derive(Args)]
pub(crate) struct Kubelet {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// A KubeletConfiguration; flags count before what it says
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// A kubeconfig with a bootstrap token: where the file of --kubeconfig is not there, a certificate is asked for by it
    #[arg(long, value_name = "FILE", requires = "kubeconfig")]
    pub(crate) bootstrap_kubeconfig: Option<PathBuf>,
    /// Where certificates are kept that the cluster signs [default: pki in the directory of --root-dir]
    #[arg(long, value_name = "DIR")]
    pub(crate) cert_dir: Option<PathBuf>,
    /// Renew the certificate that the kubelet shows to the API server, when it nears its end
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pub(crate) rotate_certificates: Option<bool>,
    /// Let the cluster sign the certificate of the kubelet's own API, and renew it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    pub(crate) rotate_server_certificates: Option<bool>,
    #[command(flatten)]
    pub(crate) machine: Machine,
    /// Where pods, images and containers live
    #[arg(long, visible_alias = "data-dir", value_name = "DIR", default_value = "/var/lib/ironclad-kubelet")]
    pub(crate) root_dir: PathBuf,
    /// The node's address [default: the one that the default route uses]
    #[arg(long, value_name = "IP")]
    pub(crate) node_ip: Option<Ipv4Addr>,
    /// The port of the kubelet's own API; 0 takes a free one [default: 10250]
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// Addresses of Services
    #[arg(long, value_name = "CIDR", default_value = "10.96.0.0/12")]
    pub(crate) service_cluster_ip_range: Ipv4Net,
    /// The address of the cluster's DNS [default: the tenth of Services]
    #[arg(long, value_name = "IP")]
    pub(crate) cluster_dns: Option<Ipv4Addr>,
    /// The cluster's domain [default: cluster.local]
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) cluster_domain: Option<String>,
    /// The authorities (PEM) whose certificates clients may show
    #[arg(long, value_name = "FILE")]
    pub(crate) client_ca_file: Option<PathBuf>,
    /// The certificate of the kubelet's own API [default: one that it makes]
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    pub(crate) tls_cert_file: Option<PathBuf>,
    /// The key of that certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    pub(crate) tls_private_key_file: Option<PathBuf>,
    /// Directory with the manifests of static pods
    #[arg(long, value_name = "DIR")]
    pub(crate) pod_manifest_path: Option<PathBuf>,
    /// Pods are evicted when less is left, for example memory.available<100Mi,nodefs.available<10%
    #[arg(long, value_name = "SIGNAL<QUANTITY", value_delimiter = ',', value_parser = super::eviction)]
    pub(crate) eviction_hard: Vec<String>,
    /// Where images named REGISTRY are pulled from instead: REGISTRY=URL
    #[arg(long = "registry-mirror", value_name = "REGISTRY=URL")]
    pub(crate) mirrors: Vec<String>,
    /// The port of /healthz over HTTP; 0 for none [default: none, with --config 10248]
    #[arg(long, value_name = "PORT")]
    pub(crate) healthz_port: Option<u16>,
    /// The address of /healthz [default: 127.0.0.1]
    #[arg(long, value_name = "IP")]
    pub(crate) healthz_bind_address: Option<IpAddr>,
    #[arg(long, hide = true, value_name = "ENDPOINT")]
    container_runtime_endpoint: Option<String>,
    #[arg(long, hide = true, value_name = "IMAGE")]
    pod_infra_container_image: Option<String>,
    #[arg(long, hide = true, value_name = "DRIVER")]
    cgroup_driver: Option<String>,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// `ironclad proxy`.
#[derive(Args)]
pub(crate) struct Proxy {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) machine: Machine,
    /// A KubeProxyConfiguration, which counts before the flags but for --hostname-override
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Metrics over HTTP; with --config 127.0.0.1:10249 by default
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) metrics_bind_address: Option<std::net::SocketAddr>,
    /// Health over HTTP; with --config 0.0.0.0:10256 by default
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) healthz_bind_address: Option<std::net::SocketAddr>,
    #[arg(long, hide = true, value_parser = ["nftables"])]
    proxy_mode: Option<String>,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// `ironclad dns`.
#[derive(Args)]
pub(crate) struct Dns {
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// The node's name [default: the host name]
    #[arg(long, value_name = "NAME")]
    pub(crate) hostname_override: Option<String>,
    /// Where to answer; pods must reach it [default: the address that the default route uses]
    #[arg(long, value_name = "IP")]
    pub(crate) bind_address: Option<Ipv4Addr>,
    /// The port; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) port: u16,
    /// Metrics, health and readiness over HTTP
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) metrics_bind_address: Option<std::net::SocketAddr>,
    /// The address of the `kube-dns` Service
    #[arg(long, value_name = "IP", default_value = "10.96.0.10")]
    pub(crate) cluster_dns: Ipv4Addr,
    /// The cluster's domain
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    pub(crate) cluster_domain: String,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// `ironclad apiserver`.
#[derive(Args)]
pub(crate) struct ApiServer {
    /// Where certificates are made that are not given, and where objects are kept without an etcd
    #[arg(long, visible_alias = "cert-dir", value_name = "DIR", default_value = "/var/lib/ironclad-apiserver")]
    pub(crate) data_dir: PathBuf,
    /// The address on which the API is served
    #[arg(long, value_name = "IP", default_value = "0.0.0.0")]
    pub(crate) bind_address: IpAddr,
    /// The port of the API; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 6443)]
    pub(crate) secure_port: u16,
    /// The address under which pods reach the API [default: the one that the default route uses]
    #[arg(long, value_name = "IP")]
    pub(crate) advertise_address: Option<Ipv4Addr>,
    /// Addresses of Services
    #[arg(long, value_name = "CIDR", default_value = "10.96.0.0/12")]
    pub(crate) service_cluster_ip_range: Ipv4Net,
    /// Ports of Services on nodes
    #[arg(long, value_name = "FIRST-LAST", value_parser = port_range, default_value = "30000-32767")]
    pub(crate) service_node_port_range: (u16, u16),
    #[command(flatten)]
    pub(crate) certificates: ServerCertificates,
    #[command(flatten)]
    pub(crate) etcd: Etcd,
    #[command(flatten)]
    pub(crate) api: ApiFlags,
    #[command(flatten)]
    pub(crate) stock: StockFlags,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// The certificates of the API server; each that is not given it makes for itself.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ServerCertificates {
    /// The server's certificate
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    pub(crate) tls_cert_file: Option<PathBuf>,
    /// The key of that certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    pub(crate) tls_private_key_file: Option<PathBuf>,
    /// The certificate to show to kubelets
    #[arg(long, value_name = "FILE", requires = "kubelet_client_key")]
    pub(crate) kubelet_client_certificate: Option<PathBuf>,
    /// The key of that certificate
    #[arg(long, value_name = "FILE", requires = "kubelet_client_certificate")]
    pub(crate) kubelet_client_key: Option<PathBuf>,
    /// The authorities (PEM) of kubelets; without them kubelets are not checked, as stock does
    #[arg(long, value_name = "FILE")]
    pub(crate) kubelet_certificate_authority: Option<PathBuf>,
    /// The certificate to show to aggregated API servers
    #[arg(long, value_name = "FILE", requires = "proxy_client_key_file")]
    pub(crate) proxy_client_cert_file: Option<PathBuf>,
    /// The key of that certificate
    #[arg(long, value_name = "FILE", requires = "proxy_client_cert_file")]
    pub(crate) proxy_client_key_file: Option<PathBuf>,
}

/// What stock's manifests pass and what is so here anyway.
#[derive(Args, Clone, Debug)]
pub(crate) struct StockFlags {
    #[arg(long, hide = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    allow_privileged: Option<bool>,
    /// Serve the files below /var/log under /logs
    #[arg(long, hide = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    enable_logs_handler: Option<bool>,
    // Requests of aggregated servers go to endpoints always.
    #[arg(long, hide = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", action = ArgAction::Set)]
    enable_aggregator_routing: Option<bool>,
    #[arg(long, hide = true, value_delimiter = ',')]
    kubelet_preferred_address_types: Vec<String>,
    #[arg(long, hide = true, value_parser = ["etcd3"])]
    storage_backend: Option<String>,
    // Metrics count what is there when they are read.
    #[arg(long, hide = true, value_parser = duration)]
    etcd_count_metric_poll_period: Option<Duration>,
    #[arg(long, hide = true, value_parser = duration)]
    etcd_db_metric_poll_interval: Option<Duration>,
    #[arg(long, hide = true, value_parser = ["lease"])]
    endpoint_reconciler_type: Option<String>,
    #[arg(long, hide = true)]
    storage_media_type: Option<String>,
}
