//! CBOR as JSON values: a bounded reader that refuses what JSON cannot say.

use super::MAGIC;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use ironclad_json::{Map, Number, Text, Value};
use std::collections::HashSet;

/// How deep values may lie in one another: as deep as the JSON reader goes.
const DEPTH: usize = 128;
/// The number of an item whose length is not known at its head.
const UNKNOWN: u8 = 31;

/// Reads a whole document.
pub fn decode(bytes: &[u8]) -> Result<Value, String> {
    let mut reader = Reader { bytes: bytes.strip_prefix(&MAGIC).unwrap_or(bytes) };
    let value = reader.value(0)?;
    match reader.bytes.is_empty() {
        true => Ok(value),
        false => Err(format!("cbor: {} bytes of extraneous data", reader.bytes.len())),
    }
}

/// What is still to be read.
struct Reader<'b> {
    bytes: &'b [u8],
}

/// The head of an item.
#[derive(Clone, Copy)]
struct Head {
    major: u8,
    short: u8,
    number: u64,
}

impl<'b> Reader<'b> {
    fn take(&mut self, count: u64) -> Result<&'b [u8], String> {
        let count = usize::try_from(count).ok().filter(|c| *c <= self.bytes.len()).ok_or("unexpected EOF")?;
        let (taken, rest) = self.bytes.split_at(count);
        self.bytes = rest;
        Ok(taken)
    }

    fn head(&mut self) -> Result<Head, String> {
        let first = self.take(1)?[0];
        let (major, short) = (first >> 5, first & 31);
        let number = match short {
            0..=23 => u64::from(short),
            24..=27 => self.take(1 << (short - 24))?.iter().fold(0, |n, b| n << 8 | u64::from(*b)),
            UNKNOWN if (2..=5).contains(&major) => 0,
            _ => return Err(format!("cbor: invalid additional information {short} for type {major}")),
        };
        Ok(Head { major, short, number })
    }

    /// Whether a value of unknown length ends here; the end is taken.
    fn ends(&mut self) -> bool {
        let ends = self.bytes.first() == Some(&0xff);
        if ends {
            self.bytes = &self.bytes[1..];
        }
        ends
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > DEPTH {
            return Err(format!("cbor: exceeded max nested level {DEPTH}"));
        }
        let head = self.head()?;
        match head.major {
            0 => i64::try_from(head.number).map(Value::from).map_err(|_| overflow(head.number)),
            1 => i64::try_from(head.number).map(|n| Value::from(!n)).map_err(|_| overflow(head.number)),
            // Bytes stand for text, whatever they are.
            2 => Ok(Value::String(String::from_utf8_lossy(&self.string(head)?).into_owned().into())),
            3 => Ok(Value::String(utf8(self.string(head)?)?.into())),
            4 => self.list(head, depth),
            5 => self.map(head, depth),
            6 => self.tagged(head.number, depth),
            _ => simple(head),
        }
    }

    /// The bytes of a string, put together from its pieces.
    fn string(&mut self, head: Head) -> Result<Vec<u8>, String> {
        if head.short != UNKNOWN {
            return self.take(head.number).map(<[u8]>::to_vec);
        }
        let mut out = Vec::new();
        while !self.ends() {
            let piece = self.head()?;
            if piece.major != head.major || piece.short == UNKNOWN {
                return Err("cbor: wrong element type in indefinite-length string".to_owned());
            }
            out.extend_from_slice(self.take(piece.number)?);
        }
        Ok(out)
    }

    fn list(&mut self, head: Head, depth: usize) -> Result<Value, String> {
        let mut out = Vec::new();
        while head.short == UNKNOWN && !self.ends() || head.short != UNKNOWN && (out.len() as u64) < head.number {
            out.push(self.value(depth + 1)?);
        }
        Ok(Value::Array(out.into()))
    }

    fn map(&mut self, head: Head, depth: usize) -> Result<Value, String> {
        let (mut out, mut met) = (Vec::new(), HashSet::new());
        while head.short == UNKNOWN && !self.ends() || head.short != UNKNOWN && (out.len() as u64) < head.number {
            let key = self.head()?;
            if !matches!(key.major, 2 | 3) {
                return Err("cbor: invalid map key: it is no string".to_owned());
            }
            let key = Text::from(utf8(self.string(key)?)?);
            let value = self.value(depth + 1)?;
            if !met.insert(key.clone()) {
                return Err(format!("cbor: found duplicate map key {key:?}"));
            }
            out.push((key, value));
        }
        Ok(Value::Object(Map::of(out)))
    }

    /// What a tag says about the value behind it.
    fn tagged(&mut self, tag: u64, depth: usize) -> Result<Value, String> {
        match tag {
            2 | 3 => Err("cbor: bignum cannot be decoded".to_owned()),
            21..=23 if self.bytes.first().is_some_and(|b| b >> 5 == 2) => {
                let head = self.head()?;
                let bytes = self.string(head)?;
                Ok(Value::String(match tag {
                    21 => URL_SAFE.encode(bytes).into(),
                    22 => STANDARD.encode(bytes).into(),
                    _ => hex::encode(bytes).into(),
                }))
            }
            _ => self.value(depth + 1),
        }
    }
}

fn overflow(number: u64) -> String {
    format!("cbor: cannot decode {number}: overflow of int64")
}

fn utf8(bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|_| "cbor: invalid UTF-8 string".to_owned())
}

fn simple(head: Head) -> Result<Value, String> {
    let float = match head.short {
        20 => return Ok(Value::Bool(false)),
        21 => return Ok(Value::Bool(true)),
        22 => return Ok(Value::Null),
        25 => half(head.number as u16),
        26 => f64::from(f32::from_bits(head.number as u32)),
        27 => f64::from_bits(head.number),
        _ => return Err(format!("cbor: simple value {} is not recognized", head.number)),
    };
    match float {
        f if f.is_nan() => Err("cbor: NaN is not allowed".to_owned()),
        f => Number::from_f64(f).map(Value::Number).ok_or_else(|| "cbor: infinity is not allowed".to_owned()),
    }
}

fn half(bits: u16) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction / 1024.0) * 2f64.powi(exponent - 15),
    }
}
