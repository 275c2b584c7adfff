//! What a forked child of the shim does to become a container's first process, or a process executed in it.
//!
//! Invariant: a child talks to the shim over one socket. It closes without a word when the program runs; a text is
//! why it does not. A terminal's master comes as a descriptor with an empty object before that.

use super::mounts::{at, enter_rootfs};
use super::process::{Users, become_program, take_terminal};
use super::wire;
use crate::spec::{CGROUPS, Process, Spec};
use crate::sys;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Standard input, output and error.
pub(crate) type Stdio = Option<[OwnedFd; 3]>;

/// Becomes a container's first process.
pub(crate) fn run_container(bundle: &str, stdio: Stdio, report: &OwnedFd) -> ! {
    let failed = container(bundle, stdio, report);
    say(report, &failed)
}

/// Becomes a process executed in a container.
pub(crate) fn run_exec(
    bundle: &str,
    process: &str,
    namespaces: &[(OwnedFd, i32)],
    stdio: Stdio,
    report: &OwnedFd,
) -> ! {
    let failed = executed(bundle, process, namespaces, stdio, report);
    say(report, &failed)
}

fn say(report: &OwnedFd, error: &str) -> ! {
    let reply = wire::Reply { error: error.to_owned(), ..wire::Reply::default() };
    // The shim that would read this may be gone; there is nobody else to tell.
    drop(wire::send(report.as_fd(), &reply, &[]));
    sys::exit_now(127)
}

fn container(bundle: &str, stdio: Stdio, report: &OwnedFd) -> String {
    let prepare = || -> Result<(Spec, Option<OwnedFd>), String> {
        let spec = load(bundle)?;
        let users = super::users::open(&spec)?;
        sys::setsid().map_err(at("setsid"))?;
        join_cgroups(&spec)?;
        hide_cgroups(&spec)?;
        stdio_in_place(stdio, owner(&spec, &spec.process))?;
        enter_rootfs(&spec)?;
        make_cwd(&spec.process)?;
        if spec.process.terminal {
            let master = take_terminal(owner(&spec, &spec.process))?;
            console().map_err(|e| format!("set up /dev/console: {e}"))?;
            hand_over(report, &master)?;
        }
        Ok((spec, users))
    };
    match prepare() {
        Ok((spec, users)) => {
            let entry = users.map(|fd| Users { fd, own_mounts: true });
            become_program(&spec.process, spec.linux.seccomp.as_ref(), entry)
        }
        Err(e) => e,
    }
}

fn executed(bundle: &str, process: &str, namespaces: &[(OwnedFd, i32)], stdio: Stdio, report: &OwnedFd) -> String {
    let prepare = || -> Result<(Spec, Process, Option<OwnedFd>), String> {
        let spec = load(bundle)?;
        let users = super::users::open(&spec)?;
        let text = std::fs::read(process).map_err(at(format!("read {process}")))?;
        let process: Process = serde_json::from_slice(&text).map_err(|e| format!("parse the process: {e}"))?;
        sys::setsid().map_err(at("setsid"))?;
        join_cgroups(&spec)?;
        stdio_in_place(stdio, owner(&spec, &process))?;
        for (fd, kind) in namespaces {
            sys::setns(fd.as_fd(), *kind).map_err(at("enter the container's namespaces"))?;
        }
        if process.terminal {
            let master = take_terminal(owner(&spec, &process))?;
            hand_over(report, &master)?;
        }
        Ok((spec, process, users))
    };
    match prepare() {
        Ok((spec, process, users)) => {
            let entry = users.map(|fd| Users { fd, own_mounts: false });
            become_program(&process, spec.linux.seccomp.as_ref(), entry)
        }
        Err(e) => e,
    }
}

fn load(bundle: &str) -> Result<Spec, String> {
    let path = format!("{bundle}/config.json");
    let text = std::fs::read(&path).map_err(at(format!("read {path}")))?;
    serde_json::from_slice(&text).map_err(|e| format!("parse {path}: {e}"))
}

fn join_cgroups(spec: &Spec) -> Result<(), String> {
    for dir in spec.annotations.get(CGROUPS).map_or("", String::as_str).lines() {
        std::fs::write(format!("{dir}/cgroup.procs"), "0").map_err(at(format!("join cgroup {dir}")))?;
    }
    Ok(())
}

/// With a namespace of its own the container's cgroup is the root of what it sees.
fn hide_cgroups(spec: &Spec) -> Result<(), String> {
    if !spec.linux.namespaces.iter().any(|n| n.kind == "cgroup") {
        return Ok(());
    }
    sys::unshare(libc::CLONE_NEWCGROUP).map_err(at("make a cgroup namespace"))
}

/// What the process's user is on the node.
fn owner(spec: &Spec, process: &Process) -> u32 {
    spec.root_id().saturating_add(process.user.uid)
}

/// The process may open its streams anew, so they belong to its user.
fn stdio_in_place(stdio: Stdio, owner: u32) -> Result<(), String> {
    if let Some(fds) = stdio {
        for (number, fd) in fds.iter().enumerate() {
            let stat = rustix::fs::fstat(fd).map_err(at("look at stdio"))?;
            if stat.st_mode & libc::S_IFMT == libc::S_IFIFO {
                rustix::fs::fchown(fd, Some(rustix::fs::Uid::from_raw(owner)), None).map_err(at("own stdio"))?;
            }
            sys::dup_to(fd.as_fd(), number as i32).map_err(at("set up stdio"))?;
        }
    }
    Ok(())
}

/// A working directory that does not exist is made.
fn make_cwd(process: &Process) -> Result<(), String> {
    match std::fs::create_dir_all(&process.cwd) {
        Err(e) if e.kind() == std::io::ErrorKind::ReadOnlyFilesystem => Ok(()),
        other => other.map_err(at(format!("mkdir {}", process.cwd))),
    }
}

fn console() -> Result<(), String> {
    std::fs::OpenOptions::new().create(true).append(true).open("/dev/console").map_err(at("create"))?;
    rustix::mount::mount_bind("/proc/self/fd/0", "/dev/console").map_err(at("bind"))
}

fn hand_over(report: &OwnedFd, master: &OwnedFd) -> Result<(), String> {
    let fds: [BorrowedFd<'_>; 1] = [master.as_fd()];
    wire::send(report.as_fd(), &wire::Reply::default(), &fds).map_err(at("hand the terminal over"))
}
