//! Whose certificates a part takes: what the authorities of `--client-ca-file` have signed, and proxies that speak for
//! others (`--requestheader-*`); what no flag says the API server tells in the ConfigMap
//! `extension-apiserver-authentication`, followed as it changes.
//!
//! Invariant: while nobody has told an authority, no certificate says who a client is; an authority of proxies never says
//! who somebody is, and headers of others than proxies are not looked at.

use crate::cli::parts::HealthFlags;
use crate::failure::{Context, Result};
use arc_swap::ArcSwap;
use http::request::Parts;
use ironclad_api::{ApiError, UserInfo};
use ironclad_auth::pki::{self, Pair};
use ironclad_auth::{Authenticator, Certificates, Credentials, FrontProxy, RemoteHeaders};
use ironclad_client::delegated::bearer;
use ironclad_client::informer::Filter;
use ironclad_client::{Change, Informers};
use k8s_openapi::api::core::v1::ConfigMap;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";
/// How long the start waits for the API server.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is told of certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Told {
    /// Authorities of clients (PEM).
    clients: String,
    /// Authorities of proxies (PEM).
    proxies: String,
    /// Names that proxies may have; any when there are none.
    allowed: Vec<String>,
    headers: RemoteHeaders,
}

impl Told {
    /// As the ConfigMap tells it.
    fn read(data: &BTreeMap<String, String>) -> Self {
        let text = |key: &str| data.get(key).cloned().unwrap_or_default();
        let list = |key: &str| -> Vec<String> {
            let told = data.get(key).map(|told| serde_json::from_str(told));
            told.and_then(std::result::Result::ok).unwrap_or_default()
        };
        let lower = |key: &str| list(key).iter().map(|name| name.to_lowercase()).collect();
        Self {
            clients: text("client-ca-file"),
            proxies: text("requestheader-client-ca-file"),
            allowed: list("requestheader-allowed-names"),
            headers: RemoteHeaders {
                user: lower("requestheader-username-headers"),
                uid: lower("requestheader-uid-headers"),
                group: lower("requestheader-group-headers"),
                extra: lower("requestheader-extra-headers-prefix"),
            },
        }
    }

    /// With what flags say in its place.
    fn under(mut self, flags: &Flags) -> Self {
        if let Some(clients) = &flags.clients {
            self.clients.clone_from(clients);
        }
        if let Some(proxies) = &flags.proxies {
            self.proxies.clone_from(proxies);
            self.allowed.clone_from(&flags.allowed);
            self.headers.clone_from(&flags.headers);
        }
        self
    }
}

/// What flags say, read from their files.
struct Flags {
    clients: Option<String>,
    proxies: Option<String>,
    allowed: Vec<String>,
    headers: RemoteHeaders,
}

impl Flags {
    fn read(flags: &HealthFlags) -> Result<Self> {
        let usual = RemoteHeaders::default();
        let or = |given: &[String], usual: Vec<String>| match given.is_empty() {
            true => usual,
            false => given.iter().map(|name| name.to_lowercase()).collect(),
        };
        Ok(Self {
            clients: flags.client_ca_file.as_deref().map(super::read).transpose()?,
            proxies: flags.requestheader_client_ca_file.as_deref().map(super::read).transpose()?,
            allowed: flags.requestheader_allowed_names.clone(),
            headers: RemoteHeaders {
                user: or(&flags.requestheader_username_headers, usual.user),
                uid: usual.uid,
                group: or(&flags.requestheader_group_headers, usual.group),
                extra: or(&flags.requestheader_extra_headers_prefix, usual.extra),
            },
        })
    }
}

/// TLS as it is offered now, and who clients are by their certificates.
pub(super) struct Door {
    pub(super) tls: Arc<ServerConfig>,
    /// Proxies first.
    known: Vec<Arc<dyn Authenticator>>,
}

pub(super) type Offered = Arc<ArcSwap<Door>>;

impl Door {
    fn new(pair: &Pair, told: &Told) -> Result<Arc<Self>> {
        let authorities = format!("{}\n{}", told.clients, told.proxies);
        let mut tls = (*pki::server_tls(pair, &authorities).context("cannot set up TLS")?).clone();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let verifier = |pem: &str| pki::verifier(pem).context("cannot set up TLS");
        let mut known: Vec<Arc<dyn Authenticator>> = Vec::new();
        if !told.proxies.trim().is_empty() {
            let allowed = told.allowed.iter().filter(|name| !name.is_empty()).cloned().collect();
            known.push(Arc::new(FrontProxy::new(verifier(&told.proxies)?, allowed, told.headers.clone())));
        }
        if !told.clients.trim().is_empty() {
            known.push(Arc::new(Certificates::new(verifier(&told.clients)?)));
        }
        Ok(Arc::new(Self { tls: Arc::new(tls), known }))
    }

