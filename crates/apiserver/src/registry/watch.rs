//! Watches: frames around the bytes that the cache shares.

use super::frame::Format;
use super::{Registry, Request, store_error};
use crate::cache::Changed;
use crate::selection::Selection;
use crate::{Body, body, respond};
use bytes::Bytes;
use http::Response;
use ironclad_api::ApiError;
use ironclad_store::Revision;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

/// How often a quiet watch says up to where it is current.
const BOOKMARK: Duration = Duration::from_mins(1);
/// When a bookmark is tried again that changes came between.
const SOON: Duration = Duration::from_secs(1);
/// The shortest watch without `timeoutSeconds`; the longest is twice as long.
const SHORTEST: u64 = 1800;

impl Registry {
    pub(crate) async fn watch(self: &Arc<Self>, request: &Request<'_>) -> Result<Response<Body>, ApiError> {
        let query = request.query();
        let selection = Selection::parse(request.kind, &request.info.namespace, &request.info.name, query)?;
        let cache = self.caches.of(request.kind).ok_or_else(|| request.not_found())?;
        let version = query.get("resourceVersion");
        let send_initial = query.flag("sendInitialEvents");
        let after: Revision = match version {
            "" => Revision(0),
            text => text
                .parse()
                .map_err(|_| ApiError::bad_request(format!("Invalid value: {version:?}: invalid resource version")))?,
        };
        let mut queue = VecDeque::new();
        let format = Format::of(request);
        let changes = if after == Revision(0) || send_initial {
            let revision = self.caches.current().await.map_err(|e| store_error(&e))?;
            let (objects, changes) = cache.snapshot();
            for object in objects.iter().filter(|o| selection.matches(request.kind, o)) {
                queue.push_back(format.frame("ADDED", object));
            }
            if send_initial && query.flag("allowWatchBookmarks") {
                queue.push_back(format.bookmark(revision, true));
            }
            changes
        } else {
            self.newer(after).await?;
            let (missed, changes) = match cache.watch(after) {
                Ok(found) => found,
                Err(oldest) => return Ok(expired(&format, after, oldest)),
            };
            queue.extend(missed.iter().filter_map(|c| format.change(&selection, c)));
            changes
        };
        let seconds = query
            .number("timeoutSeconds")
            .filter(|s| *s > 0)
            .map_or_else(|| fastrand::u64(SHORTEST..2 * SHORTEST), |s| s as u64);
        let watch = Watching {
            registry: self.clone(),
            selection,
            format,
            queue,
            changes,
            bookmarks: query.flag("allowWatchBookmarks"),
            until: Instant::now() + Duration::from_secs(seconds),
            quiet: Instant::now() + BOOKMARK,
            over: false,
        };
        let pieces = futures::stream::unfold(watch, |mut w| async move { w.next().await.map(|bytes| (bytes, w)) });
        Ok(respond::stream(request.accept.media, body::stream(pieces)))
    }

    async fn newer(&self, after: Revision) -> Result<(), ApiError> {
        let newest = self.store.revision().await.map_err(|e| store_error(&e))?;
        if after > newest {
            return Err(store_error(&ironclad_store::Error::Future { requested: after, newest }));
        }
        self.caches.reach(after).await;
        Ok(())
    }
}

/// The one event of a watch that asks for what is forgotten.
fn expired(format: &Format, asked: Revision, oldest: Revision) -> Response<Body> {
    let error = ApiError::expired(format!("too old resource version: {asked} ({oldest})"));
    respond::stream(format.media(), body::full(format.error(&error)))
}

struct Watching {
    registry: Arc<Registry>,
    selection: Selection,
    format: Format,
    queue: VecDeque<Bytes>,
    changes: Receiver<Arc<Changed>>,
    bookmarks: bool,
    until: Instant,
    /// When the next bookmark is due, unless an event is sent before.
    quiet: Instant,
    over: bool,
}

impl Watching {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.queue.pop_front() {
                self.quiet = Instant::now() + BOOKMARK;
                return Some(bytes);
            }
            if self.over {
                return None;
            }
            tokio::select! {
                change = self.changes.recv() => match change {
                    Ok(change) => self.queue.extend(self.format.change(&self.selection, &change)),
                    Err(RecvError::Closed) => return None,
                    Err(RecvError::Lagged(_)) => {
                        // A client that cannot keep up begins anew rather than miss a change.
                        self.over = true;
                        let error = ApiError::expired("the watch fell too far behind");
                        self.queue.push_back(self.format.error(&error));
                    }
                },
                () = tokio::time::sleep_until(self.until) => return None,
                () = tokio::time::sleep_until(self.quiet), if self.bookmarks => {
                    // Everything up to here was sent: the receiver is empty.
                    if self.changes.is_empty() {
                        let revision = self.registry.caches.revision();
                        if self.changes.is_empty() {
                            self.queue.push_back(self.format.bookmark(revision, false));
                        }
                    }
                    if self.queue.is_empty() {
                        self.quiet = Instant::now() + SOON;
                    }
                }
            }
        }
    }
}
