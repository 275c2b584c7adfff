//! Links, addresses, routes and neighbours of pods by netlink.
//!
//! The pod's only neighbour is the host's end of its veth, whose hardware address is fixed: nothing asks by ARP.

use crate::netlink::{ACK, Buffer, CREATE, DUMP, EXCL, REPLACE, Socket, attributes};
use crate::{Error, Result};
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::path::Path;

/// The next hop of every pod; it exists on no device.
const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1));
const GATEWAY6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1));
/// Hardware address of the host's end of every veth.
const HOST_MAC: [u8; 6] = [0xee; 6];
const UP: u32 = libc::IFF_UP as u32;

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) mtu: u32,
}

fn link_header(index: u32, flags: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&flags.to_ne_bytes());
    header
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { libc::AF_INET as u8 } else { libc::AF_INET6 as u8 }
}

fn bytes(address: IpAddr) -> Vec<u8> {
    crate::nft::address_bytes(address)
}

/// The pod's hardware address, made from its IP address.
fn mac_of(address: IpAddr) -> [u8; 6] {
    let all = bytes(address);
    let tail = &all[all.len() - 4..];
    [0x0a, 0x58, tail[0], tail[1], tail[2], tail[3]]
}

fn parse(payload: &[u8]) -> Option<Link> {
    let index = u32::from_ne_bytes(payload.get(4..8)?.try_into().ok()?);
    let mut link = Link { index, name: String::new(), mtu: 0 };
    for (kind, value) in attributes(payload, 16) {
        match kind {
            libc::IFLA_IFNAME => link.name = String::from_utf8_lossy(value).trim_end_matches('\0').to_owned(),
            libc::IFLA_MTU => link.mtu = u32::from_ne_bytes(value.try_into().ok()?),
            _ => (),
        }
    }
    Some(link)
}

/// A routing socket of one network namespace.
pub(super) struct Links(Socket);

impl Links {
    /// Of the thread's namespace.
    pub(super) fn open() -> Result<Self> {
        Socket::open(libc::NETLINK_ROUTE).map(Self).map_err(Error::kernel("open a routing socket"))
    }

    /// Of the namespace behind a path; a thread of its own goes there, since a thread belongs to one namespace.
    pub(super) fn open_in(netns: &File) -> Result<Self> {
        let enter = || {
            nix::sched::setns(netns, nix::sched::CloneFlags::CLONE_NEWNET)
                .map_err(|e| Error::kernel("enter the pod's network namespace")(e.into()))?;
            Self::open()
        };
        std::thread::scope(|scope| scope.spawn(enter).join()).unwrap_or(Err(Error::Stopped))
    }

    pub(super) fn find(&mut self, name: &str) -> Result<Option<Link>> {
        let found = self.0.query(libc::RTM_GETLINK, 0, &link_header(0, 0), |b| {
            b.string(libc::IFLA_IFNAME, name);
        });
        match found {
            Ok(messages) => Ok(messages.first().and_then(|m| parse(&m.payload))),
            Err(e) if e.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(e) => Err(Error::kernel(format!("look for the link {name}"))(e)),
        }
    }

    pub(super) fn list(&mut self) -> Result<Vec<Link>> {
        let found = self.0.query(libc::RTM_GETLINK, DUMP, &link_header(0, 0), |_| ());
        let found = found.map_err(Error::kernel("list links"))?;
        Ok(found.iter().filter_map(|m| parse(&m.payload)).collect())
    }

    pub(super) fn delete(&mut self, name: &str) -> Result<()> {
        let done = self.0.request(libc::RTM_DELLINK, 0, &link_header(0, 0), |b| {
            b.string(libc::IFLA_IFNAME, name);
        });
        match done {
            Err(e) if e.raw_os_error() != Some(libc::ENODEV) => {
                Err(Error::kernel(format!("delete the link {name}"))(e))
            }
            _ => Ok(()),
        }
    }

