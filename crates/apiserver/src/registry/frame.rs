//! How the events of a watch are written for one client: frames around the bytes that the cache shares.

use super::list::{partial_object, same_version};
use super::{Request, convert};
use crate::accept::{Accepted, Media, View};
use crate::cache::{Cached, Changed};
use crate::rows::Rows;
use crate::selection::Selection;
use crate::table;
use bytes::{BufMut, Bytes, BytesMut};
use ironclad_api::{ApiError, GroupVersionKind};
use ironclad_json::{Value, json};
use ironclad_kinds::Kind;
use ironclad_schema::proto::{self, MessageId};
use ironclad_schema::{bundle, cbor};
use ironclad_store::Revision;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How events are written for one client.
pub(super) struct Format {
    kind: Arc<Kind>,
    stored: Arc<Kind>,
    accepted: Accepted,
    /// Whether objects go out as they are stored.
    same: bool,
    message: Option<MessageId>,
    /// Whether the bytes of the cache are of the version of the request.
    same_version: bool,
    headed: AtomicBool,
    rows: Rows,
}

impl Format {
    pub(super) fn of(request: &Request<'_>) -> Self {
        Self {
            kind: request.kind.clone(),
            stored: request.stored.clone(),
            accepted: request.accept,
            same: request.accept.view == View::Object && same_version(request),
            message: proto::message(bundle(), &request.kind.gvk()),
            same_version: same_version(request),
            headed: false.into(),
            rows: Rows::of(request),
        }
    }

    pub(super) fn kind(&self) -> &Kind {
        &self.kind
    }

    /// An object of the cache as the client sees it, where that needs nobody else.
    pub(super) fn seen(&self, object: Arc<Cached>) -> Arc<Cached> {
        super::convert::seen_plain(&self.kind, &self.stored, object)
    }

    /// [`Self::seen`] for a change.
    pub(super) fn seen_change(&self, change: Arc<Changed>) -> Arc<Changed> {
        if self.kind.custom.is_none() {
            return change;
        }
        let (object, previous) = (change.object.clone(), change.previous.clone());
        Arc::new(change.with(self.seen(object), previous.map(|p| self.seen(p))))
    }

    pub(super) fn media(&self) -> Media {
        self.accepted.media
    }

    /// Writes what a change is for somebody who sees only a selection, if it is anything.
    pub(super) fn change(&self, selection: &Selection, change: &Changed, out: &mut BytesMut) {
        let before = change.previous.as_ref().is_some_and(|p| selection.matches(&self.kind, p));
        let now = !change.deleted && selection.matches(&self.kind, &change.object);
        match (before, now) {
            (false, true) => self.frame("ADDED", &change.object, out),
            (true, true) => self.frame("MODIFIED", &change.object, out),
            (true, false) if change.deleted => self.frame("DELETED", &change.object, out),
            // Who sees it no longer is told of what was seen last, at the revision of the change.
            (true, false) => {
                let was = change.previous.as_ref().map(|p| p.at(&self.stored, change.revision));
                was.iter().for_each(|was| self.frame("DELETED", was, out));
            }
            (false, false) => {}
        }
    }

    pub(super) fn frame(&self, event: &str, object: &Cached, out: &mut BytesMut) {
        match (self.same, self.accepted.media, self.message) {
            (true, Media::Json, _) => return json_frame(event, &object.bytes, out),
            (true, Media::Protobuf, Some(id)) => {
                if let Ok(message) = object.message(id) {
                    return out.extend_from_slice(&self.protobuf_frame(event, message));
                }
            }
            _ => {}
        }
        if self.same_version && self.accepted.media == Media::Json && self.accepted.view != View::Object {
            return json_frame(event, &self.written(object), out);
        }
        let value = convert(&self.stored, &self.kind, object.value());
        let shown = match self.accepted.view {
            View::Object => value,
            View::Partial => partial_object(&value, self.accepted),
            View::Table => {
                let first = !self.headed.swap(true, Ordering::Relaxed);
                table::of_event(&self.kind, &value, &self.rows.include, first, self.accepted)
            }
        };
        out.extend_from_slice(&self.value(event, &shown));
    }

    /// A table or a partial object, written from the object's bytes.
    fn written(&self, object: &Cached) -> Vec<u8> {
        if self.accepted.view == View::Table {
            return self.rows.of_event(object, !self.headed.swap(true, Ordering::Relaxed));
        }
        let mut out = Vec::new();
        self.rows.partial(object, &mut out);
        out
    }

    fn protobuf_frame(&self, event: &str, message: Bytes) -> Bytes {
        let object = proto::envelope(&self.kind.api_version(), &self.kind.kind, [message]);
        proto::event(event, &object).into()
    }

    pub(super) fn bookmark(&self, revision: Revision, initial: bool) -> Bytes {
        let gvk = match self.accepted.view {
            View::Object | View::Table => self.kind.gvk(),
            View::Partial => self.meta("PartialObjectMetadata"),
        };
        let mut meta = json!({"resourceVersion": revision.to_string()});
        if initial {
            meta["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = json!({"kind": gvk.kind, "apiVersion": gvk.api_version(), "metadata": meta});
        if self.accepted.view == View::Table {
            // What it says stands in its only row, as that of every other event does.
            let first = !self.headed.swap(true, Ordering::Relaxed);
            let table = table::of_event(&self.kind, &object, &self.rows.include, first, self.accepted);
            return self.value("BOOKMARK", &table);
        }
        self.value("BOOKMARK", &object)
    }

    fn meta(&self, kind: &str) -> GroupVersionKind {
        GroupVersionKind::parse(self.accepted.meta_version(), kind)
    }

    /// The last event of a watch that cannot go on.
    pub(super) fn error(&self, error: &ApiError) -> Bytes {
        self.value("ERROR", &error.to_status())
    }

    fn value(&self, event: &str, object: &Value) -> Bytes {
        if self.accepted.media == Media::Cbor {
            let failed = |why: String| cbor::event(bundle(), "ERROR", &ApiError::internal(why).to_status());
            return cbor::event(bundle(), event, object).or_else(failed).unwrap_or_default().into();
        }
        if self.accepted.media == Media::Protobuf
            && let Some(encoded) = proto::encode(bundle(), object)
        {
            return match encoded {
                Ok(bytes) => proto::event(event, &[bytes.into()]).into(),
                // The watch cannot show this object, and says so.
                Err(why) => {
                    let status = ApiError::internal(why).to_status();
                    let bytes = proto::encode(bundle(), &status).and_then(Result::ok).unwrap_or_default();
                    proto::event("ERROR", &[bytes.into()]).into()
                }
            };
        }
        let mut out = BytesMut::new();
        json_frame(event, object.to_string().as_bytes(), &mut out);
        out.freeze()
    }
}

fn json_frame(event: &str, object: &[u8], out: &mut BytesMut) {
    out.reserve(object.len() + 40);
    out.put_slice(b"{\"type\":\"");
    out.put_slice(event.as_bytes());
    out.put_slice(b"\",\"object\":");
    out.put_slice(object);
    out.put_slice(b"}\n");
}
