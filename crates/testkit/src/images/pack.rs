//! Directories to layers: sorted, owned by root, without times, so that the same files give the same digest.

use crate::{Result, io};
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Part of the cache's key: raise it when packing changes.
pub(crate) const VERSION: u32 = 1;

/// A file named by its content.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    pub(crate) digest: String,
    pub(crate) size: u64,
}

impl Blob {
    pub(crate) fn descriptor(&self, media_type: &str) -> Value {
        json!({ "mediaType": media_type, "digest": self.digest, "size": self.size })
    }
}

/// Writes bytes under their digest.
pub(crate) fn blob(bytes: &[u8], blobs: &Path) -> Result<Blob> {
    let hex = hex::encode(Sha256::digest(bytes));
    fs::write(blobs.join(&hex), bytes).map_err(io("write a blob"))?;
    Ok(Blob { digest: format!("sha256:{hex}"), size: bytes.len() as u64 })
}

/// Packs a directory into a gzipped layer; returns it and the digest of the plain tar.
pub(crate) fn layer(root: &Path, blobs: &Path) -> Result<(Blob, String)> {
    let mut tar = tar::Builder::new(Vec::new());
    add_dir(&mut tar, root, Path::new(""))?;
    let plain = tar.into_inner().map_err(io("finish a layer"))?;
    let diff_id = format!("sha256:{}", hex::encode(Sha256::digest(&plain)));
    let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::fast());
    gzip.write_all(&plain)
        .and_then(|()| gzip.finish())
        .map_err(io("compress a layer"))
        .and_then(|packed| Ok((blob(&packed, blobs)?, diff_id)))
}

/// Adds a regular file.
pub(crate) fn add_bytes<W: Write>(tar: &mut tar::Builder<W>, name: &str, bytes: &[u8]) -> Result<()> {
    let mut header = header(0o644, tar::EntryType::Regular);
    header.set_size(bytes.len() as u64);
    tar.append_data(&mut header, name, bytes).map_err(io(format!("pack {name}")))
}

fn header(mode: u32, kind: tar::EntryType) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header
}

fn add_dir<W: Write>(tar: &mut tar::Builder<W>, root: &Path, below: &Path) -> Result<()> {
    let dir = root.join(below);
    let mut names: Vec<_> = fs::read_dir(&dir)
        .and_then(|entries| entries.map(|e| e.map(|e| e.file_name())).collect())
        .map_err(io(format!("read {}", dir.display())))?;
    names.sort();
    for name in names {
        let inside = below.join(name);
        let path = root.join(&inside);
        let what = || io(format!("pack {}", path.display()));
        let meta = fs::symlink_metadata(&path).map_err(what())?;
        let mode = meta.permissions().mode() & 0o7777;
        if meta.is_dir() {
            let mut header = header(mode, tar::EntryType::Directory);
            tar.append_data(&mut header, &inside, std::io::empty()).map_err(what())?;
            add_dir(tar, root, &inside)?;
        } else if meta.is_symlink() {
            let mut header = header(0o777, tar::EntryType::Symlink);
            let target = fs::read_link(&path).map_err(what())?;
            tar.append_link(&mut header, &inside, target).map_err(what())?;
        } else if meta.is_file() {
            let mut header = header(mode, tar::EntryType::Regular);
            header.set_size(meta.len());
            tar.append_data(&mut header, &inside, fs::File::open(&path).map_err(what())?).map_err(what())?;
        }
    }
    Ok(())
}
