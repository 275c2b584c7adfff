//! Signing certificate requests: the subject, the key and the names are the request's, byte for byte; what the
//! certificate is good for, and for how long, is the signer's.

use super::{Error, Pki, Result, certificates, der};
use jiff::Timestamp;
use rcgen::{KeyPair, SigningKey};
use sha2::{Digest, Sha256};
use std::time::Duration;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;

const SUBJECT_ALT_NAME: &[u64] = &[2, 5, 29, 17];
const KEY_USAGE: &[u64] = &[2, 5, 29, 15];
const EXT_KEY_USAGE: &[u64] = &[2, 5, 29, 37];
const BASIC_CONSTRAINTS: &[u64] = &[2, 5, 29, 19];
const AUTHORITY_KEY_ID: &[u64] = &[2, 5, 29, 35];
const ECDSA_SHA256: &[u64] = &[1, 2, 840, 10045, 4, 3, 2];
const ECDSA_SHA384: &[u64] = &[1, 2, 840, 10045, 4, 3, 3];
const RSA_SHA256: &[u64] = &[1, 2, 840, 113_549, 1, 1, 11];
const ED25519: &[u64] = &[1, 3, 101, 112];
/// Clocks of others may be behind by this much.
const BACKDATE: Duration = Duration::from_mins(5);
/// Up to this life the backdate is added, not taken off.
const SHORT: Duration = Duration::from_hours(8);

/// What a request asks for, as far as signers look at it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of X.509")]
pub struct Requested {
    pub common_name: String,
    pub organizations: Vec<String>,
    pub dns_names: Vec<String>,
    pub ip_addresses: usize,
    pub emails: usize,
    pub uris: usize,
}

fn parse(pem: &[u8]) -> Result<Vec<u8>> {
    let bad = |why: String| Error::Parse("certificate request".into(), why);
    let block = pem::parse(pem).map_err(|e| bad(e.to_string()))?;
    if block.tag() != "CERTIFICATE REQUEST" {
        return Err(bad("PEM block type must be CERTIFICATE REQUEST".to_owned()));
    }
    Ok(block.into_contents())
}

/// Reads a request (PEM) and checks that its sender has its key.
pub fn requested(pem: &[u8]) -> Result<Requested> {
    use x509_parser::extensions::GeneralName;
    let contents = parse(pem)?;
    let bad = |why: String| Error::Parse("certificate request".into(), why);
    let (_, request) = X509CertificationRequest::from_der(&contents).map_err(|e| bad(e.to_string()))?;
    request.verify_signature().map_err(|e| bad(e.to_string()))?;
    let subject = &request.certification_request_info.subject;
    let text = |a: &x509_parser::x509::AttributeTypeAndValue<'_>| a.as_str().unwrap_or_default().to_owned();
    let mut out = Requested {
        common_name: subject.iter_common_name().next().map(text).unwrap_or_default(),
        organizations: subject.iter_organization().map(text).collect(),
        ..Requested::default()
    };
    for extension in request.requested_extensions().into_iter().flatten() {
        let ParsedExtension::SubjectAlternativeName(names) = extension else { continue };
        for name in &names.general_names {
            match name {
                GeneralName::DNSName(dns) => out.dns_names.push((*dns).to_owned()),
                GeneralName::IPAddress(_) => out.ip_addresses += 1,
                GeneralName::RFC822Name(_) => out.emails += 1,
                GeneralName::URI(_) => out.uris += 1,
                _ => {}
            }
        }
    }
    Ok(out)
}

/// The bit of a key usage, or the purpose, that the API names so.
fn usage(name: &str) -> Option<std::result::Result<u8, &'static [u64]>> {
    Some(match name {
        "signing" | "digital signature" => Ok(0),
        "content commitment" => Ok(1),
        "key encipherment" => Ok(2),
        "data encipherment" => Ok(3),
        "key agreement" => Ok(4),
        "cert sign" => Ok(5),
        "crl sign" => Ok(6),
        "encipher only" => Ok(7),
        "decipher only" => Ok(8),
        "any" => Err(&[2, 5, 29, 37, 0]),
        "server auth" => Err(&[1, 3, 6, 1, 5, 5, 7, 3, 1]),
        "client auth" => Err(&[1, 3, 6, 1, 5, 5, 7, 3, 2]),
        "code signing" => Err(&[1, 3, 6, 1, 5, 5, 7, 3, 3]),
        "email protection" | "s/mime" => Err(&[1, 3, 6, 1, 5, 5, 7, 3, 4]),
        "ipsec end system" => Err(&[1, 3, 6, 1, 5, 5, 7, 3, 5]),
        "ipsec tunnel" => Err(&[1, 3, 6, 1, 5, 5, 7, 3, 6]),
        "ipsec user" => Err(&[1, 3, 6, 1, 5, 5, 7, 3, 7]),
        "timestamping" => Err(&[1, 3, 6, 1, 5, 5, 7, 3, 8]),
        "ocsp signing" => Err(&[1, 3, 6, 1, 5, 5, 7, 3, 9]),
        "microsoft sgc" => Err(&[1, 3, 6, 1, 4, 1, 311, 10, 3, 3]),
        "netscape sgc" => Err(&[2, 16, 840, 1, 113_730, 4, 1]),
        _ => return None,
    })
}

