//! `/healthz`, `/livez` and `/readyz`: the checks of the stock server by their names, each made of what it is about.

mod reach;

use crate::Body;
use crate::request::Info;
use crate::respond;
use crate::server::Inner;
use http::{HeaderValue, Response, StatusCode};
use ironclad_api::{ApiError, features};
pub(crate) use reach::Reach;
use std::fmt::Write;

/// What the stock server waits for after its start, which here is done before the server answers at all.
const HOOKS: [&str; 29] = [
    "start-apiserver-admission-initializer",
    "generic-apiserver-start-informers",
    "priority-and-fairness-config-consumer",
    "priority-and-fairness-filter",
    "storage-object-count-tracker-hook",
    "start-apiextensions-informers",
    "start-apiextensions-controllers",
    "crd-informer-synced",
    "start-system-namespaces-controller",
    "peer-endpoint-reconciler-controller",
    "start-cluster-authentication-info-controller",
    "start-kube-apiserver-identity-lease-controller",
    "start-kube-apiserver-identity-lease-garbage-collector",
    "storage-readiness",
    "start-legacy-token-tracking-controller",
    "start-service-ip-repair-controllers",
    "rbac/bootstrap-roles",
    "scheduling/bootstrap-system-priority-classes",
    "priority-and-fairness-config-producer",
    "bootstrap-controller",
    "start-kubernetes-service-cidr-controller",
    "aggregator-reload-proxy-client-cert",
    "start-kube-aggregator-informers",
    "apiservice-status-local-available-controller",
    "apiservice-status-remote-available-controller",
    "apiservice-registration-controller",
    "apiservice-wait-for-first-sync",
    "apiservice-discovery-controller",
    "kube-apiserver-autoregistration",
];

/// The hook that begins elections of others.
const ELECTOR: &str = "start-kube-apiserver-coordinated-leader-election-controller";

/// Checks of what is outside of this crate, by their names.
pub type Checks = std::sync::Arc<dyn Fn() -> Vec<(String, bool)> + Send + Sync>;

/// The checks behind a door, each by its name, in the order in which they are shown.
pub(crate) async fn checks(inner: &Inner, door: &str) -> Vec<(String, bool)> {
    let follows = inner.registry.caches.is_following();
    let reaches = async |reach: &Reach| follows && reach.ask(&*inner.registry.store).await;
    let mut checks = vec![("ping", true), ("log", true)];
    if door != "readyz" {
        checks.push(("loopback-serving-certificate", true));
    }
    checks.push(("etcd", reaches(&inner.healthy).await));
    if door == "readyz" {
        checks.extend([("etcd-readiness", reaches(&inner.ready).await), ("informer-sync", follows)]);
    }
    let mut checks: Vec<(String, bool)> = checks.into_iter().map(|(n, g)| (n.to_owned(), g)).collect();
    let (hooks, more) = others(inner, door);
    let before = checks.iter().position(|(name, _)| name == "informer-sync").unwrap_or(checks.len());
    checks.splice(before..before, more);
    checks.extend(hooks);
    checks.extend(own_hooks(inner).map(|hook| (format!("poststarthook/{hook}"), true)));
    checks.push(("autoregister-completion".to_owned(), true));
    checks.push(("poststarthook/apiservice-openapi-controller".to_owned(), true));
    checks.push(("poststarthook/apiservice-openapiv3-controller".to_owned(), true));
    if door == "readyz" {
        checks.push(("shutdown".to_owned(), !inner.is_ending()));
    }
    checks
}

/// Checks of what is outside, those of its start apart. A plugin of keys that is ill does not make a server start anew.
fn others(inner: &Inner, door: &str) -> (Vec<(String, bool)>, Vec<(String, bool)>) {
    let all = inner.checks.as_ref().map(|more| more()).unwrap_or_default();
    let (hooks, more): (Vec<_>, Vec<_>) = all.into_iter().partition(|(name, _)| name.starts_with("poststarthook/"));
    (hooks, if door == "livez" { Vec::new() } else { more })
}

/// The hooks of this server in their order.
fn own_hooks(inner: &Inner) -> impl Iterator<Item = &'static str> {
    let elects = inner.gates.enabled(features::COORDINATED_LEADER_ELECTION);
    let more = move |hook: &'static str| {
        let elector = (elects && hook == "start-system-namespaces-controller").then_some(ELECTOR);
        std::iter::once(hook).chain(elector)
    };
    HOOKS.iter().copied().flat_map(more)
}

