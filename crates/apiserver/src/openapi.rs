//! The paths of OpenAPI: the index, and a document for each group and version.

use crate::Body;
use crate::respond;
use crate::server::Inner;
use http::{Response, StatusCode};
use ironclad_api::KUBERNETES_VERSION;
use ironclad_kinds::Kind;
use ironclad_schema::{bundle, openapi};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::sync::Arc;

fn of_group<'a>(kinds: &'a [Arc<Kind>], path: &'a str) -> impl Iterator<Item = &'a Arc<Kind>> {
    kinds.iter().filter(move |k| openapi::path_of(&k.group, &k.version) == path)
}

/// The answer to a path below `/openapi`; `None` when there is nothing.
pub(crate) fn answer(inner: &Inner, path: &str) -> Option<Response<Body>> {
    let rest = path.strip_prefix("/openapi/v3")?.trim_matches('/');
    if rest.is_empty() {
        return Some(respond::value(StatusCode::OK, &index(&inner.kinds)));
    }
    let resource = |k: &Arc<Kind>| openapi::Resource {
        gvk: k.gvk(),
        plural: k.plural.to_string(),
        namespaced: k.namespaced,
        verbs: k.verbs.iter().map(|v| v.as_str()).collect(),
    };
    let resources: Vec<openapi::Resource> = of_group(&inner.kinds, rest).map(resource).collect();
    if resources.is_empty() {
        return None;
    }
    Some(respond::value(StatusCode::OK, &openapi::v3(bundle(), &resources, KUBERNETES_VERSION)))
}

fn index(kinds: &[Arc<Kind>]) -> Value {
    let mut paths = Map::new();
    for kind in kinds {
        let path = openapi::path_of(&kind.group, &kind.version);
        // The documents follow from the program alone.
        let hash = hex::encode_upper(Sha256::digest(format!("{}{path}{}", env!("CARGO_PKG_VERSION"), kinds.len())));
        let url = format!("/openapi/v3/{path}?hash={hash}");
        paths.insert(path, json!({"serverRelativeURL": url}));
    }
    json!({"paths": paths})
}
