//! `/openapi/v2` and `/openapi/v3`: the description of the API that is served.
//!
//! Documents are large and seldom asked for, so each is made when it is, one at a time, and then kept deflated. They
//! depend on the release and on the kinds alone: the hash of those is known without making them, and lets clients keep
//! them. A change to one group makes the documents of no other anew; version 2, which has all in one, is put together
//! from pieces (`second.rs`).

mod second;
mod splice;

use crate::aggregate::Part;
use crate::catalog::{Document, Table, Version};
use crate::server::Inner;
use crate::{Body, body, request::Info, respond};
use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION, VARY,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use ironclad_api::{ApiError, GroupVersionKind, Reason};
use ironclad_json::Value;
use ironclad_kinds::{Kind, Verb};
use ironclad_schema::openapi::{self, Resource, Sources, Subresource};
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::sync::{Arc, OnceLock};

/// How answers of protobuf are called: as stock calls them, for `@` may not stand in a media type.
const V2_ANSWER: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const V3_ANSWER: &str = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf";
const FOREVER: HeaderValue = HeaderValue::from_static("public, immutable, max-age=31536000");

pub(crate) use second::{Added, Kept};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    Index,
    /// The document of version 2.
    V2 {
        protobuf: bool,
    },
    /// The document of version 3 of a place: `api/v1`, `apis/apps/v1`, `apis/apps`, `version`.
    V3 {
        place: String,
        protobuf: bool,
    },
}

impl Wanted {
    fn of(path: &str, headers: &HeaderMap) -> Result<Self, ApiError> {
        match path {
            "/openapi/v2" => Ok(Self::V2 { protobuf: accepted(headers, &[openapi::V2_PROTOBUF, V2_ANSWER])? }),
            // Whatever a client accepts.
            "/openapi/v3" => Ok(Self::Index),
            _ => {
                let protobuf = accepted(headers, &[openapi::V3_PROTOBUF, V3_ANSWER])?;
                let place = path.strip_prefix("/openapi/v3/").ok_or_else(missing)?.to_owned();
                Ok(Self::V3 { place, protobuf })
            }
        }
    }

    /// How its answer is called.
    fn kind(&self) -> HeaderValue {
        match self {
            Self::V2 { protobuf: true } => HeaderValue::from_static(V2_ANSWER),
            Self::V3 { protobuf: true, .. } => HeaderValue::from_static(V3_ANSWER),
            _ => respond::JSON,
        }
    }
}

/// The answer to a path below `/openapi`.
pub(crate) async fn answer(inner: &Inner, info: &Info, headers: &HeaderMap) -> Result<Response<Body>, ApiError> {
    let wanted = Wanted::of(&info.path, headers)?;
    let table = inner.catalog.now();
    let tag = match &wanted {
        Wanted::Index => return Ok(respond::text(StatusCode::OK, index(inner, &table).to_string())),
        Wanted::V3 { place, .. } => match tag(inner, &table, place) {
            Some(tag) => tag,
            None => return Ok(empty(StatusCode::NOT_FOUND)),
        },
        Wanted::V2 { protobuf } => whole_tag(inner, &table, *protobuf),
    };
    let hash = info.query.get("hash");
    if let (Wanted::V3 { place, .. }, true) = (&wanted, !hash.is_empty() && hash != tag) {
        return moved(place, &tag);
    }
    let quoted = format!("\"{tag}\"");
    let known = headers.get(IF_NONE_MATCH).and_then(|v| v.to_str().ok());
    let mut response = match known.is_some_and(|known| names(known, &quoted)) {
        true => empty(StatusCode::NOT_MODIFIED),
        false => packed(wanted.kind(), &kept(inner, &table, &wanted).await?, headers)?,
    };
    response.headers_mut().insert(ETAG, HeaderValue::from_str(&quoted).map_err(ApiError::internal)?);
    response.headers_mut().append(VARY, HeaderValue::from_static("Accept"));
    if info.query.get("hash") == tag {
        response.headers_mut().insert(CACHE_CONTROL, FOREVER);
    }
    Ok(response)
}

/// Where the newest document of a place is, for a client that asks for an older one.
fn moved(place: &str, tag: &str) -> Result<Response<Body>, ApiError> {
    let mut response = respond::text(StatusCode::MOVED_PERMANENTLY, "");
    let to = HeaderValue::from_str(&format!("/openapi/v3/{place}?hash={tag}")).map_err(ApiError::internal)?;
    response.headers_mut().insert(LOCATION, to);
    Ok(response)
}

