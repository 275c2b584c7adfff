//! Paths that are no resources: version, health, metrics, the documents of token issuers.

use crate::Body;
use crate::request::Info;
use crate::respond;
use crate::server::Inner;
use http::{Response, StatusCode};
use ironclad_api::{ApiError, KUBERNETES_VERSION, Reason};
use serde_json::json;

pub(crate) fn answer(inner: &Inner, info: &Info) -> Result<Response<Body>, ApiError> {
    let path = info.path.trim_end_matches('/');
    Ok(match path {
        "" => respond::value(StatusCode::OK, &json!({"paths": paths(inner)})),
        "/version" => respond::value(StatusCode::OK, &version(inner)),
        "/metrics" => {
            respond::text(StatusCode::OK, inner.metrics.render(&inner.registry.caches, inner.limits.in_flight()))
        }
        "/.well-known/openid-configuration" => respond::value(StatusCode::OK, &inner.tokens.documents().0),
        "/openid/v1/jwks" => respond::value(StatusCode::OK, &inner.tokens.documents().1),
        _ => match path.split('/').nth(1) {
            Some(door @ ("healthz" | "livez" | "readyz")) => health(inner, info, door),
            _ => return Err(ApiError::new(Reason::NotFound, "the server could not find the requested resource")),
        },
    })
}

fn version(inner: &Inner) -> serde_json::Value {
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

/// The checks behind `/livez` and `/readyz`, each by its name.
fn health(inner: &Inner, info: &Info, door: &str) -> Response<Body> {
    let behind = inner.registry.caches.is_following();
    let checks = [
        ("ping", true),
        ("log", true),
        ("etcd", behind),
        ("informer-sync", behind),
        ("poststarthook/rbac/bootstrap-roles", true),
    ];
    let excluded = info.query.0.get("exclude").cloned().unwrap_or_default();
    let single = info.path.trim_matches('/').strip_prefix(door).map(|r| r.trim_start_matches('/')).unwrap_or_default();
    let wanted = |name: &str| (single.is_empty() || single == name) && !excluded.iter().any(|e| e == name);
    let mut healthy = true;
    let mut lines = String::new();
    for (name, good) in checks.into_iter().filter(|(n, _)| wanted(n)) {
        healthy &= good;
        let (sign, word) = if good { ("+", "ok") } else { ("-", "failed: reason withheld") };
        lines.push_str(&format!("[{sign}]{name} {word}\n"));
    }
    let code = if healthy { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
    if healthy && !info.query.has("verbose") {
        return respond::text(code, "ok");
    }
    lines.push_str(&format!("{door} check {}\n", if healthy { "passed" } else { "failed" }));
    respond::text(code, lines)
}
