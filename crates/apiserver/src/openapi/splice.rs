//! Pieces of a document that are kept deflated and put together without being deflated again.
//!
//! Invariant: every piece ends at a whole byte and refers to nothing before it, so that any sequence of pieces is a
//! deflated stream; checksums of pieces combine to that of the whole.

use bytes::Bytes;
use flate2::{Compress, Compression, Crc, FlushCompress};

/// The head of a gzip file without name and time.
const HEAD: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// A last block with nothing in it.
const LAST: &[u8] = &[3, 0];

/// A piece of text, deflated.
pub(super) struct Piece {
    deflated: Bytes,
    length: u64,
    sum: Crc,
}

impl Piece {
    pub(super) fn new(text: &[u8]) -> std::io::Result<Self> {
        if text.is_empty() {
            return Ok(Self { deflated: Bytes::new(), length: 0, sum: Crc::new() });
        }
        let mut deflater = Compress::new(Compression::fast(), false);
        let mut deflated = Vec::with_capacity(text.len() / 8 + 64);
        loop {
            deflated.reserve(4096);
            let taken = deflater.total_in() as usize;
            // Ends the block at a whole byte, without ending the stream; only with room to spare is it ended.
            deflater.compress_vec(&text[taken..], &mut deflated, FlushCompress::Sync)?;
            if deflater.total_in() as usize == text.len() && deflated.len() < deflated.capacity() {
                break;
            }
        }
        let deflated = Bytes::from(deflated.into_boxed_slice());
        let mut sum = Crc::new();
        sum.update(text);
        Ok(Self { deflated, length: text.len() as u64, sum })
    }

    /// How long the text is.
    pub(super) fn len(&self) -> u64 {
        self.length
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }
}

/// A gzip file that grows piece by piece.
pub(super) struct Spliced {
    parts: Vec<Bytes>,
    sum: Crc,
    length: u64,
}

impl Spliced {
    pub(super) fn new() -> Self {
        Self { parts: vec![Bytes::from_static(HEAD)], sum: Crc::new(), length: 0 }
    }

    pub(super) fn add(&mut self, piece: &Piece) {
        if piece.is_empty() {
            return;
        }
        self.parts.push(piece.deflated.clone());
        self.sum.combine(&piece.sum);
        self.length += piece.length;
    }

    /// Adds text that is not kept.
    pub(super) fn text(&mut self, text: &[u8]) -> std::io::Result<()> {
        Piece::new(text).map(|piece| self.add(&piece))
    }

    /// The file, as the pieces that it consists of.
    pub(super) fn finish(mut self) -> Vec<Bytes> {
        let sum = self.sum.sum().to_le_bytes();
        let length = (self.length as u32).to_le_bytes();
        self.parts.push(Bytes::from([LAST, &sum, &length].concat()));
        self.parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use proptest::prelude::*;
    use std::io::Read;

    #[test]
    fn large_pieces_come_back_too() {
        let text: String = (0..2_000_000_u32).map(|i| char::from(b'a' + (i.wrapping_mul(i) / 7 % 26) as u8)).collect();
        let mut spliced = Spliced::new();
        for _ in 0..3 {
            spliced.add(&Piece::new(text.as_bytes()).unwrap());
        }
        let mut back = String::new();
        GzDecoder::new(&*spliced.finish().concat()).read_to_string(&mut back).unwrap();
        assert!(back == text.repeat(3));
    }

    proptest! {
        #[test]
        fn pieces_come_back_as_one_text(texts in prop::collection::vec(".{0,200}", 0..8)) {
            let mut spliced = Spliced::new();
            for text in &texts {
                spliced.add(&Piece::new(text.as_bytes()).unwrap());
            }
            let whole = spliced.finish().concat();
            let mut back = String::new();
            GzDecoder::new(&*whole).read_to_string(&mut back).unwrap();
            prop_assert_eq!(back, texts.concat());
        }
    }
}
