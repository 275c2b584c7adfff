//! Images on the node: what is known of them, their unpacked layers, and how they come in.
//!
//! Invariants: a layer directory with its final name is complete; names, images and layers are recorded in one file
//! that is replaced atomically; what no record names is garbage and goes at the next start.

mod archive;
mod pull;
pub(crate) mod registry;
mod unpack;

use crate::oci::ImageConfig;
use crate::state;
use ironclad_cri::{Error, Image, Result};
use oci_client::Reference;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is kept of an image.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) tags: BTreeSet<String>,
    pub(crate) digests: BTreeSet<String>,
    /// Names of layer directories, lowest first.
    pub(crate) layers: Vec<String>,
    pub(crate) config: ImageConfig,
}

/// Unpacked bytes and inodes of a layer.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct LayerSize {
    pub(crate) bytes: u64,
    pub(crate) inodes: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Index {
    images: BTreeMap<String, Record>,
    layers: BTreeMap<String, LayerSize>,
}

/// All images of the node.
pub(crate) struct Store {
    dir: PathBuf,
    index: Mutex<Index>,
    /// One unpacking of a layer, one pull of a name at a time.
    locks: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// Layers that a pull counts on but that no image names yet.
    pinned: Mutex<HashMap<String, usize>>,
    pub(crate) registries: registry::RegistryConfig,
}

/// The parts of an image's configuration that matter here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ConfigFile {
    pub(crate) config: Option<ImageConfig>,
    pub(crate) rootfs: RootFs,
}

/// Digests of the plain layers.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RootFs {
    pub(crate) diff_ids: Vec<String>,
}

pub(crate) fn internal(what: impl std::fmt::Display) -> impl FnOnce(std::io::Error) -> Error {
    move |e| Error::Internal(format!("{what}: {e}"))
}

/// A name as people write it, made whole: host, repository, tag.
pub(crate) fn parse_name(name: &str) -> Result<Reference> {
    let parsed = Reference::try_from(name);
    parsed.map_err(|e| Error::InvalidArgument(format!("couldn't parse image name {name:?}: {e}")))
}

