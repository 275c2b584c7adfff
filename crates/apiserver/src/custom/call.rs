//! One call of a webhook over HTTPS.
//!
//! Invariants: the peer is checked against the bundle that its configuration names; nothing of ours is sent but the
//! question; redirects are not followed; time and size of the answer are bounded.

use crate::reader::Reader;
use base64::Engine;
use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use ironclad_api::source::Source;
use ironclad_api::{GroupResource, object};
use rustls::pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The longest that a call may take.
const LONGEST: Duration = Duration::from_secs(30);
/// The largest answer.
const LARGEST: usize = 64 << 20;

/// Where a webhook is.
struct Target {
    url: String,
    /// What is dialled.
    address: String,
    /// What the certificate must be for.
    name: String,
    path: String,
}

/// Asks a webhook of a `clientConfig`. The error is worded as stock words those of its client.
pub(super) async fn call(reader: &Reader, client: &Value, question: &Value) -> Result<Value, String> {
    let target = target(reader, client)?;
    let shown = format!("{}?timeout=30s", target.url);
    let failed = |why: String| format!("Post {shown:?}: {why}");
    match tokio::time::timeout(LONGEST, exchange(&target, client, question)).await {
        Ok(answer) => answer.map_err(failed),
        Err(_) => Err(failed("context deadline exceeded (Client.Timeout exceeded while awaiting headers)".to_owned())),
    }
}

fn target(reader: &Reader, client: &Value) -> Result<Target, String> {
    let text = |path: &[&str]| object::text(client, path);
    if !client["service"].is_object() {
        let url = text(&["url"]);
        let uri: Uri = url.parse().map_err(|e| format!("invalid webhook url {url:?}: {e}"))?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(443);
        if uri.scheme_str() != Some("https") || host.is_empty() {
            return Err(format!("invalid webhook url {url:?}: only https is allowed"));
        }
        let path = uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
        let dial = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        return Ok(Target { url: url.to_owned(), address: dial, name: host, path });
    }
    let (name, namespace) = (text(&["service", "name"]), text(&["service", "namespace"]));
    let port = client["service"]["port"].as_u64().unwrap_or(443);
    let path = format!("/{}", text(&["service", "path"]).trim_start_matches('/'));
    let host = format!("{name}.{namespace}.svc");
    let service = reader
        .get(&GroupResource::new("", "services"), namespace, name)
        .ok_or_else(|| format!("Post \"https://{host}:{port}{path}?timeout=30s\": service {name:?} not found"))?;
    let ip = object::text(&service, &["spec", "clusterIP"]);
    let has = service["spec"]["ports"].as_array().into_iter().flatten().any(|p| p["port"].as_u64() == Some(port));
    let why = match ip {
        "" | "None" => Some(format!("service {name:?} has no cluster IP")),
        _ if !has => Some(format!("no service port {port} found for service {name:?}")),
        _ => None,
    };
    if let Some(why) = why {
        return Err(format!("Post \"https://{host}:{port}{path}?timeout=30s\": {why}"));
    }
    let dial = if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") };
    Ok(Target { url: format!("https://{host}:{port}{path}"), address: dial, name: host, path })
}

/// The certificates of a bundle.
fn roots(client: &Value) -> Result<rustls::RootCertStore, String> {
    let bundle = object::text(client, &["caBundle"]);
    let pem = base64::engine::general_purpose::STANDARD.decode(bundle).map_err(|e| format!("caBundle: {e}"))?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem).flatten() {
        roots.add(certificate).map_err(|e| format!("caBundle: {e}"))?;
    }
    Ok(roots)
}

async fn exchange(target: &Target, client: &Value, question: &Value) -> Result<Value, String> {
    let text = |e: &dyn std::fmt::Display| e.to_string();
    let config = rustls::ClientConfig::builder().with_root_certificates(roots(client)?).with_no_client_auth();
    let dial = |why: String| format!("dial tcp {}: {why}", target.address);
    let stream = TcpStream::connect(&target.address).await.map_err(|e| dial(plain(&e)))?;
    // Without it the answer may wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    let name = ServerName::try_from(target.name.clone()).map_err(|e| text(&e))?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let stream = stream.map_err(|e| format!("tls: failed to verify certificate: {e}"))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| text(&e))?;
    let driving = tokio::spawn(connection);
    let host = target.url.strip_prefix("https://").and_then(|u| u.split('/').next()).unwrap_or(&target.name);
    let separator = if target.path.contains('?') { '&' } else { '?' };
    let request = Request::post(format!("{}{separator}timeout=30s", target.path))
        .header(http::header::HOST, host)
        .header(http::header::CONTENT_TYPE, "application/json")
        .header(http::header::ACCEPT, "application/json")
        .header(http::header::USER_AGENT, "kube-apiserver-admission")
        .body(Full::new(Bytes::from(question.to_string())))
        .map_err(|e| text(&e))?;
    let answer = sender.send_request(request).await.map_err(|e| text(&e));
    let read = match answer {
        Ok(response) => {
            let code = response.status();
            let body = Limited::new(response.into_body(), LARGEST).collect().await.map_err(|e| e.to_string());
            body.map(|b| (code, b.to_bytes()))
        }
        Err(error) => Err(error),
    };
    driving.abort();
    let (code, bytes) = read?;
    if !code.is_success() {
        return Err(format!(
            "the server responded with the status code {} but did not return more information",
            code.as_u16()
        ));
    }
    serde_json::from_slice(&bytes).map_err(|e| format!("the answer is not JSON: {e}"))
}

/// An error of a socket without its number.
fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        _ => error.to_string(),
    }
}
