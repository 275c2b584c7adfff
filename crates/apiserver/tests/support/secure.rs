//! A server as clusters have it, over TLS: certificates, tokens, a front proxy, Node and RBAC, all of admission.

use http::{Request, header};
use http_body_util::{BodyExt, Full};
use ironclad_admission::{Parts, default_chain};
use ironclad_api::UserInfo;
use ironclad_api::source::Source;
use ironclad_apiserver::{ApiServer, Load};
use ironclad_auth::pki::{self, Pair, Pki, Subject};
use ironclad_auth::tokens::Tokens;
use ironclad_auth::{
    Anonymous, Authenticator, Authorizer, Authorizers, Bearer, Certificates, FrontProxy, NodeAuthorizer, OrElse, Rbac,
    RemoteHeaders, Union, bootstrap,
};
use ironclad_json::{Value, json};
use ironclad_store::{LogStore, Options};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tower::Service;

const GROUP: &str = "rbac.authorization.k8s.io";

/// A server that lets in whom a cluster lets in.
pub(crate) struct Secure {
    pub(crate) pki: Pki,
    pub(crate) server: ApiServer,
    address: SocketAddr,
    stop: CancellationToken,
    _dir: TempDir,
}

impl Drop for Secure {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Secure {
    /// With the bootstrap policy and a namespace `a`.
    pub(crate) async fn new() -> Self {
        ironclad_auth::install_crypto();
        let dir = TempDir::new().unwrap();
        let pki = Pki::open_or_create(&dir.path().join("pki"), "test").unwrap();
        let store = Arc::new(LogStore::open(&dir.path().join("store"), Options::default()).unwrap());
        let stop = CancellationToken::new();
        let prepared = ApiServer::prepare(super::config(store, Load::default()), stop.clone()).await.unwrap();
        let reader = Arc::new(prepared.reader());
        let source: Arc<dyn Source> = reader.clone();
        let tokens = Tokens::new(&pki.token_key().unwrap(), "https://kubernetes.default.svc", source.clone()).unwrap();
        let tokens = Arc::new(tokens);
        let rbac = Rbac::start(&*reader, &stop);
        let node = NodeAuthorizer::start(&*reader, &stop);
        rbac.synced().await;
        let (front, _) = pki.front_proxy().unwrap();
        let proxy = FrontProxy::new(
            pki::verifier(&front).unwrap(),
            vec!["front-proxy-client".into()],
            RemoteHeaders::default(),
        );
        let known: Vec<Arc<dyn Authenticator>> = vec![
            Arc::new(proxy),
            Arc::new(Certificates::new(pki::verifier(pki.ca()).unwrap())),
            Arc::new(Bearer(vec![tokens.clone()])),
        ];
        let authenticator =
            Arc::new(OrElse { known: Arc::new(Union(known)), otherwise: Arc::new(Anonymous::default()) });
        let authorizer: Arc<dyn Authorizer> = Arc::new(Authorizers(vec![node, rbac]));
        let ledger = Arc::new(prepared.ledger());
        let parts = Parts { source, authorizer: authorizer.clone(), world: reader, ledger };
        let chain = default_chain(&parts);
        let server = prepared.finish(authenticator, authorizer, tokens, chain).await.unwrap();
        for (group, plural, object) in bootstrap::objects() {
            server.ensure(group, plural, object).await.unwrap();
        }
        let serving = pki.issue("s", &Subject::server("s", "", vec!["127.0.0.1".into()])).unwrap();
        let tls = pki::api_tls(&serving, &format!("{}{front}", pki.ca())).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (served, token) = (server.clone(), stop.clone());
        tokio::spawn(async move { served.serve(listener, tls, token).await });
        let world = Self { pki, server, address, stop, _dir: dir };
        let made = world.post(&world.admin(), "/api/v1/namespaces", json!({"metadata": {"name": "a"}})).await;
        assert_eq!(made.0, 201, "{}", made.1);
        world
    }

    pub(crate) fn admin(&self) -> UserInfo {
        UserInfo::new("admin", &["system:masters"])
    }

