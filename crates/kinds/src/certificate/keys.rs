//! The key that a pod's certificate is asked for: in a signing request, or bare with a proof that the kubelet has it, as
//! only v1beta1 allows.
//!
//! Invariant: nobody gets a certificate for a key that they did not sign with.

use crate::csr::{P256, P384, P521};
use crate::read::text;
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P521_SHA256_ASN1, RSA_PSS_2048_8192_SHA256,
    UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ironclad_api::{ErrorList, FieldError, Path};
use ironclad_json::Value;
use x509_parser::prelude::{FromDer, X509CertificationRequest};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

const LARGEST: usize = 10 << 10;
const ED25519: &str = "1.3.101.112";
const UNKNOWN: &str = "unknown public key type; supported types are Ed25519, ECDSA, and RSA";

fn bytes(spec: &Value, field: &str) -> Vec<u8> {
    // That it is base64 was checked with its type.
    STANDARD.decode(text(spec, &[field])).unwrap_or_default()
}

/// What holds for the key of a request.
pub(super) fn asked(spec: &Value, at: &Path, errors: &mut ErrorList) {
    let [stub, key, proof] =
        ["stubPKCS10Request", "pkixPublicKey", "proofOfPossession"].map(|field| bytes(spec, field));
    match (stub.is_empty(), key.is_empty(), proof.is_empty()) {
        (false, true, true) => in_request(&stub, &at.child("stubPKCS10Request"), errors),
        (true, false, false) => bare(spec, (&key, &proof), at, errors),
        _ => {
            let why = "exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set";
            errors.push(FieldError::invalid_shown(at, "", why));
        }
    }
}

/// Whether a certificate is for the key that was asked for, both as SubjectPublicKeyInfo.
pub(super) fn is_for(spec: &Value, key: &[u8]) -> bool {
    let stub = bytes(spec, "stubPKCS10Request");
    if stub.is_empty() {
        return bytes(spec, "pkixPublicKey") == key;
    }
    X509CertificationRequest::from_der(&stub).is_ok_and(|(_, r)| r.certification_request_info.subject_pki.raw == key)
}

fn in_request(der: &[u8], at: &Path, errors: &mut ErrorList) {
    if der.len() > LARGEST {
        errors.push(FieldError::too_long(at, LARGEST));
        return;
    }
    let mut wrong = |shown: &str, why: &str| errors.push(FieldError::invalid_shown(at, shown, why));
    let Ok(([], request)) = X509CertificationRequest::from_der(der) else {
        return wrong("", "must be a valid PKCS#10 CSR");
    };
    match Sort::of(&request.certification_request_info.subject_pki) {
        Err(Weak::Curve(name)) => {
            wrong(&format!("{:?}", format!("curve {name}")), "elliptic public keys must use curve P256, P384, or P521");
        }
        Err(Weak::Modulus(bits)) => {
            wrong(&format!("\"{bits}-bit modulus\""), "RSA keys must have modulus size 3072 or 4096");
        }
        Err(Weak::Unknown) => wrong("", UNKNOWN),
        Ok(_) if !crate::csr::has_its_key(&request) => wrong("", "invalid signature"),
        Ok(_) => {}
    }
}

fn bare(spec: &Value, (der, proof): (&[u8], &[u8]), at: &Path, errors: &mut ErrorList) {
    let (key_at, proof_at) = (at.child("pkixPublicKey"), at.child("proofOfPossession"));
    for (at, given) in [(&key_at, der), (&proof_at, proof)] {
        if given.len() > LARGEST {
            errors.push(FieldError::too_long(at, LARGEST));
            return;
        }
    }
    let shown = || format!("{:?}", text(spec, &["pkixPublicKey"]));
    let mut wrong = |shown: String, why: &str| errors.push(FieldError::invalid_shown(&key_at, shown, why));
    let Ok(([], key)) = SubjectPublicKeyInfo::from_der(der) else {
        return wrong(shown(), "must be a valid PKIX-serialized public key");
    };
    match Sort::of(&key) {
        Err(Weak::Curve(name)) => {
            wrong(format!("{:?}", format!("curve {name}")), "elliptic public keys must use curve P256 or P384");
        }
        Err(Weak::Modulus(bits)) => {
            wrong(format!("\"{bits}-bit modulus\""), "RSA keys must have modulus size 3072 or 4096");
        }
        Err(Weak::Unknown) => wrong(shown(), UNKNOWN),
        Ok(sort) => {
            let verifier = UnparsedPublicKey::new(sort.algorithm(), &key.subject_public_key.data);
            if verifier.verify(text(spec, &["podUID"]).as_bytes(), proof).is_err() {
                let why = "could not verify proof-of-possession signature";
                errors.push(FieldError::invalid_shown(&proof_at, "", why));
            }
        }
    }
}

