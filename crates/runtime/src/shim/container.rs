//! One container inside its shim: its first process, its streams and its log.

use super::child::{self, Stdio};
use super::log::Log;
use super::mounts::at;
use super::streams::Streams;
use super::wire;
use crate::spec::{self, Spec};
use crate::state::{self, State};
use crate::sys::{self, Forked};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

/// A container that was started, or tried to.
pub(super) struct Container {
    pub(super) bundle: PathBuf,
    pub(super) pid: i32,
    pub(super) streams: Streams,
    /// While it starts: where the child reports, and who asked.
    pub(super) starting: Option<(OwnedFd, u64)>,
    pub(super) ended: bool,
    pub(super) state: State,
    cgroup: String,
    /// Its first process has no process namespace of its own that would end with it.
    shares_processes: bool,
}

impl Container {
    /// Starts the first process of the bundle; how it goes is told over `starting`.
    pub(super) fn start(bundle: &str, asked_by: u64) -> Result<Self, String> {
        let spec: Spec = state::load(&PathBuf::from(bundle).join("config.json")).map_err(at("read the bundle"))?;
        let note = |name: &str| spec.annotations.get(name).map_or("", String::as_str);
        let log = Log::open(note(spec::LOG)).map_err(at(format!("open log {}", note(spec::LOG))))?;
        let (streams, stdio) =
            Streams::open(&spec, log, note(spec::STDIN) == "true", note(spec::STDIN_ONCE) == "true")?;
        let (ours, theirs) = pair()?;
        let (kinds, join) = pid_namespace(&spec)?;
        let pid =
            with_pid_namespace(join, || match sys::fork_into(kinds | libc::CLONE_NEWNS).map_err(at("fork"))? {
                Forked::Parent(pid) => Ok(pid),
                Forked::Child => child::run_container(bundle, stdio, &theirs),
            })?;
        drop(theirs);
        let cgroup = spec.linux.cgroups_path.clone();
        let shares_processes = kinds & libc::CLONE_NEWPID == 0;
        let state = State { pid, ..State::default() };
        Ok(Self {
            bundle: bundle.into(),
            pid,
            streams,
            starting: Some((ours, asked_by)),
            ended: false,
            state,
            cgroup,
            shares_processes,
        })
    }

    /// Runs another process in it. Returns its pid and where it reports.
    pub(super) fn exec(&self, process: &str, stdio: Stdio) -> Result<(i32, OwnedFd), String> {
        let open = |name: &str| {
            File::open(format!("/proc/{}/ns/{name}", self.pid))
                .map(OwnedFd::from)
                .map_err(at("open the container's namespaces"))
        };
        let namespaces = [(open("cgroup")?, libc::CLONE_NEWCGROUP), (open("mnt")?, libc::CLONE_NEWNS)];
        let bundle = self.bundle.to_string_lossy().into_owned();
        let (ours, theirs) = pair()?;
        let pid = with_pid_namespace(Some(open("pid")?), || match sys::fork_into(0).map_err(at("fork"))? {
            Forked::Parent(pid) => Ok(pid),
            Forked::Child => child::run_exec(&bundle, process, &namespaces, stdio, &theirs),
        })?;
        Ok((pid, ours))
    }

    /// Writes the state file.
    pub(super) fn save(&self) {
        if let Err(e) = state::save(&self.bundle.join("state.json"), &self.state) {
            eprintln!("save state of {}: {e}", self.bundle.display());
        }
    }

    /// It runs now.
    pub(super) fn started(&mut self) {
        self.state.started_at = sys::now_nanos();
        self.save();
    }

    /// It could not be started.
    pub(super) fn failed(&mut self, message: &str) {
        let now = sys::now_nanos();
        self.state = State {
            pid: 0,
            started_at: 0,
            finished_at: now,
            exit_code: 128,
            reason: "StartError".into(),
            message: message.to_owned(),
        };
        self.ended = true;
        self.save();
    }

    /// Its first process ended with this raw status.
    pub(super) fn exited(&mut self, status: i32) {
        let layout = crate::cgroup::Layout::detect();
        if self.shares_processes {
            for pid in layout.processes(&self.cgroup) {
                // It may have ended at this moment.
                drop(sys::kill(pid, libc::SIGKILL));
            }
        }
        self.streams.drain();
        let code = sys::exit_code(status);
        let killed = code != 0 && layout.oom_kills(&self.cgroup) > 0;
        let reason = match (killed, code) {
            (true, _) => "OOMKilled",
            (false, 0) => "Completed",
            _ => "Error",
        };
        self.state.finished_at = sys::now_nanos();
        self.state.exit_code = code;
        self.state.reason = reason.into();
        self.ended = true;
        self.save();
    }
}

fn pair() -> Result<(OwnedFd, OwnedFd), String> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).map_err(at("make a socket pair"))
}

/// A new process namespace, or one to join.
fn pid_namespace(spec: &Spec) -> Result<(i32, Option<OwnedFd>), String> {
    let Some(namespace) = spec.linux.namespaces.iter().find(|n| n.kind == "pid") else { return Ok((0, None)) };
    if namespace.path.is_empty() {
        return Ok((libc::CLONE_NEWPID, None));
    }
    let path = &namespace.path;
    Ok((0, Some(File::open(path).map_err(at(format!("open {path}")))?.into())))
}

/// Children are born into the namespace while `make` runs. The parent itself never changes its own.
fn with_pid_namespace(join: Option<OwnedFd>, make: impl FnOnce() -> Result<i32, String>) -> Result<i32, String> {
    let Some(join) = join else { return make() };
    let own = File::open("/proc/self/ns/pid").map_err(at("open own namespace"))?;
    sys::setns(join.as_fd(), libc::CLONE_NEWPID).map_err(at("enter the process namespace"))?;
    let made = make();
    sys::setns(own.as_fd(), libc::CLONE_NEWPID).map_err(at("leave the process namespace"))?;
    made
}

/// What a child said: the terminal it made, why it failed, or (`None`) that it runs.
pub(super) fn report(socket: &OwnedFd) -> std::io::Result<Option<Result<OwnedFd, String>>> {
    let Some((text, fds)) = wire::receive(socket.as_fd())? else { return Ok(None) };
    if let Some(master) = fds.into_iter().next() {
        return Ok(Some(Ok(master)));
    }
    let reply: wire::Reply = serde_json::from_slice(&text)?;
    Ok(Some(Err(reply.error)))
}
