//! Images on the node: what is known of them, their unpacked layers, and how they come in.
//!
//! Invariants: a layer directory with its final name is complete; names, images and layers are recorded in one file
//! that is replaced atomically, under a lock that all processes take (`ironclad image` works beside a running node);
//! what no record names is garbage, and goes when nobody pulls.

mod archive;
mod pull;
pub(crate) mod registry;
pub(crate) mod store;
mod unpack;

use crate::oci::ImageConfig;
use crate::state::{self, ContainerRecord};
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
    /// Layers of images that were removed while containers used them.
    removed: BTreeMap<String, Vec<String>>,
}

/// All images of the node.
pub(crate) struct Store {
    dir: PathBuf,
    /// The directories of containers, whose images are in use.
    containers: PathBuf,
    /// The index, and the file it was read from.
    index: Mutex<(Index, Stamp)>,
    /// One unpacking of a layer, one pull of a name at a time.
    locks: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
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
    /// Opens the store below the runtime's data directory; clears away what interrupted pulls left.
    pub(crate) fn open(data: &Path, registries: registry::RegistryConfig) -> Result<Self> {
        let dir = data.join("images");
        for name in ["tmp", "l", "blobs/sha256"] {
            let path = dir.join(name);
            fs::create_dir_all(&path).map_err(internal(path.display()))?;
        }
        let store = Self {
            containers: data.join("containers"),
            dir,
            index: Mutex::default(),
            locks: Mutex::default(),
            registries,
        };
        store.read(|_| ())?;
        if let Some(_alone) = store.alone()? {
            let tmp = store.dir.join("tmp");
            fs::remove_dir_all(&tmp).and_then(|()| fs::create_dir(&tmp)).map_err(internal(tmp.display()))?;
        }
        Ok(store)
    }

    /// Looks at the index, as the process that changed it last left it.
    fn read<T>(&self, look: impl FnOnce(&Index) -> T) -> Result<T> {
        let mut held = self.index.lock();
        self.refresh(&mut held)?;
        Ok(look(&held.0))
    }

    /// Changes the index, alone among all processes.
    fn change<T>(&self, change: impl FnOnce(&mut Index) -> T) -> Result<T> {
        let file = fs::File::create(self.dir.join("lock")).map_err(internal("open the image store's lock"))?;
        file.lock().map_err(internal("lock the image store"))?;
        let mut held = self.index.lock();
        self.refresh(&mut held)?;
        let result = change(&mut held.0);
        let path = self.dir.join("images.json");
        state::save(&path, &held.0).map_err(internal("write the image index"))?;
        held.1 = stamp(&path);
        Ok(result)
    }

    fn refresh(&self, held: &mut (Index, Stamp)) -> Result<()> {
        let path = self.dir.join("images.json");
        let now = stamp(&path);
        if now != held.1 {
            held.0 = state::load(&path).map_err(internal("read the image index"))?;
            held.1 = now;
        }
        Ok(())
    }

