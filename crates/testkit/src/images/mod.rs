//! The images that tests run, as an OCI layout in a cache directory.
//!
//! Invariant: the cache directory's name is the hash of all recipes, so a changed recipe never meets an old image.

mod pack;
mod packages;
mod recipes;

use crate::{Error, Result, io};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// One image: a name such as `nginx:1.27` and its manifest.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Image {
    /// Name and tag, without a registry.
    pub name: String,
    /// Digest of the manifest, `sha256:...`.
    pub digest: String,
    /// Digest of the configuration: the image's id.
    pub id: String,
    /// Size of the manifest in bytes.
    pub size: u64,
    /// Digests of the layers.
    pub layers: Vec<String>,
}

/// All images of the test kit.
#[derive(Clone, Debug)]
pub struct Images {
    dir: PathBuf,
    images: BTreeMap<String, Image>,
}

impl Images {
    /// Builds them, or finds them in the cache. Safe to call from many test processes at once.
    pub async fn build() -> Result<Self> {
        tokio::task::spawn_blocking(Self::build_blocking).await?
    }

    /// The same, without a tokio runtime.
    pub fn build_blocking() -> Result<Self> {
        let recipes = recipes::all();
        let key = hex::encode(Sha256::digest(format!("{recipes:?}{}", pack::VERSION)));
        let cache = cache_dir();
        fs::create_dir_all(&cache).map_err(io(format!("create {}", cache.display())))?;
        let lock = fs::File::create(cache.join("lock")).map_err(io("create the cache's lock"))?;
        lock.lock().map_err(io("lock the cache"))?;
        let dir = cache.join(format!("images-{}", &key[..16]));
        if !dir.join("images.json").exists() {
            let work = tempfile::tempdir_in(&cache).map_err(io("create a work directory"))?;
            build_all(&recipes, &cache, work.path())?;
            if dir.exists() {
                fs::remove_dir_all(&dir).map_err(io("remove a half-built cache"))?;
            }
            fs::rename(work.path().join("layout"), &dir).map_err(io("publish the images"))?;
        }
        let text = fs::read(dir.join("images.json")).map_err(io("read the images' index"))?;
        let images: Vec<Image> = serde_json::from_slice(&text)?;
        Ok(Self { dir, images: images.into_iter().map(|i| (i.name.clone(), i)).collect() })
    }

    /// Names with tags, sorted.
    pub fn names(&self) -> Vec<&str> {
        self.images.keys().map(String::as_str).collect()
    }

    /// One image by name and tag, for example `busybox:1.35`.
    pub fn get(&self, name: &str) -> Result<&Image> {
        self.images.get(name).ok_or_else(|| Error::NoImage(name.into(), self.names().join(", ")))
    }

    /// All images.
    pub fn iter(&self) -> impl Iterator<Item = &Image> {
        self.images.values()
    }

    /// A manifest, configuration or layer by digest.
    pub fn blob(&self, digest: &str) -> Option<PathBuf> {
        let hex = digest.strip_prefix("sha256:")?;
        let known = hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit());
        let path = self.dir.join("blobs/sha256").join(hex);
        (known && path.exists()).then_some(path)
    }

    /// Writes an OCI archive of one image to `path`, named `name` inside.
    pub fn archive(&self, image: &str, name: &str, path: &Path) -> Result<()> {
        let image = self.get(image)?;
        let mut tar = tar::Builder::new(fs::File::create(path).map_err(io(format!("create {}", path.display())))?);
        pack::add_bytes(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        pack::add_bytes(&mut tar, "index.json", index_of(image, name).to_string().as_bytes())?;
        for digest in [&image.digest, &image.id].into_iter().chain(&image.layers) {
            let file = self.blob(digest).ok_or_else(|| Error::NoImage(digest.clone(), String::new()))?;
            let bytes = fs::read(&file).map_err(io(format!("read {}", file.display())))?;
            pack::add_bytes(&mut tar, &format!("blobs/sha256/{}", &digest[7..]), &bytes)?;
        }
        tar.into_inner().map_err(io("finish the archive"))?;
        Ok(())
    }
}

fn index_of(image: &Image, name: &str) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": MANIFEST,
            "digest": image.digest,
            "size": image.size,
            "annotations": {
                "io.containerd.image.name": name,
                "org.opencontainers.image.ref.name": name.rsplit_once(':').map_or(name, |(_, tag)| tag),
            }
        }]
    })
}

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn cache_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("IRONCLAD_TEST_CACHE") {
        return dir.into();
    }
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from);
    target.join("testkit")
}

fn build_all(recipes: &[recipes::Recipe], cache: &Path, work: &Path) -> Result<()> {
    let layout = work.join("layout");
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(io("create the blob directory"))?;
    let staging = packages::Staging::new(&cache.join("debs"), work);
    let mut layers: BTreeMap<String, (pack::Blob, String)> = BTreeMap::new();
    let mut images = Vec::new();
    for recipe in recipes {
        let mut diff_ids = Vec::new();
        let mut descriptors = Vec::new();
        for layer in &recipe.layers {
            let key = format!("{layer:?}");
            if !layers.contains_key(&key) {
                let root = work.join("layer");
                fs::create_dir_all(&root).map_err(io("create a layer directory"))?;
                recipes::lay_out(layer, &staging, &root)?;
                layers.insert(key.clone(), pack::layer(&root, &blobs)?);
                fs::remove_dir_all(&root).map_err(io("remove a layer directory"))?;
            }
            let (blob, diff_id) = &layers[&key];
            diff_ids.push(diff_id.clone());
            descriptors.push(blob.clone());
        }
        images.extend(recipe.names.iter().map(|name| manifest(name, recipe, &diff_ids, &descriptors, &blobs)));
    }
    let images = images.into_iter().collect::<Result<Vec<_>>>()?;
    fs::write(layout.join("images.json"), serde_json::to_vec_pretty(&images)?).map_err(io("write the images' index"))
}

fn manifest(
    name: &str,
    recipe: &recipes::Recipe,
    diff_ids: &[String],
    layers: &[pack::Blob],
    blobs: &Path,
) -> Result<Image> {
    let config = json!({
        "architecture": arch(),
        "os": "linux",
        "created": "2026-01-01T00:00:00Z",
        "config": recipe.config,
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
        "history": [],
    });
    let config = pack::blob(config.to_string().as_bytes(), blobs)?;
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor("application/vnd.oci.image.config.v1+json"),
        "layers": layers.iter().map(|l| l.descriptor("application/vnd.oci.image.layer.v1.tar+gzip")).collect::<Vec<_>>(),
    });
    let blob = pack::blob(manifest.to_string().as_bytes(), blobs)?;
    Ok(Image {
        name: name.into(),
        digest: blob.digest,
        id: config.digest,
        size: blob.size,
        layers: layers.iter().map(|l| l.digest.clone()).collect(),
    })
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
