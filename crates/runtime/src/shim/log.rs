//! Container logs in CRI format: `<RFC 3339 time> stdout F <line>`, `P` for a part of a line.
//!
//! Invariant: each write holds whole records, so a reader never meets half of one, also across a rotation.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

/// Longest part of a line in one record.
const MAX_PART: usize = 16 * 1024;

/// A file that is longer becomes an old part of the log, of which this many are kept: a container that writes without
/// end fills no disk.
const MAX_FILE: u64 = 10 << 20;
const OLD_PARTS: usize = 4;

/// A log file, and for each stream the line that is not complete yet.
pub(crate) struct Log {
    path: PathBuf,
    file: Option<File>,
    size: u64,
    /// The last write stopped in the middle of a record.
    torn: bool,
    pending: [Vec<u8>; 2],
}

impl Log {
    /// Opens the file, making its directory; without a path nothing is kept.
    pub(crate) fn open(path: &str) -> io::Result<Self> {
        let mut log = Self { path: path.into(), file: None, size: 0, torn: false, pending: Default::default() };
        log.reopen()?;
        Ok(log)
    }

    /// Opens the file anew, after the old one was renamed.
    pub(crate) fn reopen(&mut self) -> io::Result<()> {
        if self.path.as_os_str().is_empty() {
            return Ok(());
        }
        if let Some(dir) = self.path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        self.size = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    /// Makes the file an old part when it is long, and removes the oldest part when there are too many.
    fn rotate(&mut self, nanos: i64) -> io::Result<()> {
        let (Some(dir), Some(name)) = (self.path.parent(), self.path.file_name()) else { return Ok(()) };
        let name = name.to_string_lossy().into_owned();
        let time: String = timestamp(nanos).chars().filter(|c| c.is_ascii_digit()).collect();
        std::fs::rename(&self.path, dir.join(format!("{name}.{time}")))?;
        let (prefix, entries) = (format!("{name}."), std::fs::read_dir(dir)?);
        let mut old: Vec<PathBuf> = entries
            .flatten()
            .filter(|e| e.file_name().to_string_lossy().starts_with(&prefix))
            .map(|e| e.path())
            .collect();
        old.sort();
        for extra in &old[..old.len().saturating_sub(OLD_PARTS)] {
            std::fs::remove_file(extra)?;
        }
        self.reopen()
    }

    /// Writes whole records. When the disk is full the rest of them is lost, and the next ones begin a line.
    fn append(&mut self, mut out: Vec<u8>, nanos: i64) -> io::Result<()> {
        if self.size > MAX_FILE {
            self.rotate(nanos)?;
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        if self.torn && !out.is_empty() {
            out.insert(0, b'\n');
        }
        let mut rest = out.as_slice();
        while !rest.is_empty() {
            match file.write(rest) {
                Ok(n) => {
                    rest = &rest[n..];
                    self.size += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    self.torn |= rest.len() < out.len();
                    return Err(e);
                }
            }
        }
        self.torn = false;
        Ok(())
    }

    /// Takes what the container wrote; `stream` is 0 for stdout and 1 for stderr.
    pub(crate) fn write(&mut self, stream: usize, bytes: &[u8], nanos: i64) -> io::Result<()> {
        if self.file.is_none() {
            return Ok(());
        }
        let mut out = Vec::with_capacity(bytes.len() + 128);
        records(&mut self.pending[stream], stream, bytes, nanos, &mut out);
        self.append(out, nanos)
    }

    /// Writes lines that end without a newline: as parts, so that no reader adds one.
    pub(crate) fn finish(&mut self, nanos: i64) -> io::Result<()> {
        if self.file.is_none() {
            return Ok(());
        }
        let mut out = Vec::new();
        for (stream, pending) in self.pending.iter_mut().enumerate() {
            if !pending.is_empty() {
                record(&mut out, stream, b'P', pending, nanos);
                pending.clear();
            }
        }
        self.append(out, nanos)
    }
}

/// Turns bytes into records, leaving the rest of an incomplete line in `pending`.
fn records(pending: &mut Vec<u8>, stream: usize, bytes: &[u8], nanos: i64, out: &mut Vec<u8>) {
    for piece in bytes.split_inclusive(|b| *b == b'\n') {
        let (text, whole) = match piece.strip_suffix(b"\n") {
            Some(text) => (text, true),
            None => (piece, false),
        };
        pending.extend_from_slice(text);
        while pending.len() > MAX_PART || (!whole && pending.len() == MAX_PART) {
            record(out, stream, b'P', &pending[..MAX_PART], nanos);
            pending.drain(..MAX_PART);
        }
        if whole {
            record(out, stream, b'F', pending, nanos);
            pending.clear();
        }
    }
    if pending.is_empty() {
        pending.shrink_to(1024);
    }
}

fn record(out: &mut Vec<u8>, stream: usize, tag: u8, text: &[u8], nanos: i64) {
    out.extend_from_slice(timestamp(nanos).as_bytes());
    out.extend_from_slice(if stream == 0 { b" stdout " } else { b" stderr " });
    out.push(tag);
    out.push(b' ');
    out.extend_from_slice(text);
    out.push(b'\n');
}

/// RFC 3339 with nanoseconds, in UTC.
pub(crate) fn timestamp(nanos: i64) -> String {
    let (secs, nanos) = (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
    let (days, rest) = (secs.div_euclid(86_400), secs.rem_euclid(86_400));
    // Days to a date of the proleptic Gregorian calendar, counted in eras of 400 years that begin in March.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> (Vec<String>, Vec<u8>) {
        let (mut pending, mut out) = (Vec::new(), Vec::new());
        for chunk in chunks {
            records(&mut pending, 0, chunk, 0, &mut out);
        }
        let text = String::from_utf8(out).unwrap();
        (text.lines().map(|l| l["1970-01-01T00:00:00.000000000Z ".len()..].to_owned()).collect(), pending)
    }

    #[test]
    fn a_line_is_one_record_however_it_arrives() {
        assert_eq!(lines(&[b"a\nb\n"]).0, ["stdout F a", "stdout F b"]);
        assert_eq!(lines(&[b"a", b"b", b"\n\n"]).0, ["stdout F ab", "stdout F "]);
        assert_eq!(lines(&[b"no end"]), (vec![], b"no end".to_vec()));
    }

    #[test]
    fn long_lines_are_cut_into_parts_of_16_kib() {
        let long = vec![b'x'; 2 * MAX_PART + 5];
        let (got, pending) = lines(&[&long, b"\n"]);
        assert_eq!(got.iter().map(|l| l.len() - "stdout P ".len()).collect::<Vec<_>>(), [MAX_PART, MAX_PART, 5]);
        assert!(got[0].starts_with("stdout P ") && got[2].starts_with("stdout F ") && pending.is_empty());
    }

    #[test]
    fn the_end_of_a_log_without_a_newline_has_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let mut log = Log::open(path.to_str().unwrap()).unwrap();
        log.write(0, b"a\nno end", 0).unwrap();
        log.finish(0).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.ends_with(" stdout F a\n1970-01-01T00:00:00.000000000Z stdout P no end\n"), "{text}");
    }

    #[test]
    fn a_long_log_is_kept_in_a_few_parts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let mut log = Log::open(path.to_str().unwrap()).unwrap();
        let line = [vec![b'x'; 1 << 20], vec![b'\n']].concat();
        for n in 0..80 {
            log.write(0, &line, n).unwrap();
        }
        let sizes: Vec<u64> =
            std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).collect();
        assert_eq!(sizes.len(), OLD_PARTS + 1);
        assert!(sizes.iter().all(|s| *s < MAX_FILE + (2 << 20)), "{sizes:?}");
    }

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(timestamp(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(timestamp(1_795_242_599_000_000_001), "2026-11-21T06:29:59.000000001Z");
        assert_eq!(timestamp(951_782_400_000_000_000), "2000-02-29T00:00:00.000000000Z");
    }
}
