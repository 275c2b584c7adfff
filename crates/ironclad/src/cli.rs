//! The command line.

pub(crate) mod api;
pub(crate) mod parts;

use crate::failure::Result;
use crate::{down, encryption, image, parts as run, server, status, up};
use clap::{Args, Parser, Subcommand};
use ipnet::Ipv4Net;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

/// Flags with their values, by their long names.
pub(crate) type Flags = BTreeMap<String, Vec<String>>;

/// Kubernetes in one binary.
#[derive(Parser)]
#[command(name = "ironclad", version, about, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a cluster on this machine and leave it running in the background
    Up(Up),
    /// Stop the cluster and its containers
    Down(Down),
    /// Run the cluster in the foreground, for a service manager
    Server(Server),
    /// Show the cluster's parts, versions, addresses and health
    Status(Status),
    /// Change the key that seals Secrets on the disk
    #[command(subcommand)]
    Encryption(Encryption),
    /// Bring in, list and remove images
    #[command(subcommand)]
    Image(Image),
    /// The API server alone, in the place of kube-apiserver
    Apiserver(Box<parts::ApiServer>),
    /// The controllers alone, in the place of kube-controller-manager
    ControllerManager(parts::ControllerManager),
    /// The scheduler alone, in the place of kube-scheduler
    Scheduler(parts::Scheduler),
    /// The node agent with its container runtime, in the place of kubelet
    Kubelet(parts::Kubelet),
    /// Services on this node alone, in the place of kube-proxy
    Proxy(parts::Proxy),
    /// The cluster's DNS alone
    Dns(parts::Dns),
}

/// Which cluster: several can live on one machine.
#[derive(Args, Clone, Debug)]
pub(crate) struct Which {
    /// The cluster's name; the name of its kubeconfig context and of everything it makes
    #[arg(long, default_value = "ironclad", env = "IRONCLAD_NAME", value_parser = name)]
    pub(crate) name: String,
    /// Where the cluster's state lives
    #[arg(long, default_value = "/var/lib/ironclad", env = "IRONCLAD_DATA_DIR")]
    pub(crate) data_dir: PathBuf,
}

/// How the cluster is laid out. What is not given is kept from the last start, or chosen at the first.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Layout {
    /// The address on which the API is served [default: all]
    #[arg(long)]
    pub(crate) bind_address: Option<IpAddr>,
    /// The node's address [default: the one that the default route uses]
    #[arg(long)]
    pub(crate) node_ip: Option<Ipv4Addr>,
    /// The node's name [default: the host name]
    #[arg(long)]
    pub(crate) node_name: Option<String>,
    /// Port of the API server; 0 takes a free one [default: 6443]
    #[arg(long)]
    pub(crate) api_port: Option<u16>,
    /// Port of the kubelet; 0 takes a free one [default: 10250]
    #[arg(long)]
    pub(crate) kubelet_port: Option<u16>,
    /// Port of the DNS server; 0 takes a free one [default: a free one]
    #[arg(long)]
    pub(crate) dns_port: Option<u16>,
    /// Addresses of pods [default: 10.244.0.0/16]
    #[arg(long)]
    pub(crate) pod_cidr: Option<Ipv4Net>,
    /// Addresses of Services [default: 10.96.0.0/12]
    #[arg(long)]
    pub(crate) service_cidr: Option<Ipv4Net>,
    /// Ports of Services on the node [default: 30000-32767]
    #[arg(long, value_parser = port_range)]
    pub(crate) node_ports: Option<(u16, u16)>,
    /// Where images named REGISTRY are pulled from instead: REGISTRY=URL
    #[arg(long = "registry-mirror", value_name = "REGISTRY=URL")]
    pub(crate) mirrors: Vec<String>,
    /// Directory with the manifests of static pods
    #[arg(long = "pod-manifest-path", value_name = "DIR")]
    pub(crate) manifests: Option<PathBuf>,
    /// Pods are evicted when less is left, for example memory.available<100Mi,nodefs.available<10%
    #[arg(long, value_name = "SIGNAL<QUANTITY", value_delimiter = ',', value_parser = eviction)]
    pub(crate) eviction_hard: Vec<String>,
    #[command(flatten)]
    pub(crate) etcd: Etcd,
}

