//! Lists: pages at one revision, made of the bytes that the cache shares.

use super::token::{Start, Token};
use super::versions::{self, Version};
use super::{Registry, Request, convert, store_error};
use crate::accept::{Accepted, Media, View};
use crate::cache::{Cached, ResourceCache};
use crate::selection::Selection;
use crate::{Body, encode, respond, rows, table};
use bytes::Bytes;
use http::{Response, StatusCode};
use ironclad_api::ApiError;
use ironclad_json::{Value, json};
use ironclad_kinds::Kind;
use ironclad_schema::{bundle, proto};
use ironclad_store::{Error, RangeQuery, Revision};
use std::sync::Arc;

/// Keys that are read at once when not all of them are wanted.
const CHUNK: usize = 1000;

/// How long a list waits for a revision that is said to exist.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(3);

/// One page.
pub(crate) struct Page {
    pub(crate) objects: Vec<Arc<Cached>>,
    pub(crate) revision: Revision,
    next: Option<String>,
    remaining: Option<usize>,
}

impl Registry {
    pub(crate) async fn list(&self, request: &Request<'_>) -> Result<Response<Body>, ApiError> {
        let page = self.page(request).await?;
        self.shown_as(request, page).await
    }

    /// A list of objects that nobody stored, as far as the request selects them.
    pub(crate) async fn told(
        &self,
        request: &Request<'_>,
        mut objects: Vec<Arc<Cached>>,
    ) -> Result<Response<Body>, ApiError> {
        let selection = Selection::parse(request.kind, "", &request.info.name, request.query())?;
        objects.retain(|o| selection.matches(request.kind, o));
        self.shown_as(request, Page { objects, revision: Revision(0), next: None, remaining: None }).await
    }

    /// A page in the form that the client accepts.
    async fn shown_as(&self, request: &Request<'_>, page: Page) -> Result<Response<Body>, ApiError> {
        let accepted = request.accept;
        Ok(match (accepted.view, accepted.media) {
            (View::Object, Media::Json) if same_version(request) && accepted.is_plain() => {
                respond::pieces(Media::Json, chain(request, &page))
            }
            (View::Object, Media::Protobuf) if same_version(request) => protobuf(request, &page).await?,
            (View::Object, _) => whole(request, &page),
            (View::Table, Media::Json) if same_version(request) && !accepted.pretty => {
                rows::table(request, &page.objects, &list_meta(&page)).await?
            }
            (View::Partial, Media::Json) if same_version(request) && !accepted.pretty && !page.objects.is_empty() => {
                rows::partial(request, &page.objects, &list_meta(&page)).await?
            }
            (View::Table, _) => answer(request, &table::of_list(request, &page.objects, &list_meta(&page))),
            (View::Partial, _) => answer(request, &partial(&page, accepted)),
        })
    }

    pub(crate) async fn page(&self, request: &Request<'_>) -> Result<Page, ApiError> {
        let query = request.query();
        let selection = Selection::parse(request.kind, &request.info.namespace, &request.info.name, query)?;
        let version = versions::of_list(query)?;
        // What any state will do for is answered whole, as stock's caches answer it.
        let whole = version == Version::NotOlder(Revision(0)) && query.get("continue").is_empty();
        let limit = if whole { 0 } else { query.number("limit").unwrap_or(0).max(0) as usize };
        let prefix = request.prefix();
        let token = match query.get("continue") {
            "" => None,
            text => Some(Token::decode(text, &prefix)?),
        };
        let all = selection.labels.is_everything() && selection.fields.is_everything() && selection.name.is_empty();
        // What a selection sees of a custom resource is seen in the version of the request only.
        let late = request.kind.custom.is_some() && !all;
        let wanted = Wanted { request, selection: &selection, all: all || late, limit: if late { 0 } else { limit } };
        let ((mut objects, mut remaining), revision) = match (&token, version) {
            (Some(Token { start: Start::At(at), key }), _) => {
                let found = self.at(&wanted, &*self.cache(request)?, *at, Some(key)).await;
                (found.map_err(|e| expired(e, key, &prefix))?, *at)
            }
            (None, Version::Exact(at)) => {
                let found = self.at(&wanted, &*self.cache(request)?, at, None).await;
                (found.map_err(too_old)?, at)
            }
            (token, version) => {
                let (revision, cache) = self.shown(request, version).await?;
                let after = token.as_ref().map(|t| &t.key);
                let scope = selection.scope(cache.kind());
                let (objects, applied) = cache.list_in(&scope, &prefix, after.map(String::as_str));
                let fetched = objects.len();
                let objects = wanted.select(objects);
                cache.lists(&scope).add(fetched, objects.len());
                ((objects, 0), revision.max(applied))
            }
        };
        if late {
            objects = self.seen(request.kind, request.stored, objects).await?;
            objects.retain(|o| selection.matches(request.kind, o));
        }
        let mut next = None;
        if limit > 0 && objects.len() > limit {
            remaining += objects.len() - limit;
            objects.truncate(limit);
            let key = objects.last().map(|o| o.key.to_string()).unwrap_or_default();
            next = Some(Token { start: Start::At(revision), key }.encode(&prefix));
        }
        let remaining = next.as_ref().and(all.then_some(remaining));
        if !late {
            objects = self.seen(request.kind, request.stored, objects).await?;
        }
        Ok(Page { objects, revision, next, remaining })
    }

