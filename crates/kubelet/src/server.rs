//! The kubelet's HTTPS API: logs, exec, attach, port forward, health. Who may ask is decided by `access`.

use crate::{Config, container, streams};
use access::Access;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use ironclad_cri::{ContainerStatus, SandboxState, SandboxStatus};
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
mod logs;

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

pub(crate) async fn serve(config: Config, token: CancellationToken) {
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
        let (config, acceptor, access) = (config.clone(), acceptor.clone(), access.clone());
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_secs(10), acceptor.accept(stream)).await else {
                return;
            };
            let peer = stream.get_ref().1.peer_certificates().and_then(|c| Some(c.first()?.clone().into_owned()));
            let service = hyper::service::service_fn(move |request| {
                let (config, access, peer) = (config.clone(), access.clone(), peer.clone());
                async move { Ok::<_, Infallible>(answer(&config, &access, request, peer.as_ref()).await) }
            });
            let builder = auto::Builder::new(TokioExecutor::new());
            if let Err(error) = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await {
                tracing::debug!(%error, "a connection to the kubelet ended");
            }
        });
    }
}

async fn answer(
    config: &Config,
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
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    let query = query(request.uri().query().unwrap_or_default());
    match (request.method(), parts.as_slice()) {
        (_, ["healthz"]) => text(StatusCode::OK, "ok"),
        (&Method::GET, ["containerLogs", namespace, pod, container]) => {
            logs::answer(config, namespace, pod, container, &query).await
        }
        (_, [door @ ("exec" | "attach"), namespace, pod, container]) => {
            match find(config, namespace, pod, container, true).await {
                Some(status) => streams::upgrade(config, request, door, &status, &query),
                None => text(StatusCode::NOT_FOUND, format!("container not found ({container:?})")),
            }
        }
        (_, ["portForward", namespace, pod]) => match sandbox(config, namespace, pod).await {
            Some(sandbox) => streams::forward(config, request, sandbox),
            None => text(StatusCode::NOT_FOUND, "pod does not exist"),
        },
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

/// The newest container with this name; with `running` only one that runs.
async fn find(config: &Config, namespace: &str, pod: &str, name: &str, running: bool) -> Option<ContainerStatus> {
    let all = config.runtime.list_containers(None).await.ok()?;
    let label = |c: &ContainerStatus, key: &str| c.config.labels.get(key).cloned().unwrap_or_default();
    let mine = |c: &ContainerStatus| {
        label(c, container::POD_NAMESPACE) == namespace
            && label(c, container::POD_NAME) == pod
            && label(c, container::CONTAINER) == name
    };
    let fits = |c: &ContainerStatus| !running || c.state == ironclad_cri::ContainerState::Running;
    all.into_iter().filter(|c| mine(c) && fits(c)).max_by_key(|c| c.created_at)
}

/// The sandbox in which a pod runs now.
async fn sandbox(config: &Config, namespace: &str, pod: &str) -> Option<SandboxStatus> {
    let all = config.runtime.list_pod_sandboxes(None).await.ok()?;
    let mine =
        |s: &SandboxStatus| s.config.namespace == namespace && s.config.name == pod && s.state == SandboxState::Ready;
    all.into_iter().filter(mine).max_by_key(|s| s.created_at)
}
