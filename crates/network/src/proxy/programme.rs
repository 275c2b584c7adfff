//! What Services are in the kernel: chains, affinity maps and entries of the two verdict maps. Pure.
//!
//! `services` leads address, protocol and port to a chain, `nodeports` protocol and port; `c-` spreads over all
//! endpoints, `l-` over those of the node, `x-` takes traffic from outside, `f-` applies source ranges.

use super::model::{Backend, Place, ServicePort};
use crate::nft::{Batch, Family, Hook, KEY, Rule, SetSpec, Verdict, address_bytes, concat, types};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The bit of the packet mark that asks for masquerading.
const MASQUERADE: u32 = 0x4000;

/// One step of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A rule that needs nothing else.
    Rule(Rule),
    /// Spreads connections over endpoints; with affinity by the named map and its time-out in milliseconds.
    Spread {
        /// The family.
        family: Family,
        /// The endpoints.
        backends: Vec<Backend>,
        /// Map of clients and time-out.
        affinity: Option<(String, u64)>,
    },
}

/// A key of a verdict map.
pub type Key = (String, Vec<u8>);

/// What one Service is in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Programme {
    /// Affinity maps.
    pub sets: BTreeMap<String, SetSpec>,
    /// Chains.
    pub chains: BTreeMap<String, Vec<Step>>,
    /// Entries.
    pub verdicts: BTreeMap<Key, Verdict>,
    /// Endpoint addresses: whoever reaches itself is masqueraded.
    pub hairpins: BTreeSet<IpAddr>,
}

/// The table without any Service.
pub fn frame(batch: &mut Batch) {
    batch.replace_table();
    for family in [Family::V4, Family::V6] {
        let (address, length) = (family.type_number(), family.length());
        let service = (types::concat(&[address, types::PROTOCOL, types::SERVICE]), length + 8);
        let pair = (types::concat(&[address, address]), length * 2);
        batch.add_set(&family.name("services"), &SetSpec { key: service, verdicts: true, ..SetSpec::default() });
        let node = (types::concat(&[types::PROTOCOL, types::SERVICE]), 8);
        batch.add_set(&family.name("nodeports"), &SetSpec { key: node, verdicts: true, ..SetSpec::default() });
        batch.add_set(&family.name("hairpin"), &SetSpec { key: pair, ..SetSpec::default() });
    }
    batch.add_chain("services", None);
    batch.add_chain("reject", None);
    batch.add_chain("drop", None);
    batch.add_rule("reject", &Rule::default().reject());
    batch.add_rule("drop", &Rule::default().verdict(Verdict::Drop));
    for family in [Family::V4, Family::V6] {
        let by_address = Rule::family(family).load_destination(family).verdict_map(&family.name("services"));
        batch.add_rule("services", &by_address);
        let by_port = Rule::family(family).to_host().load_service(KEY).verdict_map(&family.name("nodeports"));
        batch.add_rule("services", &by_port);
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
        let own = Rule::family(family).translated().load_pair(family).contained(&family.name("hairpin"));
        batch.add_rule("postrouting", &own.masquerade());
    }
}

/// The entry of the `hairpin` set for an address.
pub fn hairpin(address: IpAddr) -> Key {
    let one = address_bytes(address);
    (Family::of(address).name("hairpin"), concat(&[&one, &one]))
}

/// What a Service's ports are in the kernel.
pub fn of(ports: &[ServicePort], place: &Place) -> Programme {
    let mut programme = Programme::default();
    for port in ports {
        programme.add(port, place);
    }
    programme
}

/// FNV-1a: a name that is the same in every process.
fn short(id: &str) -> String {
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}