    /// A lock that is only given while no process pulls or imports.
    fn alone(&self) -> Result<Option<fs::File>> {
        let file = fs::File::create(self.dir.join("pulling")).map_err(internal("open the image store's lock"))?;
        Ok(file.try_lock().is_ok().then_some(file))
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

    /// An image by id, by the beginning of its id, by tag or by digest.
    pub(crate) fn find(&self, name: &str) -> Option<Record> {
        // An index that cannot be read is told by whatever changes it.
        self.read(|index| find(index, name).cloned()).ok().flatten()
    }

    /// All images.
    pub(crate) fn list(&self) -> Result<Vec<Image>> {
        self.read(|index| index.images.values().map(|r| as_image(r, index)).collect())
    }

    /// One image.
    pub(crate) fn status(&self, name: &str) -> Result<Option<Image>> {
        let found = self.read(|index| find(index, name).map(|r| as_image(r, index)))?;
        if found.is_none() {
            parse_name(name)?;
        }
        Ok(found)
    }

    /// Records an image whose layers are unpacked; names move to it from other images.
    pub(crate) fn add(&self, record: Record) -> Result<()> {
        self.change(|index| {
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
        })
    }

    /// Removes an image by id with all its names, or one name of it. Layers of containers stay on disk.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        self.change(|index| {
            let Some(id) = find(index, name).map(|r| r.id.clone()) else { return };
            let by_name = parse_name(name).ok().filter(|_| !id.contains(name));
            if let Some(image) = index.images.get_mut(&id) {
                match by_name {
                    Some(r) if r.digest().is_none() => drop(image.tags.remove(&r.whole())),
                    _ => image.tags.clear(),
                }
            }
            let nameless = index.images.get(&id).is_some_and(|i| i.tags.is_empty());
            if let Some(image) = nameless.then(|| index.images.remove(&id)).flatten() {
                index.removed.insert(id, image.layers);
            }
        })?;
        self.collect()
    }

    /// Removes layers and configurations that no image and no container needs. While somebody pulls nothing is known
    /// to be garbage: then the next removal or start does it.
    pub(crate) fn collect(&self) -> Result<()> {
        let Some(_alone) = self.alone()? else { return Ok(()) };
        let used = self.images_in_use();
        let needed = self.change(|index| {
            // An image that only containers use keeps its layers by name.
            let kept = index.removed.iter().filter(|(id, _)| used.contains(*id)).flat_map(|(_, layers)| layers.iter());
            let needed: BTreeSet<String> =
                index.images.values().flat_map(|i| i.layers.iter()).chain(kept).cloned().collect();
            index.layers.retain(|name, _| needed.contains(name));
            index.removed.retain(|id, _| used.contains(id));
            let ids: BTreeSet<String> = index.images.keys().cloned().collect();
            (needed, ids)
        })?;
        for entry in fs::read_dir(self.layer_dir()).map_err(internal("list layers"))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !needed.0.contains(&name) {
                // First out of its name, so that a half-removed layer is never taken for a whole one.
                let trash = self.dir.join("tmp").join(format!("gone-{name}-{}", uuid::Uuid::new_v4()));
                fs::rename(entry.path(), &trash).map_err(internal("remove a layer"))?;
                fs::remove_dir_all(&trash).map_err(internal("remove a layer"))?;
            }
        }
        for entry in fs::read_dir(self.dir.join("blobs/sha256")).map_err(internal("list blobs"))?.flatten() {
            if !needed.1.contains(&format!("sha256:{}", entry.file_name().to_string_lossy())) {
                fs::remove_file(entry.path()).map_err(internal("remove a blob"))?;
            }
        }
        Ok(())
    }

    /// Ids of the images that containers were made from.
    fn images_in_use(&self) -> BTreeSet<String> {
        let containers = fs::read_dir(&self.containers).into_iter().flatten().flatten();
        let records = containers.filter_map(|c| state::load::<ContainerRecord>(&c.path().join("container.json")).ok());
        records.map(|r| r.image_id).collect()
    }

    /// Bytes and inodes of all layers.
    pub(crate) fn usage(&self) -> Result<LayerSize> {
        self.read(|index| {
            index.layers.values().fold(LayerSize::default(), |sum, l| LayerSize {
                bytes: sum.bytes + l.bytes,
                inodes: sum.inodes + l.inodes,
            })
        })
    }

    /// Keeps layers from being collected while the guard lives.
    fn pin(&self) -> Result<fs::File> {
        let file = fs::File::create(self.dir.join("pulling")).map_err(internal("open the image store's lock"))?;
        file.lock_shared().map_err(internal("lock the image store"))?;
        Ok(file)
    }

    /// Whether a layer is there already.
    fn has_layer(&self, name: &str) -> bool {
        self.layer_dir().join(name).exists() && self.read(|index| index.layers.contains_key(name)).unwrap_or(false)
    }

    /// Unpacks a layer below its final name. Blocking; the layer's lock must be held.
    fn unpack(&self, name: &str, diff_id: &str, lower: &[String], packed: impl Read + 'static) -> Result<()> {
        let temporary = self.dir.join("tmp").join(format!("layer-{}", uuid::Uuid::new_v4()));
        let lower: Vec<PathBuf> = lower.iter().rev().map(|l| self.layer_dir().join(l)).collect();
        let size = unpack::layer(packed, diff_id, &temporary, &lower).map_err(|e| {
            drop(fs::remove_dir_all(&temporary)); // what stays is cleared away at the next start
            Error::Internal(format!("failed to extract layer {diff_id}: {e}"))
        })?;
        let place = self.layer_dir().join(name);
        let placed = self.change(|index| {
            if index.layers.contains_key(name) && place.exists() {
                return fs::remove_dir_all(&temporary); // another process was faster
            }
            drop(fs::remove_dir_all(&place)); // one without a record, from a crash between rename and record
            index.layers.insert(name.to_owned(), size);
            fs::rename(&temporary, &place)
        })?;
        placed.map_err(internal("publish a layer"))
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

/// What tells one version of a file from another.
type Stamp = Option<(u64, i64, i64)>;

fn stamp(path: &Path) -> Stamp {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).ok().map(|m| (m.ino(), m.mtime(), m.mtime_nsec()))
}

fn find<'a>(index: &'a Index, name: &str) -> Option<&'a Record> {
    if let Some(image) = index.images.get(name) {
        return Some(image);
    }
    let bare = name.strip_prefix("sha256:").unwrap_or(name);
    if bare.len() >= 12 && bare.bytes().all(|b| b.is_ascii_hexdigit()) {
        let prefix = format!("sha256:{bare}");
        if let Some((_, image)) = index.images.iter().find(|(id, _)| id.starts_with(&prefix)) {
            return Some(image);
        }
    }
    let whole = Reference::try_from(name).ok()?;
    let key = whole.whole();
    index.images.values().find(|r| match whole.digest() {
        Some(_) => r.digests.iter().any(|d| *d == digest_name(&whole)),
        None => r.tags.contains(&key),
    })
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
