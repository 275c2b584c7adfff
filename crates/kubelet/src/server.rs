//! The kubelet's HTTPS API: logs, exec, attach, port forward, health. Who may ask is decided by `access`.

use crate::worker::Shared;
use crate::{container, stats, streams};
use access::Access;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use ironclad_cri::{ContainerState, ContainerStatus, SandboxState, SandboxStatus};
use ironclad_streaming::bodiless;
use rustls_pki_types::CertificateDer;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

mod access;
mod config;
mod files;
mod logs;
mod metrics;
mod pods;

pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

pub(crate) fn text(code: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let body = Full::new(text.into()).map_err(|e: Infallible| match e {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// What requests are answered from.
struct Node {
    shared: Shared,
    rates: stats::Rates,
}

pub(crate) async fn serve(shared: Shared, token: CancellationToken) {
    let config = shared.config.clone();
    let node = Arc::new(Node { shared, rates: stats::Rates::default() });
    let address = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), config.port);
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, %address, "the kubelet cannot listen"),
    };
    let acceptor = TlsAcceptor::from(config.tls.clone());
    let access = Arc::new(Access::new(&config));
    loop {
        let accepted = tokio::select! {
            () = token.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (node, acceptor, access) = (node.clone(), acceptor.clone(), access.clone());
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_secs(10), acceptor.accept(stream)).await else {
                return;
            };
            let peer = stream.get_ref().1.peer_certificates().and_then(|c| Some(c.first()?.clone().into_owned()));
            let service = hyper::service::service_fn(move |request| {
                let (node, access, peer) = (node.clone(), access.clone(), peer.clone());
                async move {
                    let method = request.method().clone();
                    let response = answer(&node, &access, request, peer.as_ref()).await;
                    Ok::<_, Infallible>(bodiless(&method, response, Body::default))
                }
            });
            let builder = auto::Builder::new(TokioExecutor::new());
            if let Err(error) = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await {
                tracing::debug!(%error, "a connection to the kubelet ended");
            }
        });
    }
}

/// A container of a pod, as a path names it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) pod: &'a str,
    pub(crate) container: &'a str,
}

async fn answer(
    node: &Node,
    access: &Access,
    request: Request<Incoming>,
    peer: Option<&CertificateDer<'_>>,
) -> Response<Body> {
    let (head, body) = request.into_parts();
    if let Err((code, why)) = access.check(&head, peer).await {
        return text(code, why);
    }
    let request = Request::from_parts(head, body);
    let path = request.uri().path().to_owned();
    let parts: Vec<String> = path.split('/').filter(|p| !p.is_empty()).map(decode).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let query = query(request.uri().query().unwrap_or_default());
    let shared = &node.shared;
    match (request.method(), parts.as_slice()) {
        (_, ["healthz"] | ["healthz", "ping" | "log" | "syncloop"]) => text(StatusCode::OK, "ok"),
        (&Method::GET, ["pods"]) => pods::all(shared),
        (&Method::GET, ["runningpods"]) => pods::running(shared).await,
        (&Method::GET, ["configz"]) => config::answer(shared),
        (&Method::GET, ["stats", "summary"]) => {
            let few = query.get("only_cpu_and_memory").is_some_and(|v| v.first().is_some_and(|v| v == "true"));
            json(&stats::summary(shared, &node.rates, few).await)
        }
        (&Method::GET, ["metrics"]) => metrics::own(shared).await,
        (&Method::GET, ["metrics", "resource"]) => metrics::resource(shared).await,
        (&Method::GET, ["metrics", "cadvisor"]) => metrics::cadvisor(shared).await,
        (&Method::GET, ["metrics", "probes"]) => metrics::probes(shared),
        (&Method::GET, ["logs", ..]) => files::answer(&decode(path.trim_start_matches("/logs"))),
        (&Method::GET, ["containerLogs", namespace, pod, container]) => {
            logs::answer(shared, Place { namespace, pod, container }, &query).await
        }
        (&Method::POST, ["run", namespace, pod, container] | ["run", namespace, pod, _, container]) => {
            pods::run(shared, Place { namespace, pod, container }, &query).await
        }
        (&Method::POST, ["checkpoint", namespace, pod, container]) => {
            pods::checkpoint(&Place { namespace, pod, container })
        }
        (_, [door @ ("exec" | "attach"), namespace, pod, container])
        | (_, [door @ ("exec" | "attach"), namespace, pod, _, container]) => {
            let place = Place { namespace, pod, container };
            let all = containers(shared, &place).await;
            match all.iter().find(|c| c.state == ContainerState::Running) {
                Some(status) => streams::upgrade(&shared.config, request, door, status, &query),
                None => text(StatusCode::NOT_FOUND, format!("container not found ({container:?})")),
            }
        }
        (_, ["portForward", namespace, pod] | ["portForward", namespace, pod, _]) => {
            match sandbox(shared, namespace, pod).await {
                Some(sandbox) => streams::forward(&shared.config, request, sandbox),
                None => text(StatusCode::NOT_FOUND, "pod does not exist"),
            }
        }
        _ => text(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

/// Query parameters in their order.
pub(crate) type Query = HashMap<String, Vec<String>>;

fn query(text: &str) -> Query {
    let mut out = Query::new();
    for pair in text.split('&').filter(|p| !p.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        out.entry(decode(key)).or_default().push(decode(value));
    }
    out
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |i: usize| bytes.get(i).and_then(|b| (*b as char).to_digit(16));
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', ..) => out.push(b' '),
            (other, ..) => out.push(other),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The containers with a name, newest first.
async fn containers(shared: &Shared, place: &Place<'_>) -> Vec<ContainerStatus> {
    let Some(uid) = shared.table.find(place.namespace, place.pod).and_then(|p| p.metadata.uid.clone()) else {
        return Vec::new();
    };
    let runtime = &shared.config.runtime;
    let mut found = Vec::new();
    for sandbox in runtime.list_pod_sandboxes(Some(&uid)).await.unwrap_or_default() {
        let all = runtime.list_containers(Some(&sandbox.id)).await.unwrap_or_default();
        let named =
            |c: &ContainerStatus| c.config.labels.get(container::CONTAINER).is_some_and(|n| n == place.container);
        found.extend(all.into_iter().filter(named));
    }
    found.sort_by_key(|c| std::cmp::Reverse(c.created_at));
    found
}

/// The sandbox in which a pod runs now.
async fn sandbox(shared: &Shared, namespace: &str, pod: &str) -> Option<SandboxStatus> {
    let uid = shared.table.find(namespace, pod)?.metadata.uid.clone()?;
    let all = shared.config.runtime.list_pod_sandboxes(Some(&uid)).await.ok()?;
    all.into_iter().filter(|s| s.state == SandboxState::Ready).max_by_key(|s| s.created_at)
}

fn json(value: &serde_json::Value) -> Response<Body> {
    let mut response = text(StatusCode::OK, value.to_string());
    let kind = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}
