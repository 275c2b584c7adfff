//! Answers kept for a while: a map whose entries end by themselves and whose size is bounded.
//!
//! Invariant: an entry is never seen after its end; when the map is full the entry that ends first makes room.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

struct Inner<K, V> {
    entries: HashMap<K, (Instant, V)>,
    by_end: BTreeSet<(Instant, K)>,
}

/// A bounded map of answers that end.
pub struct Expiring<K, V> {
    inner: Mutex<Inner<K, V>>,
    most: usize,
}

impl<K: Clone + Eq + Hash + Ord, V: Clone> Expiring<K, V> {
    /// A map of at most `most` entries.
    pub fn new(most: usize) -> Self {
        Self { inner: Mutex::new(Inner { entries: HashMap::new(), by_end: BTreeSet::new() }), most: most.max(1) }
    }

    /// The answer under `key` if it has not ended.
    pub fn get(&self, key: &K) -> Option<V> {
        self.get_at(key, Instant::now())
    }

    /// Keeps an answer for so long.
    pub fn put(&self, key: K, value: V, life: Duration) {
        self.put_at(key, value, Instant::now(), life);
    }

    /// Forgets everything.
    pub fn clear(&self) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.entries.clear();
        inner.by_end.clear();
    }

    fn get_at(&self, key: &K, now: Instant) -> Option<V> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.entries.get(key).filter(|(end, _)| *end > now).map(|(_, value)| value.clone())
    }

    fn put_at(&self, key: K, value: V, now: Instant, life: Duration) {
        if life.is_zero() {
            return;
        }
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let end = now + life;
        if let Some((old, _)) = inner.entries.insert(key.clone(), (end, value)) {
            inner.by_end.remove(&(old, key.clone()));
        }
        inner.by_end.insert((end, key));
        while let Some((end, key)) = inner.by_end.first().cloned() {
            if end > now && inner.entries.len() <= self.most {
                return;
            }
            inner.by_end.remove(&(end, key.clone()));
            inner.entries.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_end_and_the_first_to_end_makes_room() {
        let map = Expiring::new(2);
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        map.put_at("a", 1, now, second * 3);
        map.put_at("b", 2, now, second);
        map.put_at("c", 3, now, second * 2);
        assert_eq!((map.get_at(&"a", now), map.get_at(&"b", now), map.get_at(&"c", now)), (Some(1), None, Some(3)));
        assert_eq!(map.get_at(&"c", now + second * 2), None);
        map.put_at("d", 4, now + second * 2, second);
        assert_eq!(map.inner.lock().unwrap().entries.len(), 2, "what has ended is gone");
        map.put_at("a", 5, now, second * 9);
        assert_eq!(map.get_at(&"a", now + second * 5), Some(5));
    }
}