/// The version whose document stands at a place: `api/v1`, `apis/apps/v1`.
fn version<'a>(table: &'a Table, place: &str) -> Option<&'a Version> {
    let parts: Vec<&str> = place.split('/').collect();
    match parts.as_slice() {
        ["api", version] => table.group("")?.version(version),
        ["apis", group, version] => table.group(group)?.version(version),
        _ => None,
    }
}

/// The hash of the document of version 3 of a place.
fn tag(inner: &Inner, table: &Table, place: &str) -> Option<String> {
    if let Some(version) = version(table, place) {
        return Some(version.tag(&inner.version).to_owned());
    }
    let places = openapi::v3_root_places(&second::built_in(table));
    places.iter().any(|p| p == place).then(|| root_tag(&inner.version, place))
}

/// The hash of a document of what is no group's version: it depends on the release alone.
fn root_tag(release: &str, place: &str) -> String {
    hex::encode_upper(Sha256::digest(format!("{release} {place}")))
}

/// The index of the documents of version 3, each with a hash of its contents.
fn index(inner: &Inner, table: &Table) -> Value {
    let release = &inner.version;
    let mut places = Vec::new();
    for group in table.groups() {
        for version in group.versions() {
            let place = match group.name() {
                "" => format!("api/{}", version.name()),
                name => format!("apis/{name}/{}", version.name()),
            };
            places.push((place, version.tag(release)));
        }
    }
    let above: Vec<(String, String)> = openapi::v3_root_places(&second::built_in(table))
        .into_iter()
        .map(|place| (place.clone(), root_tag(release, &place)))
        .collect();
    let above = above.iter().map(|(place, tag)| (place.as_str(), tag.as_str()));
    let mut index = openapi::v3_index(places.iter().map(|(place, tag)| (place.as_str(), *tag)).chain(above));
    for (place, url) in inner.aggregator.openapi_places() {
        index["paths"][place] = ironclad_json::json!({"serverRelativeURL": url});
    }
    index
}

fn whole_tag(inner: &Inner, table: &Table, protobuf: bool) -> String {
    let mut hash = Sha256::new_with_prefix(if protobuf { "v2 protobuf" } else { "v2" });
    table.groups().iter().flat_map(|g| g.versions()).for_each(|v| hash.update(v.tag(&inner.version)));
    hash.update(inner.aggregator.openapi_tag());
    hex::encode_upper(hash.finalize())
}

/// A document from the place where it is kept; made first if nobody has asked for it.
async fn kept(inner: &Inner, table: &Arc<Table>, wanted: &Wanted) -> Result<Document, ApiError> {
    let parts = match wanted {
        Wanted::V2 { .. } => inner.aggregator.openapi_parts(),
        _ => Vec::new(),
    };
    let protobuf = *wanted == Wanted::V2 { protobuf: true };
    // With what other servers add it lasts as long as both.
    let tag = (!parts.is_empty()).then(|| whole_tag(inner, table, protobuf));
    let known = || match &tag {
        Some(tag) => inner.aggregator.kept_openapi(tag, protobuf),
        None => slot(table, wanted).and_then(|slot| slot.get().cloned()),
    };
    if let Some(document) = known() {
        return Ok(document);
    }
    // No two at once: each takes tens of megabytes while it is made.
    let turn = inner.documents.clone().acquire_owned().await.map_err(ApiError::internal)?;
    if let Some(document) = known() {
        return Ok(document);
    }
    let (of, release, asked) = (table.clone(), inner.version.clone(), wanted.clone());
    let base = inner.openapi.clone();
    let making = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        make(&base, &of, &asked, &release, &parts)
    });
    let made = making.await.map_err(ApiError::internal)?.ok_or_else(missing)?.map_err(ApiError::internal)?;
    match (tag, slot(table, wanted)) {
        (Some(tag), _) => inner.aggregator.keep_openapi(tag, protobuf, made.clone()),
        (None, Some(slot)) => drop(slot.set(made.clone())),
        (None, None) => {}
    }
    Ok(made)
}

fn slot<'a>(table: &'a Table, wanted: &Wanted) -> Option<&'a OnceLock<Document>> {
    match wanted {
        Wanted::Index => None,
        Wanted::V2 { protobuf } => Some(&table.documents().openapi[usize::from(*protobuf)]),
        Wanted::V3 { place, protobuf } => Some(&version(table, place)?.openapi[usize::from(*protobuf)]),
    }
}

