//! A cluster on this machine: its layout, kept in its data directory, and the paths in it.
//!
//! Invariant: what was chosen at the first start stays, unless it is given again; pods and clients rely on it.

use crate::cli::{self, Layout, Which};
use crate::failure::{Context, Failure, Id, Result};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The newest layout of the data directory that this program understands.
const FORMAT: u32 = 1;

/// Everything about a cluster that outlives its process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cluster {
    /// Version of the data directory's layout.
    pub(crate) format: u32,
    pub(crate) name: String,
    pub(crate) bind_address: IpAddr,
    pub(crate) node_ip: Ipv4Addr,
    pub(crate) node_name: String,
    pub(crate) api_port: u16,
    pub(crate) kubelet_port: u16,
    pub(crate) dns_port: u16,
    pub(crate) pod_cidr: Ipv4Net,
    pub(crate) service_cidr: Ipv4Net,
    pub(crate) node_ports: (u16, u16),
    /// Registry and the URL it is pulled from instead.
    pub(crate) mirrors: Vec<(String, String)>,
    /// The etcd that holds the objects; the data directory does where there is none.
    #[serde(default)]
    pub(crate) etcd: Option<Etcd>,
    /// Directory with the manifests of static pods.
    #[serde(default)]
    pub(crate) manifests: Option<PathBuf>,
    /// When pods are evicted, if that was given.
    #[serde(default)]
    pub(crate) eviction: Vec<String>,
    /// Flags of the API server and of controllers that were given, by their long names.
    #[serde(default)]
    pub(crate) flags: cli::Flags,
    /// The kubeconfig file that `up` wrote or merged into, so that it can be cleaned.
    pub(crate) kubeconfig: Option<PathBuf>,
    #[serde(skip)]
    pub(crate) dir: PathBuf,
}

/// An etcd that holds a cluster's objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Etcd {
    pub(crate) servers: Vec<String>,
    pub(crate) ca: Option<PathBuf>,
    /// Certificate and key.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
    pub(crate) prefix: String,
    pub(crate) compaction: Duration,
}

impl Default for Etcd {
    fn default() -> Self {
        let prefix = "/registry".to_owned();
        Self { servers: Vec::new(), ca: None, identity: None, prefix, compaction: Duration::from_mins(5) }
    }
}

