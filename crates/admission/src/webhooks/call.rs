//! Calling a webhook: one cached client per client configuration, TLS only, bounded in time and size.
//!
//! Invariant: a call goes where the configuration says and nowhere else: redirects are not followed, proxies not asked.

use super::decode;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use ironclad_api::source::Source;
use ironclad_api::{GroupResource, object};
use ironclad_json::Value;
use ironclad_remote::{Credentials, CredentialsByServer, Egress, Way};
use rustls::ClientConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Largest answer that is read.
const MAX_ANSWER: usize = 16 << 20;
/// How long an idle connection is kept.
const IDLE: Duration = Duration::from_secs(90);
/// How much of an answer that is no review is shown.
const SHOWN: usize = 2048;
/// How often a webhook is asked again that says when.
const AGAIN: u32 = 10;

/// A client for one client configuration.
#[derive(Clone)]
pub struct Caller {
    client: Client<Connector, Full<Bytes>>,
    url: String,
    authorization: Option<HeaderValue>,
}

/// A call that came to nothing.
#[derive(Debug)]
pub struct Failed {
    /// Why, as Go's client says it.
    pub why: String,
    /// The code of the answer, or 503 where there is none that could be read.
    pub code: u16,
}

const UNREACHED: u16 = 503;

/// Where a webhook is.
#[derive(Clone, Debug)]
enum Place {
    /// A host and a port of a URL.
    Url(String, u16),
    /// A Service of the cluster: namespace, name, port.
    Service(String, String, u16),
}

#[derive(Clone)]
struct Connector {
    place: Place,
    /// The name in the certificate.
    server: ServerName<'static>,
    tls: TlsConnector,
    source: Arc<dyn Source>,
    way: Way,
}

struct Stream(TokioIo<TlsStream<ironclad_remote::Connection>>);

impl Caller {
    /// From `clientConfig`.
    pub fn new(config: &Value, source: Arc<dyn Source>, egress: &Egress) -> Result<Self, String> {
        Self::with(config, source, &CredentialsByServer::default(), egress)
    }

    /// From `clientConfig`; the server is shown what it is to be shown.
    pub(crate) fn with(
        config: &Value,
        source: Arc<dyn Source>,
        known: &CredentialsByServer,
        egress: &Egress,
    ) -> Result<Self, String> {
        let (place, host, path) = if config["url"].is_string() { url_place(config)? } else { service_place(config) };
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = match &place {
            Place::Url(_, port) | Place::Service(_, _, port) => *port,
        };
        let Credentials { identity, token, basic } = known.of(&bare, port);
        let server = ServerName::try_from(bare).map_err(|e| format!("invalid host {host:?}: {e}"))?;
        let tls = tls(config["caBundle"].as_str().unwrap_or_default(), identity)?;
        let tls = TlsConnector::from(Arc::new(tls));
        let authorization = authorization(token, basic)?;
        // A URL keeps its form in messages; a Service always names its port.
        let shown = match config["url"].as_str() {
            Some(url) => url.to_owned(),
            None => format!("https://{host}:{port}{path}"),
        };
        let way = match &place {
            Place::Url(..) => egress.control_plane.clone(),
            Place::Service(..) => egress.cluster.clone(),
        };
        let connector = Connector { place, server, tls, source, way };
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .http1_title_case_headers(true)
            .build(connector);
        Ok(Self { client, url: shown, authorization })
    }

    /// Posts a review of a version and reads the answer.
    pub async fn post(&self, review: &Value, timeout: Duration) -> Result<Value, Failed> {
        let separator = if self.url.contains('?') { '&' } else { '?' };
        let url = format!("{}{separator}timeout={}s", self.url, timeout.as_secs());
        let failed = |why: String| Failed { why: format!("Post {url:?}: {why}"), code: UNREACHED };
        let uri: Uri = url.parse().map_err(|e| failed(format!("{e}")))?;
        let body = Bytes::from(review.to_string());
        let answer = match tokio::time::timeout(timeout, self.patiently(&uri, &body)).await {
            Err(_) => return Err(failed("context deadline exceeded".to_owned())),
            Ok(answer) => answer.map_err(failed)?,
        };
        match answer.status {
            200..=299 => review_of(review, &answer).map_err(|why| Failed { why, code: UNREACHED }),
            code => Err(Failed { why: refused(code, &answer.media, &answer.body), code }),
        }
    }

