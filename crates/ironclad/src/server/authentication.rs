//! Who asks: the authenticators, in stock's order.

use crate::failure::{Context, Result};
use ironclad_auth::pki::{self, Pki};
use ironclad_auth::tokens::Tokens;
use ironclad_auth::{Anonymous, Authenticator, Bearer, Certificates, FrontProxy, OrElse, RemoteHeaders, Union};
use serde_json::{Value, json};
use std::sync::Arc;

/// Front proxies, certificates, tokens, and at last nobody.
pub(crate) fn authenticator(pki: &Pki, front: &str, tokens: Arc<Tokens>) -> Result<Arc<dyn Authenticator>> {
    let authority = |pem: &str| pki::verifier(pem).context("cannot set up TLS");
    let proxies = FrontProxy::new(authority(front)?, vec!["front-proxy-client".to_owned()], RemoteHeaders::default());
    let all: Vec<Arc<dyn Authenticator>> =
        vec![Arc::new(proxies), Arc::new(Certificates::new(authority(pki.ca())?)), Arc::new(Bearer(vec![tokens]))];
    let known: Arc<dyn Authenticator> = Arc::new(Union(all));
    Ok(Arc::new(OrElse { known, otherwise: Arc::new(Anonymous::default()) }))
}

/// What servers behind this one must know to tell who asks them.
pub(crate) fn published(clients: &str, front: &str) -> Value {
    let list = |name: &str| json!([name]).to_string();
    json!({
        "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
        "data": {
            "client-ca-file": clients,
            "requestheader-allowed-names": list("front-proxy-client"),
            "requestheader-client-ca-file": front,
            "requestheader-extra-headers-prefix": list("X-Remote-Extra-"),
            "requestheader-group-headers": list("X-Remote-Group"),
            "requestheader-uid-headers": list("X-Remote-Uid"),
            "requestheader-username-headers": list("X-Remote-User"),
        },
    })
}
