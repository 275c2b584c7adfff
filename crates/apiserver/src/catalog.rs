//! Which kinds are served now: one table that requests, discovery, OpenAPI and readers in process look at.
//!
//! Invariants: a table is never changed, a new one takes its place, so that a request sees one state from its head to
//! its answer; finding a resource costs the same however many there are; what one change costs does not depend on how
//! many resources the other groups have.

mod group;

use arc_swap::ArcSwap;
use ironclad_api::GroupResource;
use ironclad_kinds::Kind;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};
use tokio::sync::watch;

pub(crate) use group::{Document, Group, Version, by_priority};

/// The table that is in force, and who is told when another takes its place.
pub(crate) struct Catalog {
    now: ArcSwap<Table>,
    /// One change at a time.
    changing: Mutex<()>,
    changed: watch::Sender<u64>,
}

impl Catalog {
    /// A catalog of kinds in the order of discovery, all of them part of the program.
    pub(crate) fn new(kinds: &[Arc<Kind>]) -> Self {
        let mut groups: HashMap<Arc<str>, Arc<Group>> = HashMap::new();
        let mut names: Vec<&str> = Vec::new();
        for kind in kinds {
            if !names.contains(&&*kind.group) {
                names.push(&kind.group);
            }
        }
        for (rank, name) in names.into_iter().enumerate() {
            let rows: Vec<Arc<Kind>> = kinds.iter().filter(|k| k.group == name).cloned().collect();
            groups.insert(name.into(), Arc::new(Group::new(name, rank as u32, rows)));
        }
        let table = Table { groups, order: OnceLock::new(), whole: OnceLock::new(), generation: 0 };
        Self { now: ArcSwap::from_pointee(table), changing: Mutex::default(), changed: watch::Sender::new(0) }
    }

    /// The table in force.
    pub(crate) fn now(&self) -> Arc<Table> {
        self.now.load_full()
    }

    /// Receives the number of the table whenever another one takes its place.
    pub(crate) fn follow(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Puts rows in the place of what is served of each resource; without rows it is served no longer.
    pub(crate) fn replace(&self, changes: Vec<(GroupResource, Vec<Arc<Kind>>)>) {
        let _one = self.changing.lock();
        let old = self.now();
        let mut by_group: BTreeMap<String, Vec<(String, Vec<Arc<Kind>>)>> = BTreeMap::new();
        for (resource, rows) in changes {
            by_group.entry(resource.group).or_default().push((resource.resource, rows));
        }
        let mut groups = old.groups.clone();
        for (name, changes) in by_group {
            let new = match groups.get(name.as_str()) {
                Some(group) => group.with(changes),
                None => Group::custom(&name).with(changes),
            };
            match new.is_empty() {
                true => drop(groups.remove(name.as_str())),
                false => drop(groups.insert(name.into(), Arc::new(new))),
            }
        }
        let generation = old.generation + 1;
        let table = Table { groups, order: OnceLock::new(), whole: OnceLock::new(), generation };
        self.now.store(Arc::new(table));
        self.changed.send_replace(generation);
    }
}

/// What is served at one moment.
pub(crate) struct Table {
    groups: HashMap<Arc<str>, Arc<Group>>,
    order: OnceLock<Vec<Arc<Group>>>,
    whole: OnceLock<Documents>,
    /// The number of the table: each has a greater one than the one before.
    generation: u64,
}

/// Documents about all groups.
#[derive(Default)]
pub(crate) struct Documents {
    /// OpenAPI of version 2, as JSON and as protobuf.
    pub(crate) openapi: [OnceLock<Document>; 2],
}

impl Table {
    /// The row of a resource that is served in a version.
    pub(crate) fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        self.groups.get(group)?.version(version)?.find(plural)
    }

    /// The row of a resource in the version in which it is stored, served or not.
    pub(crate) fn stored(&self, group: &str, plural: &str) -> Option<&Arc<Kind>> {
        self.groups.get(group)?.stored(plural)
    }

    /// A group; the core group has the empty name.
    pub(crate) fn group(&self, name: &str) -> Option<&Arc<Group>> {
        self.groups.get(name)
    }

    /// All groups in the order of discovery, the core group among them.
    pub(crate) fn groups(&self) -> &[Arc<Group>] {
        self.order.get_or_init(|| {
            let mut all: Vec<Arc<Group>> = self.groups.values().cloned().collect();
            all.sort_by(|a, b| (a.rank, a.name()).cmp(&(b.rank, b.name())));
            all
        })
    }

    /// Documents about all groups; kept as long as the table.
    pub(crate) fn documents(&self) -> &Documents {
        self.whole.get_or_init(Documents::default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(group: &str, version: &str, storage: &str, plural: &str) -> Arc<Kind> {
        let mut kind = (**ironclad_kinds::all().iter().find(|k| &*k.plural == "configmaps").unwrap()).clone();
        kind.group = group.to_owned().into();
        kind.version = version.to_owned().into();
        kind.storage_version = storage.to_owned().into();
        kind.plural = plural.to_owned().into();
        Arc::new(kind)
    }

    fn catalog() -> Catalog {
        Catalog::new(ironclad_kinds::all())
    }

    fn change(catalog: &Catalog, group: &str, plural: &str, versions: &[&str]) {
        let rows = versions.iter().map(|v| row(group, v, versions[0], plural)).collect();
        catalog.replace(vec![(GroupResource::new(group, plural), rows)]);
    }

    #[test]
    fn resources_come_and_go_and_an_older_table_stays_as_it_was() {
        let catalog = catalog();
        let before = catalog.now();
        assert!(before.find("", "v1", "pods").is_some());
        change(&catalog, "example.com", "widgets", &["v1", "v1beta1"]);
        change(&catalog, "example.com", "gadgets", &["v2"]);
        let now = catalog.now();
        assert!(before.group("example.com").is_none());
        assert_eq!(now.find("example.com", "v1beta1", "widgets").unwrap().version, "v1beta1");
        assert_eq!(now.stored("example.com", "widgets").unwrap().version, "v1");
        let versions: Vec<&str> = now.group("example.com").unwrap().versions().iter().map(|v| v.name()).collect();
        assert_eq!(versions, ["v2", "v1", "v1beta1"]);
        assert_eq!(now.groups().last().unwrap().name(), "example.com");
        change(&catalog, "example.com", "widgets", &[]);
        assert!(catalog.now().find("example.com", "v1", "widgets").is_none());
        assert!(catalog.now().find("example.com", "v2", "gadgets").is_some());
        change(&catalog, "example.com", "gadgets", &[]);
        assert!(catalog.now().group("example.com").is_none());
    }

    #[test]
    fn a_change_leaves_the_documents_of_other_groups_alone() {
        let catalog = catalog();
        let before = catalog.now();
        change(&catalog, "example.com", "widgets", &["v1"]);
        let now = catalog.now();
        assert!(Arc::ptr_eq(before.group("apps").unwrap(), now.group("apps").unwrap()));
        let tag = now.group("example.com").unwrap().tag().clone();
        change(&catalog, "example.com", "gadgets", &["v1"]);
        assert_ne!(catalog.now().group("example.com").unwrap().tag(), &tag);
    }

    #[test]
    fn followers_are_woken_by_a_change() {
        let catalog = catalog();
        let receiver = catalog.follow();
        assert!(!receiver.has_changed().unwrap());
        change(&catalog, "example.com", "widgets", &["v1"]);
        assert!(receiver.has_changed().unwrap());
    }
}
