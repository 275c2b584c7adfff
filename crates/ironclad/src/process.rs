//! The server's process: one per data directory, held by a lock, found by its pid file.

use crate::cluster::Cluster;
use crate::failure::{Context, Failure, Id, Result};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Holds the data directory for the life of the process.
pub(crate) struct Held {
    _lock: File,
}

/// Takes the data directory for this process, or says who has it.
pub(crate) fn hold(cluster: &Cluster) -> Result<Held> {
    let path = cluster.pid_file();
    let mut file = File::options()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .open(&path)
        .context("cannot open the pid file")?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let cause = format!("another ironclad runs with {}", cluster.dir.display());
        return Err(Failure::new(Id::DataDirInUse, cause, "See `ironclad status`; stop it with `ironclad down`."));
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).context("cannot write the pid file")?;
    Ok(Held { _lock: file })
}

/// A handle on the running server; `None` when none runs. One that was killed and has not ended yet is waited for.
pub(crate) fn find(cluster: &Cluster) -> Option<(i32, OwnedFd)> {
    let (pid, handle) = holder(cluster)?;
    let ended = is_dying(pid) && wait_for_exit(&handle, Duration::from_secs(10)).unwrap_or(false);
    (!ended).then_some((pid, handle))
}

/// Whether SIGKILL waits for a process, or it is ending already.
fn is_dying(pid: i32) -> bool {
    const EXITING: u64 = 0x4;
    const KILL: u64 = 1 << 8;
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let status = read("status");
    let pending = |name: &str| {
        let mask = status.lines().find_map(|l| l.strip_prefix(name)).map_or("", str::trim);
        u64::from_str_radix(mask, 16).unwrap_or(0) & KILL != 0
    };
    let stat = read("stat");
    let flags = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(6)?.parse::<u64>().ok());
    pending("SigPnd:") || pending("ShdPnd:") || flags.is_none_or(|f| f & EXITING != 0)
}

/// The process that holds the lock of a cluster.
fn holder(cluster: &Cluster) -> Option<(i32, OwnedFd)> {
    let file = File::open(cluster.pid_file()).ok()?;
    // Whoever can take the lock sees that nobody has it: the number in the file is of the past.
    if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return None;
    }
    let pid: i32 = std::fs::read_to_string(cluster.pid_file()).ok()?.trim().parse().ok()?;
    let handle = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    Some((pid, handle))
}

/// Asks a process to end and waits until it has; kills it after `grace`.
pub(crate) fn stop(handle: &OwnedFd, grace: Duration) -> Result<()> {
    // A process that is gone already is as good as stopped.
    for (signal, wait) in [(Signal::TERM, grace), (Signal::KILL, Duration::from_secs(10))] {
        if pidfd_send_signal(handle, signal).is_err() || wait_for_exit(handle, wait)? {
            return Ok(());
        }
    }
    Err(Failure::internal("cannot stop the server", "it does not react to SIGKILL"))
}

fn wait_for_exit(handle: &OwnedFd, wait: Duration) -> Result<bool> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(handle, PollFlags::IN)];
    let wait = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: 0 };
    let ready = poll(&mut fds, Some(&wait)).context("cannot wait for the server's end")?;
    Ok(ready > 0)
}
