//! Discovery: which groups, versions and resources there are, plain and aggregated (KEP-3352).
//!
//! What is answered as JSON is a chain of the bytes that the catalog keeps for each group; other forms are made of it.

pub(crate) mod describe;

use crate::accept::{self, Accepted, Media};
use crate::aggregate::Merged;
use crate::catalog::{Group, Table};
use crate::server::Inner;
use crate::{Body, request::Info, respond};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use ironclad_api::{ApiError, features};
use ironclad_json::json;
use sha2::{Digest, Sha256};
use std::sync::Arc;

const PLAIN_HEAD: &[u8] = br#"{"kind":"APIGroupList","apiVersion":"v1","groups":["#;
const AGGREGATED_HEAD: &[u8] =
    br#"{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","metadata":{},"items":["#;

/// A document as JSON; of aggregated discovery with its tag.
struct Document {
    pieces: Vec<Bytes>,
    tag: Option<String>,
}

impl Document {
    fn of(json: impl Into<Bytes>) -> Self {
        Self { pieces: vec![json.into()], tag: None }
    }
}

/// The answer to a path of discovery; `None` when it is none.
pub(crate) fn answer(inner: &Inner, info: &Info, headers: &HeaderMap) -> Option<Result<Response<Body>, ApiError>> {
    // One slash more at the end is the same path, anywhere else it is another.
    let path = info.path.strip_suffix('/').unwrap_or(&info.path);
    let parts: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    let whole = matches!(parts.as_slice(), ["api" | "apis"]);
    if !matches!(parts.as_slice(), ["api" | "apis"] | ["api", "v1"] | ["apis", _] | ["apis", _, _]) {
        return None;
    }
    // Of discovery only the lists of resources come in it.
    let lists = parts.len() == if parts[0] == "api" { 2 } else { 3 };
    let custom = parts.get(1).is_some_and(|name| inner.catalog.now().group(name).is_some_and(|g| !g.is_built_in()));
    let cbor = lists && !custom && inner.gates.enabled(features::CBOR);
    // Stock's groups are told of by who keeps track of other servers, but for the group that these are in.
    let routed = parts[0] == "api" || parts.len() > 2 || parts == ["apis", "apiregistration.k8s.io"];
    let accepted = match routed && !custom {
        true => accept::router(headers, false, cbor),
        false => Ok(()),
    };
    let accepted = accepted.and_then(|()| accept::discovery(headers, &info.query, whole, cbor));
    let (accepted, aggregated) = match accepted {
        Ok(accepted) => accepted,
        Err(error) => return Some(Err(error)),
    };
    if aggregated {
        let [whole, alone] = &inner.metrics.doors.discovery;
        whole.add(1);
        alone.add(u64::from(accept::has_parameter(headers, "profile=nopeer")));
    }
    let document = document(inner, &parts, aggregated)?;
    Some(written(document, accepted, headers))
}

fn document(inner: &Inner, parts: &[&str], aggregated: bool) -> Option<Document> {
    let table = inner.catalog.now();
    Some(match parts {
        ["api"] if aggregated => whole(named(&table, true).map(tagged).collect()),
        ["apis"] if aggregated => whole(items(inner, &table, tagged, Merged::aggregated)),
        ["api"] => {
            let at = std::net::SocketAddr::from(inner.advertise).to_string();
            let value = json!({"kind": "APIVersions", "versions": ["v1"],
                "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": at}]});
            Document::of(value.to_string())
        }
        ["apis"] => {
            let pieces = list(PLAIN_HEAD, items(inner, &table, |g| g.plain().clone(), Merged::plain));
            Document { pieces, tag: None }
        }
        ["api", "v1"] => Document::of(table.group("")?.version("v1")?.resources().clone()),
        ["apis", name] => {
            let mut value = match inner.aggregator.groups(&table) {
                Some(groups) => groups.iter().find(|g| g.name() == *name)?.described(),
                None => {
                    let group = table.group(name).filter(|g| !g.versions().is_empty() && !name.is_empty())?;
                    describe::plain(group)
                }
            };
            value["kind"] = json!("APIGroup");
            value["apiVersion"] = json!("v1");
            Document::of(crate::encode::ordered(&value))
        }
        ["apis", group, version] => Document::of(table.group(group)?.version(version)?.resources().clone()),
        _ => return None,
    })
}

/// A document in the form that the client accepts.
fn written(document: Document, accepted: Accepted, headers: &HeaderMap) -> Result<Response<Body>, ApiError> {
    let known = || headers.get(IF_NONE_MATCH).and_then(|v| v.to_str().ok());
    let mut response = match &document.tag {
        Some(tag) if known().is_some_and(|known| known == tag) => {
            let mut response = respond::bytes(StatusCode::NOT_MODIFIED, "");
            response.headers_mut().remove(CONTENT_TYPE);
            response
        }
        _ if accepted.is_plain() => {
            let mut pieces = document.pieces;
            pieces.push(Bytes::from_static(b"\n"));
            respond::pieces(Media::Json, pieces)
        }
        _ => {
            let value = serde_json::from_slice(&document.pieces.concat()).map_err(ApiError::internal)?;
            respond::encoded(StatusCode::OK, accepted, &value)
        }
    };
    if let Some(tag) = document.tag {
        let headers = response.headers_mut();
        if headers.contains_key(CONTENT_TYPE) {
            let kind = format!("{};g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", accepted.media.name());
            headers.insert(CONTENT_TYPE, HeaderValue::from_str(&kind).map_err(ApiError::internal)?);
        }
        headers.insert(ETAG, HeaderValue::from_str(&tag).map_err(ApiError::internal)?);
        headers.insert(VARY, HeaderValue::from_static("Accept"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public"));
    }
    Ok(response)
}

/// The groups that have something to show; the core group alone, or all others.
fn named(table: &Table, core: bool) -> impl Iterator<Item = &Arc<Group>> {
    table.groups().iter().filter(move |g| g.name().is_empty() == core && !g.versions().is_empty())
}

/// What discovery says of each group but the core group, other servers' among them.
fn items<T>(inner: &Inner, table: &Table, local: fn(&Arc<Group>) -> T, merged: fn(&Merged) -> T) -> Vec<T> {
    match inner.aggregator.groups(table) {
        Some(groups) => groups.iter().map(merged).collect(),
        None => named(table, false).map(local).collect(),
    }
}

/// What aggregated discovery says of a group, with its hash.
fn tagged(group: &Arc<Group>) -> (Bytes, String) {
    (group.aggregated().clone(), group.tag().clone())
}

/// A list as a chain of its items.
fn list(head: &'static [u8], items: Vec<Bytes>) -> Vec<Bytes> {
    let mut out = vec![Bytes::from_static(head)];
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(Bytes::from_static(b","));
        }
        out.push(item);
    }
    out.push(Bytes::from_static(b"]}"));
    out
}

/// Aggregated discovery, which clients can keep while its tag stays.
fn whole(items: Vec<(Bytes, String)>) -> Document {
    let mut hash = Sha256::new();
    items.iter().for_each(|(_, tag)| hash.update(tag));
    let tag = Some(format!("\"{}\"", hex::encode_upper(hash.finalize())));
    Document { pieces: list(AGGREGATED_HEAD, items.into_iter().map(|i| i.0).collect()), tag }
}
