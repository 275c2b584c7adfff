//! What is done with a new connection to a Service: a chain for each way, shared by all Services that are alike.
//!
//! Invariants: a way's rules are a pure function of the way; a chain is there as long as an entry leads to it, and
//! some more, so that a Service whose endpoints come and go changes data only.

use super::layout::{self, BACKEND, By, INDEX, INSIDE, LOCAL, MASQUERADE, NUMBER, OUTSIDE, OWNER, SLOT};
use crate::nft::{Batch, Family, Rule, Verdict};
use ipnet::IpNet;
use std::collections::HashMap;

/// Chains that are kept although nothing leads to them.
const IDLE: usize = 64;

/// Who is masqueraded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Masquerade {
    /// Nobody.
    Nobody,
    /// Who is not a pod.
    Others,
    /// Everybody.
    Everybody,
}

/// How connections are spread over endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Spread {
    /// Who is masqueraded.
    pub(super) masquerade: Masquerade,
    /// Only over those on this node.
    pub(super) local: bool,
    /// How many they are.
    pub(super) count: u32,
    /// Seconds for which a client stays.
    pub(super) affinity: Option<u32>,
}

/// What is done with a new connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Way {
    /// There is nobody who could answer.
    Reject,
    /// Only endpoints elsewhere could answer.
    Drop,
    /// An endpoint answers.
    Spread(Spread),
    /// Those inside the cluster and others go ways of their own.
    Split,
    /// Who comes from these networks is treated as by `Split`, others are dropped.
    Ranged(Vec<IpNet>),
}

impl Way {
    /// The verdict maps that lead to it. The kernel refuses rules that could go in circles: what splits is not among
    /// what it splits into.
    fn maps(&self) -> &'static [&'static str] {
        match self {
            Self::Split | Self::Ranged(_) => &["ways"],
            _ => &["ways", "ends"],
        }
    }

    /// The rules of its chain; `pods` are all pods of the cluster.
    fn rules(&self, family: Family, pods: &[IpNet]) -> Vec<Rule> {
        let pods = pods.iter().copied().filter(|p| Family::of(p.addr()) == family);
        match self {
            Self::Reject => vec![Rule::default().reject()],
            Self::Drop => vec![Rule::default().verdict(Verdict::Drop)],
            Self::Spread(spread) => spread.rules(family, pods),
            Self::Split => vec![go_split(Rule::default(), family)],
            Self::Ranged(ranges) => {
                let open = ranges.iter().map(|range| Rule::family(family).network(true, true, *range));
                let open = open.map(|rule| go_split(rule, family));
                open.chain([Rule::default().verdict(Verdict::Drop)]).collect()
            }
        }
    }
}

fn go_split(rule: Rule, family: Family) -> Rule {
    rule.verdict(Verdict::Goto(family.either("split", "split6").to_owned()))
}

/// The chains that tell who is inside: pods and the host itself.
pub(super) fn add_split(batch: &mut Batch, pods: &[IpNet]) {
    for family in [Family::V4, Family::V6] {
        let chain = family.either("split", "split6");
        batch.add_chain(chain, None);
        let mut go = |rule: &Rule, register: u32| {
            for by in [By::Address, By::Port] {
                let found = layout::found(rule.clone(), family, by, register).verdict_map("ends", register);
                let who = if register == INSIDE { "for pods and this node" } else { "for everybody else" };
                batch.add_rule(chain, &found.comment(who));
            }
        };
        for pods in pods.iter().filter(|p| Family::of(p.addr()) == family) {
            go(&Rule::family(family).network(true, true, *pods), INSIDE);
        }
        go(&Rule::family(family).from_host().mark(MASQUERADE, true), INSIDE);
        go(&Rule::family(family), OUTSIDE);
    }
}