/// Where objects are kept instead of the data directory; the flags are those of kube-apiserver.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Etcd {
    /// Keep objects in this etcd: SCHEME://ADDRESS:PORT, more than one with commas between them
    #[arg(long = "etcd-servers", value_name = "URL", value_delimiter = ',')]
    pub(crate) servers: Vec<String>,
    /// The authorities that the certificates of etcd's members come from
    #[arg(long = "etcd-cafile", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// The certificate to show to etcd
    #[arg(long = "etcd-certfile", value_name = "FILE", requires = "key")]
    pub(crate) certificate: Option<PathBuf>,
    /// The key of that certificate
    #[arg(long = "etcd-keyfile", value_name = "FILE", requires = "certificate")]
    pub(crate) key: Option<PathBuf>,
    /// With what all keys in etcd begin [default: /registry]
    #[arg(long = "etcd-prefix", value_name = "PATH")]
    pub(crate) prefix: Option<String>,
    /// How often etcd's history is compacted; 0 leaves that to others [default: 5m]
    #[arg(long = "etcd-compaction-interval", value_name = "DURATION", value_parser = duration)]
    pub(crate) compaction: Option<std::time::Duration>,
}

#[derive(Args)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) which: Which,
    #[command(flatten)]
    pub(crate) layout: Layout,
    #[command(flatten)]
    /// Handed on to the server as they were given.
    pub(crate) api: api::ApiFlags,
    #[command(flatten)]
    pub(crate) controllers: api::ControllerFlags,
    /// Start without this flag of an earlier start, or without any (`all`)
    #[arg(long, value_name = "FLAG", value_delimiter = ',', value_parser = crate::kept::name)]
    pub(crate) forget: Vec<String>,
    /// What was given of the flags that last.
    #[arg(skip)]
    pub(crate) given: Flags,
    /// Write the kubeconfig to this file instead of merging it into the user's
    #[arg(long)]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// How many seconds to wait until the cluster is ready
    #[arg(long, default_value_t = 120)]
    pub(crate) timeout: u64,
}

#[derive(Args)]
pub(crate) struct Down {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Leave nothing behind: remove the cluster's state as well
    #[arg(long)]
    pub(crate) purge: bool,
}

#[derive(Args)]
pub(crate) struct Server {
    #[command(flatten)]
    pub(crate) which: Which,
    #[command(flatten)]
    pub(crate) layout: Layout,
    #[command(flatten)]
    pub(crate) api: api::ApiFlags,
    #[command(flatten)]
    pub(crate) controllers: api::ControllerFlags,
    /// Start without this flag of an earlier start, or without any (`all`)
    #[arg(long, value_name = "FLAG", value_delimiter = ',', value_parser = crate::kept::name)]
    pub(crate) forget: Vec<String>,
    /// What is kept for later starts.
    #[arg(skip)]
    pub(crate) kept: Flags,
    /// What to log, for example `info,ironclad_kubelet=debug`
    #[arg(long, default_value = "info,kube_runtime=error", env = "IRONCLAD_LOG")]
    pub(crate) log: String,
    /// Tell the steps of the start through this file descriptor
    #[arg(long, hide = true)]
    pub(crate) steps_fd: Option<i32>,
}

#[derive(Args)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) which: Which,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Subcommand)]
pub(crate) enum Encryption {
    /// Make a new key and seal everything with it; older keys go on opening
    Rotate {
        #[command(flatten)]
        which: Which,
    },
    /// Forget all keys but the newest, once everything is sealed with it
    Prune {
        #[command(flatten)]
        which: Which,
    },
}

