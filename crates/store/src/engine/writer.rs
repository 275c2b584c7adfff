//! The one thread that writes: it gathers what waits, checks it, makes it durable with one sync, then publishes it.

use super::files::{HEADER, Log};
use super::frame::{self, Commit, Logged};
use super::memory::Memory;
use super::{Message, Options, Request, snapshot};
use crate::{Change, Committed, Entry, Error, Event, Expect, Key, Op, Result, Revision};
use parking_lot::RwLock;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::oneshot;

/// Commits that share one sync.
const GROUP: usize = 2048;
/// Bytes that share one sync.
const GROUP_BYTES: usize = 8 << 20;
/// How long after the disk was full what has expired is tried again.
const FULL: Duration = Duration::from_secs(1);

/// The largest buffer that is kept from round to round.
const BUFFERED: usize = 64 << 10;

pub(super) struct Writer {
    dir: PathBuf,
    options: Options,
    memory: Arc<RwLock<Memory>>,
    log: Log,
    /// Where a round is encoded.
    buffer: Vec<u8>,
    deadlines: HashMap<Key, u64>,
    by_deadline: BTreeSet<(u64, Key)>,
    /// Bytes of logs that came before the present one, behind the last snapshot.
    older_bytes: u64,
    snapshotting: Arc<AtomicBool>,
    snapshotter: Option<std::thread::JoinHandle<()>>,
    /// Bytes of log behind the last snapshot that lead to the next one: more when there is more to write.
    next_snapshot: Arc<AtomicU64>,
    /// There was no room: what nobody waits for is not tried before.
    full_until: Option<Instant>,
    failed: Option<String>,
}

/// What one round has prepared and not published yet.
struct Round {
    commits: Vec<Commit>,
    answers: Vec<(oneshot::Sender<Result<Committed>>, Result<Committed>)>,
    /// What the commits of this round make of keys.
    pending: HashMap<Key, Option<Entry>>,
    revision: Revision,
    bytes: usize,
}

impl Writer {
    pub(super) fn new(
        dir: &Path,
        options: Options,
        memory: Arc<RwLock<Memory>>,
        log: Log,
        deadlines: HashMap<Key, u64>,
    ) -> Self {
        let by_deadline = deadlines.iter().map(|(k, d)| (*d, k.clone())).collect();
        let snapshotting = Arc::new(AtomicBool::new(false));
        let next_snapshot = Arc::new(AtomicU64::new(options.snapshot_bytes));
        let dir = dir.to_owned();
        Self {
            dir,
            options,
            memory,
            log,
            buffer: Vec::new(),
            deadlines,
            by_deadline,
            older_bytes: 0,
            snapshotting,
            snapshotter: None,
            next_snapshot,
            full_until: None,
            failed: None,
        }
    }

    /// Serves requests until every sender is gone.
    pub(super) fn run(mut self, requests: &Receiver<Message>) {
        loop {
            let first = match self.next_deadline() {
                None => requests.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(wait) => requests.recv_timeout(wait),
            };
            let mut round = self.begin();
            match first {
                Ok(message) => self.take(message, &mut round),
                Err(RecvTimeoutError::Disconnected) => return self.settle(),
                Err(RecvTimeoutError::Timeout) => {}
            }
            while round.answers.len() < GROUP && round.bytes < GROUP_BYTES {
                let Ok(message) = requests.try_recv() else { break };
                self.take(message, &mut round);
            }
            self.expire(&mut round);
            self.finish(round);
        }
    }

    fn next_deadline(&self) -> Option<Duration> {
        let (deadline, _) = self.by_deadline.first()?;
        let until = self.full_until.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
        Some(until.max(Duration::from_millis(deadline.saturating_sub(now()))))
    }

    fn begin(&self) -> Round {
        let revision = self.memory.read().revision();
        Round { commits: Vec::new(), answers: Vec::new(), pending: HashMap::new(), revision, bytes: 0 }
    }

    /// Waits for a snapshot that is being written: whoever opens the store next finds its files at rest.
    fn settle(&mut self) {
        if let Some(thread) = self.snapshotter.take() {
            // One that panicked has left its `.new` file, which nobody reads.
            let _ = thread.join();
        }
    }

    fn take(&mut self, message: Message, round: &mut Round) {
        match message {
            Message::Commit(request) => self.prepare(request, round),
            // A caller that went away does not wait for the answer.
            Message::Reseal(reply) => drop(reply.send(self.reseal())),
        }
    }