impl Cluster {
    /// The cluster in a data directory; `None` where there is none.
    pub(crate) fn load(dir: &Path) -> Result<Option<Self>> {
        let path = dir.join("cluster.json");
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(unusable(&path, &e)),
        };
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let damaged = |e: serde_json::Error| {
            let help = "Restore it from a copy, or start anew with another --data-dir.";
            Failure::new(Id::DataDirDamaged, format!("cannot read {}: {e}", path.display()), help)
        };
        let head: Head = serde_json::from_slice(&text).map_err(damaged)?;
        if head.format > FORMAT {
            let cause = format!(
                "{} was written by a newer ironclad (format {}, this one reads up to {FORMAT})",
                dir.display(),
                head.format
            );
            return Err(Failure::new(Id::DataDirNewer, cause, "Use the newer ironclad, or another --data-dir."));
        }
        let mut cluster: Self = serde_json::from_slice(&text).map_err(damaged)?;
        cluster.dir = dir.to_owned();
        Ok(Some(cluster))
    }

    /// The cluster as it is known, with what is given now, or a new one. Nothing is written.
    pub(crate) fn plan(which: &Which, layout: &Layout) -> Result<Self> {
        let cluster = Self::plan_any(which, layout)?;
        cluster.check()?;
        Ok(cluster)
    }

    /// The same where nothing is known of pods' addresses.
    pub(crate) fn plan_any(which: &Which, layout: &Layout) -> Result<Self> {
        let known = Self::load(&which.data_dir)?;
        if let Some(known) = known.as_ref().filter(|k| k.name != which.name) {
            let cause = format!("{} belongs to the cluster {:?}", which.data_dir.display(), known.name);
            return Err(Failure::new(
                Id::DataDirInUse,
                cause,
                format!("Say --name {}, or another --data-dir.", known.name),
            ));
        }
        let mut cluster = match known {
            Some(known) => known,
            None => Self::new(which)?,
        };
        cluster.apply(layout)?;
        Ok(cluster)
    }

    fn new(which: &Which) -> Result<Self> {
        Ok(Self {
            format: FORMAT,
            name: which.name.clone(),
            bind_address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            node_ip: default_address(),
            node_name: host_name()?,
            api_port: 6443,
            kubelet_port: 10250,
            dns_port: 0,
            pod_cidr: Ipv4Net::new_assert(Ipv4Addr::new(10, 244, 0, 0), 16),
            service_cidr: Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 12),
            node_ports: (30_000, 32_767),
            mirrors: Vec::new(),
            etcd: None,
            manifests: None,
            eviction: Vec::new(),
            flags: cli::Flags::new(),
            kubeconfig: None,
            dir: which.data_dir.clone(),
        })
    }

    fn apply(&mut self, layout: &Layout) -> Result<()> {
        fn set<T: Clone>(slot: &mut T, given: Option<&T>) {
            if let Some(given) = given {
                *slot = given.clone();
            }
        }
        let first_pods = self.pod_cidr;
        set(&mut self.bind_address, layout.bind_address.as_ref());
        set(&mut self.node_ip, layout.node_ip.as_ref());
        set(&mut self.node_name, layout.node_name.as_ref());
        set(&mut self.api_port, layout.api_port.as_ref());
        set(&mut self.kubelet_port, layout.kubelet_port.as_ref());
        set(&mut self.dns_port, layout.dns_port.as_ref());
        set(&mut self.pod_cidr, layout.pod_cidr.as_ref());
        set(&mut self.service_cidr, layout.service_cidr.as_ref());
        set(&mut self.node_ports, layout.node_ports.as_ref());
        if let Some(manifests) = &layout.manifests {
            self.manifests = Some(std::path::absolute(manifests).context("cannot use --pod-manifest-path")?);
        }
        if !layout.eviction_hard.is_empty() {
            self.eviction.clone_from(&layout.eviction_hard);
        }
        if !layout.mirrors.is_empty() {
            let pair = |m: &String| m.split_once('=').map(|(a, b)| (a.to_owned(), b.to_owned()));
            self.mirrors = layout
                .mirrors
                .iter()
                .map(pair)
                .collect::<Option<_>>()
                .ok_or_else(|| Failure::new(Id::BadNetwork, "--registry-mirror must be REGISTRY=URL", ""))?;
        }
        self.apply_etcd(&layout.etcd)?;
        self.pod_cidr = self.pod_cidr.trunc();
        self.service_cidr = self.service_cidr.trunc();
        if self.dir.join("store").exists() && self.pod_cidr != first_pods {
            let cause = format!("the cluster's pods live in {first_pods}; {} cannot replace it", self.pod_cidr);
            return Err(Failure::new(Id::BadNetwork, cause, "Leave --pod-cidr out, or use another --data-dir."));
        }
        Ok(())
    }

    fn apply_etcd(&mut self, flags: &cli::Etcd) -> Result<()> {
        if flags.servers.is_empty() && self.etcd.is_none() {
            return Ok(());
        }
        if self.etcd.is_none() && self.dir.join("store").exists() {
            let cause = format!("the cluster's objects lie in {}", self.dir.display());
            return Err(Failure::new(Id::Etcd, cause, "Leave --etcd-servers out, or use another --data-dir."));
        }
        let etcd = self.etcd.get_or_insert_default();
        if !flags.servers.is_empty() {
            etcd.servers.clone_from(&flags.servers);
        }
        // Relative paths mean what they meant where they were given.
        let whole = |path: &PathBuf| std::path::absolute(path).context("cannot find the working directory");
        if let Some(ca) = &flags.ca {
            etcd.ca = Some(whole(ca)?);
        }
        if let (Some(certificate), Some(key)) = (&flags.certificate, &flags.key) {
            etcd.identity = Some((whole(certificate)?, whole(key)?));
        }
        if let Some(prefix) = &flags.prefix {
            etcd.prefix = format!("/{}", prefix.trim_matches('/'));
        }
        if let Some(interval) = flags.compaction {
            etcd.compaction = interval;
        }
        Ok(())
    }

    /// When pods are evicted: what is given replaces all that is usual, as for stock's kubelet.
    pub(crate) fn eviction(&self) -> Vec<ironclad_kubelet::Threshold> {
        if self.eviction.is_empty() {
            return ironclad_kubelet::default_eviction();
        }
        // They were checked when they were given.
        self.eviction.iter().filter_map(|t| t.parse().ok()).collect()
    }

    fn check(&self) -> Result<()> {
        let bad =
            |cause: String| Err(Failure::new(Id::BadNetwork, cause, "Choose other --pod-cidr and --service-cidr."));
        let (pods, services) = (self.pod_cidr, self.service_cidr);
        if pods.contains(&services) || services.contains(&pods) {
            return bad(format!("the pod CIDR {pods} and the service CIDR {services} overlap"));
        }
        if pods.prefix_len() > 26 || services.prefix_len() > 28 || services.prefix_len() < 8 {
            return bad(format!(
                "the pod CIDR {pods} (at most /26) or the service CIDR {services} (/8 to /28) is too small or too large"
            ));
        }
        Ok(())
    }

    /// Keeps the cluster in its data directory, durably and at once.
    pub(crate) fn save(&self) -> Result<()> {
        let fail = |e: std::io::Error| unusable(&self.dir, &e);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir).map_err(fail)?;
        let (path, fresh) = (self.dir.join("cluster.json"), self.dir.join("cluster.json.new"));
        let text = serde_json::to_vec_pretty(self).context("cannot encode the cluster's layout")?;
        let options = || std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh);
        let write = || -> std::io::Result<()> {
            let mut file = options()?;
            file.write_all(&text)?;
            file.sync_all()?;
            std::fs::rename(&fresh, &path)?;
            std::fs::File::open(&self.dir)?.sync_all()
        };
        write().map_err(fail)
    }

    /// The address of the API on this machine.
    pub(crate) fn api_url(&self) -> String {
        let ip = if self.bind_address.is_unspecified() { IpAddr::V4(self.node_ip) } else { self.bind_address };
        format!("https://{}", std::net::SocketAddr::new(ip, self.api_port))
    }

    /// The Service address at `offset` from the beginning of the service CIDR.
    pub(crate) fn service_ip(&self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.service_cidr.network()) + offset)
    }

    pub(crate) fn store_dir(&self) -> PathBuf {
        self.dir.join("store")
    }

    pub(crate) fn pki_dir(&self) -> PathBuf {
        self.dir.join("pki")
    }

    /// The key that seals Secrets where no other configuration is given.
    pub(crate) fn encryption_file(&self) -> PathBuf {
        self.pki_dir().join("encryption.yaml")
    }

    /// Volatile state: sockets, pinned namespaces, container bundles.
    pub(crate) fn run_dir(&self) -> PathBuf {
        PathBuf::from("/run/ironclad").join(&self.name)
    }

    pub(crate) fn kubelet_dir(&self) -> PathBuf {
        self.dir.join("kubelet")
    }

    pub(crate) fn log_file(&self) -> PathBuf {
        self.dir.join("ironclad.log")
    }

    pub(crate) fn pid_file(&self) -> PathBuf {
        self.dir.join("ironclad.pid")
    }

    /// The kubeconfig of the cluster's administrator, which the server keeps.
    pub(crate) fn admin_kubeconfig(&self) -> PathBuf {
        self.dir.join("admin.kubeconfig")
    }
}

fn unusable(path: &Path, e: &std::io::Error) -> Failure {
    let help = "Give a directory on a local disk that root can write, with --data-dir.";
    Failure::new(Id::DataDirUnusable, format!("cannot use {}: {e}", path.display()), help)
}

/// The address that packets to the outside leave from; loopback on a machine without a default route.
pub(crate) fn default_address() -> Ipv4Addr {
    // Connecting a datagram socket sends nothing; it only asks the routing table.
    let ask = || -> std::io::Result<IpAddr> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        Ok(socket.local_addr()?.ip())
    };
    match ask() {
        Ok(IpAddr::V4(ip)) => ip,
        _ => Ipv4Addr::LOCALHOST,
    }
}

pub(crate) fn host_name() -> Result<String> {
    let name = nix::unistd::gethostname().context("cannot read the host name")?;
    let name = name.to_string_lossy().to_lowercase();
    match ironclad_api::names::dns1123_subdomain(&name).is_empty() {
        true => Ok(name),
        false => {
            let cause = format!("the host name {name:?} is no name for a node");
            Err(Failure::new(Id::BadNetwork, cause, "Give one with --node-name."))
        }
    }
}
