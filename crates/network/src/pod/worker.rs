//! The thread that attaches and detaches pods, in the host's network namespace.

use super::addresses::{HostPort, Lease, Leases};
use super::link::{Links, sysctl};
use super::{Config, rules};
use crate::nft::{self, Batch};
use crate::{Error, Result};
use ipnet::IpNet;
use ironclad_cri::{Attachment, PortMapping};
use std::fs::File;
use std::path::Path;

/// What links of a cluster begin with: the kernel allows 15 characters for the whole name.
fn link_prefix(cluster: &str) -> String {
    format!("ic{:04x}", hash(cluster) & 0xffff)
}

/// The host's end of a sandbox's veth.
fn link_name(cluster: &str, sandbox: &str) -> String {
    format!("{}{:09x}", link_prefix(cluster), hash(sandbox) & 0xf_ffff_ffff)
}

/// FNV-1a: the same in every process and version, because names outlive a process.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

pub(super) struct Worker {
    config: Config,
    links: Links,
    nft: nft::Socket,
    leases: Leases,
    cidrs: Vec<IpNet>,
    mtu: u32,
}

impl Worker {
    pub(super) fn open(config: Config) -> Result<Self> {
        let mut links = Links::open()?;
        links.prove_veth(&link_name(&config.cluster, "proof"))?;
        let nft = nft::Socket::open()?;
        let leases = Leases::open(config.directory.clone())?;
        let mtu = match config.mtu {
            Some(mtu) => mtu,
            None => links.uplink_mtu()?,
        };
        let cidrs = read_cidrs(&config.directory);
        let mut worker = Self { config, links, nft, leases, cidrs, mtu };
        worker.install()?;
        Ok(worker)
    }

    fn install(&mut self) -> Result<()> {
        sysctl("net/ipv4/ip_forward", "1")?;
        if self.cidrs.iter().any(|c| c.addr().is_ipv6()) {
            sysctl("net/ipv6/conf/all/forwarding", "1")?;
        }
        let leases = self.leases.all().values();
        let batch = rules::whole(&self.config.cluster, &self.cidrs, &self.config.cluster_cidrs, leases);
        self.nft.apply(batch)
    }

    pub(super) fn ready(&mut self) -> Result<()> {
        if self.cidrs.is_empty() { Err(Error::NoCidr) } else { Ok(()) }
    }

    pub(super) fn set_pod_cidrs(&mut self, cidrs: Vec<IpNet>) -> Result<()> {
        if cidrs == self.cidrs {
            return Ok(());
        }
        let lines: Vec<String> = cidrs.iter().map(ToString::to_string).collect();
        let path = self.config.directory.join("pod-cidrs");
        std::fs::write(&path, lines.join("\n")).map_err(|source| Error::State { path, source })?;
        self.cidrs = cidrs;
        self.install()
    }

    pub(super) fn attach(&mut self, attachment: &Attachment, netns: &Path) -> Result<Vec<String>> {
        let id = &attachment.sandbox_id;
        let namespace = File::open(netns).map_err(|source| Error::State { path: netns.to_owned(), source })?;
        let name = link_name(&self.config.cluster, id);
        let (lease, fresh) = match self.leases.get(id) {
            Some(lease) => (lease.clone(), false),
            None => {
                self.ready()?;
                let ports = attachment.port_mappings.iter().map(host_port).collect::<Result<Vec<_>>>()?;
                let pod = format!("{}/{}", attachment.namespace, attachment.name);
                (self.leases.take(id, &pod, ports, &self.cidrs)?, true)
            }
        };
        let done = self.connect(&name, &namespace, &lease, fresh);
        if done.is_err() && fresh {
            // The first error tells the cause; what was done so far is undone as far as it goes.
            let _ = self.links.delete(&name);
            let _ = self.leases.free(id);
        }
        done?;
        Ok(lease.addresses.iter().map(ToString::to_string).collect())
    }

