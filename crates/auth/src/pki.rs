//! The cluster's certificates and keys, made at the first start and renewed at later ones.
//!
//! Invariants: keys are files of mode 0600 in a directory of mode 0700, written whole or not at all; a certificate is
//! renewed when it nears its end or when the addresses that it must name have changed.

mod der;
mod sign;
mod verify;

pub use sign::{Requested, requested};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const CA_LIFE: Duration = Duration::from_hours(10 * 365 * 24);
const LEAF_LIFE: Duration = Duration::from_hours(365 * 24);
/// What is left of a certificate's life when it is renewed.
const RENEW: Duration = Duration::from_hours(90 * 24);

/// What goes wrong with certificates.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or written.
    #[error("cannot use {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A certificate cannot be made.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// A file holds no certificate or key.
    #[error("{0} holds no certificate or key: {1}")]
    Parse(PathBuf, String),
    /// TLS does not take it.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
}

type Result<T> = std::result::Result<T, Error>;

/// Who a certificate is for.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// Common name: the user.
    pub name: String,
    /// Organization: the group, or empty.
    pub group: String,
    /// Addresses and DNS names of a server; empty for a client.
    pub names: Vec<String>,
}

impl Subject {
    /// A client with this user and group.
    pub fn client(name: &str, group: &str) -> Self {
        Self { name: name.to_owned(), group: group.to_owned(), names: Vec::new() }
    }

    /// A server under these names.
    pub fn server(name: &str, group: &str, names: Vec<String>) -> Self {
        Self { name: name.to_owned(), group: group.to_owned(), names }
    }
}

/// A certificate with its key, as PEM.
#[derive(Clone)]
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

/// The directory of the cluster's certificates.
pub struct Pki {
    dir: PathBuf,
    ca: Pair,
}

impl Pki {
    /// Opens the directory, making it and the cluster's authority at the first start.
    pub fn open_or_create(dir: &Path, cluster: &str) -> Result<Self> {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|source| Error::File { path: dir.to_owned(), source })?;
        let ca = match load(dir, "ca")? {
            Some(pair) => pair,
            None => {
                let pair = authority(&format!("{cluster}-ca"))?;
                store(dir, "ca", &pair)?;
                pair
            }
        };
        Ok(Self { dir: dir.to_owned(), ca })
    }

    /// The authority's certificate, as PEM.
    pub fn ca(&self) -> &str {
        &self.ca.certificate
    }

    /// The certificate called `file`: the one that is kept while it is good, else a new one.
    pub fn issue(&self, file: &str, subject: &Subject) -> Result<Pair> {
        if let Some(pair) = load(&self.dir, file)?
            && still_good(&pair.certificate, subject)
        {
            return Ok(pair);
        }
        let pair = self.sign(subject)?;
        store(&self.dir, file, &pair)?;
        Ok(pair)
    }

    fn sign(&self, subject: &Subject) -> Result<Pair> {
        let issuer = Issuer::from_ca_cert_pem(&self.ca.certificate, KeyPair::from_pem(&self.ca.key)?)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = name(&subject.name, &subject.group);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.use_authority_key_identifier_extension = true;
        lifetime(&mut params, LEAF_LIFE);
        if subject.names.is_empty() {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        } else {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params.subject_alt_names = subject.names.iter().map(|n| san(n)).collect::<std::result::Result<_, _>>()?;
        }
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?;
        Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// The key with which tokens of service accounts are signed, as PEM.
    pub fn token_key(&self) -> Result<String> {
        let path = self.dir.join("sa.key");
        match std::fs::read_to_string(&path) {
            Ok(key) => Ok(key),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let key = KeyPair::generate()?.serialize_pem();
                write(&path, &key)?;
                Ok(key)
            }
            Err(source) => Err(Error::File { path, source }),
        }
    }

    /// The authority of front proxies, which is none of the cluster's, with the certificate of the server's own.
    pub fn front_proxy(&self) -> Result<(String, Pair)> {
        let dir = self.dir.join("front-proxy");
        let authority = Self::open_or_create(&dir, "front-proxy")?;
        let client = authority.issue("client", &Subject::client("front-proxy-client", ""))?;
        Ok((authority.ca.certificate, client))
    }

    /// TLS for a server that asks clients for a certificate of the cluster, and takes clients without one too.
    pub fn server_tls(&self, pair: &Pair) -> Result<Arc<ServerConfig>> {
        server_tls(pair, &self.ca.certificate)
    }

    /// TLS for a client with a certificate, towards servers of the cluster.
    pub fn client_tls(&self, pair: &Pair) -> Result<Arc<ClientConfig>> {
        client_tls(pair, Some(&self.ca.certificate))
    }

    /// An authority that others keep, to sign with.
    pub fn of_authority(ca: Pair) -> Self {
        Self { dir: PathBuf::new(), ca }
    }

    /// A certificate of an authority that nobody else knows and that is forgotten at once.
    pub fn alone(subject: &Subject) -> Result<Pair> {
        Self::of_authority(authority(&subject.name)?).sign(subject)
    }
}

