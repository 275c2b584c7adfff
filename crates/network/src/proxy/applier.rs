//! Brings the kernel's table from what Services were to what they are.
//!
//! Invariants: `applied` is what the kernel holds; each key of an entry has one owner, and who came second gets it
//! when the owner lets it go; a change of endpoints writes those endpoints and how many they are.

use super::layout::{self, Key};
use super::model::{Backend, Place, ServicePort};
use super::numbers::Numbers;
use super::programme::{self, Entry, Programme};
use super::ways::{Way, Ways};
use crate::Result;
use crate::nft::{Batch, Socket, address_bytes, concat, conntrack};
use ironclad_client::ObjectKey;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

struct Applied {
    ports: Vec<ServicePort>,
    programme: Programme,
}

/// The kernel's table and what is known of it.
pub struct Applier {
    table: String,
    socket: Socket,
    conntrack: conntrack::Table,
    applied: HashMap<ObjectKey, Applied>,
    owners: HashMap<Key, ObjectKey>,
    waiting: HashMap<Key, BTreeSet<ObjectKey>>,
    hairpins: HashMap<IpAddr, usize>,
    numbers: Numbers,
    ways: Ways,
}

impl Applier {
    /// Opens sockets in the thread's network namespace; the table is left alone.
    pub fn open(cluster: &str) -> Result<Self> {
        Ok(Self {
            table: super::table(cluster),
            socket: Socket::open()?,
            conntrack: conntrack::Table::open()?,
            applied: HashMap::new(),
            owners: HashMap::new(),
            waiting: HashMap::new(),
            hairpins: HashMap::new(),
            numbers: Numbers::default(),
            ways: Ways::default(),
        })
    }

    /// Replaces the whole table in one transaction.
    pub fn replace(&mut self, wanted: Vec<(ObjectKey, Vec<ServicePort>)>, place: &Place) -> Result<()> {
        let before = std::mem::take(&mut self.applied);
        self.owners.clear();
        self.waiting.clear();
        self.hairpins.clear();
        self.numbers = Numbers::default();
        self.ways = Ways::default();
        let mut batch = Batch::new(&self.table);
        layout::frame(&mut batch, &place.pod_cidrs);
        let ports: Vec<ServicePort> = wanted.iter().flat_map(|(_, ports)| ports.clone()).collect();
        for (key, ports) in wanted {
            self.step(&mut batch, key, ports, place);
        }
        match self.socket.apply(batch) {
            Ok(()) => self.conntrack.forget_stale(&ports.iter().collect::<Vec<_>>()),
            Err(error) => {
                self.applied = before;
                Err(error)
            }
        }
    }

    /// Brings some Services to what they should be, in one transaction.
    pub fn update(&mut self, wanted: Vec<(ObjectKey, Vec<ServicePort>)>, place: &Place) -> Result<()> {
        let mut batch = Batch::new(&self.table);
        let mut changed: Vec<ServicePort> = Vec::new();
        let mut again = BTreeSet::new();
        for (key, ports) in wanted {
            let before = self.applied.get(&key).map(|a| a.ports.clone()).unwrap_or_default();
            if before == ports && !self.waiting.values().any(|w| w.contains(&key)) {
                continue;
            }
            // What a UDP port was is looked at too: its clients must not be kept on a way that is gone.
            let gone = before.into_iter().filter(|b| !ports.iter().any(|p| p.id == b.id));
            changed.extend(gone.map(|mut port| {
                port.cluster.clear();
                port.local.clear();
                port
            }));
            changed.extend(ports.iter().cloned());
            again.extend(self.step(&mut batch, key, ports, place));
        }
        for key in again {
            if let Some(ports) = self.applied.get(&key).map(|a| a.ports.clone()) {
                self.step(&mut batch, key, ports, place);
            }
        }
        self.ways.sweep(&mut batch);
        self.socket.apply(batch)?;
        self.conntrack.forget_stale(&changed.iter().collect::<Vec<_>>())
    }

