//! Clients that follow all changes, from server to server when one goes away, and what they must have seen.

use crate::writers::{END, Maps, Record, Write, state};
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{WatchEvent, WatchParams};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::task::JoinHandle;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sort {
    Added,
    Modified,
    Deleted,
}

#[derive(Debug)]
struct Event {
    sort: Sort,
    name: String,
    number: u64,
    revision: u64,
}

/// What one watcher saw, in order.
pub(crate) struct Seen(Vec<Event>);

pub(crate) struct Watcher(JoinHandle<Seen>);

impl Watcher {
    pub(crate) fn start(maps: Maps, first: usize, from: String) -> Self {
        Self(tokio::spawn(follow(maps, first, from)))
    }

    pub(crate) async fn finish(self) -> Seen {
        let seen = tokio::time::timeout(Duration::from_secs(60), self.0).await;
        seen.expect("the watch reaches the end").expect("the watch goes on")
    }
}

async fn follow(maps: Maps, mut server: usize, mut from: String) -> Seen {
    let mut seen = Vec::new();
    loop {
        if let Ok(stream) = maps[server % 2].watch(&WatchParams::default(), &from).await {
            let mut stream = stream.boxed();
            while let Some(Ok(event)) = stream.next().await {
                let (sort, map) = match event {
                    WatchEvent::Added(map) => (Sort::Added, map),
                    WatchEvent::Modified(map) => (Sort::Modified, map),
                    WatchEvent::Deleted(map) => (Sort::Deleted, map),
                    // Its history is always there.
                    WatchEvent::Error(status) => {
                        assert_ne!(status.code, 410, "a gap: {}", status.message);
                        break;
                    }
                    WatchEvent::Bookmark(_) => continue,
                };
                from = map.resource_version().expect("a revision");
                if map.name_any() == END {
                    return Seen(seen);
                }
                seen.extend(seen_of(sort, &map));
            }
        }
        server += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn seen_of(sort: Sort, map: &ConfigMap) -> Option<Event> {
    let (number, revision) = state(map)?;
    Some(Event { sort, name: map.name_any(), number, revision })
}

impl Seen {
    /// Each change once and in order, each fitting what was there before, and every acknowledged write among them.
    pub(crate) fn check(&self, record: &Record) {
        let repeated = self.0.windows(2).find(|pair| pair[0].revision >= pair[1].revision);
        assert!(repeated.is_none(), "repeated or out of order: {repeated:?}");
        let mut there: BTreeMap<&str, u64> = BTreeMap::new();
        for event in &self.0 {
            let before = match event.sort {
                Sort::Deleted => there.remove(&*event.name),
                _ => there.insert(&event.name, event.number),
            };
            assert_eq!(before.is_none(), event.sort == Sort::Added, "something is missing before {event:?}");
        }
        let events: BTreeSet<_> = self.0.iter().map(|e| (&*e.name, e.number, e.revision)).collect();
        let removed: BTreeSet<_> =
            self.0.iter().filter(|e| e.sort == Sort::Deleted).map(|e| (&*e.name, e.number)).collect();
        let shown = |write: &&Write| match write {
            Write::Put { name, number, revision } => events.contains(&(&**name, *number, *revision)),
            Write::Removed { name, number } => removed.contains(&(&**name, *number)),
        };
        let missing: Vec<&Write> = record.writes.iter().filter(|write| !shown(write)).collect();
        assert!(missing.is_empty(), "of {} writes were not seen: {missing:?}", record.writes.len());
    }
}