#[derive(Subcommand)]
pub(crate) enum Image {
    /// Bring in images from OCI layout or docker-archive files; `-` reads standard input
    Import {
        #[command(flatten)]
        which: Which,
        /// The tar files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// List the images on this machine
    #[command(alias = "ls")]
    List {
        #[command(flatten)]
        which: Which,
    },
    /// Remove images
    Rm {
        #[command(flatten)]
        which: Which,
        /// Their names or ids
        #[arg(required = true)]
        images: Vec<String>,
    },
}

impl Cli {
    /// Notes the flags that last: of a server what is kept for later starts, of `up` what was given.
    pub(crate) fn keep(&mut self, flags: Flags) {
        match &mut self.command {
            Command::Server(server) => server.kept = flags,
            Command::Up(up) => up.given = flags,
            _ => {}
        }
    }

    pub(crate) fn run(self) -> Result<()> {
        match self.command {
            Command::Up(args) => up::run(args),
            Command::Down(args) => down::run(args),
            Command::Server(args) => server::run(args),
            Command::Status(args) => status::run(args),
            Command::Encryption(args) => encryption::run(&args),
            Command::Image(args) => image::run(args),
            Command::Apiserver(args) => run::apiserver(*args),
            Command::ControllerManager(args) => run::controller_manager(args),
            Command::Scheduler(args) => run::scheduler(args),
            Command::Kubelet(args) => run::kubelet(args),
            Command::Proxy(args) => run::proxy(args),
            Command::Dns(args) => run::dns(args),
        }
    }
}

/// A cluster's name becomes part of cgroup, link and table names: a DNS label of at most 32 bytes.
fn name(text: &str) -> std::result::Result<String, String> {
    if text.len() > 32 {
        return Err("must be no more than 32 bytes".to_owned());
    }
    match ironclad_api::names::dns1123_label(text).into_iter().next() {
        Some(why) => Err(why),
        None => Ok(text.to_owned()),
    }
}

/// A duration as Go writes it: `5m0s`, `90s`, `1h30m`, `0`.
fn duration(text: &str) -> std::result::Result<std::time::Duration, String> {
    let bad = || format!("{text:?} is no duration, for example 5m or 90s");
    let (mut rest, mut millis) = (text, 0u64);
    while !rest.is_empty() && rest != "0" {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: u64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
        let (unit, factor) = units.into_iter().find(|(unit, _)| rest.starts_with(unit)).ok_or_else(bad)?;
        rest = &rest[unit.len()..];
        millis = number.checked_mul(factor).and_then(|n| millis.checked_add(n)).ok_or_else(bad)?;
    }
    if text.is_empty() { Err(bad()) } else { Ok(std::time::Duration::from_millis(millis)) }
}

/// A threshold of eviction, checked and kept as it was written.
fn eviction(text: &str) -> std::result::Result<String, String> {
    text.parse::<ironclad_kubelet::Threshold>().map(|_| text.to_owned())
}

fn port_range(text: &str) -> std::result::Result<(u16, u16), String> {
    let range = text.split_once('-').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
    range.filter(|(a, b)| *a > 0 && a <= b).ok_or_else(|| "must be FIRST-LAST, for example 30000-32767".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn bad_names_and_ranges_are_refused() {
        assert!(name("ironclad-2").is_ok());
        for bad in ["", "A", "a/b", "-a", &"a".repeat(33)] {
            assert!(name(bad).is_err(), "{bad}");
        }
        for (text, seconds) in
            [("5m", Some(300)), ("1h0m30s", Some(3630)), ("0", Some(0)), ("5", None), ("", None), ("m", None)]
        {
            assert_eq!(duration(text).ok().map(|d| d.as_secs()), seconds, "{text}");
        }
        assert_eq!(port_range("30000-32767"), Ok((30000, 32767)));
        for bad in ["", "1", "5-4", "0-4", "a-b", "1-70000"] {
            assert!(port_range(bad).is_err(), "{bad}");
        }
    }
}
