//! Snapshots: all entries at one revision in one file, so that older logs can go.

use super::files::{self, HEADER, SNAPSHOT_MAGIC, corrupt, io};
use super::frame::{self, Logged, Reader, put_u32};
use crate::{Entry, Error, Event, Key, Result, Revision, Transform};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

/// Entries in one checksummed block.
const BLOCK: usize = 256;
/// What a snapshot is called until it is whole.
const UNFINISHED: &str = "new";

/// Writes a snapshot and then removes the files that it makes superfluous; returns its length.
pub(super) fn write(
    dir: &Path,
    revision: Revision,
    entries: &[Entry],
    deadlines: &HashMap<Key, u64>,
    transform: Option<&dyn Transform>,
) -> Result<u64> {
    let path = files::snapshot_path(dir, revision);
    let fresh = path.with_extension(UNFINISHED);
    let fail = |e: std::io::Error| io(format!("cannot write {}", fresh.display()), e);
    let written = write_all(&fresh, revision, entries, deadlines, transform);
    let renamed = written.and_then(|bytes| std::fs::rename(&fresh, &path).map_err(fail).map(|()| bytes));
    if renamed.is_err() {
        // Its space is needed most when it could not be written.
        std::fs::remove_file(&fresh).map_err(|e| io(format!("cannot remove {}", fresh.display()), e))?;
    }
    let bytes = renamed?;
    files::sync_dir(dir)?;
    clean(dir, revision)?;
    Ok(bytes)
}

fn write_all(
    path: &Path,
    revision: Revision,
    entries: &[Entry],
    deadlines: &HashMap<Key, u64>,
    transform: Option<&dyn Transform>,
) -> Result<u64> {
    let fail = |e: std::io::Error| io(format!("cannot write {}", path.display()), e);
    let mut out = BufWriter::new(files::create(path)?);
    out.write_all(&files::header(*SNAPSHOT_MAGIC, revision)).map_err(fail)?;
    let mut block = Vec::new();
    for chunk in entries.chunks(BLOCK) {
        block.clear();
        for entry in chunk {
            let logged = Logged {
                template: entry.value.template(),
                deadline: deadlines.get(&entry.key).copied().unwrap_or(0),
                stale: false,
                event: Event { entry: entry.clone(), deleted: false, previous: None },
            };
            frame::encode_one(&logged, transform, &mut block).map_err(|(key, why)| Error::Value { key, why })?;
            block.extend_from_slice(&logged.event.entry.modified.0.to_le_bytes());
        }
        write_block(&mut out, chunk.len(), &block).map_err(fail)?;
    }
    // An empty block says that nothing is missing.
    write_block(&mut out, 0, &[]).map_err(fail)?;
    let file = out.into_inner().map_err(|e| fail(e.into_error()))?;
    file.sync_all().map_err(fail)?;
    file.metadata().map(|m| m.len()).map_err(fail)
}

/// Removes snapshots that were cut short.
pub(super) fn sweep(dir: &Path) -> Result<()> {
    for entry in std::fs::read_dir(dir).map_err(|e| io(format!("cannot read {}", dir.display()), e))? {
        let path = entry.map_err(|e| io(format!("cannot read {}", dir.display()), e))?.path();
        if path.extension().is_some_and(|e| e == UNFINISHED) {
            std::fs::remove_file(&path).map_err(|e| io(format!("cannot remove {}", path.display()), e))?;
        }
    }
    Ok(())
}

fn write_block(out: &mut impl Write, count: usize, block: &[u8]) -> std::io::Result<()> {
    let mut head = Vec::with_capacity(12);
    put_u32(&mut head, count as u32);
    put_u32(&mut head, block.len() as u32);
    put_u32(&mut head, crc32c::crc32c(block));
    out.write_all(&head)?;
    out.write_all(block)
}

/// Removes older snapshots, and logs whose successor begins at or before `revision`.
fn clean(dir: &Path, revision: Revision) -> Result<()> {
    let remove =
        |path: &Path| std::fs::remove_file(path).map_err(|e| io(format!("cannot remove {}", path.display()), e));
    for (older, path) in files::list(dir, "snapshot-")? {
        if older < revision {
            remove(&path)?;
        }
    }
    for pair in files::list(dir, "log-")?.windows(2) {
        if pair[1].0 <= revision {
            remove(&pair[0].1)?;
        }
    }
    Ok(())
}

/// Reads a snapshot, block by block: it may be larger than what there is room for twice.
pub(super) fn read(path: &Path, transform: Option<&dyn Transform>) -> Result<(Revision, Vec<Logged>)> {
    let failed = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => corrupt(path, 0, "it ends early"),
        _ => io(format!("cannot read {}", path.display()), e),
    };
    let file = File::open(path).map_err(failed)?;
    let whole = file.metadata().map_err(failed)?.len();
    let mut file = BufReader::with_capacity(1 << 20, file);
    let mut header = [0; HEADER];
    let some = file.read(&mut header).map_err(failed)?;
    let revision = files::read_header(path, &header[..some], *SNAPSHOT_MAGIC)?;
    let mut entries = Vec::new();
    let (mut at, mut block) = (HEADER as u64, Vec::new());
    loop {
        let damaged = |d: frame::Damage| d.of(path, at);
        let mut head = [0; 12];
        file.read_exact(&mut head).map_err(failed)?;
        let mut reader = Reader { bytes: &head };
        let mut word = || reader.u32().map_err(damaged);
        let (count, length, checksum) = (word()?, word()? as usize, word()?);
        if count == 0 {
            return Ok((revision, entries));
        }
        if at + 12 + length as u64 > whole {
            return Err(corrupt(path, at, "it ends early"));
        }
        block.resize(length, 0);
        file.read_exact(&mut block).map_err(failed)?;
        if crc32c::crc32c(&block) != checksum {
            return Err(corrupt(path, at, "a checksum is wrong"));
        }
        let mut inner = Reader { bytes: &block };
        for _ in 0..count {
            entries.push(read_entry(&mut inner, transform).map_err(damaged)?);
        }
        at += 12 + length as u64;
    }
}

fn read_entry(
    reader: &mut Reader<'_>,
    transform: Option<&dyn Transform>,
) -> std::result::Result<Logged, frame::Damage> {
    let mut logged = frame::decode_one(reader, Revision(0), transform)?;
    let modified = Revision(reader.u64()?);
    logged.event.entry.modified = modified;
    logged.event.entry.value = logged.template.render(modified);
    Ok(logged)
}