fn make(
    base: &second::Kept,
    table: &Table,
    wanted: &Wanted,
    release: &str,
    parts: &[Arc<Part>],
) -> Option<std::io::Result<Document>> {
    let (place, protobuf) = match wanted {
        Wanted::Index => return None,
        Wanted::V2 { protobuf } => {
            let made = second::document(base, table, release, *protobuf, parts);
            return Some(made.map(|pieces| Document { packed: pieces.into() }));
        }
        Wanted::V3 { place, protobuf } => (place, *protobuf),
    };
    let json = third(table, place, release)?;
    let bytes = if protobuf { openapi::v3_protobuf(&json) } else { json.to_string().into_bytes() };
    drop(json);
    let mut packed = GzEncoder::new(Vec::with_capacity(bytes.len() / 8), Compression::fast());
    let packed = packed.write_all(&bytes).and_then(|()| packed.finish());
    Some(packed.map(|p| Document { packed: Arc::from([Bytes::from(p)]) }))
}

/// The document of version 3 of a place.
fn third(table: &Table, place: &str, release: &str) -> Option<Value> {
    let sources = Sources::default();
    match version(table, place) {
        Some(version) => {
            let resources: Vec<Resource> = version.kinds().iter().map(|k| resource(k)).collect();
            sources.v3(&resources, release)
        }
        None => sources.v3_root(place, release),
    }
}

/// A kept document in the form that the client accepts.
fn packed(kind: HeaderValue, document: &Document, headers: &HeaderMap) -> Result<Response<Body>, ApiError> {
    let accepts = headers.get(ACCEPT_ENCODING).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if accepts.split(',').any(|e| e.split(';').next().is_some_and(|e| e.trim() == "gzip")) {
        let mut response = respond::kind(StatusCode::OK, kind, Bytes::new());
        *response.body_mut() = body::chain(document.packed.to_vec());
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        return Ok(response);
    }
    let mut whole = Vec::new();
    GzDecoder::new(Pieces(&document.packed, 0)).read_to_end(&mut whole).map_err(ApiError::internal)?;
    Ok(respond::kind(StatusCode::OK, kind, whole))
}

/// Pieces as something to read from, and how much of the first was read.
struct Pieces<'a>(&'a [Bytes], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        while let Some((first, rest)) = self.0.split_first() {
            let left = &first[self.1..];
            if !left.is_empty() {
                let read = left.len().min(into.len());
                into[..read].copy_from_slice(&left[..read]);
                self.1 += read;
                return Ok(read);
            }
            *self = Self(rest, 0);
        }
        Ok(0)
    }
}

/// Whether `If-None-Match` names a tag.
fn names(known: &str, tag: &str) -> bool {
    known.trim() == "*" || known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag)
}

/// An answer without a word: also what stock says of places that have no document.
fn empty(code: StatusCode) -> Response<Body> {
    let mut response = respond::text(code, "");
    response.headers_mut().remove(CONTENT_TYPE);
    response
}

fn missing() -> ApiError {
    ApiError::no_such_path()
}

/// Whether the best accepted form is protobuf, by the names that it has here, and not JSON.
fn accepted(headers: &HeaderMap, protobuf: &[&str]) -> Result<bool, ApiError> {
    let accept = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("*/*");
    for part in accept.split(',') {
        match part.split(';').next().unwrap_or_default().trim() {
            "application/json" | "application/*" | "*/*" | "" => return Ok(false),
            name if protobuf.contains(&name) => return Ok(true),
            _ => {}
        }
    }
    let all = [&["application/json"], protobuf].concat().join(", ");
    let message = format!("only the following media types are accepted: {all}");
    Err(ApiError::new(Reason::NotAcceptable, message))
}

/// A hash of all that the document of a version depends on.
pub(crate) fn hash(kinds: &[Arc<Kind>], release: &str) -> String {
    let resources: Vec<Resource> = kinds.iter().map(|k| resource(k)).collect();
    hex::encode_upper(Sha256::digest(format!("{release} {resources:?}")))
}

