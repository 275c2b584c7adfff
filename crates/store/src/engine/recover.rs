//! Opening a store: the newest snapshot, then every commit behind it from the logs.

use super::files::{self, HEADER, LOG_MAGIC, Log, Tail, corrupt};
use super::frame::{self, Commit};
use super::memory::Memory;
use super::window::Window;
use super::{Options, snapshot};
use crate::{Key, Result, Revision};
use std::collections::HashMap;
use std::path::Path;

pub(super) struct Recovered {
    pub(super) memory: Memory,
    pub(super) log: Log,
    /// Keys that go away by themselves: when, in milliseconds since the epoch.
    pub(super) deadlines: HashMap<Key, u64>,
    /// Whether something on disk is sealed otherwise than it would be now.
    pub(super) stale: bool,
}

pub(super) fn recover(dir: &Path, options: &Options) -> Result<Recovered> {
    snapshot::sweep(dir)?;
    let mut memory = Memory::new(options.history_commits, options.history_bytes);
    let mut deadlines = HashMap::new();
    let mut stale = false;
    if let Some((_, path)) = files::list(dir, "snapshot-")?.pop() {
        let (revision, logged) = snapshot::read(&path, options.transform.as_deref())?;
        deadlines.extend(logged.iter().filter(|l| l.deadline > 0).map(|l| (l.event.entry.key.clone(), l.deadline)));
        stale |= logged.iter().any(|l| l.stale);
        memory.load(revision, logged.into_iter().map(|l| l.event.entry).collect());
    }
    let logs = files::list(dir, "log-")?;
    let mut last = None;
    for (index, (_, path)) in logs.iter().enumerate() {
        let newest = index + 1 == logs.len();
        let (end, outdated) = replay(path, newest, options, &mut memory, &mut deadlines)?;
        stale |= outdated;
        last = Some((path, end));
    }
    let log = match last {
        Some((path, end)) => Log::reopen(path, end as u64, options.segment_bytes)?,
        None => Log::create(dir, memory.revision(), options.segment_bytes)?,
    };
    Ok(Recovered { memory, log, deadlines, stale })
}

/// Applies the commits of one log that are not known yet; returns where its good frames end, and whether one is stale.
fn replay(
    path: &Path,
    newest: bool,
    options: &Options,
    memory: &mut Memory,
    deadlines: &mut HashMap<Key, u64>,
) -> Result<(usize, bool)> {
    let mut window = Window::open(path)?;
    // A log that was being made when the power went has no header yet and holds nothing.
    if newest && window.is_empty()? {
        let mut log = Log::reopen(path, 0, options.segment_bytes)?;
        log.append(&files::header(*LOG_MAGIC, memory.revision()))?;
        return Ok((HEADER, false));
    }
    files::read_header(path, window.at_least(HEADER)?, *LOG_MAGIC)?;
    window.advance(HEADER);
    let mut stale = false;
    loop {
        let at = window.offset();
        let Some(frame) = window.frame()? else { break };
        let length = frame::length(frame).unwrap_or(frame.len());
        let commits = frame::decode(frame, options.transform.as_deref());
        for commit in commits.map_err(|d| d.of(path, at as u64))? {
            stale |= commit.logged.iter().any(|l| l.stale);
            if commit.revision <= memory.revision() {
                continue;
            }
            if commit.revision != Revision(memory.revision().0 + 1) {
                let why = format!("revision {} follows {}", commit.revision, memory.revision());
                return Err(corrupt(path, at as u64, why));
            }
            apply(commit, memory, deadlines);
        }
        window.advance(length);
    }
    let at = window.offset();
    match window.tail()? {
        Tail::Clean => Ok((at, stale)),
        Tail::Torn if newest => {
            tracing::warn!(path = %path.display(), at, "cut the torn end of the log: it was never acknowledged");
            Ok((at, stale))
        }
        Tail::Torn | Tail::Damaged => Err(corrupt(path, at as u64, "a commit in the middle of the log cannot be read")),
    }
}

fn apply(commit: Commit, memory: &mut Memory, deadlines: &mut HashMap<Key, u64>) {
    let mut batch = commit.batch();
    let events = batch.events.iter().cloned().map(|mut e| {
        e.previous = memory.current(&e.entry.key).cloned();
        e
    });
    batch.events = events.collect::<Vec<_>>().into();
    for logged in &commit.logged {
        let key = logged.event.entry.key.clone();
        if logged.event.deleted || logged.deadline == 0 {
            deadlines.remove(&key);
        } else {
            deadlines.insert(key, logged.deadline);
        }
    }
    memory.apply(batch);
}