    /// Asks again as often as the webhook says when to.
    async fn patiently(&self, uri: &Uri, body: &Bytes) -> Result<Answer, String> {
        for _ in 0..AGAIN {
            let answer = self.exchange(uri, body).await?;
            match answer.again.filter(|_| matches!(answer.status, 429 | 500..)) {
                Some(after) => tokio::time::sleep(after).await,
                None => return Ok(answer),
            }
        }
        self.exchange(uri, body).await
    }

    async fn exchange(&self, uri: &Uri, body: &Bytes) -> Result<Answer, String> {
        let mut request = Request::builder().method(Method::POST).uri(uri);
        if let Some(value) = &self.authorization {
            request = request.header("authorization", value.clone());
        }
        let request = request
            .header("content-type", "application/json")
            .header("accept", "application/json, */*")
            .header("accept-encoding", "gzip")
            .header("user-agent", "kube-apiserver-admission")
            .body(Full::new(body.clone()))
            .map_err(|e| e.to_string())?;
        let response = self.client.request(request).await.map_err(|e| {
            let why = ironclad_remote::reason(&e);
            crate::metrics::unconnected(&why);
            why
        })?;
        let status = response.status().as_u16();
        let header = |name: &str| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let media = header("content-type").filter(|m| !m.is_empty()).unwrap_or_else(|| "application/json".to_owned());
        let zipped = header("content-encoding").is_some_and(|e| e.eq_ignore_ascii_case("gzip"));
        let again = header("retry-after").and_then(|s| s.parse().ok()).map(Duration::from_secs);
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body =
            body.map_err(|e| format!("cannot read the response, of which at most {MAX_ANSWER} bytes are read: {e}"))?;
        let body = if zipped { unzipped(&body.to_bytes())? } else { body.to_bytes() };
        Ok(Answer { status, media, again, body })
    }
}

/// What came back.
struct Answer {
    status: u16,
    media: String,
    /// After what time the webhook wants to be asked again.
    again: Option<Duration>,
    body: Bytes,
}

/// What was sent as gzip, of which no more is unpacked than is read of any answer.
fn unzipped(body: &[u8]) -> Result<Bytes, String> {
    use std::io::Read;
    let mut out = Vec::new();
    let limit = MAX_ANSWER as u64;
    let mut reader = flate2::read::GzDecoder::new(body).take(limit + 1);
    reader.read_to_end(&mut out).map_err(|e| format!("gzip: {e}"))?;
    match out.len() > MAX_ANSWER {
        true => Err(format!("cannot read the response, of which at most {MAX_ANSWER} bytes are read")),
        false => Ok(out.into()),
    }
}

/// The review that an answer holds; an error says what it is instead, as Go's decoders do.
fn review_of(asked: &Value, answer: &Answer) -> Result<Value, String> {
    let Answer { status, media, body, .. } = answer;
    if body.is_empty() {
        return Err(format!("0-length response with status code: {status} and content type: {media}"));
    }
    if media.split(';').next().is_none_or(|m| m.trim().is_empty()) {
        return Err("Internal error occurred: mime: no media type".to_owned());
    }
    decode::review(body, object::text(asked, &["apiVersion"]), object::text(asked, &["kind"]))
}

/// Why a webhook did not answer with a review, as Go's client says it.
pub(crate) fn refused(status: u16, media: &str, body: &[u8]) -> String {
    let told: Value = serde_json::from_slice(body).unwrap_or_default();
    let message = object::text(&told, &["message"]);
    if told["kind"] == "Status" && told["status"] != "Success" && !message.is_empty() {
        return message.to_owned();
    }
    let text = media.split(';').next().unwrap_or_default().trim().starts_with("text/");
    let said = if text { shown(body).trim().to_owned() } else { "unknown".to_owned() };
    match status {
        400 => "the server rejected our request for an unknown reason",
        401 => "the server has asked for the client to provide credentials",
        403 | 415 => &said,
        404 => "the server could not find the requested resource",
        405 => "the server does not allow this method on the requested resource",
        406 if said == "unknown" => "the server was unable to respond with a content type that the client supports",
        406 => &said,
        409 => "the server reported a conflict",
        422 => "the server rejected our request due to an error in our request",
        429 => "the server has received too many requests and has asked us to try again later",
        503 => "the server is currently unable to handle the request",
        504 => {
            "the server was unable to return a response in the time allotted, but may still be processing the request"
        }
        500.. => return format!("an error on the server ({said:?}) has prevented the request from succeeding"),
        _ => return format!("the server responded with the status code {status} but did not return more information"),
    }
    .to_owned()
}

fn shown(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(SHOWN)]).into_owned()
}

