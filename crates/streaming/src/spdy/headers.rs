//! Header blocks: names and values, compressed with one zlib stream per direction of a session.

use super::dictionary::dictionary;
use crate::Error;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

/// Names in lower case with their values.
pub type Headers = Vec<(String, String)>;

/// Bytes of one header block after decompression.
const MAX_BLOCK: usize = 64 * 1024;
/// Headers of one block.
const MAX_HEADERS: u32 = 256;

fn bad(what: impl std::fmt::Display) -> Error {
    Error::Protocol(format!("header block: {what}"))
}

/// The sending side.
pub struct Compressor(Compress);

impl Default for Compressor {
    fn default() -> Self {
        let mut zlib = Compress::new(Compression::default(), true);
        zlib.set_dictionary(&dictionary()).expect("a new stream takes a dictionary");
        Self(zlib)
    }
}

impl Compressor {
    /// The block of these headers.
    pub fn block(&mut self, headers: &Headers) -> Result<Vec<u8>, Error> {
        let mut plain = Vec::new();
        let mut put = |text: &str| {
            plain.extend((text.len() as u32).to_be_bytes());
            plain.extend(text.bytes());
        };
        for (name, value) in headers {
            put(&name.to_ascii_lowercase());
            put(value);
        }
        let mut block = (headers.len() as u32).to_be_bytes().to_vec();
        block.append(&mut plain);
        let (mut out, mut rest) = (Vec::with_capacity(block.len() + 128), block.as_slice());
        loop {
            let before = self.0.total_in();
            self.0.compress_vec(rest, &mut out, FlushCompress::Sync).map_err(bad)?;
            rest = &rest[(self.0.total_in() - before) as usize..];
            // A flush is complete only when room is left.
            if rest.is_empty() && out.len() < out.capacity() {
                return Ok(out);
            }
            out.reserve(256);
        }
    }
}

/// The receiving side.
pub struct Decompressor {
    zlib: Decompress,
    dictionary_set: bool,
}

impl Default for Decompressor {
    fn default() -> Self {
        Self { zlib: Decompress::new(true), dictionary_set: false }
    }
}

impl Decompressor {
    /// The headers of a block. After an error the session cannot go on.
    pub fn headers(&mut self, block: &[u8]) -> Result<Headers, Error> {
        parse(&self.inflate(block)?)
    }

    fn inflate(&mut self, mut block: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = Vec::with_capacity(1024);
        loop {
            let (taken, length) = (self.zlib.total_in(), out.len());
            let result = self.zlib.decompress_vec(block, &mut out, FlushDecompress::Sync);
            block = &block[(self.zlib.total_in() - taken) as usize..];
            match result {
                Err(error) if error.needs_dictionary().is_some() && !self.dictionary_set => {
                    self.zlib.set_dictionary(&dictionary()).map_err(bad)?;
                    self.dictionary_set = true;
                    continue;
                }
                Err(error) => return Err(bad(error)),
                Ok(_) => {}
            }
            if out.len() > MAX_BLOCK {
                return Err(bad("too long"));
            }
            if out.len() == out.capacity() {
                out.reserve(1024);
            } else if block.is_empty() || out.len() == length {
                return Ok(out);
            }
        }
    }
}

fn parse(mut rest: &[u8]) -> Result<Headers, Error> {
    let count = number(&mut rest)?;
    if count > MAX_HEADERS {
        return Err(bad("too many headers"));
    }
    let mut headers = Headers::new();
    for _ in 0..count {
        let name = text(&mut rest)?.to_ascii_lowercase();
        headers.push((name, text(&mut rest)?));
    }
    Ok(headers)
}

fn number(rest: &mut &[u8]) -> Result<u32, Error> {
    let (head, tail) = rest.split_first_chunk::<4>().ok_or_else(|| bad("cut short"))?;
    *rest = tail;
    Ok(u32::from_be_bytes(*head))
}

fn text(rest: &mut &[u8]) -> Result<String, Error> {
    let length = number(rest)? as usize;
    let (head, tail) = rest.split_at_checked(length).ok_or_else(|| bad("cut short"))?;
    *rest = tail;
    String::from_utf8(head.to_vec()).map_err(|_| bad("not UTF-8"))
}
