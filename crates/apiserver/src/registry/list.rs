//! Lists: pages at one revision, made of the bytes that the cache shares.

use super::{Registry, Request, convert, store_error};
use crate::accept::{Accepted, Media, View};
use crate::cache::{Cached, ResourceCache};
use crate::selection::Selection;
use crate::{Body, encode, respond, table};
use base64::Engine;
use bytes::Bytes;
use http::{Response, StatusCode};
use ironclad_api::{ApiError, FieldError, Path};
use ironclad_schema::{bundle, proto};
use ironclad_store::{RangeQuery, Revision};
use serde_json::{Value, json};
use std::sync::Arc;

/// What a continue token holds: the revision of the list and the last key.
struct Token {
    revision: Revision,
    key: String,
}

impl Token {
    fn encode(&self) -> String {
        let text = json!({"v": "meta.k8s.io/v1", "rv": self.revision.0, "start": self.key}).to_string();
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
    }

    fn decode(text: &str) -> Result<Self, ApiError> {
        let bad = || ApiError::bad_request("continue key is not valid: illegal base64 data or unknown contents");
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).map_err(|_| bad())?;
        let value: Value = serde_json::from_slice(&bytes).map_err(|_| bad())?;
        let revision = value["rv"].as_u64().map(Revision).ok_or_else(bad)?;
        Ok(Self { revision, key: value["start"].as_str().ok_or_else(bad)?.to_owned() })
    }
}

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
        let accepted = request.accept;
        Ok(match (accepted.view, accepted.media) {
            (View::Object, Media::Json) if same_version(request) && accepted.is_plain() => {
                respond::pieces(Media::Json, chain(request, &page))
            }
            (View::Object, Media::Protobuf) if same_version(request) => protobuf(request, &page).await?,
            (View::Object, _) => whole(request, &page),
            (View::Table, _) => answer(request, &table::of_list(request, &page.objects, &list_meta(&page))),
            (View::Partial, _) => answer(request, &partial(&page, accepted)),
        })
    }

    pub(crate) async fn page(&self, request: &Request<'_>) -> Result<Page, ApiError> {
        let query = request.query();
        let selection = Selection::parse(request.kind, &request.info.namespace, &request.info.name, query)?;
        let limit = query.number("limit").unwrap_or(0).max(0) as usize;
        let token = match query.get("continue") {
            "" => None,
            text => Some(Token::decode(text)?),
        };
        let cache = self.caches.of(request.kind).ok_or_else(|| request.not_found())?;
        let wanted = version(request)?;
        let prefix = request.prefix();
        let (objects, revision) = match (&token, wanted) {
            (Some(token), _) => {
                (self.at(request, &cache, &prefix, token.revision, Some(&token.key)).await?, token.revision)
            }
            (None, Some((exact, revision))) if exact => {
                (self.at(request, &cache, &prefix, revision, None).await?, revision)
            }
            (None, wanted) => {
                let revision = match wanted {
                    Some((_, Revision(0))) => self.caches.revision(),
                    Some((_, revision)) => {
                        self.known(revision).await?;
                        self.caches.reach(revision).await
                    }
                    None => self.caches.current().await.map_err(|e| store_error(&e))?,
                };
                (cache.list(&prefix, None), revision)
            }
        };
        let all = selection.labels.is_everything() && selection.fields.is_everything() && selection.name.is_empty();
        let mut objects: Vec<_> = objects.into_iter().filter(|o| all || selection.matches(request.kind, o)).collect();
        let (mut next, mut remaining) = (None, None);
        if limit > 0 && objects.len() > limit {
            remaining = all.then_some(objects.len() - limit);
            objects.truncate(limit);
            let key = objects.last().map(|o| o.key.to_string()).unwrap_or_default();
            next = Some(Token { revision, key }.encode());
        }
        Ok(Page { objects, revision, next, remaining })
    }

    /// A revision that nobody has seen yet is refused rather than waited for.
    async fn known(&self, revision: Revision) -> Result<(), ApiError> {
        let newest = self.store.revision().await.map_err(|e| store_error(&e))?;
        if revision > newest {
            return Err(store_error(&ironclad_store::Error::Future { requested: revision, newest }));
        }
        Ok(())
    }

    /// The objects as they were at a revision.
    async fn at(
        &self,
        request: &Request<'_>,
        cache: &ResourceCache,
        prefix: &str,
        at: Revision,
        after: Option<&str>,
    ) -> Result<Vec<Arc<Cached>>, ApiError> {
        self.known(at).await?;
        let query =
            RangeQuery { prefix: prefix.to_owned(), start_after: after.map(Into::into), limit: 0, at: Some(at) };
        let page = self.store.range(&query).await.map_err(|e| store_error(&e))?;
        // What has not changed since is in the cache already.
        let shared = |e: &ironclad_store::Entry| match cache.get(&e.key) {
            Some(cached) if cached.revision == e.modified => cached,
            _ => Arc::new(Cached::of(request.stored, e)),
        };
        Ok(page.entries.iter().map(shared).collect())
    }
}

