//! The shim: one small single-threaded process for each pod, which holds the pod's namespaces, is the parent of its
//! containers, writes their logs, and keeps all that going when the runtime that started it is gone.
//!
//! Invariant: nothing in here starts a thread or waits for anything but `poll`.

mod child;
mod container;
mod log;
pub(crate) mod mounts;
mod process;
mod sandbox;
mod streams;
mod users;
pub(crate) mod wire;

use crate::state::ShimConfig;
use crate::sys;
use container::{Container, report};
use mounts::at;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use streams::Client;
use wire::{Event, Reply, Request};

/// Runs a shim; `args` are what stands after `shim` on the command line: its directory. Must be called before the
/// process has started any thread.
pub fn shim_main(args: &[String]) -> ! {
    let dir = args.first().cloned().unwrap_or_default();
    let started = sandbox::detach().and_then(|()| Shim::start(Path::new(&dir)));
    match started {
        Err(e) => {
            println!("{e}");
            sys::exit_now(1)
        }
        Ok(mut shim) => {
            let told = std::io::stdout().write_all(b"ok\n").and_then(|()| std::io::stdout().flush());
            if told.is_err() || sandbox::silence().is_err() {
                sys::exit_now(1);
            }
            sys::give_memory_back();
            let ended = shim.run();
            sys::exit_now(i32::from(ended.is_err()))
        }
    }
}

struct Shim {
    listener: OwnedFd,
    signals: OwnedFd,
    connections: BTreeMap<u64, Connection>,
    containers: BTreeMap<String, Container>,
    pause: i32,
    next: u64,
    ending: bool,
}

struct Connection {
    socket: OwnedFd,
    watching: bool,
    exec: Option<Exec>,
}

/// A process that runs for a connection.
struct Exec {
    pid: i32,
    /// While it starts: where it reports, and the terminal it made.
    starting: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
    status: Option<i32>,
}

#[derive(Clone)]
enum Token {
    Listener,
    Signals,
    Connection(u64),
    ExecReport(u64),
    ContainerReport(String),
    Stream,
}

