//! Files of the store: names, headers, the lock, the preallocated log (see FORMAT.md).

use super::frame;
use crate::{Error, Result, Revision};
use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The newest file format that is understood.
pub(super) const FORMAT: u32 = 1;
/// Every file begins with this much: magic, format, revision, checksum.
pub(super) const HEADER: usize = 24;

pub(super) const LOG_MAGIC: &[u8; 4] = b"ICLG";
pub(super) const SNAPSHOT_MAGIC: &[u8; 4] = b"ICSN";

pub(super) fn io(what: impl Into<String>, source: std::io::Error) -> Error {
    match source.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT) => Error::Full(format!("{}: {source}", what.into())),
        _ => Error::Io { what: what.into(), source },
    }
}

pub(super) fn corrupt(path: &Path, offset: u64, why: impl Into<String>) -> Error {
    Error::Corrupt { path: path.display().to_string(), offset, why: why.into() }
}

/// Holds the directory against other processes.
pub(super) struct DirLock(File);

impl Drop for DirLock {
    fn drop(&mut self) {
        // Closing the file is not enough while a process that is being started has not closed its copy yet. When this
        // fails the lock goes with the last copy.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

impl DirLock {
    pub(super) fn take(dir: &Path) -> Result<Self> {
        let what = |what: &str| format!("cannot {what} {}", dir.display());
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|e| io(what("make"), e))?;
        let path = dir.join("lock");
        let file = private().write(true).create(true).open(path).map_err(|e| io(what("lock"), e))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| Error::Locked(dir.display().to_string()))?;
        Ok(Self(file))
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// Makes a new private file for writing.
pub(super) fn create(path: &Path) -> Result<File> {
    let made = private().read(true).write(true).create(true).truncate(true).open(path);
    made.map_err(|e| io(format!("cannot make {}", path.display()), e))
}

/// Makes renames and new names in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> Result<()> {
    let sync = || File::open(dir)?.sync_all();
    sync().map_err(|e| io(format!("cannot sync {}", dir.display()), e))
}

/// Bytes of all files in a directory, as they are allocated.
pub(super) fn size(dir: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let sum = || -> std::io::Result<u64> {
        std::fs::read_dir(dir)?.try_fold(0, |sum, entry| Ok(sum + entry?.metadata()?.blocks() * 512))
    };
    sum().map_err(|e| io(format!("cannot measure {}", dir.display()), e))
}

/// A file's header: for a log the revision before its first commit, for a snapshot the revision that it shows.
pub(super) fn header(magic: [u8; 4], revision: Revision) -> [u8; HEADER] {
    let mut out = [0; HEADER];
    out[..4].copy_from_slice(&magic);
    out[4..8].copy_from_slice(&FORMAT.to_le_bytes());
    out[8..16].copy_from_slice(&revision.0.to_le_bytes());
    let checksum = crc32c::crc32c(&out[..16]);
    out[16..20].copy_from_slice(&checksum.to_le_bytes());
    out
}

/// Reads a header back.
pub(super) fn read_header(path: &Path, bytes: &[u8], magic: [u8; 4]) -> Result<Revision> {
    let head = bytes.get(..HEADER).ok_or_else(|| corrupt(path, 0, "it is shorter than its header"))?;
    if head[..4] != magic {
        return Err(corrupt(path, 0, "it does not begin as such a file does"));
    }
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if word(4) > FORMAT {
        return Err(Error::Format { path: path.display().to_string(), found: word(4), supported: FORMAT });
    }
    if crc32c::crc32c(&head[..16]) != word(16) {
        return Err(corrupt(path, 0, "the checksum of its header is wrong"));
    }
    Ok(Revision(u64::from(word(8)) | u64::from(word(12)) << 32))
}

pub(super) fn log_path(dir: &Path, before: Revision) -> PathBuf {
    dir.join(format!("log-{:020}", before.0))
}

pub(super) fn snapshot_path(dir: &Path, revision: Revision) -> PathBuf {
    dir.join(format!("snapshot-{:020}", revision.0))
}

/// The files of a sort with the revision in their names, oldest first.
pub(super) fn list(dir: &Path, prefix: &str) -> Result<Vec<(Revision, PathBuf)>> {
    let read = std::fs::read_dir(dir).map_err(|e| io(format!("cannot read {}", dir.display()), e))?;
    let mut found = Vec::new();
    for entry in read {
        let path = entry.map_err(|e| io(format!("cannot read {}", dir.display()), e))?.path();
        let revision = path.file_name().and_then(|n| n.to_str()?.strip_prefix(prefix)?.parse().ok());
        found.extend(revision.map(|r| (r, path.clone())));
    }
    found.sort();
    Ok(found)
}

/// The log file that is written.
pub(super) struct Log {
    file: File,
    path: PathBuf,
    at: u64,
    allocated: u64,
}

impl Log {
    /// A new log file for the commits behind `before`. When it fails nothing is left of it.
    pub(super) fn create(dir: &Path, before: Revision, allocate: u64) -> Result<Self> {
        let path = log_path(dir, before);
        let file = create(&path)?;
        let mut log = Self { file, path, at: 0, allocated: 0 };
        let made = log.allocate(allocate.max(HEADER as u64)).and_then(|()| log.append(&header(*LOG_MAGIC, before)));
        if let Err(error) = made {
            // A log without a header must not stand before the next one.
            std::fs::remove_file(&log.path).map_err(|e| io(format!("cannot remove {}", log.path.display()), e))?;
            return Err(error);
        }
        sync_dir(dir)?;
        Ok(log)
    }

