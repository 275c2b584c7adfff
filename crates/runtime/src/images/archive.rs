//! Importing archives: OCI layouts and what `docker save` writes, as one tar.

use super::{Record, Store, chain, check_digest, digest_of, internal, parse_config, parse_name};
use ironclad_cri::{Error, Result};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Descriptor {
    media_type: String,
    digest: String,
    annotations: std::collections::BTreeMap<String, String>,
    platform: Option<Platform>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Manifest {
    manifests: Vec<Descriptor>,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl Store {
    /// Imports all images of an archive; returns their names, or ids where they have none. Blocking.
    pub(crate) fn import(self: &Arc<Self>, archive: impl Read) -> Result<Vec<String>> {
        let dir = self.dir.join("tmp").join(format!("import-{}", uuid::Uuid::new_v4()));
        let _cleared = RemoveOnDrop(dir.clone());
        spread(archive, &dir)?;
        if dir.join("manifest.json").exists() {
            let saved: Vec<Saved> = json(&dir.join("manifest.json"))?;
            return saved.iter().map(|s| self.import_saved(&dir, s)).collect::<Result<Vec<_>>>().map(|n| n.concat());
        }
        let index: Manifest = json(&dir.join("index.json"))
            .map_err(|e| Error::InvalidArgument(format!("neither an OCI layout nor a docker archive: {e}")))?;
        let mut names = Vec::new();
        for entry in &index.manifests {
            names.extend(self.import_manifest(&dir, entry, 0)?);
        }
        Ok(names)
    }

    fn import_manifest(self: &Arc<Self>, dir: &Path, entry: &Descriptor, depth: u32) -> Result<Vec<String>> {
        let manifest: Manifest = json(&blob(dir, &entry.digest)?)?;
        if !manifest.manifests.is_empty() && depth < 4 {
            let arch = match std::env::consts::ARCH {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                other => other,
            };
            let fits = |d: &&Descriptor| d.platform.as_ref().is_none_or(|p| p.os == "linux" && p.architecture == arch);
            let Some(found) = manifest.manifests.iter().find(fits) else {
                return Err(Error::NotFound("no match for platform in manifest: not found".into()));
            };
            let named = Descriptor {
                annotations: entry.annotations.clone(),
                digest: found.digest.clone(),
                media_type: found.media_type.clone(),
                platform: None,
            };
            return self.import_manifest(dir, &named, depth + 1);
        }
        let name = ["io.containerd.image.name", "org.opencontainers.image.ref.name"]
            .into_iter()
            .filter_map(|key| entry.annotations.get(key))
            .find(|n| n.contains([':', '/']));
        let layers = manifest.layers.iter().map(|l| blob(dir, &l.digest)).collect::<Result<Vec<_>>>()?;
        let names: Vec<String> = name.cloned().into_iter().collect();
        self.import_image(&blob(dir, &manifest.config.digest)?, &layers, &names, Some(&entry.digest))
    }

    fn import_saved(self: &Arc<Self>, dir: &Path, saved: &Saved) -> Result<Vec<String>> {
        let layers = saved.layers.iter().map(|l| inside(dir, Path::new(l))).collect::<Result<Vec<_>>>()?;
        let names = saved.repo_tags.clone().unwrap_or_default();
        self.import_image(&inside(dir, Path::new(&saved.config))?, &layers, &names, None)
    }

    fn import_image(
        self: &Arc<Self>,
        config: &Path,
        files: &[PathBuf],
        names: &[String],
        manifest: Option<&str>,
    ) -> Result<Vec<String>> {
        let text = fs::read(config).map_err(internal("read the image's configuration"))?;
        let id = digest_of(&text);
        let (config, diff_ids) = parse_config(&text, files.len())?;
        let layers = chain(&diff_ids);
        let _pin = self.pin()?;
        for (i, name) in layers.iter().enumerate() {
            let lock = self.lock(&format!("layer {name}"));
            let _one = lock.blocking_lock();
            if !self.has_layer(name) {
                let packed = fs::File::open(&files[i]).map_err(internal("open a layer"))?;
                self.unpack(name, &diff_ids[i], &layers[..i], packed)?;
            }
        }
        self.keep_config(&id, &text)?;
        let parsed = names.iter().map(|n| parse_name(n)).collect::<Result<Vec<_>>>()?;
        let tags: BTreeSet<String> = parsed.iter().map(oci_client::Reference::whole).collect();
        let digests = manifest.map(|digest| {
            parsed.iter().map(|n| format!("{}/{}@{digest}", n.registry(), n.repository())).collect::<BTreeSet<_>>()
        });
        let told = if tags.is_empty() { vec![id.clone()] } else { tags.iter().cloned().collect() };
        self.add(Record { id, tags, digests: digests.unwrap_or_default(), layers, config })?;
        Ok(told)
    }
}

struct RemoveOnDrop(PathBuf);

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0)); // garbage is cleared at the next start too
    }
}

