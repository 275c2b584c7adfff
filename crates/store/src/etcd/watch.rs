//! Watches: a stream of etcd's, taken up again behind the last batch when it breaks.
//!
//! A watch is a small state machine: it has a stream or makes one; what the stream brings becomes batches of one
//! revision each. A member's word on how far a watch is counts only from versions on in which it follows the events.

use super::client::{interpret, reason};
use super::wire::{self, WatchRequest, WatchResponse, Watching};
use super::{Inner, header, keys, revision};
use crate::{Batch, Entry, Error, Event, Result, Revision, Watch};
use async_trait::async_trait;
use futures::StreamExt;
use http::uri::PathAndQuery;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::metadata::MetadataValue;
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

/// How long a new stream may take to begin.
const BEGIN: Duration = Duration::from_secs(10);

pub(super) struct Watcher {
    inner: Arc<Inner>,
    prefix: String,
    /// Everything up to here was handed out.
    last: Revision,
    stream: Option<Stream>,
    ready: VecDeque<Batch>,
    /// Events of an answer that comes in pieces.
    pieces: Vec<wire::Event>,
    asked: tokio::sync::watch::Receiver<()>,
    pause: Duration,
}

struct Stream {
    member: usize,
    /// Whether this member can be asked how far the watch is.
    tells: bool,
    questions: mpsc::Sender<WatchRequest>,
    answers: Streaming<WatchResponse>,
}

impl Watcher {
    pub(super) async fn start(inner: Arc<Inner>, prefix: &str, after: Revision) -> Result<Self> {
        if after < inner.forgotten() {
            return Err(Error::Compacted { requested: after, oldest: inner.forgotten() });
        }
        let newest = inner.newest().await?;
        if after > newest {
            return Err(Error::Future { requested: after, newest });
        }
        let asked = inner.progress.subscribe();
        let (ready, pieces) = (VecDeque::new(), Vec::new());
        let prefix = prefix.to_owned();
        let mut watcher =
            Self { inner, prefix, last: after, stream: None, ready, pieces, asked, pause: Duration::ZERO };
        watcher.connect().await?;
        Ok(watcher)
    }

    /// Makes a stream, however long that takes; fails only when the watch cannot go on at all.
    async fn connect(&mut self) -> Result<()> {
        loop {
            let (member, _) = self.inner.client.member();
            let begun = tokio::time::timeout(BEGIN, self.begin());
            let why = match begun.await {
                Ok(Ok(())) => {
                    self.pause = Duration::ZERO;
                    return Ok(());
                }
                Ok(Err(Error::Unavailable(why))) => why,
                Ok(Err(error)) => return Err(error),
                Err(_) => "no answer in time".to_owned(),
            };
            tracing::info!(why, last = %self.last, "a watch of etcd is taken up again");
            self.inner.client.next(member);
            tokio::time::sleep(self.pause).await;
            self.pause = (self.pause * 2).clamp(Duration::from_millis(50), Duration::from_secs(2));
        }
    }

    async fn begin(&mut self) -> Result<()> {
        let (member, mut grpc) = self.inner.client.member();
        let lost = |e: &dyn std::fmt::Display| Error::Unavailable(e.to_string());
        grpc.ready().await.map_err(|e| lost(&e))?;
        let path = PathAndQuery::from_static("/etcdserverpb.Maintenance/Status");
        let status = ProstCodec::<wire::StatusRequest, wire::StatusResponse>::default();
        let tells = match grpc.unary(Request::new(wire::StatusRequest {}), path, status).await {
            Ok(status) => tells_progress(&status.into_inner().version),
            // Versions that tell this to administrators only are newer than all that must not be asked.
            Err(status) if status.message() == "etcdserver: permission denied" => true,
            Err(status) => return Err(failure(&status)),
        };
        // Without it every change of etcd is watched, so that every revision is heard of.
        let (key, range_end) = match tells {
            true => self.inner.keys.range(&self.prefix),
            false => (keys::ALL, keys::ALL),
        };
        let start_revision = self.last.0 as i64 + 1;
        let create = wire::WatchCreateRequest {
            key,
            range_end,
            start_revision,
            progress_notify: true,
            prev_kv: true,
            fragment: true,
        };
        let (questions, more) = mpsc::channel(8);
        let first = futures::stream::once(std::future::ready(WatchRequest::from(Watching::Create(create))));
        let more = futures::stream::unfold(more, |mut more| async move { Some((more.recv().await?, more)) });
        let mut request = Request::new(first.chain(more));
        // A member that has lost the others ends the stream instead of going silent.
        request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        grpc.ready().await.map_err(|e| lost(&e))?;
        let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
        let answers = grpc.streaming(request, path, ProstCodec::<WatchRequest, WatchResponse>::default()).await;
        let mut answers = answers.map_err(|s| failure(&s))?.into_inner();
        self.pieces.clear();
        let first = answers.message().await.map_err(|s| failure(&s))?;
        let first = first.ok_or_else(|| Error::Unavailable("the stream ended".to_owned()))?;
        let newest = header(first.header.as_ref());
        if newest < self.last {
            // Its data went back in time: what was handed out is not there any more.
            return Err(Error::Future { requested: self.last, newest });
        }
        self.take(first)?;
        self.stream = Some(Stream { member, tells, questions, answers });
        Ok(())
    }