    /// Goes on behind `at` in an existing file; whatever stands there is wiped.
    pub(super) fn reopen(path: &Path, at: u64, allocate: u64) -> Result<Self> {
        let file = private().read(true).write(true).open(path);
        let file = file.map_err(|e| io(format!("cannot open {}", path.display()), e))?;
        let mut log = Self { file, path: path.to_owned(), at, allocated: at };
        log.file.set_len(at).map_err(|e| io(format!("cannot cut {}", log.path.display()), e))?;
        match log.allocate(allocate) {
            // What is stored can be read; the next commit says that there is no room.
            Err(Error::Full(why)) => tracing::warn!(why, "there is little room for the store"),
            other => other?,
        }
        log.sync()?;
        Ok(log)
    }

    fn allocate(&mut self, to: u64) -> Result<()> {
        if to > self.allocated {
            // Zeroes that are there already make an append cost one data sync and no change of the file's size.
            fallocate(&self.file, FallocateFlags::empty(), self.allocated, to - self.allocated)
                .map_err(|e| io(format!("cannot allocate {}", self.path.display()), e.into()))?;
            self.allocated = to;
        }
        Ok(())
    }

    /// Bytes written so far.
    pub(super) fn len(&self) -> u64 {
        self.at
    }

    /// Appends and makes it durable.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let end = self.at + bytes.len() as u64;
        if end > self.allocated {
            self.allocate(end.next_multiple_of(1 << 20))?;
        }
        if let Err(error) = self.file.write_all_at(bytes, self.at) {
            // Nothing of it may be found behind a later, shorter frame.
            self.cut()?;
            return Err(io(format!("cannot write {}", self.path.display()), error));
        }
        self.sync()?;
        self.at = end;
        Ok(())
    }

    /// Forgets whatever stands behind the last frame.
    fn cut(&mut self) -> Result<()> {
        self.file
            .set_len(self.at)
            .map_err(|e| Error::Io { what: format!("cannot cut {}", self.path.display()), source: e })?;
        self.allocated = self.at;
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        // Whatever the reason: what is on the disk is not known any more.
        let failed = |source| Error::Io { what: format!("cannot sync {}", self.path.display()), source };
        self.file.sync_data().map_err(failed)
    }
}

/// Where the good frames of a log's bytes end, and whether what follows is a torn tail (which only the last log may
/// have) rather than damage with good frames behind it.
pub(super) fn tail(bytes: &[u8], from: usize) -> Tail {
    let rest = &bytes[from..];
    if rest.iter().all(|b| *b == 0) {
        return Tail::Clean;
    }
    // A good frame behind a bad one was synced after it, so the bad one was good once.
    let later = (frame::ALIGN..rest.len()).step_by(frame::ALIGN).find(|at| frame::length(&rest[*at..]).is_some());
    later.map_or(Tail::Torn, |_| Tail::Damaged)
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tail {
    Clean,
    Torn,
    Damaged,
}