impl Programme {
    fn add(&mut self, port: &ServicePort, place: &Place) {
        let id = short(&port.id);
        let (cluster, local, external) = (format!("c-{id}"), format!("l-{id}"), format!("x-{id}"));
        let outside = port.node_port != 0 || !port.external_ips.is_empty() || !port.load_balancer_ips.is_empty();
        self.hairpins.extend(port.cluster.iter().chain(&port.local).map(|(ip, _)| *ip));
        let affinity = self.affinity(port, &id);
        let cidrs: Vec<_> = place.pod_cidrs.iter().filter(|c| Family::of(c.addr()) == port.family).copied().collect();
        let mut steps = Vec::new();
        if !cidrs.is_empty() {
            let rule = Rule::family(port.family);
            let foreign = cidrs.iter().fold(rule, |rule, cidr| rule.network(true, false, *cidr));
            steps.push(Step::Rule(foreign.mark(MASQUERADE, true)));
        }
        steps.push(spread(port.family, &port.cluster, &affinity));
        if !port.cluster.is_empty() {
            self.chains.insert(cluster.clone(), steps);
        }
        if !port.local.is_empty() && (port.internal_local || port.external_local) {
            self.chains.insert(local.clone(), vec![spread(port.family, &port.local, &affinity)]);
        }
        let target = inside(port.internal_local, port, &cluster, &local);
        for ip in &port.cluster_ips {
            self.service(*ip, port, target.clone());
        }
        if outside {
            self.outside(port, &cidrs, (&id, &cluster, &local, &external));
        }
    }

    fn service(&mut self, ip: IpAddr, port: &ServicePort, verdict: Verdict) {
        let key = concat(&[&address_bytes(ip), &[port.protocol], &port.port.to_be_bytes()]);
        self.verdicts.insert((port.family.name("services"), key), verdict);
    }

    fn affinity(&mut self, port: &ServicePort, id: &str) -> Option<(String, u64)> {
        let seconds = port.affinity?;
        let (name, timeout) = (format!("a-{id}-{seconds}"), u64::from(seconds) * 1000);
        let length = port.family.length();
        let address = port.family.type_number();
        let data = Some((types::concat(&[address, types::SERVICE]), length + 4));
        let spec = SetSpec { key: (address, length), data, verdicts: false, timeout_ms: Some(timeout) };
        self.sets.insert(name.clone(), spec);
        Some((name, timeout))
    }

    fn outside(&mut self, port: &ServicePort, cidrs: &[ipnet::IpNet], names: (&str, &str, &str, &str)) {
        let (id, cluster, local, external) = names;
        let target = if port.cluster.is_empty() && port.local.is_empty() {
            Verdict::Goto("reject".to_owned())
        } else {
            let steps = if port.external_local { local_steps(port, cidrs, cluster, local) } else { far_steps(cluster) };
            self.chains.insert(external.to_owned(), steps);
            Verdict::Goto(external.to_owned())
        };
        for ip in &port.external_ips {
            self.service(*ip, port, target.clone());
        }
        let mut balanced = target.clone();
        if !port.source_ranges.is_empty() && !port.load_balancer_ips.is_empty() {
            let open = |range: &ipnet::IpNet| {
                Step::Rule(Rule::family(port.family).network(true, true, *range).verdict(target.clone()))
            };
            let mut steps: Vec<Step> = port.source_ranges.iter().map(open).collect();
            steps.push(Step::Rule(Rule::default().verdict(Verdict::Drop)));
            self.chains.insert(format!("f-{id}"), steps);
            balanced = Verdict::Goto(format!("f-{id}"));
        }
        for ip in &port.load_balancer_ips {
            self.service(*ip, port, balanced.clone());
        }
        if port.node_port != 0 {
            let key = concat(&[&[port.protocol], &port.node_port.to_be_bytes()]);
            self.verdicts.insert((port.family.name("nodeports"), key), target);
        }
    }
}

fn spread(family: Family, backends: &BTreeSet<Backend>, affinity: &Option<(String, u64)>) -> Step {
    Step::Spread { family, backends: backends.iter().copied().collect(), affinity: affinity.clone() }
}

/// Where traffic for the cluster address goes.
fn inside(stays: bool, port: &ServicePort, cluster: &str, local: &str) -> Verdict {
    let name = match (stays, port.cluster.is_empty(), port.local.is_empty()) {
        (true, _, false) => local,
        (true, false, true) => "drop",
        (false, false, _) => cluster,
        (_, true, _) => "reject",
    };
    Verdict::Goto(name.to_owned())
}

fn far_steps(cluster: &str) -> Vec<Step> {
    vec![Step::Rule(Rule::default().mark(MASQUERADE, true).verdict(Verdict::Goto(cluster.to_owned())))]
}

