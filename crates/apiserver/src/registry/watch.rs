//! Watches: frames around the bytes that the cache shares.
//!
//! Invariants: a watcher sees every change behind its beginning once and in order; a bookmark is sent only when
//! everything up to it was; who is too slow is ended, and begins again from where it was.

mod converting;

use super::frame::Format;
use super::versions::{self, Begin, Version};
use super::{Registry, Request};
use crate::cache::{Cached, Changed, Over, Subscription};
use crate::metrics::rare;
use crate::selection::Selection;
use crate::{Body, body, respond};
use bytes::{Bytes, BytesMut};
use http::Response;
use http_body_util::BodyExt;
use hyper::body::Frame;
use ironclad_api::{ApiError, Reason};
use ironclad_store::Revision;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// How often a watch says up to where it is current.
const BOOKMARK: Duration = Duration::from_mins(1);
/// How long before its end it says so once more.
const BEFORE_END: Duration = Duration::from_secs(2);
/// Bytes that are written at once, roughly: many small events cost one frame, and memory stays bounded.
const CHUNK: usize = 32 << 10;

impl Registry {
    pub(crate) async fn watch(self: &Arc<Self>, request: &Request<'_>) -> Result<Response<Body>, ApiError> {
        let began = std::time::Instant::now();
        let query = request.query();
        let selection = Selection::parse(request.kind, &request.info.namespace, &request.info.name, query)?;
        let scope = selection.scope(request.stored);
        let bookmarks = query.flag("allowWatchBookmarks");
        let begin = versions::of_watch(query, self.watch_lists)?;
        let format = Format::of(request);
        let (mut initial, mut missed, mut initial_end, mut after) = (Vec::new(), VecDeque::new(), None, Revision(0));
        let changes = match begin {
            Begin::With(version, marked) => {
                let (revision, cache) = self.shown(request, version).await?;
                let (objects, applied, changes) = cache.snapshot(scope, &request.prefix());
                initial = objects;
                rare::init_events(request.kind, initial.len());
                initial_end = (marked && bookmarks).then_some(revision.max(applied));
                changes
            }
            Begin::Now => {
                let (_, cache) = self.shown(request, Version::Newest).await?;
                cache.snapshot(scope, &request.prefix()).2
            }
            Begin::Behind(revision) => match self.cache(request)?.watch(revision, scope) {
                Ok((found, changes)) => {
                    (missed, after) = (found.into(), revision);
                    changes
                }
                Err(oldest) => return Ok(expired(&format, revision, oldest)),
            },
        };
        let shortest = self.load.min_request_timeout.as_secs().max(1);
        let seconds = query.number("timeoutSeconds");
        if seconds.is_some_and(|s| s < 0) {
            let over = ApiError::new(Reason::InternalError, "context deadline exceeded");
            return Ok(respond::stream(format.media(), body::full(format.error(&over))));
        }
        let seconds = seconds.filter(|s| *s > 0);
        let seconds = seconds.map_or_else(|| fastrand::u64(shortest..2 * shortest), |s| s as u64);
        let until = Instant::now() + Duration::from_secs(seconds);
        if request.kind.custom.as_ref().is_some_and(|c| c.webhook.is_some()) {
            let begin = converting::Begin { initial, initial_end, missed, after, changes, bookmarks, until };
            return self.watch_converting(request, selection, begin).await;
        }
        let mut watch = Watching {
            began,
            registry: self.clone(),
            selection,
            format,
            initial: initial.into_iter(),
            initial_end,
            missed,
            after,
            changes,
            bookmarks,
            until,
            timer: Box::pin(tokio::time::sleep_until(until)),
            over: false,
        };
        watch.set_timer();
        Ok(respond::stream(request.accept.media, watch.boxed_unsync()))
    }
}

/// The one event of a watch that asks for what is forgotten.
fn expired(format: &Format, asked: Revision, oldest: Revision) -> Response<Body> {
    let error = ApiError::expired(format!("too old resource version: {asked} ({oldest})"));
    respond::stream(format.media(), body::full(format.error(&error)))
}

/// A watch, as the body of its answer.
struct Watching {
    began: std::time::Instant,
    registry: Arc<Registry>,
    selection: Selection,
    format: Format,
    /// What is there already, written as the client takes it.
    initial: std::vec::IntoIter<Arc<Cached>>,
    /// The bookmark behind it.
    initial_end: Option<Revision>,
    missed: VecDeque<Arc<Changed>>,
    /// A watch may begin at a revision that is still to come.
    after: Revision,
    changes: Subscription,
    bookmarks: bool,
    until: Instant,
    /// When the watch ends, or a bookmark is due before.
    timer: Pin<Box<Sleep>>,
    over: bool,
}

impl Watching {
    fn set_timer(&mut self) {
        let now = Instant::now();
        let last = self.until.checked_sub(BEFORE_END).filter(|at| *at > now).unwrap_or(self.until);
        let next = if self.bookmarks { last.min(now + BOOKMARK) } else { self.until };
        self.timer.as_mut().reset(next);
    }

    /// Writes what there is, up to a chunk.
    fn fill(&mut self, context: &mut Context<'_>, out: &mut BytesMut) {
        while out.len() < CHUNK
            && let Some(object) = self.initial.next()
        {
            let object = self.format.seen(object);
            if self.selection.matches(self.format.kind(), &object) {
                self.format.frame("ADDED", &object, out);
            }
        }
        if self.initial.len() > 0 {
            return;
        }
        if let Some(revision) = self.initial_end.take() {
            out.extend_from_slice(&self.format.bookmark(revision, true));
            rare::watch_list(self.format.kind(), &self.selection.namespace, &self.selection.name, self.began.elapsed());
        }
        while out.len() < CHUNK {
            let change = match self.missed.pop_front() {
                Some(change) => change,
                None => match self.changes.poll(context) {
                    Poll::Ready(Ok(change)) => change,
                    Poll::Ready(Err(Over::Closed | Over::Lagged)) => return self.over = true,
                    Poll::Pending => return,
                },
            };
            if change.revision > self.after {
                let change = self.format.seen_change(change);
                self.format.change(&self.selection, &change, out);
            }
        }
    }

    /// The end of the watch, or a bookmark; nothing when changes came between.
    fn ring(&mut self) -> Option<Bytes> {
        if Instant::now() >= self.until {
            self.over = true;
            return None;
        }
        self.set_timer();
        let revision = self.registry.caches.offered();
        self.changes.is_empty().then(|| self.format.bookmark(revision, false))
    }
}

impl http_body::Body for Watching {
    type Data = Bytes;
    type Error = tower::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let watch = &mut *self;
        loop {
            let mut out = BytesMut::new();
            watch.fill(context, &mut out);
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(out.freeze()))));
            }
            if watch.over {
                return Poll::Ready(None);
            }
            if watch.timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            if let Some(bookmark) = watch.ring() {
                return Poll::Ready(Some(Ok(Frame::data(bookmark))));
            }
        }
    }
}
