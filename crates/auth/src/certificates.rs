//! Users from client certificates: the common name is the user, each organization a group.

use crate::{Authenticated, Authenticator, Credentials};
use async_trait::async_trait;
use ironclad_api::{ApiError, UserInfo};
use rustls_pki_types::CertificateDer;

/// Authenticates by the client certificate, which the TLS layer has verified.
pub struct Certificates;

#[async_trait]
impl Authenticator for Certificates {
    async fn authenticate(&self, credentials: Credentials<'_>) -> Result<Option<Authenticated>, ApiError> {
        let Some(certificate) = credentials.certificates.first() else { return Ok(None) };
        let user = user(certificate).ok_or_else(ApiError::unauthorized)?;
        Ok(Some(Authenticated { user, audiences: Vec::new() }))
    }
}

/// The user that a certificate names; `None` without a common name.
pub(crate) fn user(certificate: &CertificateDer<'_>) -> Option<UserInfo> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let name = parsed.subject().iter_common_name().next()?.as_str().ok()?;
    let groups: Vec<&str> = parsed.subject().iter_organization().filter_map(|o| o.as_str().ok()).collect();
    (!name.is_empty()).then(|| UserInfo::new(name, &groups))
}
