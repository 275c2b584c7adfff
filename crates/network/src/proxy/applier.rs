//! Brings the kernel's table from what Services were to what they are.
//!
//! Invariants: `applied` is what the kernel holds; each key of a verdict map has one owner, and who came second gets
//! it when the owner lets it go.

use super::model::{Place, ServicePort};
use super::programme::{self, Key, Programme};
use crate::Result;
use crate::nft::{Batch, Socket, conntrack};
use ironclad_client::ObjectKey;
use std::collections::{BTreeSet, HashMap};
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
        })
    }

    /// Replaces the whole table in one transaction.
    pub fn replace(&mut self, wanted: Vec<(ObjectKey, Vec<ServicePort>)>, place: &Place) -> Result<()> {
        let before = std::mem::take(&mut self.applied);
        self.owners.clear();
        self.waiting.clear();
        self.hairpins.clear();
        let mut batch = Batch::new(&self.table);
        programme::frame(&mut batch);
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
        let mut new = programme::of(&ports, place);
        let old = self.applied.remove(&key).map(|a| a.programme).unwrap_or_default();
        let mut free = BTreeSet::new();
        for taken in old.verdicts.keys().filter(|k| !new.verdicts.contains_key(*k)) {
            self.owners.remove(taken);
            free.extend(self.waiting.remove(taken).unwrap_or_default());
        }
        free.remove(&key);
        let (owners, waiting) = (&mut self.owners, &mut self.waiting);
        new.verdicts.retain(|wanted, _| {
            let owner = owners.entry(wanted.clone()).or_insert_with(|| key.clone());
            if *owner != key {
                tracing::warn!(service = %key, %owner, "another Service has the same address and port");
                waiting.entry(wanted.clone()).or_default().insert(key.clone());
            }
            *owner == key
        });
        self.count_hairpins(batch, &old.hairpins, &new.hairpins);
        programme::difference(batch, &old, &new);
        if !ports.is_empty() {
            self.applied.insert(key, Applied { ports, programme: new });
        }
        free
    }

    fn count_hairpins(&mut self, batch: &mut Batch, old: &BTreeSet<IpAddr>, new: &BTreeSet<IpAddr>) {
        for address in new.difference(old) {
            let count = self.hairpins.entry(*address).or_default();
            *count += 1;
            if *count == 1 {
                let (set, key) = programme::hairpin(*address);
                batch.add_keys(&set, &[key]);
            }
        }
        for address in old.difference(new) {
            let count = self.hairpins.entry(*address).or_default();
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.hairpins.remove(address);
                let (set, key) = programme::hairpin(*address);
                batch.delete_keys(&set, &[key]);
            }
        }
    }
}
