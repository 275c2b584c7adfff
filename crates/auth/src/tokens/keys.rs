//! Keys of tokens: one that signs, and all whose signatures count, with how they are published (RFC 7517).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ironclad_json::{Value, json};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use rcgen::{KeyPair, PublicKeyData};
use sha2::{Digest, Sha256};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

type Result<T> = std::result::Result<T, String>;

/// A key whose signatures count.
pub(crate) struct Known {
    pub(crate) id: String,
    pub(crate) algorithm: Algorithm,
    pub(crate) decoding: DecodingKey,
    pub(crate) published: Value,
}

/// The key that signs.
pub(crate) struct Signer {
    pub(crate) id: String,
    pub(crate) algorithm: Algorithm,
    pub(crate) encoding: EncodingKey,
}

fn name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::ES384 => "ES384",
        Algorithm::RS256 => "RS256",
        _ => "ES256",
    }
}

fn known(spki: &[u8]) -> Result<Known> {
    let (_, parsed) = SubjectPublicKeyInfo::from_der(spki).map_err(|e| format!("it is no public key: {e}"))?;
    let id = URL_SAFE_NO_PAD.encode(Sha256::digest(spki));
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let failed = |e: jsonwebtoken::errors::Error| e.to_string();
    match parsed.parsed().map_err(|e| e.to_string())? {
        PublicKey::EC(point) => {
            let data = point.data();
            let (algorithm, curve, length) = match data.len() {
                65 => (Algorithm::ES256, "P-256", 32),
                97 => (Algorithm::ES384, "P-384", 48),
                _ => return Err("its curve is neither P-256 nor P-384".to_owned()),
            };
            let (x, y) = (encode(&data[1..=length]), encode(&data[1 + length..]));
            let decoding = DecodingKey::from_ec_components(&x, &y).map_err(failed)?;
            let published =
                json!({"use": "sig", "kty": "EC", "kid": id, "alg": name(algorithm), "crv": curve, "x": x, "y": y});
            Ok(Known { id, algorithm, decoding, published })
        }
        PublicKey::RSA(key) => {
            let plain = |bytes: &[u8]| encode(&bytes[bytes.iter().position(|b| *b != 0).unwrap_or(0)..]);
            let (n, e) = (plain(key.modulus), plain(key.exponent));
            let decoding = DecodingKey::from_rsa_components(&n, &e).map_err(failed)?;
            let published = json!({"use": "sig", "kty": "RSA", "kid": id, "alg": "RS256", "n": n, "e": e});
            Ok(Known { id, algorithm: Algorithm::RS256, decoding, published })
        }
        _ => Err("it is neither an RSA nor an ECDSA key".to_owned()),
    }
}

/// The key that signs, and what its signatures are checked with, from a private key as PEM.
pub(crate) fn signer(pem: &str) -> Result<(Signer, Known)> {
    let pair = KeyPair::from_pem(pem).map_err(|e| e.to_string())?;
    let known = known(&pair.subject_public_key_info())?;
    let der = pair.serialize_pem();
    let encoding = match known.algorithm {
        Algorithm::RS256 => EncodingKey::from_rsa_pem(der.as_bytes()),
        _ => EncodingKey::from_ec_pem(der.as_bytes()),
    };
    let encoding = encoding.map_err(|e| e.to_string())?;
    Ok((Signer { id: known.id.clone(), algorithm: known.algorithm, encoding }, known))
}

/// Every key of a file with public keys, certificates or private keys, as PEM.
pub(crate) fn public(text: &str) -> Result<Vec<Known>> {
    let blocks = pem::parse_many(text).map_err(|e| e.to_string())?;
    let mut out = Vec::new();
    for block in blocks {
        match block.tag() {
            "PUBLIC KEY" => out.push(known(block.contents())?),
            "CERTIFICATE" => {
                let (_, parsed) = x509_parser::parse_x509_certificate(block.contents()).map_err(|e| e.to_string())?;
                out.push(known(parsed.public_key().raw)?);
            }
            "PRIVATE KEY" | "EC PRIVATE KEY" | "RSA PRIVATE KEY" => out.push(signer(&pem::encode(&block))?.1),
            // Parameters of a curve stand before its key.
            "EC PARAMETERS" => {}
            other => return Err(format!("the PEM block {other:?} is no key")),
        }
    }
    if out.is_empty() { Err("data does not contain any valid RSA or ECDSA public keys".to_owned()) } else { Ok(out) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_every_sort_are_published() {
        let make = |args: &[&str]| {
            let out = std::process::Command::new("openssl").args(args).output().unwrap();
            String::from_utf8(out.stdout).unwrap()
        };
        let rsa = make(&["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]);
        let (signer, known) = signer(&rsa).unwrap();
        assert_eq!((known.published["alg"].as_str(), known.published["e"].as_str()), (Some("RS256"), Some("AQAB")));
        assert_eq!(signer.id, public(&rsa).unwrap()[0].id);
        let p384 = make(&["genpkey", "-quiet", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]);
        assert_eq!(public(&p384).unwrap()[0].published["crv"], "P-384");
        assert!(public("nothing").is_err());
    }
}
