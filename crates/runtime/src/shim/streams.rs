//! A container's streams: what it writes goes to its log and to attached clients, what clients write goes to it.
//!
//! Invariant: nothing is lost and nothing grows without bound: while a client does not take what it was sent, the
//! container is not read from.

use super::child::Stdio;
use super::log::Log;
use super::mounts::at;
use crate::spec::Spec;
use crate::sys;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use std::fs::OpenOptions;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// Bytes kept for a client, or for the container, before reading stops.
const BOUND: usize = 256 * 1024;
/// Bytes kept of what a container wrote before its one client came.
const EARLY: usize = 64 * 1024;

/// All streams of one container.
pub(super) struct Streams {
    log: Log,
    /// What the container writes: pipes, or the terminal and nothing.
    outputs: [Option<OwnedFd>; 2],
    /// Where the container reads from; for a terminal its master.
    input: Option<OwnedFd>,
    input_buffer: Vec<u8>,
    input_ends: bool,
    terminal: bool,
    once: bool,
    clients: Vec<Client>,
    /// What a container that waits for one client wrote before that came: it may end sooner than anybody can attach.
    early: Option<[Vec<u8>; 2]>,
}

/// An attached client.
pub(super) struct Client {
    pub(super) stdin: Option<OwnedFd>,
    pub(super) out: [Option<(OwnedFd, Vec<u8>)>; 2],
    /// Whether it goes once it has what waits for it.
    pub(super) leaving: bool,
}

impl Streams {
    /// Makes the pipes for a container without a terminal; returns the container's ends.
    pub(super) fn open(spec: &Spec, log: Log, stdin: bool, once: bool) -> Result<(Self, Stdio), String> {
        let mut streams = Self {
            log,
            outputs: [None, None],
            input: None,
            input_buffer: Vec::new(),
            input_ends: false,
            terminal: spec.process.terminal,
            once,
            clients: Vec::new(),
            early: (stdin && once).then(Default::default),
        };
        if spec.process.terminal {
            return Ok((streams, None));
        }
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(at("make a pipe"));
        let input = if stdin {
            let (read, write) = pipe()?;
            nonblocking(&write)?;
            streams.input = Some(write);
            read
        } else {
            OpenOptions::new().read(true).open("/dev/null").map_err(at("open /dev/null"))?.into()
        };
        let (out_read, out_write) = pipe()?;
        let (err_read, err_write) = pipe()?;
        nonblocking(&out_read)?;
        nonblocking(&err_read)?;
        streams.outputs = [Some(out_read), Some(err_read)];
        Ok((streams, Some([input, out_write, err_write])))
    }

    /// The container made its terminal.
    pub(super) fn set_terminal(&mut self, master: OwnedFd) -> Result<(), String> {
        nonblocking(&master)?;
        self.outputs[0] = Some(master.try_clone().map_err(at("duplicate the terminal"))?);
        self.input = Some(master);
        Ok(())
    }

    /// Changes the terminal's size.
    pub(super) fn resize(&self, width: u16, height: u16) -> Result<(), String> {
        use std::os::fd::AsFd;
        match (&self.input, self.terminal) {
            (Some(master), true) => sys::set_window(master.as_fd(), width, height).map_err(at("resize")),
            _ => Err("the container has no terminal".into()),
        }
    }

    /// Opens the log file anew.
    pub(super) fn reopen_log(&mut self) -> Result<(), String> {
        self.log.reopen().map_err(at("reopen the log"))
    }

    /// Takes a client in.
    pub(super) fn attach(&mut self, mut client: Client) -> Result<(), String> {
        for fd in client.stdin.iter().chain(client.out.iter().flatten().map(|(fd, _)| fd)) {
            nonblocking(fd)?;
        }
        for (slot, early) in client.out.iter_mut().zip(self.early.take().unwrap_or_default()) {
            if let Some((_, pending)) = slot {
                *pending = early;
            }
        }
        self.clients.push(client);
        Ok(())
    }

    /// Descriptors to wait for, and for what.
    pub(super) fn interest(&self, add: &mut dyn FnMut(RawFd, i16)) {
        let full = self.clients.iter().any(|c| c.out.iter().flatten().any(|(_, b)| b.len() >= BOUND));
        if !full {
            self.outputs.iter().flatten().for_each(|fd| add(fd.as_raw_fd(), libc::POLLIN));
        }
        if let (Some(input), false) = (&self.input, self.input_buffer.is_empty()) {
            add(input.as_raw_fd(), libc::POLLOUT);
        }
        for client in &self.clients {
            if let (Some(fd), true) = (&client.stdin, self.input_buffer.len() < BOUND) {
                add(fd.as_raw_fd(), libc::POLLIN);
            }
            for (fd, buffer) in client.out.iter().flatten() {
                // Without interest only an error is told: that the client is gone.
                add(fd.as_raw_fd(), if buffer.is_empty() { 0 } else { libc::POLLOUT });
            }
        }
    }

