//! Start of a shim: it leaves its parent and makes the pod's namespaces, in which it then lives itself.

use super::mounts::at;
use crate::state::ShimConfig;
use crate::sys::{self, Forked};
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Ends this process in favour of a child that belongs to nobody.
pub(super) fn detach() -> Result<(), String> {
    if let Forked::Parent(_) = sys::fork_into(0).map_err(at("fork"))? {
        sys::exit_now(0);
    }
    sys::setsid().map_err(at("setsid"))?;
    sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1).map_err(at("become subreaper"))?;
    sys::set_name(c"ironclad-shim");
    Ok(())
}

/// Makes the namespaces. Returns the first process of a shared process namespace.
pub(super) fn set_up(dir: &Path, config: &ShimConfig) -> Result<i32, String> {
    for group in &config.cgroups {
        fs::write(format!("{group}/cgroup.procs"), "0").map_err(at(format!("join {group}")))?;
    }
    let kinds = if config.network { libc::CLONE_NEWNET } else { 0 }
        | if config.ipc { libc::CLONE_NEWIPC } else { 0 }
        | if config.hostname.is_empty() { 0 } else { libc::CLONE_NEWUTS };
    match config.users {
        None => sys::unshare(kinds).map_err(at("make the pod's namespaces"))?,
        Some(users) => super::users::make(&dir.join("userns"), kinds, users)?,
    }
    if config.network {
        sys::loopback_up().map_err(at("bring the loopback device up"))?;
        let pin = dir.join("netns");
        File::create(&pin).map_err(at(format!("create {}", pin.display())))?;
        rustix::mount::mount_bind("/proc/self/ns/net", &pin).map_err(at("pin the network namespace"))?;
    }
    if !config.hostname.is_empty() {
        rustix::system::sethostname(config.hostname.as_bytes()).map_err(at("set the host name"))?;
    }
    for (name, value) in &config.sysctls {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        fs::write(&path, value).map_err(at(format!("write sysctl key {name}")))?;
    }
    if config.shared_pid { start_pause(&config.pause_cgroups) } else { Ok(0) }
}

/// The first process of the pod's process namespace: it reaps, and does nothing else.
fn start_pause(groups: &[String]) -> Result<i32, String> {
    match sys::fork_into(libc::CLONE_NEWPID).map_err(at("start pause"))? {
        Forked::Parent(pid) => Ok(pid),
        Forked::Child => pause(groups),
    }
}

fn pause(groups: &[String]) -> ! {
    sys::set_name(c"pause");
    for group in groups {
        // Outside of the pod's group it only counts elsewhere.
        drop(fs::write(format!("{group}/cgroup.procs"), "0"));
    }
    // SAFETY: takes numbers; nothing in this process uses the descriptors any more.
    unsafe { libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0) };
    let signals = [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT];
    // SAFETY: the set is initialised before use and lives through the calls.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in signals {
            libc::sigaddset(&mut set, signal);
        }
        libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        loop {
            let mut got = 0;
            libc::sigwait(&set, &mut got);
            if got == libc::SIGCHLD { while sys::reap().is_some() {} } else { sys::exit_now(0) }
        }
    }
}

/// Points the three standard descriptors to nothing.
pub(super) fn silence() -> Result<(), String> {
    let null = fs::OpenOptions::new().read(true).write(true).open("/dev/null").map_err(at("open /dev/null"))?;
    let null: OwnedFd = null.into();
    (0..3).try_for_each(|n| sys::dup_to(null.as_fd(), n)).map_err(at("let go of stdio"))
}