impl Spread {
    fn rules(&self, family: Family, pods: impl Iterator<Item = IpNet>) -> Vec<Rule> {
        let mut rules = Vec::new();
        match self.masquerade {
            Masquerade::Nobody => (),
            Masquerade::Everybody => rules.push(Rule::default().mark(MASQUERADE, true)),
            Masquerade::Others => {
                let others = pods.fold(Rule::family(family), |rule, pods| rule.network(true, false, pods));
                rules.push(others.mark(MASQUERADE, true));
            }
        }
        for by in [By::Address, By::Port] {
            if let Some(seconds) = self.affinity {
                let timeout = u64::from(seconds) * 1000;
                rules.push(self.stay(family, by, timeout).comment("where this client went before"));
                let first = self.pick(family, by, self.count).load_address(family, true, INDEX);
                let map = layout::affinity(family);
                let first = first.forget(map, NUMBER, SLOT).remember(map, NUMBER, SLOT, timeout);
                rules.push(first.dnat_to(family, BACKEND).comment("an endpoint by chance, and stay there"));
            }
            rules.push(self.pick(family, by, self.count).dnat_to(family, BACKEND).comment("an endpoint by chance"));
            // Between two lookups the last endpoint can have gone: the first is there as long as any is.
            rules.push(self.pick(family, by, 1).dnat_to(family, BACKEND).comment("the first endpoint"));
        }
        rules.push(Rule::default().verdict(Verdict::Drop));
        rules
    }

    /// Finds the Service and its number.
    fn found(&self, family: Family, by: By) -> Rule {
        let rule = layout::found(Rule::family(family), family, by, NUMBER);
        if self.local { rule.flip(NUMBER, LOCAL) } else { rule }
    }

    /// Picks one of the first `count` endpoints.
    fn pick(&self, family: Family, by: By, count: u32) -> Rule {
        layout::endpoint_of(self.found(family, by).random(count, INDEX), family, layout::backends(family))
    }

    /// A known client goes where it went, if that still is an endpoint.
    fn stay(&self, family: Family, by: By, timeout: u64) -> Rule {
        let map = layout::affinity(family);
        let client = self.found(family, by).load_address(family, true, INDEX);
        let known = layout::endpoint_of(client, family, map);
        let member = known.contained_at(layout::members(family), OWNER);
        member.remember(map, NUMBER, SLOT, timeout).dnat_to(family, BACKEND)
    }
}

/// The ways that have a chain, with their numbers and how many entries lead there.
#[derive(Default)]
pub(super) struct Ways {
    known: HashMap<(Family, Way), (u32, usize)>,
    next: u32,
    idle: usize,
    sticky: [bool; 2],
}

fn chain(number: u32) -> String {
    format!("way-{number}")
}

impl Ways {
    /// The number of a way that one more entry leads to; its chain is made when there is none.
    pub(super) fn take(&mut self, batch: &mut Batch, family: Family, way: &Way, pods: &[IpNet]) -> u32 {
        if let Some((number, users)) = self.known.get_mut(&(family, way.clone())) {
            self.idle -= usize::from(*users == 0);
            *users += 1;
            return *number;
        }
        if let Way::Spread(Spread { affinity: Some(_), .. }) = way
            && !std::mem::replace(&mut self.sticky[family as usize], true)
        {
            layout::add_affinity(batch, family);
        }
        self.next += 1;
        let (number, name) = (self.next, chain(self.next));
        batch.add_chain(&name, None);
        way.rules(family, pods).iter().for_each(|rule| batch.add_rule(&name, rule));
        let entry = (number.to_ne_bytes().to_vec(), Verdict::Goto(name));
        way.maps().iter().for_each(|map| batch.add_verdicts(map, std::slice::from_ref(&entry)));
        self.known.insert((family, way.clone()), (number, 1));
        number
    }

    /// One entry less leads to a way.
    pub(super) fn release(&mut self, family: Family, way: &Way) {
        if let Some((_, users)) = self.known.get_mut(&(family, way.clone())) {
            *users -= 1;
            self.idle += usize::from(*users == 0);
        }
    }

    /// The number of a way that an entry leads to.
    pub(super) fn number(&self, family: Family, way: &Way) -> u32 {
        self.known.get(&(family, way.clone())).map_or(0, |(number, _)| *number)
    }

    /// Deletes chains that nothing leads to, once they are many.
    pub(super) fn sweep(&mut self, batch: &mut Batch) {
        if self.idle <= IDLE {
            return;
        }
        self.idle = 0;
        self.known.retain(|(_, way), (number, users)| {
            if *users == 0 {
                way.maps().iter().for_each(|map| batch.delete_keys(map, &[number.to_ne_bytes().to_vec()]));
                batch.flush_chain(&chain(*number));
                batch.delete_chain(&chain(*number));
            }
            *users > 0
        });
    }
}
