//! Frames: one group commit each, with a length and a checksum. Pure encoding and decoding (see FORMAT.md).

use super::files::corrupt;
use crate::{Batch, Entry, Error, Event, Key, Opened, Revision, Template, Transform};
use bytes::Bytes;
use std::path::Path;

/// Begins every frame.
pub(super) const MAGIC: u32 = 0x4e52_4943;
/// Magic, length, checksum.
pub(super) const HEAD: usize = 12;
/// Frames begin at multiples of this.
pub(super) const ALIGN: usize = 8;

const PUT: u8 = 1;
const DELETE: u8 = 2;

/// An event with what only the disk needs to know.
#[derive(Clone)]
pub(super) struct Logged {
    pub(super) event: Event,
    /// What is written: the value without its revision.
    pub(super) template: Template,
    /// Milliseconds since the epoch at which the key goes away; 0 for never.
    pub(super) deadline: u64,
    /// Read from the disk, and sealed otherwise than it would be now.
    pub(super) stale: bool,
}

/// One commit.
pub(super) struct Commit {
    pub(super) revision: Revision,
    pub(super) logged: Vec<Logged>,
}

/// A frame could not be read.
#[derive(Debug)]
pub(super) enum Damage {
    Broken(String),
    /// Its bytes are whole, but no configured key opens them.
    Sealed(String),
}

impl Damage {
    /// As what goes wrong with a file.
    pub(super) fn of(self, path: &Path, offset: u64) -> Error {
        match self {
            Self::Broken(why) => corrupt(path, offset, why),
            Self::Sealed(why) => Error::Sealed { path: path.display().to_string(), why },
        }
    }
}

type Opener<'a> = Option<&'a dyn Transform>;

/// The value of a key could not be sealed, and why.
pub(super) type Unsealed = (Key, String);

/// Appends a frame with these commits to `out`.
pub(super) fn encode(commits: &[Commit], transform: Opener<'_>, out: &mut Vec<u8>) -> Result<(), Unsealed> {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD]);
    for commit in commits {
        put_u64(out, 0); // the term, for a replicated log
        put_u64(out, commit.revision.0);
        put_u32(out, commit.logged.len() as u32);
        for logged in &commit.logged {
            encode_one(logged, transform, out)?;
        }
    }
    let payload = out.len() - start - HEAD;
    let checksum = crc32c::crc32c(&out[start + HEAD..]);
    out[start..start + 4].copy_from_slice(&MAGIC.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&(payload as u32).to_le_bytes());
    out[start + 8..start + 12].copy_from_slice(&checksum.to_le_bytes());
    out.resize(out.len().next_multiple_of(ALIGN), 0);
    Ok(())
}

pub(super) fn encode_one(logged: &Logged, transform: Opener<'_>, out: &mut Vec<u8>) -> Result<(), Unsealed> {
    let entry = &logged.event.entry;
    out.push(if logged.event.deleted { DELETE } else { PUT });
    put_bytes(out, entry.key.as_bytes());
    put_u64(out, entry.created.0);
    put_u64(out, logged.deadline);
    put_u32(out, logged.template.at() as u32);
    let (head, tail) = logged.template.parts();
    let Some(transform) = transform.filter(|t| t.seals(&entry.key)) else {
        put_u32(out, (head.len() + tail.len()) as u32);
        out.extend_from_slice(head);
        out.extend_from_slice(tail);
        return Ok(());
    };
    let sealed = transform.seal(&entry.key, &[head, tail].concat()).map_err(|why| (entry.key.clone(), why))?;
    put_bytes(out, &sealed);
    Ok(())
}

/// The length that a frame says it has, padding left out; `None` when `bytes` begin with none.
pub(super) fn declared(bytes: &[u8]) -> Option<usize> {
    let head = bytes.get(..HEAD)?;
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    (word(0) == MAGIC && word(4) > 0).then(|| HEAD + word(4) as usize)
}

/// The length of the whole frame that begins `bytes`, padding included; `None` when none begins there.
pub(super) fn length(bytes: &[u8]) -> Option<usize> {
    let head = bytes.get(..HEAD)?;
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let length = word(4) as usize;
    let payload = bytes.get(HEAD..HEAD + length)?;
    let good = word(0) == MAGIC && length > 0 && crc32c::crc32c(payload) == word(8);
    good.then(|| (HEAD + length).next_multiple_of(ALIGN))
}

/// The commits of a frame whose checksum is right. `previous` is filled in by whoever applies them.
pub(super) fn decode(frame: &[u8], transform: Opener<'_>) -> Result<Vec<Commit>, Damage> {
    let length = u32::from_le_bytes([frame[4], frame[5], frame[6], frame[7]]) as usize;
    let mut reader = Reader { bytes: &frame[HEAD..HEAD + length] };
    let mut commits = Vec::new();
    while !reader.bytes.is_empty() {
        let _term = reader.u64()?;
        let revision = Revision(reader.u64()?);
        let count = reader.u32()?;
        let logged = (0..count).map(|_| decode_one(&mut reader, revision, transform)).collect::<Result<_, _>>()?;
        commits.push(Commit { revision, logged });
    }
    Ok(commits)
}

pub(super) fn decode_one(reader: &mut Reader<'_>, revision: Revision, transform: Opener<'_>) -> Result<Logged, Damage> {
    let sort = reader.u8()?;
    let key = std::str::from_utf8(reader.slice()?).map_err(|e| Damage::Broken(format!("a key is no text: {e}")))?;
    let key = Key::from(key);
    let created = Revision(reader.u64()?);
    let deadline = reader.u64()?;
    let at = reader.u32()? as usize;
    let stored = reader.slice()?;
    let Opened { plain, stale } = match transform {
        Some(t) => {
            t.open(&key, stored).map_err(|e| Damage::Sealed(format!("cannot open the value of {key:?}: {e}")))?
        }
        None => Opened { plain: stored.to_vec(), stale: false },
    };
    if at > plain.len() || !matches!(sort, PUT | DELETE) {
        return Err(Damage::Broken(format!("the record of {key:?} makes no sense")));
    }
    let template = Template::new(Bytes::from(plain), at);
    let entry = Entry { value: template.render(revision), key, modified: revision, created };
    Ok(Logged { event: Event { entry, deleted: sort == DELETE, previous: None }, template, deadline, stale })
}

impl Commit {
    pub(super) fn batch(&self) -> Batch {
        Batch { revision: self.revision, events: self.logged.iter().map(|l| l.event.clone()).collect() }
    }
}

/// Reads numbers and byte strings, never behind the end.
pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Damage> {
        let (front, rest) =
            self.bytes.split_at_checked(n).ok_or_else(|| Damage::Broken("a record ends early".to_owned()))?;
        self.bytes = rest;
        Ok(front)
    }

    fn u8(&mut self) -> Result<u8, Damage> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn u32(&mut self) -> Result<u32, Damage> {
        let b = self.take(4)?;
        Ok(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Damage> {
        let low = u64::from(self.u32()?);
        Ok(low | u64::from(self.u32()?) << 32)
    }

    fn slice(&mut self) -> Result<&'a [u8], Damage> {
        let length = self.u32()? as usize;
        self.take(length)
    }
}

pub(super) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u32(out, bytes.len() as u32);
    out.extend_from_slice(bytes);
}