    /// Moves what can be moved without waiting.
    pub(super) fn pump(&mut self, gone: &dyn Fn(BorrowedFd<'_>) -> bool) {
        self.read_outputs();
        self.read_clients();
        self.write_input();
        self.write_clients(gone);
        let terminal_or_open = |c: &Client| c.stdin.is_some() || c.out.iter().any(Option::is_some);
        self.clients.retain(terminal_or_open);
    }

    /// Reads what an ended container left, and closes its streams.
    pub(super) fn drain(&mut self) {
        while self.read_outputs() {}
        let now = sys::now_nanos();
        if let Err(e) = self.log.finish(now) {
            eprintln!("log: {e}");
        }
        self.input = None;
        self.outputs = [None, None];
        for client in &mut self.clients {
            client.stdin = None;
        }
        self.finish_clients();
    }

    /// Clients of an ended container get what is left for them, then the end.
    fn finish_clients(&mut self) {
        if self.outputs.iter().all(Option::is_none) && self.input.is_none() {
            for slot in self.clients.iter_mut().flat_map(|c| c.out.iter_mut()) {
                if slot.as_ref().is_some_and(|(_, buffer)| buffer.is_empty()) {
                    *slot = None;
                }
            }
        }
        self.clients.retain(|c| c.stdin.is_some() || c.out.iter().any(Option::is_some));
    }

    fn read_outputs(&mut self) -> bool {
        let mut buffer = [0_u8; 16 * 1024];
        let mut moved = false;
        for stream in 0..2 {
            let Some(fd) = &self.outputs[stream] else { continue };
            match rustix::io::read(fd, &mut buffer) {
                Ok(0) | Err(Errno::IO) => self.outputs[stream] = None,
                Err(_) => {}
                Ok(n) => {
                    moved = true;
                    if let Err(e) = self.log.write(stream, &buffer[..n], sys::now_nanos()) {
                        eprintln!("log: {e}");
                    }
                    if let Some(early) = self.early.as_mut() {
                        let room = EARLY - early[stream].len();
                        early[stream].extend_from_slice(&buffer[..n.min(room)]);
                    }
                    for (_, pending) in self.clients.iter_mut().filter_map(|c| c.out[stream].as_mut()) {
                        pending.extend_from_slice(&buffer[..n]);
                    }
                }
            }
        }
        moved
    }

    fn read_clients(&mut self) {
        if self.input_buffer.len() >= BOUND {
            return;
        }
        let mut buffer = [0_u8; 16 * 1024];
        for client in &mut self.clients {
            let Some(fd) = &client.stdin else { continue };
            match rustix::io::read(fd, &mut buffer) {
                Ok(n) if n > 0 => self.input_buffer.extend_from_slice(&buffer[..n]),
                Err(Errno::AGAIN | Errno::INTR) => {}
                _ => {
                    client.stdin = None;
                    // A terminal has no end of input; a pipe ends with the client where that was asked for. Of an
                    // input that stays open for others, a client that has said all it has to say lets go.
                    let ends = self.once && !self.terminal;
                    self.input_ends |= ends;
                    client.leaving = !ends;
                }
            }
        }
    }

    fn write_input(&mut self) {
        while let (Some(fd), false) = (&self.input, self.input_buffer.is_empty()) {
            match rustix::io::write(fd, &self.input_buffer) {
                Ok(n) => drop(self.input_buffer.drain(..n)),
                Err(Errno::AGAIN | Errno::INTR) => return,
                Err(_) => {
                    self.input_buffer.clear();
                    if !self.terminal {
                        self.input = None;
                    }
                }
            }
        }
        if self.input.is_none() {
            self.input_buffer.clear();
        }
        if self.input_ends {
            self.input = None;
        }
    }

    fn write_clients(&mut self, gone: &dyn Fn(BorrowedFd<'_>) -> bool) {
        use std::os::fd::AsFd;
        let slots = self.clients.iter_mut().flat_map(|c| c.out.iter_mut().map(|slot| (slot, c.leaving)));
        for (slot, leaving) in slots {
            let Some((fd, pending)) = slot else { continue };
            let mut closed = gone(fd.as_fd());
            while !pending.is_empty() && !closed {
                match rustix::io::write(&*fd, pending) {
                    Ok(n) => drop(pending.drain(..n)),
                    Err(Errno::AGAIN | Errno::INTR) => break,
                    Err(_) => closed = true,
                }
            }
            if closed || leaving && pending.is_empty() {
                *slot = None;
            }
        }
        if self.input.is_none() && self.outputs.iter().all(Option::is_none) {
            self.finish_clients();
        }
    }
}

fn nonblocking(fd: &OwnedFd) -> Result<(), String> {
    rustix::io::ioctl_fionbio(fd, true).map_err(at("set non-blocking"))
}
