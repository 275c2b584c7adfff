//! The authorities that a server's certificate must come from.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// Where distributions keep the authorities of the world.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The given authorities (PEM), or those of the system when none are.
pub(crate) fn all(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let given = !pem.is_empty();
    let pem = if given { pem.to_vec() } else { system() };
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let all = all.map_err(|e| format!("the authorities cannot be read: {e}"))?;
    match all.is_empty() && given {
        true => Err("unable to load root certificates: no certificate was found".to_owned()),
        false => Ok(all),
    }
}

fn system() -> Vec<u8> {
    let named = std::env::var("SSL_CERT_FILE").ok();
    let paths = named.iter().map(String::as_str).chain(BUNDLES);
    paths.into_iter().find_map(|path| std::fs::read(path).ok()).unwrap_or_default()
}
