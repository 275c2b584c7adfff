//! Paths that are no resources: version, health, metrics, the documents of token issuers.

use crate::metrics::Metrics;
use crate::request::Info;
use crate::respond;
use crate::server::Inner;
use crate::{Body, health};
use http::{HeaderValue, Response, StatusCode};
use ironclad_api::{ApiError, KUBERNETES_VERSION};
use ironclad_json::json;

pub(crate) async fn answer(inner: &Inner, info: &Info) -> Result<Response<Body>, ApiError> {
    let path = info.path.trim_end_matches('/');
    Ok(match path {
        "" | "/index.html" => respond::value(StatusCode::OK, &json!({"paths": paths(inner)})),
        "/version" => respond::value(StatusCode::OK, &version(inner)),
        "/metrics" => metrics(inner).await,
        "/metrics/slis" => {
            let asked = async |door| (door, health::asked(inner, door).await);
            let doors = [asked("healthz").await, asked("livez").await, asked("readyz").await];
            respond::text(StatusCode::OK, inner.metrics.render_slis(&doors))
        }
        "/.well-known/openid-configuration" => respond::value(StatusCode::OK, &inner.tokens.documents().0),
        "/openid/v1/jwks" => respond::value(StatusCode::OK, &inner.tokens.documents().1),
        _ => match path.split('/').nth(1) {
            Some(door @ ("healthz" | "livez" | "readyz")) => return health::answer(inner, info, door).await,
            Some("debug") => return debug(inner, info, path),
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

fn version(inner: &Inner) -> ironclad_json::Value {
    let mut numbers = KUBERNETES_VERSION.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    json!({
        "major": major, "minor": minor, "gitVersion": inner.version, "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc",
        "platform": format!("linux/{}", if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" }),
    })
}

fn paths(inner: &Inner) -> Vec<String> {
    let mut out = vec!["/api".to_owned(), "/api/v1".to_owned(), "/apis".to_owned()];
    for group in inner.catalog.now().groups().iter().filter(|g| !g.name().is_empty() && !g.versions().is_empty()) {
        out.push(format!("/apis/{}", group.name()));
        out.extend(group.versions().iter().map(|v| format!("/apis/{}/{}", group.name(), v.name())));
    }
    out.extend(
        ["/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/openid/v1/jwks", "/readyz", "/version"]
            .map(str::to_owned),
    );
    out
}

async fn metrics(inner: &Inner) -> Response<Body> {
    // Without its size the store still has everything else to tell.
    let size = inner.registry.store.size().await.unwrap_or(0);
    let mut text = inner.metrics.render(&inner.registry.caches, &inner.fairness, size);
    inner.aggregator.render(&mut text);
    inner.auditor.iter().for_each(|auditor| auditor.render(&mut text));
    Metrics::render_features(&mut text, &inner.gates, &inner.version);
    inner.others.iter().for_each(|page| text.push_str(&page()));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8; escaping=underscores");
    respond::kind(StatusCode::OK, kind, text)
}

/// What priority and fairness is doing.
fn debug(inner: &Inner, info: &Info, path: &str) -> Result<Response<Body>, ApiError> {
    let name = path.strip_prefix("/debug/api_priority_and_fairness/").unwrap_or_default();
    let details = !info.query.get("includeRequestDetails").is_empty();
    let dump = inner.load.priority_and_fairness.then(|| inner.fairness.dump(name, details)).flatten();
    let missing = || ApiError::no_such_path();
    Ok(respond::text(StatusCode::OK, dump.ok_or_else(missing)?))
}
