//! What another server says of its group version: its resources for discovery, and its OpenAPI documents. Reading and
//! rewriting are pure; asking is bounded in time and size.

use super::proxy::chain;
use super::remote::Remote;
use super::{headers, openapi};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use ironclad_api::UserInfo;
use ironclad_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest document that is read.
const LARGEST: usize = 32 << 20;
/// How old documents may become before they are read again: nobody tells of their changes.
const AGE: Duration = Duration::from_mins(1);
const ACCEPTED: HeaderValue =
    HeaderValue::from_static("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList, application/json");

/// What is known of a group version.
#[derive(Clone, Default)]
pub(super) struct Documents {
    /// Its item in its group's `APIGroupDiscovery`; `None` until the other server has told.
    pub(super) discovery: Option<Value>,
    /// Where its OpenAPI document of version 3 is, with a hash in the query.
    pub(super) v3: Option<String>,
    /// Its part of the OpenAPI document of version 2.
    pub(super) v2: Option<Arc<openapi::Part>>,
    read: Option<Instant>,
}

/// As whom the other server is asked.
pub(super) fn aggregator() -> UserInfo {
    UserInfo { name: "system:kube-aggregator".into(), groups: vec!["system:masters".into()], ..UserInfo::default() }
}

impl Remote {
    /// Reads the documents if they are old. What cannot be read stays as it was.
    pub(super) async fn refresh(&self) {
        let known = self.documents.load_full();
        if known.read.is_some_and(|at| at.elapsed() < AGE) {
            return;
        }
        let mut fresh = Documents { read: Some(Instant::now()), ..(*known).clone() };
        match self.discover().await {
            Ok(found) => fresh.discovery = Some(found),
            Err(why) => tracing::warn!(name = self.name, why, "an APIService's resources are not known"),
        }
        let v3 = self.get("/openapi/v3", ACCEPTED).await.ok();
        let index: Value = v3.and_then(|(_, body)| serde_json::from_slice(&body).ok()).unwrap_or_default();
        let place = self.path();
        let url = index["paths"][place.trim_start_matches('/')]["serverRelativeURL"].as_str();
        fresh.v3 = url.filter(|url| url.starts_with("/openapi/v3/")).map(str::to_owned);
        let v2 = self.get("/openapi/v2", HeaderValue::from_static("application/json")).await.ok();
        let v2 = v2.and_then(|(_, body)| serde_json::from_slice(&body).ok());
        fresh.v2 = v2.map(|whole| Arc::new(openapi::part(whole, &place)));
        self.documents.store(Arc::new(fresh));
    }

    async fn discover(&self) -> Result<Value, String> {
        if let Ok((headers, body)) = self.get("/apis", ACCEPTED).await
            && is_aggregated(&headers)
            && let Ok(list) = serde_json::from_slice::<Value>(&body)
            && let Some(version) = version_of(&list, &self.group, &self.version)
        {
            return Ok(version);
        }
        let (_, body) = self.get(&self.path(), HeaderValue::from_static("application/json")).await?;
        let list: Value = serde_json::from_slice(&body).map_err(|e| e.to_string())?;
        Ok(from_plain(&list, &self.group, &self.version))
    }

    /// Asks the other server for a document.
    async fn get(&self, path: &str, accept: HeaderValue) -> Result<(HeaderMap, Bytes), String> {
        let ways = self.ways.as_ref()?;
        let asked = async {
            let request = request(&self.authority(), path, accept)?;
            let answer = ways.client.request(request).await.map_err(|e| chain(&e))?;
            if answer.status() != StatusCode::OK {
                return Err(format!("{path}: {}", answer.status()));
            }
            let headers = answer.headers().clone();
            let body = Limited::new(answer.into_body(), LARGEST).collect().await.map_err(|e| e.to_string())?;
            Ok((headers, body.to_bytes()))
        };
        tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err(format!("{path}: no answer in time")))
    }
}