/// Writes an archive's regular files below `dir`; nothing else in it matters.
fn spread(archive: impl Read, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).map_err(internal("create a directory for the import"))?;
    let mut tar = tar::Archive::new(archive);
    let bad = |e: std::io::Error| Error::InvalidArgument(format!("read the archive: {e}"));
    for entry in tar.entries().map_err(bad)? {
        let mut entry = entry.map_err(bad)?;
        let path = inside(dir, &entry.path().map_err(bad)?)?;
        if let Some(above) = path.parent() {
            fs::create_dir_all(above).map_err(internal("create a directory for the import"))?;
        }
        let kind = entry.header().entry_type();
        if kind.is_file() {
            let mut file = fs::File::create(&path).map_err(internal("write a file of the archive"))?;
            std::io::copy(&mut entry, &mut file).map_err(internal("write a file of the archive"))?;
        } else if let (true, Ok(Some(target))) = (kind.is_symlink() || kind.is_hard_link(), entry.link_name()) {
            // Older archives link equal layers to each other.
            let from = if kind.is_symlink() { path.parent().unwrap_or(dir).join(&target) } else { dir.join(&target) };
            let from = fs::canonicalize(&from).map_err(internal("follow a link of the archive"))?;
            let root = fs::canonicalize(dir).map_err(internal("import"))?;
            if !from.starts_with(&root) {
                return Err(Error::InvalidArgument(format!("the archive links out of itself: {}", target.display())));
            }
            fs::hard_link(from, &path).map_err(internal("link a file of the archive"))?;
        }
    }
    Ok(())
}

fn inside(dir: &Path, path: &Path) -> Result<PathBuf> {
    let mut clean = dir.to_owned();
    for part in path.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::CurDir => {}
            _ => return Err(Error::InvalidArgument(format!("bad path in the archive: {}", path.display()))),
        }
    }
    Ok(clean)
}

fn blob(dir: &Path, digest: &str) -> Result<PathBuf> {
    check_digest(digest)?;
    let path = dir.join("blobs").join(digest.replace(':', "/"));
    let mut file = fs::File::open(&path).map_err(internal(format!("the archive lacks {digest}")))?;
    let mut hash = <sha2::Sha256 as sha2::Digest>::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let n = file.read(&mut buffer).map_err(internal("read a blob"))?;
        if n == 0 {
            break;
        }
        sha2::Digest::update(&mut hash, &buffer[..n]);
    }
    let found = format!("sha256:{}", hex::encode(sha2::Digest::finalize(hash)));
    if found == digest { Ok(path) } else { Err(Error::InvalidArgument(format!("blob {digest} has digest {found}"))) }
}

fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let file = fs::File::open(path).map_err(internal(path.display()))?;
    let mut text = Vec::new();
    file.take(8 << 20).read_to_end(&mut text).map_err(internal(path.display()))?;
    serde_json::from_slice(&text).map_err(|e| Error::InvalidArgument(format!("{}: {e}", path.display())))
}
