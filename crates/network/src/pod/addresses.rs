//! Address leases of a node: one small file per sandbox.
//!
//! Invariants: an address is on disk before it is used and leaves the disk after it is free; the next address is the
//! one after the last given, so that an address is not used again soon.

use crate::{Error, Result};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;

/// A host port of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HostPort {
    pub(super) protocol: u8,
    pub(super) host_ip: Option<IpAddr>,
    pub(super) host_port: u16,
    pub(super) pod_port: u16,
}

/// What a sandbox holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lease {
    pub(super) pod: String,
    pub(super) addresses: Vec<IpAddr>,
    #[serde(default)]
    pub(super) ports: Vec<HostPort>,
}

/// All leases of the node.
pub(super) struct Leases {
    directory: PathBuf,
    held: BTreeMap<String, Lease>,
    taken: HashSet<IpAddr>,
    last: Vec<IpAddr>,
}

impl Leases {
    /// Reads what a former process left.
    pub(super) fn open(directory: PathBuf) -> Result<Self> {
        let failed = |path: &std::path::Path| {
            let path = path.to_owned();
            move |source| Error::State { path, source }
        };
        std::fs::create_dir_all(directory.join("leases")).map_err(failed(&directory))?;
        let mut leases = Self { held: BTreeMap::new(), taken: HashSet::new(), last: Vec::new(), directory };
        for entry in std::fs::read_dir(leases.directory.join("leases")).map_err(failed(&leases.directory))? {
            let path = entry.map_err(failed(&leases.directory))?.path();
            let Some(id) = path.file_name().and_then(|n| n.to_str()) else { continue };
            let text = std::fs::read(&path).map_err(failed(&path))?;
            match serde_json::from_slice::<Lease>(&text) {
                Ok(lease) if !id.ends_with(".new") => {
                    leases.taken.extend(lease.addresses.iter().copied());
                    leases.held.insert(id.to_owned(), lease);
                }
                // Only a lease that was never used can be torn: it is renamed when it is whole.
                _ => std::fs::remove_file(&path).map_err(failed(&path))?,
            }
        }
        if let Ok(text) = std::fs::read_to_string(leases.directory.join("last-address")) {
            leases.last = text.lines().filter_map(|l| l.parse().ok()).collect();
        }
        Ok(leases)
    }

    pub(super) fn get(&self, id: &str) -> Option<&Lease> {
        self.held.get(id)
    }

    pub(super) fn all(&self) -> &BTreeMap<String, Lease> {
        &self.held
    }

    /// Gives a sandbox one address of each CIDR.
    pub(super) fn take(&mut self, id: &str, pod: &str, ports: Vec<HostPort>, cidrs: &[IpNet]) -> Result<Lease> {
        let mut addresses = Vec::new();
        for cidr in cidrs {
            let last = self.last.iter().copied().find(|l| cidr.contains(l));
            addresses.push(next(*cidr, last, |a| self.taken.contains(&a)).ok_or(Error::NoAddress(*cidr))?);
        }
        let lease = Lease { pod: pod.to_owned(), addresses, ports };
        let text = serde_json::to_vec(&lease).unwrap_or_default();
        self.write(&format!("leases/{id}"), &text)?;
        self.last = lease.addresses.clone();
        let lines: Vec<String> = self.last.iter().map(ToString::to_string).collect();
        self.write("last-address", lines.join("\n").as_bytes())?;
        self.taken.extend(lease.addresses.iter().copied());
        self.held.insert(id.to_owned(), lease.clone());
        Ok(lease)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.directory.join(name);
        let new = self.directory.join(format!("{name}.new"));
        let write = || {
            let mut file = std::fs::File::create(&new)?;
            file.write_all(bytes)?;
            file.sync_data()?;
            std::fs::rename(&new, &path)
        };
        write().map_err(|source| Error::State { path: path.clone(), source })
    }

    /// Frees what a sandbox holds.
    pub(super) fn free(&mut self, id: &str) -> Result<()> {
        let path = self.directory.join("leases").join(id);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => return Err(Error::State { path, source }),
            _ => (),
        }
        for address in self.held.remove(id).iter().flat_map(|l| &l.addresses) {
            self.taken.remove(address);
        }
        Ok(())
    }
}

fn add(address: IpAddr, by: u128) -> IpAddr {
    match address {
        IpAddr::V4(a) => IpAddr::V4(u32::from(a).wrapping_add(by as u32).into()),
        IpAddr::V6(a) => IpAddr::V6(u128::from(a).wrapping_add(by).into()),
    }
}

/// The first free address after `last`, around the CIDR. The network's own, the first and the broadcast address stay free.
fn next(cidr: IpNet, last: Option<IpAddr>, taken: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let bits = u32::from(cidr.max_prefix_len() - cidr.prefix_len()).min(24);
    let size = 1u128 << bits;
    let number = |a: IpAddr| match a {
        IpAddr::V4(a) => u128::from(u32::from(a)),
        IpAddr::V6(a) => u128::from(a),
    };
    let start = last.map_or(1, |l| number(l).wrapping_sub(number(cidr.network())) % size);
    let candidates = (1..=size).map(|step| (start + step) % size).filter(|n| *n > 1 && *n < size - 1);
    candidates.map(|n| add(cidr.network(), n)).find(|a| !taken(*a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_go_around_and_survive_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let cidrs: Vec<IpNet> = vec!["10.1.0.0/29".parse().unwrap(), "fd00::/64".parse().unwrap()];
        let mut leases = Leases::open(directory.path().to_owned()).unwrap();
        let first = leases.take("a", "p", vec![], &cidrs).unwrap();
        assert_eq!(first.addresses, ["10.1.0.2".parse::<IpAddr>().unwrap(), "fd00::2".parse().unwrap()]);
        leases.free("a").unwrap();
        let mut leases = Leases::open(directory.path().to_owned()).unwrap();
        let given: Vec<String> = (0..5)
            .map(|i| leases.take(&format!("s{i}"), "p", vec![], &cidrs[..1]).unwrap().addresses[0].to_string())
            .collect();
        assert_eq!(given, ["10.1.0.3", "10.1.0.4", "10.1.0.5", "10.1.0.6", "10.1.0.2"]);
        assert!(matches!(leases.take("x", "p", vec![], &cidrs[..1]), Err(Error::NoAddress(_))));
        let again = Leases::open(directory.path().to_owned()).unwrap();
        assert_eq!(again.all().len(), 5);
    }
}
