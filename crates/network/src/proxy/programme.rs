//! What a Service is in the table's maps. Pure.

use super::layout::{self, Key};
use super::model::{Backend, Place, ServicePort};
use super::ways::{Masquerade, Spread, Way};
use crate::nft::{Family, address_bytes, concat};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What an address and port, or a node port, leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The family.
    pub(super) family: Family,
    /// What is done at first.
    pub(super) way: Way,
    /// What `Split` leads to, for those inside and for others.
    pub(super) split: Option<(Way, Way)>,
    /// The number of the Service's port.
    pub(super) number: u32,
}

/// Endpoints that one number leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// The family.
    pub(super) family: Family,
    /// The endpoints by their index.
    pub(super) backends: Vec<Backend>,
    /// Clients stay.
    pub(super) sticky: bool,
}

/// What one Service is in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Programme {
    /// Entries.
    pub(super) entries: BTreeMap<Key, Entry>,
    /// Endpoints by number.
    pub(super) groups: BTreeMap<u32, Group>,
    /// Endpoint addresses: whoever reaches itself is masqueraded.
    pub(super) hairpins: BTreeSet<IpAddr>,
}

/// What a Service's numbered ports are in the kernel. Endpoints that were there `before` keep their places where
/// that is possible.
pub(super) fn of(ports: &[(u32, &ServicePort)], place: &Place, before: &Programme) -> Programme {
    let mut programme = Programme::default();
    for (number, port) in ports {
        programme.add(*number, port, place, before);
    }
    programme
}

/// Gives endpoints places below their number: those that have one keep it, the last fill the gaps.
fn arrange(before: &[Backend], wanted: &BTreeSet<Backend>) -> Vec<Backend> {
    let mut places: Vec<Option<Backend>> = before.iter().map(|b| wanted.contains(b).then_some(*b)).collect();
    let placed: BTreeSet<Backend> = places.iter().flatten().copied().collect();
    let mut new = wanted.difference(&placed);
    for place in places.iter_mut().filter(|p| p.is_none()) {
        *place = new.next().copied();
    }
    places.extend(new.map(|b| Some(*b)));
    let mut at = 0;
    while at < places.len() {
        if places[at].is_none() {
            // The last takes the free place; an empty last just goes.
            places.swap_remove(at);
        } else {
            at += 1;
        }
    }
    places.into_iter().flatten().collect()
}

impl Programme {
    fn add(&mut self, number: u32, port: &ServicePort, place: &Place, before: &Self) {
        self.hairpins.extend(port.cluster.iter().chain(&port.local).map(|(ip, _)| *ip));
        if !port.cluster.is_empty() {
            self.group(number, port, &port.cluster, before);
        }
        if !port.local.is_empty() && (port.internal_local || port.external_local) {
            self.group(number | layout::LOCAL, port, &port.local, before);
        }
        let pods = place.pod_cidrs.iter().any(|c| Family::of(c.addr()) == port.family);
        let near = Way::Spread(Spread {
            masquerade: if pods { Masquerade::Others } else { Masquerade::Nobody },
            local: false,
            count: port.cluster.len() as u32,
            affinity: port.affinity,
        });
        for ip in &port.cluster_ips {
            self.service(*ip, port, number, inside(port, &near), None);
        }
        self.outside(port, number, near);
    }

    fn group(&mut self, number: u32, port: &ServicePort, wanted: &BTreeSet<Backend>, before: &Self) {
        let old = before.groups.get(&number).map(|g| g.backends.as_slice()).unwrap_or_default();
        let backends = arrange(old, wanted);
        self.groups.insert(number, Group { family: port.family, backends, sticky: port.affinity.is_some() });
    }

    fn service(&mut self, ip: IpAddr, port: &ServicePort, number: u32, way: Way, split: Option<(Way, Way)>) {
        let key = concat(&[&address_bytes(ip), &[port.protocol], &port.port.to_be_bytes()]);
        let entry = Entry { family: port.family, way, split, number };
        self.entries.insert((layout::services(port.family), key), entry);
    }

    /// Addresses and ports for clients outside the cluster.
    fn outside(&mut self, port: &ServicePort, number: u32, near: Way) {
        let (way, split) = far(port, near);
        for ip in &port.external_ips {
            self.service(*ip, port, number, way.clone(), split.clone());
        }
        for ip in &port.load_balancer_ips {
            if port.source_ranges.is_empty() {
                self.service(*ip, port, number, way.clone(), split.clone());
            } else {
                let split = split.clone().unwrap_or_else(|| (way.clone(), way.clone()));
                self.service(*ip, port, number, Way::Ranged(port.source_ranges.clone()), Some(split));
            }
        }
        if port.node_port != 0 {
            let key = concat(&[&[port.protocol], &port.node_port.to_be_bytes()]);
            let entry = Entry { family: port.family, way, split, number };
            self.entries.insert((layout::node_ports(port.family), key), entry);
        }
    }
}

/// Connections stay on the node and keep their source.
fn local(port: &ServicePort) -> Way {
    Way::Spread(Spread {
        masquerade: Masquerade::Nobody,
        local: true,
        count: port.local.len() as u32,
        affinity: port.affinity,
    })
}

/// What is done with connections to the cluster address.
fn inside(port: &ServicePort, near: &Way) -> Way {
    match (port.internal_local, port.cluster.is_empty(), port.local.is_empty()) {
        (true, _, false) => local(port),
        (true, false, true) => Way::Drop,
        (false, false, _) => near.clone(),
        (_, true, _) => Way::Reject,
    }
}

/// What is done with connections to an address for the outside. With the local policy pods and the host itself may
/// use every endpoint, who comes from outside only those of the node.
fn far(port: &ServicePort, near: Way) -> (Way, Option<(Way, Way)>) {
    if port.external_local && !(port.cluster.is_empty() && port.local.is_empty()) {
        let others = if port.local.is_empty() { Way::Drop } else { local(port) };
        let inside = if port.cluster.is_empty() { others.clone() } else { near };
        return (Way::Split, Some((inside, others)));
    }
    match near {
        Way::Spread(spread) if spread.count > 0 => {
            (Way::Spread(Spread { masquerade: Masquerade::Everybody, ..spread }), None)
        }
        _ => (Way::Reject, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backends(names: &str) -> Vec<Backend> {
        names.bytes().map(|b| (IpAddr::from([10, 0, 0, b]), 80)).collect()
    }

    #[test]
    fn endpoints_keep_their_places() {
        let table = [
            ("", "abc", "abc"),
            ("abc", "abc", "abc"),
            ("abc", "abcd", "abcd"),
            ("abcd", "bcd", "dbc"),
            ("abcd", "abc", "abc"),
            ("abcd", "abde", "abed"),
            ("abcd", "a", "a"),
            ("abcd", "d", "d"),
            ("abc", "xy", "xy"),
            ("abc", "", ""),
        ];
        for (before, wanted, expected) in table {
            let wanted = backends(wanted).into_iter().collect();
            assert_eq!(arrange(&backends(before), &wanted), backends(expected), "{before} to {wanted:?}");
        }
    }
}
