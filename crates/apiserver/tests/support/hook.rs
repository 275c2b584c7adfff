//! A webhook for tests: a real HTTPS server with a certificate authority of its own.

use base64::Engine;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ironclad_json::{Value, json};
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

/// What a webhook answers to a request body: a status, headers and a body.
pub(crate) type Answer = (u16, Vec<(&'static str, String)>, Vec<u8>);

/// A webhook that runs until it is dropped.
pub(crate) struct Hook {
    pub(crate) port: u16,
    /// For `caBundle`.
    pub(crate) bundle: String,
    /// The reviews that it got.
    pub(crate) seen: Arc<Mutex<Vec<Value>>>,
    /// The `Authorization` headers that came with them.
    pub(crate) shown: Arc<Mutex<Vec<String>>>,
    task: AbortHandle,
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A review's answer that lets the request pass, with these fields besides.
pub(crate) fn allow(review: &Value, more: Value) -> Value {
    let mut response = json!({"uid": review["request"]["uid"], "allowed": true});
    for (key, value) in more.as_object().into_iter().flatten() {
        response[key] = value.clone();
    }
    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response})
}

/// The patch of an answer.
pub(crate) fn patch(operations: Value) -> Value {
    let encoded = base64::engine::general_purpose::STANDARD.encode(operations.to_string());
    json!({"patchType": "JSONPatch", "patch": encoded})
}

impl Hook {
    /// A webhook that answers each review by a function.
    pub(crate) async fn start(answer: impl Fn(&Value) -> Value + Send + Sync + 'static) -> Self {
        Self::raw(move |review| (200, Vec::new(), answer(review).to_string().into_bytes())).await
    }

    /// A webhook that answers whatever it likes.
    pub(crate) async fn raw(answer: impl Fn(&Value) -> Answer + Send + Sync + 'static) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let names = ["127.0.0.1", "localhost", "hook.default.svc"].map(str::to_owned).to_vec();
        let own = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&own, &issuer).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], own.into())
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen: Arc<Mutex<Vec<Value>>> = Arc::default();
        let shown: Arc<Mutex<Vec<String>>> = Arc::default();
        let credentials = shown.clone();
        let (acceptor, answer, noted) = (TlsAcceptor::from(Arc::new(tls)), Arc::new(answer), seen.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, answer, noted) = (acceptor.clone(), answer.clone(), noted.clone());
                let credentials = credentials.clone();
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request: Request<Incoming>| {
                        let (answer, noted) = (answer.clone(), noted.clone());
                        let given = request.headers().get("authorization").and_then(|v| v.to_str().ok());
                        credentials.lock().push(given.unwrap_or_default().to_owned());
                        async move {
                            let body = request.into_body().collect().await.unwrap().to_bytes();
                            let review: Value = serde_json::from_slice(&body).unwrap_or_default();
                            noted.lock().push(review.clone());
                            // An answer may take its time: no worker of the runtime waits for it.
                            let made = tokio::task::spawn_blocking(move || answer(&review));
                            let (status, headers, body) = made.await.unwrap();
                            let response = Response::builder().status(status);
                            let response = headers.iter().fold(response, |r, (k, v)| r.header(*k, v));
                            Ok::<_, Infallible>(response.body(Full::new(Bytes::from(body))).unwrap())
                        }
                    });
                    // A client that goes away ends the connection.
                    drop(
                        hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service)
                            .await,
                    );
                });
            }
        });
        let bundle = base64::engine::general_purpose::STANDARD.encode(authority.pem());
        Self { port, bundle, seen, shown, task: task.abort_handle() }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://127.0.0.1:{}/admit", self.port)
    }

    /// A webhook of a configuration that sends config maps here, with fields changed or added.
    pub(crate) fn webhook(&self, name: &str, more: Value) -> Value {
        let mut webhook = json!({
            "name": name, "clientConfig": {"url": self.url(), "caBundle": self.bundle}, "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            webhook[key] = value.clone();
        }
        webhook
    }
}
