//! Users from client certificates: the common name is the user, each organization a group.
//!
//! Invariant: the TLS layer proves only that a client has its certificate's key; whether the certificate counts is
//! decided here, by the authority that this authenticator trusts and no other.

use crate::{Authenticated, Authenticator, Credentials};
use async_trait::async_trait;
use ironclad_api::expiring::Expiring;
use ironclad_api::{ApiError, UserInfo};
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::{CertificateDer, UnixTime};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;

/// The subject's attribute that holds a user's uid.
const UID: &str = "1.3.6.1.4.1.57683.2";
pub(crate) const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// Authenticates by the client certificate.
pub struct Certificates {
    authority: Arc<dyn ClientCertVerifier>,
    /// Users of chains that were trusted a moment ago: clients send many requests with one certificate.
    known: Expiring<Vec<u8>, Option<UserInfo>>,
}

const REMEMBERED: Duration = Duration::from_mins(1);
const MOST: usize = 4096;

impl Certificates {
    /// Trusts certificates that `authority` does.
    pub fn new(authority: Arc<dyn ClientCertVerifier>) -> Self {
        Self { authority, known: Expiring::new(MOST) }
    }
}

/// The chain as one key; comparing it costs less than a digest.
fn key(chain: &[CertificateDer<'_>]) -> Vec<u8> {
    let mut key = Vec::with_capacity(chain.iter().map(|c| c.len() + 8).sum());
    for certificate in chain {
        key.extend_from_slice(&(certificate.len() as u64).to_le_bytes());
        key.extend_from_slice(certificate);
    }
    key
}

/// Whether `authority` signed the chain, for clients and for now.
pub(crate) fn trusted(authority: &dyn ClientCertVerifier, chain: &[CertificateDer<'_>]) -> Result<(), rustls::Error> {
    let Some((leaf, rest)) = chain.split_first() else {
        return Err(rustls::Error::NoCertificatesPresented);
    };
    authority.verify_client_cert(leaf, rest, UnixTime::now()).map(drop)
}

#[async_trait]
impl Authenticator for Certificates {
    async fn authenticate(&self, credentials: Credentials<'_>) -> Result<Option<Authenticated>, ApiError> {
        let Some(certificate) = credentials.certificates.first() else { return Ok(None) };
        let key = key(credentials.certificates);
        if let Some(user) = self.known.get(&key) {
            return Ok(user.map(|user| Authenticated { user, audiences: Vec::new() }));
        }
        if let Err(error) = trusted(&*self.authority, credentials.certificates) {
            tracing::debug!(%error, "a client certificate is not trusted");
            return Err(ApiError::unauthorized());
        }
        let user = user(certificate);
        self.known.put(key, user.clone(), REMEMBERED);
        Ok(user.map(|user| Authenticated { user, audiences: Vec::new() }))
    }
}

/// The user that a certificate names; `None` without a common name.
pub(crate) fn user(certificate: &CertificateDer<'_>) -> Option<UserInfo> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let name = parsed.subject().iter_common_name().next()?.as_str().ok()?;
    let groups: Vec<&str> = parsed.subject().iter_organization().filter_map(|o| o.as_str().ok()).collect();
    let mut user = UserInfo::new(name, &groups);
    let uid = parsed.subject().iter_attributes().find(|a| a.attr_type().to_id_string() == UID);
    user.uid = uid.and_then(|a| a.as_str().ok()).unwrap_or_default().to_owned();
    let id = format!("X509SHA256={}", hex::encode(Sha256::digest(certificate)));
    user.extra.insert(CREDENTIAL_ID.to_owned(), vec![id]);
    (!name.is_empty()).then_some(user)
}