/// TLS for the API server: clients may show any certificate whose key they have, of which the authenticators make
/// what they trust; `hints` are the authorities that clients are told of.
pub fn api_tls(pair: &Pair, hints: &str) -> Result<Arc<ServerConfig>> {
    let inner = verifier(hints)?;
    let (chain, key) = parts(pair)?;
    let mut config = ServerConfig::builder()
        .with_client_cert_verifier(Arc::new(verify::AnyClient(inner)))
        .with_single_cert(chain, key)
        .map_err(|e| Error::Tls(e.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// TLS for a server that asks clients for a certificate of one of the authorities (PEM), and takes clients without one.
pub fn server_tls(pair: &Pair, authorities: &str) -> Result<Arc<ServerConfig>> {
    let shown = Shown::default();
    shown.show(pair)?;
    shown_tls(Arc::new(shown), authorities)
}

/// The same with whatever certificate is shown at the time.
pub fn shown_tls(shown: Arc<Shown>, authorities: &str) -> Result<Arc<ServerConfig>> {
    let tls = |e: &dyn std::fmt::Display| Error::Tls(e.to_string());
    let roots = roots(authorities)?;
    let builder = ServerConfig::builder();
    let builder = if roots.is_empty() {
        builder.with_no_client_auth()
    } else {
        let verifier = WebPkiClientVerifier::builder(roots).allow_unauthenticated().build().map_err(|e| tls(&e))?;
        builder.with_client_cert_verifier(verifier)
    };
    let mut config = builder.with_cert_resolver(shown);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// TLS for a client with a certificate, towards servers that one of the authorities (PEM) knows; without authorities
/// towards anybody.
pub fn client_tls(pair: &Pair, authorities: Option<&str>) -> Result<Arc<ClientConfig>> {
    let (chain, key) = parts(pair)?;
    let config = match authorities {
        Some(pem) => ClientConfig::builder().with_root_certificates(roots(pem)?).with_client_auth_cert(chain, key),
        None => ironclad_remote::unverified_as(chain, key),
    };
    config.map(Arc::new).map_err(|e| Error::Tls(e.to_string()))
}

/// A certificate and its key from files of others.
pub fn read_pair(certificate: &Path, key: &Path) -> Result<Pair> {
    let read =
        |path: &Path| std::fs::read_to_string(path).map_err(|source| Error::File { path: path.to_owned(), source });
    let pair = Pair { certificate: read(certificate)?, key: read(key)? };
    if certificates(&pair.certificate).is_empty() {
        return Err(Error::Parse(certificate.to_owned(), "there is no PEM block CERTIFICATE".to_owned()));
    }
    PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).map_err(|e| Error::Parse(key.to_owned(), e.to_string()))?;
    Ok(pair)
}

/// A request (PEM) for a certificate, and its key.
pub fn request(subject: &Subject) -> Result<(String, String)> {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(&subject.name, &subject.group);
    for name in &subject.names {
        params.subject_alt_names.push(match name.parse::<IpAddr>() {
            Ok(ip) => SanType::IpAddress(ip),
            Err(_) => SanType::DnsName(name.as_str().try_into()?),
        });
    }
    let key = KeyPair::generate()?;
    Ok((params.serialize_request(&key)?.pem()?, key.serialize_pem()))
}

/// Until when a certificate is good.
pub fn ends(der: &[u8]) -> Option<SystemTime> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// From when to when the first certificate of a text (PEM) is good.
pub fn validity(pem: &str) -> Option<(SystemTime, SystemTime)> {
    let der = certificates(pem).into_iter().next()?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).ok()?;
    let at = |time: x509_parser::time::ASN1Time| {
        let seconds = u64::try_from(time.timestamp()).ok()?;
        Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
    };
    Some((at(certificate.validity().not_before)?, at(certificate.validity().not_after)?))
}

/// The certificate that a server shows now; there may be none yet.
#[derive(Debug, Default)]
pub struct Shown(parking_lot::Mutex<Option<Arc<rustls::sign::CertifiedKey>>>);

impl Shown {
    /// Shows another one from now on.
    pub fn show(&self, pair: &Pair) -> Result<()> {
        let (chain, key) = parts(pair)?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let key = rustls::sign::CertifiedKey::from_der(chain, key, &provider).map_err(|e| Error::Tls(e.to_string()))?;
        *self.0.lock() = Some(Arc::new(key));
        Ok(())
    }
}

impl rustls::server::ResolvesServerCert for Shown {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<rustls::sign::CertifiedKey>> {
        self.0.lock().clone()
    }
}

fn roots(pem: &str) -> Result<Arc<RootCertStore>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem) {
        roots.add(certificate).map_err(|e| Error::Tls(e.to_string()))?;
    }
    Ok(Arc::new(roots))
}

