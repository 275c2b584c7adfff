//! The log: one event a line, in a file that begins anew when it is too large, or on standard output.

use super::batch::{self, Bucket};
use super::{Mode, Sink, Told, Truncate};
use crate::event::line;
use crate::{Error, Result};
use jiff::Timestamp;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::Instant;

const QUEUE: usize = 10_000;

/// Where the log is and how large it may become.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// The file; `-` is standard output.
    pub path: PathBuf,
    /// Days after which older files go; 0 for never.
    pub max_age: u64,
    /// How many older files stay; 0 for all.
    pub max_backups: usize,
    /// Megabytes of a file; 0 for any number.
    pub max_size: u64,
    /// Whether older files are compressed.
    pub compress: bool,
    /// Whether a line is text as older servers wrote it.
    pub legacy: bool,
    /// How events get there.
    pub mode: Mode,
    /// How large they may be.
    pub truncate: Option<Truncate>,
}

impl Sink {
    /// A log; its thread ends when the last sender is gone.
    pub fn log(options: &LogOptions) -> Result<Self> {
        let (sender, receiver) = channel(QUEUE);
        let mut out: Box<dyn Output> = match options.path.as_os_str() == "-" {
            true => Box::new(Standard),
            false => Box::new(Rotated::open(options)?),
        };
        let legacy = options.legacy;
        let work = move || run(receiver, &mut *out, legacy);
        std::thread::Builder::new()
            .name("audit-log".into())
            .spawn(work)
            .map_err(|source| Error::File { path: options.path.clone(), source })?;
        let sender = gathered(sender, &options.mode);
        Ok(Self::new("log", sender, &options.mode, options.truncate))
    }
}

/// A queue before that of the thread, which gathers events into batches; none where requests wait.
fn gathered(to: Sender<Told>, mode: &Mode) -> Sender<Told> {
    let Mode::Batch(batch) = mode else { return to };
    let (batch, (sender, mut events)) = (batch.clone(), channel(batch.buffer.max(1)));
    tokio::spawn(async move {
        let mut bucket = batch.throttle.map(|t| Bucket::new(t, Instant::now()));
        while let Some(events) = batch::next(&mut events, &batch).await {
            batch::pass(&mut bucket).await;
            for event in events {
                if to.send(event).await.is_err() {
                    return;
                }
            }
        }
    });
    sender
}

trait Output: Send {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
}

struct Standard;

impl Output for Standard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        io::stdout().lock().write_all(bytes)
    }
}

/// Writes whatever waits with one call.
fn run(mut events: Receiver<Told>, out: &mut dyn Output, legacy: bool) {
    let (mut buffer, mut told) = (Vec::new(), Vec::new());
    while let Some(first) = events.blocking_recv() {
        buffer.clear();
        let mut next = Some(first);
        while let Some(one) = next {
            let text = if legacy { line(&one.event) } else { one.event.to_string() };
            buffer.extend_from_slice(text.as_bytes());
            buffer.push(b'\n');
            told.push(one);
            next = if buffer.len() < 1 << 20 { events.try_recv().ok() } else { None };
        }
        let written = out.write(&buffer);
        if let Err(error) = &written {
            tracing::error!(%error, "cannot write the audit log");
        }
        told.drain(..).for_each(|one| one.done(written.is_ok()));
    }
}

struct Rotated {
    options: LogOptions,
    file: File,
    size: u64,
}

fn open(path: &Path) -> io::Result<File> {
    File::options().create(true).append(true).mode(0o600).open(path)
}

impl Rotated {
    fn open(options: &LogOptions) -> Result<Self> {
        let file = |source| Error::File { path: options.path.clone(), source };
        if let Some(dir) = options.path.parent() {
            std::fs::create_dir_all(dir).map_err(file)?;
        }
        let opened = open(&options.path).map_err(file)?;
        let size = opened.metadata().map_err(file)?.len();
        Ok(Self { options: options.clone(), file: opened, size })
    }

    fn limit(&self) -> u64 {
        if self.options.max_size == 0 { u64::MAX } else { self.options.max_size << 20 }
    }

    fn rotate(&mut self) -> io::Result<()> {
        let path = &self.options.path;
        let older = sibling(path, &Timestamp::now().strftime("%Y-%m-%dT%H-%M-%S%.3f").to_string());
        std::fs::rename(path, &older)?;
        self.file = open(path)?;
        self.size = 0;
        if self.options.compress {
            compress(&older)?;
        }
        self.sweep()
    }

    /// Removes older files that are too many or too old.
    fn sweep(&self) -> io::Result<()> {
        let (path, options) = (&self.options.path, &self.options);
        let (stem, end) = parts(path);
        let mut older = Vec::new();
        for entry in std::fs::read_dir(path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let plain = name.strip_suffix(".gz").unwrap_or(&name);
            let middle = plain.strip_prefix(&format!("{stem}-")).and_then(|n| n.strip_suffix(&end));
            if middle.is_some_and(|m| m.starts_with(|c: char| c.is_ascii_digit())) {
                older.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        older.sort();
        let keep = if options.max_backups == 0 { older.len() } else { options.max_backups };
        let many = older.len().saturating_sub(keep);
        let life = std::time::Duration::from_secs(options.max_age * 86_400);
        for (at, (modified, path)) in older.iter().enumerate() {
            let old = options.max_age > 0 && modified.elapsed().is_ok_and(|age| age > life);
            if at < many || old {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

impl Output for Rotated {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.size > 0 && self.size + bytes.len() as u64 > self.limit() {
            self.rotate()?;
        }
        self.size += bytes.len() as u64;
        self.file.write_all(bytes)
    }
}

/// `audit.log` into `audit` and `.log`.
fn parts(path: &Path) -> (String, String) {
    let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let end = path.extension().map(|e| format!(".{}", e.to_string_lossy())).unwrap_or_default();
    (stem, end)
}

fn sibling(path: &Path, middle: &str) -> PathBuf {
    let (stem, end) = parts(path);
    path.with_file_name(format!("{stem}-{middle}{end}"))
}

fn compress(path: &Path) -> io::Result<()> {
    let mut packed = path.as_os_str().to_owned();
    packed.push(".gz");
    let out = File::options().create(true).write(true).truncate(true).mode(0o600).open(packed)?;
    let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::default());
    io::copy(&mut File::open(path)?, &mut encoder)?;
    encoder.finish()?.sync_all()?;
    std::fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_begins_anew_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let options = LogOptions {
            path,
            max_age: 0,
            max_backups: 2,
            max_size: 1,
            compress: false,
            legacy: false,
            mode: Mode::Blocking,
            truncate: None,
        };
        let mut log = Rotated::open(&options).unwrap();
        for _ in 0..5 {
            log.write(&vec![b'x'; 700 << 10]).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(3));
        }
        let mut files: Vec<String> =
            std::fs::read_dir(dir.path()).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        assert_eq!(files.len(), 3, "{files:?}");
        assert_eq!(files[2], "audit.log");
        assert!(files[0].starts_with("audit-20"), "{files:?}");
    }
}