/// The names of the checks behind a door.
pub(crate) fn names(inner: &Inner, door: &str) -> Vec<String> {
    let own: &[&str] = match door {
        "readyz" => &["ping", "log", "etcd", "etcd-readiness", "informer-sync", "shutdown"],
        _ => &["ping", "log", "etcd", "loopback-serving-certificate"],
    };
    let last = [
        "autoregister-completion",
        "poststarthook/apiservice-openapi-controller",
        "poststarthook/apiservice-openapiv3-controller",
    ];
    let mut all: Vec<String> = own.iter().chain(&last).map(|n| (*n).to_owned()).collect();
    all.extend(own_hooks(inner).map(|hook| format!("poststarthook/{hook}")));
    let (hooks, more) = others(inner, door);
    all.extend(hooks.into_iter().chain(more).map(|(name, _)| name));
    all
}

/// [`checks`], which are counted.
pub(crate) async fn asked(inner: &Inner, door: &'static str) -> Vec<(String, bool)> {
    let checks = checks(inner, door).await;
    checks.iter().for_each(|(name, healthy)| inner.metrics.checked(name, door, *healthy));
    checks
}

/// Answers `/livez`, `/livez?verbose&exclude=etcd`, `/livez/etcd`, and the same for the other doors.
pub(crate) async fn answer(inner: &Inner, info: &Info, door: &str) -> Result<Response<Body>, ApiError> {
    let checks = match door {
        "livez" => asked(inner, "livez").await,
        "readyz" => asked(inner, "readyz").await,
        _ => asked(inner, "healthz").await,
    };
    let excluded = info.query.0.get("exclude").cloned().unwrap_or_default();
    let below = info.path.strip_prefix('/').and_then(|p| p.strip_prefix(door)).unwrap_or_default();
    if below.is_empty() {
        return Ok(report(door, &checks, excluded, info.query.has("verbose")));
    }
    let single = below.strip_prefix('/').unwrap_or_default();
    match checks.iter().find(|(name, _)| name == single) {
        None => Ok(respond::nothing_there()),
        Some((_, true)) => Ok(respond::text(StatusCode::OK, "ok")),
        Some((_, false)) => {
            let text = format!("internal server error: {single} check failed: reason withheld\n");
            Ok(plain(StatusCode::INTERNAL_SERVER_ERROR, text))
        }
    }
}

fn plain(code: StatusCode, text: String) -> Response<Body> {
    let mut response = respond::text(code, text);
    response.headers_mut().insert(http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn report(door: &str, checks: &[(String, bool)], mut excluded: Vec<String>, verbose: bool) -> Response<Body> {
    let (mut lines, mut healthy) = (String::new(), true);
    excluded.sort_unstable();
    excluded.dedup();
    for (name, good) in checks {
        // Writing to a string cannot fail, here and below.
        if let Some(at) = excluded.iter().position(|e| e == name) {
            excluded.remove(at);
            let _ = writeln!(lines, "[+]{name} excluded: ok");
        } else if *good {
            let _ = writeln!(lines, "[+]{name} ok");
        } else {
            healthy = false;
            let _ = writeln!(lines, "[-]{name} failed: reason withheld");
        }
    }
    if !excluded.is_empty() {
        let names: Vec<String> = excluded.iter().map(|e| format!("{e:?}")).collect();
        let _ = writeln!(lines, "warn: some health checks cannot be excluded: no matches for {}", names.join(","));
    }
    if !healthy {
        let _ = writeln!(lines, "{door} check failed");
        return plain(StatusCode::INTERNAL_SERVER_ERROR, lines);
    }
    if !verbose {
        return plain(StatusCode::OK, "ok".to_owned());
    }
    let _ = writeln!(lines, "{door} check passed");
    plain(StatusCode::OK, lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn reported(excluded: &[&str]) -> String {
        let checks = [("ping".to_owned(), true), ("etcd".to_owned(), true)];
        let excluded = excluded.iter().map(|e| (*e).to_owned()).collect();
        let body = report("livez", &checks, excluded, true).into_body();
        let bytes = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn what_is_excluded_twice_is_excluded_and_what_is_unknown_is_named() {
        assert_eq!(reported(&["etcd", "etcd"]).await, "[+]ping ok\n[+]etcd excluded: ok\nlivez check passed\n");
        let warned = reported(&["zz", "nope", "zz"]).await;
        let line = "warn: some health checks cannot be excluded: no matches for \"nope\",\"zz\"\n";
        assert!(warned.contains(line), "{warned}");
    }
}
