//! Reads the fields of one message. Nothing is copied, and no length is believed before the bytes are there.

/// A field's value as it stands on the wire.
#[derive(Clone, Copy, Debug)]
pub(super) enum Item<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed(u64),
}

pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(super) fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.bytes.split_first().ok_or("unexpected EOF")?;
            self.bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("proto: integer overflow".to_owned())
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let (front, rest) = self.bytes.split_at_checked(n).ok_or("unexpected EOF")?;
        self.bytes = rest;
        Ok(front)
    }

    /// The next field with its tag; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u32, Item<'a>)>, String> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let tag = u32::try_from(key >> 3).ok().filter(|t| *t > 0);
        let tag = tag.ok_or_else(|| format!("proto: illegal tag {} (wire type {})", key >> 3, key & 7))?;
        let fixed = |b: &[u8]| b.iter().rev().fold(0u64, |v, x| v << 8 | u64::from(*x));
        let item = match key & 7 {
            0 => Item::Number(self.varint()?),
            1 => Item::Fixed(fixed(self.take(8)?)),
            2 => {
                let length = self.varint()?;
                Item::Bytes(self.take(usize::try_from(length).map_err(|_| "unexpected EOF")?)?)
            }
            5 => Item::Fixed(fixed(self.take(4)?)),
            other => return Err(format!("proto: illegal wireType {other}")),
        };
        Ok(Some((tag, item)))
    }
}

/// The bytes of the last field `wanted`.
pub(super) fn last(bytes: &[u8], wanted: u32) -> Result<Option<&[u8]>, String> {
    let (mut reader, mut found) = (Reader::new(bytes), None);
    while let Some((tag, item)) = reader.next()? {
        if let Item::Bytes(b) = item
            && tag == wanted
        {
            found = Some(b);
        }
    }
    Ok(found)
}

pub(super) fn text(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "a text is no UTF-8".to_owned())
}
