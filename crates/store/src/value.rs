//! Values and the revision that stands in them.
//!
//! A writer hands in a [`Template`]: an encoded object and the place where its resource version belongs. The commit
//! splices the revision in once; every reader shares the resulting [`Value`].

use bytes::{BufMut, Bytes, BytesMut};
use std::fmt;

/// A point in the store's history; the `resourceVersion` of the API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for Revision {
    type Err = std::num::ParseIntError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        s.parse().map(Self)
    }
}

/// An encoded object without its revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    bytes: Bytes,
    at: u32,
}

impl Template {
    /// `bytes` with a place at `at` for the revision's decimal digits; the bytes around it make it a field.
    ///
    /// # Panics
    /// If `at` lies outside of the bytes: a mistake of the encoder.
    pub fn new(bytes: Bytes, at: usize) -> Self {
        assert!(at <= bytes.len(), "the splice point lies outside of the value");
        Self { bytes, at: at as u32 }
    }

    /// The encoded object with `revision` in it.
    pub fn render(&self, revision: Revision) -> Value {
        let digits = revision.to_string();
        let mut out = BytesMut::with_capacity(self.bytes.len() + digits.len());
        out.put_slice(&self.bytes[..self.at as usize]);
        out.put_slice(digits.as_bytes());
        out.put_slice(&self.bytes[self.at as usize..]);
        Value { bytes: out.freeze(), at: self.at, digits: digits.len() as u8 }
    }

    /// The bytes before and behind the place of the revision.
    pub fn parts(&self) -> (&[u8], &[u8]) {
        self.bytes.split_at(self.at as usize)
    }

    /// The digits of the revision in bytes that were made of this; `None` for others.
    pub fn revision_in<'b>(&self, rendered: &'b [u8]) -> Option<&'b str> {
        let (before, behind) = self.parts();
        let digits = rendered.strip_prefix(before)?.strip_suffix(behind)?;
        std::str::from_utf8(digits).ok().filter(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()))
    }

    /// Where the revision belongs.
    pub fn at(&self) -> usize {
        self.at as usize
    }

    /// Length without the revision.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// An encoded object with its revision in it; cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Value {
    bytes: Bytes,
    at: u32,
    digits: u8,
}

impl Value {
    /// The encoded object.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The same object without its revision.
    pub fn template(&self) -> Template {
        let (at, end) = (self.at as usize, self.at as usize + self.digits as usize);
        let mut out = BytesMut::with_capacity(self.bytes.len() - self.digits as usize);
        out.put_slice(&self.bytes[..at]);
        out.put_slice(&self.bytes[end..]);
        Template { bytes: out.freeze(), at: self.at }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", String::from_utf8_lossy(&self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_renders_and_comes_back() {
        let template = Template::new(Bytes::from_static(br#"{"rv":"","a":1}"#), 7);
        let value = template.render(Revision(42));
        assert_eq!(&value.bytes()[..], br#"{"rv":"42","a":1}"#);
        assert_eq!(value.template(), template);
    }
}
