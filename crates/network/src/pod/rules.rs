//! The pod network's nftables table: masquerading, host ports, and a guard for the host's loopback.

use super::addresses::{HostPort, Lease};
use crate::nft::{Batch, Family, Hook, Rule, SetSpec, Verdict, address_bytes, concat, types};
use ipnet::IpNet;
use std::net::IpAddr;

/// Names of the table of a cluster.
pub(super) fn table(cluster: &str) -> String {
    format!("ironclad-{cluster}-pods")
}

fn families() -> [Family; 2] {
    [Family::V4, Family::V6]
}

/// Everything at once: it takes the place of a former table in one transaction.
pub(super) fn whole<'a>(
    cluster: &str,
    node_cidrs: &[IpNet],
    cluster_cidrs: &[IpNet],
    leases: impl Iterator<Item = &'a Lease>,
) -> Batch {
    let mut batch = Batch::new(&table(cluster));
    batch.replace_table();
    sets(&mut batch);
    chains(&mut batch);
    for family in families() {
        host_ports(&mut batch, family);
    }
    masquerade(&mut batch, node_cidrs, cluster_cidrs);
    for lease in leases {
        add(&mut batch, lease);
    }
    batch
}

fn sets(batch: &mut Batch) {
    for family in families() {
        let (address, length) = (family.type_number(), family.length());
        let backend = Some((types::concat(&[address, types::SERVICE]), length + 4));
        let any = (types::concat(&[types::PROTOCOL, types::SERVICE]), 8);
        let one = (types::concat(&[address, types::PROTOCOL, types::SERVICE]), length + 8);
        let pair = (types::concat(&[address, address]), length * 2);
        batch.add_set(&family.name("hostports"), &SetSpec { key: any, data: backend, ..SetSpec::default() });
        batch.add_set(&family.name("hostports-ip"), &SetSpec { key: one, data: backend, ..SetSpec::default() });
        batch.add_set(&family.name("hairpin"), &SetSpec { key: pair, ..SetSpec::default() });
    }
}

fn chains(batch: &mut Batch) {
    batch.add_chain("hostports", None);
    batch.add_chain("guard", Some(Hook { kind: "filter", number: 0, priority: -300 }));
    batch.add_chain("prerouting", Some(Hook { kind: "nat", number: 0, priority: -100 }));
    batch.add_chain("output", Some(Hook { kind: "nat", number: 3, priority: -100 }));
    batch.add_chain("postrouting", Some(Hook { kind: "nat", number: 4, priority: 100 }));
    // The pods' links accept 127.0.0.0/8 for host ports of localhost; nobody outside may use that.
    let loopback: IpNet = IpNet::new_assert(IpAddr::from([127, 0, 0, 0]), 8);
    let guard = Rule::family(Family::V4).device(false, false, "lo").network(false, true, loopback);
    batch.add_rule("guard", &guard.verdict(Verdict::Drop));
    for chain in ["prerouting", "output"] {
        batch.add_rule(chain, &Rule::default().to_host().verdict(Verdict::Jump("hostports".into())));
    }
}

fn host_ports(batch: &mut Batch, family: Family) {
    let one = Rule::family(family).load_destination(family);
    batch.add_rule("hostports", &one.map(&family.name("hostports-ip")).dnat(family));
    let any = Rule::family(family).load_service(crate::nft::KEY);
    batch.add_rule("hostports", &any.map(&family.name("hostports")).dnat(family));
}

fn masquerade(batch: &mut Batch, node_cidrs: &[IpNet], cluster_cidrs: &[IpNet]) {
    for family in families() {
        let own = Rule::family(family).translated().load_pair(family).contained(&family.name("hairpin"));
        batch.add_rule("postrouting", &own.masquerade());
    }
    let loopback = IpNet::new_assert(IpAddr::from([127, 0, 0, 0]), 8);
    let local = Rule::family(Family::V4).network(true, true, loopback).device(true, false, "lo");
    batch.add_rule("postrouting", &local.masquerade());
    for node in node_cidrs {
        let family = Family::of(node.addr());
        let mut rule = Rule::family(family).network(true, true, *node).network(false, false, *node);
        for all in cluster_cidrs.iter().filter(|c| Family::of(c.addr()) == family) {
            rule = rule.network(false, false, *all);
        }
        batch.add_rule("postrouting", &rule.masquerade());
    }
}

fn entry(family: Family, port: &HostPort, address: IpAddr) -> (String, Vec<u8>, Vec<u8>) {
    let backend = concat(&[&address_bytes(address), &port.pod_port.to_be_bytes()]);
    let (protocol, service) = ([port.protocol], port.host_port.to_be_bytes());
    match port.host_ip {
        Some(ip) => (family.name("hostports-ip"), concat(&[&address_bytes(ip), &protocol, &service]), backend),
        None => (family.name("hostports"), concat(&[&protocol, &service]), backend),
    }
}

fn entries(lease: &Lease) -> Vec<(String, Vec<u8>, Vec<u8>)> {
    let mut all = Vec::new();
    for address in &lease.addresses {
        let family = Family::of(*address);
        let ports = lease.ports.iter().filter(|p| p.host_ip.is_none_or(|ip| Family::of(ip) == family));
        all.extend(ports.map(|port| entry(family, port, *address)));
    }
    all
}

fn pair(address: IpAddr) -> Vec<u8> {
    let one = address_bytes(address);
    concat(&[&one, &one])
}

/// Adds what a sandbox needs.
pub(super) fn add(batch: &mut Batch, lease: &Lease) {
    for address in &lease.addresses {
        batch.add_keys(&Family::of(*address).name("hairpin"), &[pair(*address)]);
    }
    for (set, key, data) in entries(lease) {
        batch.add_entries(&set, &[(key, data)]);
    }
}

/// Removes what a sandbox needed.
pub(super) fn remove(batch: &mut Batch, lease: &Lease) {
    for address in &lease.addresses {
        batch.delete_keys(&Family::of(*address).name("hairpin"), &[pair(*address)]);
    }
    for (set, key, _) in entries(lease) {
        batch.delete_keys(&set, &[key]);
    }
}
