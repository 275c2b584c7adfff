//! Connection tracking entries of UDP, which would lead clients to endpoints that are gone.

use crate::netlink::{DUMP, Socket, attributes};
use crate::proxy::model::ServicePort;
use crate::{Error, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const SUBSYSTEM: u16 = 1 << 8;
const NESTED: u16 = 0x8000;

/// The kernel's table.
pub struct Table(Socket);

#[derive(Debug)]
struct Tuple {
    protocol: u8,
    source: IpAddr,
    source_port: u16,
    destination: IpAddr,
    destination_port: u16,
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}

fn tuple(bytes: &[u8]) -> Option<Tuple> {
    let parts = attributes(bytes, 0);
    let part = |kind| parts.iter().find(|(k, _)| *k == kind).map(|(_, v)| attributes(v, 0));
    let (addresses, protocol) = (part(1)?, part(2)?);
    let address = |kinds: [u16; 2]| addresses.iter().find(|(k, _)| kinds.contains(k)).and_then(|(_, v)| ip(v));
    let port = |kind| {
        let value = protocol.iter().find(|(k, _)| *k == kind).and_then(|(_, v)| v.first_chunk::<2>());
        value.map(|v| u16::from_be_bytes(*v))
    };
    Some(Tuple {
        protocol: *protocol.iter().find(|(k, _)| *k == 1)?.1.first()?,
        source: address([1, 3])?,
        source_port: port(2)?,
        destination: address([2, 4])?,
        destination_port: port(3)?,
    })
}

/// Whether a client's entry leads somewhere where its Service does not lead any more.
fn stale(port: &ServicePort, original: &Tuple, reply: &Tuple) -> bool {
    let by_address = original.destination_port == port.port
        && (port.cluster_ips.iter().chain(&port.external_ips).chain(&port.load_balancer_ips))
            .any(|ip| *ip == original.destination);
    let by_node = port.node_port != 0
        && original.destination_port == port.node_port
        && original.destination.is_ipv4() == (port.family == super::Family::V4);
    let backend = (reply.source, reply.source_port);
    (by_address || by_node) && !port.cluster.contains(&backend) && !port.local.contains(&backend)
}

impl Table {
    /// Opens a socket in the thread's network namespace.
    pub fn open() -> Result<Self> {
        Socket::open(libc::NETLINK_NETFILTER).map(Self).map_err(Error::kernel("open a conntrack socket"))
    }

    /// Deletes the entries of these ports that lead to endpoints that are not theirs.
    pub(crate) fn forget_stale(&mut self, ports: &[&ServicePort]) -> Result<()> {
        let udp: Vec<_> = ports.iter().filter(|p| i32::from(p.protocol) == libc::IPPROTO_UDP).collect();
        for family in [super::Family::V4, super::Family::V6] {
            let own: Vec<_> = udp.iter().filter(|p| p.family == family).collect();
            if own.is_empty() {
                continue;
            }
            let header = [family.protocol(), 0, 0, 0];
            let entries = self.0.query(SUBSYSTEM | 1, DUMP, &header, |_| ());
            for entry in entries.map_err(Error::kernel("list tracked connections"))? {
                let parts = attributes(&entry.payload, 4);
                let raw = |kind| parts.iter().find(|(k, _)| *k == kind).map(|(_, v)| *v);
                let (Some(original), Some(reply)) = (raw(1), raw(2)) else { continue };
                let (Some(from), Some(back)) = (tuple(original), tuple(reply)) else { continue };
                if i32::from(from.protocol) == libc::IPPROTO_UDP && own.iter().any(|p| stale(p, &from, &back)) {
                    self.delete(header, original)?;
                }
            }
        }
        Ok(())
    }

    fn delete(&mut self, header: [u8; 4], original: &[u8]) -> Result<()> {
        let done = self.0.request(SUBSYSTEM | 2, 0, &header, |b| {
            b.attribute(1 | NESTED, original);
        });
        match done {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::kernel("delete a tracked connection")(e)),
            _ => Ok(()),
        }
    }
}