    /// A request over TLS, with a client certificate or without.
    pub(crate) async fn call(
        &self,
        pair: Option<&Pair>,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> (u16, Value) {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let tls = match pair {
            Some(pair) => self.pki.client_tls(pair).unwrap(),
            None => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(CertificateDer::from_pem_slice(self.pki.ca().as_bytes()).unwrap()).unwrap();
                Arc::new(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
            }
        };
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = rustls::pki_types::ServerName::from(self.address.ip());
        let mut stream = TlsConnector::from(tls).connect(name, stream).await.unwrap();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let more = headers.iter().fold(String::new(), |text, (k, v)| format!("{text}{k}: {v}\r\n"));
        let text = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n{more}\r\n{body}",
            body.len()
        );
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A server that closes without a farewell has said everything.
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let code = answer.split(' ').nth(1).unwrap_or_default().parse().unwrap_or(0);
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
        let json = body.find('{').zip(body.rfind('}')).map(|(a, b)| &body[a..=b]).unwrap_or_default();
        (code, serde_json::from_str(json).unwrap_or_default())
    }

    pub(crate) async fn get(&self, pair: Option<&Pair>, path: &str, headers: &[(&str, &str)]) -> (u16, Value) {
        self.call(pair, "GET", path, headers, &Value::Null).await
    }

    pub(crate) async fn merge(&self, pair: Option<&Pair>, path: &str, patch: &Value) -> (u16, Value) {
        self.call(pair, "PATCH", path, &[], patch).await
    }

    /// A request of a user whose credential is beside the point.
    pub(crate) async fn send(&self, user: &UserInfo, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, kind);
        let mut request = request.body(Full::new(bytes::Bytes::from(body))).unwrap();
        request.extensions_mut().insert(user.clone());
        let response = self.server.clone().call(request).await.unwrap();
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (code, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    pub(crate) async fn post(&self, user: &UserInfo, path: &str, body: Value) -> (u16, Value) {
        self.send(user, "POST", path, &body).await
    }

    pub(crate) async fn patch(&self, user: &UserInfo, path: &str, body: Value) -> (u16, Value) {
        self.send(user, "PATCH", path, &body).await
    }

    pub(crate) async fn get_as(&self, user: &UserInfo, path: &str) -> (u16, Value) {
        self.send(user, "GET", path, &Value::Null).await
    }

    async fn made(&self, path: &str, object: Value) {
        let (code, answer) = self.post(&self.admin(), path, object).await;
        assert_eq!(code, 201, "{answer}");
    }

    /// Gives a user of this name a role of this name with these rules.
    pub(crate) async fn allow(&self, name: &str, rules: &[Value]) {
        let role = json!({"metadata": {"name": format!("of-{name}")}, "rules": rules});
        self.made(&format!("/apis/{GROUP}/v1/clusterroles"), role).await;
        self.bind(name, name).await;
    }

    /// Gives another user that role, and waits until it counts.
    pub(crate) async fn bind(&self, role: &str, name: &str) {
        let binding = json!({"metadata": {"name": format!("{role}-{name}-{}", uuid::Uuid::new_v4())},
            "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": format!("of-{role}")},
            "subjects": [{"apiGroup": GROUP, "kind": "User", "name": name}]});
        self.made(&format!("/apis/{GROUP}/v1/clusterrolebindings"), binding).await;
        // The index of roles follows the store a moment behind.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    pub(crate) async fn account(&self, name: &str) {
        self.made("/api/v1/namespaces/a/serviceaccounts", json!({"metadata": {"name": name}})).await;
    }

    pub(crate) async fn node(&self, name: &str) {
        self.made("/api/v1/nodes", json!({"metadata": {"name": name}})).await;
    }

    pub(crate) async fn pod(&self, name: &str, node: &str, account: &str) {
        self.pod_with(name, node, account, "").await;
    }

    /// A pod that mounts a Secret.
    pub(crate) async fn pod_with(&self, name: &str, node: &str, account: &str, secret: &str) {
        let mut pod = json!({"metadata": {"name": name}, "spec": {"nodeName": node, "serviceAccountName": account,
            "containers": [{"name": "c", "image": "i"}]}});
        if !secret.is_empty() {
            pod["spec"]["volumes"] = json!([{"name": "v", "secret": {"secretName": secret}}]);
        }
        self.made("/api/v1/namespaces/a/pods", pod).await;
    }

    /// Waits until the graph of nodes has heard of what was made.
    pub(crate) async fn until_allowed(&self, pair: &Pair, path: &str) {
        for _ in 0..100 {
            if self.get(Some(pair), path, &[]).await.0 == 200 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{path} is never allowed");
    }
}