fn url_place(config: &Value) -> Result<(Place, String, String), String> {
    let url = config["url"].as_str().unwrap_or_default();
    let uri: Uri = url.parse().map_err(|e| format!("invalid URL {url:?}: {e}"))?;
    if uri.scheme_str() != Some("https") {
        return Err(format!("the URL {url:?} is not https"));
    }
    let host = uri.host().ok_or_else(|| format!("the URL {url:?} has no host"))?.to_owned();
    let port = uri.port_u16().unwrap_or(443);
    Ok((Place::Url(host.trim_matches(['[', ']']).to_owned(), port), host, uri.path().to_owned()))
}

fn service_place(config: &Value) -> (Place, String, String) {
    let service = &config["service"];
    let (namespace, name) = (object::text(service, &["namespace"]), object::text(service, &["name"]));
    let port = service["port"].as_u64().and_then(|p| u16::try_from(p).ok()).unwrap_or(443);
    let path = format!("/{}", object::text(service, &["path"]).trim_start_matches('/'));
    (Place::Service(namespace.into(), name.into(), port), format!("{name}.{namespace}.svc"), path)
}

/// What the `Authorization` header says.
fn authorization(token: Option<String>, basic: Option<(String, String)>) -> Result<Option<HeaderValue>, String> {
    use base64::Engine;
    let encode = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
    let text = match (token, basic) {
        (Some(token), _) => format!("Bearer {token}"),
        (None, Some((user, password))) => format!("Basic {}", encode(format!("{user}:{password}"))),
        (None, None) => return Ok(None),
    };
    let mut value = HeaderValue::from_str(&text).map_err(|e| format!("the credentials cannot be sent: {e}"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn tls(bundle: &str, identity: Option<(Vec<u8>, Vec<u8>)>) -> Result<ClientConfig, String> {
    use base64::Engine;
    let authorities: Vec<CertificateDer<'static>> = if bundle.is_empty() {
        // As for any other client: the certificate authorities that the machine trusts.
        let native = rustls_native_certs::load_native_certs();
        if native.certs.is_empty() {
            return Err("the machine trusts no certificate authority and the configuration has no caBundle".to_owned());
        }
        native.certs
    } else {
        let pem =
            base64::engine::general_purpose::STANDARD.decode(bundle).map_err(|e| format!("invalid caBundle: {e}"))?;
        let blocks = pem::parse_many(&pem).map_err(|e| format!("invalid caBundle: {e}"))?;
        blocks.into_iter().map(|b| b.into_contents().into()).collect()
    };
    let verifier = ironclad_remote::verifier(authorities).map_err(|e| format!("could not get REST client: {e}"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("cannot set up TLS: {e}"))?;
    let config = config.dangerous().with_custom_certificate_verifier(verifier);
    let Some((certificate, key)) = identity else { return Ok(config.with_no_client_auth()) };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&certificate).collect();
    let chain = chain.map_err(|e| format!("the client's certificate cannot be read: {e}"))?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|e| format!("the client's key cannot be read: {e}"))?;
    config.with_client_auth_cert(chain, key).map_err(|e| e.to_string())
}

impl Connector {
    /// The address that is dialled now: a Service can move.
    fn address(&self) -> Result<(String, u16), String> {
        let (namespace, name, port) = match &self.place {
            Place::Url(host, port) => return Ok((host.clone(), *port)),
            Place::Service(namespace, name, port) => (namespace, name, *port),
        };
        let service = self.source.get(&GroupResource::new("", "services"), namespace, name);
        let service = service.ok_or_else(|| format!("service {name:?} not found"))?;
        let spec = &service["spec"];
        if spec["type"] == "ExternalName" {
            return Ok((object::text(spec, &["externalName"]).to_owned(), port));
        }
        let ports = spec["ports"].as_array().into_iter().flatten();
        if !ports.into_iter().any(|p| p["port"] == port) {
            return Err(format!("no service port {port} found for service {name:?}"));
        }
        match object::text(spec, &["clusterIP"]) {
            "" | "None" => Err(format!("no cluster IP found for service {name:?}")),
            ip => Ok((ip.to_owned(), port)),
        }
    }
}

impl tower::Service<Uri> for Connector {
    type Response = Stream;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<Stream>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let (host, port) = this.address().map_err(std::io::Error::other)?;
            let stream = this.way.dial(&host, port).await?;
            let tls = this.tls.connect(this.server, stream).await?;
            Ok(Stream(TokioIo::new(tls)))
        })
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl hyper::rt::Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
