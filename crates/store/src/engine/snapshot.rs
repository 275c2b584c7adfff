//! Snapshots: all entries at one revision in one file, so that older logs can go.

use super::files::{self, HEADER, SNAPSHOT_MAGIC, corrupt, io};
use super::frame::{self, Logged, Reader, put_u32};
use crate::{Entry, Event, Key, Result, Revision, Transform};
use std::collections::HashMap;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Entries in one checksummed block.
const BLOCK: usize = 256;

/// Writes a snapshot and then removes the files that it makes superfluous.
pub(super) fn write(
    dir: &Path,
    revision: Revision,
    entries: &[Entry],
    deadlines: &HashMap<Key, u64>,
    transform: Option<&dyn Transform>,
) -> Result<()> {
    let path = files::snapshot_path(dir, revision);
    let fresh = path.with_extension("new");
    let fail = |e: std::io::Error| io(format!("cannot write {}", fresh.display()), e);
    let mut out = BufWriter::new(files::create(&fresh)?);
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
            frame::encode_one(&logged, transform, &mut block).map_err(|why| fail(std::io::Error::other(why)))?;
            block.extend_from_slice(&logged.event.entry.modified.0.to_le_bytes());
        }
        write_block(&mut out, chunk.len(), &block).map_err(fail)?;
    }
    // An empty block says that nothing is missing.
    write_block(&mut out, 0, &[]).map_err(fail)?;
    let file = out.into_inner().map_err(|e| fail(e.into_error()))?;
    file.sync_all().map_err(fail)?;
    std::fs::rename(&fresh, &path).map_err(fail)?;
    files::sync_dir(dir)?;
    clean(dir, revision)
}

fn write_block(out: &mut impl Write, count: usize, block: &[u8]) -> std::io::Result<()> {
    let mut head = Vec::with_capacity(12);
    put_u32(&mut head, count as u32);
    put_u32(&mut head, block.len() as u32);
    put_u32(&mut head, crc32c::crc32c(block));
    out.write_all(&head)?;
    out.write_all(block)
}

/// Removes older snapshots, unfinished ones, and logs whose successor begins at or before `revision`.
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

/// Reads a snapshot.
pub(super) fn read(path: &Path, transform: Option<&dyn Transform>) -> Result<(Revision, Vec<Logged>)> {
    let bytes = std::fs::read(path).map_err(|e| io(format!("cannot read {}", path.display()), e))?;
    let revision = files::read_header(path, &bytes, *SNAPSHOT_MAGIC)?;
    let mut entries = Vec::new();
    let mut reader = Reader { bytes: &bytes[HEADER..] };
    loop {
        let at = (bytes.len() - reader.bytes.len()) as u64;
        let damaged = |d: frame::Damage| corrupt(path, at, d.0);
        let mut head = || Ok::<_, frame::Damage>((reader.u32()?, reader.u32()? as usize, reader.u32()?));
        let (count, length, checksum) = head().map_err(damaged)?;
        if count == 0 {
            return Ok((revision, entries));
        }
        let Some((block, rest)) = reader.bytes.split_at_checked(length) else {
            return Err(corrupt(path, at, "it ends early"));
        };
        if crc32c::crc32c(block) != checksum {
            return Err(corrupt(path, at, "a checksum is wrong"));
        }
        reader.bytes = rest;
        let mut inner = Reader { bytes: block };
        for _ in 0..count {
            entries.push(read_entry(&mut inner, transform).map_err(damaged)?);
        }
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