    /// What an answer brings.
    fn take(&mut self, answer: WatchResponse) -> Result<()> {
        if answer.canceled {
            let oldest = revision(answer.compact_revision);
            if oldest > Revision(0) {
                self.inner.forget(oldest);
                return Err(Error::Compacted { requested: self.last, oldest });
            }
            // What its rights do not allow does not come back by itself.
            let refused = answer.cancel_reason.contains("permission denied");
            return Err(if refused { Error::Refused } else { Error::Unavailable }(answer.cancel_reason));
        }
        if answer.created {
            return Ok(());
        }
        let progress = answer.events.is_empty().then(|| header(answer.header.as_ref()));
        self.pieces.extend(answer.events);
        if answer.fragment {
            return Ok(());
        }
        let events = std::mem::take(&mut self.pieces);
        for events in events.chunk_by(|a, b| at(a) == at(b)) {
            let revision = at(&events[0]);
            let fits = events.iter().filter_map(|e| self.event(e).transpose());
            let events: Arc<[Event]> = fits.collect::<Result<_>>()?;
            self.offer(Batch { revision, events });
        }
        if let Some(revision) = progress {
            self.offer(Batch { revision, events: Arc::new([]) });
        }
        Ok(())
    }

    /// Queues a batch, unless it was handed out before.
    fn offer(&mut self, batch: Batch) {
        if batch.revision > self.last {
            self.last = batch.revision;
            self.ready.push_back(batch);
        }
    }

    fn event(&self, event: &wire::Event) -> Result<Option<Event>> {
        let Some(kv) = &event.kv else { return Ok(None) };
        let fits = self.inner.keys.of_etcd(&kv.key).is_some_and(|key| key.starts_with(&self.prefix));
        if !fits {
            return Ok(None);
        }
        let previous = event.prev_kv.as_ref().map_or(Ok(None), |kv| self.inner.entry(kv))?;
        if event.sort != wire::DELETE {
            let entry: Option<Entry> = self.inner.entry(kv)?;
            return Ok(entry.map(|entry| Event { entry, deleted: false, previous }));
        }
        let at = revision(kv.mod_revision);
        match (&event.prev_kv, previous) {
            (Some(stored), previous) => {
                Ok(self.inner.removed(stored, None, at)?.map(|entry| Event { entry, deleted: true, previous }))
            }
            // Forgotten while the watch was away: what was removed cannot be told.
            (None, _) => Err(Error::Compacted { requested: self.last, oldest: at }),
        }
    }

    /// Waits for something from the stream; `false` when the stream is over.
    async fn hear(&mut self) -> Result<bool> {
        let Some(stream) = &mut self.stream else { return Ok(false) };
        let heard = tokio::select! {
            heard = stream.answers.message() => heard,
            asked = self.asked.changed(), if stream.tells => {
                if asked.is_ok() {
                    let question = Watching::Progress(wire::WatchProgressRequest {}).into();
                    // When it is full enough questions are on their way; when it is closed the stream says so.
                    let _ = stream.questions.try_send(question);
                }
                return Ok(true);
            }
        };
        let why = match heard {
            Ok(Some(answer)) => match self.take(answer) {
                Ok(()) => return Ok(true),
                Err(Error::Unavailable(why)) => why,
                Err(error) => return Err(error),
            },
            Ok(None) => "the stream ended".to_owned(),
            Err(status) => reason(&status),
        };
        tracing::info!(why, last = %self.last, "a watch of etcd broke");
        if let Some(stream) = self.stream.take() {
            self.inner.client.next(stream.member);
        }
        Ok(false)
    }
}

fn at(event: &wire::Event) -> Revision {
    revision(event.kv.as_ref().map_or(0, |kv| kv.mod_revision))
}

/// A broken stream is one more reason to try again, unless etcd says that the watch makes no sense.
fn failure(status: &Status) -> Error {
    match interpret(status) {
        error @ (Error::Compacted { .. } | Error::Future { .. }) => error,
        _ => Error::Unavailable(reason(status)),
    }
}

/// Whether a member of this version sends word of progress only behind the events that it is about
/// (etcd issue 15220: from 3.4.31, 3.5.13 and 3.6 on).
fn tells_progress(version: &str) -> bool {
    let mut numbers = version.split(['.', '-']).map(|n| n.parse::<u32>().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    match (next(), next(), next()) {
        (3, 4, patch) => patch >= 31,
        (3, 5, patch) => patch >= 13,
        (major, minor, _) => (major, minor) >= (3, 6),
    }
}

#[async_trait]
impl Watch for Watcher {
    async fn next(&mut self) -> Result<Batch> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(batch);
            }
            if !self.hear().await? {
                self.connect().await?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_newer_members_are_asked_how_far_a_watch_is() {
        for (version, tells) in [
            ("3.4.23", false),
            ("3.4.31", true),
            ("3.5.12", false),
            ("3.5.13", true),
            ("3.6.0-rc.1", true),
            ("4.0.0", true),
            ("3.3.27", false),
            ("", false),
        ] {
            assert_eq!(tells_progress(version), tells, "{version}");
        }
    }
}
