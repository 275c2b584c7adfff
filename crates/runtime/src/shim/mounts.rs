//! The file system of a container, made in its own mount namespace.
//!
//! Invariant: no path inside the container is followed out of it: targets are opened with `RESOLVE_IN_ROOT` below the
//! root, and mounts are moved onto the opened descriptors.

use super::users::Layers;
use crate::spec::{Device, Mount, Overlay, Spec};
use crate::sys::{check, cstring};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, mkdirat, openat2};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_bind_recursive,
    mount_change, mount_remount, move_mount, open_tree, unmount,
};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Says what was tried.
pub(crate) fn at<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> String {
    let what = what.into();
    move |e| format!("{what}: {}", message(&e.into()))
}

/// An error as Go words it: lower case, without a number.
pub(crate) fn message(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    match text {
        "Operation not permitted"
        | "Permission denied"
        | "No such file or directory"
        | "Invalid argument"
        | "Exec format error"
        | "Is a directory"
        | "Not a directory" => text.to_lowercase(),
        other => other.to_owned(),
    }
}

/// Makes the root file system with all mounts, and enters it.
pub(crate) fn enter_rootfs(spec: &Spec) -> Result<(), String> {
    // Sources are taken before the tree is cut off from the host's, so that shared ones stay shared.
    let sources = spec.mounts.iter().map(clone_source).collect::<Result<Vec<_>, _>>()?;
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC).map_err(at("make / rslave"))?;
    let mut layers = Layers::open(spec)?;
    mount_root(spec, layers.as_mut())?;
    let root =
        openat2(CWD, spec.root.path.as_str(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty(), ResolveFlags::empty())
            .map_err(at(format!("open {}", spec.root.path)))?;
    for (entry, source) in spec.mounts.iter().zip(sources) {
        place(root.as_fd(), entry, source, layers.as_mut())
            .map_err(|e| format!("error mounting {:?} to rootfs at {:?}: {e}", entry.source, entry.destination))?;
    }
    devices(root.as_fd(), &spec.linux.devices)?;
    pivot(root.as_fd())?;
    std::env::set_current_dir("/").map_err(at("chdir /"))?;
    for path in &spec.linux.readonly_paths {
        readonly_path(path).map_err(|e| format!("make {path} read-only: {e}"))?;
    }
    for path in &spec.linux.masked_paths {
        mask(path).map_err(|e| format!("mask {path}: {e}"))?;
    }
    if spec.root.readonly {
        set_readonly(CWD, "/", false).map_err(|e| format!("make the root read-only: {e}"))?;
    }
    Ok(())
}

/// Mounts the overlay, or for a plain directory the directory itself, on the root's path.
fn mount_root(spec: &Spec, layers: Option<&mut Layers>) -> Result<(), String> {
    let root = spec.root.path.as_str();
    match spec.annotations.get(crate::spec::OVERLAY) {
        None => mount_bind_recursive(root, root).map_err(at("bind the root"))?,
        Some(text) => {
            let overlay: Overlay = serde_json::from_str(text).map_err(|e| format!("overlay: {e}"))?;
            match layers {
                None => mount_overlay(&overlay, root).map_err(at("mount overlay"))?,
                Some(layers) => mount_mapped(layers, &overlay, root)?,
            }
        }
    }
    mount_change(root, MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).map_err(at("make root private"))
}

/// Mounts layers that are shown with the container's users. What is written has their ids on the disk.
fn mount_mapped(layers: &mut Layers, overlay: &Overlay, target: &str) -> Result<(), String> {
    let base = Path::new(&overlay.base);
    let lower = overlay.lower.iter().map(|name| layers.add(&base.join(name))).collect::<Result<_, _>>()?;
    layers.enter()?;
    let overlay = Overlay { base: ".".to_owned(), lower, ..overlay.clone() };
    mount_overlay(&overlay, target).map_err(at("mount overlay"))?;
    std::env::set_current_dir("/").map_err(at("chdir /"))
}

/// Mounts layers. Names of layers are relative, because the options must fit into a page.
pub(crate) fn mount_overlay(overlay: &Overlay, target: &str) -> io::Result<()> {
    let back = std::env::current_dir()?;
    std::env::set_current_dir(&overlay.base)?;
    let mut options = format!("lowerdir={}", overlay.lower.join(":"));
    if !overlay.upper.is_empty() {
        options = format!("{options},upperdir={},workdir={}", overlay.upper, overlay.work);
    }
    let flags = if overlay.upper.is_empty() { MountFlags::RDONLY } else { MountFlags::empty() };
    let done = match (overlay.lower.as_slice(), overlay.upper.is_empty()) {
        // One layer that is not written to needs no overlay.
        ([only], true) => mount_bind_recursive(only.as_str(), target),
        _ => mount("overlay", target, "overlay", flags, Some(cstring(&options)?.as_c_str())),
    };
    std::env::set_current_dir(back)?;
    Ok(done?)
}