    /// The MTU of the device with the default route; the smallest of Ethernet where there is none.
    pub(super) fn uplink_mtu(&mut self) -> Result<u32> {
        let header = [libc::AF_INET as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let routes = self.0.query(libc::RTM_GETROUTE, DUMP, &header, |_| ()).map_err(Error::kernel("list routes"))?;
        let device =
            routes.iter().filter(|m| m.payload.get(1) == Some(&0) && m.payload.get(4) == Some(&254)).find_map(|m| {
                let found = attributes(&m.payload, 12).into_iter().find(|(k, _)| *k == libc::RTA_OIF)?;
                Some(u32::from_ne_bytes(found.1.try_into().ok()?))
            });
        let links = self.list()?;
        Ok(device.and_then(|d| links.iter().find(|l| l.index == d)).map_or(1500, |l| l.mtu))
    }

    /// Makes sure that the kernel has veth, or has loaded it, before the first pod asks for one.
    pub(super) fn prove_veth(&mut self, name: &str) -> Result<()> {
        if Path::new("/sys/module/veth").exists() {
            return Ok(());
        }
        let made = self.0.request(libc::RTM_NEWLINK, CREATE, &link_header(0, 0), |b| {
            b.string(libc::IFLA_IFNAME, name).nest(libc::IFLA_LINKINFO, |b| {
                b.attribute(1, b"veth");
            });
        });
        made.map_err(Error::kernel("make a veth"))?;
        self.delete(name)
    }

    /// Makes the veth: `name` here, up, and `eth0` in the pod.
    pub(super) fn add_veth(&mut self, name: &str, netns: &File, mtu: u32, pod: IpAddr) -> Result<()> {
        let fill = |b: &mut Buffer| {
            b.string(libc::IFLA_IFNAME, name).u32(libc::IFLA_MTU, mtu).attribute(libc::IFLA_ADDRESS, &HOST_MAC);
            b.nest(libc::IFLA_LINKINFO, |b| {
                b.attribute(1, b"veth").nest(2, |b| {
                    b.nest_with(1, &link_header(0, 0), |b| {
                        b.string(libc::IFLA_IFNAME, "eth0").u32(libc::IFLA_MTU, mtu);
                        b.attribute(libc::IFLA_ADDRESS, &mac_of(pod));
                        b.u32(libc::IFLA_NET_NS_FD, netns.as_raw_fd().cast_unsigned());
                    });
                });
            });
        };
        let made = self.0.request(libc::RTM_NEWLINK, CREATE | EXCL, &link_header(0, 0), fill);
        made.map_err(Error::kernel(format!("make the veth {name}")))
    }

    pub(super) fn up(&mut self, index: u32) -> Result<()> {
        let done = self.0.request(libc::RTM_NEWLINK, 0, &link_header(index, UP), |_| ());
        done.map_err(Error::kernel("set a link up"))
    }

    fn address(&mut self, index: u32, address: IpAddr) -> Result<()> {
        let raw = bytes(address);
        // IFA_F_NODAD: nobody else is on this link.
        let mut header = vec![family(address), (raw.len() * 8) as u8, 2, 0];
        header.extend_from_slice(&index.to_ne_bytes());
        let done = self.0.request(libc::RTM_NEWADDR, CREATE | REPLACE, &header, |b| {
            b.attribute(libc::IFA_LOCAL, &raw).attribute(libc::IFA_ADDRESS, &raw);
        });
        done.map_err(Error::kernel(format!("give the address {address}")))
    }

    fn neighbour(&mut self, index: u32, address: IpAddr, mac: [u8; 6]) -> Result<()> {
        let mut header = vec![family(address), 0, 0, 0];
        header.extend_from_slice(&index.to_ne_bytes());
        header.extend_from_slice(&0x80u16.to_ne_bytes());
        header.extend_from_slice(&[0, 1]);
        let done = self.0.request(libc::RTM_NEWNEIGH, CREATE | REPLACE, &header, |b| {
            b.attribute(1, &bytes(address)).attribute(2, &mac);
        });
        done.map_err(Error::kernel(format!("set the neighbour {address}")))
    }

    /// A route to one address over a device, or the default route by a next hop that is reached over it.
    fn route(&mut self, index: u32, to: Option<IpAddr>, via: Option<IpAddr>) -> Result<()> {
        let one = to.or(via).unwrap_or(GATEWAY);
        let length = to.map_or(0, |t| (bytes(t).len() * 8) as u8);
        let scope = if via.is_none() && one.is_ipv4() { 253 } else { 0 };
        let mut header = vec![family(one), length, 0, 0, 254, 3, scope, 1];
        // RTNH_F_ONLINK: the next hop has no route of its own.
        header.extend_from_slice(&(if via.is_some() { 4u32 } else { 0 }).to_ne_bytes());
        let done = self.0.request(libc::RTM_NEWROUTE, CREATE | REPLACE, &header, |b| {
            if let Some(to) = to {
                b.attribute(libc::RTA_DST, &bytes(to));
            }
            if let Some(via) = via {
                b.attribute(libc::RTA_GATEWAY, &bytes(via));
            }
            b.u32(libc::RTA_OIF, index);
        });
        done.map_err(Error::kernel(format!("add the route to {}", to.map_or("default".into(), |t| t.to_string()))))
    }

    /// Brings up the pod's side.
    pub(super) fn configure_pod(&mut self, addresses: &[IpAddr]) -> Result<()> {
        self.up(1)?;
        let device = self.find("eth0")?.ok_or_else(|| missing("eth0"))?;
        for address in addresses {
            self.address(device.index, *address)?;
        }
        self.up(device.index)?;
        for address in addresses {
            let gateway = if address.is_ipv4() { GATEWAY } else { GATEWAY6 };
            self.neighbour(device.index, gateway, HOST_MAC)?;
            self.route(device.index, None, Some(gateway))?;
        }
        Ok(())
    }

    /// Brings up the host's side: routes to the pod and its hardware address.
    pub(super) fn configure_host(&mut self, name: &str, addresses: &[IpAddr]) -> Result<()> {
        let device = self.find(name)?.ok_or_else(|| missing(name))?;
        self.up(device.index)?;
        let Some(primary) = addresses.first() else { return Ok(()) };
        for address in addresses {
            self.neighbour(device.index, *address, mac_of(*primary))?;
            self.route(device.index, Some(*address), None)?;
        }
        Ok(())
    }
}

fn missing(name: &str) -> Error {
    Error::kernel(format!("configure {name}"))(io::Error::from_raw_os_error(libc::ENODEV))
}

/// Sets a kernel parameter of the thread's namespace; it is only written when it differs.
pub(super) fn sysctl(key: &str, value: &str) -> Result<()> {
    let path = Path::new("/proc/sys").join(key);
    let failed = |source| Error::State { path: path.clone(), source };
    if std::fs::read_to_string(&path).map_err(failed)?.trim() == value {
        return Ok(());
    }
    std::fs::write(&path, value).map_err(failed)
}

const _: () = assert!(ACK == libc::NLM_F_ACK as u16);
