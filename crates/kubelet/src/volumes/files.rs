//! Volumes whose files the kubelet writes.
//!
//! Invariant: readers see either all old or all new files: they are written into a new directory, to which `..data`
//! then points.

use super::directories::{is_mounted, memory};
use k8s_openapi::api::core::v1::Volume;
use std::collections::BTreeMap;
use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::Path;

/// Files of a volume by their path below it.
pub(super) type Files = BTreeMap<String, File>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) bytes: Vec<u8>,
    pub(super) mode: u32,
    pub(super) user: Option<u32>,
}

/// Where the files lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Disk,
    /// What may be secret does not touch a disk.
    Memory,
}

impl Kind {
    /// Nothing for a volume whose files the kubelet does not write.
    pub(super) fn of(volume: &Volume) -> Option<Self> {
        if volume.config_map.is_some() {
            return Some(Self::Disk);
        }
        let secret = volume.secret.is_some() || volume.projected.is_some() || volume.downward_api.is_some();
        secret.then_some(Self::Memory)
    }

    pub(super) fn prepare(self, path: &Path) -> std::io::Result<()> {
        std::fs::create_dir_all(path)?;
        if self == Self::Memory && !is_mounted(path) {
            memory(path, None)?;
        }
        std::fs::set_permissions(path, Permissions::from_mode(0o777))
    }
}

/// Replaces the files of a volume.
pub(super) fn write(path: &Path, files: &Files, group: Option<u32>) -> std::io::Result<()> {
    let name = format!("..{}", uuid::Uuid::new_v4().simple());
    let fresh = path.join(&name);
    std::fs::create_dir(&fresh)?;
    own_dir(&fresh, group)?;
    for (file, content) in files {
        put(&fresh, file, content, group)?;
    }
    let (data, swap) = (path.join("..data"), path.join("..data_tmp"));
    match std::fs::remove_file(&swap) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
        _ => symlink(&name, &swap)?,
    }
    std::fs::rename(&swap, &data)?;
    if group.is_some() {
        chown(path, None, group)?;
    }
    let wanted: Vec<&str> = files.keys().map(|f| f.split('/').next().unwrap_or(f)).collect();
    for first in &wanted {
        let link = path.join(first);
        if !link.is_symlink() {
            symlink(Path::new("..data").join(first), link)?;
        }
    }
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let seen = entry.file_name().to_string_lossy().into_owned();
        if seen == name || seen == "..data" || wanted.contains(&seen.as_str()) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?
        } else {
            std::fs::remove_file(entry.path())?
        }
    }
    Ok(())
}

fn own_dir(dir: &Path, group: Option<u32>) -> std::io::Result<()> {
    if group.is_some() {
        chown(dir, None, group)?;
    }
    std::fs::set_permissions(dir, Permissions::from_mode(if group.is_some() { 0o2775 } else { 0o755 }))
}

/// Paths were validated to stay inside.
fn put(fresh: &Path, file: &str, content: &File, group: Option<u32>) -> std::io::Result<()> {
    let target = fresh.join(file);
    let mut dir = fresh.to_owned();
    for part in Path::new(file).parent().into_iter().flat_map(Path::components) {
        dir.push(part);
        if !dir.is_dir() {
            std::fs::create_dir(&dir)?;
            own_dir(&dir, group)?;
        }
    }
    let mut out = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&target)?;
    out.write_all(&content.bytes)?;
    let mode = if group.is_some() { content.mode | 0o440 } else { content.mode };
    if content.user.is_some() || group.is_some() {
        chown(&target, content.user, group)?;
    }
    out.set_permissions(Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_swaps_all_files_at_once_and_takes_old_names_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v");
        std::fs::create_dir(&path).unwrap();
        let file = |text: &str, mode| File { bytes: text.as_bytes().to_vec(), mode, user: None };
        let files = |text: &str, more: &str| {
            Files::from([("a".to_owned(), file(text, 0o644)), (more.to_owned(), file("x", 0o400))])
        };
        write(&path, &files("one", "old"), None).unwrap();
        write(&path, &files("two", "d/b"), Some(7)).unwrap();
        assert_eq!(std::fs::read_to_string(path.join("a")).unwrap(), "two");
        assert_eq!(std::fs::metadata(path.join("d/b")).unwrap().permissions().mode() & 0o777, 0o440);
        let mut names: Vec<String> =
            std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names.retain(|n| !n.starts_with("..") || n == "..data");
        assert_eq!(names, ["..data", "a", "d"]);
    }
}
