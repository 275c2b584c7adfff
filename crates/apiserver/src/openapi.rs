//! `/openapi/v2` and `/openapi/v3`: the description of the API that is served.
//!
//! Documents are large and seldom asked for, so they are made when they are, one at a time, and not kept. They depend
//! on the release and on the kinds alone: the hash of those is known without making them, and lets clients keep them.

use crate::server::Inner;
use crate::{Body, request::Info, respond};
use http::header::{ACCEPT, CACHE_CONTROL, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use ironclad_api::{ApiError, GroupVersionKind, Reason};
use ironclad_kinds::{Kind, Verb};
use ironclad_schema::openapi::{self, Resource, Subresource};
use sha2::{Digest, Sha256};

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
    let resources: Vec<Resource> = inner.kinds.iter().map(|k| resource(k)).collect();
    let contents = contents(&resources, &inner.version);
    let places = openapi::v3_places(&resources);
    let tag = match &wanted {
        Wanted::Index => {
            let hashes: Vec<(&str, String)> = places.iter().map(|p| (p.as_str(), tag(&contents, p))).collect();
            let index = openapi::v3_index(hashes.iter().map(|(place, hash)| (*place, hash.as_str())));
            return Ok(respond::value(StatusCode::OK, &index));
        }
        Wanted::V3(place) if !places.contains(place) => return Err(missing()),
        Wanted::V3(place) => tag(&contents, place),
        Wanted::V2 { protobuf } => tag(&contents, if *protobuf { "v2 protobuf" } else { "v2" }),
    };
    let quoted = format!("\"{tag}\"");
    let mut response = match headers.get(IF_NONE_MATCH).and_then(|v| v.to_str().ok()) == Some(quoted.as_str()) {
        true => respond::bytes(StatusCode::NOT_MODIFIED, ""),
        false => make(inner, resources, wanted).await?,
    };
    response.headers_mut().insert(ETAG, HeaderValue::from_str(&quoted).map_err(ApiError::internal)?);
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    if info.query.get("hash") == tag {
        response.headers_mut().insert(CACHE_CONTROL, FOREVER);
    }
    Ok(response)
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

/// Makes a document off the threads that serve, and no two at once: each takes tens of megabytes while it is made.
async fn make(inner: &Inner, resources: Vec<Resource>, wanted: Wanted) -> Result<Response<Body>, ApiError> {
    let turn = inner.documents.clone().acquire_owned().await.map_err(ApiError::internal)?;
    let version = inner.version.clone();
    let protobuf = wanted == Wanted::V2 { protobuf: true };
    let making = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        document(&resources, &wanted, &version)
    });
    let bytes = making.await.map_err(ApiError::internal)?.ok_or_else(missing)?;
    Ok(respond::kind(StatusCode::OK, if protobuf { V2_ANSWER } else { respond::JSON }, bytes))
}

fn document(resources: &[Resource], wanted: &Wanted, version: &str) -> Option<Vec<u8>> {
    let bundle = ironclad_schema::bundle();
    let json = match wanted {
        Wanted::Index => return None,
        Wanted::V3(place) => openapi::v3(bundle, resources, place, version)?,
        Wanted::V2 { .. } => openapi::v2(bundle, resources, version),
    };
    Some(if *wanted == (Wanted::V2 { protobuf: true }) {
        openapi::v2_protobuf(&json)
    } else {
        json.to_string().into_bytes()
    })
}

/// A hash of all that the documents are made from.
fn contents(resources: &[Resource], version: &str) -> Sha256 {
    Sha256::new_with_prefix(format!("{version} {resources:?}"))
}

/// The hash of one document.
fn tag(contents: &Sha256, document: &str) -> String {
    hex::encode_upper(contents.clone().chain_update(document).finalize())
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

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
        let all = resources();
        let (now, later) = (contents(&all, "v1"), contents(&all, "v2"));
        assert_eq!(tag(&now, "api/v1"), tag(&contents(&all, "v1"), "api/v1"));
        assert_ne!(tag(&now, "api/v1"), tag(&now, "apis/apps/v1"));
        assert_ne!(tag(&now, "api/v1"), tag(&later, "api/v1"));
        assert_ne!(tag(&now, "api/v1"), tag(&contents(&all[1..], "v1"), "api/v1"));
    }

    #[test]
    fn kubectl_finds_what_it_looks_for() {
        let bytes = document(&resources(), &Wanted::V3("api/v1".into()), "v1").unwrap();
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
