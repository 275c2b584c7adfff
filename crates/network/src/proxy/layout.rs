//! The table's fixed parts: its maps, the chains that every Service shares, and the registers in which they meet.
//!
//! Invariant: what differs from Service to Service lies in maps of plain data. The kernel walks all rules, chains and
//! verdicts of a table when one of them changes, but looks at nothing else when data change.
//!
//! `services` (by address, protocol and port) and `nodeports` (by protocol and port) lead to what is done at first,
//! then for who is inside the cluster and for others, and to the Service's number; `ways` leads from what is done to
//! its chain, `ends` only to chains that do not split again; `backends` from the Service's number and an index to an
//! endpoint, `members` holds the same endpoints for Services with affinity, and `affinity` the clients that stay.

use crate::nft::{Batch, DATA, Family, Hook, KEY, Rule, SetSpec, Verdict, address_bytes, concat, types};
use ipnet::IpNet;
use std::net::IpAddr;

/// The bit of the packet mark that asks for masquerading.
pub(super) const MASQUERADE: u32 = 0x4000;
/// The bit that tells a Service's endpoints on this node from those of the cluster.
pub(super) const LOCAL: u32 = 1 << 31;
/// Clients that stay with an endpoint, in each family.
const CLIENTS: u32 = 1 << 18;

/// Where the data of a Service's entry lie: an empty word (see [`found`]), what is done, the same for those inside and
/// for those outside, the Service's number.
pub(super) const WAY: u32 = DATA + 1;
pub(super) const INSIDE: u32 = DATA + 2;
pub(super) const OUTSIDE: u32 = DATA + 3;
pub(super) const NUMBER: u32 = DATA + 4;
/// Behind the number: an endpoint's index, or a client's address.
pub(super) const INDEX: u32 = NUMBER + 1;
/// What a map of endpoints gives: an empty word, the Service's number, address and port.
pub(super) const SLOT: u32 = NUMBER + 5;
pub(super) const OWNER: u32 = SLOT + 1;
pub(super) const BACKEND: u32 = SLOT + 2;

/// A map or set with its key.
pub(super) type Key = (&'static str, Vec<u8>);

pub(super) fn services(family: Family) -> &'static str {
    family.either("services", "services6")
}

pub(super) fn node_ports(family: Family) -> &'static str {
    family.either("nodeports", "nodeports6")
}

pub(super) fn backends(family: Family) -> &'static str {
    family.either("backends", "backends6")
}

pub(super) fn members(family: Family) -> &'static str {
    family.either("members", "members6")
}

pub(super) fn affinity(family: Family) -> &'static str {
    family.either("affinity", "affinity6")
}

fn hairpins(family: Family) -> &'static str {
    family.either("hairpin", "hairpin6")
}

/// The entry of the `hairpin` set for an address.
pub(super) fn hairpin(address: IpAddr) -> Key {
    let one = address_bytes(address);
    (hairpins(Family::of(address)), concat(&[&one, &one]))
}

/// By which map a Service is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// By the destination.
    Address,
    /// By the port alone.
    Port,
}

/// Loads the data of the Service that a packet is for, of which `read` is looked at.
///
/// The `nft` program knows a register only by what was loaded into it as such: it ends in the midst of a listing, or
/// complains, where a rule looks something up by what came out of a map. So each such register is loaded with
/// something harmless before it is filled, and a listing shows that in its place.
pub(super) fn found(rule: Rule, family: Family, by: By, read: u32) -> Rule {
    let rule = rule.load_mark(read);
    match by {
        By::Address => rule.load_destination(family).map(services(family)),
        By::Port => rule.load_service(KEY).map(node_ports(family)),
    }
}

/// Loads an endpoint from a map by the number and what stands behind it.
pub(super) fn endpoint_of(rule: Rule, family: Family, map: &str) -> Rule {
    // As in `found`.
    rule.load_mark(OWNER).load_target(family, BACKEND).map_at(map, NUMBER, SLOT).load_mark(SLOT)
}

/// The table without any Service.
pub(super) fn frame(batch: &mut Batch, pods: &[IpNet]) {
    batch.replace_table();
    sets(batch);
    super::ways::add_split(batch, pods);
    batch.add_chain("services", None);
    for family in [Family::V4, Family::V6] {
        let by_address = found(Rule::family(family), family, By::Address, WAY);
        let by_port = found(Rule::family(family).to_host(), family, By::Port, WAY);
        let (by_address, by_port) = (by_address.verdict_map("ways", WAY), by_port.verdict_map("ways", WAY));
        batch.add_rule("services", &by_address.comment("what the Service of this address says"));
        batch.add_rule("services", &by_port.comment("what the Service of this node port says"));
    }
    batch.add_chain("prerouting", Some(Hook { kind: "nat", number: 0, priority: -100 }));
    batch.add_chain("output", Some(Hook { kind: "nat", number: 3, priority: -100 }));
    batch.add_chain("postrouting", Some(Hook { kind: "nat", number: 4, priority: 100 }));
    for chain in ["prerouting", "output"] {
        batch.add_rule(chain, &Rule::default().verdict(Verdict::Jump("services".to_owned())));
    }
    let marked = Rule::default().marked(MASQUERADE).mark(MASQUERADE, false).masquerade();
    batch.add_rule("postrouting", &marked);
    for family in [Family::V4, Family::V6] {
        let own = Rule::family(family).translated().load_pair(family).contained(hairpins(family));
        batch.add_rule("postrouting", &own.masquerade());
    }
}

fn sets(batch: &mut Batch) {
    let number = types::MARK;
    for ways in ["ways", "ends"] {
        batch.add_set(ways, &SetSpec { key: (number, 4), verdicts: true, ..SetSpec::default() });
    }
    for family in [Family::V4, Family::V6] {
        let (address, length) = (family.type_number(), family.length());
        let entry = Some((types::concat(&[number; 5]), 20));
        let service = (types::concat(&[address, types::PROTOCOL, types::SERVICE]), length + 8);
        batch.add_set(services(family), &SetSpec { key: service, data: entry, ..SetSpec::default() });
        let node = (types::concat(&[types::PROTOCOL, types::SERVICE]), 8);
        batch.add_set(node_ports(family), &SetSpec { key: node, data: entry, ..SetSpec::default() });
        let slot = (types::concat(&[number, number]), 8);
        batch.add_set(backends(family), &SetSpec { key: slot, data: Some(endpoint(family)), ..SetSpec::default() });
        let member = (types::concat(&[number, address, types::SERVICE]), length + 8);
        batch.add_set(members(family), &SetSpec { key: member, ..SetSpec::default() });
        let pair = (types::concat(&[address, address]), length * 2);
        batch.add_set(hairpins(family), &SetSpec { key: pair, ..SetSpec::default() });
    }
}

fn endpoint(family: Family) -> (u32, u32) {
    (types::concat(&[types::MARK, types::MARK, family.type_number(), types::SERVICE]), family.length() + 12)
}

/// The map of clients that stay.
pub(super) fn add_affinity(batch: &mut Batch, family: Family) {
    let key = (types::concat(&[types::MARK, family.type_number()]), family.length() + 4);
    let data = Some(endpoint(family));
    batch.add_set(affinity(family), &SetSpec { key, data, verdicts: false, dynamic: Some(CLIENTS) });
}