    pub(super) fn cache(&self, request: &Request<'_>) -> Result<Arc<ResourceCache>, ApiError> {
        self.caches.of(request.kind).ok_or_else(|| request.not_found())
    }

    /// Waits until the caches show what was asked for; the revision that they show then, and the cache of the request.
    pub(super) async fn shown(
        &self,
        request: &Request<'_>,
        version: Version,
    ) -> Result<(Revision, Arc<ResourceCache>), ApiError> {
        let began = std::time::Instant::now();
        let revision = match version {
            Version::NotOlder(Revision(0)) => self.caches.revision(),
            Version::NotOlder(revision) | Version::Exact(revision) => self.not_older(revision).await?,
            Version::Newest => self.caches.current().await.map_err(|e| store_error(&e))?,
        };
        // Taken only now: a fresh cache may have come in the place of the one that was there before the wait, and only
        // the fresh one shows the revision.
        let cache = self.cache(request)?;
        if version != Version::NotOlder(Revision(0)) {
            cache.counts.waited(began.elapsed(), version == Version::Newest);
        }
        Ok((revision, cache))
    }

    /// Waits a while for the caches to show a revision that may be new; what nobody has seen yet is refused.
    pub(crate) async fn not_older(&self, revision: Revision) -> Result<Revision, ApiError> {
        if self.caches.revision() >= revision {
            return Ok(self.caches.revision());
        }
        let newest = self.store.revision().await.map_err(|e| store_error(&e))?;
        if revision > newest && tokio::time::timeout(PATIENCE, self.caches.wait_for(revision)).await.is_err() {
            return Err(store_error(&Error::Future { requested: revision, newest }));
        }
        Ok(self.caches.reach(revision).await)
    }

    /// The objects as they were at a revision: one more than is wanted if there is one, and how many follow then.
    async fn at(
        &self,
        wanted: &Wanted<'_>,
        cache: &ResourceCache,
        at: Revision,
        after: Option<&String>,
    ) -> Result<(Vec<Arc<Cached>>, usize), Error> {
        let enough = if wanted.limit == 0 { usize::MAX } else { wanted.limit + 1 };
        let mut query = RangeQuery {
            prefix: wanted.request.prefix(),
            start_after: after.map(|key| key.as_str().into()),
            limit: match wanted.all {
                true if wanted.limit > 0 => enough,
                // What does not fit is skipped, so that more is read than is answered.
                false if wanted.limit > 0 => enough.max(CHUNK),
                _ => 0,
            },
            at: Some(at),
        };
        let mut found = Vec::new();
        loop {
            let (page, before) = (self.store.range(&query).await?, found.len());
            // What has not changed since is in the cache already.
            let shared = |e: &ironclad_store::Entry| match cache.get(&e.key) {
                Some(cached) if cached.revision == e.modified => cached,
                _ => Arc::new(cache.cached(e)),
            };
            found.extend(wanted.select(page.entries.iter().map(shared).collect()));
            cache.counts.stored.add(page.entries.len(), found.len() - before);
            match page.entries.last() {
                Some(last) if page.remaining > 0 && found.len() < enough => query.start_after = Some(last.key.clone()),
                _ => return Ok((found, page.remaining)),
            }
        }
    }
}

/// What a list is to show.
struct Wanted<'a> {
    request: &'a Request<'a>,
    selection: &'a Selection,
    /// Whether nothing is left out.
    all: bool,
    limit: usize,
}

impl Wanted<'_> {
    fn select(&self, mut objects: Vec<Arc<Cached>>) -> Vec<Arc<Cached>> {
        if !self.all {
            objects.retain(|o| self.selection.matches(self.request.kind, o));
        }
        objects
    }
}

/// 410 for a token whose revision is forgotten, with one that goes on at the same key in what is newest.
fn expired(error: Error, key: &str, prefix: &str) -> ApiError {
    let answer = store_error(&error);
    match error {
        Error::Compacted { .. } => {
            answer.with_continue(Token { start: Start::Newest, key: key.to_owned() }.encode(prefix))
        }
        _ => answer,
    }
}

/// 410 for an exact revision that is forgotten.
fn too_old(error: Error) -> ApiError {
    match error {
        Error::Compacted { .. } => ApiError::expired("The resourceVersion for the provided list is too old."),
        error => store_error(&error),
    }
}

pub(crate) fn same_version(request: &Request<'_>) -> bool {
    request.kind.custom.is_some()
        || request.kind.version == request.stored.version && request.kind.group == request.stored.group
}

