//! The ciphers as stock lays out their bytes; pure functions of key and data.

use aws_lc_rs::aead::{AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, DecryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rand;
use crypto_secretbox::aead::{Aead, KeyInit};
use crypto_secretbox::{Key, XSalsa20Poly1305};

const NONCE: usize = 12;
const BLOCK: usize = 16;
const BOX_NONCE: usize = 24;

type Result<T> = std::result::Result<T, String>;

pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut out = [0; N];
    rand::fill(&mut out).map_err(|_| "the system has no randomness".to_owned())?;
    Ok(out)
}

fn gcm_key(key: &[u8]) -> Result<LessSafeKey> {
    let algorithm = match key.len() {
        16 => &AES_128_GCM,
        24 => &AES_192_GCM,
        _ => &AES_256_GCM,
    };
    UnboundKey::new(algorithm, key).map(LessSafeKey::new).map_err(|_| "the key has a wrong length".to_owned())
}

/// Nonce, ciphertext, tag; `context` is authenticated.
pub(crate) fn gcm_seal(key: &[u8], context: &[u8], plain: &[u8]) -> Result<Vec<u8>> {
    let nonce: [u8; NONCE] = random()?;
    let mut body = plain.to_vec();
    gcm_key(key)?
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), &mut body)
        .map_err(|_| "sealing failed".to_owned())?;
    Ok([&nonce[..], &body].concat())
}

pub(crate) fn gcm_open(key: &[u8], context: &[u8], sealed: &[u8]) -> Result<Vec<u8>> {
    let (nonce, body) = sealed.split_at_checked(NONCE).ok_or("the stored data was shorter than the required size")?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| "no nonce".to_owned())?;
    let mut body = body.to_vec();
    let plain = gcm_key(key)?.open_in_place(nonce, Aad::from(context), &mut body);
    plain.map(|p| p.to_vec()).map_err(|_| "cipher: message authentication failed".to_owned())
}

fn cbc_key(key: &[u8]) -> Result<UnboundCipherKey> {
    let algorithm = match key.len() {
        16 => &AES_128,
        24 => &AES_192,
        _ => &AES_256,
    };
    UnboundCipherKey::new(algorithm, key).map_err(|_| "the key has a wrong length".to_owned())
}

/// Initialisation vector and ciphertext, padded as PKCS#7 says.
pub(crate) fn cbc_seal(key: &[u8], plain: &[u8]) -> Result<Vec<u8>> {
    let failed = |_| "sealing failed".to_owned();
    let key = PaddedBlockEncryptingKey::cbc_pkcs7(cbc_key(key)?).map_err(failed)?;
    let mut body = plain.to_vec();
    let context = key.encrypt(&mut body).map_err(failed)?;
    let iv: &[u8] = (&context).try_into().map_err(failed)?;
    Ok([iv, &body].concat())
}

pub(crate) fn cbc_open(key: &[u8], sealed: &[u8]) -> Result<Vec<u8>> {
    let failed = |_| "invalid padding on input".to_owned();
    let (iv, body) = sealed.split_at_checked(BLOCK).ok_or("the stored data was shorter than the required size")?;
    let iv: [u8; BLOCK] = iv.try_into().map_err(|_| "no initialisation vector".to_owned())?;
    let key = PaddedBlockDecryptingKey::cbc_pkcs7(cbc_key(key)?).map_err(failed)?;
    let mut body = body.to_vec();
    let plain = key.decrypt(&mut body, DecryptionContext::Iv128(FixedLength::from(iv))).map_err(failed)?;
    Ok(plain.to_vec())
}

/// Nonce and NaCl's secretbox.
pub(crate) fn box_seal(key: &[u8], plain: &[u8]) -> Result<Vec<u8>> {
    let nonce: [u8; BOX_NONCE] = random()?;
    let key = <[u8; 32]>::try_from(key).map_err(|_| "the key has a wrong length".to_owned())?;
    let body = XSalsa20Poly1305::new(&Key::from(key)).encrypt(&nonce.into(), plain);
    Ok([&nonce[..], &body.map_err(|_| "sealing failed".to_owned())?].concat())
}

pub(crate) fn box_open(key: &[u8], sealed: &[u8]) -> Result<Vec<u8>> {
    let (nonce, body) =
        sealed.split_at_checked(BOX_NONCE).ok_or("the stored data was shorter than the required size")?;
    let nonce: [u8; BOX_NONCE] = nonce.try_into().map_err(|_| "no nonce".to_owned())?;
    let key = <[u8; 32]>::try_from(key).map_err(|_| "the key has a wrong length".to_owned())?;
    XSalsa20Poly1305::new(&Key::from(key)).decrypt(&nonce.into(), body).map_err(|_| "invalid data or key".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_with_the_same_key_and_context_only() {
        for size in [16, 24, 32] {
            let (key, other) = (vec![1; size], vec![2; size]);
            let sealed = gcm_seal(&key, b"/a", b"top secret").unwrap();
            assert_eq!(sealed.len(), 12 + 10 + 16);
            assert_eq!(gcm_open(&key, b"/a", &sealed).unwrap(), b"top secret");
            assert!(gcm_open(&key, b"/b", &sealed).is_err(), "moved to another key");
            assert!(gcm_open(&other, b"/a", &sealed).is_err());
            let sealed = cbc_seal(&key, b"top secret").unwrap();
            assert_eq!(sealed.len(), 32);
            assert_eq!(cbc_open(&key, &sealed).unwrap(), b"top secret");
            assert!(cbc_open(&key, &sealed[..8]).is_err());
        }
        let sealed = box_seal(&[1; 32], b"top secret").unwrap();
        assert_eq!(sealed.len(), 24 + 16 + 10);
        assert_eq!(box_open(&[1; 32], &sealed).unwrap(), b"top secret");
        assert!(box_open(&[2; 32], &sealed).is_err());
    }

    #[test]
    fn a_value_that_another_implementation_sealed_opens() {
        // AES-256-CBC, key 32 bytes of 1, vector 16 bytes of 2, by OpenSSL.
        let sealed = hex::decode(OPENSSL).unwrap();
        assert_eq!(cbc_open(&[1; 32], &[&[2; 16][..], &sealed].concat()).unwrap(), b"top secret");
    }

    const OPENSSL: &str = "26d190b5cdbca65e5dcbe88cbcacc609";
}
