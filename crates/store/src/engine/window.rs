//! A log read piece by piece: a log is allocated whole, and most of it may be empty, so that to read it at once would
//! take much memory for nothing.

use super::files::{self, Tail, io};
use super::frame;
use crate::Result;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

/// Bytes that are read at once.
const PIECE: usize = 1 << 20;

pub(super) struct Window {
    path: PathBuf,
    file: File,
    bytes: Vec<u8>,
    /// Where in `bytes` the window begins, and where that is in the file.
    from: usize,
    offset: usize,
    whole: bool,
}

impl Window {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| io(format!("cannot read {}", path.display()), e))?;
        Ok(Self { path: path.to_owned(), file, bytes: Vec::new(), from: 0, offset: 0, whole: false })
    }

    /// What is left from here on, at least so many bytes of it if the file has them.
    pub(super) fn at_least(&mut self, count: usize) -> Result<&[u8]> {
        while !self.whole && self.bytes.len() - self.from < count {
            self.bytes.drain(..self.from);
            self.from = 0;
            let missing = (count - self.bytes.len()).max(PIECE) as u64;
            let read = self.file.by_ref().take(missing).read_to_end(&mut self.bytes);
            let read = read.map_err(|e| io(format!("cannot read {}", self.path.display()), e))?;
            self.whole = (read as u64) < missing;
        }
        Ok(&self.bytes[self.from..])
    }

    /// The whole frame that begins here; `None` when none does.
    pub(super) fn frame(&mut self) -> Result<Option<&[u8]>> {
        let declared = frame::declared(self.at_least(frame::HEAD)?);
        let Some(declared) = declared else { return Ok(None) };
        let bytes = self.at_least(declared.next_multiple_of(frame::ALIGN))?;
        Ok(frame::length(bytes).map(|length| &bytes[..length.min(bytes.len())]))
    }

    /// Goes on behind so many bytes.
    pub(super) fn advance(&mut self, count: usize) {
        self.from = (self.from + count).min(self.bytes.len());
        self.offset += count;
    }

    /// Where in the file the window begins.
    pub(super) fn offset(&self) -> usize {
        self.offset
    }

    /// Whether nothing but zeros is left; the window stays where it is.
    fn is_blank(&mut self) -> Result<bool> {
        let fail = |path: &Path, e| io(format!("cannot read {}", path.display()), e);
        if self.bytes[self.from..].iter().any(|b| *b != 0) {
            return Ok(false);
        }
        let here = self.file.stream_position().map_err(|e| fail(&self.path, e))?;
        let mut piece = vec![0; PIECE];
        let blank = loop {
            let read = self.file.read(&mut piece).map_err(|e| fail(&self.path, e))?;
            if read == 0 || piece[..read].iter().any(|b| *b != 0) {
                break read == 0;
            }
        };
        self.file.seek(std::io::SeekFrom::Start(here)).map_err(|e| fail(&self.path, e))?;
        Ok(blank)
    }

    /// Whether the file holds nothing at all, not even a header.
    pub(super) fn is_empty(&mut self) -> Result<bool> {
        self.at_least(1)?;
        self.is_blank()
    }

    /// What the bytes behind the last good frame are.
    pub(super) fn tail(&mut self) -> Result<Tail> {
        if self.is_blank()? {
            return Ok(Tail::Clean);
        }
        Ok(files::tail(self.at_least(usize::MAX / 2)?, 0))
    }
}