/// What trusts client certificates that one of the authorities (PEM) has signed.
pub fn verifier(authorities: &str) -> Result<Arc<dyn ClientCertVerifier>> {
    let builder = WebPkiClientVerifier::builder(roots(authorities)?);
    builder.build().map(|v| v as Arc<dyn ClientCertVerifier>).map_err(|e| Error::Tls(e.to_string()))
}

fn parts(pair: &Pair) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).map_err(|e| Error::Tls(e.to_string()))?;
    Ok((certificates(&pair.certificate), key))
}

fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).flatten().collect()
}

/// Whether a text holds certificates, and all of them can be read; the error is worded as stock words it.
pub(crate) fn certificates_in(pem: &str) -> std::result::Result<(), &'static str> {
    match certificates(pem).as_slice() {
        [] => Err("data does not contain any valid RSA or ECDSA certificates"),
        all if all.iter().all(|der| x509_parser::parse_x509_certificate(der).is_ok()) => Ok(()),
        _ => Err("x509: malformed certificate"),
    }
}

fn name(common: &str, organization: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if !organization.is_empty() {
        name.push(DnType::OrganizationName, organization);
    }
    name.push(DnType::CommonName, common);
    name
}

fn san(text: &str) -> std::result::Result<SanType, rcgen::Error> {
    match text.parse::<IpAddr>() {
        Ok(ip) => Ok(SanType::IpAddress(ip)),
        Err(_) => Ok(SanType::DnsName(text.try_into()?)),
    }
}

/// The organizations that a certificate request (PEM) asks for; `None` when it is no request.
pub fn organizations_of_request(pem: &[u8]) -> Option<Vec<String>> {
    use x509_parser::prelude::FromDer;
    let block = pem::parse(pem).ok().filter(|b| b.tag() == "CERTIFICATE REQUEST")?;
    let (_, request) = x509_parser::certification_request::X509CertificationRequest::from_der(block.contents()).ok()?;
    let subject = &request.certification_request_info.subject;
    Some(subject.iter_organization().filter_map(|o| o.as_str().ok().map(str::to_owned)).collect())
}

fn lifetime(params: &mut CertificateParams, life: Duration) {
    let now = SystemTime::now();
    // Clocks of clients may be a little behind.
    params.not_before = (now - Duration::from_mins(5)).into();
    params.not_after = (now + life).into();
}

