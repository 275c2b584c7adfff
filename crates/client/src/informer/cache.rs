//! The objects of an informer with their indexes. Plain data; the informer locks it.

use super::{Change, ObjectKey};
use kube::Resource;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

type KeysOf<K> = Box<dyn Fn(&K) -> Vec<String> + Send + Sync>;

struct Index<K> {
    keys: KeysOf<K>,
    found: HashMap<String, BTreeSet<ObjectKey>>,
}

impl<K> Index<K> {
    fn insert(&mut self, key: &ObjectKey, object: &K) {
        for value in (self.keys)(object) {
            self.found.entry(value).or_default().insert(key.clone());
        }
    }

    fn remove(&mut self, key: &ObjectKey, object: &K) {
        for value in (self.keys)(object) {
            if let Some(set) = self.found.get_mut(&value) {
                set.remove(key);
                if set.is_empty() {
                    self.found.remove(&value);
                }
            }
        }
    }
}

pub(super) struct Cache<K> {
    objects: BTreeMap<ObjectKey, Arc<K>>,
    indexes: HashMap<&'static str, Index<K>>,
}

impl<K> Default for Cache<K> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), indexes: HashMap::new() }
    }
}

impl<K: Resource> Cache<K> {
    pub(super) fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.objects.get(key).cloned()
    }

    pub(super) fn len(&self) -> usize {
        self.objects.len()
    }

    pub(super) fn list(&self) -> Vec<Arc<K>> {
        self.objects.values().cloned().collect()
    }

    pub(super) fn list_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let first = Bound::Included(ObjectKey::new(namespace, ""));
        let rest = self.objects.range((first, Bound::Unbounded));
        rest.take_while(|(k, _)| k.namespace == namespace).map(|(_, v)| v.clone()).collect()
    }

    pub(super) fn keys_except(&self, keep: &HashSet<ObjectKey>) -> Vec<ObjectKey> {
        self.objects.keys().filter(|k| !keep.contains(*k)).cloned().collect()
    }

    pub(super) fn add_index(&mut self, name: &'static str, keys: KeysOf<K>) {
        if self.indexes.contains_key(name) {
            return;
        }
        let mut index = Index { keys, found: HashMap::new() };
        for (key, object) in &self.objects {
            index.insert(key, object);
        }
        self.indexes.insert(name, index);
    }

    pub(super) fn by_index(&self, name: &str, value: &str) -> Vec<Arc<K>> {
        let keys = self.indexes.get(name).and_then(|i| i.found.get(value));
        keys.into_iter().flatten().filter_map(|k| self.objects.get(k).cloned()).collect()
    }

    /// Stores an object; `None` when exactly this version is there already.
    pub(super) fn put(&mut self, object: Arc<K>) -> Option<Change<K>> {
        let key = ObjectKey::of(&*object);
        let old = self.objects.insert(key.clone(), object.clone());
        for index in self.indexes.values_mut() {
            if let Some(old) = &old {
                index.remove(&key, old);
            }
            index.insert(&key, &object);
        }
        match old {
            Some(old) if same_version(&*old, &*object) => None,
            Some(old) => Some(Change::Modified { old, new: object }),
            None => Some(Change::Added(object)),
        }
    }

    pub(super) fn remove(&mut self, key: &ObjectKey) -> Option<Arc<K>> {
        let object = self.objects.remove(key)?;
        for index in self.indexes.values_mut() {
            index.remove(key, &object);
        }
        Some(object)
    }
}

fn same_version<K: Resource>(a: &K, b: &K) -> bool {
    let (a, b) = (a.meta(), b.meta());
    a.uid == b.uid && a.resource_version.is_some() && a.resource_version == b.resource_version
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;

    fn object(namespace: &str, name: &str, version: &str, app: &str) -> Arc<ConfigMap> {
        let mut c = ConfigMap::default();
        c.metadata.namespace = Some(namespace.into());
        c.metadata.name = Some(name.into());
        c.metadata.resource_version = Some(version.into());
        c.metadata.labels = Some([("app".to_owned(), app.to_owned())].into());
        Arc::new(c)
    }

    #[test]
    fn indexes_follow_changes() {
        let mut cache = Cache::default();
        cache.put(object("a", "x", "1", "web"));
        cache.add_index(
            "app",
            Box::new(|c: &ConfigMap| c.metadata.labels.iter().flatten().map(|l| l.1.clone()).collect()),
        );
        assert_eq!(cache.by_index("app", "web").len(), 1);
        assert!(matches!(cache.put(object("a", "x", "2", "db")), Some(Change::Modified { .. })));
        assert!(cache.by_index("app", "web").is_empty());
        assert_eq!(cache.by_index("app", "db").len(), 1);
        cache.remove(&ObjectKey::new("a", "x"));
        assert!(cache.by_index("app", "db").is_empty());
    }

    #[test]
    fn the_same_version_again_is_no_change() {
        let mut cache = Cache::default();
        assert!(matches!(cache.put(object("a", "x", "1", "web")), Some(Change::Added(_))));
        assert!(cache.put(object("a", "x", "1", "web")).is_none());
    }

    #[test]
    fn a_namespace_lists_only_its_own() {
        let mut cache = Cache::default();
        for (ns, name) in [("a", "1"), ("ab", "2"), ("b", "3"), ("a", "4")] {
            cache.put(object(ns, name, "1", "x"));
        }
        let names: Vec<_> = cache.list_namespace("a").iter().map(|c| c.metadata.name.clone().unwrap()).collect();
        assert_eq!(names, ["1", "4"]);
    }
}
