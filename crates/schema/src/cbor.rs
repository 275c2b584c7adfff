//! Objects as CBOR, the form that stock speaks behind `CBORServingAndStorage` (KEP-4222).
//!
//! Texts go out as byte strings, bytes as byte strings that stand for base64 (tag 22), behind the tag that says "this is
//! CBOR". Invariants: what comes in is no deeper than JSON may be and costs no more than its size; what stands twice in a
//! map, is not finite or is not UTF-8 is refused.

mod read;
mod write;

pub use read::decode;
pub use write::{encode, event};

/// With what every document begins.
pub const MAGIC: [u8; 3] = [0xd9, 0xd9, 0xf7];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle;
    use ironclad_json::json;

    #[test]
    fn an_object_survives_and_its_bytes_are_bytes() {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a", "labels": {"x": "é"}},
            "data": {"k": "aGVsbG8="}, "immutable": true});
        let bytes = encode(bundle(), &secret).unwrap();
        assert!(bytes.starts_with(&MAGIC));
        assert!(bytes.windows(7).any(|w| w == b"\xd6\x45hello"), "{bytes:x?}");
        assert_eq!(decode(&bytes).unwrap(), secret);
        let list = json!({"apiVersion": "v1", "kind": "SecretList", "metadata": {}, "items": [secret]});
        let bytes = encode(bundle(), &list).unwrap();
        assert!(bytes.windows(7).any(|w| w == b"\xd6\x45hello"));
        assert_eq!(decode(&bytes).unwrap(), list);
    }

    #[test]
    fn numbers_keep_what_they_are() {
        for value in
            [json!(0), json!(-1), json!(23), json!(24), json!(255), json!(65_536), json!(i64::MIN), json!(i64::MAX)]
        {
            assert_eq!(decode(&encode(bundle(), &value).unwrap()).unwrap(), value);
        }
        for value in [json!(1.5), json!(-0.25), json!(1e300), json!(0.1), json!(65504.0)] {
            let bytes = encode(bundle(), &value).unwrap();
            assert_eq!(decode(&bytes).unwrap(), value);
        }
        assert_eq!(encode(bundle(), &json!(1.5)).unwrap()[3..], [0xf9, 0x3e, 0x00]);
        assert_eq!(encode(bundle(), &json!(100_000.0)).unwrap()[3..], [0xfa, 0x47, 0xc3, 0x50, 0x00]);
    }

    #[test]
    fn what_is_no_object_of_json_is_refused() {
        let table: [(&[u8], &str); 12] = [
            (b"", "EOF"),
            (b"\xa2\x41a\x01\x41a\x02", "duplicate map key"),
            (b"\x61\xff", "UTF-8"),
            (b"\xf9\x7e\x00", "NaN"),
            (b"\xf9\x7c\x00", "infinity"),
            (b"\xa1\x01\x02", "map key"),
            (b"\xf7", "simple value"),
            (b"\xc2\x41\x01", "bignum"),
            (b"\x01\x02", "extraneous"),
            (b"\x9a\xff\xff\xff\xff", "EOF"),
            (b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff", "overflow"),
            (b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff", "EOF"),
        ];
        for (bytes, why) in table {
            let error = decode(bytes).unwrap_err();
            assert!(error.contains(why), "{bytes:x?}: {error}");
        }
        assert!(decode(&vec![0x81; 100_000]).unwrap_err().contains("nested"));
    }

    #[test]
    fn pieces_of_unknown_length_are_put_together() {
        assert_eq!(decode(b"\x9f\x01\x02\xff").unwrap(), json!([1, 2]));
        assert_eq!(decode(b"\xbf\x61a\x5f\x41x\x41y\xff\xff").unwrap(), json!({"a": "xy"}));
        assert_eq!(decode(b"\x41\xff").unwrap(), json!("\u{fffd}"));
        assert_eq!(decode(b"\xd5\x42\xfb\xff").unwrap(), json!("-_8="));
        assert_eq!(decode(b"\xd7\x42\xfb\xff").unwrap(), json!("fbff"));
    }
}