/// A program behind a mount that cannot be written to. What runs it cannot be made to overwrite it, also not through
/// `/proc/<pid>/exe` of a process that is about to become a container's.
pub(crate) fn sealed(program: &Path) -> io::Result<OwnedFd> {
    let fd = open_tree(CWD, program, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    mount_setattr(fd.as_fd(), "", false, &MountAttr { set: ATTR_RDONLY, ..MountAttr::default() })?;
    Ok(fd)
}

fn is_bind(entry: &Mount) -> bool {
    entry.kind == "bind" || entry.options.iter().any(|o| o == "bind" || o == "rbind")
}

fn clone_source(entry: &Mount) -> Result<Option<OwnedFd>, String> {
    if !is_bind(entry) {
        return Ok(None);
    }
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if entry.options.iter().any(|o| o == "rbind") {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let what = format!("error mounting {:?} to rootfs at {:?}", entry.source, entry.destination);
    open_tree(CWD, entry.source.as_str(), flags).map(Some).map_err(at(what))
}

fn place(
    root: BorrowedFd<'_>,
    entry: &Mount,
    source: Option<OwnedFd>,
    layers: Option<&mut Layers>,
) -> Result<(), String> {
    if let Some(source) = source {
        if let Some(layers) = layers.filter(|_| entry.options.iter().any(|o| o == "idmap")) {
            super::users::map(source.as_fd(), layers.users(), &entry.source)?;
        }
        let stat = rustix::fs::fstat(&source).map_err(at("stat the source"))?;
        let directory = stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
        let target = make_target(root, &entry.destination, directory)?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(&source, "", &target, "", flags).map_err(at("attach"))?;
        return apply_options(source.as_fd(), &entry.options);
    }
    let target = make_target(root, &entry.destination, true)?;
    let path = format!("/proc/self/fd/{}", target.as_raw_fd());
    let (flags, data) = split_options(&entry.options);
    let data = cstring(&data.join(",")).map_err(at("options"))?;
    if let (Some(layers), "overlay") = (layers, entry.kind.as_str()) {
        let lower = entry.options.iter().find_map(|o| o.strip_prefix("lowerdir=")).unwrap_or_default();
        let lower = lower.split(':').map(str::to_owned).collect();
        return mount_mapped(layers, &Overlay { base: "/".to_owned(), lower, ..Overlay::default() }, &path);
    }
    if entry.kind == "cgroup" {
        return cgroups(root, &entry.destination, flags);
    }
    let result = mount(entry.source.as_str(), path.as_str(), entry.kind.as_str(), flags, Some(data.as_c_str()));
    match result {
        // Inside a foreign network namespace sysfs cannot be mounted anew on some kernels: the host's is bound.
        Err(Errno::PERM) if entry.kind == "sysfs" => {
            mount_bind_recursive("/sys", path.as_str()).map_err(at("bind /sys"))
        }
        other => other.map_err(at("mount")),
    }
}

/// Mount options: flags, and what the file system itself gets.
fn split_options(options: &[String]) -> (MountFlags, Vec<String>) {
    let mut flags = MountFlags::empty();
    let mut data = Vec::new();
    for option in options {
        match option.as_str() {
            "ro" => flags |= MountFlags::RDONLY,
            "nosuid" => flags |= MountFlags::NOSUID,
            "nodev" => flags |= MountFlags::NODEV,
            "noexec" => flags |= MountFlags::NOEXEC,
            "noatime" => flags |= MountFlags::NOATIME,
            "relatime" => flags |= MountFlags::RELATIME,
            "strictatime" => flags |= MountFlags::STRICTATIME,
            "rw" | "bind" | "rbind" | "rprivate" | "private" | "rslave" | "slave" | "rshared" | "shared" | "rro"
            | "idmap" => {}
            other => data.push(other.to_owned()),
        }
    }
    (flags, data)
}

#[repr(C)]
#[derive(Default)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns: u64,
}

fn mount_setattr(dir: BorrowedFd<'_>, path: &str, recursive: bool, attr: &MountAttr) -> io::Result<()> {
    let path = cstring(path)?;
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    let (fd, size) = (dir.as_raw_fd(), size_of::<MountAttr>());
    // SAFETY: path and attributes live through the call.
    check(unsafe { libc::syscall(libc::SYS_mount_setattr, fd, path.as_ptr(), flags, attr, size) }).map(drop)
}

/// Shows a mount that is not attached yet with the ids of a user namespace.
pub(super) fn mount_setattr_idmap(tree: BorrowedFd<'_>, users: BorrowedFd<'_>) -> io::Result<()> {
    let attr = MountAttr { set: ATTR_IDMAP, userns: users.as_raw_fd() as u64, ..MountAttr::default() };
    mount_setattr(tree, "", false, &attr)
}

const ATTR_IDMAP: u64 = 0x0010_0000;
const ATTR_RDONLY: u64 = 1;
const ATTR_NOSUID: u64 = 2;
const ATTR_NODEV: u64 = 4;
const ATTR_NOEXEC: u64 = 8;

fn apply_options(mounted: BorrowedFd<'_>, options: &[String]) -> Result<(), String> {
    let (mut set, mut everywhere, mut propagation) = (0, 0, 0);
    for option in options {
        match option.as_str() {
            "ro" => set |= ATTR_RDONLY,
            "nosuid" => set |= ATTR_NOSUID,
            "nodev" => set |= ATTR_NODEV,
            "noexec" => set |= ATTR_NOEXEC,
            "rro" => everywhere |= ATTR_RDONLY,
            "private" | "rprivate" => propagation = libc::MS_PRIVATE,
            "slave" | "rslave" => propagation = libc::MS_SLAVE,
            "shared" | "rshared" => propagation = libc::MS_SHARED,
            _ => {}
        }
    }
    if set != 0 {
        mount_setattr(mounted, "", false, &MountAttr { set, ..MountAttr::default() }).map_err(at("set flags"))?;
    }
    if everywhere != 0 {
        let attr = MountAttr { set: everywhere, ..MountAttr::default() };
        mount_setattr(mounted, "", true, &attr).map_err(at("set flags below"))?;
    }
    if propagation != 0 {
        let attr = MountAttr { propagation, ..MountAttr::default() };
        mount_setattr(mounted, "", true, &attr).map_err(at("set propagation"))?;
    }
    Ok(())
}

/// Opens a path below the root, making what is missing: directories, and for a file target an empty file.
pub(crate) fn make_target(root: BorrowedFd<'_>, inside: &str, directory: bool) -> Result<OwnedFd, String> {
    let open = |path: &str, flags| openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT);
    match open(inside, OFlags::PATH) {
        Err(Errno::NOENT) => {}
        other => return other.map_err(at(format!("open {inside}"))),
    }
    let parts: Vec<&str> = inside.split('/').filter(|p| !p.is_empty() && *p != ".").collect();
    let mut parent = open("/", OFlags::PATH | OFlags::DIRECTORY).map_err(at("open the root"))?;
    let mut sofar = String::new();
    for (i, part) in parts.iter().enumerate() {
        let above = parent;
        sofar = format!("{sofar}/{part}");
        parent = match open(&sofar, OFlags::PATH) {
            Err(Errno::NOENT) => {
                let made = if directory || i + 1 < parts.len() {
                    mkdirat(&above, *part, Mode::from_raw_mode(0o755))
                } else {
                    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
                    rustix::fs::openat(&above, *part, flags, Mode::from_raw_mode(0o644)).map(drop)
                };
                made.map_err(at(format!("create {sofar}")))?;
                open(&sofar, OFlags::PATH).map_err(at(format!("open {sofar}")))?
            }
            other => other.map_err(at(format!("open {sofar}")))?,
        };
    }
    Ok(parent)
}

