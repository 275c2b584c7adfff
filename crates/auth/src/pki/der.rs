//! As much DER as a certificate needs: tags, lengths, and the few types that stand in one.

pub(super) const SEQUENCE: u8 = 0x30;
const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
pub(super) const NULL: u8 = 5;
pub(super) const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// A value with its tag and length.
pub(super) fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match content.len() {
        short @ ..0x80 => out.push(short as u8),
        long => {
            let bytes = long.to_be_bytes();
            let first = bytes.iter().position(|b| *b != 0).unwrap_or(bytes.len() - 1);
            out.push(0x80 | (bytes.len() - first) as u8);
            out.extend_from_slice(&bytes[first..]);
        }
    }
    out.extend_from_slice(content);
    out
}

pub(super) fn sequence(parts: &[Vec<u8>]) -> Vec<u8> {
    tagged(SEQUENCE, &parts.concat())
}

pub(super) fn yes() -> Vec<u8> {
    tagged(BOOLEAN, &[0xff])
}

/// A positive number of these big-endian bytes.
pub(super) fn integer(bytes: &[u8]) -> Vec<u8> {
    let first = bytes.iter().position(|b| *b != 0).unwrap_or(bytes.len());
    let mut content = bytes[first..].to_vec();
    if content.first().is_none_or(|b| b & 0x80 != 0) {
        content.insert(0, 0);
    }
    tagged(INTEGER, &content)
}

/// Whole bytes.
pub(super) fn bits(content: &[u8]) -> Vec<u8> {
    tagged(BIT_STRING, &[&[0], content].concat())
}

/// Named bits, the first of which is 0; zeroes at the end are left out.
pub(super) fn named_bits(set: &[u8]) -> Vec<u8> {
    let last = set.iter().copied().max().unwrap_or(0);
    let mut bytes = vec![0; usize::from(last) / 8 + 1];
    for bit in set {
        bytes[usize::from(*bit) / 8] |= 0x80 >> (bit % 8);
    }
    tagged(BIT_STRING, &[&[7 - last % 8][..], &bytes].concat())
}

pub(super) fn oid(parts: &[u64]) -> Vec<u8> {
    let mut content = vec![(parts[0] * 40 + parts[1]) as u8];
    for part in &parts[2..] {
        let mut groups = vec![(part & 0x7f) as u8];
        let mut rest = part >> 7;
        while rest > 0 {
            groups.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        content.extend(groups.iter().rev());
    }
    tagged(OID, &content)
}

/// A time as certificates write it: two digits of the year until 2049.
pub(super) fn time(at: jiff::Timestamp) -> Vec<u8> {
    let zoned = at.to_zoned(jiff::tz::TimeZone::UTC);
    match zoned.year() {
        1950..2050 => tagged(UTC_TIME, zoned.strftime("%y%m%d%H%M%SZ").to_string().as_bytes()),
        _ => tagged(GENERALIZED_TIME, zoned.strftime("%Y%m%d%H%M%SZ").to_string().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_the_standard_says() {
        assert_eq!(oid(&[1, 2, 840, 10045, 4, 3, 2]), [6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]);
        assert_eq!(integer(&[0, 0x80]), [2, 2, 0, 0x80]);
        assert_eq!(integer(&[0]), [2, 1, 0]);
        assert_eq!(named_bits(&[0, 2]), [3, 2, 5, 0xa0]);
        assert_eq!(named_bits(&[8]), [3, 3, 7, 0, 0x80]);
        assert_eq!(tagged(SEQUENCE, &[0; 200])[..3], [0x30, 0x81, 200]);
        assert_eq!(tagged(SEQUENCE, &[0; 300])[..4], [0x30, 0x82, 1, 44]);
        let text = String::from_utf8(time(jiff::Timestamp::UNIX_EPOCH)[2..].to_vec()).unwrap();
        assert_eq!(text, "700101000000Z");
    }
}
