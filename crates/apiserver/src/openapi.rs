//! `/openapi/v2` and `/openapi/v3`: the description of the API that is served.
//!
//! Documents are large and seldom asked for, so each is made when it is, one at a time, and then kept deflated. They
//! depend on the release and on the kinds alone: the hash of those is known without making them, and lets clients keep
//! them. A change to one group makes the documents of no other anew, but for version 2, which has all in one.

use crate::aggregate::Part;
use crate::catalog::{Document, Table, Version};
use crate::server::Inner;
use crate::{Body, request::Info, respond};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::header::{ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, ETAG, IF_NONE_MATCH, LOCATION, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use ironclad_api::{ApiError, GroupVersionKind, Reason};
use ironclad_json::Value;
use ironclad_kinds::{Kind, Verb};
use ironclad_schema::openapi::{self, Resource, Subresource};
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::sync::{Arc, OnceLock};

/// How an answer of [`openapi::V2_PROTOBUF`] is called: as stock calls it, for `@` may not stand in a media type.
const V2_ANSWER: HeaderValue = HeaderValue::from_static("application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
const FOREVER: HeaderValue = HeaderValue::from_static("public, immutable, max-age=31536000");

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    Index,
    /// The document of version 2.
    V2 {
        protobuf: bool,
    },
    /// The document of version 3 of a place: `api/v1`, `apis/apps/v1`.
    V3(String),
}

impl Wanted {
    fn of(path: &str, headers: &HeaderMap) -> Result<Self, ApiError> {
        let version2 = path == "/openapi/v2";
        let protobuf = accepted(headers, version2)?;
        match path {
            "/openapi/v2" => Ok(Self::V2 { protobuf }),
            "/openapi/v3" => Ok(Self::Index),
            _ => path.strip_prefix("/openapi/v3/").map(|p| Self::V3(p.to_owned())).ok_or_else(missing),
        }
    }
}

/// The answer to a path below `/openapi`.
pub(crate) async fn answer(inner: &Inner, info: &Info, headers: &HeaderMap) -> Result<Response<Body>, ApiError> {
    let wanted = Wanted::of(info.path.trim_end_matches('/'), headers)?;
    let table = inner.catalog.now();
    let tag = match &wanted {
        Wanted::Index => return Ok(respond::value(StatusCode::OK, &index(inner, &table))),
        Wanted::V3(place) => version(&table, place).ok_or_else(missing)?.tag(&inner.version).to_owned(),
        Wanted::V2 { protobuf } => whole_tag(inner, &table, *protobuf),
    };
    let hash = info.query.get("hash");
    if let (Wanted::V3(place), true) = (&wanted, !hash.is_empty() && hash != tag) {
        return moved(place, &tag);
    }
    let quoted = format!("\"{tag}\"");
    let mut response = match headers.get(IF_NONE_MATCH).and_then(|v| v.to_str().ok()) == Some(quoted.as_str()) {
        true => respond::bytes(StatusCode::NOT_MODIFIED, ""),
        false => {
            let kind = if wanted == (Wanted::V2 { protobuf: true }) { V2_ANSWER } else { respond::JSON };
            packed(kind, &kept(inner, &table, &wanted).await?, headers)?
        }
    };
    response.headers_mut().insert(ETAG, HeaderValue::from_str(&quoted).map_err(ApiError::internal)?);
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
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
    let mut index = openapi::v3_index(places.iter().map(|(place, tag)| (place.as_str(), *tag)));
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
    let slot = slot(table, wanted).ok_or_else(missing)?;
    let known = || match &tag {
        Some(tag) => inner.aggregator.kept_openapi(tag, protobuf),
        None => slot.get().cloned(),
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
    let making = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        make(&of, &asked, &release, &parts)
    });
    let made = making.await.map_err(ApiError::internal)?.ok_or_else(missing)?.map_err(ApiError::internal)?;
    match tag {
        Some(tag) => inner.aggregator.keep_openapi(tag, protobuf, made.clone()),
        None => drop(slot.set(made.clone())),
    }
    Ok(made)
}