/// Shows the container's own part of each cgroup hierarchy, or the v2 tree.
fn cgroups(root: BorrowedFd<'_>, inside: &str, flags: MountFlags) -> Result<(), String> {
    let target = make_target(root, inside, true)?;
    let path = format!("/proc/self/fd/{}", target.as_raw_fd());
    let host = crate::cgroup::Layout::detect();
    if host.is_unified() {
        return mount("cgroup", path.as_str(), "cgroup2", flags, None).map_err(at("mount cgroup2"));
    }
    mount(
        "tmpfs",
        path.as_str(),
        "tmpfs",
        MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
        Some(c"mode=755"),
    )
    .map_err(at("mount tmpfs for cgroups"))?;
    for (name, dir) in host.own_paths().map_err(at("read /proc/self/cgroup"))? {
        let below = make_target(root, &format!("{inside}/{name}"), true)?;
        let flags_of_tree = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let source = open_tree(CWD, &dir, flags_of_tree).map_err(at(format!("open {}", dir.display())))?;
        let how = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        move_mount(&source, "", &below, "", how).map_err(at(format!("attach {name}")))?;
        let set = if flags.contains(MountFlags::RDONLY) { ATTR_RDONLY } else { 0 };
        let attr = MountAttr { set: set | ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC, ..MountAttr::default() };
        mount_setattr(source.as_fd(), "", true, &attr).map_err(at("set flags of a cgroup"))?;
    }
    if flags.contains(MountFlags::RDONLY) {
        set_readonly(root, inside.trim_start_matches('/'), false).map_err(at("make cgroups read-only"))?;
    }
    Ok(())
}

