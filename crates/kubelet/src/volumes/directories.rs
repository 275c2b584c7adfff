//! Volumes that are plain directories: emptyDir and hostPath.

use super::{Around, owner};
use ironclad_api::pod_resources;
use ironclad_api::quantity::Quantity;
use k8s_openapi::api::core::v1::EmptyDirVolumeSource;
use rustix::mount::{MountFlags, UnmountFlags};
use std::ffi::CString;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// An empty directory, on disk or in memory. One that was made before stays as it is.
pub(super) fn empty(around: &Around<'_>, empty: &EmptyDirVolumeSource, path: &Path) -> Result<(), String> {
    let fail = |e: std::io::Error| e.to_string();
    let fresh = !path.exists();
    std::fs::create_dir_all(path).map_err(fail)?;
    match empty.medium.as_deref().unwrap_or_default() {
        "" => {}
        "Memory" => {
            if !is_mounted(path) {
                memory(path, Some(limit(around, empty))).map_err(fail)?;
            }
        }
        other => return Err(format!("the medium {other:?} of an emptyDir is not supported on this node")),
    }
    if fresh {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).map_err(fail)?;
    }
    match owner::group(around.plan) {
        Some(group) => owner::give(path, group, owner::policy(around.plan)).map_err(fail),
        None => Ok(()),
    }
}

/// How much a directory in memory may hold: its own limit, the pod's, or what the node has.
fn limit(around: &Around<'_>, empty: &EmptyDirVolumeSource) -> i64 {
    let own = empty.size_limit.as_ref().and_then(|q| Quantity::try_from(q).ok()).filter(|q| !q.is_zero());
    let pod = pod_resources::limits(&around.plan.spec).get("memory").copied().filter(|q| !q.is_zero());
    let node = around.facts.allocatable.get("memory").copied();
    [own, pod, node].into_iter().flatten().map(|q| q.value()).min().unwrap_or(0)
}

/// Mounts a file system in memory.
pub(super) fn memory(path: &Path, bytes: Option<i64>) -> std::io::Result<()> {
    let size = bytes.filter(|b| *b > 0).map(|b| format!(",size={b}")).unwrap_or_default();
    let data = CString::new(format!("mode=0777{size}"))?;
    Ok(rustix::mount::mount("tmpfs", path, "tmpfs", MountFlags::empty(), data.as_c_str())?)
}

/// Whether something is mounted on a directory.
pub(super) fn is_mounted(path: &Path) -> bool {
    let device = |p: &Path| std::fs::symlink_metadata(p).map(|m| m.dev()).ok();
    path.parent().is_some_and(|parent| device(path) != device(parent))
}

/// Unmounts all below a directory, the deepest first: what containers mounted into shared volumes as well. Nothing
/// of the host may be left there when the directory is removed.
pub(crate) fn unmount_below(dir: &Path) -> std::io::Result<()> {
    let text = std::fs::read_to_string("/proc/self/mountinfo")?;
    let points = text.lines().filter_map(|l| l.split(' ').nth(4)).map(|p| PathBuf::from(unescape(p)));
    let below: Vec<PathBuf> = points.filter(|p| p.starts_with(dir)).collect();
    for point in below.iter().rev() {
        match rustix::mount::unmount(point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            Err(e) => {
                return Err(std::io::Error::new(std::io::Error::from(e).kind(), format!("{}: {e}", point.display())));
            }
        }
    }
    Ok(())
}

/// The kernel writes blanks and backslashes in octal.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |t, (from, to)| t.replace(from, to))
}

/// A path of the host that is what it should be.
pub(super) fn host_path(path: &str, kind: &str) -> Result<PathBuf, String> {
    let target = PathBuf::from(path);
    let found = std::fs::metadata(&target);
    let missing = found.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound);
    let check = |good: bool, what: &str| match good {
        true => Ok(()),
        false => Err(format!("hostPath type check failed: {path} is not {what}")),
    };
    let is = |test: fn(&std::fs::FileType) -> bool| found.as_ref().is_ok_and(|m| test(&m.file_type()));
    match kind {
        "DirectoryOrCreate" if missing => std::fs::create_dir_all(&target).map_err(|e| e.to_string())?,
        "FileOrCreate" if missing => {
            std::fs::File::options().create(true).append(true).mode(0o644).open(&target).map_err(|e| e.to_string())?;
        }
        "Directory" | "DirectoryOrCreate" => check(is(std::fs::FileType::is_dir), "a directory")?,
        "File" | "FileOrCreate" => check(is(std::fs::FileType::is_file), "a file")?,
        "Socket" => check(is(FileTypeExt::is_socket), "a socket file")?,
        "CharDevice" => check(is(FileTypeExt::is_char_device), "a character device")?,
        "BlockDevice" => check(is(FileTypeExt::is_block_device), "a block device")?,
        _ => {}
    }
    Ok(target)
}