impl Shim {
    fn start(dir: &Path) -> Result<Self, String> {
        let config: ShimConfig =
            crate::state::load(&dir.join("shim.json")).map_err(at("read the shim's configuration"))?;
        std::env::set_current_dir(dir).map_err(at(format!("enter {}", dir.display())))?;
        let pause = sandbox::set_up(dir, &config)?;
        let signals = sys::signalfd(&[libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGPIPE])
            .map_err(at("signalfd"))?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).map_err(at("socket"))?;
        // The name is relative: the directory's own path may be longer than a socket's name can be.
        let address = SocketAddrUnix::new("ctl").map_err(at("address"))?;
        rustix::net::bind(&listener, &address).map_err(at("bind the control socket"))?;
        rustix::fs::chmod("ctl", rustix::fs::Mode::from_raw_mode(0o600)).map_err(at("protect the control socket"))?;
        rustix::net::listen(&listener, 128).map_err(at("listen"))?;
        std::env::set_current_dir("/").map_err(at("chdir /"))?;
        let (connections, containers) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { listener, signals, connections, containers, pause, next: 1, ending: false })
    }

    fn run(&mut self) -> std::io::Result<()> {
        while !self.ending {
            let (mut fds, tokens) = self.interest();
            sys::poll(&mut fds)?;
            let gone: Vec<RawFd> =
                fds.iter().filter(|p| p.revents & (libc::POLLERR | libc::POLLNVAL) != 0).map(|p| p.fd).collect();
            let mut streams = false;
            for (fd, token) in fds.iter().zip(tokens) {
                if fd.revents == 0 {
                    continue;
                }
                match token {
                    Token::Listener => self.accept(),
                    Token::Signals => self.children(),
                    Token::Connection(id) => self.request(id),
                    Token::ExecReport(id) => self.exec_report(id),
                    Token::ContainerReport(id) => self.container_report(&id),
                    Token::Stream => streams = true,
                }
            }
            if streams {
                for container in self.containers.values_mut() {
                    container.streams.pump(&|fd| gone.contains(&fd.as_raw_fd()));
                }
            }
        }
        Ok(())
    }

    fn interest(&self) -> (Vec<libc::pollfd>, Vec<Token>) {
        let (mut fds, mut tokens) = (Vec::new(), Vec::new());
        let mut add = |fd: RawFd, events: i16, token: Token| {
            fds.push(libc::pollfd { fd, events, revents: 0 });
            tokens.push(token);
        };
        add(self.listener.as_raw_fd(), libc::POLLIN, Token::Listener);
        add(self.signals.as_raw_fd(), libc::POLLIN, Token::Signals);
        for (id, connection) in &self.connections {
            add(connection.socket.as_raw_fd(), libc::POLLIN, Token::Connection(*id));
            if let Some(starting) = connection.exec.as_ref().and_then(|e| e.starting.as_ref()) {
                add(starting.as_raw_fd(), libc::POLLIN, Token::ExecReport(*id));
            }
        }
        for (id, container) in &self.containers {
            if let Some((socket, _)) = &container.starting {
                add(socket.as_raw_fd(), libc::POLLIN, Token::ContainerReport(id.clone()));
            }
            container.streams.interest(&mut |fd, events| add(fd, events, Token::Stream));
        }
        (fds, tokens)
    }

    fn accept(&mut self) {
        // A client that went away before it was accepted is no matter.
        if let Ok(socket) = rustix::net::accept_with(&self.listener, SocketFlags::CLOEXEC) {
            self.connections.insert(self.next, Connection { socket, watching: false, exec: None });
            self.next += 1;
        }
    }

    fn request(&mut self, id: u64) {
        let Some(connection) = self.connections.get(&id) else { return };
        let Ok(Some((text, fds))) = wire::receive(connection.socket.as_fd()) else {
            self.connections.remove(&id);
            return;
        };
        let answer = match serde_json::from_slice(&text) {
            Err(e) => Err(format!("request: {e}")),
            Ok(request) => self.handle(id, request, fds),
        };
        match answer {
            Ok(None) => {}
            Ok(Some(reply)) => self.reply(id, &reply, None),
            Err(error) => self.reply(id, &Reply { error, ..Reply::default() }, None),
        }
    }

    fn reply(&mut self, id: u64, reply: &Reply, fd: Option<&OwnedFd>) {
        let Some(connection) = self.connections.get(&id) else { return };
        let fds: Vec<_> = fd.iter().map(|fd| fd.as_fd()).collect();
        if wire::send(connection.socket.as_fd(), reply, &fds).is_err() {
            self.connections.remove(&id);
        }
    }

    /// Carries out a request; `None` when the answer comes later.
    fn handle(&mut self, from: u64, request: Request, fds: Vec<OwnedFd>) -> Result<Option<Reply>, String> {
        let done = Ok(Some(Reply::default()));
        match request {
            Request::Hello => {
                let pid = rustix::process::getpid().as_raw_nonzero().get();
                return Ok(Some(Reply { pid, pause: self.pause, ..Reply::default() }));
            }
            Request::Watch => {
                if let Some(connection) = self.connections.get_mut(&from) {
                    connection.watching = true;
                }
            }
            Request::Start { id, bundle } => {
                if self.containers.contains_key(&id) {
                    return Err(format!("container {id} was started already"));
                }
                self.containers.insert(id, Container::start(&bundle, from)?);
                return Ok(None);
            }
            Request::Exec { id, process } => {
                let stdio = <[OwnedFd; 3]>::try_from(fds).ok();
                let (pid, report) = self.running(&id)?.exec(&process, stdio)?;
                if let Some(connection) = self.connections.get_mut(&from) {
                    connection.exec = Some(Exec { pid, starting: Some(report), terminal: None, status: None });
                }
                return Ok(None);
            }
            Request::Attach { id, stdin, stdout, stderr } => {
                let mut fds = fds.into_iter();
                let mut take = |wanted: bool| if wanted { fds.next() } else { None };
                let (stdin, stdout, stderr) = (take(stdin), take(stdout), take(stderr));
                let client =
                    Client { stdin, out: [stdout.map(|f| (f, vec![])), stderr.map(|f| (f, vec![]))], leaving: false };
                self.running(&id)?.streams.attach(client)?;
            }
            Request::Resize { id, width, height } => self.running(&id)?.streams.resize(width, height)?,
            Request::Kill { id, signal } => return self.kill(from, &id, signal).map(|()| Some(Reply::default())),
            Request::ReopenLog { id } => {
                if let Some(container) = self.containers.get_mut(&id) {
                    container.streams.reopen_log()?;
                }
            }
            Request::Forget { id } => {
                if self.containers.get(&id).is_some_and(|c| c.ended) {
                    self.containers.remove(&id);
                    sys::give_memory_back();
                }
            }
            Request::Shutdown => {
                self.ending = true;
                self.shut_down();
            }
        }
        done
    }

    /// On a connection that runs a process the signal goes to that process and its group.
    fn kill(&mut self, from: u64, id: &str, signal: i32) -> Result<(), String> {
        if let Some(exec) = self.connections.get(&from).and_then(|c| c.exec.as_ref()) {
            // The group may be gone while the process is not, and the other way round.
            drop(sys::kill(-exec.pid, signal));
            drop(sys::kill(exec.pid, signal));
            return Ok(());
        }
        match self.containers.get(id) {
            Some(c) if !c.ended => sys::kill(c.pid, signal).map_err(at("kill")),
            _ => Ok(()),
        }
    }

    fn running(&mut self, id: &str) -> Result<&mut Container, String> {
        match self.containers.get_mut(id) {
            Some(c) if !c.ended && c.starting.is_none() => Ok(c),
            _ => Err(format!("container {id} is not running")),
        }
    }

    /// Reaps all children that ended.
    fn children(&mut self) {
        let mut buffer = [0_u8; 1024];
        while rustix::io::read(&self.signals, &mut buffer).is_ok_and(|n| n > 0) {}
        while let Some((pid, status)) = sys::reap() {
            let container = self.containers.iter().find(|(_, c)| c.pid == pid && !c.ended).map(|(id, _)| id.clone());
            if let Some(id) = container {
                while self.containers.get(&id).is_some_and(|c| c.starting.is_some()) {
                    self.container_report(&id);
                }
                self.container_ended(&id, status);
                continue;
            }
            let exec = self.connections.iter().find(|(_, c)| c.exec.as_ref().is_some_and(|e| e.pid == pid));
            if let Some(id) = exec.map(|(id, _)| *id) {
                self.exec_ended(id, status);
            }
        }
    }

    fn container_ended(&mut self, id: &str, status: i32) {
        if let Some(container) = self.containers.get_mut(id).filter(|c| !c.ended) {
            container.exited(status);
            let event = Event { exited: id.to_owned() };
            self.connections.retain(|_, c| !c.watching || wire::send(c.socket.as_fd(), &event, &[]).is_ok());
        }
    }

    fn container_report(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let Some((socket, asked_by)) = container.starting.take() else { return };
        let reply = match report(&socket) {
            Ok(Some(Ok(master))) => match container.streams.set_terminal(master) {
                Ok(()) => {
                    container.starting = Some((socket, asked_by));
                    return;
                }
                Err(e) => Err(e),
            },
            Ok(Some(Err(e))) => Err(e),
            Ok(None) => Ok(()),
            Err(e) => Err(e.to_string()),
        };
        let reply = match reply {
            Ok(()) => {
                container.started();
                Reply { pid: container.pid, ..Reply::default() }
            }
            Err(error) => {
                container.failed(&error);
                Reply { error, ..Reply::default() }
            }
        };
        self.reply(asked_by, &reply, None);
    }

    fn exec_report(&mut self, id: u64) {
        let Some(exec) = self.connections.get_mut(&id).and_then(|c| c.exec.as_mut()) else { return };
        let Some(socket) = exec.starting.take() else { return };
        let (reply, terminal) = match report(&socket) {
            Ok(Some(Ok(master))) => {
                exec.terminal = Some(master);
                exec.starting = Some(socket);
                return;
            }
            Ok(Some(Err(error))) => (Reply { error, ..Reply::default() }, None),
            Ok(None) => (Reply { pid: exec.pid, ..Reply::default() }, exec.terminal.take()),
            Err(e) => (Reply { error: e.to_string(), ..Reply::default() }, None),
        };
        let status = exec.status;
        self.reply(id, &reply, terminal.as_ref());
        if let Some(status) = status.filter(|_| reply.error.is_empty()) {
            self.tell_exit(id, status);
        }
    }

    fn exec_ended(&mut self, id: u64, status: i32) {
        let Some(exec) = self.connections.get_mut(&id).and_then(|c| c.exec.as_mut()) else { return };
        exec.status = Some(status);
        while self.connections.get(&id).and_then(|c| c.exec.as_ref()).is_some_and(|e| e.starting.is_some()) {
            self.exec_report(id);
            if self.connections.get(&id).and_then(|c| c.exec.as_ref()).is_none_or(|e| e.starting.is_none()) {
                return; // exec_report told the exit as well
            }
        }
        self.tell_exit(id, status);
    }

    fn tell_exit(&mut self, id: u64, status: i32) {
        let reply = Reply { exit: Some(sys::exit_code(status)), ..Reply::default() };
        self.reply(id, &reply, None);
        self.connections.remove(&id);
    }

    /// Kills what is left; the kernel kills all of a process namespace with its first process.
    fn shut_down(&mut self) {
        for container in self.containers.values().filter(|c| !c.ended) {
            // It may have ended at this moment.
            drop(sys::kill(container.pid, libc::SIGKILL));
        }
        if self.pause > 0 {
            drop(sys::kill(self.pause, libc::SIGKILL));
        }
    }
}
