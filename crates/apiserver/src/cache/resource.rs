//! The cache of one resource: its objects, an index where one pays, its recent changes, its watchers.

use super::counts::{Counts, Lists};
use super::object::{Cached, Changed};
use super::pick::Pick;
use super::watchers::{Scope, Subscription, Watchers};
use hashbrown::HashMap;
use ironclad_kinds::Kind;
use ironclad_store::{Entry, Event, Revision};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Changes that one resource remembers.
pub(super) const HISTORY: usize = 8192;
/// The field by which kubelets look for what is theirs.
const INDEXED: &str = "spec.nodeName";

type Sorted = BTreeMap<Arc<str>, Arc<Cached>>;

/// The objects, and those with a certain value of the indexed field.
#[derive(Default)]
struct Objects {
    all: Sorted,
    /// The newest change that is in here; all before it are.
    applied: Revision,
    by_value: HashMap<String, Sorted>,
}

/// The objects of one resource.
pub(crate) struct ResourceCache {
    pub(super) kind: Arc<Kind>,
    pick: Pick,
    /// The place of the indexed field in the kind's row.
    indexed: Option<usize>,
    objects: RwLock<Objects>,
    recent: Mutex<Recent>,
    watchers: Arc<Mutex<Watchers>>,
    bytes: AtomicUsize,
    pub(crate) counts: Arc<Counts>,
}

struct Recent {
    changes: VecDeque<Arc<Changed>>,
    /// Changes behind this revision are complete.
    since: Revision,
    /// The number of the next change.
    next: u64,
    /// Another cache has taken its place, or its resource is gone.
    closed: bool,
}

impl Objects {
    fn index(&mut self, field: Option<usize>, previous: Option<&Arc<Cached>>, now: Option<&Arc<Cached>>) {
        let Some(field) = field else { return };
        if let Some(previous) = previous {
            let value = previous.selectable(field);
            if let Some(list) = self.by_value.get_mut(value) {
                list.remove(&previous.key);
                if list.is_empty() {
                    self.by_value.remove(value);
                }
            }
        }
        if let Some(now) = now {
            self.by_value.entry_ref(now.selectable(field)).or_default().insert(now.key.clone(), now.clone());
        }
    }
}

fn walk(objects: &Sorted, prefix: &str, after: Option<&str>) -> Vec<Arc<Cached>> {
    let first = match after {
        Some(key) if key >= prefix => Bound::Excluded(Arc::from(key)),
        _ => Bound::Included(Arc::from(prefix)),
    };
    let range = objects.range::<Arc<str>, _>((first, Bound::Unbounded));
    range.take_while(|(k, _)| k.starts_with(prefix)).map(|(_, v)| v.clone()).collect()
}

impl ResourceCache {
    pub(super) fn new(kind: Arc<Kind>, counts: Arc<Counts>) -> Self {
        let recent = Recent { changes: VecDeque::new(), since: Revision(0), next: 0, closed: false };
        Self {
            pick: Pick::of(&kind),
            indexed: kind.selectable.iter().position(|f| f == INDEXED),
            kind,
            objects: RwLock::default(),
            recent: Mutex::new(recent),
            watchers: Arc::default(),
            bytes: AtomicUsize::new(0),
            counts,
        }
    }

    pub(crate) fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Ends every watch.
    pub(super) fn close(&self) {
        self.recent.lock().closed = true;
        self.watchers.lock().end();
    }

    /// All is there; changes up to this revision are not remembered.
    pub(super) fn complete_since(&self, revision: Revision) {
        let count = self.len();
        self.counts.fillings.add(1);
        self.counts.stored.add(count, count);
        self.recent.lock().since = revision;
    }

    /// An entry of the store as this cache would hold it.
    pub(crate) fn cached(&self, entry: &Entry) -> Cached {
        Cached::of(&self.kind, &self.pick, entry)
    }

    pub(crate) fn get(&self, key: &str) -> Option<Arc<Cached>> {
        self.objects.read().all.get(key).cloned()
    }

    /// The objects whose keys begin with `prefix`, behind `after`.
    pub(crate) fn list(&self, prefix: &str, after: Option<&str>) -> Vec<Arc<Cached>> {
        walk(&self.objects.read().all, prefix, after)
    }

    /// The same, of what a scope can see where an index or the key finds it, else of all; and the newest change that it
    /// shows.
    pub(crate) fn list_in(&self, scope: &Scope, prefix: &str, after: Option<&str>) -> (Vec<Arc<Cached>>, Revision) {
        let objects = self.objects.read();
        (self.select(&objects, scope, prefix, after), objects.applied)
    }

    /// What lists of a scope are counted as.
    pub(crate) fn lists(&self, scope: &Scope) -> &Lists {
        let indexed = matches!(scope, Scope::Field(field, _) if Some(*field) == self.indexed);
        &self.counts.lists[usize::from(indexed)]
    }