fn authority(common: &str) -> Result<Pair> {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(common, "");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    lifetime(&mut params, CA_LIFE);
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// Whether a certificate lives long enough and names everything that it must.
fn still_good(pem: &str, subject: &Subject) -> bool {
    let Some(der) = certificates(pem).into_iter().next() else { return false };
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(&der) else { return false };
    let left = certificate.validity().time_to_expiration().map_or(0, |d| d.whole_seconds());
    if left < RENEW.as_secs() as i64 {
        return false;
    }
    let mut named: Vec<String> = Vec::new();
    if let Ok(Some(names)) = certificate.subject_alternative_name() {
        for name in &names.value.general_names {
            match name {
                x509_parser::extensions::GeneralName::DNSName(dns) => named.push((*dns).to_owned()),
                x509_parser::extensions::GeneralName::IPAddress(bytes) => {
                    let ip = match **bytes {
                        [a, b, c, d] => Some(IpAddr::from([a, b, c, d])),
                        _ => <[u8; 16]>::try_from(*bytes).ok().map(IpAddr::from),
                    };
                    named.extend(ip.map(|ip| ip.to_string()));
                }
                _ => {}
            }
        }
    }
    subject.names.iter().all(|n| named.contains(n))
}

fn load(dir: &Path, file: &str) -> Result<Option<Pair>> {
    let read = |ending: &str| {
        let path = dir.join(format!("{file}.{ending}"));
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::File { path, source }),
        }
    };
    Ok(read("crt")?.zip(read("key")?).map(|(certificate, key)| Pair { certificate, key }))
}

fn store(dir: &Path, file: &str, pair: &Pair) -> Result<()> {
    // The key first: a certificate without its key would be taken for whole.
    write(&dir.join(format!("{file}.key")), &pair.key)?;
    write(&dir.join(format!("{file}.crt")), &pair.certificate)
}

/// Writes a private file whole or not at all.
pub fn write(path: &Path, text: &str) -> Result<()> {
    let fresh = path.with_extension("new");
    let put = || -> std::io::Result<()> {
        let mut file = std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)
    };
    put().map_err(|source| Error::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn certificates_are_kept_and_renewed_when_names_change() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open_or_create(dir.path(), "test").unwrap();
        let names =
            |more: &[&str]| [&["localhost", "127.0.0.1"], more].concat().iter().map(|s| (*s).to_owned()).collect();
        let first = pki.issue("apiserver", &Subject::server("kube-apiserver", "", names(&[]))).unwrap();
        let pki = Pki::open_or_create(dir.path(), "test").unwrap();
        let second = pki.issue("apiserver", &Subject::server("kube-apiserver", "", names(&[]))).unwrap();
        assert_eq!(first.certificate, second.certificate);
        let third = pki.issue("apiserver", &Subject::server("kube-apiserver", "", names(&["10.0.0.9"]))).unwrap();
        assert_ne!(first.certificate, third.certificate);
        let mode = std::fs::metadata(dir.path().join("ca.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn server_and_client_trust_each_other() {
        crate::install_crypto();
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open_or_create(dir.path(), "test").unwrap();
        let server = pki.issue("s", &Subject::server("s", "", vec!["localhost".into()])).unwrap();
        let client = pki.issue("c", &Subject::client("bob", "devs")).unwrap();
        let mut server = rustls::ServerConnection::new(pki.server_tls(&server).unwrap()).unwrap();
        let name = "localhost".try_into().unwrap();
        let mut client = rustls::ClientConnection::new(pki.client_tls(&client).unwrap(), name).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut wire.as_slice()).unwrap();
            server.process_new_packets().unwrap();
            let mut wire = Vec::new();
            server.write_tls(&mut wire).unwrap();
            client.read_tls(&mut wire.as_slice()).unwrap();
            client.process_new_packets().unwrap();
        }
        let chain: Vec<_> = server.peer_certificates().unwrap().to_vec();
        let user = crate::certificates::user(&chain[0]).unwrap();
        assert_eq!((user.name.as_str(), user.is_in("devs")), ("bob", true));
    }
}