    fn connect(&mut self, name: &str, namespace: &File, lease: &Lease, fresh: bool) -> Result<()> {
        let mut inside = Links::open_in(namespace)?;
        let exists = self.links.find(name)?.is_some();
        if !(exists && inside.find("eth0")?.is_some()) {
            if exists {
                self.links.delete(name)?;
            }
            let primary = *lease.addresses.first().ok_or(Error::NoCidr)?;
            self.links.add_veth(name, namespace, self.mtu, primary)?;
        }
        self.links.configure_host(name, &lease.addresses)?;
        inside.configure_pod(&lease.addresses)?;
        // Host ports on 127.0.0.1 come back over this link; the table's guard keeps others from using it.
        sysctl(&format!("net/ipv4/conf/{name}/route_localnet"), "1")?;
        if fresh {
            let mut batch = Batch::new(&rules::table(&self.config.cluster));
            rules::add(&mut batch, lease);
            self.nft.apply(batch)?;
        }
        Ok(())
    }

    pub(super) fn detach(&mut self, id: &str) -> Result<()> {
        self.links.delete(&link_name(&self.config.cluster, id))?;
        let Some(lease) = self.leases.get(id).cloned() else { return Ok(()) };
        let mut batch = Batch::new(&rules::table(&self.config.cluster));
        rules::remove(&mut batch, &lease);
        match self.nft.apply(batch) {
            // Somebody removed the table or its elements: what follows puts all of it back.
            Err(Error::Kernel { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                self.leases.free(id)?;
                self.install()
            }
            other => other.and_then(|()| self.leases.free(id)),
        }
    }

    pub(super) fn retain(&mut self, ids: &[String]) -> Result<()> {
        let gone: Vec<String> = self.leases.all().keys().filter(|id| !ids.contains(id)).cloned().collect();
        for id in gone {
            self.detach(&id)?;
        }
        let prefix = link_prefix(&self.config.cluster);
        let known: Vec<String> = ids.iter().map(|id| link_name(&self.config.cluster, id)).collect();
        for link in self.links.list()? {
            if link.name.starts_with(&prefix) && !known.contains(&link.name) {
                self.links.delete(&link.name)?;
            }
        }
        Ok(())
    }
}

fn read_cidrs(directory: &Path) -> Vec<IpNet> {
    let text = std::fs::read_to_string(directory.join("pod-cidrs")).unwrap_or_default();
    text.lines().filter_map(|l| l.parse().ok()).collect()
}

fn host_port(mapping: &PortMapping) -> Result<HostPort> {
    let protocol = protocol_number(&mapping.protocol)?;
    let host_ip = match mapping.host_ip.as_str() {
        "" | "0.0.0.0" | "::" => None,
        ip => Some(ip.parse().map_err(|_| Error::Invalid { what: "host IP", value: ip.to_owned() })?),
    };
    Ok(HostPort { protocol, host_ip, host_port: mapping.host_port, pod_port: mapping.container_port })
}

/// The number of `TCP`, `UDP` or `SCTP`.
pub(crate) fn protocol_number(name: &str) -> Result<u8> {
    match name {
        "" | "TCP" => Ok(libc::IPPROTO_TCP as u8),
        "UDP" => Ok(libc::IPPROTO_UDP as u8),
        "SCTP" => Ok(libc::IPPROTO_SCTP as u8),
        other => Err(Error::Invalid { what: "protocol", value: other.to_owned() }),
    }
}

/// Removes everything of a cluster from the kernel and the disk: links, their routes, tables, leases.
pub fn purge(cluster: &str, directory: &Path) -> Result<()> {
    let mut links = Links::open()?;
    let prefix = link_prefix(cluster);
    for link in links.list()? {
        if link.name.len() == 15 && link.name.starts_with(&prefix) {
            links.delete(&link.name)?;
        }
    }
    let mut nft = nft::Socket::open()?;
    nft.delete_table(&rules::table(cluster))?;
    nft.delete_table(&crate::proxy::table(cluster))?;
    match std::fs::remove_dir_all(directory) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::State { path: directory.to_owned(), source })
        }
        _ => Ok(()),
    }
}
