//! Opening connections: TCP, and TLS where the URL says so.

use crate::unverified::Anybody;
use crate::{Stream, Target, Way, roots};
use http::Uri;
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls_pki_types::pem::PemObject;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio_rustls::TlsConnector;

/// Opens connections to one target.
#[derive(Clone)]
pub(crate) struct Connector {
    tls: TlsConnector,
    name: Option<String>,
    way: Way,
}

impl Connector {
    pub(crate) fn new(target: &Target) -> Result<Self, String> {
        let mut config = tls(target)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let (name, way) = (target.server_name.clone(), target.way.clone());
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), name, way })
    }

    async fn open(self, uri: Uri) -> io::Result<Stream> {
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let stream = self.way.dial(&host, port).await?;
        if !tls {
            return Ok(stream.into());
        }
        let name = ServerName::try_from(self.name.unwrap_or(host)).map_err(io::Error::other)?;
        Ok(self.tls.connect(name, stream).await?.into())
    }
}

/// TLS towards a target, with its authorities and the client's certificate.
pub(crate) fn tls(target: &Target) -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder();
    let builder = match target.insecure {
        true => builder.dangerous().with_custom_certificate_verifier(Anybody::new()),
        false => {
            builder.dangerous().with_custom_certificate_verifier(crate::verifier(roots::all(&target.authorities)?)?)
        }
    };
    let Some((certificate, key)) = &target.identity else { return Ok(builder.with_no_client_auth()) };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate).collect();
    let chain = chain.map_err(|e| format!("the client's certificate cannot be read: {e}"))?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| format!("the client's key cannot be read: {e}"))?;
    builder.with_client_auth_cert(chain, key).map_err(|e| e.to_string())
}

impl tower::Service<Uri> for Connector {
    type Response = Stream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().open(uri))
    }
}