fn extension(id: &[u64], critical: bool, value: &[u8]) -> Vec<u8> {
    let mut parts = vec![der::oid(id)];
    if critical {
        parts.push(der::yes());
    }
    parts.push(der::tagged(der::OCTET_STRING, value));
    der::sequence(&parts)
}

/// When a certificate of this life begins and ends; never behind its authority.
fn validity(now: Timestamp, life: Duration, authority_ends: Timestamp) -> (Timestamp, Timestamp) {
    let begin = now - BACKDATE;
    let end = if life <= SHORT { now + life } else { now + life - BACKDATE };
    (begin, end.min(authority_ends))
}

/// How a key signs, as certificates say it.
fn algorithm(key: &KeyPair) -> Result<Vec<u8>> {
    let used = key.algorithm();
    let id = match used {
        _ if used == &rcgen::PKCS_ECDSA_P256_SHA256 => ECDSA_SHA256,
        _ if used == &rcgen::PKCS_ECDSA_P384_SHA384 => ECDSA_SHA384,
        _ if used == &rcgen::PKCS_ED25519 => ED25519,
        _ if used == &rcgen::PKCS_RSA_SHA256 => {
            return Ok(der::sequence(&[der::oid(RSA_SHA256), der::tagged(der::NULL, &[])]));
        }
        _ => return Err(Error::Parse("ca.key".into(), format!("keys of the sort {used:?} cannot sign here"))),
    };
    Ok(der::sequence(&[der::oid(id)]))
}

impl Pki {
    /// Signs a request (PEM) for these usages and this life; the answer is PEM.
    pub fn sign_request(&self, pem: &[u8], usages: &[String], life: Duration) -> Result<String> {
        let contents = parse(pem)?;
        let bad = |why: String| Error::Parse("certificate request".into(), why);
        let (_, request) = X509CertificationRequest::from_der(&contents).map_err(|e| bad(e.to_string()))?;
        request.verify_signature().map_err(|e| bad(e.to_string()))?;
        let info = &request.certification_request_info;
        let authority = certificates(&self.ca.certificate).into_iter().next();
        let authority = authority.ok_or_else(|| Error::Parse("ca.crt".into(), "no certificate".into()))?;
        let (_, authority) = x509_parser::parse_x509_certificate(&authority)
            .map_err(|e| Error::Parse("ca.crt".into(), e.to_string()))?;
        let ends = Timestamp::from_second(authority.validity().not_after.timestamp()).unwrap_or(Timestamp::MAX);
        let (begin, end) = validity(Timestamp::now(), life, ends);
        let mut serial: [u8; 16] = [0; 16];
        aws_lc_rs::rand::fill(&mut serial).map_err(|_| bad("the system has no randomness".to_owned()))?;
        serial[0] &= 0x7f;
        let key = KeyPair::from_pem(&self.ca.key)?;
        let algorithm = algorithm(&key)?;
        let parts = [
            der::tagged(0xa0, &der::integer(&[2])),
            der::integer(&serial),
            algorithm.clone(),
            authority.subject().as_raw().to_vec(),
            der::sequence(&[der::time(begin), der::time(end)]),
            info.subject.as_raw().to_vec(),
            info.subject_pki.raw.to_vec(),
            der::tagged(0xa3, &der::sequence(&extensions(&request, &authority, usages))),
        ];
        let body = der::sequence(&parts);
        let signature = key.sign(&body)?;
        let whole = der::sequence(&[body, algorithm, der::bits(&signature)]);
        Ok(pem::encode_config(
            &pem::Pem::new("CERTIFICATE", whole),
            pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF),
        ))
    }
}

fn extensions(
    request: &X509CertificationRequest<'_>,
    authority: &x509_parser::certificate::X509Certificate<'_>,
    usages: &[String],
) -> Vec<Vec<u8>> {
    let (mut bits, mut purposes) = (Vec::new(), Vec::new());
    for found in usages.iter().filter_map(|u| usage(u)) {
        match found {
            Ok(bit) => bits.push(bit),
            Err(purpose) => purposes.push(der::oid(purpose)),
        }
    }
    let mut out = Vec::new();
    if !bits.is_empty() {
        out.push(extension(KEY_USAGE, true, &der::named_bits(&bits)));
    }
    if !purposes.is_empty() {
        purposes.sort();
        purposes.dedup();
        out.push(extension(EXT_KEY_USAGE, false, &der::sequence(&purposes)));
    }
    out.push(extension(BASIC_CONSTRAINTS, true, &der::sequence(&[])));
    out.push(extension(AUTHORITY_KEY_ID, false, &der::sequence(&[der::tagged(0x80, &key_id(authority))])));
    let names = request.certification_request_info.iter_attributes();
    for attribute in names {
        let x509_parser::cri_attributes::ParsedCriAttribute::ExtensionRequest(wanted) = attribute.parsed_attribute()
        else {
            continue;
        };
        let names = wanted.extensions.iter().find(|e| e.oid.to_id_string() == "2.5.29.17");
        out.extend(names.map(|e| extension(SUBJECT_ALT_NAME, e.critical, e.value)));
    }
    out
}