fn resource(kind: &Kind) -> Resource {
    let verbs = |verbs: &[Verb]| verbs.iter().map(|v| v.as_str()).collect();
    let below = |s: &ironclad_kinds::Subresource| Subresource {
        name: s.name.to_string(),
        kind: s.kind.as_ref().map(|(g, v, k)| GroupVersionKind::new(g, v, k)),
        verbs: verbs(s.verbs),
    };
    Resource {
        gvk: kind.gvk(),
        list_kind: kind.list_kind.to_string(),
        plural: kind.plural.to_string(),
        namespaced: kind.namespaced,
        verbs: verbs(kind.verbs),
        subresources: kind.subresources.iter().map(below).collect(),
        schema: kind.custom.as_ref().map(|c| c.raw()),
        selectable: kind.custom.iter().flat_map(|_| kind.selectable.iter().map(ToString::to_string)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;

    fn resources() -> Vec<Resource> {
        ironclad_kinds::all().iter().map(|k| resource(k)).collect()
    }

    fn asking(accept: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))])
    }

    #[test]
    fn forms_are_negotiated() {
        let cases = [
            ("/openapi/v2", "application/json", Some(Wanted::V2 { protobuf: false })),
            ("/openapi/v2", "*/*", Some(Wanted::V2 { protobuf: false })),
            ("/openapi/v2", openapi::V2_PROTOBUF, Some(Wanted::V2 { protobuf: true })),
            ("/openapi/v2", "text/html", None),
            ("/openapi/v3", "application/json", Some(Wanted::Index)),
            ("/openapi/v2", V2_ANSWER, Some(Wanted::V2 { protobuf: true })),
            (
                "/openapi/v3/apis/apps/v1",
                "application/json",
                Some(Wanted::V3 { place: "apis/apps/v1".into(), protobuf: false }),
            ),
            ("/openapi/v3/api/v1", openapi::V3_PROTOBUF, Some(Wanted::V3 { place: "api/v1".into(), protobuf: true })),
            ("/openapi/v3/api/v1", openapi::V2_PROTOBUF, None),
            ("/openapi/v3", openapi::V3_PROTOBUF, Some(Wanted::Index)),
            ("/openapi/v4", "application/json", None),
        ];
        for (path, accept, wanted) in cases {
            assert_eq!(Wanted::of(path, &asking(accept)).ok(), wanted, "{path} {accept}");
        }
    }

    #[test]
    fn the_document_of_version_2_holds_all_that_it_refers_to() {
        let catalog = crate::catalog::Catalog::new(ironclad_kinds::all());
        let whole = |protobuf| {
            let pieces = second::document(&Kept::default(), &catalog.now(), "v1", protobuf, &[]).unwrap();
            let mut whole = Vec::new();
            GzDecoder::new(Pieces(&pieces, 0)).read_to_end(&mut whole).unwrap();
            whole
        };
        let document: Value = serde_json::from_slice(&whole(false)).unwrap();
        let mut missing = Vec::new();
        dangling(&document, &document, &mut missing);
        assert_eq!(missing, Vec::<String>::new());
        assert!(document["paths"]["/version/"].is_object() && document["paths"]["/api/v1/pods"].is_object());
        assert!(whole(true).starts_with(b"\x0a\x032.0"));
    }

    fn dangling(value: &Value, whole: &Value, out: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                if let Some(to) = map.get("$ref").and_then(Value::as_str)
                    && whole.pointer(to.trim_start_matches('#')).is_none()
                {
                    out.push(to.to_owned());
                }
                map.values().for_each(|v| dangling(v, whole, out));
            }
            Value::Array(items) => items.iter().for_each(|v| dangling(v, whole, out)),
            _ => {}
        }
    }

    #[test]
    fn tags_differ_by_document_and_by_release() {
        let of = |group: &str| -> Vec<Arc<Kind>> {
            ironclad_kinds::all().iter().filter(|k| k.group == group).cloned().collect()
        };
        assert_eq!(hash(&of("apps"), "v1"), hash(&of("apps"), "v1"));
        assert_ne!(hash(&of("apps"), "v1"), hash(&of(""), "v1"));
        assert_ne!(hash(&of("apps"), "v1"), hash(&of("apps"), "v2"));
        assert_ne!(hash(&of("apps"), "v1"), hash(&of("apps")[1..], "v1"));
    }

    #[test]
    fn kubectl_finds_what_it_looks_for() {
        let core: Vec<Resource> = resources().into_iter().filter(|r| r.gvk.api_version() == "v1").collect();
        let document = Sources::default().v3(&core, "v1").unwrap();
        let item = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"];
        assert_eq!(
            item["patch"]["x-kubernetes-group-version-kind"],
            json!({"group": "", "version": "v1", "kind": "Pod"})
        );
        let pod = &document["components"]["schemas"]["io.k8s.api.core.v1.Pod"]["properties"];
        for field in ["apiVersion", "kind", "metadata", "spec", "status"] {
            assert!(pod[field]["description"].as_str().is_some_and(|d| !d.is_empty()), "{field}");
        }
    }
}