impl Store {
    /// Opens the store, and clears away what interrupted pulls left.
    pub(crate) fn open(dir: PathBuf, registries: registry::RegistryConfig) -> Result<Self> {
        let fresh = |name: &str| -> Result<()> {
            let path = dir.join(name);
            fs::create_dir_all(&path).map_err(internal(path.display()))
        };
        drop(fs::remove_dir_all(dir.join("tmp"))); // missing at the first start
        ["tmp", "l", "blobs/sha256"].into_iter().try_for_each(fresh)?;
        let index: Index = match state::load(&dir.join("images.json")) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Index::default(),
            other => other.map_err(internal("read the image index"))?,
        };
        let store =
            Self { dir, index: Mutex::new(index), locks: Mutex::default(), pinned: Mutex::default(), registries };
        Ok(store)
    }

    /// Directory that layer names are relative to.
    pub(crate) fn layer_dir(&self) -> PathBuf {
        self.dir.join("l")
    }

    fn lock(&self, key: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock();
        locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        locks.entry(key.to_owned()).or_default().clone()
    }

    fn save(&self, index: &Index) -> Result<()> {
        state::save(&self.dir.join("images.json"), index).map_err(internal("write the image index"))
    }

    /// An image by id, by the beginning of its id, by tag or by digest.
    pub(crate) fn find(&self, name: &str) -> Option<Record> {
        let index = self.index.lock();
        if let Some(image) = index.images.get(name) {
            return Some(image.clone());
        }
        let bare = name.strip_prefix("sha256:").unwrap_or(name);
        if bare.len() >= 12 && bare.bytes().all(|b| b.is_ascii_hexdigit()) {
            let prefix = format!("sha256:{bare}");
            if let Some((_, image)) = index.images.iter().find(|(id, _)| id.starts_with(&prefix)) {
                return Some(image.clone());
            }
        }
        let whole = Reference::try_from(name).ok()?;
        let key = whole.whole();
        let matches = |r: &&Record| match whole.digest() {
            Some(_) => r.digests.iter().any(|d| *d == digest_name(&whole)),
            None => r.tags.contains(&key),
        };
        index.images.values().find(matches).cloned()
    }

    /// All images.
    pub(crate) fn list(&self) -> Vec<Image> {
        let index = self.index.lock();
        index.images.values().map(|r| as_image(r, &index)).collect()
    }

    /// One image.
    pub(crate) fn status(&self, name: &str) -> Option<Image> {
        let record = self.find(name)?;
        Some(as_image(&record, &self.index.lock()))
    }

    /// Records an image whose layers are unpacked; names move to it from other images.
    pub(crate) fn add(&self, record: Record) -> Result<()> {
        let mut index = self.index.lock();
        for other in index.images.values_mut() {
            other.tags.retain(|t| !record.tags.contains(t));
        }
        match index.images.get_mut(&record.id) {
            Some(have) => {
                have.tags.extend(record.tags);
                have.digests.extend(record.digests);
            }
            None => drop(index.images.insert(record.id.clone(), record)),
        }
        self.save(&index)
    }

    /// Removes an image by id with all its names, or one name of it. Layers in `in_use` stay on disk.
    pub(crate) fn remove(&self, name: &str, in_use: &BTreeSet<String>) -> Result<()> {
        let Some(found) = self.find(name) else { return Ok(()) };
        {
            let mut index = self.index.lock();
            let by_name = parse_name(name).ok().filter(|_| !found.id.contains(name));
            if let Some(image) = index.images.get_mut(&found.id) {
                match by_name {
                    Some(r) if r.digest().is_none() => drop(image.tags.remove(&r.whole())),
                    _ => image.tags.clear(),
                }
            }
            if index.images.get(&found.id).is_some_and(|i| i.tags.is_empty()) {
                index.images.remove(&found.id);
            }
            self.save(&index)?;
        }
        self.collect(in_use)
    }

    /// Removes layers and configurations that no image, container or running pull needs.
    pub(crate) fn collect(&self, in_use: &BTreeSet<String>) -> Result<()> {
        let mut index = self.index.lock();
        let pinned = self.pinned.lock();
        let mut needed: BTreeSet<String> = index.images.values().flat_map(|i| i.layers.iter().cloned()).collect();
        needed.extend(in_use.iter().cloned());
        needed.extend(pinned.keys().cloned());
        for entry in fs::read_dir(self.layer_dir()).map_err(internal("list layers"))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !needed.contains(&name) {
                // First out of its name, so that a half-removed layer is never taken for a whole one.
                let trash = self.dir.join("tmp").join(format!("gone-{name}-{}", uuid::Uuid::new_v4()));
                fs::rename(entry.path(), &trash).map_err(internal("remove a layer"))?;
                fs::remove_dir_all(&trash).map_err(internal("remove a layer"))?;
            }
        }
        index.layers.retain(|name, _| needed.contains(name));
        for entry in fs::read_dir(self.dir.join("blobs/sha256")).map_err(internal("list blobs"))?.flatten() {
            let id = format!("sha256:{}", entry.file_name().to_string_lossy());
            if !index.images.contains_key(&id) && pinned.is_empty() {
                fs::remove_file(entry.path()).map_err(internal("remove a blob"))?;
            }
        }
        self.save(&index)
    }

    /// Bytes and inodes of all layers.
    pub(crate) fn usage(&self) -> LayerSize {
        let index = self.index.lock();
        index.layers.values().fold(LayerSize::default(), |sum, l| LayerSize {
            bytes: sum.bytes + l.bytes,
            inodes: sum.inodes + l.inodes,
        })
    }

    /// Keeps layers from being collected while the guard lives.
    fn pin(self: &Arc<Self>, layers: &[String]) -> Pin {
        let mut pinned = self.pinned.lock();
        for layer in layers {
            *pinned.entry(layer.clone()).or_default() += 1;
        }
        Pin { store: self.clone(), layers: layers.to_vec() }
    }

    /// Whether a layer is there already.
    fn has_layer(&self, name: &str) -> bool {
        self.layer_dir().join(name).exists() && self.index.lock().layers.contains_key(name)
    }

    /// Unpacks a layer below its final name. Blocking; the layer's lock must be held.
    fn unpack(&self, name: &str, diff_id: &str, lower: &[String], packed: impl Read + 'static) -> Result<()> {
        let temporary = self.dir.join("tmp").join(format!("layer-{}", uuid::Uuid::new_v4()));
        let lower: Vec<PathBuf> = lower.iter().rev().map(|l| self.layer_dir().join(l)).collect();
        let size = unpack::layer(packed, diff_id, &temporary, &lower)
            .map_err(|e| Error::Internal(format!("failed to extract layer {diff_id}: {e}")))?;
        let place = self.layer_dir().join(name);
        drop(fs::remove_dir_all(&place)); // one without a record, from a crash between rename and record
        fs::rename(&temporary, &place).map_err(internal("publish a layer"))?;
        let mut index = self.index.lock();
        index.layers.insert(name.to_owned(), size);
        self.save(&index)
    }

    fn keep_config(&self, id: &str, text: &[u8]) -> Result<()> {
        let path = self.dir.join("blobs").join(id.replace(':', "/"));
        fs::write(path, text).map_err(internal("keep an image's configuration"))
    }

    /// Text of a file of an image, as the uppermost layer that has it says.
    pub(crate) fn file(&self, image: &Record, path: &str) -> String {
        for layer in image.layers.iter().rev() {
            let Ok(root) = fs::File::open(self.layer_dir().join(layer)) else { continue };
            let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC | rustix::fs::OFlags::NONBLOCK;
            let resolve = rustix::fs::ResolveFlags::IN_ROOT;
            if let Ok(fd) = rustix::fs::openat2(&root, path, flags, rustix::fs::Mode::empty(), resolve) {
                let file = fs::File::from(fd);
                if !file.metadata().is_ok_and(|m| m.is_file()) {
                    return String::new(); // a whiteout
                }
                let mut text = Vec::new();
                // A file that cannot be read has no entries; bounded, because images come from outside.
                drop(file.take(1 << 20).read_to_end(&mut text));
                return String::from_utf8_lossy(&text).into_owned();
            }
        }
        String::new()
    }
}