/// The authority's key, as its own certificate names it.
fn key_id(authority: &x509_parser::certificate::X509Certificate<'_>) -> Vec<u8> {
    for extension in authority.extensions() {
        if let ParsedExtension::SubjectKeyIdentifier(id) = extension.parsed_extension() {
            return id.0.to_vec();
        }
    }
    Sha256::digest(authority.public_key().raw)[..20].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_signed_with_all_its_groups_and_names() {
        crate::install_crypto();
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open_or_create(dir.path(), "test").unwrap();
        let out = std::process::Command::new("openssl")
            .args(["req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/O=devs/O=ops/CN=jane"])
            .args(["-addext", "subjectAltName=DNS:a.example,IP:10.0.0.1", "-keyout", "/dev/null"])
            .output()
            .unwrap();
        let pem = out.stdout;
        let asked = requested(&pem).unwrap();
        assert_eq!((asked.common_name.as_str(), asked.organizations.len(), asked.ip_addresses), ("jane", 2, 1));
        let usages = ["digital signature".to_owned(), "client auth".to_owned()];
        let signed = pki.sign_request(&pem, &usages, Duration::from_hours(1)).unwrap();
        let chain = certificates(&signed);
        let verifier = crate::pki::verifier(pki.ca()).unwrap();
        crate::certificates::trusted(&*verifier, &chain).unwrap();
        let user = crate::certificates::user(&chain[0]).unwrap();
        assert_eq!(user.groups, ["devs", "ops", "system:authenticated"]);
        let (_, parsed) = x509_parser::parse_x509_certificate(&chain[0]).unwrap();
        let life = parsed.validity().not_after.timestamp() - parsed.validity().not_before.timestamp();
        assert_eq!(life, 3900);
        assert!(parsed.subject_alternative_name().unwrap().unwrap().value.general_names.len() == 2);
        let server = pki.sign_request(&pem, &["server auth".to_owned()], Duration::from_hours(1)).unwrap();
        assert!(crate::certificates::trusted(&*verifier, &certificates(&server)).is_err(), "it is for servers");
        let mut broken = pem::parse(&pem).unwrap().into_contents();
        let last = broken.len() - 1;
        broken[last] ^= 1;
        let broken = pem::encode(&pem::Pem::new("CERTIFICATE REQUEST", broken));
        assert!(
            pki.sign_request(broken.as_bytes(), &usages, Duration::from_hours(1)).is_err(),
            "signed by another key"
        );
    }

    #[test]
    fn authorities_of_every_sort_sign_by_their_own_keys() {
        crate::install_crypto();
        let dir = tempfile::tempdir().unwrap();
        let run = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let out = std::process::Command::new("openssl").args(words).current_dir(dir.path()).output().unwrap();
            assert!(out.status.success(), "{line}: {}", String::from_utf8_lossy(&out.stderr));
        };
        run("req -new -newkey rsa:2048 -nodes -subj /O=devs/CN=jane -keyout other.key -out request.pem");
        let request = std::fs::read(dir.path().join("request.pem")).unwrap();
        for make in [
            "genpkey -algorithm rsa -pkeyopt rsa_keygen_bits:2048 -out ca.key",
            "genrsa -traditional -out ca.key 2048",
            "ecparam -name prime256v1 -genkey -noout -out ca.key",
            "genpkey -algorithm ec -pkeyopt ec_paramgen_curve:P-384 -out ca.key",
            "genpkey -algorithm ed25519 -out ca.key",
        ] {
            run(make);
            run("req -x509 -new -key ca.key -days 10 -subj /CN=ca -out ca.crt");
            let pair = crate::pki::read_pair(&dir.path().join("ca.crt"), &dir.path().join("ca.key")).unwrap();
            let pki = Pki::of_authority(pair);
            let usages = ["digital signature".to_owned(), "client auth".to_owned()];
            let signed = pki.sign_request(&request, &usages, Duration::from_hours(1)).unwrap();
            let verifier = crate::pki::verifier(pki.ca()).unwrap();
            crate::certificates::trusted(&*verifier, &certificates(&signed)).unwrap_or_else(|_| panic!("{make}"));
        }
    }

    #[test]
    fn a_certificate_ends_with_its_authority() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let (hour, year) = (Duration::from_hours(1), Duration::from_hours(365 * 24));
        assert_eq!(validity(now, hour, Timestamp::MAX), (now - BACKDATE, now + hour));
        assert_eq!(validity(now, year, Timestamp::MAX).1, now + year - BACKDATE);
        assert_eq!(validity(now, year, now + hour).1, now + hour);
    }
}