/// A request of the aggregator's own.
pub(super) fn request(authority: &str, path: &str, accept: HeaderValue) -> Result<Request<crate::Body>, String> {
    let mut request = Request::builder()
        .uri(format!("https://{authority}{path}"))
        .header(ACCEPT, accept)
        .body(crate::body::full(""))
        .map_err(|e| e.to_string())?;
    headers::identify(request.headers_mut(), &aggregator());
    Ok(request)
}

fn is_aggregated(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    kind.contains("as=APIGroupDiscoveryList")
}

/// The item of a version in an `APIGroupDiscoveryList`.
fn version_of(list: &Value, group: &str, version: &str) -> Option<Value> {
    let groups = list["items"].as_array()?;
    let found = groups.iter().find(|g| g["metadata"]["name"] == group)?;
    let mut found = found["versions"].as_array()?.iter().find(|v| v["version"] == version)?.clone();
    found["freshness"] = json!("Current");
    Some(found)
}

/// An `APIResourceList` as an item of aggregated discovery.
fn from_plain(list: &Value, group: &str, version: &str) -> Value {
    let text = |v: &Value, field: &str| v[field].as_str().unwrap_or_default().to_owned();
    let kind = |r: &Value| {
        let or = |field: &str, own: &str| match r[field].as_str() {
            Some(given) if !given.is_empty() => given.to_owned(),
            _ => own.to_owned(),
        };
        json!({"group": or("group", group), "version": or("version", version), "kind": text(r, "kind")})
    };
    let mut resources: Vec<Value> = Vec::new();
    let all = list["resources"].as_array().map(Vec::as_slice).unwrap_or_default();
    for r in all.iter().filter(|r| !text(r, "name").contains('/')) {
        let scope = if r["namespaced"] == true { "Namespaced" } else { "Cluster" };
        let mut resource = json!({
            "resource": r["name"], "responseKind": kind(r), "scope": scope,
            "singularResource": text(r, "singularName"), "verbs": r["verbs"],
        });
        for field in ["shortNames", "categories"] {
            if r[field].is_array() {
                resource[field] = r[field].clone();
            }
        }
        let below = |s: &&Value| text(s, "name").split_once('/').is_some_and(|(parent, _)| r["name"] == parent);
        let subresources: Vec<Value> = all
            .iter()
            .filter(below)
            .map(|s| {
                let name = text(s, "name");
                json!({"subresource": name.split_once('/').map(|n| n.1), "responseKind": kind(s), "verbs": s["verbs"]})
            })
            .collect();
        if !subresources.is_empty() {
            resource["subresources"] = json!(subresources);
        }
        resources.push(resource);
    }
    json!({"version": version, "resources": resources, "freshness": "Current"})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_list_of_resources_becomes_an_item_of_aggregated_discovery() {
        let list = json!({"kind": "APIResourceList", "groupVersion": "wardle.example.com/v1", "resources": [
            {"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder", "verbs": ["get"], "shortNames": ["fl"]},
            {"name": "flunders/status", "singularName": "", "namespaced": true, "kind": "Flunder", "verbs": ["patch"]},
            {"name": "flunders/scale", "namespaced": true, "group": "autoscaling", "version": "v1", "kind": "Scale", "verbs": ["get"]},
        ]});
        let own = json!({"group": "wardle.example.com", "version": "v1", "kind": "Flunder"});
        assert_eq!(
            from_plain(&list, "wardle.example.com", "v1"),
            json!({"version": "v1", "freshness": "Current", "resources": [{
                "resource": "flunders", "responseKind": own, "scope": "Namespaced", "singularResource": "flunder",
                "verbs": ["get"], "shortNames": ["fl"], "subresources": [
                    {"subresource": "status", "responseKind": own, "verbs": ["patch"]},
                    {"subresource": "scale", "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"}, "verbs": ["get"]},
                ],
            }]})
        );
    }
}
