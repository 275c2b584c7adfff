//! Discovery: which groups, versions and resources there are, plain and aggregated (KEP-3352).
//!
//! What is answered is a chain of the bytes that the catalog keeps for each group.

pub(crate) mod describe;

use crate::accept::Media;
use crate::aggregate::Merged;
use crate::catalog::{Group, Table};
use crate::server::Inner;
use crate::{Body, request::Info, respond};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use ironclad_json::json;
use sha2::{Digest, Sha256};
use std::sync::Arc;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const PLAIN_HEAD: &[u8] = br#"{"kind":"APIGroupList","apiVersion":"v1","groups":["#;
const AGGREGATED_HEAD: &[u8] =
    br#"{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","metadata":{},"items":["#;

/// The answer to a path of discovery; `None` when it is none.
pub(crate) fn answer(inner: &Inner, info: &Info, headers: &HeaderMap) -> Option<Response<Body>> {
    let parts: Vec<&str> = info.path.split('/').filter(|p| !p.is_empty()).collect();
    let table = inner.catalog.now();
    let whole = wants_aggregated(headers);
    Some(match parts.as_slice() {
        ["api"] if whole => aggregated(named(&table, true).map(tagged).collect(), headers),
        ["apis"] if whole => aggregated(items(inner, &table, tagged, Merged::aggregated), headers),
        ["api"] => respond::value(
            StatusCode::OK,
            &json!({"kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": ""}]}),
        ),
        ["apis"] => {
            respond::pieces(Media::Json, list(PLAIN_HEAD, items(inner, &table, |g| g.plain().clone(), Merged::plain)))
        }
        ["api", "v1"] => respond::bytes(StatusCode::OK, table.group("")?.version("v1")?.resources().clone()),
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
            respond::value(StatusCode::OK, &value)
        }
        ["apis", group, version] => {
            respond::bytes(StatusCode::OK, table.group(group)?.version(version)?.resources().clone())
        }
        _ => return None,
    })
}

fn wants_aggregated(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).and_then(|v| v.to_str().ok()).is_some_and(|accept| {
        accept.split(',').next().is_some_and(|first| {
            first.contains("as=APIGroupDiscoveryList") && first.contains("v=v2;") || first.ends_with("v=v2")
        })
    })
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

/// An answer that clients can keep while its tag stays.
fn aggregated(items: Vec<(Bytes, String)>, headers: &HeaderMap) -> Response<Body> {
    let mut hash = Sha256::new();
    items.iter().for_each(|(_, tag)| hash.update(tag));
    let tag = format!("\"{}\"", hex::encode_upper(hash.finalize()));
    let known = headers.get(IF_NONE_MATCH).and_then(|v| v.to_str().ok()) == Some(tag.as_str());
    let mut response = match known {
        true => respond::bytes(StatusCode::NOT_MODIFIED, ""),
        false => respond::pieces(Media::Json, list(AGGREGATED_HEAD, items.into_iter().map(|i| i.0).collect())),
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(AGGREGATED));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    response
}