    /// Who a client is by its certificate and what it says as a proxy; an error for a proxy that may not be one.
    pub(super) async fn user(
        &self,
        certificates: &[CertificateDer<'static>],
        head: &Parts,
    ) -> std::result::Result<Option<UserInfo>, ApiError> {
        let credentials = Credentials { certificates, headers: &head.headers, uri: &head.uri };
        let mut refused = None;
        for one in &self.known {
            match one.authenticate(credentials).await {
                Ok(None) => {}
                Ok(Some(found)) => return Ok(Some(found.user)),
                Err(error) => refused = Some(error),
            }
        }
        // A token may still say who it is.
        refused.filter(|_| bearer(&head.headers).is_none()).map_or(Ok(None), Err)
    }
}

/// The door of a part with this certificate.
pub(super) async fn door(flags: &HealthFlags, pair: Pair, token: &CancellationToken) -> Result<Offered> {
    let given = Flags::read(flags)?;
    let now: Offered = Arc::new(ArcSwap::new(Door::new(&pair, &Told::default().under(&given))?));
    let all_said = given.clients.is_some() && given.proxies.is_some();
    let Some(kubeconfig) = flags.authentication_kubeconfig.as_ref().filter(|_| !all_said) else {
        return Ok(now);
    };
    let client =
        ironclad_client::from_kubeconfig(kubeconfig).await.context("cannot use --authentication-kubeconfig")?;
    let informers = Informers::new(client, token.clone());
    let fields = format!("metadata.name={NAME}");
    let filter = Filter { namespace: NAMESPACE.to_owned(), fields, ..Filter::default() };
    let maps = informers.filtered::<ConfigMap>(filter);
    let keep = now.clone();
    maps.on_change(move |change| {
        let gone = matches!(change, Change::Deleted(_));
        let told = change.object().data.as_ref().filter(|_| !gone).map(Told::read).unwrap_or_default();
        match Door::new(&pair, &told.under(&given)) {
            Ok(door) => keep.store(door),
            Err(failure) => tracing::error!(cause = failure.cause, "the authorities of clients cannot be used"),
        }
    });
    if tokio::time::timeout(PATIENCE, maps.synced()).await.is_err() {
        tracing::warn!(
            "the API server does not tell whose certificates count; clients are known by their tokens alone"
        );
    }
    Ok(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_auth::pki::{Pki, Subject};
    use rustls::pki_types::pem::PemObject;

    fn certificate(of: &Pki, name: &str) -> Vec<CertificateDer<'static>> {
        let pair = of.issue(name, &Subject::client(name, "")).unwrap();
        vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()]
    }

    #[tokio::test]
    async fn proxies_speak_for_others_and_nobody_else_does() {
        ironclad_auth::install_crypto();
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let clients = Pki::open_or_create(a.path(), "clients").unwrap();
        let proxies = Pki::open_or_create(b.path(), "proxies").unwrap();
        let told = Told::read(&BTreeMap::from(
            [
                ("client-ca-file", clients.ca()),
                ("requestheader-client-ca-file", proxies.ca()),
                ("requestheader-allowed-names", "[\"front\"]"),
                ("requestheader-username-headers", "[\"X-Remote-User\"]"),
                ("requestheader-group-headers", "[\"X-Remote-Group\"]"),
            ]
            .map(|(k, v)| (k.to_owned(), v.to_owned())),
        ));
        assert_eq!(told.headers.user, ["x-remote-user"]);
        let pair = Pki::alone(&Subject::server("part", "", vec!["localhost".to_owned()])).unwrap();
        let door = Door::new(&pair, &told).unwrap();
        let request = http::Request::get("/metrics").header("x-remote-user", "jane").header("x-remote-group", "devs");
        let (head, ()) = request.body(()).unwrap().into_parts();
        let name = |found: Option<UserInfo>| found.map(|user| user.name);
        let by_proxy = door.user(&certificate(&proxies, "front"), &head).await.unwrap().unwrap();
        assert_eq!((by_proxy.name.as_str(), by_proxy.groups[0].as_str()), ("jane", "devs"));
        door.user(&certificate(&proxies, "other"), &head).await.unwrap_err();
        assert_eq!(name(door.user(&certificate(&clients, "joe"), &head).await.unwrap()).as_deref(), Some("joe"));
        assert_eq!(name(door.user(&[], &head).await.unwrap()), None);
        let (plain, ()) = http::Request::get("/metrics").body(()).unwrap().into_parts();
        door.user(&certificate(&proxies, "front"), &plain).await.unwrap_err();
        let (token, ()) =
            http::Request::get("/metrics").header("authorization", "Bearer a").body(()).unwrap().into_parts();
        assert_eq!(name(door.user(&certificate(&proxies, "front"), &token).await.unwrap()), None);
    }
}
