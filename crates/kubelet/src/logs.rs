//! Log files of containers on disk: their ends, their rotation, their removal.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Files that belong to a log: earlier parts, oldest first, then the one that is written now.
pub(crate) fn parts(log: &Path) -> Vec<PathBuf> {
    let (Some(dir), Some(name)) = (log.parent(), log.file_name().and_then(|n| n.to_str())) else { return Vec::new() };
    let prefix = format!("{name}.");
    let mut old: Vec<PathBuf> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
        .filter(|p| {
            p.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(&prefix) && !n.ends_with(".tmp"))
        })
        .collect();
    // Their names end with the time of their end.
    old.sort();
    old.push(log.to_owned());
    old
}

/// Removes a log with all its parts.
pub(crate) fn remove(log: &Path) {
    for part in parts(log) {
        if let Err(error) = std::fs::remove_file(&part)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, file = %part.display(), "cannot remove a log");
        }
    }
}

/// The last bytes of a file as text.
pub(crate) fn tail_bytes(file: &Path, most: usize) -> std::io::Result<String> {
    let mut file = std::fs::File::open(file)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(most as u64)))?;
    let mut bytes = Vec::new();
    file.take(most as u64).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whether a record holds the end of its line, and its text; before them stand time and stream.
fn record(line: &str) -> Option<(bool, &str)> {
    let mut parts = line.splitn(4, ' ').skip(2);
    Some((parts.next()?.starts_with('F'), parts.next()?))
}

/// The text of the last lines of a log.
pub(crate) fn tail_lines(log: &Path, lines: usize, most: usize) -> String {
    // Each record has a head of some 45 bytes.
    let Ok(text) = tail_bytes(log, most + lines * 64) else { return String::new() };
    let records: Vec<(bool, &str)> = text.lines().rev().take(lines).filter_map(record).collect();
    let mut text = String::new();
    for (whole, part) in records.iter().rev() {
        text.push_str(part);
        text.push_str(if *whole { "\n" } else { "" });
    }
    if text.len() > most {
        let at = (text.len() - most..text.len()).find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        text.drain(..at);
    }
    text
}