/// The resource version that the client asks for, and whether exactly.
fn version(request: &Request<'_>) -> Result<Option<(bool, Revision)>, ApiError> {
    let (version, how) = (request.query().get("resourceVersion"), request.query().get("resourceVersionMatch"));
    let invalid = |field: &str, why: String| {
        let error = FieldError::forbidden(&Path::new(field), why);
        Err(ApiError::invalid("meta.k8s.io", "ListOptions", "", &[error]))
    };
    if !how.is_empty() && version.is_empty() {
        return invalid(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden unless resourceVersion is provided".to_owned(),
        );
    }
    if !request.query().get("continue").is_empty() {
        if !version.is_empty() && version != "0" {
            return Err(ApiError::bad_request("specifying resource version is not allowed when using continue"));
        }
        return Ok(None);
    }
    if version.is_empty() {
        return Ok(None);
    }
    let revision: Revision = version.parse().map_err(|_| {
        ApiError::bad_request(format!(
            "Invalid value: {version:?}: strconv.ParseUint: parsing {version:?}: invalid syntax"
        ))
    })?;
    match how {
        "" | "NotOlderThan" => Ok(Some((false, revision))),
        "Exact" if revision == Revision(0) => invalid(
            "resourceVersionMatch",
            "resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"".to_owned(),
        ),
        "Exact" => Ok(Some((true, revision))),
        other => {
            let error = FieldError::not_supported(
                &Path::new("resourceVersionMatch"),
                &json!(other),
                &["Exact", "NotOlderThan", ""],
            );
            Err(ApiError::invalid("meta.k8s.io", "ListOptions", "", &[error]))
        }
    }
}

pub(crate) fn same_version(request: &Request<'_>) -> bool {
    request.kind.version == request.stored.version && request.kind.group == request.stored.group
}

fn list_meta(page: &Page) -> Value {
    let mut meta = json!({"resourceVersion": page.revision.to_string()});
    if let Some(next) = &page.next {
        meta["continue"] = json!(next);
    }
    if let Some(remaining) = page.remaining {
        meta["remainingItemCount"] = json!(remaining);
    }
    meta
}

/// The list as a chain of the cache's own bytes.
fn chain(request: &Request<'_>, page: &Page) -> Vec<Bytes> {
    let head =
        json!({"kind": request.kind.list_kind, "apiVersion": request.kind.api_version(), "metadata": list_meta(page)});
    let mut head = head.to_string();
    head.pop();
    head.push_str(",\"items\":[");
    let mut out = Vec::with_capacity(page.objects.len() * 2 + 2);
    out.push(Bytes::from(head));
    for (index, object) in page.objects.iter().enumerate() {
        if index > 0 {
            out.push(Bytes::from_static(b","));
        }
        out.push(object.bytes.clone());
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
    let items: Vec<Value> = page.objects.iter().map(|o| convert(request.stored, request.kind, o.value())).collect();
    let list = json!({
        "kind": request.kind.list_kind, "apiVersion": request.kind.api_version(),
        "metadata": list_meta(page), "items": items,
    });
    answer(request, &list)
}

fn answer(request: &Request<'_>, value: &Value) -> Response<Body> {
    respond::encoded(StatusCode::OK, request.accept, value)
}

fn partial(page: &Page, accepted: Accepted) -> Value {
    let items: Vec<Value> = page.objects.iter().map(|o| partial_object(&encode::decode(&o.bytes), accepted)).collect();
    let version = accepted.meta_version();
    json!({"kind": "PartialObjectMetadataList", "apiVersion": version, "metadata": list_meta(page), "items": items})
}

/// Only the metadata of an object.
pub(crate) fn partial_object(object: &Value, accepted: Accepted) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": accepted.meta_version(), "metadata": object["metadata"]})
}