fn slot<'a>(table: &'a Table, wanted: &Wanted) -> Option<&'a OnceLock<Document>> {
    match wanted {
        Wanted::Index => None,
        Wanted::V2 { protobuf } => Some(&table.documents().openapi[usize::from(*protobuf)]),
        Wanted::V3(place) => Some(&version(table, place)?.openapi),
    }
}

fn make(table: &Table, wanted: &Wanted, release: &str, parts: &[Arc<Part>]) -> Option<std::io::Result<Document>> {
    let resources: Vec<Resource> = match wanted {
        Wanted::V3(place) => version(table, place)?.kinds().iter().map(|k| resource(k)).collect(),
        _ => table.kinds().map(|k| resource(k)).collect(),
    };
    let document = document(&resources, wanted, release, parts)?;
    let mut packed = GzEncoder::new(Vec::with_capacity(document.len() / 8), Compression::fast());
    Some(packed.write_all(&document).and_then(|()| packed.finish()).map(|p| Document { packed: p.into() }))
}

/// A kept document in the form that the client accepts.
fn packed(kind: HeaderValue, document: &Document, headers: &HeaderMap) -> Result<Response<Body>, ApiError> {
    let accepts = headers.get(ACCEPT_ENCODING).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if accepts.split(',').any(|e| e.split(';').next().is_some_and(|e| e.trim() == "gzip")) {
        let mut response = respond::kind(StatusCode::OK, kind, document.packed.clone());
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        return Ok(response);
    }
    let mut whole = Vec::with_capacity(document.packed.len() * 8);
    GzDecoder::new(&*document.packed).read_to_end(&mut whole).map_err(ApiError::internal)?;
    Ok(respond::kind(StatusCode::OK, kind, whole))
}

fn missing() -> ApiError {
    ApiError::new(Reason::NotFound, "the server could not find the requested resource")
}

/// Whether the best accepted form is protobuf, which only version 2 has, and not JSON.
fn accepted(headers: &HeaderMap, version2: bool) -> Result<bool, ApiError> {
    let accept = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("*/*");
    for part in accept.split(',') {
        match part.split(';').next().unwrap_or_default().trim() {
            "application/json" | "application/*" | "*/*" | "" => return Ok(false),
            openapi::V2_PROTOBUF if version2 => return Ok(true),
            _ => {}
        }
    }
    let more = if version2 { format!(", {}", openapi::V2_PROTOBUF) } else { String::new() };
    let message = format!("only the following media types are accepted: application/json{more}");
    Err(ApiError::new(Reason::NotAcceptable, message))
}

fn document(resources: &[Resource], wanted: &Wanted, version: &str, parts: &[Arc<Part>]) -> Option<Vec<u8>> {
    let bundle = ironclad_schema::bundle();
    let json = match wanted {
        Wanted::Index => return None,
        Wanted::V3(place) => openapi::v3(bundle, resources, place, version)?,
        Wanted::V2 { .. } => {
            let mut whole = openapi::v2(bundle, resources, version);
            parts.iter().for_each(|part| part.merge_into(&mut whole));
            whole
        }
    };
    Some(if *wanted == (Wanted::V2 { protobuf: true }) {
        openapi::v2_protobuf(&json)
    } else {
        json.to_string().into_bytes()
    })
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
        plural: kind.plural.to_string(),
        namespaced: kind.namespaced,
        verbs: verbs(kind.verbs),
        subresources: kind.subresources.iter().map(below).collect(),
        schema: kind.custom.as_ref().map(|c| c.raw()),
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
            ("/openapi/v3/apis/apps/v1", "application/json", Some(Wanted::V3("apis/apps/v1".into()))),
            ("/openapi/v3/api/v1", openapi::V2_PROTOBUF, None),
            ("/openapi/v4", "application/json", None),
        ];
        for (path, accept, wanted) in cases {
            assert_eq!(Wanted::of(path, &asking(accept)).ok(), wanted, "{path} {accept}");
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
        let bytes = document(&resources(), &Wanted::V3("api/v1".into()), "v1", &[]).unwrap();
        let document: Value = serde_json::from_slice(&bytes).unwrap();
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
