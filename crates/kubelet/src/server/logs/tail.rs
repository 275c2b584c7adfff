//! Where the last lines of a log begin.

use crate::logs::parts;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

const PIECE: u64 = 64 * 1024;

/// A part of a log: from where to where it is read.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) path: PathBuf,
    pub(super) from: u64,
    /// Its length when it was looked at; what comes later is not asked for, unless the log is followed.
    pub(super) to: u64,
}

/// The parts of a log that hold its last lines, oldest first.
pub(super) fn start(log: &Path, lines: Option<usize>) -> std::io::Result<Vec<Part>> {
    let all = parts(log);
    let length = |path: &Path| std::fs::metadata(path).map_or(0, |m| m.len());
    let Some(mut wanted) = lines else {
        return Ok(all.into_iter().map(|path| Part { from: 0, to: length(&path), path }).collect());
    };
    let mut out = Vec::new();
    for part in all.into_iter().rev() {
        let (from, to, found) = match std::fs::File::open(&part) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => (0, 0, 0),
            other => last(&mut other?, wanted)?,
        };
        wanted -= found;
        out.insert(0, Part { path: part, from, to });
        if wanted == 0 {
            break;
        }
    }
    Ok(out)
}

/// Where the last `wanted` lines of a file begin and end, and how many there are.
fn last(file: &mut std::fs::File, wanted: usize) -> std::io::Result<(u64, u64, usize)> {
    let length = file.metadata()?.len();
    if wanted == 0 {
        return Ok((length, length, 0));
    }
    let (mut at, mut ends) = (length, 0);
    let mut piece = vec![0; PIECE as usize];
    while at > 0 {
        let size = at.min(PIECE);
        at -= size;
        file.seek(SeekFrom::Start(at))?;
        let piece = &mut piece[..size as usize];
        file.read_exact(piece)?;
        for (i, _) in piece.iter().enumerate().rev().filter(|(_, b)| **b == b'\n') {
            // The newline before the first wanted line is one more than lines.
            if ends == wanted {
                return Ok((at + i as u64 + 1, length, wanted));
            }
            ends += 1;
        }
    }
    Ok((0, length, ends))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_found_across_parts() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("0.log");
        std::fs::write(dir.path().join("0.log.20260101-000000"), "a\nb\n").unwrap();
        std::fs::write(&log, "c\nd\n").unwrap();
        let at = |lines| -> Vec<u64> { start(&log, lines).unwrap().into_iter().map(|p| p.from).collect() };
        assert_eq!(at(None), [0, 0]);
        assert_eq!(at(Some(0)), [4]);
        assert_eq!(at(Some(1)), [2]);
        assert_eq!(at(Some(2)), [0]);
        assert_eq!(at(Some(3)), [2, 0]);
        assert_eq!(at(Some(9)), [0, 0]);
    }
}