const LINKS: [(&str, &str); 4] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

fn devices(root: BorrowedFd<'_>, devices: &[Device]) -> Result<(), String> {
    let parent_of = |path: &str| Path::new(path).parent().map_or("/".to_owned(), |p| p.to_string_lossy().into_owned());
    let name_of =
        |path: &str| Path::new(path).file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    for device in devices {
        let dir = make_target(root, &parent_of(&device.path), true)?;
        let kind = match device.kind.as_str() {
            "b" => rustix::fs::FileType::BlockDevice,
            "p" => rustix::fs::FileType::Fifo,
            _ => rustix::fs::FileType::CharacterDevice,
        };
        let number = rustix::fs::makedev(device.major as u32, device.minor as u32);
        let name = name_of(&device.path);
        match rustix::fs::mknodat(&dir, &name, kind, Mode::from_raw_mode(device.file_mode & 0o7777), number) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => return Err(format!("create {}: {e}", device.path)),
        }
        let mode = Mode::from_raw_mode(device.file_mode & 0o7777);
        rustix::fs::chmodat(&dir, &name, mode, AtFlags::empty()).map_err(at(format!("chmod {}", device.path)))?;
        let (uid, gid) = (rustix::fs::Uid::from_raw(device.uid), rustix::fs::Gid::from_raw(device.gid));
        rustix::fs::chownat(&dir, &name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(at(format!("chown {}", device.path)))?;
    }
    let dev = make_target(root, "/dev", true)?;
    for (path, target) in LINKS.into_iter().chain([("/dev/ptmx", "pts/ptmx")]) {
        match rustix::fs::symlinkat(target, &dev, &path["/dev/".len()..]) {
            Ok(()) | Err(Errno::EXIST | Errno::ROFS) => {}
            Err(e) => return Err(format!("link {path}: {e}")),
        }
    }
    Ok(())
}

fn pivot(root: BorrowedFd<'_>) -> Result<(), String> {
    rustix::process::fchdir(root).map_err(at("enter the root"))?;
    rustix::process::pivot_root(".", ".").map_err(at("pivot_root"))?;
    // The old root is a slave since the beginning: what happens to it here does not reach the host. Nothing may be said
    // of the whole tree any more, because mounts of the new one can be shared with the host on purpose.
    unmount(".", UnmountFlags::DETACH).map_err(at("unmount the old root"))
}

fn set_readonly(dir: impl AsFd, path: &str, recursive: bool) -> io::Result<()> {
    let attr = MountAttr { set: ATTR_RDONLY, ..MountAttr::default() };
    mount_setattr(dir.as_fd(), path, recursive, &attr)
}

fn readonly_path(path: &str) -> Result<(), String> {
    match mount_bind_recursive(path, path) {
        Err(Errno::NOENT) => return Ok(()),
        other => other.map_err(at("bind"))?,
    }
    let kept = rustix::fs::statvfs(path).map_err(at("statvfs"))?.f_flag.bits() as u32;
    let flags = MountFlags::from_bits_truncate(kept) & (MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC);
    mount_remount(path, MountFlags::BIND | MountFlags::RDONLY | flags, c"").map_err(at("remount"))
}

fn mask(path: &str) -> Result<(), String> {
    match rustix::fs::stat(path) {
        Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(format!("stat: {e}")),
        Ok(stat) if stat.st_mode & libc::S_IFMT == libc::S_IFDIR => {
            mount("tmpfs", path, "tmpfs", MountFlags::RDONLY, Some(c"size=0k")).map_err(at("mount tmpfs"))
        }
        Ok(_) => mount_bind_recursive("/dev/null", path).map_err(at("bind /dev/null")),
    }
}
