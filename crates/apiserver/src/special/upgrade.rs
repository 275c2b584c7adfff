//! A request passed on to another server: its answer streamed back, or both connections joined after an upgrade.

use crate::Body;
use http::header::{CONNECTION, HOST, UPGRADE};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ironclad_api::{ApiError, Reason};
use tokio::io::{AsyncRead, AsyncWrite};

/// Sends `request` over `stream` and brings the answer back. On an upgrade the two connections become one.
pub(crate) async fn pass<S>(stream: S, mut request: Request<Body>, host: &str) -> Result<Response<Body>, ApiError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let failed = |e: &dyn std::fmt::Display| {
        ApiError::new(Reason::ServiceUnavailable, format!("error trying to reach service: {e}"))
    };
    let upgrading = request.headers().contains_key(UPGRADE);
    let client = upgrading.then(|| hyper::upgrade::on(&mut request));
    if let Ok(value) = http::HeaderValue::from_str(host) {
        request.headers_mut().insert(HOST, value);
    }
    if !upgrading {
        request.headers_mut().remove(CONNECTION);
    }
    *request.version_mut() = http::Version::HTTP_11;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| failed(&e))?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "the connection to the other server ended");
        }
    });
    let mut answer = sender.send_request(request).await.map_err(|e| failed(&e))?;
    // An answer below 400 that is no upgrade (a redirect, say) is neither followed nor passed on: the client would talk
    // to somebody whom nobody has decided about.
    if upgrading && answer.status() != StatusCode::SWITCHING_PROTOCOLS && answer.status().as_u16() < 400 {
        let why = format!("invalid upgrade response: status code {}", answer.status().as_u16());
        return Err(ApiError::internal(why));
    }
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        let server = hyper::upgrade::on(&mut answer);
        if let Some(client) = client {
            tokio::spawn(join(client, server));
        }
    }
    let (mut parts, body) = answer.into_parts();
    if parts.status != StatusCode::SWITCHING_PROTOCOLS {
        parts.headers.remove(CONNECTION);
        parts.headers.remove(http::header::TRANSFER_ENCODING);
    }
    parts.version = http::Version::HTTP_11;
    // The sender must live until the body has been read.
    let body = body.map_err(move |e| {
        let _ = &sender;
        tower::BoxError::from(e)
    });
    Ok(Response::from_parts(parts, body.boxed_unsync()))
}

/// Upgrades a connection to a server as `request` asks for.
pub(crate) async fn upgraded<S>(stream: S, request: Request<Body>) -> Result<hyper::upgrade::Upgraded, ApiError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let failed = |e: &dyn std::fmt::Display| ApiError::internal(format!("error sending request: {e}"));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| failed(&e))?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "the connection to the other server ended");
        }
    });
    let mut answer = sender.send_request(request).await.map_err(|e| failed(&e))?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return hyper::upgrade::on(&mut answer).await.map_err(|e| failed(&e));
    }
    let body = answer.into_body().map_err(tower::BoxError::from).boxed_unsync();
    let why = crate::body::read(body).await?;
    Err(ApiError::internal(format!("unable to upgrade connection: {}", String::from_utf8_lossy(&why))))
}

async fn join(client: hyper::upgrade::OnUpgrade, server: hyper::upgrade::OnUpgrade) {
    match tokio::try_join!(client, server) {
        Ok((client, server)) => {
            let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
            if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut server).await {
                tracing::debug!(%error, "a joined connection ended");
            }
        }
        Err(error) => tracing::debug!(%error, "an upgrade failed"),
    }
}
