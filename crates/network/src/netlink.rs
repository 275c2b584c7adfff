//! Netlink messages and a blocking socket: what routes, links and nf_tables have in common.
//!
//! Invariant: a socket belongs to the network namespace of the thread that opened it, whoever uses it later.

use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use std::io;

/// The flag that asks for an answer.
pub const REQUEST: u16 = 1;
/// The flag that asks for an acknowledgement.
pub const ACK: u16 = 4;
/// The flag that refuses what exists.
pub const EXCL: u16 = 0x200;
/// The flag that replaces what exists.
pub const REPLACE: u16 = 0x100;
/// The flag that creates.
pub const CREATE: u16 = 0x400;
/// The flag that appends.
pub const APPEND: u16 = 0x800;
/// The flags that ask for all objects.
pub const DUMP: u16 = 0x300;
const NESTED: u16 = 0x8000;
const HEADER: usize = 16;

/// Messages one after the other.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    /// Begins a message; `payload` is the fixed header that follows netlink's own.
    pub fn begin(&mut self, kind: u16, flags: u16, sequence: u32, payload: &[u8]) {
        self.start = self.bytes.len();
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(payload);
        self.pad();
        self.end();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn end(&mut self) {
        let length = (self.bytes.len() - self.start) as u32;
        self.bytes[self.start..self.start + 4].copy_from_slice(&length.to_ne_bytes());
    }

    /// Adds an attribute.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(&((value.len() + 4) as u16).to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
        self.end();
        self
    }

    /// Adds a string with its final zero.
    pub fn string(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(kind, &bytes)
    }

    /// Adds a number in network order, as nf_tables has them.
    pub fn be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// Adds a number in the machine's order, as rtnetlink has them.
    pub fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.attribute(kind, &value.to_ne_bytes())
    }

    /// Adds attributes within an attribute.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        self.nest_with(kind, &[], fill)
    }

    /// Adds attributes within an attribute that begins with a fixed header.
    pub fn nest_with(&mut self, kind: u16, header: &[u8], fill: impl FnOnce(&mut Self)) -> &mut Self {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&0u16.to_ne_bytes());
        self.bytes.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        self.bytes.extend_from_slice(header);
        self.pad();
        fill(self);
        let length = (self.bytes.len() - at) as u16;
        self.bytes[at..at + 2].copy_from_slice(&length.to_ne_bytes());
        self.end();
        self
    }

    /// Sets flags of the message that was begun last.
    pub fn flag_last(&mut self, flags: u16) {
        let at = self.start + 6;
        let old = u16::from_ne_bytes([self.bytes[at], self.bytes[at + 1]]);
        self.bytes[at..at + 2].copy_from_slice(&(old | flags).to_ne_bytes());
    }

    /// The messages as bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// One received message.
#[derive(Debug, Clone)]
pub struct Message {
    /// Its type.
    pub kind: u16,
    /// The sequence number of the request.
    pub sequence: u32,
    /// What follows netlink's header.
    pub payload: Vec<u8>,
}

impl Message {
    /// For an acknowledgement or error: its result.
    pub fn result(&self) -> Option<io::Result<()>> {
        if self.kind != libc::NLMSG_ERROR as u16 {
            return None;
        }
        let code = self.payload.first_chunk::<4>().map_or(-libc::EPROTO, |c| i32::from_ne_bytes(*c));
        Some(if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) })
    }
}

/// The attributes behind a fixed header of `skip` bytes.
pub fn attributes(payload: &[u8], skip: usize) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    let mut rest = payload.get(skip..).unwrap_or_default();
    while let Some([a, b, c, d]) = rest.first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([*a, *b]));
        let kind = u16::from_ne_bytes([*c, *d]) & 0x3fff;
        let Some(value) = rest.get(4..length) else { break };
        found.push((kind, value));
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

fn split(mut bytes: &[u8], into: &mut Vec<Message>) {
    while bytes.len() >= HEADER {
        let number = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let length = number(0) as usize;
        let Some(payload) = bytes.get(HEADER..length) else { return };
        let kind = u16::from_ne_bytes([bytes[4], bytes[5]]);
        into.push(Message { kind, sequence: number(8), payload: payload.to_vec() });
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
}

/// A blocking netlink socket.
pub struct Socket {
    socket: netlink_sys::Socket,
    sequence: u32,
}

impl Socket {
    /// A socket for a protocol (`NETLINK_ROUTE`, `NETLINK_NETFILTER`) in the thread's network namespace.
    pub fn open(protocol: i32) -> io::Result<Self> {
        let mut socket = netlink_sys::Socket::new(protocol as isize)?;
        socket.bind_auto()?;
        // A whole table goes out in one message, and each of its errors comes back; an unprivileged limit would not do.
        setsockopt(&socket, sockopt::SndBufForce, &(256 << 20))?;
        setsockopt(&socket, sockopt::RcvBufForce, &(8 << 20))?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::seconds(30))?;
        Ok(Self { socket, sequence: 1 })
    }

    /// The next sequence number.
    pub fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        self.sequence
    }

    /// Sends messages.
    pub fn send(&mut self, buffer: &Buffer) -> io::Result<()> {
        let sent = self.socket.send(buffer.bytes(), 0)?;
        if sent == buffer.len() { Ok(()) } else { Err(io::Error::other("netlink took only a part of a batch")) }
    }

    /// Receives what is there; waits for the first.
    pub fn receive(&mut self) -> io::Result<Vec<Message>> {
        let (bytes, _) = self.socket.recv_from_full()?;
        let mut messages = Vec::new();
        split(&bytes, &mut messages);
        Ok(messages)
    }

    /// Sends one request and waits for its acknowledgement.
    pub fn request(&mut self, kind: u16, flags: u16, payload: &[u8], fill: impl FnOnce(&mut Buffer)) -> io::Result<()> {
        let sequence = self.next_sequence();
        let mut buffer = Buffer::default();
        buffer.begin(kind, flags | REQUEST | ACK, sequence, payload);
        fill(&mut buffer);
        self.send(&buffer)?;
        loop {
            for message in self.receive()? {
                if let (true, Some(result)) = (message.sequence == sequence, message.result()) {
                    return result;
                }
            }
        }
    }

    /// Sends one request and collects its answers, of a dump too.
    pub fn query(
        &mut self,
        kind: u16,
        flags: u16,
        payload: &[u8],
        fill: impl FnOnce(&mut Buffer),
    ) -> io::Result<Vec<Message>> {
        let sequence = self.next_sequence();
        let mut buffer = Buffer::default();
        buffer.begin(kind, flags | REQUEST, sequence, payload);
        fill(&mut buffer);
        self.send(&buffer)?;
        let mut answers = Vec::new();
        loop {
            for message in self.receive()?.into_iter().filter(|m| m.sequence == sequence) {
                if let Some(result) = message.result() {
                    return result.map(|()| answers);
                }
                if message.kind == libc::NLMSG_DONE as u16 {
                    return Ok(answers);
                }
                answers.push(message);
                if flags & DUMP != DUMP {
                    return Ok(answers);
                }
            }
        }
    }
}
