//! Tells when files change, by the kernel's word: one inotify instance for all of them.
//!
//! Invariant: directories are watched, not files, so that a file that is replaced by renaming is seen too, and the
//! symbolic links of mounted Secrets.

use crate::failure::{Context, Result};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use tokio::io::unix::AsyncFd;
use tokio_util::sync::CancellationToken;

type Act = Box<dyn FnMut() + Send>;
type Stamp = Option<(SystemTime, u64, u64)>;

/// Files with what is done when one of them changes.
#[derive(Default)]
pub(crate) struct Files {
    files: Vec<(PathBuf, Act)>,
    /// Directories of which everything in them counts.
    dirs: Vec<PathBuf>,
}

impl Files {
    pub(crate) fn on_change(&mut self, path: &Path, act: impl FnMut() + Send + 'static) {
        self.files.push((path.to_owned(), Box::new(act)));
    }

    /// The same for whatever is in a directory.
    pub(crate) fn on_change_in(&mut self, dir: &Path, act: impl FnMut() + Send + 'static) {
        self.dirs.push(dir.to_owned());
        self.on_change(dir, act);
    }

    /// Watches until `token` is cancelled.
    pub(crate) fn watch(mut self, token: CancellationToken) -> Result<()> {
        if self.files.is_empty() {
            return Ok(());
        }
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).context("cannot watch files")?;
        let events = AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_CREATE;
        for (path, _) in &self.files {
            let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            inotify.add_watch(dir, events).context("cannot watch files")?;
        }
        let gone = AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVED_FROM;
        for dir in &self.dirs {
            inotify.add_watch(dir.as_path(), events | gone).context("cannot watch files")?;
        }
        let mut seen: HashMap<PathBuf, Stamp> = self.files.iter().map(|(p, _)| (p.clone(), stamp(p))).collect();
        tokio::spawn(async move {
            #[expect(deprecated, reason = "its successor is unsafe; the descriptor is owned by the registration")]
            let fd = match AsyncFd::new(OwnedFd::from(inotify)) {
                Ok(fd) => fd,
                Err(error) => return tracing::error!(%error, "changes of files are not seen"),
            };
            loop {
                tokio::select! {
                    () = token.cancelled() => return,
                    ready = readable(&fd) => if let Err(error) = ready {
                        return tracing::error!(%error, "changes of files are not seen any more");
                    },
                }
                for (path, act) in &mut self.files {
                    let now = stamp(path);
                    if now.is_some() && seen.get(path) != Some(&now) {
                        seen.insert(path.clone(), now);
                        tokio::task::block_in_place(act);
                    }
                }
            }
        });
        Ok(())
    }
}

/// Waits for events and takes them; which they are shows in the files themselves.
async fn readable(fd: &AsyncFd<OwnedFd>) -> std::io::Result<()> {
    let mut guard = fd.readable().await?;
    let mut buffer = [0; 4096];
    while nix::unistd::read(guard.get_inner().as_fd(), &mut buffer).is_ok_and(|n| n > 0) {}
    guard.clear_ready();
    Ok(())
}

/// What tells two states of a file, or of what a directory holds, from one another.
fn stamp(path: &Path) -> Stamp {
    use std::os::unix::fs::MetadataExt;
    let data = std::fs::metadata(path).ok()?;
    let own = (data.modified().ok()?, data.ino(), data.len());
    if !data.is_dir() {
        return Some(own);
    }
    let files = std::fs::read_dir(path).ok()?.flatten().filter_map(|entry| stamp_of_file(&entry.path()));
    Some(files.fold(own, |all, one| (all.0.max(one.0), all.1.wrapping_add(one.1), all.2.wrapping_add(one.2))))
}

fn stamp_of_file(path: &Path) -> Stamp {
    if path.is_dir() { None } else { stamp(path) }
}
