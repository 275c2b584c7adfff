//! Discovery: which groups, versions and resources there are, plain and aggregated (KEP-3352).

use crate::respond;
use crate::server::Inner;
use crate::{Body, request::Info};
use http::header::{ACCEPT, ETAG};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use ironclad_kinds::{Kind, Verb};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The answer to a path of discovery; `None` when it is none.
pub(crate) fn answer(inner: &Inner, info: &Info, headers: &HeaderMap) -> Option<Response<Body>> {
    let parts: Vec<&str> = info.path.split('/').filter(|p| !p.is_empty()).collect();
    let aggregated = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).is_some_and(|a| {
        a.split(',').next().is_some_and(|first| {
            first.contains("as=APIGroupDiscoveryList") && first.contains("v=v2;") || first.ends_with("v=v2")
        })
    });
    let value = match parts.as_slice() {
        ["api"] | ["apis"] if aggregated => {
            let core = parts == ["api"];
            return Some(tagged(&aggregate(&inner.kinds, core), headers));
        }
        ["api"] => json!({"kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": ""}]}),
        ["apis"] => {
            let groups: Vec<Value> = groups(&inner.kinds).iter().map(|g| group(&inner.kinds, g)).collect();
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        }
        ["api", "v1"] => resources(&inner.kinds, "", "v1")?,
        ["apis", name] => {
            if !groups(&inner.kinds).contains(&(*name).to_owned()) {
                return None;
            }
            let mut value = group(&inner.kinds, name);
            value["kind"] = json!("APIGroup");
            value["apiVersion"] = json!("v1");
            value
        }
        ["apis", group, version] => resources(&inner.kinds, group, version)?,
        _ => return None,
    };
    Some(respond::value(StatusCode::OK, &value))
}

/// Groups in their order, without the core group.
fn groups(kinds: &[Arc<Kind>]) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for kind in kinds.iter().filter(|k| !k.group.is_empty()) {
        if !out.contains(&kind.group.to_string()) {
            out.push(kind.group.to_string());
        }
    }
    out
}

/// Versions of a group, the preferred one first.
fn versions(kinds: &[Arc<Kind>], group: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for kind in kinds.iter().filter(|k| k.group == group) {
        if !out.contains(&kind.version.to_string()) {
            out.push(kind.version.to_string());
        }
    }
    out
}

fn group(kinds: &[Arc<Kind>], name: &str) -> Value {
    let version = |v: &String| json!({"groupVersion": format!("{name}/{v}"), "version": v});
    let all: Vec<Value> = versions(kinds, name).iter().map(version).collect();
    json!({"name": name, "versions": all, "preferredVersion": all.first()})
}

fn verbs(verbs: &[Verb]) -> Value {
    verbs.iter().map(|v| json!(v.as_str())).collect()
}

fn resources(kinds: &[Arc<Kind>], group: &str, version: &str) -> Option<Value> {
    let mut list = Vec::new();
    for kind in kinds.iter().filter(|k| k.group == group && k.version == version) {
        let mut resource = json!({
            "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind, "verbs": verbs(kind.verbs),
        });
        if !kind.short_names.is_empty() {
            resource["shortNames"] = json!(kind.short_names);
        }
        if !kind.categories.is_empty() {
            resource["categories"] = json!(kind.categories);
        }
        if kind.allows(Verb::Get) {
            let hash = Sha256::digest(format!("{}/{}/{}", kind.group, kind.storage_version, kind.kind));
            use base64::Engine;
            resource["storageVersionHash"] = json!(base64::engine::general_purpose::STANDARD.encode(&hash[..8]));
        }
        list.push(resource);
        for sub in &kind.subresources {
            let mut resource = json!({
                "name": format!("{}/{}", kind.plural, sub.name), "singularName": "", "namespaced": kind.namespaced,
                "kind": sub.kind.as_ref().map_or(&kind.kind, |k| &k.2), "verbs": verbs(sub.verbs),
            });
            if let Some((group, version, _)) = &sub.kind {
                resource["group"] = json!(group);
                resource["version"] = json!(version);
            }
            list.push(resource);
        }
    }
    if list.is_empty() {
        return None;
    }
    let name = ironclad_api::resource::api_version(group, version);
    Some(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": list}))
}

fn aggregate(kinds: &[Arc<Kind>], core: bool) -> Value {
    let names = if core { vec![String::new()] } else { groups(kinds) };
    let items: Vec<Value> = names.iter().map(|name| {
        let versions: Vec<Value> = versions(kinds, name).iter().map(|version| {
            let of = kinds.iter().filter(|k| k.group == name.as_str() && k.version == version.as_str());
            json!({"version": version, "freshness": "Current", "resources": of.map(|k| aggregated(k)).collect::<Vec<_>>()})
        }).collect();
        let mut metadata = json!({"creationTimestamp": null});
        if !name.is_empty() {
            metadata["name"] = json!(name);
        }
        json!({"metadata": metadata, "versions": versions})
    }).collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

fn aggregated(kind: &Kind) -> Value {
    let mut resource = json!({
        "resource": kind.plural, "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular, "verbs": verbs(kind.verbs),
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
    });
    if !kind.short_names.is_empty() {
        resource["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        resource["categories"] = json!(kind.categories);
    }
    let subs: Vec<Value> = kind.subresources.iter().map(|s| {
        let (group, version, name) = match &s.kind {
            Some((g, v, k)) => (g.clone(), v.clone(), k.clone()),
            None => (kind.group.clone(), kind.version.clone(), kind.kind.clone()),
        };
        json!({"subresource": s.name, "verbs": verbs(s.verbs), "responseKind": {"group": group, "version": version, "kind": name}})
    }).collect();
    if !subs.is_empty() {
        resource["subresources"] = json!(subs);
    }
    resource
}

/// An answer that clients can keep while its tag stays.
fn tagged(value: &Value, headers: &HeaderMap) -> Response<Body> {
    let text = value.to_string();
    let tag = format!("\"{}\"", hex::encode_upper(Sha256::digest(text.as_bytes())));
    let known = headers.get(http::header::IF_NONE_MATCH).and_then(|v| v.to_str().ok()) == Some(tag.as_str());
    let mut response = match known {
        true => respond::bytes(StatusCode::NOT_MODIFIED, ""),
        false => respond::bytes(StatusCode::OK, text),
    };
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static(AGGREGATED));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response.headers_mut().insert(http::header::VARY, HeaderValue::from_static("Accept"));
    response
}
