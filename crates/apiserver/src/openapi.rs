//! The OpenAPI documents: version 3 per group and version, version 2 as one document (KEP-2896).
//!
//! Documents are made when they are asked for, since few clients ask and the texts are large. Their tags depend on the
//! program's version alone, so clients keep them until the program changes.

mod paths;
mod schemas;

use crate::server::Inner;
use crate::{Body, request::Info, respond};
use http::header::{ACCEPT, CACHE_CONTROL, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use ironclad_api::{ApiError, Reason};
use ironclad_kinds::Kind;
use schemas::Schemas;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Which specification a document follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    V2,
    V3,
}

impl Dialect {
    /// Where a definition of the document is found.
    fn reference(self, definition: &str) -> Value {
        let place = if self == Self::V3 { "components/schemas" } else { "definitions" };
        json!({"$ref": format!("#/{place}/{definition}")})
    }
}

/// The answer to a path below `/openapi`.
pub(crate) fn answer(inner: &Inner, info: &Info, headers: &HeaderMap) -> Result<Response<Body>, ApiError> {
    let missing = || ApiError::new(Reason::NotFound, "the server could not find the requested resource");
    accepts_json(headers)?;
    let path = info.path.trim_end_matches('/');
    if path == "/openapi/v3" {
        return Ok(respond::value(StatusCode::OK, &index(inner)));
    }
    let (part, dialect) = match path.strip_prefix("/openapi/v3/") {
        Some(part) => (part, Dialect::V3),
        None if path == "/openapi/v2" => ("", Dialect::V2),
        None => return Err(missing()),
    };
    let kinds: Vec<&Kind> =
        inner.kinds.iter().map(Arc::as_ref).filter(|k| dialect == Dialect::V2 || place(k) == part).collect();
    if kinds.is_empty() {
        return Err(missing());
    }
    let tag = tag(inner, path);
    let quoted = format!("\"{tag}\"");
    let known = headers.get(IF_NONE_MATCH).and_then(|v| v.to_str().ok()) == Some(quoted.as_str());
    let mut response = match known {
        true => respond::bytes(StatusCode::NOT_MODIFIED, ""),
        false => respond::value(StatusCode::OK, &document(&kinds, dialect, &inner.version)),
    };
    if let Ok(value) = HeaderValue::from_str(&quoted) {
        response.headers_mut().insert(ETAG, value);
    }
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    if info.query.get("hash") == tag {
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable, max-age=31536000"));
    }
    Ok(response)
}

fn accepts_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let accept = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("*/*");
    let media = |part: &str| part.split(';').next().unwrap_or_default().trim().to_owned();
    if accept.split(',').map(media).any(|m| matches!(&*m, "application/json" | "application/*" | "*/*" | "")) {
        return Ok(());
    }
    Err(ApiError::new(Reason::NotAcceptable, "only the following media types are accepted: application/json"))
}

/// The place of a kind's group and version below `/openapi/v3`.
fn place(kind: &Kind) -> String {
    if kind.group.is_empty() { format!("api/{}", kind.version) } else { format!("apis/{}", kind.api_version()) }
}

fn tag(inner: &Inner, path: &str) -> String {
    hex::encode_upper(Sha256::digest(format!("{} {path}", inner.version)))
}

/// Where the document of each group and version is.
fn index(inner: &Inner) -> Value {
    let mut paths = serde_json::Map::new();
    for kind in &inner.kinds {
        let place = place(kind);
        let url = format!("/openapi/v3/{place}");
        let tagged = format!("{url}?hash={}", tag(inner, &url));
        paths.entry(place).or_insert_with(|| json!({"serverRelativeURL": tagged}));
    }
    json!({"paths": paths})
}

fn document(kinds: &[&Kind], dialect: Dialect, version: &str) -> Value {
    let mut schemas = Schemas::new(dialect);
    let mut paths = serde_json::Map::new();
    for kind in kinds {
        paths::add(&mut paths, kind, &mut schemas);
    }
    let info = json!({"title": "Kubernetes", "version": version});
    let definitions = schemas.finish();
    match dialect {
        Dialect::V3 => {
            json!({"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": definitions}})
        }
        Dialect::V2 => json!({"swagger": "2.0", "info": info, "paths": paths, "definitions": definitions}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn made(dialect: Dialect, part: &str) -> Value {
        let kinds = ironclad_kinds::all();
        let kinds: Vec<&Kind> = kinds.iter().map(Arc::as_ref).filter(|k| place(k) == part).collect();
        document(&kinds, dialect, "v1")
    }

    fn references(value: &Value, out: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                out.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
                map.values().for_each(|v| references(v, out));
            }
            Value::Array(list) => list.iter().for_each(|v| references(v, out)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_to_a_definition() {
        for (dialect, part) in
            [(Dialect::V3, "api/v1"), (Dialect::V3, "apis/apps/v1"), (Dialect::V2, "apis/networking.k8s.io/v1")]
        {
            let document = made(dialect, part);
            let mut found = BTreeSet::new();
            references(&document, &mut found);
            assert!(found.len() > 10, "{part}");
            for reference in found {
                let pointer = reference.trim_start_matches('#');
                assert!(document.pointer(pointer).is_some(), "{part}: {reference}");
            }
        }
    }

    #[test]
    fn kubectl_finds_what_it_looks_for() {
        let document = made(Dialect::V3, "apis/apps/v1");
        let item = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"];
        let gvk = json!({"group": "apps", "version": "v1", "kind": "Deployment"});
        assert_eq!(item["patch"]["x-kubernetes-group-version-kind"], gvk);
        let parameters = item["patch"]["parameters"].as_array().unwrap();
        assert!(parameters.iter().any(|p| p["name"] == "fieldValidation" && p["in"] == "query"));
        let schema = &document["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"];
        assert_eq!(schema["x-kubernetes-group-version-kind"], json!([gvk]));
        assert!(schema["properties"]["spec"]["description"].as_str().is_some_and(|d| !d.is_empty()));
        let containers = &document["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
        assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
        assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    }
}
