//! A read-only OCI registry on loopback that serves the test kit's images, with a password where a test wants one.

use crate::images::MANIFEST;
use crate::{Images, Result, io};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Who may pull.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
}

/// A running registry. It ends when it is dropped.
#[derive(Debug)]
pub struct Registry {
    addr: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    images: Images,
    authorization: Option<String>,
    blobs_served: AtomicUsize,
}

impl Registry {
    /// Serves the images on a free port, to everybody.
    pub async fn serve(images: &Images) -> Result<Self> {
        Self::start(images, None, 0).await
    }

    /// Serves the images to whoever has the password.
    pub async fn serve_private(images: &Images, credentials: &Credentials) -> Result<Self> {
        Self::start(images, Some(credentials), 0).await
    }

    /// Serves on a given port; 0 takes a free one.
    pub async fn start(images: &Images, credentials: Option<&Credentials>, port: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.map_err(io("listen on loopback"))?;
        let addr = listener.local_addr().map_err(io("ask for the port"))?;
        let authorization = credentials.map(|c| format!("Basic {}", base64(&format!("{}:{}", c.username, c.password))));
        let shared = Arc::new(Shared { images: images.clone(), authorization, blobs_served: AtomicUsize::new(0) });
        let task = tokio::spawn(accept(listener, shared.clone()));
        Ok(Self { addr, shared, task })
    }

    /// Host and port.
    pub fn host(&self) -> String {
        self.addr.to_string()
    }

    /// The full name of an image: `nginx:1.27` is `127.0.0.1:PORT/nginx:1.27`.
    pub fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.addr)
    }

    /// How many configurations and layers were fetched so far.
    pub fn blobs_served(&self) -> usize {
        self.shared.blobs_served.load(Ordering::Relaxed)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // An error of accept is about one connection that is gone already, or about the end of the test.
    while let Ok((stream, _)) = listener.accept().await {
        let shared = shared.clone();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(move |request| {
                let shared = shared.clone();
                async move { Ok::<_, std::convert::Infallible>(shared.answer(&request).await) }
            });
            // A client that goes away is its own business.
            drop(auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

impl Shared {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let given = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
        if self.authorization.is_some() && given != self.authorization.as_deref() {
            let mut response = error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "authentication required");
            let challenge = HeaderValue::from_static("Basic realm=\"ironclad test registry\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            return response;
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return error(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "this registry is read-only");
        }
        let path = request.uri().path().trim_end_matches('/');
        let head = request.method() == Method::HEAD;
        let Some(rest) = path.strip_prefix("/v2") else {
            return error(StatusCode::NOT_FOUND, "NOT_FOUND", "not found");
        };
        let parts: Vec<&str> = rest.split('/').filter(|p| !p.is_empty()).collect();
        match parts.as_slice() {
            [] => body(head, "application/json", b"{}".to_vec(), None),
            ["_catalog"] => {
                let list = serde_json::json!({ "repositories": self.repositories() }).to_string();
                body(head, "application/json", list.into_bytes(), None)
            }
            [name @ .., "tags", "list"] => self.tags(head, name),
            [name @ .., "manifests", reference] => self.manifest(head, name, reference).await,
            [.., "blobs", digest] => {
                self.blobs_served.fetch_add(usize::from(!head), Ordering::Relaxed);
                self.blob(head, "application/octet-stream", digest, "BLOB_UNKNOWN").await
            }
            _ => error(StatusCode::NOT_FOUND, "NOT_FOUND", "not found"),
        }
    }

    fn repositories(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.images.names().into_iter().filter_map(|n| Some(n.split_once(':')?.0)).collect();
        names.dedup();
        names
    }

    fn tags(&self, head: bool, name: &[&str]) -> Response<Full<Bytes>> {
        let prefix = format!("{}:", repository(name));
        let tags: Vec<&str> = self.images.names().into_iter().filter_map(|n| n.strip_prefix(&prefix)).collect();
        if tags.is_empty() {
            return error(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "repository name not known to registry");
        }
        let list = serde_json::json!({ "name": repository(name), "tags": tags }).to_string();
        body(head, "application/json", list.into_bytes(), None)
    }

    async fn manifest(&self, head: bool, name: &[&str], reference: &str) -> Response<Full<Bytes>> {
        let repository = repository(name);
        let mut images = self.images.iter().filter(|i| i.name.split(':').next() == Some(&repository));
        let found = images.find(|i| i.digest == reference || i.name == format!("{repository}:{reference}"));
        match found {
            Some(image) => self.blob(head, MANIFEST, &image.digest, "MANIFEST_UNKNOWN").await,
            None => error(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "manifest unknown"),
        }
    }

    async fn blob(&self, head: bool, kind: &'static str, digest: &str, code: &str) -> Response<Full<Bytes>> {
        let Some(path) = self.images.blob(digest) else {
            return error(StatusCode::NOT_FOUND, code, "unknown to registry");
        };
        match tokio::fs::read(path).await {
            Ok(bytes) => body(head, kind, bytes, Some(digest)),
            Err(e) => error(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", &e.to_string()),
        }
    }
}

/// `library/nginx` is `nginx`, so that the registry can stand in for the well-known one as a mirror.
fn repository(name: &[&str]) -> String {
    match name {
        ["library", rest @ ..] => rest.join("/"),
        all => all.join("/"),
    }
}

fn body(head: bool, kind: &'static str, bytes: Vec<u8>, digest: Option<&str>) -> Response<Full<Bytes>> {
    let length = bytes.len();
    let mut response = Response::new(Full::new(if head { Bytes::new() } else { bytes.into() }));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_LENGTH, length.into());
    headers.insert("Docker-Distribution-Api-Version", HeaderValue::from_static("registry/2.0"));
    if let Some(digest) = digest.and_then(|d| HeaderValue::from_str(d).ok()) {
        headers.insert("Docker-Content-Digest", digest);
    }
    response
}

fn error(status: StatusCode, code: &str, message: &str) -> Response<Full<Bytes>> {
    let text = serde_json::json!({ "errors": [{ "code": code, "message": message }] }).to_string();
    let mut response = body(false, "application/json", text.into_bytes(), None);
    *response.status_mut() = status;
    response
}

fn base64(text: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits = chunk.iter().fold(0_u32, |acc, b| acc << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let index = (bits >> (18 - 6 * i)) & 63;
            out.push(if i <= chunk.len() { char::from(ALPHABET[index as usize]) } else { '=' });
        }
    }
    out
}
