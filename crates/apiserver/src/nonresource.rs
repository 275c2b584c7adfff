//! Paths that are no resources: version, health, metrics, the documents of token issuers. Each is itself and nothing
//! beside it: a slash more is another path.

use crate::pages::{debug, zpages};
use crate::request::Info;
use crate::respond;
use crate::server::Inner;
use crate::{Body, health, metrics, openapi};
use http::header::{CACHE_CONTROL, HeaderName};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use ironclad_api::{ApiError, KUBERNETES_VERSION};
use ironclad_json::{Value, json};
use std::collections::BTreeSet;

/// What made the program, where clients look for Go's version.
pub(crate) const COMPILER: &str = "rustc";
const METRICS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8; escaping=underscores");
const STARTED: HeaderName = HeaderName::from_static("process-start-time-unix");
const AN_HOUR: HeaderValue = HeaderValue::from_static("public, max-age=3600");

pub(crate) async fn answer(inner: &Inner, info: &Info, headers: &HeaderMap) -> Result<Response<Body>, ApiError> {
    let path = info.path.as_str();
    Ok(match path {
        "/" | "/index.html" => indented(&json!({"paths": paths(inner)})),
        "/version" | "/version/" => indented(&version(inner)),
        "/metrics" => page(inner, all_metrics(inner).await),
        "/metrics/slis" => {
            let asked = async |door| (door, health::asked(inner, door).await);
            let doors = [asked("healthz").await, asked("livez").await, asked("readyz").await];
            page(inner, inner.metrics.render_slis(&doors))
        }
        "/statusz" if inner.gates.enabled("ComponentStatusz") => return zpages::statusz(inner, headers),
        "/flagz" if inner.gates.enabled("ComponentFlagz") => return zpages::flagz(inner, headers),
        "/.well-known/openid-configuration" | "/.well-known/openid-configuration/" => {
            kept(respond::value(StatusCode::OK, &inner.tokens.documents().0))
        }
        "/openid/v1/jwks" | "/openid/v1/jwks/" => {
            let keys = inner.tokens.documents().1.to_string();
            kept(respond::kind(StatusCode::OK, HeaderValue::from_static("application/jwk-set+json"), keys))
        }
        "/openapi/v2" | "/openapi/v3" => return openapi::answer(inner, info, headers).await,
        _ if path.starts_with("/openapi/v3/") => return openapi::answer(inner, info, headers).await,
        _ => match path.split('/').nth(1) {
            Some(door @ ("healthz" | "livez" | "readyz")) => return health::answer(inner, info, door).await,
            Some("debug") => return debug::answer(inner, info).await,
            // Below these stock's router looks for more.
            Some("api" | "version") => return Err(ApiError::no_such_path()),
            Some("apis")
                if inner
                    .catalog
                    .now()
                    .group(path.split('/').nth(2).unwrap_or_default())
                    .is_some_and(|g| g.is_built_in()) =>
            {
                return Err(ApiError::no_such_path());
            }
            _ => respond::nothing_there(),
        },
    })
}

fn indented(value: &Value) -> Response<Body> {
    respond::bytes(StatusCode::OK, crate::pretty::indent(value.to_string().as_bytes()))
}

/// What clients may keep for an hour.
fn kept(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(CACHE_CONTROL, AN_HOUR);
    response
}

fn version(inner: &Inner) -> Value {
    let mut numbers = KUBERNETES_VERSION.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let before = minor.parse().map_or_else(|_| String::new(), |n: u32| n.saturating_sub(1).to_string());
    json!({
        "major": major, "minor": minor, "emulationMajor": major, "emulationMinor": minor,
        "minCompatibilityMajor": major, "minCompatibilityMinor": before, "gitVersion": inner.version, "gitCommit": "",
        "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": COMPILER,
        "platform": platform(),
    })
}

/// The platform as Go names it.
pub(crate) fn platform() -> &'static str {
    if cfg!(target_arch = "x86_64") { "linux/amd64" } else { "linux/arm64" }
}

/// All paths that can be asked, in their order.
pub(crate) fn paths(inner: &Inner) -> Vec<String> {
    let mut all: BTreeSet<String> = [
        "/.well-known/openid-configuration",
        "/api",
        "/api/v1",
        "/apis",
        "/apis/",
        "/metrics",
        "/metrics/slis",
        "/openapi/v2",
        "/openapi/v3",
        "/openapi/v3/",
        "/openid/v1/jwks",
        "/version",
    ]
    .map(str::to_owned)
    .into();
    for group in inner.catalog.now().groups().iter().filter(|g| !g.name().is_empty() && !g.versions().is_empty()) {
        all.insert(format!("/apis/{}", group.name()));
        all.extend(group.versions().iter().map(|v| format!("/apis/{}/{}", group.name(), v.name())));
    }
    for door in ["healthz", "livez", "readyz"] {
        all.insert(format!("/{door}"));
        all.extend(health::names(inner, door).into_iter().map(|name| format!("/{door}/{name}")));
    }
    for (page, gate) in [("/statusz", "ComponentStatusz"), ("/flagz", "ComponentFlagz")] {
        if inner.gates.enabled(gate) {
            all.insert(page.to_owned());
        }
    }
    if inner.about.logs {
        all.insert("/logs".to_owned());
    }
    all.into_iter().collect()
}

/// A page of metrics.
fn page(inner: &Inner, text: String) -> Response<Body> {
    let mut response = respond::kind(StatusCode::OK, METRICS, text);
    let began = inner.began.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    response.headers_mut().insert(STARTED, HeaderValue::from(began));
    response
}

async fn all_metrics(inner: &Inner) -> String {
    // Without its size the store still has everything else to tell.
    let size = inner.registry.store.size().await.unwrap_or(0);
    let mut text = inner.metrics.render(&inner.registry.caches, &inner.fairness, size);
    inner.aggregator.render(&mut text);
    match &inner.auditor {
        Some(auditor) => auditor.render(&mut text),
        None => crate::audited::totals(&mut text, 0, 0),
    }
    inner.registry.addresses.render(&mut text);
    metrics::render_build(&mut text, &inner.gates, &inner.version);
    inner.others.iter().for_each(|page| text.push_str(&page()));
    metrics::rare::registered(&mut text);
    text
}