    /// Writes everything that is visible into a snapshot, as it is sealed now, and goes on in a new log.
    pub(super) fn reseal(&mut self) -> Result<()> {
        self.settle();
        let revision = self.memory.read().revision();
        if self.log.len() > HEADER as u64 {
            self.log = Log::create(&self.dir, revision, self.options.segment_bytes)?;
        }
        self.older_bytes = 0;
        let entries = self.memory.read().all();
        snapshot::write(&self.dir, revision, &entries, &self.deadlines, self.options.transform.as_deref()).map(drop)
    }

    /// Checks a request against what will be there before it, and prepares its commit.
    fn prepare(&self, request: Request, round: &mut Round) {
        let answer = match &self.failed {
            Some(why) => Err(Error::Closed(why.clone())),
            None => self.commit(request.ops, round),
        };
        drop(request.place);
        round.answers.push((request.reply, answer));
    }

    fn current(&self, key: &Key, round: &Round) -> Option<Entry> {
        match round.pending.get(key) {
            Some(pending) => pending.clone(),
            None => self.memory.read().current(key).cloned(),
        }
    }

    fn commit(&self, ops: Vec<Op>, round: &mut Round) -> Result<Committed> {
        let mut before = Vec::with_capacity(ops.len());
        for op in &ops {
            let current = self.current(&op.key, round);
            let holds = match op.expect {
                Expect::Any => true,
                Expect::Absent => current.is_none(),
                Expect::Modified(revision) => current.as_ref().is_some_and(|e| e.modified == revision),
            };
            if !holds {
                return Err(Error::Conflict { key: op.key.clone(), current: current.map(Box::new) });
            }
            before.push(current);
        }
        let revision = Revision(round.revision.0 + 1);
        let logged: Vec<Option<Logged>> =
            ops.into_iter().zip(before).map(|(op, previous)| log_op(op, previous, revision)).collect();
        let entries = logged.iter().map(|l| l.as_ref().map(|l| l.event.entry.clone())).collect();
        let logged: Vec<Logged> = logged.into_iter().flatten().collect();
        if logged.is_empty() {
            // Only checks, or removals of what was not there: nothing to write.
            return Ok(Committed { revision: round.revision, entries });
        }
        for l in &logged {
            let after = (!l.event.deleted).then(|| l.event.entry.clone());
            round.pending.insert(l.event.entry.key.clone(), after);
            round.bytes += l.template.len();
        }
        round.revision = revision;
        round.commits.push(Commit { revision, logged });
        Ok(Committed { revision, entries })
    }

    /// Adds the removal of every key whose time has come.
    fn expire(&mut self, round: &mut Round) {
        let now = now();
        while let Some((deadline, key)) = self.by_deadline.first().cloned().filter(|(d, _)| *d <= now) {
            self.by_deadline.remove(&(deadline, key.clone()));
            // A commit of this round may have given the key a new life.
            if self.failed.is_some() || round.pending.contains_key(&key) || self.deadlines.get(&key) != Some(&deadline)
            {
                continue;
            }
            let op = Op { key, expect: Expect::Any, change: Change::Delete { last: None } };
            if let Err(error) = self.commit(vec![op], round) {
                tracing::error!(%error, "cannot remove what has expired");
            }
        }
    }

    /// Makes the round durable, then visible, then answers.
    fn finish(&mut self, round: Round) {
        if !round.commits.is_empty()
            && let Err(error) = self.persist(&round)
        {
            return self.refuse(round, &error);
        }
        self.full_until = None;
        {
            let mut memory = self.memory.write();
            for commit in &round.commits {
                memory.apply(commit.batch());
            }
        }
        for commit in &round.commits {
            self.track_deadlines(commit);
        }
        for (reply, answer) in round.answers {
            let _ = reply.send(answer);
        }
        if let Err(error) = self.rotate()
            && !matches!(error, Error::Full(_))
        {
            tracing::error!(%error, "the store accepts nothing more");
            self.failed = Some(error.to_string());
        }
    }

