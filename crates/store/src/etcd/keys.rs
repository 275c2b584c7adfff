//! Which keys in etcd stand for which keys of the store: the first part can be another one (`--etcd-prefix`).

use crate::Key;
use bytes::Bytes;

/// Exchanges the first part of keys.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    /// With what keys of the store begin.
    pub(super) here: String,
    /// With what they begin in etcd instead.
    pub(super) there: String,
}

impl Keys {
    /// A key, or the beginning of keys, in etcd.
    pub(super) fn to_etcd(&self, key: &str) -> Bytes {
        match key.strip_prefix(&*self.here) {
            Some(rest) => Bytes::from([self.there.as_bytes(), rest.as_bytes()].concat()),
            // Shorter than what all keys begin with: all of them.
            None => Bytes::from(self.there.clone()),
        }
    }

    /// The store's key; `None` for what does not belong to it.
    pub(super) fn of_etcd(&self, key: &[u8]) -> Option<Key> {
        let rest = std::str::from_utf8(key).ok()?.strip_prefix(&*self.there)?;
        Some(format!("{}{rest}", self.here).into())
    }

    /// The first and the end of the keys that begin so.
    pub(super) fn range(&self, prefix: &str) -> (Bytes, Bytes) {
        let first = self.to_etcd(prefix);
        let end = end(&first);
        (if first.is_empty() { ALL } else { first }, end)
    }
}

/// As the first key: the least there can be; as an end: behind all.
pub(super) const ALL: Bytes = Bytes::from_static(&[0]);

/// The first key behind all that begin with `prefix`.
pub(super) fn end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return Bytes::from(end);
        }
    }
    ALL
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_change_their_first_part_and_come_back() {
        let keys = Keys { here: "/registry".into(), there: "/other".into() };
        let there = keys.to_etcd("/registry/pods/a/b");
        assert_eq!(there, "/other/pods/a/b");
        assert_eq!(keys.of_etcd(&there).as_deref(), Some("/registry/pods/a/b"));
        assert_eq!(keys.of_etcd(b"/compact_rev_key"), None);
        assert_eq!(keys.to_etcd("/"), "/other");
    }

    #[test]
    fn a_range_ends_behind_its_last_key() {
        let keys = Keys { here: String::new(), there: String::new() };
        assert_eq!(keys.range("/a/"), (Bytes::from("/a/"), Bytes::from("/a0")));
        assert_eq!(keys.range(""), (ALL, ALL));
        assert_eq!(end(&[0x61, 0xff]), Bytes::from_static(&[0x62]));
        assert_eq!(end(&[0xff]), ALL);
    }
}
