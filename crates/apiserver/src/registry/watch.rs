//! Watches: frames around the bytes that the cache shares.

use super::list::{partial_object, same_version};
use super::{Registry, Request, convert, store_error};
use crate::cache::{Cached, Changed};
use crate::respond::{self, View};
use crate::selection::Selection;
use crate::{Body, body, table};
use bytes::{BufMut, Bytes, BytesMut};
use http::Response;
use ironclad_api::{ApiError, GroupVersionKind};
use ironclad_kinds::Kind;
use ironclad_store::Revision;
use serde_json::{Value, json};
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
                Err(oldest) => return Ok(expired(after, oldest)),
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
        Ok(respond::stream("application/json", body::stream(pieces)))
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
fn expired(asked: Revision, oldest: Revision) -> Response<Body> {
    let error = ApiError::expired(format!("too old resource version: {asked} ({oldest})"));
    let line = format!("{}\n", json!({"type": "ERROR", "object": error.to_status()}));
    respond::stream("application/json", body::full(line))
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
                        let error = ApiError::expired("the watch fell too far behind").to_status();
                        self.queue.push_back(Bytes::from(format!("{}\n", json!({"type": "ERROR", "object": error}))));
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

/// How events are written for one client.
struct Format {
    kind: Arc<Kind>,
    stored: Arc<Kind>,
    view: View,
    raw: bool,
    headed: std::sync::atomic::AtomicBool,
    table_objects: String,
}

impl Format {
    fn of(request: &Request<'_>) -> Self {
        let raw = request.accept.view == View::Object && same_version(request);
        Self {
            kind: Arc::new(request.kind.clone()),
            stored: Arc::new(request.stored.clone()),
            view: request.accept.view,
            raw,
            headed: false.into(),
            table_objects: request.query().get("includeObject").to_owned(),
        }
    }

    /// What a change is for somebody who sees only a selection.
    fn change(&self, selection: &Selection, change: &Changed) -> Option<Bytes> {
        let before = change.previous.as_ref().is_some_and(|p| selection.matches(&self.kind, p));
        let now = !change.deleted && selection.matches(&self.kind, &change.object);
        match (before, now) {
            (false, true) => Some(self.frame("ADDED", &change.object)),
            (true, true) => Some(self.frame("MODIFIED", &change.object)),
            (true, false) => Some(self.frame("DELETED", &change.object)),
            (false, false) => None,
        }
    }

    fn frame(&self, event: &str, object: &Cached) -> Bytes {
        if self.raw {
            let mut out = BytesMut::with_capacity(object.bytes.len() + 40);
            out.put_slice(b"{\"type\":\"");
            out.put_slice(event.as_bytes());
            out.put_slice(b"\",\"object\":");
            out.put_slice(&object.bytes);
            out.put_slice(b"}\n");
            return out.freeze();
        }
        let value = convert(&self.stored, &self.kind, object.value());
        let shown = match self.view {
            View::Object => value,
            View::Partial => partial_object(&value),
            View::Table => {
                let first = !self.headed.swap(true, std::sync::atomic::Ordering::Relaxed);
                table::of_event(&self.kind, &value, &self.table_objects, first)
            }
        };
        Bytes::from(format!("{}\n", json!({"type": event, "object": shown})))
    }

    fn bookmark(&self, revision: Revision, initial: bool) -> Bytes {
        let gvk = match self.view {
            View::Object => self.kind.gvk(),
            View::Partial => GroupVersionKind::new("meta.k8s.io", "v1", "PartialObjectMetadata"),
            View::Table => GroupVersionKind::new("meta.k8s.io", "v1", "Table"),
        };
        let mut meta = json!({"resourceVersion": revision.to_string(), "creationTimestamp": Value::Null});
        if initial {
            meta["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = json!({"kind": gvk.kind, "apiVersion": gvk.api_version(), "metadata": meta});
        Bytes::from(format!("{}\n", json!({"type": "BOOKMARK", "object": object})))
    }
}
