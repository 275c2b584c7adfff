//! Who may use an image that is on the node: what was pulled from a registry may be used by a pod that could pull it
//! itself. Records lie below `image_manager`, as stock keeps them.
//!
//! Invariants: an image that a pull brought is never taken for one that was there before, also after a crash in the
//! midst of the pull; what cannot be read or written makes the registry be asked once more, and nothing else.

mod record;

use crate::keyring::Credential;
use ironclad_cri::{Image, Runtime};
use parking_lot::Mutex;
use record::{Intent, PulledRecord, Verdict};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What is known of pulls, on disk.
pub(crate) struct Pulls {
    dir: PathBuf,
    /// Pulls that run, by image; also the lock of all records.
    running: Mutex<HashMap<String, usize>>,
}

/// A pull that is recorded as begun.
pub(crate) struct Begun<'a> {
    pulls: &'a Pulls,
    image: String,
}

impl Pulls {
    pub(crate) fn new(root: &Path) -> Self {
        Self { dir: root.join("image_manager"), running: Mutex::default() }
    }

    /// Makes records of the pulls that a former process began and did not finish: nobody is known to have access.
    pub(crate) async fn recover(&self, runtime: &dyn Runtime) {
        for path in self.files("pulling") {
            let intent = read::<Intent>(&path).ok().flatten();
            if let Some(image) = intent.map(|i| i.image)
                && let Ok(Some(found)) = runtime.image_status(&image).await
            {
                let _alone = self.running.lock();
                if let Err(error) = self.write_record(&found.id, |_| PulledRecord::unknown(&found.id)) {
                    tracing::warn!(%error, image, "cannot record a pull");
                    continue;
                }
            }
            forget(&path);
        }
    }

    /// Whether a pod with these credentials may use an image that is there.
    pub(crate) fn may_use(&self, image: &str, found: &Image, credentials: &[Credential]) -> bool {
        let running = self.running.lock();
        let Some(repository) = crate::keyring::repository(image) else { return false };
        let record = self.record(&found.id);
        let pulling = running.contains_key(image) || self.path("pulling", image).exists();
        let verdict = record::decide(record.as_ref().map_err(|_| ()), pulling, &repository, credentials);
        let note = match verdict {
            Verdict::Ask => return false,
            Verdict::Granted(note) => note,
        };
        if let Some(note) = note
            && let Err(error) = self.write_record(&found.id, |old| record::merge(old, &found.id, &repository, &note))
        {
            tracing::warn!(%error, image, "cannot record who may use an image");
        }
        true
    }

    /// Records that a pull begins, before anything of the image can be there.
    pub(crate) fn begin(&self, image: &str) -> std::io::Result<Begun<'_>> {
        let mut running = self.running.lock();
        let count = running.entry(image.to_owned()).or_default();
        if *count == 0 {
            self.write("pulling", image, &Intent::new(image))?;
        }
        *count += 1;
        Ok(Begun { pulls: self, image: image.to_owned() })
    }

    /// Forgets what is known of images that are gone; `listed` is when `images` were looked at.
    pub(crate) fn prune(&self, images: &[Image], listed: jiff::Timestamp) {
        let _alone = self.running.lock();
        for path in self.files("pulled") {
            let known = read::<PulledRecord>(&path).ok().flatten();
            let gone = |r: &PulledRecord| r.before(listed) && images.iter().all(|i| i.id != r.image_ref);
            if known.is_some_and(|r| gone(&r)) {
                forget(&path);
            }
        }
    }

    fn path(&self, sort: &str, name: &str) -> PathBuf {
        self.dir.join(sort).join(format!("sha256-{}", hex::encode(Sha256::digest(name))))
    }

    fn files(&self, sort: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.dir.join(sort)).into_iter().flatten().flatten();
        entries.map(|e| e.path()).filter(|p| p.extension().is_none()).collect()
    }

    fn record(&self, id: &str) -> std::io::Result<Option<PulledRecord>> {
        read(&self.path("pulled", id))
    }

    fn write_record(
        &self,
        id: &str,
        change: impl FnOnce(Option<PulledRecord>) -> Option<PulledRecord>,
    ) -> std::io::Result<()> {
        // One that cannot be read is replaced.
        let old = self.record(id).ok().flatten();
        match change(old) {
            Some(new) => self.write("pulled", id, &new),
            None => Ok(()),
        }
    }

    fn write(&self, sort: &str, name: &str, value: &impl Serialize) -> std::io::Result<()> {
        let path = self.path(sort, name);
        let dir = self.dir.join(sort);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let fresh = path.with_extension("new");
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(&serde_json::to_vec(value)?)?;
        // Before the layers are: a power cut must not leave an image without the record of its pull.
        file.sync_data()?;
        fs::rename(fresh, path)?;
        fs::File::open(dir)?.sync_all()
    }
}

impl Begun<'_> {
    /// The pull brought an image, with a credential or without any.
    pub(crate) fn succeeded(self, found: &Image, credential: Option<&Credential>) {
        let repository = crate::keyring::repository(&self.image).unwrap_or_default();
        let note = record::Note::of(credential);
        let written = {
            let _alone = self.pulls.running.lock();
            self.pulls.write_record(&found.id, |old| record::merge(old, &found.id, &repository, &note))
        };
        if let Err(error) = written {
            tracing::warn!(%error, image = self.image, "cannot record a pull");
            // The note that it was begun stays on the disk, and says that a pull brought the image.
            self.pulls.running.lock().remove(&self.image);
            std::mem::forget(self);
        }
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        let mut running = self.pulls.running.lock();
        if let Some(count) = running.get_mut(&self.image) {
            *count -= 1;
            if *count == 0 {
                running.remove(&self.image);
                forget(&self.pulls.path("pulling", &self.image));
            }
        }
    }
}

fn forget(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %path.display(), "cannot remove a record of a pull");
    }
}

/// A record, unless there is none.
fn read<T: DeserializeOwned>(path: &Path) -> std::io::Result<Option<T>> {
    match fs::read(path) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
