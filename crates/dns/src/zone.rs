//! What the cluster's names are, in shards that readers take without a lock.
//!
//! Invariant: a shard is never changed, only replaced.

use crate::Error;
use arc_swap::ArcSwap;
use hickory_proto::rr::Name;
use ironclad_client::ObjectKey;
use parking_lot::Mutex;
use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash};
use std::net::IpAddr;
use std::sync::Arc;

const SHARDS: usize = 512;
/// The most bytes that a name can have.
const LONGEST: usize = 255;

/// A port with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name, without underscore; may be empty.
    pub name: String,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// Its number.
    pub number: u16,
}

/// An endpoint of a headless Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its label: the host name, or the address with dashes.
    pub host: String,
    /// Its address.
    pub address: IpAddr,
    /// Its ports.
    pub ports: Vec<Port>,
}

/// What a Service's name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Addresses of the Service itself.
    Cluster {
        /// The addresses.
        addresses: Vec<IpAddr>,
        /// The ports.
        ports: Vec<Port>,
    },
    /// The endpoints' addresses.
    Headless(Vec<Endpoint>),
    /// Another name.
    External(Name),
}

impl Record {
    /// Addresses that lead back to this name, with the endpoint's label where it is one.
    fn reverse(&self) -> Vec<(IpAddr, Option<String>)> {
        match self {
            Self::Cluster { addresses, .. } => addresses.iter().map(|a| (*a, None)).collect(),
            Self::Headless(all) => all.iter().map(|e| (e.address, Some(e.host.clone()))).collect(),
            Self::External(_) => Vec::new(),
        }
    }
}

type Owner = (ObjectKey, Option<String>);

struct Sharded<K, V> {
    shards: Vec<ArcSwap<HashMap<K, V>>>,
    hasher: std::hash::RandomState,
}

impl<K: Hash + Eq + Clone, V: Clone> Sharded<K, V> {
    fn new() -> Self {
        let shards = (0..SHARDS).map(|_| ArcSwap::default()).collect();
        Self { shards, hasher: std::hash::RandomState::new() }
    }

    fn shard<Q: Hash + ?Sized>(&self, key: &Q) -> &ArcSwap<HashMap<K, V>> {
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }

    fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.shard(key).load().get(key).cloned()
    }

    /// Only called by the one writer at a time that holds the zone's lock.
    fn change(&self, key: &K, change: impl FnOnce(&mut HashMap<K, V>)) {
        let shard = self.shard(key);
        let mut copy = HashMap::clone(&shard.load());
        change(&mut copy);
        shard.store(Arc::new(copy));
    }
}

/// All names of the cluster.
pub struct Zone {
    origin: Name,
    services: Sharded<Box<[u8]>, Arc<Record>>,
    reverse: Sharded<IpAddr, Vec<Owner>>,
    namespaces: ArcSwap<HashSet<String>>,
    wire: Vec<u8>,
    writer: Mutex<()>,
}

impl Zone {
    /// An empty zone.
    pub fn new(domain: &str) -> Result<Self, Error> {
        let parsed = Name::from_ascii(format!("{}.", domain.trim_end_matches('.')));
        let origin = parsed.map_err(|source| Error::Domain { domain: domain.to_owned(), source })?;
        let origin = origin.to_lowercase();
        let failed = |source| Error::Domain { domain: domain.to_owned(), source };
        let wire = hickory_proto::serialize::binary::BinEncodable::to_bytes(&origin).map_err(failed)?;
        Ok(Self {
            origin,
            wire,
            services: Sharded::new(),
            reverse: Sharded::new(),
            namespaces: ArcSwap::default(),
            writer: Mutex::new(()),
        })
    }

    /// The cluster's domain.
    pub fn origin(&self) -> &Name {
        &self.origin
    }

    /// The cluster's domain as it stands in messages.
    pub(crate) fn wire(&self) -> &[u8] {
        &self.wire
    }

    /// What a Service's name stands for.
    pub fn service(&self, namespace: &str, name: &str) -> Option<Arc<Record>> {
        let mut key = [0; LONGEST];
        let length = name.len() + 1 + namespace.len();
        let key = key.get_mut(..length)?;
        key[..name.len()].copy_from_slice(name.as_bytes());
        key[name.len()] = b'.';
        key[name.len() + 1..].copy_from_slice(namespace.as_bytes());
        self.services.get(&*key)
    }

    /// Whether a namespace exists.
    pub fn has_namespace(&self, name: &str) -> bool {
        self.namespaces.load().contains(name)
    }

    /// Who has an address: Services, and labels of their endpoints.
    pub fn owners(&self, address: IpAddr) -> Vec<Owner> {
        self.reverse.get(&address).unwrap_or_default()
    }

    /// Says what a Service's name stands for now.
    pub fn set(&self, key: &ObjectKey, record: Option<Record>) {
        let _writer = self.writer.lock();
        let old = self.service(&key.namespace, &key.name);
        if old.as_deref() == record.as_ref() {
            return;
        }
        for (address, _) in old.iter().flat_map(|r| r.reverse()) {
            self.reverse.change(&address, |map| {
                if let Some(owners) = map.get_mut(&address) {
                    owners.retain(|(owner, _)| owner != key);
                    if owners.is_empty() {
                        map.remove(&address);
                    }
                }
            });
        }
        for (address, host) in record.iter().flat_map(Record::reverse) {
            self.reverse.change(&address, |map| map.entry(address).or_default().push((key.clone(), host)));
        }
        let name = format!("{}.{}", key.name, key.namespace).into_bytes().into_boxed_slice();
        self.services.change(&name, |map| match record {
            Some(record) => {
                map.insert(name.clone(), Arc::new(record));
            }
            None => {
                map.remove(&name);
            }
        });
    }

    /// Says whether a namespace exists.
    pub fn set_namespace(&self, name: &str, exists: bool) {
        let _writer = self.writer.lock();
        let mut copy = HashSet::clone(&self.namespaces.load());
        if exists {
            copy.insert(name.to_owned());
        } else {
            copy.remove(name);
        }
        self.namespaces.store(Arc::new(copy));
    }
}
