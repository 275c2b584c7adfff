//! Whether the sender of a certificate request has the key that it is for.

use aws_lc_rs::signature::{
    ECDSA_P521_SHA256_ASN1, ECDSA_P521_SHA384_ASN1, ECDSA_P521_SHA512_ASN1, UnparsedPublicKey, VerificationAlgorithm,
};
use x509_parser::prelude::X509CertificationRequest;
use x509_parser::x509::SubjectPublicKeyInfo;

pub(crate) const P256: &str = "1.2.840.10045.3.1.7";
pub(crate) const P384: &str = "1.3.132.0.34";
pub(crate) const P521: &str = "1.3.132.0.35";

/// The curve of an elliptic key.
pub(crate) fn curve(key: &SubjectPublicKeyInfo<'_>) -> Option<String> {
    let parameters = key.algorithm.parameters.as_ref()?;
    parameters.as_oid().ok().map(|oid| oid.to_id_string())
}

/// Checks the request's signature with its own key.
pub(crate) fn has_its_key(request: &X509CertificationRequest<'_>) -> bool {
    let key = &request.certification_request_info.subject_pki;
    // The parser knows no signatures of the largest curve.
    if curve(key).as_deref() != Some(P521) {
        return request.verify_signature().is_ok();
    }
    let way: &dyn VerificationAlgorithm = match request.signature_algorithm.algorithm.to_id_string().as_str() {
        "1.2.840.10045.4.3.2" => &ECDSA_P521_SHA256_ASN1,
        "1.2.840.10045.4.3.3" => &ECDSA_P521_SHA384_ASN1,
        "1.2.840.10045.4.3.4" => &ECDSA_P521_SHA512_ASN1,
        _ => return false,
    };
    let signed = request.certification_request_info.raw;
    UnparsedPublicKey::new(way, &key.subject_public_key.data).verify(signed, &request.signature_value.data).is_ok()
}