/// Keys that count.
#[derive(Clone, Copy)]
enum Sort {
    Ed25519,
    P256,
    P384,
    P521,
    Rsa,
}

/// Why a key does not count.
enum Weak {
    Curve(String),
    Modulus(usize),
    Unknown,
}

impl Sort {
    fn of(key: &SubjectPublicKeyInfo<'_>) -> Result<Self, Weak> {
        match key.parsed() {
            Ok(PublicKey::RSA(rsa)) => match rsa.key_size() {
                3072 | 4096 => Ok(Self::Rsa),
                other => Err(Weak::Modulus(other)),
            },
            Ok(PublicKey::EC(_)) => match crate::csr::curve(key).as_deref() {
                Some(P256) => Ok(Self::P256),
                Some(P384) => Ok(Self::P384),
                Some(P521) => Ok(Self::P521),
                Some("1.3.132.0.33") => Err(Weak::Curve("P-224".to_owned())),
                _ => Err(Weak::Unknown),
            },
            _ if key.algorithm.algorithm.to_id_string() == ED25519 => Ok(Self::Ed25519),
            _ => Err(Weak::Unknown),
        }
    }

    /// How the proof is signed: over the pod's uid, always with SHA-256 where there is a hash.
    fn algorithm(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Ed25519 => &signature::ED25519,
            Self::P256 => &ECDSA_P256_SHA256_ASN1,
            Self::P384 => &ECDSA_P384_SHA256_ASN1,
            Self::P521 => &ECDSA_P521_SHA256_ASN1,
            Self::Rsa => &RSA_PSS_2048_8192_SHA256,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ironclad_json::json;
    use std::process::Command;

    fn openssl(dir: &std::path::Path, args: &str) {
        let out = Command::new("openssl").args(args.split(' ')).current_dir(dir).output().unwrap();
        assert!(out.status.success(), "{args}: {}", String::from_utf8_lossy(&out.stderr));
    }

    fn said(spec: &Value) -> String {
        let mut errors = ErrorList::new();
        asked(spec, &Path::new("spec"), &mut errors);
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn a_bare_key_needs_the_proof_of_who_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let hashed = "dgst -sha256 -sign key -out proof uid";
        let pss = "dgst -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32 -sign key -out proof uid";
        let weak =
            r#"spec.pkixPublicKey: Invalid value: "2048-bit modulus": RSA keys must have modulus size 3072 or 4096"#;
        let table = [
            ("-algorithm ED25519", "pkeyutl -sign -inkey key -rawin -in uid -out proof", ""),
            ("-algorithm EC -pkeyopt ec_paramgen_curve:P-256", hashed, ""),
            ("-algorithm EC -pkeyopt ec_paramgen_curve:P-384", hashed, ""),
            ("-algorithm EC -pkeyopt ec_paramgen_curve:P-521", hashed, ""),
            ("-algorithm RSA -pkeyopt rsa_keygen_bits:3072", pss, ""),
            ("-algorithm RSA -pkeyopt rsa_keygen_bits:2048", pss, weak),
        ];
        for (generate, sign, why) in table {
            std::fs::write(dir.path().join("uid"), "pod-uid").unwrap();
            openssl(dir.path(), &format!("genpkey {generate} -out key"));
            openssl(dir.path(), "pkey -in key -pubout -outform DER -out public");
            openssl(dir.path(), sign);
            let read = |file: &str| STANDARD.encode(std::fs::read(dir.path().join(file)).unwrap());
            let mut spec =
                json!({"podUID": "pod-uid", "pkixPublicKey": read("public"), "proofOfPossession": read("proof")});
            assert_eq!(said(&spec), why, "{generate}");
            if why.is_empty() {
                assert!(is_for(&spec, &STANDARD.decode(read("public")).unwrap()));
                spec["podUID"] = json!("other");
                assert!(said(&spec).contains("could not verify proof-of-possession signature"), "{generate}");
            }
        }
    }

    #[test]
    fn there_is_a_request_or_a_key_with_its_proof() {
        let only =
            "spec: Invalid value: exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set";
        for spec in [
            json!({}),
            json!({"pkixPublicKey": "a2V5"}),
            json!({"stubPKCS10Request": "a2V5", "proofOfPossession": "a2V5"}),
            json!({"stubPKCS10Request": "a2V5", "pkixPublicKey": "a2V5", "proofOfPossession": "a2V5"}),
        ] {
            assert_eq!(said(&spec), only, "{spec}");
        }
        let bad = json!({"pkixPublicKey": "a2V5", "proofOfPossession": "a2V5"});
        let why = r#"spec.pkixPublicKey: Invalid value: "a2V5": must be a valid PKIX-serialized public key"#;
        assert_eq!(said(&bad), why);
    }
}
