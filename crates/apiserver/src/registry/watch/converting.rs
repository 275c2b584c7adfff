//! Watches of custom resources that a webhook converts: each event waits for it.

use super::super::frame::Format;
use super::super::{Registry, Request};
use super::{BOOKMARK, Selection};
use crate::cache::{Cached, Changed, Subscription};
use crate::{Body, body, respond};
use bytes::{Bytes, BytesMut};
use http::Response;
use ironclad_api::ApiError;
use ironclad_kinds::Kind;
use ironclad_store::Revision;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::time::Instant;

/// What a watch begins with.
pub(super) struct Begin {
    pub(super) initial: Vec<Arc<Cached>>,
    pub(super) initial_end: Option<Revision>,
    pub(super) missed: VecDeque<Arc<Changed>>,
    pub(super) after: Revision,
    pub(super) changes: Subscription,
    pub(super) bookmarks: bool,
    pub(super) until: Instant,
}

struct Converting {
    registry: Arc<Registry>,
    kind: Arc<Kind>,
    stored: Arc<Kind>,
    selection: Selection,
    format: Format,
    begin: Begin,
    quiet: Instant,
    over: bool,
}

impl Registry {
    pub(super) async fn watch_converting(
        self: &Arc<Self>,
        request: &Request<'_>,
        selection: Selection,
        begin: Begin,
    ) -> Result<Response<Body>, ApiError> {
        let media = request.accept.media;
        let mut watch = Converting {
            registry: self.clone(),
            kind: request.kind.clone(),
            stored: request.stored.clone(),
            selection,
            format: Format::of(request),
            begin,
            quiet: Instant::now() + BOOKMARK,
            over: false,
        };
        let first = watch.first().await?;
        let rest = futures::stream::unfold(watch, |mut w| async move { w.next().await.map(|bytes| (bytes, w)) });
        let pieces = futures::StreamExt::chain(futures::stream::iter((!first.is_empty()).then_some(first)), rest);
        Ok(respond::stream(media, body::stream(pieces)))
    }
}

impl Converting {
    /// What is there already.
    async fn first(&mut self) -> Result<Bytes, ApiError> {
        let mut out = BytesMut::new();
        let objects = std::mem::take(&mut self.begin.initial);
        for object in self.registry.seen(&self.kind, &self.stored, objects).await? {
            if self.selection.matches(&self.kind, &object) {
                self.format.frame("ADDED", &object, &mut out);
            }
        }
        if let Some(revision) = self.begin.initial_end.take() {
            out.extend_from_slice(&self.format.bookmark(revision, true));
        }
        Ok(out.freeze())
    }

    async fn next(&mut self) -> Option<Bytes> {
        while !self.over {
            let change = match self.begin.missed.pop_front() {
                Some(change) => change,
                None => tokio::select! {
                    change = self.begin.changes.recv() => change.ok()?,
                    () = tokio::time::sleep_until(self.begin.until) => return None,
                    () = tokio::time::sleep_until(self.quiet), if self.begin.bookmarks => {
                        self.quiet = Instant::now() + BOOKMARK;
                        let revision = self.registry.caches.offered();
                        match self.begin.changes.is_empty() {
                            true => return Some(self.format.bookmark(revision, false)),
                            false => continue,
                        }
                    }
                },
            };
            if change.revision <= self.begin.after {
                continue;
            }
            let mut out = BytesMut::new();
            match self.registry.seen_change(&self.kind, &self.stored, change).await {
                Ok(change) => self.format.change(&self.selection, &change, &mut out),
                Err(error) => {
                    self.over = true;
                    out.extend_from_slice(&self.format.error(&error));
                }
            }
            if !out.is_empty() {
                return Some(out.freeze());
            }
        }
        None
    }
}
