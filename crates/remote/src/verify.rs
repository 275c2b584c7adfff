//! Who answers, checked as Go's clients check it: as `webpki` does, and besides a certificate that is itself one of the
//! authorities, which many servers make for themselves. What is wrong is said in Go's words.

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::sync::Arc;
use x509_parser::prelude::{FromDer, X509Certificate};

#[derive(Debug)]
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    authorities: Vec<CertificateDer<'static>>,
}

/// A verifier that takes what these authorities have signed, and the authorities themselves.
pub fn verifier(authorities: Vec<CertificateDer<'static>>) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(authorities.iter().cloned());
    if added == 0 {
        return Err("unable to load root certificates: unable to parse bytes as PEM block".to_owned());
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    Ok(Arc::new(Verifier { inner: inner.map_err(|e| e.to_string())?, authorities }))
}

impl Verifier {
    /// A certificate that is trusted as it is needs no signer: its time and its names are what is left to check.
    fn trusted(&self, certificate: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> Result<(), Error> {
        if !self.authorities.contains(certificate) {
            return Err(Error::InvalidCertificate(CertificateError::UnknownIssuer));
        }
        let bad = || Error::InvalidCertificate(CertificateError::BadEncoding);
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| bad())?;
        let now = i64::try_from(now.as_secs()).map_err(|_| bad())?;
        if now > parsed.validity().not_after.timestamp() {
            return Err(Error::InvalidCertificate(CertificateError::Expired));
        }
        if now < parsed.validity().not_before.timestamp() {
            return Err(Error::InvalidCertificate(CertificateError::NotValidYet));
        }
        rustls::client::verify_server_name(&ParsedCertificate::try_from(certificate)?, name)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = self.inner.verify_server_cert(certificate, chain, name, ocsp, now);
        found.or_else(|why| match &why {
            Error::InvalidCertificate(CertificateError::Other(_) | CertificateError::UnknownIssuer) => self
                .trusted(certificate, name, now)
                .map(|()| ServerCertVerified::assertion())
                .map_err(|other| match other {
                    Error::InvalidCertificate(CertificateError::UnknownIssuer) => why,
                    other => other,
                }),
            _ => Err(why),
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Why a connection failed, in Go's words where they are known.
pub fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    loop {
        if let Some(why) = last.downcast_ref::<std::io::Error>().and_then(said) {
            return why;
        }
        if let Some(Error::InvalidCertificate(why)) = last.downcast_ref::<Error>() {
            return certificate(why);
        }
        if last.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message) {
            return "EOF".to_owned();
        }
        match last.source() {
            Some(inner) => last = inner,
            None => return last.to_string(),
        }
    }
}

/// What an error of the system or of TLS that hides in one says.
fn said(error: &std::io::Error) -> Option<String> {
    if let Some(inner) = error.get_ref() {
        if error.kind() == std::io::ErrorKind::UnexpectedEof {
            return Some("EOF".to_owned());
        }
        return inner.downcast_ref::<Error>().and_then(|tls| match tls {
            Error::InvalidCertificate(why) => Some(certificate(why)),
            _ => None,
        });
    }
    error.raw_os_error().map(|_| {
        let text = error.to_string();
        text.split(" (os error").next().unwrap_or_default().to_lowercase()
    })
}

/// Whether a connection failed (by the words of [`reason`]) because the other end's certificate names nobody, or is signed with SHA-1.
pub fn certificate_flaws(error: &str) -> [bool; 2] {
    [error.contains("certificate is valid for , not"), error.contains("UnsupportedSignatureAlgorithm")]
}

fn certificate(why: &CertificateError) -> String {
    let why = match why {
        // An authority that is no server's certificate to this one's mind is known to nobody.
        CertificateError::UnknownIssuer | CertificateError::Other(_) => {
            "certificate signed by unknown authority".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } | CertificateError::NotValidYet => {
            "certificate has expired or is not yet valid".to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names: Vec<String> = presented
                .iter()
                .map(|n| n.split_once('(').map_or(&**n, |(_, n)| n).trim_matches(['"', ')']).to_owned())
                .collect();
            format!("certificate is valid for {}, not {}", names.join(", "), expected.to_str())
        }
        other => other.to_string(),
    };
    format!("tls: failed to verify certificate: x509: {why}")
}

/// Waits for a connection; an error says what was dialled and why it failed, as Go says it.
pub async fn dial(host: &str, port: u16) -> std::io::Result<tokio::net::TcpStream> {
    tokio::net::TcpStream::connect((host, port)).await.map_err(|error| {
        let why = said(&error).map_or_else(|| error.to_string(), |why| format!("connect: {why}"));
        std::io::Error::new(error.kind(), format!("dial tcp {host}:{port}: {why}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_without_names_and_one_of_old_are_told_apart() {
        let flaws = |why: &str| certificate_flaws(&format!("tls: failed to verify certificate: x509: {why}"));
        assert_eq!(flaws("certificate is valid for , not a.b.svc"), [true, false]);
        assert_eq!(flaws("certificate is valid for c, not a.b.svc"), [false, false]);
    }

    #[test]
    fn an_authority_may_answer_itself_and_nobody_else() {
        let made = |name: &str| {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            params.self_signed(&key).unwrap().der().clone()
        };
        let (own, other) = (made("hook.example"), made("hook.example"));
        let verifier = verifier(vec![own.clone()]).unwrap();
        let ask = |certificate: &CertificateDer<'_>, name: &str, now: UnixTime| {
            let name = ServerName::try_from(name.to_owned()).unwrap();
            verifier.verify_server_cert(certificate, &[], &name, &[], now).map(drop)
        };
        assert_eq!(ask(&own, "hook.example", UnixTime::now()), Ok(()));
        assert!(ask(&own, "other.example", UnixTime::now()).is_err());
        let far = UnixTime::since_unix_epoch(std::time::Duration::from_hours(24 * 365 * 3000));
        assert!(ask(&own, "hook.example", far).is_err());
        assert!(ask(&other, "hook.example", UnixTime::now()).is_err());
    }
}
