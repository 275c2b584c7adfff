//! User namespaces: users of a pod are others on the node, and root in it has no power outside.
//!
//! Invariant: file systems are made by the node's root before a process enters its users for good; what a layer or
//! volume has on the disk is shown mapped, and nothing on the disk is changed for it.

use super::mounts::{at, mount_setattr_idmap};
use crate::spec::Spec;
use crate::sys::{self, Forked};
use rustix::fs::{CWD, Mode, mkdirat};
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount, mount_bind, mount_change, move_mount,
    open_tree,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

const NAMES: [(i32, &str); 3] = [(libc::CLONE_NEWNET, "net"), (libc::CLONE_NEWIPC, "ipc"), (libc::CLONE_NEWUTS, "uts")];

/// Makes a user namespace, pins it, and enters new namespaces of these kinds that belong to it. The process itself
/// stays the node's root.
pub(super) fn make(pin: &Path, kinds: i32, (first, count): (u32, u32)) -> Result<(), String> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(at("make a socket pair"))?;
    let child = match sys::fork_into(libc::CLONE_NEWUSER).map_err(at("make a user namespace"))? {
        Forked::Child => hold(ours, &theirs, kinds),
        Forked::Parent(pid) => pid,
    };
    drop(theirs);
    let made = enter(pin, kinds, child, &format!("0 {first} {count}\n"), &ours);
    // It waits for this end to close.
    drop(ours);
    let child = rustix::process::Pid::from_raw(child);
    rustix::process::waitpid(child, rustix::process::WaitOptions::empty()).map_err(at("wait for the helper"))?;
    made
}

/// The process that a user namespace is made with: it makes the others in it, and stays until nobody needs it.
fn hold(ours: OwnedFd, theirs: &OwnedFd, kinds: i32) -> ! {
    drop(ours);
    let wait = || rustix::io::read(theirs, &mut [0_u8; 1]).is_ok_and(|n| n == 1);
    if wait() && sys::unshare(kinds).is_ok() && rustix::io::write(theirs, b"x").is_ok() {
        wait();
    }
    sys::exit_now(0)
}

fn enter(pin: &Path, kinds: i32, child: i32, map: &str, holder: &OwnedFd) -> Result<(), String> {
    for name in ["uid_map", "gid_map"] {
        fs::write(format!("/proc/{child}/{name}"), map).map_err(at(format!("write {name}")))?;
    }
    rustix::io::write(holder, b"x").map_err(at("let the user namespace go on"))?;
    if !rustix::io::read(holder, &mut [0_u8; 1]).is_ok_and(|n| n == 1) {
        return Err("the pod's namespaces cannot be made in its user namespace".to_owned());
    }
    for (kind, name) in NAMES.iter().filter(|(kind, _)| kinds & kind != 0) {
        let fd = File::open(format!("/proc/{child}/ns/{name}")).map_err(at(format!("open the {name} namespace")))?;
        sys::setns(fd.as_fd(), *kind).map_err(at(format!("enter the {name} namespace")))?;
    }
    File::create(pin).map_err(at(format!("create {}", pin.display())))?;
    mount_bind(format!("/proc/{child}/ns/user"), pin).map_err(at("pin the user namespace"))
}

/// A place for layers that are shown with a container's users.
pub(super) struct Layers {
    users: OwnedFd,
    /// A file system of its own, which holds the places.
    dir: OwnedFd,
    count: usize,
}

impl Layers {
    /// Makes the place over the container's root, which comes to lie over it in turn. Nothing for a container that
    /// shares the node's users.
    pub(super) fn open(spec: &Spec) -> Result<Option<Self>, String> {
        let Some(users) = open(spec)? else { return Ok(None) };
        let root = spec.root.path.as_str();
        mount("tmpfs", root, "tmpfs", MountFlags::NOSUID, Some(c"mode=700")).map_err(at("mount a place for layers"))?;
        mount_change(root, MountPropagationFlags::PRIVATE).map_err(at("make the place for layers private"))?;
        let dir = File::open(root).map_err(at("open the place for layers"))?.into();
        Ok(Some(Self { users, dir, count: 0 }))
    }

    /// The users' namespace.
    pub(super) fn users(&self) -> &OwnedFd {
        &self.users
    }

    /// Where relative names of layers begin.
    pub(super) fn enter(&self) -> Result<(), String> {
        rustix::process::fchdir(&self.dir).map_err(at("enter the place for layers"))
    }

    /// Shows a layer with the container's users; returns its name here.
    pub(super) fn add(&mut self, layer: &Path) -> Result<String, String> {
        let name = self.count.to_string();
        self.count += 1;
        mkdirat(&self.dir, &name, Mode::from_raw_mode(0o700)).map_err(at("make a place for a layer"))?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(CWD, layer, flags).map_err(at(format!("open layer {}", layer.display())))?;
        map(tree.as_fd(), &self.users, &layer.display().to_string())?;
        move_mount(&tree, "", &self.dir, &name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .map_err(at("attach a layer"))?;
        Ok(name)
    }
}

/// Shows a mount that is not attached yet with other users.
pub(super) fn map(tree: std::os::fd::BorrowedFd<'_>, users: &OwnedFd, what: &str) -> Result<(), String> {
    mount_setattr_idmap(tree, users.as_fd()).map_err(|e| {
        let hint = match e.raw_os_error() {
            Some(libc::EINVAL) => " (maybe the filesystem used doesn't support idmap mounts on this kernel?)",
            _ => "",
        };
        format!("failed to set MOUNT_ATTR_IDMAP on {what}: {}{hint}", super::mounts::message(&e))
    })
}

/// The user namespace of a container, if it has one.
pub(super) fn open(spec: &Spec) -> Result<Option<OwnedFd>, String> {
    let Some(namespace) = spec.linux.namespaces.iter().find(|n| n.kind == "user") else { return Ok(None) };
    let path = &namespace.path;
    File::open(path).map(|f| Some(f.into())).map_err(at(format!("open {path}")))
}