    /// Writes one Service's difference; returns who waited for keys that are free now.
    fn step(
        &mut self,
        batch: &mut Batch,
        key: ObjectKey,
        ports: Vec<ServicePort>,
        place: &Place,
    ) -> BTreeSet<ObjectKey> {
        let old = self.applied.remove(&key);
        let (old_ports, old) = old.map(|a| (a.ports, a.programme)).unwrap_or_default();
        let numbered: Vec<_> = ports.iter().map(|port| (self.numbers.take(&port.id), port)).collect();
        let mut new = programme::of(&numbered, place, &old);
        let mut free = BTreeSet::new();
        for taken in old.entries.keys().filter(|k| !new.entries.contains_key(*k)) {
            self.owners.remove(taken);
            free.extend(self.waiting.remove(taken).unwrap_or_default());
        }
        free.remove(&key);
        let (owners, waiting) = (&mut self.owners, &mut self.waiting);
        new.entries.retain(|wanted, _| {
            let owner = owners.entry(wanted.clone()).or_insert_with(|| key.clone());
            if *owner != key {
                tracing::warn!(service = %key, %owner, "another Service has the same address and port");
                waiting.entry(wanted.clone()).or_default().insert(key.clone());
            }
            *owner == key
        });
        self.count_hairpins(batch, &old.hairpins, &new.hairpins);
        write_groups(batch, &old, &new);
        self.write_entries(batch, &old, &new, place);
        for gone in old_ports.iter().filter(|old| ports.iter().all(|port| port.id != old.id)) {
            self.numbers.release(&gone.id);
        }
        if !ports.is_empty() {
            self.applied.insert(key, Applied { ports, programme: new });
        }
        free
    }

    fn write_entries(&mut self, batch: &mut Batch, old: &Programme, new: &Programme, place: &Place) {
        let ways = |entry: &Entry| -> Vec<Way> {
            let split = entry.split.iter().flat_map(|(inside, others)| [inside.clone(), others.clone()]);
            std::iter::once(entry.way.clone()).chain(split).collect()
        };
        let added = || new.entries.iter().filter(|(key, entry)| old.entries.get(*key) != Some(*entry));
        for (_, entry) in added() {
            for way in ways(entry) {
                self.ways.take(batch, entry.family, &way, &place.pod_cidrs);
            }
        }
        for (key, entry) in old.entries.iter().filter(|(key, entry)| new.entries.get(*key) != Some(*entry)) {
            batch.delete_keys(key.0, std::slice::from_ref(&key.1));
            ways(entry).iter().for_each(|way| self.ways.release(entry.family, way));
        }
        for (key, entry) in added() {
            let number = |way: &Way| self.ways.number(entry.family, way).to_ne_bytes();
            let (inside, others) = entry.split.as_ref().map_or(([0; 4], [0; 4]), |(i, o)| (number(i), number(o)));
            let data = concat(&[&[0; 4], &number(&entry.way), &inside, &others, &entry.number.to_ne_bytes()]);
            batch.add_entries(key.0, &[(key.1.clone(), data)]);
        }
    }

    fn count_hairpins(&mut self, batch: &mut Batch, old: &BTreeSet<IpAddr>, new: &BTreeSet<IpAddr>) {
        for address in new.difference(old) {
            let count = self.hairpins.entry(*address).or_default();
            *count += 1;
            if *count == 1 {
                let (set, key) = layout::hairpin(*address);
                batch.add_keys(set, &[key]);
            }
        }
        for address in old.difference(new) {
            let count = self.hairpins.entry(*address).or_default();
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.hairpins.remove(address);
                let (set, key) = layout::hairpin(*address);
                batch.delete_keys(set, &[key]);
            }
        }
    }
}

/// Writes the endpoints whose place or belonging changed.
fn write_groups(batch: &mut Batch, old: &Programme, new: &Programme) {
    let (before, after) = (slots(old), slots(new));
    for (key, _) in before.iter().filter(|(key, backend)| after.get(*key) != Some(*backend)) {
        batch.delete_keys(key.0, std::slice::from_ref(&key.1));
    }
    for (key, backend) in after.iter().filter(|(key, backend)| before.get(*key) != Some(*backend)) {
        batch.add_entries(key.0, &[(key.1.clone(), concat(&[&[0; 4], backend]))]);
    }
    let (before, after) = (members(old), members(new));
    before.difference(&after).for_each(|key| batch.delete_keys(key.0, std::slice::from_ref(&key.1)));
    after.difference(&before).for_each(|key| batch.add_keys(key.0, std::slice::from_ref(&key.1)));
}

fn endpoint(number: u32, (address, port): &Backend) -> Vec<u8> {
    concat(&[&number.to_ne_bytes(), &address_bytes(*address), &port.to_be_bytes()])
}

/// A Service's endpoints by number and index.
fn slots(programme: &Programme) -> HashMap<Key, Vec<u8>> {
    let each = programme.groups.iter().flat_map(|(number, group)| {
        group.backends.iter().enumerate().map(|(place, backend)| {
            let key = concat(&[&number.to_ne_bytes(), &(place as u32).to_ne_bytes()]);
            ((layout::backends(group.family), key), endpoint(*number, backend))
        })
    });
    each.collect()
}

/// The endpoints with which clients may stay.
fn members(programme: &Programme) -> HashSet<Key> {
    let sticky = programme.groups.iter().filter(|(_, group)| group.sticky);
    let each = sticky.flat_map(|(number, group)| {
        group.backends.iter().map(|backend| (layout::members(group.family), endpoint(*number, backend)))
    });
    each.collect()
}
