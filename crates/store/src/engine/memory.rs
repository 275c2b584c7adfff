//! What the store holds in memory: the current entries, the recent history, the watchers.
//!
//! Invariant: entries, history and what watchers got change together, under one lock, one commit after the other.

use super::filtered;
use super::watch::{Sender, Watcher};
use crate::{Batch, Entry, Error, Key, Page, RangeQuery, Result, Revision};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

pub(super) struct Memory {
    entries: BTreeMap<Key, Entry>,
    history: VecDeque<Batch>,
    history_bytes: usize,
    max_commits: usize,
    max_bytes: usize,
    revision: Revision,
    /// The newest revision that history no longer reaches behind: reads and watches from before it fail.
    compacted: Revision,
    watchers: Vec<Sender>,
}

impl Memory {
    pub(super) fn new(max_commits: usize, max_bytes: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            history: VecDeque::new(),
            history_bytes: 0,
            max_commits,
            max_bytes,
            revision: Revision(0),
            compacted: Revision(0),
            watchers: Vec::new(),
        }
    }

    /// Starts from a snapshot: history begins there.
    pub(super) fn load(&mut self, revision: Revision, entries: Vec<Entry>) {
        self.entries = entries.into_iter().map(|e| (e.key.clone(), e)).collect();
        self.revision = revision;
        self.compacted = revision;
    }

    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    pub(super) fn current(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    pub(super) fn all(&self) -> Vec<Entry> {
        self.entries.values().cloned().collect()
    }

    /// Applies a commit and hands it to the watchers.
    pub(super) fn apply(&mut self, batch: Batch) {
        for event in batch.events.iter() {
            if event.deleted {
                self.entries.remove(&event.entry.key);
            } else {
                self.entries.insert(event.entry.key.clone(), event.entry.clone());
            }
        }
        self.revision = batch.revision;
        self.watchers.retain_mut(|w| w.offer(&batch));
        self.history_bytes += weight(&batch);
        self.history.push_back(batch);
        while self.history.len() > self.max_commits || self.history_bytes > self.max_bytes {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(batch) = self.history.pop_front() {
            self.history_bytes -= weight(&batch);
            self.compacted = batch.revision;
        }
    }

    pub(super) fn compact(&mut self, revision: Revision) -> Result<()> {
        if revision > self.revision {
            return Err(Error::Future { requested: revision, newest: self.revision });
        }
        while self.history.front().is_some_and(|b| b.revision <= revision) {
            self.forget_oldest();
        }
        self.compacted = self.compacted.max(revision);
        Ok(())
    }

    fn check(&self, at: Revision) -> Result<()> {
        if at < self.compacted {
            return Err(Error::Compacted { requested: at, oldest: self.compacted });
        }
        if at > self.revision {
            return Err(Error::Future { requested: at, newest: self.revision });
        }
        Ok(())
    }

    /// What differed from now at revision `at`: for each key changed since then, its entry at that time.
    fn undo(&self, prefix: &str, at: Revision) -> BTreeMap<Key, Option<Entry>> {
        let mut before = BTreeMap::new();
        for event in self.since(at).flat_map(|b| b.events.iter()) {
            if event.entry.key.starts_with(prefix) {
                before.entry(event.entry.key.clone()).or_insert_with(|| event.previous.clone());
            }
        }
        before
    }

    fn since(&self, after: Revision) -> impl Iterator<Item = &Batch> {
        let first = self.history.partition_point(|b| b.revision <= after);
        self.history.range(first..)
    }

    pub(super) fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Entry>> {
        let now = self.entries.get(key).cloned();
        let Some(at) = at else { return Ok(now) };
        self.check(at)?;
        if at == self.revision {
            return Ok(now);
        }
        let changed = self.since(at).flat_map(|b| b.events.iter()).find(|e| &*e.entry.key == key);
        Ok(changed.map_or(now, |e| e.previous.clone()))
    }

    pub(super) fn count(&self, prefix: &str) -> usize {
        self.walk(prefix, None).count()
    }

    fn walk(&self, prefix: &str, start_after: Option<&Key>) -> impl Iterator<Item = &Entry> {
        let first = match start_after {
            Some(key) if &**key >= prefix => Bound::Excluded(key.clone()),
            _ => Bound::Included(Key::from(prefix)),
        };
        self.entries.range((first, Bound::Unbounded)).take_while(move |(k, _)| k.starts_with(prefix)).map(|(_, e)| e)
    }

    pub(super) fn range(&self, query: &RangeQuery) -> Result<Page> {
        let at = query.at.unwrap_or(self.revision);
        self.check(at)?;
        let limit = if query.limit == 0 { usize::MAX } else { query.limit };
        let behind = query.start_after.as_ref();
        if at == self.revision {
            let mut walk = self.walk(&query.prefix, behind);
            let entries: Vec<Entry> = walk.by_ref().take(limit).cloned().collect();
            let remaining = if entries.len() == limit { walk.count() } else { 0 };
            return Ok(Page { entries, revision: at, remaining });
        }
        let mut then = self.undo(&query.prefix, at);
        then.retain(|k, _| behind.is_none_or(|b| k > b));
        for entry in self.walk(&query.prefix, behind) {
            then.entry(entry.key.clone()).or_insert_with(|| Some(entry.clone()));
        }
        let mut all = then.into_values().flatten();
        let entries: Vec<Entry> = all.by_ref().take(limit).collect();
        Ok(Page { entries, revision: at, remaining: all.count() })
    }

    pub(super) fn watch(&mut self, prefix: &str, after: Revision, buffer: usize) -> Result<Watcher> {
        self.check(after)?;
        let backlog: VecDeque<Batch> = self.since(after).filter_map(|b| filtered(b, prefix)).collect();
        let (sender, watcher) = Watcher::new(prefix, backlog, buffer);
        self.watchers.push(sender);
        Ok(watcher)
    }
}

fn weight(batch: &Batch) -> usize {
    batch.events.iter().map(|e| e.entry.value.bytes().len() + 128).sum()
}
