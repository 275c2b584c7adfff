//! Paths inside of volumes, safe against a container that changes the volume at the same time (CVE-2017-1002101,
//! CVE-2021-25741): the path is opened below the volume by the kernel's own resolution, and what was opened is bound to
//! a place that no container can reach; only that place is handed on.

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat2};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, mount_bind_recursive, unmount};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// Opens `sub` below `volume`, making directories that are missing; never leaves the volume.
fn open(volume: &Path, sub: &str) -> Result<OwnedFd, String> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = rustix::fs::open(volume, flags, Mode::empty()).map_err(|e| e.to_string())?;
    let below = |path: &Path| openat2(&root, path, flags, Mode::empty(), ResolveFlags::BENEATH);
    let mode = Mode::from_raw_mode(fstat(&root).map_err(|e| e.to_string())?.st_mode & 0o7777);
    let mut sofar = PathBuf::new();
    let mut parent = root.try_clone().map_err(|e| e.to_string())?;
    for part in Path::new(sub).components() {
        match part {
            Component::Normal(name) => sofar.push(name),
            Component::CurDir => continue,
            _ => return Err(format!("subPath {sub:?} leads out of its volume")),
        }
        let name = sofar.file_name().unwrap_or_default().to_owned();
        parent = match below(&sofar) {
            Err(Errno::NOENT) => {
                match mkdirat(&parent, &name, mode) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(e) => return Err(format!("cannot create {}: {e}", sofar.display())),
                }
                let fd = below(&sofar).map_err(|e| format!("{}: {e}", sofar.display()))?;
                // The umask must not take bits away.
                let own = format!("/proc/self/fd/{}", fd.as_raw_fd());
                rustix::fs::chmod(own, mode).map_err(|e| e.to_string())?;
                fd
            }
            Err(Errno::XDEV) => return Err(format!("subPath {sub:?} leads out of its volume")),
            other => other.map_err(|e| format!("{}: {e}", sofar.display()))?,
        };
    }
    Ok(parent)
}

/// Binds what is at `sub` in a volume to `target`, and returns that.
pub(super) fn bind(volume: &Path, sub: &str, target: &Path) -> Result<PathBuf, String> {
    let found = open(volume, sub)?;
    free(target).map_err(|e| e.to_string())?;
    let stat = fstat(found.as_fd()).map_err(|e| e.to_string())?;
    let make = || -> std::io::Result<()> {
        std::fs::create_dir_all(target.parent().unwrap_or(Path::new("/")))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => std::fs::create_dir(target),
            _ => std::fs::File::create(target).map(drop),
        }
    };
    make().map_err(|e| format!("cannot create {}: {e}", target.display()))?;
    let source = format!("/proc/self/fd/{}", found.as_raw_fd());
    mount_bind_recursive(source, target).map_err(|e| format!("cannot bind {}: {e}", target.display()))?;
    Ok(target.to_owned())
}

/// Takes an earlier bind away. Fine where there is none.
fn free(target: &Path) -> std::io::Result<()> {
    match unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
        Err(e) => return Err(e.into()),
    }
    match std::fs::symlink_metadata(target) {
        Ok(meta) if meta.is_dir() => std::fs::remove_dir(target),
        Ok(_) => std::fs::remove_file(target),
        Err(_) => Ok(()),
    }
}

/// Unbinds all of a pod.
pub(crate) fn release(pod_dir: &Path) -> std::io::Result<()> {
    let list = |dir: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect()
    };
    let top = pod_dir.join("volume-subpaths");
    list(&top).iter().flat_map(|v| list(v)).flat_map(|c| list(&c)).try_for_each(|target| free(&target))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_inside_are_followed_and_links_outside_refused() {
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path().join("volume");
        std::fs::create_dir_all(volume.join("..data")).unwrap();
        std::fs::write(volume.join("..data/key"), "text").unwrap();
        symlink("..data/key", volume.join("key")).unwrap();
        symlink("/etc", volume.join("evil")).unwrap();
        symlink("../../etc", volume.join("up")).unwrap();
        let pod = dir.path().join("pod");
        let target = pod.join("volume-subpaths/v/c/0");
        let bound = bind(&volume, "key", &target).unwrap();
        assert_eq!(std::fs::read_to_string(bound).unwrap(), "text");
        bind(&volume, "new/dir", &target).unwrap();
        assert!(volume.join("new/dir").is_dir());
        for bad in ["evil", "evil/passwd", "up", "../x", "up/new"] {
            assert!(bind(&volume, bad, &pod.join("volume-subpaths/v/c/1")).is_err(), "{bad}");
        }
        release(&pod).unwrap();
        assert!(!target.exists());
    }
}