    fn select(&self, objects: &Objects, scope: &Scope, prefix: &str, after: Option<&str>) -> Vec<Arc<Cached>> {
        match scope {
            Scope::Field(field, value) if Some(*field) == self.indexed => {
                objects.by_value.get(&**value).map(|list| walk(list, prefix, after)).unwrap_or_default()
            }
            Scope::Name(name) if prefix.len() > self.kind.prefix.len() || !self.kind.namespaced => {
                let key = format!("{prefix}{name}");
                let found = objects.all.get(&*key).filter(|_| after.is_none_or(|a| *key > *a));
                found.cloned().into_iter().collect()
            }
            _ => walk(&objects.all, prefix, after),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.objects.read().all.len()
    }

    /// How many watchers see changes of an object.
    pub(crate) fn interested(&self, namespace: &str, name: &str) -> usize {
        self.watchers.lock().interested(namespace, name)
    }

    /// How many objects there are, and their bytes.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.len(), self.bytes.load(Ordering::Relaxed))
    }

    pub(super) fn load(&self, entry: &Entry) {
        self.bytes.fetch_add(entry.value.bytes().len(), Ordering::Relaxed);
        let object = Arc::new(self.cached(entry));
        let mut objects = self.objects.write();
        objects.index(self.indexed, None, Some(&object));
        objects.all.insert(entry.key.clone(), object);
    }

    /// Takes over all changes of a commit at once; they are offered to watchers by [`Self::offer`].
    pub(super) fn apply<'a>(&self, events: impl Iterator<Item = &'a Event>, revision: Revision) -> Vec<Arc<Changed>> {
        let made: Vec<(Arc<Cached>, bool)> = events.map(|e| (Arc::new(self.cached(&e.entry)), e.deleted)).collect();
        let mut objects = self.objects.write();
        // Under the lock of the objects, so that a snapshot and a subscription fit together.
        let mut recent = self.recent.lock();
        objects.applied = revision;
        made.into_iter().map(|(o, deleted)| self.apply_one(&mut objects, &mut recent, o, deleted, revision)).collect()
    }

    fn apply_one(
        &self,
        objects: &mut Objects,
        recent: &mut Recent,
        object: Arc<Cached>,
        deleted: bool,
        revision: Revision,
    ) -> Arc<Changed> {
        let previous = match deleted {
            true => objects.all.remove(&object.key),
            false => objects.all.insert(object.key.clone(), object.clone()),
        };
        let now = Some(&object).filter(|_| !deleted);
        objects.index(self.indexed, previous.as_ref(), now);
        let came = now.map_or(0, |o| o.bytes.len());
        let went = previous.as_ref().map_or(0, |p| p.bytes.len());
        // One task applies all changes.
        self.bytes.store((self.bytes.load(Ordering::Relaxed) + came).saturating_sub(went), Ordering::Relaxed);
        let number = recent.next;
        recent.next += 1;
        let change = Arc::new(Changed { revision, number, object, deleted, previous });
        recent.changes.push_back(change.clone());
        if recent.changes.len() > HISTORY
            && let Some(oldest) = recent.changes.pop_front()
        {
            recent.since = oldest.revision;
        }
        change
    }

    /// Offers a change to the watchers that may see it.
    pub(super) fn offer(&self, change: &Arc<Changed>) {
        let offered = self.watchers.lock().offer(change) as u64;
        self.counts.received.add(1);
        self.counts.offered(change.object.bytes.len(), offered);
    }

    fn subscribe(&self, recent: &Recent, scope: Scope) -> Subscription {
        match recent.closed {
            true => Subscription::over(&self.watchers, scope),
            false => Subscription::new(&self.watchers, scope, recent.next),
        }
    }

    /// Every change behind `after`: what is remembered, then what comes. `Err` with the oldest possible revision.
    pub(crate) fn watch(&self, after: Revision, scope: Scope) -> Result<(Vec<Arc<Changed>>, Subscription), Revision> {
        let recent = self.recent.lock();
        if after < recent.since {
            return Err(recent.since);
        }
        let first = recent.changes.partition_point(|c| c.revision <= after);
        let missed = recent.changes.range(first..).cloned().collect();
        Ok((missed, self.subscribe(&recent, scope)))
    }

    /// The objects of a scope, the newest change that they show, and the changes that follow exactly behind them.
    pub(crate) fn snapshot(&self, scope: Scope, prefix: &str) -> (Vec<Arc<Cached>>, Revision, Subscription) {
        let objects = self.objects.read();
        let recent = self.recent.lock();
        let found = self.select(&objects, &scope, prefix, None);
        (found, objects.applied, self.subscribe(&recent, scope))
    }
}