    /// Tells everybody in a round that nothing of it was stored. Only what leaves the disk's state unknown is the end.
    fn refuse(&mut self, round: Round, error: &Error) {
        let (why, full) = (error.to_string(), matches!(error, Error::Full(_)));
        let passes = full || matches!(error, Error::Value { .. });
        if !passes {
            tracing::error!(%error, "the store accepts nothing more");
            self.failed = Some(why.clone());
        }
        if full {
            self.full_until = Some(Instant::now() + FULL);
        }
        // What was to expire in this round has not.
        self.by_deadline = self.deadlines.iter().map(|(k, d)| (*d, k.clone())).collect();
        // Conflicts too: they may be with what was not stored.
        for (reply, _) in round.answers {
            let refused = match error {
                Error::Full(why) => Error::Full(why.clone()),
                Error::Value { key, why } => Error::Value { key: key.clone(), why: why.clone() },
                _ => Error::Closed(why.clone()),
            };
            // A caller that went away does not wait for the answer.
            let _ = reply.send(Err(refused));
        }
    }

    fn persist(&mut self, round: &Round) -> Result<()> {
        self.buffer.clear();
        self.buffer.shrink_to(BUFFERED);
        self.buffer.reserve(round.bytes + 128 * round.commits.len());
        frame::encode(&round.commits, self.options.transform.as_deref(), &mut self.buffer)
            .map_err(|(key, why)| Error::Value { key, why })?;
        self.log.append(&self.buffer)
    }

    fn track_deadlines(&mut self, commit: &Commit) {
        for logged in &commit.logged {
            let key = &logged.event.entry.key;
            if let Some(old) = self.deadlines.remove(key) {
                self.by_deadline.remove(&(old, key.clone()));
            }
            if !logged.event.deleted && logged.deadline > 0 {
                self.deadlines.insert(key.clone(), logged.deadline);
                self.by_deadline.insert((logged.deadline, key.clone()));
            }
        }
    }

    /// Begins a new log when this one is full, and a snapshot when there is much log.
    fn rotate(&mut self) -> Result<()> {
        if self.log.len() < self.options.segment_bytes {
            return Ok(());
        }
        let revision = self.memory.read().revision();
        // Without room for another log this one goes on.
        let next = Log::create(&self.dir, revision, self.options.segment_bytes)?;
        self.older_bytes += self.log.len();
        self.log = next;
        let due = self.older_bytes >= self.next_snapshot.load(Ordering::Acquire);
        if due && !self.snapshotting.swap(true, Ordering::AcqRel) {
            self.older_bytes = 0;
            self.snapshot(revision);
        }
        Ok(())
    }

    /// Writes a snapshot beside the work. Here entries are only shared; the snapshot's own thread encodes them.
    fn snapshot(&mut self, revision: Revision) {
        let (entries, deadlines) = (self.memory.read().all(), self.deadlines.clone());
        let (dir, transform, busy) = (self.dir.clone(), self.options.transform.clone(), self.snapshotting.clone());
        let (next, least) = (self.next_snapshot.clone(), self.options.snapshot_bytes);
        let work = move || {
            match snapshot::write(&dir, revision, &entries, &deadlines, transform.as_deref()) {
                // Snapshots cost no more than the log itself.
                Ok(bytes) => next.store(bytes.max(least), Ordering::Release),
                Err(error) => {
                    tracing::error!(%error, "cannot write a snapshot; the log goes on growing");
                    next.store(0, Ordering::Release);
                }
            }
            busy.store(false, Ordering::Release);
        };
        match std::thread::Builder::new().name("store-snapshot".into()).spawn(work) {
            Ok(thread) => self.snapshotter = Some(thread),
            Err(error) => {
                tracing::error!(%error, "cannot start a snapshot");
                self.snapshotting.store(false, Ordering::Release);
            }
        }
    }
}

/// What an operation writes; `None` when it changes nothing.
fn log_op(op: Op, previous: Option<Entry>, revision: Revision) -> Option<Logged> {
    let created = previous.as_ref().map_or(revision, |p| p.created);
    let (template, deleted, deadline) = match op.change {
        Change::Check => return None,
        Change::Put { value, ttl } => {
            let deadline = ttl.map_or(0, |ttl| now() + ttl.as_millis() as u64);
            (value, false, deadline)
        }
        Change::Delete { last } => {
            let stored = previous.as_ref()?;
            (last.unwrap_or_else(|| stored.value.template()), true, 0)
        }
    };
    let entry = Entry { key: op.key, value: template.render(revision), modified: revision, created };
    Some(Logged { event: Event { entry, deleted, previous }, template, deadline, stale: false })
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}