/// Layers that are not collected while this lives.
struct Pin {
    store: Arc<Store>,
    layers: Vec<String>,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pinned = self.store.pinned.lock();
        for layer in &self.layers {
            if let Some(count) = pinned.get_mut(layer) {
                *count -= 1;
                if *count == 0 {
                    pinned.remove(layer);
                }
            }
        }
    }
}

/// `host/repository@sha256:...`, without a tag.
pub(crate) fn digest_name(name: &Reference) -> String {
    format!("{}/{}@{}", name.registry(), name.repository(), name.digest().unwrap_or_default())
}

fn as_image(record: &Record, index: &Index) -> Image {
    let user = record.config.user.split(':').next().unwrap_or_default();
    let uid = user.parse::<i64>().ok();
    Image {
        id: record.id.clone(),
        repo_tags: record.tags.iter().cloned().collect(),
        repo_digests: record.digests.iter().cloned().collect(),
        size: record.layers.iter().filter_map(|l| index.layers.get(l)).map(|l| l.bytes).sum(),
        uid,
        username: if uid.is_some() { String::new() } else { user.to_owned() },
        pinned: false,
    }
}

/// Names of layer directories, lowest first. A layer's name covers those below it, because what it leaves out (modes
/// of directories it only passes through) comes from them.
pub(crate) fn chain(diff_ids: &[String]) -> Vec<String> {
    let mut above = String::new();
    let mut names = Vec::new();
    for diff in diff_ids {
        above = if above.is_empty() {
            diff.clone()
        } else {
            format!("sha256:{}", hex::encode(Sha256::digest(format!("{above} {diff}"))))
        };
        names.push(above.trim_start_matches("sha256:").chars().take(20).collect());
    }
    names
}

fn check_digest(digest: &str) -> Result<()> {
    let good =
        digest.strip_prefix("sha256:").is_some_and(|h| h.len() == 64 && h.bytes().all(|b| b.is_ascii_hexdigit()));
    if good { Ok(()) } else { Err(Error::InvalidArgument(format!("invalid digest {digest:?}"))) }
}

/// The digest of a text.
pub(crate) fn digest_of(text: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(text)))
}

/// The configuration of an image, checked.
pub(crate) fn parse_config(text: &[u8], layers: usize) -> Result<(ImageConfig, Vec<String>)> {
    let file: ConfigFile =
        serde_json::from_slice(text).map_err(|e| Error::InvalidArgument(format!("image configuration: {e}")))?;
    file.rootfs.diff_ids.iter().try_for_each(|d| check_digest(d))?;
    if file.rootfs.diff_ids.len() != layers || layers > 500 {
        let have = file.rootfs.diff_ids.len();
        return Err(Error::InvalidArgument(format!("image has {layers} layers and {have} layer digests")));
    }
    Ok((file.config.unwrap_or_default(), file.rootfs.diff_ids))
}

/// Bytes and inodes below a directory; hard links count once.
pub(crate) fn disk_usage(dir: &Path) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    let (mut bytes, mut inodes) = (0, 0);
    let mut seen = std::collections::HashSet::new();
    let mut queue = vec![dir.to_owned()];
    while let Some(dir) = queue.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.nlink() > 1 && !meta.is_dir() && !seen.insert((meta.dev(), meta.ino())) {
                continue;
            }
            bytes += meta.blocks() * 512;
            inodes += 1;
            if meta.is_dir() {
                queue.push(entry.path());
            }
        }
    }
    (bytes, inodes)
}
