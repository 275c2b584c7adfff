//! Whose certificates a part takes: what the authorities of `--client-ca-file` have signed, else those that the API server
//! tells in the ConfigMap `extension-apiserver-authentication`, followed as they change.
//!
//! Invariant: while nobody has told an authority, no certificate says who a client is.

use crate::cli::parts::HealthFlags;
use crate::failure::{Context, Result};
use arc_swap::ArcSwap;
use ironclad_auth::pki::{self, Pair};
use ironclad_client::informer::Filter;
use ironclad_client::{Change, Informers};
use k8s_openapi::api::core::v1::ConfigMap;
use rustls::ServerConfig;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";
/// How long the start waits for the API server.
const PATIENCE: Duration = Duration::from_secs(10);

/// TLS as it is offered now.
pub(super) type Offered = Arc<ArcSwap<ServerConfig>>;

fn offered(pair: &Pair, authorities: &str) -> Result<Arc<ServerConfig>> {
    let mut tls = (*pki::server_tls(pair, authorities).context("cannot set up TLS")?).clone();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(tls))
}

/// TLS for a part with this certificate.
pub(super) async fn tls(flags: &HealthFlags, pair: Pair, token: &CancellationToken) -> Result<Offered> {
    let given = flags.client_ca_file.as_deref().map(super::read).transpose()?;
    let now: Offered = Arc::new(ArcSwap::new(offered(&pair, given.as_deref().unwrap_or_default())?));
    let Some(kubeconfig) = flags.authentication_kubeconfig.as_ref().filter(|_| given.is_none()) else {
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
        let told = change.object().data.as_ref().and_then(|data| data.get("client-ca-file")).filter(|_| !gone);
        match offered(&pair, told.map_or("", String::as_str)) {
            Ok(tls) => keep.store(tls),
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