pub(super) fn list_meta(page: &Page) -> Value {
    let mut meta = json!({});
    // What nobody stored has none.
    if page.revision > Revision(0) {
        meta["resourceVersion"] = json!(page.revision.to_string());
    }
    if let Some(next) = &page.next {
        meta["continue"] = json!(next);
    }
    if let Some(remaining) = page.remaining {
        meta["remainingItemCount"] = json!(remaining);
    }
    meta
}

/// The metadata of a list of whole objects: of custom resources it says where it goes on also where it does not.
pub(super) fn whole_meta(kind: &Kind, page: &Page) -> Value {
    let mut meta = list_meta(page);
    if kind.custom.is_some() && page.next.is_none() {
        meta["continue"] = json!("");
    }
    meta
}

/// An object as one of a list: built-in kinds say there only once, of all, what they are.
pub(crate) fn item(kind: &Kind, mut object: Value) -> Value {
    if kind.custom.is_none()
        && let Some(fields) = object.as_object_mut()
    {
        fields.remove("kind");
        fields.remove("apiVersion");
    }
    object
}

/// What the bytes of a stored object of a built-in kind begin with, which is left out in a list.
fn beginning(kind: &Kind) -> String {
    match kind.custom {
        Some(_) => String::new(),
        None => format!("{{\"kind\":\"{}\",\"apiVersion\":\"{}\",", kind.kind, kind.api_version()),
    }
}

/// The list as a chain of the cache's own bytes.
fn chain(request: &Request<'_>, page: &Page) -> Vec<Bytes> {
    let head = json!({"kind": request.kind.list_kind, "apiVersion": request.kind.api_version(), "metadata": whole_meta(request.kind, page)});
    let mut head = head.to_string();
    head.pop();
    head.push_str(",\"items\":[");
    let mut out = Vec::with_capacity(page.objects.len() * 2 + 2);
    out.push(Bytes::from(head));
    let beginning = beginning(request.kind);
    for (index, object) in page.objects.iter().enumerate() {
        let left_out = if object.bytes.starts_with(beginning.as_bytes()) { beginning.len() } else { 0 };
        let between: &[u8] = match (index, left_out) {
            (0, 0) => b"",
            (_, 0) => b",",
            (0, _) => b"{",
            (_, _) => b",{",
        };
        out.push(Bytes::from_static(between));
        out.push(object.bytes.slice(left_out..));
    }
    out.push(Bytes::from_static(b"]}\n"));
    out
}

/// How many objects are encoded by one task.
const BATCH: usize = 500;

/// The list as a chain of the messages that the cache shares. What nobody has asked for yet is encoded off the threads
/// that serve.
async fn protobuf(request: &Request<'_>, page: &Page) -> Result<Response<Body>, ApiError> {
    let id =
        proto::message(bundle(), &request.kind.gvk()).ok_or_else(|| ApiError::internal("the kind has no message"))?;
    let missing: Vec<Arc<Cached>> = page.objects.iter().filter(|o| !o.has_message()).cloned().collect();
    if missing.len() > BATCH {
        let tasks: Vec<_> = missing
            .chunks(BATCH)
            .map(|batch| {
                let batch = batch.to_vec();
                // The result stays in the cache; what failed is seen below.
                tokio::task::spawn_blocking(move || batch.iter().for_each(|o| drop(o.message(id))))
            })
            .collect();
        for task in tasks {
            task.await.map_err(ApiError::internal)?;
        }
    }
    let messages: Result<Vec<Bytes>, String> = page.objects.iter().map(|o| o.message(id)).collect();
    let messages = messages.map_err(ApiError::internal)?;
    let (version, kind) = (request.kind.api_version(), &request.kind.list_kind);
    Ok(respond::pieces(Media::Protobuf, proto::list(&version, kind, &list_meta(page), messages)))
}

fn whole(request: &Request<'_>, page: &Page) -> Response<Body> {
    let items: Vec<Value> =
        page.objects.iter().map(|o| item(request.kind, convert(request.stored, request.kind, o.value()))).collect();
    let list = json!({
        "kind": request.kind.list_kind, "apiVersion": request.kind.api_version(),
        "metadata": whole_meta(request.kind, page), "items": items,
    });
    answer(request, &list)
}

fn answer(request: &Request<'_>, value: &Value) -> Response<Body> {
    respond::encoded(StatusCode::OK, request.accept, value)
}

fn partial(page: &Page, accepted: Accepted) -> Value {
    let items: Vec<Value> = page.objects.iter().map(|o| partial_object(&encode::decode(&o.bytes), accepted)).collect();
    let version = accepted.meta_version();
    // Stock's list of nothing is none.
    let items = if items.is_empty() { Value::Null } else { Value::from(items) };
    json!({"kind": "PartialObjectMetadataList", "apiVersion": version, "metadata": list_meta(page), "items": items})
}

/// Only the metadata of an object.
pub(crate) fn partial_object(object: &Value, accepted: Accepted) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": accepted.meta_version(), "metadata": object["metadata"]})
}