/// Pods and the host itself may use every endpoint; who comes from outside only those of the node, unmasqueraded.
fn local_steps(port: &ServicePort, cidrs: &[ipnet::IpNet], cluster: &str, local: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    if !port.cluster.is_empty() {
        let all = Verdict::Goto(cluster.to_owned());
        for cidr in cidrs {
            let pods = Rule::family(port.family).network(true, true, *cidr);
            steps.push(Step::Rule(pods.verdict(all.clone())));
        }
        let host = Rule::family(port.family).from_host().mark(MASQUERADE, true);
        steps.push(Step::Rule(host.verdict(all)));
    }
    let rest = if port.local.is_empty() { Verdict::Drop } else { Verdict::Goto(local.to_owned()) };
    steps.push(Step::Rule(Rule::default().verdict(rest)));
    steps
}

fn write(batch: &mut Batch, chain: &str, step: &Step) {
    let (family, backends, affinity) = match step {
        Step::Rule(rule) => return batch.add_rule(chain, rule),
        Step::Spread { family, backends, affinity } => (*family, backends, affinity),
    };
    let kind = (types::concat(&[family.type_number(), types::SERVICE]), family.length() + 4);
    let values = backends.iter().map(|(ip, port)| concat(&[&address_bytes(*ip), &port.to_be_bytes()]));
    let mut begin = Rule::default();
    if let Some((map, timeout)) = affinity {
        let known: Vec<_> = values.clone().map(|v| (v, Vec::new())).collect();
        let (name, id) = batch.anonymous(&SetSpec { key: kind, ..SetSpec::default() }, &known);
        let again = Rule::default().load_address(family, true, KEY).map(map).data_contained(&name, id);
        batch.add_rule(chain, &again.remember(map, *timeout).dnat(family));
        begin = begin.load_address(family, true, KEY);
    }
    let entries: Vec<_> = values.enumerate().map(|(i, v)| ((i as u32).to_ne_bytes().to_vec(), v)).collect();
    let spec = SetSpec { key: (types::INTEGER, 4), data: Some(kind), ..SetSpec::default() };
    let (name, id) = batch.anonymous(&spec, &entries);
    let mut rule = begin.pick(entries.len(), &name, id);
    if let Some((map, timeout)) = affinity {
        rule = rule.forget(map).remember(map, *timeout);
    }
    batch.add_rule(chain, &rule.dnat(family));
}

/// Writes what leads from one programme to the next.
pub fn difference(batch: &mut Batch, old: &Programme, new: &Programme) {
    for (name, spec) in new.sets.iter().filter(|(name, _)| !old.sets.contains_key(*name)) {
        batch.add_set(name, spec);
    }
    for name in new.chains.keys().filter(|name| !old.chains.contains_key(*name)) {
        batch.add_chain(name, None);
    }
    for (name, steps) in &new.chains {
        match old.chains.get(name) {
            Some(before) if before == steps => continue,
            Some(_) => batch.flush_chain(name),
            None => (),
        }
        steps.iter().for_each(|step| write(batch, name, step));
    }
    for ((set, key), verdict) in &old.verdicts {
        if new.verdicts.get(&(set.clone(), key.clone())) != Some(verdict) {
            batch.delete_keys(set, std::slice::from_ref(key));
        }
    }
    let mut added: BTreeMap<&str, Vec<(Vec<u8>, Verdict)>> = BTreeMap::new();
    for (key, verdict) in new.verdicts.iter().filter(|(key, verdict)| old.verdicts.get(*key) != Some(*verdict)) {
        added.entry(&key.0).or_default().push((key.1.clone(), verdict.clone()));
    }
    for (set, entries) in added {
        batch.add_verdicts(set, &entries);
    }
    let gone: Vec<&String> = old.chains.keys().filter(|name| !new.chains.contains_key(*name)).collect();
    gone.iter().for_each(|name| batch.flush_chain(name));
    gone.iter().for_each(|name| batch.delete_chain(name));
    old.sets.keys().filter(|name| !new.sets.contains_key(*name)).for_each(|name| batch.delete_set(name));
}
