//! ComponentStatuses: what the other parts of the control plane and the store answer when they are asked for their
//! health. Nothing of them is stored; they are deprecated, but `kubectl get componentstatuses` still shows them.

use crate::cache::{Cached, Pick};
use crate::pages::Part;
use crate::registry::{Answer, Request};
use crate::server::Inner;
use crate::{Body, encode};
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use ironclad_api::{ApiError, GroupResource};
use ironclad_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long a part may take to answer, and how much it may say.
const PATIENCE: Duration = Duration::from_secs(20);
const LONGEST: usize = 10 << 10;

/// What became of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Health {
    Good(String),
    Bad(String),
}

/// All of them, or those that a selection lets through.
pub(crate) async fn list(inner: &Inner, request: &Request<'_>) -> Result<Response<Body>, ApiError> {
    let asked = inner.about.parts.iter().map(|(name, part)| async move { object(name, ask(part).await) });
    let mut objects = futures::future::join_all(asked).await;
    objects.push(object("etcd-0", store(inner).await));
    let pick = Pick::of(request.kind);
    let cached = |o: &Value| {
        let key = format!("{}{}", request.kind.prefix, ironclad_api::object::name(o));
        Arc::new(Cached::told(request.kind, &pick, key.into(), encode::ordered(o).into()))
    };
    inner.registry.told(request, objects.iter().map(cached).collect()).await
}

/// The one that is named.
pub(crate) async fn get(inner: &Inner, request: &Request<'_>) -> Result<Answer, ApiError> {
    let name = request.info.name.as_str();
    let health = match inner.about.parts.iter().find(|p| p.0 == name) {
        Some((_, part)) => ask(part).await,
        None if name == "etcd-0" => store(inner).await,
        None => return Err(ApiError::not_found(&GroupResource::new("", "componentstatus"), name)),
    };
    Ok(Answer::value(200, object(name, health)))
}

fn object(name: &str, health: Health) -> Value {
    let (status, message) = match health {
        Health::Good(message) => ("True", message),
        Health::Bad(message) => ("False", message),
    };
    json!({
        "kind": "ComponentStatus", "apiVersion": "v1", "metadata": {"name": name},
        "conditions": [{"type": "Healthy", "status": status, "message": message}],
    })
}

async fn store(inner: &Inner) -> Health {
    match inner.healthy.ask(&*inner.registry.store).await {
        true => Health::Good("ok".to_owned()),
        false => Health::Bad("the store cannot be reached".to_owned()),
    }
}

async fn ask(part: &Part) -> Health {
    let address = match part {
        Part::Here(runs) if runs.load(Ordering::Acquire) => return Health::Good("ok".to_owned()),
        Part::Here(_) => return Health::Bad("it does not run in this process".to_owned()),
        Part::At(address) => *address,
    };
    match tokio::time::timeout(PATIENCE, fetch(address)).await {
        Ok(Ok((code, text))) if (200..400).contains(&code.as_u16()) => Health::Good(text),
        Ok(Ok((code, _))) => Health::Bad(format!("HTTP probe failed with statuscode: {}", code.as_u16())),
        Ok(Err(why)) => Health::Bad(format!("Get \"https://{address}/healthz\": {why}")),
        Err(_) => Health::Bad(format!("Get \"https://{address}/healthz\": context deadline exceeded")),
    }
}

async fn fetch(address: SocketAddr) -> Result<(StatusCode, String), String> {
    let stream = TcpStream::connect(address).await.map_err(|e| match e.kind() {
        std::io::ErrorKind::ConnectionRefused => format!("dial tcp {address}: connect: connection refused"),
        _ => format!("dial tcp {address}: {e}"),
    })?;
    // The part is on this machine, and nothing is said to it.
    let tls = ironclad_remote::unverified().connect(address.ip().into(), stream).await.map_err(|e| e.to_string())?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(tls)).await.map_err(|e| e.to_string())?;
    let talk = async {
        let request = http::Request::get("/healthz").header(http::header::HOST, address.to_string());
        let request = request.body(Empty::<Bytes>::new()).map_err(|e| e.to_string())?;
        let (head, body) = sender.send_request(request).await.map_err(|e| e.to_string())?.into_parts();
        let bytes = Limited::new(body, LONGEST).collect().await.map_err(|e| e.to_string())?.to_bytes();
        Ok((head.status, String::from_utf8_lossy(&bytes).into_owned()))
    };
    tokio::pin!(connection);
    tokio::select! {
        told = talk => told,
        ended = &mut connection => Err(ended.map_or_else(|e| e.to_string(), |()| "EOF".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_part_that_is_not_there_is_unhealthy_in_stocks_words() {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let want = format!("Get \"https://{free}/healthz\": dial tcp {free}: connect: connection refused");
        assert_eq!(ask(&Part::At(free)).await, Health::Bad(want));
    }

    #[tokio::test]
    async fn a_part_in_this_process_is_as_well_as_it_runs() {
        let runs = Arc::new(AtomicBool::new(true));
        assert_eq!(ask(&Part::Here(runs.clone())).await, Health::Good("ok".to_owned()));
        runs.store(false, Ordering::Release);
        assert!(matches!(ask(&Part::Here(runs)).await, Health::Bad(_)));
    }
}
